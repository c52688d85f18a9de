"""Refresh tokens: each is used once, and one that comes back ends its whole session (RFC 9700, section 4.14)."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, bindparam, delete, insert, select, update

from jetio import Problem, UnitOfWork

from ..context import AuthContext
from ..digests import digest
from ..model import Account
from ..sessions import Kept, Proof
from ..tables import SessionTables
from ..transports import REFUSED, refused

__all__ = ["RefreshTokens", "Refreshed", "TokenReused"]

GRACE = 10
"""Seconds in which a used token still gets the successor that it got: tabs that refresh at once."""

REMEMBERED = 100
"""So many used tokens of a session are known when they come back; an older one is unknown, and as useless."""


class TokenReused(Problem):
    """401 `token_reused`: a used token came back, and its session has been ended."""

    def __init__(self, user: Any, sid: str) -> None:
        detail = "The refresh token was used before; the session is over"
        super().__init__(401, code="token_reused", detail=detail, headers=REFUSED)
        self.user, self.sid = user, sid


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """A session that goes on: whose it is, its next token, and the second when that expires."""

    account: Account
    session: Kept
    token: str
    expires: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A presented token as it is stored, its session, and the account."""

    used: int | None
    expires: int
    sid: str
    ended: int | None
    session_expires: int
    epoch: str
    claims: str | None
    method: str
    proved: int
    account: Account

    @property
    def session(self) -> Kept:
        """The session, as it goes on."""
        proof = Proof(method=self.method, at=self.proved)
        return Kept(id=self.sid, ends=self.session_expires, proof=proof, claims=self.claims)


class RefreshTokens:
    """Opaque tokens of 256 bits, stored hashed. `key` derives a successor from the token it follows.

    `same_epoch(account, epoch)` tells whether the password is the one of the session's beginning.
    """

    def __init__(
        self,
        context: AuthContext,
        tables: SessionTables,
        seconds: int,
        key: Callable[[], bytes],
        same_epoch: Callable[[Account, str], bool],
    ) -> None:
        self._context, self._tables, self._seconds = context, tables, seconds
        self._key, self._same_epoch = key, same_epoch
        sessions, tokens = tables.sessions.c, tables.tokens.c
        now: Any = bindparam("now", type_=BigInteger)
        presented = tokens.hash == bindparam("hash_")
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "insert": lambda: insert(tables.tokens).values(
                hash=bindparam("hash_"), session_id=bindparam("sid"), expires=bindparam("until")
            ),
            "use": lambda: (
                update(tables.tokens)
                .where(presented, tokens.used.is_(None), tokens.expires > now)
                .values(used=now)
            ),
            "held": self._held_statement,
            "seen": lambda: (
                update(tables.sessions)
                .where(sessions.id == bindparam("sid"), sessions.ended.is_(None))
                .values(seen=now)
            ),
            "end": lambda: (
                update(tables.sessions)
                .where(sessions.id == bindparam("sid"), sessions.ended.is_(None))
                .values(ended=now)
            ),
            "expire": lambda: delete(tables.tokens).where(
                tokens.session_id == bindparam("sid"), tokens.expires <= now
            ),
            "oldest": lambda: (
                select(tokens.used)
                .where(tokens.session_id == bindparam("sid"), tokens.used.is_not(None))
                .order_by(tokens.used.desc())
                .limit(1)
                .offset(REMEMBERED)
            ),
            "forget": lambda: delete(tables.tokens).where(
                tokens.session_id == bindparam("sid"), tokens.used <= bindparam("until")
            ),
            "drop": lambda: delete(tables.tokens).where(tokens.session_id == bindparam("sid")),
        }

    def _held_statement(self) -> Executable:
        sessions, tokens, facts = self._tables.sessions, self._tables.tokens, self._context.facts
        key = facts.columns[facts.key]
        joined = tokens.join(sessions, tokens.c.session_id == sessions.c.id).join(
            key.table, sessions.c.user_id == key
        )
        own = (
            tokens.c.used, tokens.c.expires, sessions.c.id, sessions.c.ended,
            sessions.c.expires, sessions.c.epoch, sessions.c.claims, sessions.c.method, sessions.c.proved,
        )  # fmt: skip
        columns = [facts.columns[name] for name in facts.fetched]
        labelled = [column.label(f"c{place}") for place, column in enumerate((*own, *columns))]
        return select(*labelled).select_from(joined).where(tokens.c.hash == bindparam("hash_"))

    async def first(self, work: UnitOfWork, sid: str, session_expires: int) -> tuple[str, int]:
        """The first token of a session, and the second when it expires."""
        token = secrets.token_urlsafe(32)
        return token, await self._insert(work, token, sid, session_expires)

    async def replace(self, work: UnitOfWork, sid: str, session_expires: int) -> tuple[str, int]:
        """A first token again: those that the session had are no more."""
        await work.run(self._query("drop"), {"sid": sid})
        return await self.first(work, sid, session_expires)

    async def session_of(self, work: UnitOfWork, token: str) -> str | None:
        """The session that a token is of, if there is such a token."""
        query = self._query("held")
        rows = query.decode(await work.run(query, {"hash_": digest(token)}))
        return rows[0][2] if rows else None

    async def rotate(self, token: str) -> Refreshed:
        """Use a token up and give its successor.

        Raises 401: `token_reused` where it was used before, which ends the session; `token_revoked` where the
        session is over, `token_expired` where the token is; `not_authenticated` where there was no such token.
        """
        database, now = self._context.database, int(time())
        async with database.transaction(writes=False) as work:
            sid = (await self._held(work, digest(token))).sid
        found = await database.run_transaction(partial(self._rotate, token, sid, now))
        if isinstance(found, _Held):
            raise TokenReused(found.account[self._context.facts.key], found.sid)
        return found

    async def _rotate(self, token: str, sid: str, now: int, work: UnitOfWork) -> Refreshed | _Held:
        """What the token is good for; a token that came back, with its session ended.

        The session is locked before its tokens, as a change of the password does it. Nothing is read before:
        MariaDB would go on reading what was there then.
        """
        hashed = digest(token)
        await work.run(self._query("seen"), {"sid": sid, "now": now})
        # Of two who come at once the database lets one through; the other sees the time of use.
        used = (await work.run(self._query("use"), {"hash_": hashed, "now": now})).count > 0
        held = await self._held(work, hashed)
        self._judge(held, now)
        if used or (held.used is not None and now - held.used <= GRACE):
            return await self._succeed(work, token, held, now, first=used)
        await work.run(self._query("end"), {"sid": held.sid, "now": now})
        return held

    async def _succeed(
        self, work: UnitOfWork, token: str, held: _Held, now: int, *, first: bool
    ) -> Refreshed:
        successor = self._successor(token)
        if first:
            expires = await self._insert(work, successor, held.sid, held.session_expires)
            await work.run(self._query("expire"), {"sid": held.sid, "now": now})
            await self._forget_oldest(work, held.sid, now)
        else:
            expires = min(now + self._seconds, held.session_expires)
        return Refreshed(account=held.account, session=held.session, token=successor, expires=expires)

    async def _forget_oldest(self, work: UnitOfWork, sid: str, now: int) -> None:
        """Whoever refreshes all day must not fill the table; what is used this moment stays for its tabs."""
        query = self._query("oldest")
        rows = query.decode(await work.run(query, {"sid": sid}))
        if rows:
            await work.run(self._query("forget"), {"sid": sid, "until": min(rows[0][0], now - GRACE - 1)})

    def _judge(self, held: _Held, now: int) -> None:
        if held.ended is not None or held.session_expires <= now:
            raise _over()
        if not self._context.facts.is_active(held.account) or not self._same_epoch(held.account, held.epoch):
            raise _over()
        if held.expires <= now:
            raise refused("The refresh token has expired", code="token_expired")

    async def _held(self, work: UnitOfWork, hashed: str) -> _Held:
        query = self._query("held")
        rows = query.decode(await work.run(query, {"hash_": hashed}))
        if not rows:
            raise refused("The refresh token is not known")
        used, expires, sid, ended, ends, epoch, claims, method, proved, *row = rows[0]
        account = self._context.facts.account(row)
        return _Held(used, expires, sid, ended, ends, epoch, claims, method, proved, account)

    async def _insert(self, work: UnitOfWork, token: str, sid: str, session_expires: int) -> int:
        expires = min(int(time()) + self._seconds, session_expires)
        await work.run(self._query("insert"), {"hash_": digest(token), "sid": sid, "until": expires})
        return expires

    def _successor(self, token: str) -> str:
        """Derived, so that whoever repeats a refresh gets the same one and nothing is stored in clear."""
        digest = hmac.digest(self._key(), token.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _query(self, name: str) -> Any:
        return self._context.database.shaped((self, name), self._statements[name])


def _over() -> Problem:
    return refused("The session is over", code="token_revoked")
