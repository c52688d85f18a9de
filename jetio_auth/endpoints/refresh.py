"""POST /refresh: a refresh token for the next pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, FieldError, Header, JsonResponse, Operation, Request, ValidationError

from .tokens import TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["refresh_routes"]


class RefreshBody(BaseModel):
    """The refresh token, where it is not in the header."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    refresh_token: str = Field(repr=False, max_length=200)


def refresh_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoint that refreshes."""

    tokens = TokenAnswers(auth.authenticator)

    async def refresh(
        request: Request,
        body: RefreshBody | None = None,
        x_refresh_token: Annotated[str | None, Header(max_length=200)] = None,
    ) -> JsonResponse:
        """Get the next pair of tokens.

        The refresh token is used up; one that comes back later ends the session.
        """
        given = [
            token for token in (body.refresh_token if body else None, x_refresh_token) if token is not None
        ]
        if not given and (cookie := tokens.refresh_cookie(request)) is not None:
            tokens.refuse_other_sites(request)
            given.append(cookie)
        if len(given) != 1:
            code, message = ("repeated", "Two tokens were given") if given else ("missing", "Field required")
            raise ValidationError([FieldError(code, message, pointer="/refresh_token")])
        return tokens.answer(await auth.logins.refresh(given[0], device_of(request)))

    yield "/refresh", Operation("POST", refresh, response_model=TokenPair, tags=["auth"], problems=[401])
