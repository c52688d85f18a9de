"""API tokens: secrets that an account makes for programs, each with scopes, an end and a name."""

from __future__ import annotations

import base64
import secrets
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Protocol

from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, insert, or_, select, update

from jetio import Database, Problem, UnitOfWork

from ..context import AuthContext
from ..digests import digest
from ..model import Account
from ..transports import refused

__all__ = ["PREFIX", "ApiToken", "ApiTokens", "Presented", "is_whole"]

PREFIX = "jtp_"
LONGEST_LIFE = 366 * 86400
USUAL_LIFE = 90 * 86400
MOST = 50
_SEEN_EVERY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """One token, as its owner sees it; times are seconds since 1970."""

    id: str
    name: str
    scopes: Sequence[str]
    created: int
    expires: int
    used: int | None


@dataclass(frozen=True, slots=True)
class Presented:
    """What is stored of a token that a request carries, and whose it is."""

    id: str
    name: str
    scopes: frozenset[str]
    epoch: str
    created: int
    expires: int
    used: int | None
    account: Account


class AccountEpochs(Protocol):
    """What ties a token to the password of its account."""

    def epoch_of(self, account: Account) -> str: ...

    def same_epoch(self, account: Account, epoch: Any) -> bool: ...


class ApiTokens:
    """The tokens of accounts: 256 random bits, of which SHA-256 is stored.

    A token ends by itself, with its account, and with the password that the account had.
    """

    def __init__(self, context: AuthContext, table: Table, accounts: AccountEpochs) -> None:
        self._context, self._table, self._accounts = context, table, accounts
        columns = table.c
        now: Any = bindparam("now", type_=BigInteger)
        own = columns.user_id == bindparam("user", type_=columns.user_id.type)
        seen = or_(columns.used.is_(None), columns.used < now - _SEEN_EVERY)
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "find": self._found_statement,
            "held": lambda: select(columns.id, columns.epoch).where(own),
            "insert": lambda: insert(table).values(
                {name: bindparam(f"v_{name}", type_=columns[name].type) for name in _STORED}
            ),
            "expire": lambda: delete(table).where(own, columns.expires <= now),
            "list": lambda: (
                select(*(columns[name] for name in (*ApiToken.__slots__, "epoch")))
                .where(own, columns.expires > now)
                .order_by(columns.created.desc(), columns.id)
            ),
            "revoke": lambda: delete(table).where(own, columns.id == bindparam("token")),
            "revoke all": lambda: delete(table).where(own),
            "seen": lambda: update(table).where(columns.id == bindparam("token"), seen).values(used=now),
        }

    # ---- of a request --------------------------------------------------------------------------------------

    async def find(self, hashed: str, work: UnitOfWork) -> Any:
        """What is stored of the token with this hash: one statement, whether or not there is such a token."""
        return await work.run_alone(self._query("find"), {"hash_": hashed})

    def read(self, found: Any) -> Presented:
        """The one row of what was found."""
        [[token_id, name, scopes, epoch, created, expires, used, *row]] = self._query("find").decode(found)
        account = self._context.facts.account(row)
        return Presented(token_id, name, frozenset(scopes.split()), epoch, created, expires, used, account)

    async def see(self, presented: Presented) -> None:
        """Remember that a token was used, once a minute: reading must not cost a write each time."""
        now = int(time())
        if presented.used is not None and now - presented.used <= _SEEN_EVERY:
            return
        async with self._database.transaction() as work:
            await work.run_alone(self._query("seen"), {"token": presented.id, "now": now}, writes=True)

    # ---- of an account -------------------------------------------------------------------------------------

    async def make(
        self, work: UnitOfWork, user: Any, name: str, scopes: Sequence[str], seconds: int
    ) -> tuple[str, ApiToken]:
        """A new token and its secret, which is nowhere kept; raises 409 `too_many_tokens`."""
        now = int(time())
        account = await self._locked(work, user)  # who makes several at once does it in turn
        await work.run(self._query("expire"), {"user": user, "now": now})
        if await self._count_good(work, user, account) >= MOST:
            raise Problem(409, "too_many_tokens", f"An account has at most {MOST} tokens; delete one first")
        secret, token_id = new_secret(), secrets.token_urlsafe(12)
        epoch = self._accounts.epoch_of(account)
        values = (token_id, user, digest(secret), epoch, name, " ".join(scopes), now, now + seconds)
        await work.run(
            self._query("insert"),
            {f"v_{column}": value for column, value in zip(_STORED, values, strict=True)},
        )
        made = ApiToken(id=token_id, name=name, scopes=scopes, created=now, expires=now + seconds, used=None)
        return secret, made

    async def _count_good(self, work: UnitOfWork, user: Any, account: Account) -> int:
        """How many tokens are of the present password; the others are dropped."""
        query = self._query("held")
        rows = query.decode(await work.run(query, {"user": user}))
        dead = [token_id for token_id, epoch in rows if not self._accounts.same_epoch(account, epoch)]
        for token_id in dead:
            await self.revoke(work, user, token_id)
        return len(rows) - len(dead)

    async def list(self, user: Any) -> Sequence[ApiToken]:
        """The tokens of an account that are good, the newest first."""
        facts = self._context.facts
        query, by_key = self._query("list"), self._database.shaped((facts, "by key"), facts.select_by_key)
        async with self._database.transaction(writes=False) as work:
            [account] = by_key.decode(await work.run(by_key, {"key": user}))
            rows = query.decode(await work.run(query, {"user": user, "now": int(time())}))
        whose = facts.account(account)
        return [_shown(row) for *row, epoch in rows if self._accounts.same_epoch(whose, epoch)]

    async def revoke(self, work: UnitOfWork, user: Any, token_id: str | None) -> int:
        """End one token of an account, or all; how many there were."""
        if token_id is None:
            return (await work.run(self._query("revoke all"), {"user": user})).count
        return (await work.run(self._query("revoke"), {"user": user, "token": token_id})).count

    def _found_statement(self) -> Executable:
        tokens, facts = self._table, self._context.facts
        key = facts.columns[facts.key]
        own = [tokens.c[name] for name in ("id", "name", "scopes", "epoch", "created", "expires", "used")]
        columns = [*own, *(facts.columns[name] for name in facts.fetched)]
        labelled = [column.label(f"c{place}") for place, column in enumerate(columns)]
        joined = tokens.join(key.table, tokens.c.user_id == key)
        return select(*labelled).select_from(joined).where(tokens.c.hash == bindparam("hash_"))

    async def _locked(self, work: UnitOfWork, user: Any) -> Account:
        account = await self._context.locked(work, user)
        if account is None:  # pragma: no cover - deleted in the moment since its login was looked up
            raise refused("The account is gone", code="token_revoked")
        return account

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


_STORED = ("id", "user_id", "hash", "epoch", "name", "scopes", "created", "expires")


def new_secret() -> str:
    """A secret that scanners know by its beginning, and a mistyped one by its end."""
    body = PREFIX + secrets.token_urlsafe(32)
    return body + _checksum(body)


def is_whole(token: str) -> bool:
    """Whether the checksum fits: what was cut or mistyped costs no question to the database."""
    return token.isascii() and token[-6:] == _checksum(token[:-6])


def _checksum(text: str) -> str:
    digits = zlib.crc32(text.encode()).to_bytes(4, "big")
    return base64.urlsafe_b64encode(digits).rstrip(b"=").decode()


def _shown(row: Sequence[Any]) -> ApiToken:
    values = dict(zip(ApiToken.__slots__, row, strict=True))
    return ApiToken(**{**values, "scopes": values["scopes"].split()})
