"""GET /me: the caller's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Application, JsonResponse, Operation, Principal, document_of, read_schema, resource_of

from ..backends.jwt import OWN_CLAIMS
from ..jwt import RESERVED_CLAIMS
from ..policies import has_two_factors

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["MeOperation", "about"]

_OWN = RESERVED_CLAIMS | OWN_CLAIMS


class MeOperation(Operation):
    """Its answer is made of the model, which is complete only at build."""

    def __init__(self, auth: AuthRouter) -> None:
        self.auth = auth
        super().__init__("GET", self.me, tags=["auth"], policy=auth.account_required())

    def build(self, app: Application, path: str) -> None:
        model = self.auth.accounts.facts.model
        self.response_model = create_model(
            f"{model.__name__}Me",
            __base__=read_schema(resource_of(model)),
            roles=(list[str], ...),
            permissions=(list[str], ...),
            claims=(dict[str, Any], ...),
            auth=(dict[str, Any], ...),
        )
        super().build(app, path)

    async def me(self, principal: Principal, session: AsyncSession) -> JsonResponse:
        """The account that is logged in."""
        user: Any = await session.get(self.auth.user_model, principal.id)
        content = {**document_of(user), **about(principal)}
        response = JsonResponse(content, headers={"Cache-Control": "no-store"})
        backed = self.auth.backed
        if backed is not None and backed.proves_by_cookie(principal.method):
            backed.show_csrf(response, principal.sub)
        return response


def about(principal: Principal) -> dict[str, Any]:
    """What is told of a caller beside the account."""
    claims = principal.claims
    return {
        "roles": sorted(principal.roles),
        "permissions": sorted(principal.permissions),
        "claims": {name: value for name, value in claims.items() if name not in _OWN},
        "auth": {
            "method": principal.method,
            "mfa": has_two_factors(principal),
            "issued_at": claims.get("iat"),
            "impersonated_by": principal.impersonated_by,
        },
    }
