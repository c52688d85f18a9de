"""Sessions in the application's database: all workers know them, and a restart keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, insert, select, update

from jetio import ConfigError, Database, Jetio

from ..tables import stored_sessions_table

__all__ = ["DatabaseSessions"]

_SWEPT_EVERY = 3600


class DatabaseSessions:
    """Kept in the table `jetio_auth_stored_sessions` of an application."""

    def __init__(self, app: Jetio | None = None) -> None:
        self._app: Jetio | None = None
        self._statements: Mapping[str, Callable[[], Executable]] = {}
        self._swept = 0.0
        if app is not None:
            self.bind(app)

    def bind(self, app: Jetio) -> None:
        """Add the table to the application's."""
        self._app = app
        self._statements = _statements(stored_sessions_table(app.metadata))

    async def read(self, name: str) -> str | None:
        """The text, None where there is none or it is over."""
        query = self._query("read")
        async with self._database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"name_": name, "now": int(time())}))
        return rows[0][0] if rows else None

    async def write(self, name: str, text: str, seconds: int) -> None:
        """Keep a text under a name that is new."""
        now = int(time())
        if now - self._swept > _SWEPT_EVERY:
            self._swept = now
            await self._change("expire", {"now": now})
        await self._change("write", {"name_": name, "new": text, "until": now + seconds})

    async def swap(self, name: str, old: str, new: str, seconds: int) -> bool:
        """Replace a text that is still `old`."""
        now = int(time())
        values = {"name_": name, "old": old, "new": new, "until": now + seconds, "now": now}
        return await self._change("swap", values) > 0

    async def delete(self, name: str) -> None:
        """Forget a text."""
        await self._change("delete", {"name_": name})

    async def _change(self, name: str, values: Mapping[str, Any]) -> int:
        async with self._database.transaction() as work:
            count: int = (await work.run_alone(self._query(name), values, writes=True)).count
        return count

    @property
    def _database(self) -> Database:
        if self._app is None:
            raise ConfigError("DatabaseSessions() knows no database; write DatabaseSessions(app)")
        return self._app.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((DatabaseSessions, name), self._statements[name])


def _statements(table: Table) -> Mapping[str, Callable[[], Executable]]:
    columns = table.c
    named = columns.name == bindparam("name_", type_=columns.name.type)
    lasts = columns.expires > bindparam("now", type_=BigInteger)
    new = bindparam("new", type_=columns.text.type)
    until = bindparam("until", type_=BigInteger)
    return {
        "read": lambda: select(columns.text).where(named, lasts),
        "write": lambda: insert(table).values(name=bindparam("name_"), text=new, expires=until),
        "swap": lambda: (
            update(table)
            .where(named, lasts, columns.text == bindparam("old", type_=columns.text.type))
            .values(text=new, expires=until)
        ),
        "delete": lambda: delete(table).where(named),
        "expire": lambda: delete(table).where(columns.expires <= bindparam("now", type_=BigInteger)),
    }
