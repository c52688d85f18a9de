"""A new password for whoever reads the account's mail: everything that the old one opened is closed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, update

from jetio import UnitOfWork

from ..accounts import Accounts
from ..context import AuthContext
from ..events import AuthEvent, Events
from ..mixins import RESET_AT
from ..model import Account
from ..password_change import PasswordChange
from ..sessions import Device, Sessions
from .addresses import Addresses
from .letters import Letters
from .one_time import OneTimeTokens

__all__ = ["PasswordReset"]


class PasswordReset:
    """Resets passwords by a link. `addresses` None: proved addresses are not looked at."""

    def __init__(
        self,
        context: AuthContext,
        accounts: Accounts,
        tokens: OneTimeTokens,
        letters: Letters,
        events: Events,
        sessions: Sessions | None,
        addresses: Addresses | None,
    ) -> None:
        self._context, self._accounts, self._tokens = context, accounts, tokens
        self._letters, self._events = letters, events
        self._sessions, self._addresses = sessions, addresses
        self._changes = PasswordChange(context, accounts)

    async def find(self, token: str) -> Account:
        """Whose link it is; raises 404 `not_found` or 410 `expired`."""
        return await self._tokens.find(token, "reset_password")

    async def reset(self, token: str, new: str, device: Device) -> Account:
        """The account with its new password, logged out everywhere; commits.

        A password that is refused (422) leaves the link as it is. Raises 404 `not_found`, 410 `expired`.
        """
        before = await self.find(token)
        await self._accounts.refuse_password(new, before, "/new_password")
        hashed = await self._accounts.passwords.hash(new)  # no transaction waits for it

        async def steps(work: UnitOfWork) -> tuple[Account, AuthEvent]:
            account = await self._tokens.use(work, token, "reset_password")
            changed = await self._store(work, account, hashed)
            event = AuthEvent(
                name="password.reset",
                user_id=str(account[self._context.facts.key]),
                address=device.address,
                agent=device.agent,
            )
            await self._events.write(event, work)
            return changed, event

        account, event = await self._context.database.run_transaction(steps)
        await self._accounts.forget_failures(account)
        await self._events.announce(event)
        return account

    async def tell(self, account: Account) -> None:
        """Write to the owner that it has happened."""
        await self._letters.was_reset(account)

    async def _store(self, work: UnitOfWork, account: Account, hashed: str) -> Account:
        changed = await self._changes.store(work, account, hashed)
        key = account[self._context.facts.key]
        if self._sessions is not None:
            await self._sessions.end_others(work, key, None)
        if self._addresses is not None:  # the link was read at this address
            flag = self._context.facts.verified
            if flag is not None and not account[flag]:  # by somebody else, perhaps, than who registered
                await self._changes.end_further_keys(work, account)
            await self._addresses.proved(work, account)
        query = self._context.database.shaped((self, "when"), self._statement)
        await work.run(query, {"key": key, "at": datetime.now(UTC)})
        return changed

    def _statement(self) -> Any:
        columns, facts = self._context.facts.columns, self._context.facts
        key = columns[facts.key]
        return (
            update(key.table)
            .where(key == bindparam("key", type_=key.type))
            .values({columns[RESET_AT]: bindparam("at", type_=columns[RESET_AT].type)})
        )
