"""A new password in the place of one that is known: everything that the old one opened is closed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, update

from jetio import Database, FieldError, Principal, Problem, UnitOfWork, ValidationError

from .accounts import Accounts
from .context import AuthContext
from .model import PASSWORD, Account
from .sessions import Device

__all__ = ["PasswordChange"]


class PasswordChange:
    """Changes the password of an account whose owner is logged in."""

    def __init__(self, context: AuthContext, accounts: Accounts) -> None:
        self._context, self._accounts = context, accounts

    async def prove(self, principal: Principal, current: str, device: Device) -> Account:
        """The caller's account, if this is its password; raises 403 `wrong_password`, or 429 for too many guesses."""
        account = await self._account(principal)
        right, _ = await self._accounts.verify(account, current, device=device)
        if not right:
            raise Problem(403, "wrong_password", "The current password is wrong")
        return account

    async def end_further_keys(self, work: UnitOfWork, account: Account) -> None:
        """Take away what else opens the account: it is of whoever was there before its owner."""
        await self._accounts.further_keys.forget(work, account)

    async def hash(self, account: Account, current: str, new: str, pointer: str = "/new_password") -> str:
        """The hash of a new password; raises 422 for one that is not accepted."""
        if new == current:
            message = "The new password is the current one"
            raise ValidationError([FieldError("password_unchanged", message, pointer=pointer)])
        await self._accounts.refuse_password(new, account, pointer)
        return await self._accounts.passwords.hash(new)

    async def store(self, work: UnitOfWork, account: Account, hashed: str) -> Account:
        """The account with the new hash; raises 409 where another change was quicker."""
        query = self._database.shaped((self, "store"), self._statement)
        facts = self._context.facts
        values = {"key": account[facts.key], "old": account[PASSWORD], "new": hashed}
        if not (await work.run(query, values)).count:
            raise Problem(409, "conflict", "The password is being changed by others; try again")
        return {**account, PASSWORD: hashed}

    def _statement(self) -> Any:
        facts = self._context.facts
        key, stored = facts.columns[facts.key], facts.columns[PASSWORD]
        return (
            update(key.table)
            .where(key == bindparam("key", type_=key.type), stored == bindparam("old", type_=stored.type))
            .values({stored: bindparam("new", type_=stored.type)})
        )

    async def _account(self, principal: Principal) -> Account:
        facts, database = self._context.facts, self._database
        query = database.shaped((facts, "by key"), facts.select_by_key)
        async with database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": principal.id}))
        if not rows:  # pragma: no cover - deleted in the moment since its token was looked up
            raise Problem(401, "token_revoked", "The account is gone", headers={"WWW-Authenticate": "Bearer"})
        return facts.account(rows[0])

    @property
    def _database(self) -> Database:
        return self._context.database
