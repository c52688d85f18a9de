"""Passkeys: which accounts have them, how a login with one is judged, and when one may be taken away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, bindparam, delete, insert, or_, select, update

from jetio import ConfigError, ConstraintViolated, Database, Jetio, Principal, Problem, UnitOfWork, not_found

from ..context import AuthContext
from ..events import AuthEvent, Events
from ..further_keys import FurtherKeys
from ..model import Account
from ..sessions import Device, Sessions
from ..settings import Lockout
from ..tables import PasskeyTables
from ..throttle import Limit, Throttle, origin
from . import ceremonies
from .ceremonies import Credential, Refused
from .passkey_settings import PasskeySettings, place_of

__all__ = ["Passkey", "Passkeys"]

MOST = 20
SECONDS = 300
_OPTIONS_PER_MINUTE = 60  # a page may ask whenever it is opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One passkey, as its owner sees it; times are seconds since 1970."""

    id: str
    name: str
    created: int
    used: int | None
    backed_up: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """A stored passkey and whose it is."""

    id: str
    handle: str
    public_key: str
    sign_count: int
    account: Account


class Passkeys:
    """The domain is `given`, or what the environment says; never what a request says."""

    def __init__(
        self,
        context: AuthContext,
        tables: PasskeyTables,
        given: PasskeySettings | None,
        throttle: Throttle,
        lockout: Lockout,
        events: Events,
        sessions: Sessions | None,
        further: FurtherKeys,
    ) -> None:
        self._context, self._tables, self._given = context, tables, given
        self._throttle, self._lockout = throttle, lockout
        self._events, self._sessions, self._further = events, sessions, further
        keys, waiting = tables.passkeys.c, tables.challenges.c
        user: Any = bindparam("user", type_=keys.user_id.type)
        now: Any = bindparam("now", type_=BigInteger)
        count: Any = bindparam("count", type_=BigInteger)
        this = keys.id == bindparam("id_")
        whose = or_(waiting.user_id == user, waiting.user_id.is_(None) & user.is_(None))
        asked = (waiting.hash == bindparam("hash_"), whose)
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "wait": lambda: insert(tables.challenges).values(
                {name: bindparam(f"v_{name}", type_=waiting[name].type) for name in _WAITING}
            ),
            "expire": lambda: delete(tables.challenges).where(waiting.expires <= now),
            "called": lambda: select(waiting.handle).where(waiting.user_id == user, waiting.expires > now),
            "asked": lambda: select(waiting.handle).where(*asked, waiting.expires > now),
            "answer": lambda: delete(tables.challenges).where(*asked, waiting.expires > now),
            "list": lambda: (
                select(keys.id, keys.name, keys.created, keys.used, keys.backed_up)
                .where(keys.user_id == user)
                .order_by(keys.created, keys.id)
            ),
            "known": lambda: select(keys.credential, keys.handle).where(keys.user_id == user),
            "add": lambda: insert(tables.passkeys).values(
                {name: bindparam(f"v_{name}", type_=keys[name].type) for name in _STORED}
            ),
            "held": self._held_statement,
            "use": lambda: (
                update(tables.passkeys)
                .where(this, or_(keys.sign_count < count, (keys.sign_count == 0) & (count == 0)))
                .values(sign_count=count, used=now)
            ),
            "forget": lambda: delete(tables.passkeys).where(keys.user_id == user),
            "remove": lambda: delete(tables.passkeys).where(this, keys.user_id == user),
        }

    def _held_statement(self) -> Executable:
        keys, facts = self._tables.passkeys, self._context.facts
        key = facts.columns[facts.key]
        own = (keys.c.id, keys.c.handle, keys.c.public_key, keys.c.sign_count)
        columns = [*own, *(facts.columns[name] for name in facts.fetched)]
        labelled = [column.label(f"c{place}") for place, column in enumerate(columns)]
        joined = keys.join(key.table, keys.c.user_id == key)
        return select(*labelled).select_from(joined).where(keys.c.id == bindparam("id_"))

    @cached_property
    def place(self) -> PasskeySettings:
        """The domain that they belong to; raises ConfigError."""
        return place_of(self._given, self._context.settings)

    def mistakes(self, app: Jetio) -> Sequence[str]:
        """What stops the start: passkeys that belong nowhere."""
        try:
            _ = self.place
        except ConfigError as error:
            return error.mistakes
        return ()

    # ---- making one ----------------------------------------------------------------------------------------

    async def begin(self, principal: Principal) -> dict[str, Any]:
        """The options for a new passkey of the caller. Raises 409 `too_many_passkeys`, or 429 `rate_limited`."""
        limit = Limit("passkey account", str(principal.id), _OPTIONS_PER_MINUTE, 60)
        await self._throttle.attempt(self._database, [limit], "Too many requests; try again later")
        await self._alone("expire", {"now": int(time())})

        async def steps(work: UnitOfWork) -> tuple[Sequence[Any], str, bytes]:
            await self._context.locked(work, principal.id)
            known = await self._known(work, principal.id)
            # One account has one handle, so that a device replaces what it has and makes no second.
            values = {"user": principal.id, "now": int(time())}
            called = known[0][1:] if known else next(iter(await self._within(work, "called", values)), None)
            handle = called[0] if called is not None else secrets.token_urlsafe(32)
            return known, handle, await self._wait(work, principal.id, handle)

        known, handle, challenge = await self._database.run_transaction(steps)
        name = principal.username or principal.email or principal.sub
        app = self._context.app
        title = app.title if app is not None else "Jetio"
        return ceremonies.creation(
            self.place, challenge, handle.encode(), name, title, [row[0] for row in known]
        )

    async def add(self, principal: Principal, credential: Credential, name: str, device: Device) -> Passkey:
        """The caller's new passkey; commits. Raises 403 `passkey_refused`, or 409 `too_many_passkeys`."""
        try:
            challenge = ceremonies.challenge_of(credential)
            handle = await self._take(challenge, principal.id)
            made = ceremonies.made(self.place, credential, challenge)
        except Refused:
            raise _refused(403) from None
        now, sealed = int(time()), _hash(made.credential)
        values = {
            "id": sealed, "user_id": principal.id, "handle": handle, "credential": made.credential,
            "public_key": made.public_key, "sign_count": made.sign_count, "name": name,
            "backed_up": made.backed_up, "created": now,
        }  # fmt: skip
        event = self._event("passkey.added", principal.id, device, passkey=sealed)

        async def steps(work: UnitOfWork) -> None:
            await self._context.locked(work, principal.id)  # those that were begun at once come in turn
            known = await self._known(work, principal.id)
            if any(row[1] != handle for row in known):
                raise _refused(403)
            await work.run(self._query("add"), {f"v_{key}": value for key, value in values.items()})
            await self._events.write(event, work)

        try:
            await self._database.run_transaction(steps)
        except ConstraintViolated:  # this account's or another's already
            raise _refused(403) from None
        await self._events.announce(event)
        return Passkey(id=sealed, name=name, created=now, used=None, backed_up=made.backed_up)

    # ---- logging in ----------------------------------------------------------------------------------------

    async def ask(self, device: Device) -> dict[str, Any]:
        """The options for a login: they name no account. Raises 429 `rate_limited`."""
        if device.address is not None:
            limit = Limit("passkey address", origin(device.address), _OPTIONS_PER_MINUTE, 60)
            told = "Too many requests from this address; try again later"
            await self._throttle.attempt(self._database, [limit], told)
        await self._alone("expire", {"now": int(time())})
        challenge = await self._database.run_transaction(lambda work: self._wait(work, None, None))
        return ceremonies.request(self.place, challenge)

    async def authenticate(self, credential: Credential, device: Device) -> Account:
        """The account whose passkey has answered; commits. Raises 401 `passkey_refused`, or 429."""
        limits = self._limits(device)
        try:
            if limits:
                await self._throttle.attempt(self._database, limits)
        except Problem:
            # Not into the table: whoever is refused here may come as often as he likes.
            await self._events.announce(self._event("login.throttled", None, device))
            raise
        held: _Held | None = None
        try:
            challenge = ceremonies.challenge_of(credential)
            await self._take(challenge, None)
            held = await self._held(credential)
            await self._judge(held, credential, challenge)
        except Refused:
            whom = None if held is None else held.account[self._context.facts.key]
            await self._events.record(self._event("passkey.failed", whom, device))
            raise _refused(401) from None
        await self._throttle.forgive(self._database, limits)
        return held.account

    async def _judge(self, held: _Held, credential: Credential, challenge: bytes) -> None:
        if not self._context.facts.is_active(held.account) or not _names(credential, held.handle):
            raise Refused
        count = ceremonies.used(self.place, credential, challenge, held.public_key, held.sign_count)
        # A counter that another request has moved on meanwhile is a copy's (WebAuthn, 6.1.1).
        values = {"id_": held.id, "count": count, "now": int(time())}
        if not await self._alone("use", values):
            raise Refused

    async def _held(self, credential: Credential) -> _Held:
        rows = await self._rows("held", {"id_": _hash(credential["id"])})
        if not rows:
            raise Refused
        key, handle, public_key, sign_count, *row = rows[0]
        return _Held(key, handle, public_key, sign_count, self._context.facts.account(row))

    def _limits(self, device: Device) -> list[Limit]:
        rule = self._lockout
        if device.address is None:
            return []
        return [Limit("login address", origin(device.address), rule.address_failures, rule.address_window)]

    # ---- those that there are ------------------------------------------------------------------------------

    async def list(self, user: Any) -> Sequence[Passkey]:
        """The passkeys of an account, the oldest first."""
        rows = await self._rows("list", {"user": user})
        return [
            Passkey(id=key, name=name, created=created, used=used, backed_up=bool(backed_up))
            for key, name, created, used, backed_up in rows
        ]

    async def remove(self, principal: Principal, key: str, device: Device) -> None:
        """Take one away; all other sessions end, for it may be lost. Commits.

        Raises 404, or 409 `last_login` for the only way into the account.
        """
        event = self._event("passkey.removed", principal.id, device, passkey=key)

        async def steps(work: UnitOfWork) -> None:
            account = await self._context.locked(
                work, principal.id
            )  # of two at once the second sees the first
            removed = await work.run(self._query("remove"), {"id_": key, "user": principal.id})
            if account is None or not removed.count:
                raise not_found()
            await self._further.keep_one(work, account)
            if self._sessions is not None:
                await self._sessions.end_others(work, principal.id, principal.claims.get("sid"))
            await self._events.write(event, work)

        await self._database.run_transaction(steps)
        await self._events.announce(event)

    async def opens(self, work: UnitOfWork, user: Any) -> bool:
        """Whether an account has a passkey."""
        return bool(await self._within(work, "known", {"user": user}))

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take all passkeys of an account away."""
        await work.run(self._query("forget"), {"user": user})

    # ---- challenges ----------------------------------------------------------------------------------------

    async def _wait(self, work: UnitOfWork, user: Any, handle: str | None) -> bytes:
        """A new challenge."""
        challenge, ends = secrets.token_bytes(32), int(time()) + SECONDS
        values = {"hash": _digest(challenge), "user_id": user, "handle": handle, "expires": ends}
        await work.run(self._query("wait"), {f"v_{name}": value for name, value in values.items()})
        return challenge

    async def _take(self, challenge: bytes, user: Any) -> str | None:
        """The handle of a challenge that waits for this account; of several at once one takes it, or Refused."""
        values = {"hash_": _digest(challenge), "user": user, "now": int(time())}
        rows = await self._rows("asked", values)
        if not await self._alone("answer", values) or not rows:
            raise Refused
        handle: str | None = rows[0][0]
        return handle

    # ---- parts ---------------------------------------------------------------------------------------------

    def _event(self, name: str, user: Any, device: Device, **detail: Any) -> AuthEvent:
        whom = None if user is None else str(user)
        return AuthEvent(name=name, user_id=whom, address=device.address, agent=device.agent, detail=detail)

    async def _alone(self, name: str, values: dict[str, Any]) -> int:
        """A statement that is the whole transaction; how many rows it has changed."""
        query = self._query(name)
        done = await self._database.run_transaction(lambda work: work.run_alone(query, values, writes=True))
        return done.count

    async def _rows(self, name: str, values: dict[str, Any]) -> Sequence[Any]:
        query = self._query(name)
        async with self._database.transaction(writes=False) as work:
            rows: Sequence[Any] = query.decode(await work.run_alone(query, values))
        return rows

    async def _known(self, work: UnitOfWork, user: Any) -> Sequence[Any]:
        """The credentials and handles of an account that may have another; raises 409 `too_many_passkeys`."""
        known = await self._within(work, "known", {"user": user})
        if len(known) >= MOST:
            raise Problem(409, "too_many_passkeys", f"An account has at most {MOST} passkeys; remove one")
        return known

    async def _within(self, work: UnitOfWork, name: str, values: dict[str, Any]) -> Sequence[Any]:
        query = self._query(name)
        rows: Sequence[Any] = query.decode(await work.run(query, values))
        return rows

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


_WAITING = ("hash", "user_id", "handle", "expires")
_STORED = (
    "id", "user_id", "handle", "credential", "public_key", "sign_count", "name", "backed_up", "created",
)  # fmt: skip


def _names(credential: Credential, handle: str) -> bool:
    """Whether the browser names the account that the passkey is of: nobody has typed a name."""
    told = credential["response"].get("userHandle") or ""
    meant = base64.urlsafe_b64encode(handle.encode()).rstrip(b"=")
    return hmac.compare_digest(told.encode("utf-8", "replace"), meant)


def _hash(credential: str) -> str:
    return hashlib.sha256(credential.encode("utf-8", "replace")).hexdigest()


def _digest(challenge: bytes) -> str:
    return hashlib.sha256(challenge).hexdigest()


def _refused(status: int) -> Problem:
    return Problem(status, "passkey_refused", "The passkey is not accepted; begin again")
