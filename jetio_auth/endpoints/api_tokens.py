"""POST, GET and DELETE /tokens: the caller's own API tokens."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jetio import Endpoint, JsonResponse, Operation, Principal, Request, not_found

from ..grants.api_tokens import LONGEST_LIFE, MOST, USUAL_LIFE, ApiToken
from .moments import moment
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["api_token_routes"]

Scope = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/*-]{1,100}$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$")
]


class TokenOrder(BaseModel):
    """`scopes`: what the program may do where a route asks for scopes; `posts:*` means all that begin so."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: Name
    scopes: list[Scope] = Field(max_length=50)
    expires_in: int = Field(default=USUAL_LIFE, ge=60, le=LONGEST_LIFE, description="Seconds")


class TokenRead(BaseModel):
    """One token, without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: dt.datetime
    expires_at: dt.datetime
    last_used_at: dt.datetime | None


class TokenMade(TokenRead):
    """A new token; its secret is shown this once."""

    token: str


def api_token_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """Made and ended with a fresh login, listed with any."""

    async def make_token(request: Request, principal: Principal, body: TokenOrder) -> JsonResponse:
        """Make a token for a program; keep the secret, nobody can show it again."""
        secret, made = await auth.programs.admit(
            principal, body.name, body.scopes, body.expires_in, device_of(request)
        )
        shown = TokenMade(token=secret, **_fields(made))
        return JsonResponse(shown.model_dump(mode="json"), status_code=201, headers=NO_STORE)

    async def list_tokens(principal: Principal) -> list[TokenRead]:
        """The tokens of this account, the newest first."""
        return [TokenRead(**_fields(item)) for item in await auth.programs.list(principal)]

    async def revoke_token(id: str, request: Request, principal: Principal) -> None:
        """End one token at once."""
        if not await auth.programs.dismiss(principal, id, device_of(request)):
            raise not_found()

    async def revoke_tokens(request: Request, principal: Principal) -> None:
        """End all tokens of this account at once."""
        await auth.programs.dismiss(principal, None, device_of(request))

    own = auth.own_account()
    fresh = own & auth.fresh()
    yield "/tokens", Operation(
        "POST", make_token, status_code=201, response_model=TokenMade, tags=["auth"], policy=fresh,
        description=f"An account has at most {MOST}.", problems=[409],
    )  # fmt: skip
    yield "/tokens", Operation("GET", list_tokens, tags=["auth"], policy=own)
    yield "/tokens", Operation("DELETE", revoke_tokens, tags=["auth"], policy=own)
    yield "/tokens/{id}", Operation("DELETE", revoke_token, tags=["auth"], policy=own)


def _fields(item: ApiToken) -> dict[str, object]:
    used = item.used
    return {
        "id": item.id,
        "name": item.name,
        "scopes": list(item.scopes),
        "created_at": moment(item.created),
        "expires_at": moment(item.expires),
        "last_used_at": None if used is None else moment(used),
    }
