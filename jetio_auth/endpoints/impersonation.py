"""POST /admin/users/{id}/token: an admin gets a token of somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, JsonResponse, Operation, Principal, Request

from ..grants.impersonation import LONGEST, USUAL
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["impersonation_routes"]


class MintToken(BaseModel):
    """Why, for the log of events, and for how long."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    reason: Annotated[str, Field(max_length=200)] | None = None
    expires_in: int = Field(default=USUAL, ge=1, le=LONGEST, description="Seconds")


class MintedToken(BaseModel):
    """A token that says who acts; there is no refresh token."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a type
    expires_in: int = Field(description="Seconds")


def impersonation_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """There where `impersonation` is switched on."""

    async def mint_token(
        id: str, request: Request, principal: Principal, body: MintToken | None = None
    ) -> JsonResponse:
        """Get a token with which you act in the name of an account."""
        asked, device = body or MintToken(), device_of(request, "impersonation")
        token = await auth.impersonation.mint(principal, id, asked.reason, asked.expires_in, device)
        content = {"access_token": token, "token_type": "bearer", "expires_in": asked.expires_in}
        return JsonResponse(content, headers=NO_STORE)

    policy = auth.admin_only() & auth.own_account() & auth.fresh()
    yield (
        "/users/{id}/token",
        Operation(
            "POST", mint_token, response_model=MintedToken, tags=["admin"], policy=policy, problems=[409]
        ),
    )
