"""Tokens with which an admin acts in the name of somebody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from jetio import Principal, Problem, UnitOfWork, not_found, parse_key, resource_of

from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..events import AuthEvent, Events
from ..model import Account
from ..sessions import Device, Sessions
from ..transports import refused

__all__ = ["LONGEST", "USUAL", "Impersonation"]

USUAL = 3600
LONGEST = 86400


class Impersonation:
    """Mints tokens that name whoever acts. They are not refreshed, and each is a session of the account's."""

    def __init__(
        self,
        context: AuthContext,
        authenticator: JWTAuthenticator,
        claims_for: Callable[[Account], Awaitable[Mapping[str, Any]]],
        sessions: Sessions | None,
        events: Events,
    ) -> None:
        self._context, self._authenticator, self._claims_for = context, authenticator, claims_for
        self._sessions, self._events = sessions, events

    async def mint(
        self, actor: Principal, raw_key: str, reason: str | None, seconds: int, device: Device
    ) -> str:
        """A token of the account with this key; commits.

        Raises 404, 409 `account_inactive` for one that may not be used, 403 `forbidden` for an admin's.
        """
        facts = self._context.facts
        (key,) = parse_key(resource_of(facts.model), raw_key)
        account, admin = await self._both(key, actor.id)
        claims = await self._claims_for(account)
        whom, detail = str(account[facts.key]), {"reason": reason, "expires_in": seconds}
        event = AuthEvent(
            name="token.minted", user_id=whom, actor_id=str(actor.id),
            address=device.address, agent=device.agent, detail=detail,
        )  # fmt: skip

        async def steps(work: UnitOfWork) -> str:
            self._judge(await self._context.locked(work, key))  # what has changed meanwhile counts
            sid = await self._begin(work, account, admin, device, seconds)
            await self._events.write(event, work)
            return self._authenticator.issue(account, claims, seconds, sid=sid, by=admin)

        token = await self._context.database.run_transaction(steps)
        await self._events.announce(event)
        return token

    async def _both(self, key: Any, actor: Any) -> tuple[Account, Account]:
        facts, database = self._context.facts, self._context.database
        query = database.shaped((facts, facts.key, "and admin"), partial(facts.select_two, facts.key))
        async with database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": key, "by": actor}))
        found = {account[facts.key]: account for account in map(facts.account, rows)}
        account, admin = found.get(key), found.get(actor)
        self._judge(account)
        assert account is not None  # noqa: S101 - as it was judged
        if admin is None:  # pragma: no cover - deleted in the moment since its token was looked up
            raise refused()
        return account, admin

    def _judge(self, account: Account | None) -> None:
        """Raises what stands against acting in the name of this account."""
        facts = self._context.facts
        if account is None:
            raise not_found()
        if account[facts.admin_flag]:
            raise Problem(403, "forbidden", "Nobody acts in the name of an admin")
        if not facts.is_active(account):
            raise Problem(409, "account_inactive", "This account may not be used")

    async def _begin(
        self, work: UnitOfWork, account: Account, admin: Account, device: Device, seconds: int
    ) -> str | None:
        """Its owner sees it among the sessions and can end it there; it ends with the admin's right, too."""
        if self._sessions is None:
            return None
        own, epoch = self._context.facts.key, self._authenticator.epoch_of(account)
        kept = await self._sessions.begin(
            work, account[own], epoch, device, {}, seconds=seconds, actor=admin[own]
        )
        return kept.id
