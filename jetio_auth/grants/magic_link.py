"""Magic links: whoever reads the account's mail is logged in, once."""

from __future__ import annotations

from typing import Any

from jetio import Problem, UnitOfWork

from ..accounts import Accounts, invalid_credentials
from ..context import AuthContext
from ..events import AuthEvent, Events
from ..logins import Logins
from ..mail.addresses import Addresses
from ..mail.one_time import OneTimeTokens
from ..model import Account
from ..password_change import PasswordChange
from ..passwords import Passwords
from ..sessions import Device

__all__ = ["MagicLinks"]


class MagicLinks:
    """Logs people in by a link. `addresses` None: proved addresses are not looked at."""

    def __init__(
        self,
        context: AuthContext,
        accounts: Accounts,
        tokens: OneTimeTokens,
        logins: Logins,
        events: Events,
        addresses: Addresses | None,
    ) -> None:
        self._context, self._tokens, self._logins = context, tokens, logins
        self._events, self._addresses = events, addresses
        self._changes = PasswordChange(context, accounts)

    async def find(self, token: str) -> Account:
        """Whose link it is; raises 404 `not_found` or 410 `expired`."""
        return await self._tokens.find(token, "magic_link")

    async def login(self, token: str, device: Device) -> dict[str, Any]:
        """The tokens of a new session; commits. Raises 401 `invalid_credentials`, and what a login is refused with."""
        try:
            account, event = await self._context.database.run_transaction(
                lambda work: self._used(work, token, device)
            )
        except Problem as problem:
            if problem.status not in (404, 410):  # pragma: no cover - the password was changed in this moment
                raise
            raise invalid_link() from None
        if event is not None:
            await self._events.announce(event)
        return await self._logins.open(account, {}, device)

    async def _used(self, work: UnitOfWork, token: str, device: Device) -> tuple[Account, AuthEvent | None]:
        account = await self._tokens.use(work, token, "magic_link")
        flag = self._context.facts.verified
        if self._addresses is None or flag is None or account[flag]:
            return account, None
        # Nobody has proved the address until now: the password is of whoever registered with it, perhaps of
        # somebody who waited for its owner to come (pre-hijacking). It ends, and all that it opened.
        await self._addresses.proved(work, account)
        account = await self._changes.store(work, account, Passwords.unusable())
        await self._changes.end_further_keys(work, account)
        key = account[self._context.facts.key]
        if self._logins.sessions is not None:
            await self._logins.sessions.end_others(work, key, None)
        event = AuthEvent(name="email.verified", user_id=str(key), address=device.address, agent=device.agent)
        await self._events.write(event, work)
        return {**account, flag: True}, event


def invalid_link() -> Problem:
    """The same for a link that never was, was used, or is too old."""
    refused = invalid_credentials()
    return Problem(
        401, refused.code, "The link is not valid any more; ask for another", headers=refused.headers
    )
