"""Sessions: one for each login, ended by a logout, and known to every token that it has given."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Database, UnitOfWork

from .context import AuthContext
from .tables import SessionTables
from .transports import refused

__all__ = ["Device", "Kept", "Origin", "Proof", "Session", "Sessions", "claims_of"]

_AMR = {
    "password": ("pwd",),
    "recovery": ("otp",),
    "magic_link": ("otp",),
    "passkey": ("hwk", "user"),
    "mfa": (),
}
_TWO_FACTORS = "passkey"  # a thing that one has, and what unlocks it


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a login came from, as far as the request tells; cut and cleaned so that any database stores it.

    `relayed`: somebody may stand between, so that the address is not for sure the client's.
    """

    address: str | None = None
    agent: str | None = None
    method: str = "password"
    relayed: bool = False

    def __post_init__(self) -> None:
        for name, longest in (("address", 45), ("agent", 200)):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _printable(given)[:longest])


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login, as its owner sees it; times are seconds since 1970."""

    id: str
    created: int
    seen: int
    expires: int
    address: str | None
    agent: str | None
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How and when somebody proved who they are: `password`, or `password+otp`; in seconds since 1970."""

    method: str
    at: int

    @property
    def claims(self) -> dict[str, Any]:
        """As tokens say it: `auth_time` of OpenID Connect, and `amr` in the words of RFC 8176."""
        words = [word for name in self.method.split("+") for word in _AMR.get(name, (name,))]
        return {"auth_time": self.at, "amr": [*words, "mfa"] if self.is_strong else words}

    @property
    def is_strong(self) -> bool:
        """Whether two factors were proved."""
        used = self.method.split("+")
        return len(used) > 1 or _TWO_FACTORS in used


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A session that goes on: its id, the second when it ends whatever is refreshed, and how it began."""

    id: str
    ends: int
    proof: Proof
    claims: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The login that another one goes back to, which is no fresher and lasts no longer; in seconds since 1970."""

    proved: int
    ends: int | None = None


Ending = Callable[[UnitOfWork, Any], Awaitable[None]]
"""Ends what is about to become a session of an account; given the account's key."""


class Sessions:
    """The logins of accounts.

    `seconds` is the longest that one may be kept alive by refreshing, `idle` how long it lasts unused.
    """

    def __init__(self, context: AuthContext, tables: SessionTables, seconds: int, idle: int) -> None:
        self._context, self._seconds, self._idle = context, seconds, idle
        self.endings: list[Ending] = []
        table = tables.sessions
        columns = table.c
        now: Any = bindparam("now", type_=BigInteger)
        own = columns.user_id == bindparam("user", type_=columns.user_id.type)
        lasting = (columns.ended.is_(None), columns.expires > now)
        shown = [columns[name] for name in Session.__slots__]
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "begin": lambda: insert(table).values(
                {name: bindparam(f"v_{name}", type_=columns[name].type) for name in _BEGUN}
            ),
            "expire": lambda: delete(table).where(own, columns.expires <= now),
            "list": lambda: (
                select(*shown)
                .where(own, *lasting, columns.seen > bindparam("unused", type_=BigInteger))
                .order_by(columns.seen.desc(), columns.created.desc(), columns.id)
            ),
            "end": lambda: (
                update(table).where(own, columns.id == bindparam("sid"), *lasting).values(ended=now)
            ),
            "end others": lambda: (
                update(table)
                .where(own, columns.ended.is_(None))
                .where(or_(bindparam("sid", type_=columns.id.type).is_(None), columns.id != bindparam("sid")))
                .values(ended=now)
            ),
            "end borrowed": lambda: (
                update(table)
                .where(columns.actor_id == bindparam("user", type_=columns.actor_id.type))
                .where(columns.ended.is_(None))
                .values(ended=now)
            ),
            "renew": lambda: (
                update(table)
                .where(own, columns.id == bindparam("sid"), *lasting)
                .values(epoch=bindparam("v_epoch"), seen=now)
            ),
            "kept": lambda: select(columns.expires, columns.method, columns.proved, columns.claims).where(
                own, columns.id == bindparam("sid"), *lasting
            ),
            "held": lambda: (
                select(columns.expires).where(own, columns.id == bindparam("sid"), *lasting).with_for_update()
            ),
        }

    async def begin(
        self,
        work: UnitOfWork,
        user: Any,
        epoch: str,
        device: Device,
        claims: Mapping[str, Any],
        *,
        seconds: int | None = None,
        origin: Origin | None = None,
        actor: Any = None,
    ) -> Kept:
        """A new session of an account; `seconds` None: as long as sessions last.

        `origin` None: its owner has just proved who he is. `actor` is the admin who acts in his name.
        """
        now, sid = int(time()), secrets.token_urlsafe(16)
        ends = now + (self._seconds if seconds is None else seconds)
        proved = now
        if origin is not None:
            proved = origin.proved
            ends = ends if origin.ends is None else min(ends, origin.ends)
        values = {
            "id": sid,
            "user_id": user,
            "epoch": epoch,
            "method": device.method,
            "created": now,
            "proved": proved,
            "seen": now,
            "expires": ends,
            "address": device.address,
            "agent": device.agent,
            "claims": json.dumps(dict(claims)) if claims else None,
            "actor_id": actor,
        }
        await work.run(self._query("begin"), {f"v_{name}": value for name, value in values.items()})
        return Kept(id=sid, ends=ends, proof=Proof(method=device.method, at=proved))

    async def forget_expired(self, user: Any) -> None:
        """Drop what has ended by itself. A transaction of its own: it locks rows that a login need not wait for."""
        values = {"user": user, "now": int(time())}

        async def steps(work: UnitOfWork) -> None:
            await work.run_alone(self._query("expire"), values, writes=True)

        await self._database.run_transaction(steps)

    async def list(self, user: Any) -> Sequence[Session]:
        """The sessions of an account that last, the one that was used last first."""
        query = self._query("list")
        async with self._database.transaction(writes=False) as work:
            values = {"user": user, "now": int(time()), "unused": int(time()) - self._idle}
            rows = query.decode(await work.run_alone(query, values))
        found = [Session(**dict(zip(Session.__slots__, row, strict=True))) for row in rows]
        return [replace(item, expires=min(item.expires, item.seen + self._idle)) for item in found]

    async def end(self, work: UnitOfWork, user: Any, sid: str) -> bool:
        """End one session of an account; whether there was such a one."""
        result = await work.run(self._query("end"), {"user": user, "sid": sid, "now": int(time())})
        return result.count > 0

    async def ends_of(self, work: UnitOfWork, user: Any, sid: str | None) -> int | None:
        """When a session of an account ends, which nobody ends before this transaction; None where it is over."""
        query = self._query("held")
        rows = query.decode(await work.run(query, {"user": user, "sid": sid, "now": int(time())}))
        return rows[0][0] if rows else None

    async def end_others(self, work: UnitOfWork, user: Any, sid: str | None) -> None:
        """End all sessions of an account but this one, and those in which it acts for others; None: all.

        The account is locked first: a session that begins now is seen, or sees what it goes back to ended.
        """
        await self._context.locked(work, user)
        values = {"user": user, "now": int(time())}
        await work.run(self._query("end others"), {**values, "sid": sid})
        await work.run(self._query("end borrowed"), values)
        for end in self.endings:
            await end(work, user)

    async def end_all_in(self, session: AsyncSession, user: Any) -> None:
        """End all sessions of an account in the caller's transaction, and those in which it acts for others."""
        values = {"user": user, "sid": None, "now": int(time())}
        await session.execute(self._context.facts.select_by_key().with_for_update(), {"key": user})
        await session.execute(self._statements["end others"](), values)
        await self.end_borrowed_in(session, user)

    async def end_borrowed_in(self, session: AsyncSession, user: Any) -> None:
        """End the sessions in which this account acts for others, in the caller's transaction."""
        await session.execute(self._statements["end borrowed"](), {"user": user, "now": int(time())})

    async def renew(self, work: UnitOfWork, user: Any, sid: str, epoch: str) -> Kept:
        """Keep a session through a change of the password; raises 401 `token_revoked` where it is over."""
        now = int(time())
        await work.run(self._query("renew"), {"user": user, "sid": sid, "v_epoch": epoch, "now": now})
        query = self._query("kept")
        rows = query.decode(await work.run(query, {"user": user, "sid": sid, "now": now}))
        if not rows:  # it was ended between the login and this
            raise refused("The session is over", code="token_revoked")
        ends, method, proved, claims = rows[0]
        return Kept(id=sid, ends=ends, proof=Proof(method=method, at=proved), claims=claims)

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


_BEGUN = (
    "id", "user_id", "epoch", "method", "created", "proved", "seen", "expires", "address", "agent", "claims",
    "actor_id",
)  # fmt: skip


def _printable(text: str) -> str:
    """The text with a sign in the place of each character that a log or a database cannot take."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def claims_of(stored: str | None) -> dict[str, Any]:
    """The further claims with which a session began."""
    found: dict[str, Any] = json.loads(stored) if stored else {}
    return found
