"""POST /refresh: a refresh token for the next pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, FieldError, Header, JsonResponse, Operation, Problem, Request, ValidationError

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
        tokens.refuse_other_sites(request)
        sent = body.refresh_token if body is not None else None
        given = [token for token in (sent, x_refresh_token) if token is not None]
        cookie = tokens.refresh_cookie(request) if not given else None
        found = [*given, cookie] if cookie is not None else given
        if len(found) != 1:
            code, message = ("repeated", "Two tokens were given") if found else ("missing", "Field required")
            raise ValidationError([FieldError(code, message, pointer="/refresh_token")])
        try:
            pair = await auth.logins.refresh(found[0], device_of(request))
        except Problem as problem:
            if cookie is not None:
                problem.headers = {**problem.headers, **tokens.dead_cookie(request)}
            raise
        return tokens.answer(request, pair, by_cookie=cookie is not None)

    yield (
        "/refresh",
        Operation("POST", refresh, response_model=TokenPair, tags=["auth"], problems=[401, *tokens.problems]),
    )
