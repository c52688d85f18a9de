"""What opens an account beside its password, and that an account without one keeps a way in."""

from __future__ import annotations

from typing import Any, Protocol

from jetio import Problem, UnitOfWork

from .context import AuthContext
from .model import PASSWORD, Account
from .passwords import Passwords

__all__ = ["FurtherKey", "FurtherKeys"]


class FurtherKey(Protocol):
    """One kind of them, such as passkeys."""

    async def opens(self, work: UnitOfWork, user: Any) -> bool:
        """Whether the owner of this account can log in by it alone."""

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take all of an account away."""


class FurtherKeys:
    """All kinds that are on. The account is locked by whoever takes one away, of whichever kind."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context
        self._kinds: list[FurtherKey] = []

    def add(self, kind: FurtherKey) -> None:
        """From now on this opens accounts, too."""
        self._kinds.append(kind)

    async def keep_one(self, work: UnitOfWork, account: Account) -> None:
        """Asked when something was taken away; raises 409 `last_login` where it was the last way in."""
        if Passwords.is_usable(account[PASSWORD]):
            return
        for kind in self._kinds:
            if await kind.opens(work, account[self._context.facts.key]):
                return
        raise Problem(409, "last_login", "Nobody could log in to this account any more")

    async def forget(self, work: UnitOfWork, account: Account) -> None:
        """Take all of them away."""
        for kind in self._kinds:
            await kind.forget(work, account[self._context.facts.key])
