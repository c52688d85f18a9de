"""Addresses that are proved: by a link that was sent there, until the address changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, update

from jetio import Change, Problem, UnitOfWork

from ..context import AuthContext
from ..endpoints.tokens import device_of
from ..events import AuthEvent, Events
from ..model import Account
from ..sessions import Device
from .letters import Letters
from .one_time import OneTimeTokens

__all__ = ["Addresses"]


class Addresses:
    """Says which addresses are proved. The flag is the model's column `facts.verified`."""

    def __init__(self, context: AuthContext, tokens: OneTimeTokens, letters: Letters, events: Events) -> None:
        self._context, self._tokens, self._letters, self._events = context, tokens, letters, events

    async def require(self, account: Account, device: Device) -> None:
        """A condition of logins: 403 `email_not_verified`, told to whoever knew the password."""
        if not account[self._flag]:
            raise Problem(
                403, "email_not_verified", "The email address is not confirmed yet; a mail has the link"
            )

    async def require_of(self, key: Any) -> None:
        """The same for the account with this key, whose owner has been logged in.

        An account without any address keeps nobody's from him.
        """
        facts, database = self._context.facts, self._context.database
        query = database.shaped((facts, "by key"), facts.select_by_key)
        async with database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": key}))
        account = facts.account(rows[0]) if rows else None
        if account is None or (account["email"] is not None and not account[self._flag]):
            raise Problem(403, "email_not_verified", "Confirm the email address first; a mail has the link")

    async def find(self, token: str) -> Account:
        """Whose link it is; raises 404 `not_found` or 410 `expired`."""
        return await self._tokens.find(token, "verify_email")

    async def confirm(self, token: str, device: Device) -> None:
        """Use a link up; commits. Raises 404 `not_found` or 410 `expired`."""
        facts = self._context.facts

        async def steps(work: UnitOfWork) -> AuthEvent:
            account = await self._tokens.use(work, token, "verify_email")
            await self.proved(work, account)
            event = _event("email.verified", account[facts.key], device)
            await self._events.write(event, work)
            return event

        await self._events.announce(await self._context.database.run_transaction(steps))

    async def proved(self, work: UnitOfWork, account: Account) -> None:
        """Set the flag, unless the address has changed meanwhile."""
        facts = self._context.facts
        query = self._context.database.shaped((self, "proved"), self._statement)
        await work.run(query, {"key": account[facts.key], "address": account["email"]})

    def _statement(self) -> Any:
        columns, facts = self._context.facts.columns, self._context.facts
        key, email = columns[facts.key], columns["email"]
        return (
            update(key.table)
            .where(key == bindparam("key", type_=key.type), email == bindparam("address", type_=email.type))
            .values({columns[self._flag]: True})
        )

    @property
    def _flag(self) -> str:
        flag = self._context.facts.verified
        assert flag is not None  # noqa: S101 - the feature is on where the column is
        return flag

    # ---- changes by CRUD -----------------------------------------------------------------------------------

    async def before_update(self, change: Change) -> None:
        """Another address is not proved, unless an admin vouches for it in the same request."""
        row, values = change.row, change.values
        if row is None or values.get("email", row["email"]) == row["email"]:
            _remember(change, None)
            return
        _remember(change, row["email"] if row[self._flag] else "")
        vouched = values.pop(self._flag, None) is True and not row[self._flag]
        values[self._flag] = vouched  # after the email: setting that on an object takes the flag
        event = _changed(row[self._context.facts.key], change)
        await self._events.write(event, change.session)

    async def on_commit(self, change: Change) -> None:
        """Write to the new address, and to the former one."""
        if change.action == "delete" or change.row is None:
            return
        account = self._account(change.row)
        former = getattr(change.access.request.state, _FORMER, None) if change.action != "create" else None
        if former is not None:
            await self._events.announce(_changed(account[self._context.facts.key], change))
            await self._letters.changed(account, former)  # one that nobody has proved may be a stranger's: ""
        if (former is not None or change.action == "create") and not account[self._flag]:
            await self._letters.link("verify_email", account)

    def _account(self, row: Mapping[str, Any]) -> Account:
        return {name: row[name] for name in self._context.facts.fetched}


_FORMER = "jetio_auth_former_email"


def _remember(change: Change, former: str | None) -> None:
    """With the request, for an attempt that lost a race is followed by another one with a change of its own."""
    setattr(change.access.request.state, _FORMER, former)


def _event(name: str, key: Any, device: Device, actor: str | None = None) -> AuthEvent:
    return AuthEvent(name=name, user_id=str(key), actor_id=actor, address=device.address, agent=device.agent)


def _changed(key: Any, change: Change) -> AuthEvent:
    """By its owner, or by an admin."""
    principal = change.principal
    actor = principal.sub if principal is not None and str(principal.id) != str(key) else None
    return _event("email.changed", key, device_of(change.access.request), actor)
