"""Logins of programs that somebody approves in a browser (RFC 8628): a code for people, a secret for the program."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import time
from typing import Any, NoReturn

from sqlalchemy import BigInteger, Boolean, Executable, Table, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import ConstraintViolated, Database, Principal, Problem, UnitOfWork, not_found

from ..accounts import invalid_credentials
from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..digests import digest
from ..events import AuthEvent, Events
from ..logins import Logins
from ..model import Account
from ..policies import has_two_factors
from ..sessions import Device, Origin
from ..throttle import Limit, Throttle, is_local, origin

__all__ = ["INTERVAL", "LASTS", "Asked", "Challenge", "DeviceLogins", "Rejected", "code_of"]

INTERVAL = 2
"""Seconds between two questions of the program."""
LASTS = 300
_EARLY = INTERVAL - 0.5  # clocks and networks are no metronomes
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # without vowels, and what is mistaken for another (RFC 8628, section 6.1)
_HALF = 4
_BEGUN_PER_MINUTE = 10
_GUESSES, _GUESS_WINDOW = 20, 900
_HOUR, _DAY = 3600, 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a program gets that wants a login; the secret is nowhere else in clear."""

    code: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A challenge as whoever approves it sees it; times are seconds since 1970."""

    code: str
    status: str
    created: int
    expires: int
    address: str | None
    agent: str | None

    @property
    def is_expired(self) -> bool:
        """Whether it came too late to anything."""
        return self.status in ("pending", "approved") and self.expires <= time()


@dataclass(frozen=True, slots=True)
class _Held:
    """A challenge as its program finds it: what was decided, and by which login."""

    status: str
    expires: int
    user_id: Any
    epoch: str
    method: str
    session_id: str | None
    proved: int
    last: bool


class DeviceLogins:
    """Challenges, from the question to the collected session; each row stays for `days`, without its secret."""

    def __init__(
        self,
        context: AuthContext,
        table: Table,
        throttle: Throttle,
        authenticator: JWTAuthenticator,
        logins: Logins,
        events: Events,
        days: int,
    ) -> None:
        self._context, self._throttle, self._authenticator = context, throttle, authenticator
        self._logins, self._events, self._days = logins, events, days
        self._swept = 0.0
        c = table.c
        now: Any = bindparam("now", type_=BigInteger)
        own = (c.code == bindparam("code_"), c.secret == bindparam("hash_"))
        open_ = (c.code == bindparam("code_"), c.status == "pending", c.expires > now)
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "begin": lambda: insert(table).values(
                {name: bindparam(f"v_{name}", type_=c[name].type) for name in _BEGUN} | {"status": "pending"}
            ),
            "poll": lambda: (
                update(table)
                .where(*own, or_(c.polled.is_(None), c.polled <= bindparam("early", type_=BigInteger)))
                .values(polled=now)
            ),
            "held": lambda: select(*(c[name] for name in _Held.__slots__)).where(*own),
            "take": lambda: (
                update(table)
                .where(*own, c.status == bindparam("was"))
                .values(status=bindparam("becomes"), secret=None, redeemed=now)
            ),
            "revoke": lambda: (
                update(table)
                .where(c.user_id == bindparam("user", type_=c.user_id.type), c.status == "approved")
                .values(status="rejected")
            ),
            "approve": lambda: (
                update(table)
                .where(*open_)
                .values(
                    status="approved",
                    decided=now,
                    user_id=bindparam("user", type_=c.user_id.type),
                    epoch=bindparam("v_epoch"),
                    method=bindparam("v_method"),
                    session_id=bindparam("v_session", type_=c.session_id.type),
                    proved=bindparam("v_proved", type_=BigInteger),
                    last=bindparam("v_last", type_=Boolean),
                )
            ),
            "reject": lambda: update(table).where(*open_).values(status="rejected", decided=now),
            "shown": lambda: select(*(c[name] for name in Asked.__slots__)).where(
                c.code == bindparam("code_")
            ),
            "expire": lambda: delete(table).where(c.created < bindparam("cutoff", type_=BigInteger)),
        }

    # ---- the program ---------------------------------------------------------------------------------------

    async def begin(self, device: Device) -> Challenge:
        """A new challenge; raises 429 `rate_limited` for an address that asks too often. Commits."""
        await self._admit(device)
        await self._sweep()
        now, secret = int(time()), secrets.token_urlsafe(32)
        values = {
            "v_secret": digest(secret), "v_created": now, "v_expires": now + LASTS,
            "v_address": device.address, "v_agent": device.agent,
        }  # fmt: skip
        code = await self._inserted(values)
        await self._events.record(self._event("device.created", None, device, code=code))
        return Challenge(code=code, secret=secret)

    async def _inserted(self, values: Mapping[str, Any]) -> str:
        code = _new_code()
        try:
            await self._alone("begin", {**values, "v_code": code})
        except ConstraintViolated:  # pragma: no cover - a code that was drawn before, of 25 thousand million
            return await self._inserted(values)
        return code

    async def collect(self, code: str, secret: str, device: Device) -> dict[str, Any] | None:
        """The tokens of an approved login, once; None while nobody has decided. Commits.

        Raises 404 for what is no challenge of this secret or was collected, 410 `expired`, 429 `rate_limited`,
        and `Rejected` once. The account is judged again now: tokens are made here and stored nowhere.
        """
        values = {"code_": code_of(code), "hash_": digest(secret)}
        held = await self._polled(values)
        if held.status == "rejected":
            return await self._refuse(values, held, device)
        if held.expires <= time():
            raise expired()
        if held.status == "pending":
            return None
        try:
            return await self._open(values, held, device)
        except Problem as problem:
            if problem.status == 404:  # meanwhile it was collected, or taken back: that is final
                return await self.collect(code, secret, device)
            if problem.status not in (401, 403):
                raise
        return await self._refuse(values, held, device)

    async def _refuse(self, values: Mapping[str, Any], held: _Held, device: Device) -> NoReturn:
        """Tell the program no, once. Whoever has rejected it has left an event himself; here approvals end."""
        await self._take(values, held.status, "rejected")
        if held.user_id is not None:
            code = values["code_"]
            told = self._event("device.rejected", held.user_id, device, code=code, reason="account")
            await self._events.record(told)
        raise Rejected

    async def _open(self, values: Mapping[str, Any], held: _Held, device: Device) -> dict[str, Any]:
        """The tokens of an approved login; raises 401 or 403 for one that stands on nothing any more."""
        account = await self._account(held.user_id)
        if account is None or not self._authenticator.accepts(account, held.epoch):
            raise invalid_credentials()
        own, redeem = replace(device, method=held.method), partial(self._redeem, values, held)
        pair = await self._logins.open(account, {}, own, redeem)
        await self._events.record(self._event("device.redeemed", held.user_id, device, code=values["code_"]))
        return pair

    async def _redeem(self, values: Mapping[str, Any], held: _Held, work: UnitOfWork) -> Origin:
        """Use the challenge up, while the login lasts that has approved it; raises 404 where another was quicker."""
        given = {**values, "was": "approved", "becomes": "redeemed", "now": int(time())}
        if not (await work.run(self._query("take"), given)).count:
            raise not_found()
        sessions = self._logins.sessions
        if sessions is None:
            return Origin(proved=held.proved)
        ends = await sessions.ends_of(work, held.user_id, held.session_id)
        if ends is None or held.session_id is None:
            raise invalid_credentials()
        if held.last:
            await sessions.end(work, held.user_id, held.session_id)
        return Origin(proved=held.proved, ends=ends)

    async def _polled(self, values: Mapping[str, Any]) -> _Held:
        now, query = time(), self._query("held")
        times = {"now": int(now * 1000), "early": int((now - _EARLY) * 1000)}
        async with self._database.transaction() as work:
            counted = (await work.run(self._query("poll"), {**values, **times})).count > 0
            rows = query.decode(await work.run(query, values))
        if not rows:
            raise not_found()
        held = _Held(*rows[0])
        if not counted and held.status == "pending":
            detail = f"Ask every {INTERVAL} seconds, not more often"
            raise Problem(429, "rate_limited", detail, headers={"Retry-After": str(INTERVAL)})
        return held

    async def _take(self, values: Mapping[str, Any], was: str, becomes: str) -> None:
        """Of several who ask at once one gets the answer, and the secret is over; 404 for the others."""
        given = {**values, "was": was, "becomes": becomes, "now": int(time())}
        if not await self._alone("take", given):
            raise not_found()

    # ---- whoever decides -----------------------------------------------------------------------------------

    async def shown(self, code: str, device: Device) -> Asked:
        """A challenge by its code; raises 404, and 429 `rate_limited` for an address that guesses."""
        guess = await self._guess(device)
        query = self._query("shown")
        async with self._database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"code_": code_of(code)}))
        if not rows:
            raise not_found()
        await self._throttle.forgive(self._database, guess)
        return Asked(**dict(zip(Asked.__slots__, rows[0], strict=True)))

    async def approve(self, code: str, principal: Principal, device: Device, *, last: bool = False) -> None:
        """Let the program log in as this caller; commits. Raises as `reject` does.

        `last`: the caller has logged in for nothing else, and is logged out when the program has its tokens.
        """
        account = await self._account(principal.id)
        if account is None:  # pragma: no cover - deleted in the moment since its token was looked up
            raise invalid_credentials()
        # The program proves nothing itself: its login is as strong as that of whoever lets it in.
        method = "device+mfa" if has_two_factors(principal) else "device"
        await self._logins.ask(account, {}, replace(device, method=method))
        epoch = self._authenticator.epoch_of(account)
        own = {
            "user": principal.id, "v_epoch": epoch, "v_method": method, "v_last": last,
            "v_session": principal.claims.get("sid"), "v_proved": principal.claims["auth_time"],
        }  # fmt: skip
        await self._decide("approve", "device.approved", code, principal, device, own)

    async def reject(self, code: str, principal: Principal, device: Device) -> None:
        """Refuse the program; commits. Raises 404, 410 `expired`, 409 `conflict` where it is decided, 429."""
        await self._decide("reject", "device.rejected", code, principal, device, {})

    async def _decide(
        self,
        statement: str,
        event: str,
        code: str,
        principal: Principal,
        device: Device,
        values: Mapping[str, Any],
    ) -> None:
        given = {**values, "code_": code_of(code), "now": int(time())}
        asked = await self.shown(code, device)
        if not await self._alone(statement, given):
            if asked.is_expired:
                raise expired()
            raise Problem(409, "conflict", "This login has been decided already")
        told = self._event(event, principal.id, device, code=asked.code, asked_from=asked.address)
        await self._events.record(told)

    async def revoke(self, work: UnitOfWork, user: Any) -> None:
        """Let no program in that this account has approved."""
        await work.run(self._query("revoke"), {"user": user})

    async def revoke_in(self, session: AsyncSession, user: Any) -> None:
        """Let no program in that this account has approved, in the caller's transaction."""
        await session.execute(self._statements["revoke"](), {"user": user})

    # ---- limits --------------------------------------------------------------------------------------------

    async def _admit(self, device: Device) -> None:
        """Outside of production this machine itself is not counted: whoever tries things out is no attacker."""
        address = device.address
        if address is None or (not self._context.settings.production and is_local(address)):
            return
        limit = Limit("device address", origin(address), _BEGUN_PER_MINUTE, 60)
        await self._throttle.attempt(self._database, [limit], "Too many logins were begun; try again later")

    async def _guess(self, device: Device) -> list[Limit]:
        """A code counts as a guess until it turns out to be one that is there."""
        if device.address is None:
            return []
        limits = [Limit("device code", origin(device.address), _GUESSES, _GUESS_WINDOW)]
        await self._throttle.attempt(self._database, limits, "Too many wrong codes; try again later")
        return limits

    async def _sweep(self) -> None:
        """Once an hour drop what is older than it is kept."""
        if time() - self._swept >= _HOUR:
            self._swept = time()
            await self._alone("expire", {"cutoff": int(time()) - self._days * _DAY})

    # ---- statements ----------------------------------------------------------------------------------------

    async def _account(self, key: Any) -> Account | None:
        facts = self._context.facts
        query = self._database.shaped((facts, "by key"), facts.select_by_key)
        async with self._database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": key}))
        return facts.account(rows[0]) if rows else None

    async def _alone(self, name: str, values: Mapping[str, Any]) -> int:
        """One statement that writes, as a transaction of its own; how many rows it has changed."""
        async with self._database.transaction() as work:
            return (await work.run_alone(self._query(name), dict(values), writes=True)).count

    def _event(self, name: str, user: Any, device: Device, **detail: Any) -> AuthEvent:
        whom = None if user is None else str(user)
        return AuthEvent(name=name, user_id=whom, address=device.address, agent=device.agent, detail=detail)

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


_BEGUN = ("code", "secret", "created", "expires", "address", "agent")


class Rejected(Exception):
    """Somebody said no, or the account may not be used any more."""


def code_of(typed: str) -> str:
    """A code as it is stored, however it was typed; text that is none stays none."""
    letters = [letter for letter in typed.upper() if letter in _LETTERS]
    return _spelt(letters) if len(letters) == 2 * _HALF else ""


def expired() -> Problem:
    """410: nobody decided in time, or the program asked too late."""
    return Problem(410, "expired", "The code has expired; begin again")


def _new_code() -> str:
    return _spelt([secrets.choice(_LETTERS) for _ in range(2 * _HALF)])


def _spelt(letters: list[str]) -> str:
    return f"{''.join(letters[:_HALF])}-{''.join(letters[_HALF:])}"
