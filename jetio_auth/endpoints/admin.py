"""POST /admin/{id}/make-admin and /remove-admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import BackgroundTasks, Endpoint, Operation, Principal, Request

from ..events import AuthEvent
from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["promotion_routes"]


class AdminChanged(BaseModel):
    """What was done, and to whom."""

    message: str
    user_id: Any


def promotion_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """Promote and demote, for admins."""

    async def make_admin(
        id: str, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> AdminChanged:
        """Make an account an admin."""
        key = await auth.accounts.set_admin(session, id, admin=True)
        await told("admin.granted", key, request, principal, session, later)
        return AdminChanged(message="User promoted to admin", user_id=key)

    async def remove_admin(
        id: str, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> AdminChanged:
        """Take the admin right away; never from the last admin."""
        key = await auth.accounts.set_admin(session, id, admin=False)
        await auth.administration.end_borrowed(session, key)
        await told("admin.revoked", key, request, principal, session, later)
        return AdminChanged(message="User is no longer an admin", user_id=key)

    async def told(
        name: str,
        key: Any,
        request: Request,
        principal: Principal,
        session: AsyncSession,
        later: BackgroundTasks,
    ) -> None:
        device = device_of(request)
        event = AuthEvent(
            name=name,
            user_id=str(key),
            actor_id=str(principal.id),
            address=device.address,
            agent=device.agent,
        )
        await auth.events.write(event, session)
        later.add_task(auth.events.announce, event)

    def operation(handler: Any, *problems: int) -> Operation:
        policy = auth.own_account() & auth.admin_only()
        return Operation("POST", handler, tags=["admin"], policy=policy, problems=problems)

    yield "/{id}/make-admin", operation(make_admin)
    yield "/{id}/remove-admin", operation(remove_admin, 409)
