"""POST /admin/{id}/make-admin and /remove-admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Operation

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["make_admin_operation", "remove_admin_operation"]


class AdminChanged(BaseModel):
    """What was done, and to whom."""

    message: str
    user_id: Any


def make_admin_operation(auth: AuthRouter) -> Operation:
    """The endpoint that promotes."""

    async def make_admin(id: str, session: AsyncSession) -> AdminChanged:
        """Make an account an admin."""
        key = await auth.accounts.set_admin(session, id, admin=True)
        return AdminChanged(message="User promoted to admin", user_id=key)

    return Operation("POST", make_admin, tags=["admin"], policy=auth.admin_only())


def remove_admin_operation(auth: AuthRouter) -> Operation:
    """The endpoint that demotes."""

    async def remove_admin(id: str, session: AsyncSession) -> AdminChanged:
        """Take the admin right away; never from the last admin."""
        key = await auth.accounts.set_admin(session, id, admin=False)
        return AdminChanged(message="User is no longer an admin", user_id=key)

    return Operation("POST", remove_admin, tags=["admin"], policy=auth.admin_only(), problems=[409])
