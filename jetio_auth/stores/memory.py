"""Accounts in the memory of one process: for tests."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from ..model import APPROVED, PENDING
from .users import StoredUser, taken

__all__ = ["MemoryUserStore"]


class MemoryUserStore:
    """Gone with the process, and known to no other one: production does not start with it."""

    development_only = True
    one_process = True

    def __init__(self) -> None:
        self._users: dict[str, StoredUser] = {}

    async def find_by_email(self, email: str) -> StoredUser | None:
        """The account, None where there is none."""
        return self._users.get(email)

    async def get(self, id: str) -> StoredUser | None:
        """The account with this id."""
        return next((user for user in self._users.values() if user.id == id), None)

    async def create(self, user: StoredUser) -> None:
        """Keep a new account; raises 409 `already_exists`."""
        if user.email in self._users:
            raise taken()
        self._users[user.email] = replace(user, id=uuid.uuid4().hex)

    async def update(self, user: StoredUser) -> None:
        """Replace the account of this email."""
        self._users[user.email] = user

    async def exchange(self, old: StoredUser, new: StoredUser) -> bool:
        """Replace an account if it still is `old`."""
        if self._users.get(old.email) != old:
            return False
        self._users[old.email] = new
        return True

    async def delete(self, user: StoredUser) -> None:
        """Forget an account."""
        self._users.pop(user.email, None)

    async def list_pending(self) -> Sequence[StoredUser]:
        """The accounts that wait, the oldest first."""
        return [user for user in self._users.values() if user.approval_status == PENDING]

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        """Make this admin where no account has the email."""
        if email not in self._users:
            await self.create(
                StoredUser(
                    email=email, hashed_password=hashed_password, is_admin=True, approval_status=APPROVED
                )
            )
