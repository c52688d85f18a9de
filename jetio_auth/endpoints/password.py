"""POST /change-password: the caller's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, JsonResponse, Operation, Principal, Request

from .tokens import TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["password_routes"]

_SECRET: dict[str, Any] = {"format": "password"}


class ChangePassword(BaseModel):
    """The password that is, and the one that shall be."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    current_password: str = Field(repr=False, json_schema_extra=_SECRET)
    new_password: str = Field(repr=False, json_schema_extra=_SECRET)


def password_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoint that changes it."""

    tokens = TokenAnswers(auth.authenticator)

    async def change_password(request: Request, principal: Principal, body: ChangePassword) -> JsonResponse:
        """Change the password.

        All other sessions end, and this one goes on with the tokens of the answer.
        """
        device = device_of(request)
        return tokens.answer(
            request,
            await auth.logins.change_password(principal, body.current_password, body.new_password, device),
        )

    yield "/change-password", Operation(
        "POST", change_password, response_model=TokenPair, tags=["auth"], policy=auth.own_account(),
        problems=[409, 429],
    )  # fmt: skip
