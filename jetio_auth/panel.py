"""What the admin panel needs of accounts: where people sign in, and where changes are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jetio import Authenticator, Principal, Request

from .events import AuthEvent

if TYPE_CHECKING:
    from .router import AuthRouter

__all__ = ["PanelAccounts"]


class PanelAccounts:
    """The accounts of an AuthRouter, as `Admin(app, auth=...)` meets them."""

    def __init__(self, auth: AuthRouter) -> None:
        self._auth = auth

    @property
    def authenticator(self) -> Authenticator:
        """What finds the caller."""
        return self._auth.finder

    @property
    def paths(self) -> tuple[str, str] | None:
        """Where to log in and out by cookie; None where nobody can."""
        auth = self._auth
        if auth.user_model is None or auth.authenticator.cookies is None:
            return None
        return auth.places["login"], auth.places["logout"]

    def key(self) -> bytes | None:
        """A key for the panel's own cookies."""
        return None if self._auth.user_model is None else self._auth.authenticator.derived_key("panel")

    async def tell(
        self, name: str, principal: Principal, request: Request, detail: Mapping[str, Any]
    ) -> None:
        """Write down that somebody has changed a row: `panel.created`, `panel.updated`, `panel.deleted`."""
        if self._auth.user_model is None:
            return
        address = request.client.host if request.client is not None else None
        event = AuthEvent(
            name=name,
            user_id=principal.sub if principal.id is None else str(principal.id),
            actor_id=principal.impersonated_by,
            address=address,
            agent=request.headers.get("user-agent"),
            detail=detail,
        )
        await self._auth.events.record(event)
