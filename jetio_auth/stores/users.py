"""What a store of accounts holds, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jetio import FieldError, Problem

from ..model import PENDING

__all__ = ["StoredUser", "UserStore", "taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """One account. The store gives it its `id`; without one the email is its key."""

    email: str
    hashed_password: str = field(repr=False)
    id: str | None = None
    is_admin: bool = False
    approval_status: str = PENDING
    is_active: bool = True


@runtime_checkable
class UserStore(Protocol):
    """Accounts by email, which comes in its canonical form.

    A store may bring more: `async get(id)`, else only accounts that wait are found by their id; `async delete(user)`;
    `async exchange(old, new) -> bool`, which replaces an account if it still is `old`. Without the latter changes
    are kept apart within one process only.
    """

    async def find_by_email(self, email: str) -> StoredUser | None:
        """The account, None where there is none."""
        ...

    async def create(self, user: StoredUser) -> None:
        """Keep a new account."""
        ...

    async def update(self, user: StoredUser) -> None:
        """Replace the account of this email."""
        ...

    async def list_pending(self) -> Sequence[StoredUser]:
        """The accounts whose `approval_status` is `pending`, the oldest first."""
        ...

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        """Make this approved admin where no account has the email."""
        ...


def taken() -> Problem:
    """For an email that another account has."""
    entry = FieldError("already_exists", "This is taken", pointer="/email")
    return Problem(409, "already_exists", "Another account has this email already", errors=[entry])
