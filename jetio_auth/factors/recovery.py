"""Recovery codes: a second factor on paper, each good for one use."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, func, insert, select, update

from jetio import Database, UnitOfWork

from ..context import AuthContext

__all__ = ["RecoveryCodes"]

COUNT = 10
_BYTES = 15  # 120 bits: from 112 on a plain hash is enough at rest


class RecoveryCodes:
    """Stored as hashes, which no two accounts share."""

    def __init__(self, context: AuthContext, table: Table) -> None:
        self._context = context
        columns = table.c
        user: Any = bindparam("user", type_=columns.user_id.type)
        own, unused = columns.user_id == user, columns.used.is_(None)
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "drop": lambda: delete(table).where(own),
            "insert": lambda: insert(table).values(hash=bindparam("hash_"), user_id=user),
            "use": lambda: (
                update(table)
                .where(columns.hash == bindparam("hash_"), own, unused)
                .values(used=bindparam("now", type_=BigInteger))
            ),
            "left": lambda: select(func.count().label("left")).select_from(table).where(own, unused),
        }

    async def replace(self, work: UnitOfWork, user: Any) -> list[str]:
        """Ten new codes; those from before are good no more. They can be read here alone."""
        codes = [_spelled(secrets.token_bytes(_BYTES)) for _ in range(COUNT)]
        await self.drop(work, user)
        for code in codes:
            await work.run(self._query("insert"), {"hash_": _hash(user, code), "user": user})
        return codes

    async def drop(self, work: UnitOfWork, user: Any) -> None:
        """No code is good any more."""
        await work.run(self._query("drop"), {"user": user})

    async def use(self, user: Any, code: str) -> bool:
        """Whether this is a code that was not used yet; it is used up. Commits. Of several at once one wins."""
        values = {"hash_": _hash(user, code), "user": user, "now": int(time())}
        query = self._query("use")
        used = await self._database.run_transaction(lambda work: work.run_alone(query, values, writes=True))
        return used.count > 0

    async def left(self, user: Any) -> int:
        """How many are still good."""
        query = self._query("left")
        async with self._database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"user": user}))
        return int(rows[0][0])

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


def _spelled(raw: bytes) -> str:
    """Small letters and digits in groups of four."""
    text = base64.b32encode(raw).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash(user: Any, code: str) -> str:
    plain = code.replace("-", "").replace(" ", "").lower()
    return hashlib.sha256(f"{user}\0{plain}".encode("utf-8", "replace")).hexdigest()
