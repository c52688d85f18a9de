"""Compiled statements on asyncpg's connections: prepared once, then run at the driver's price."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from .faults import Busy
from .lending import Lender, Line
from .query import Query, Result, Steps, followed

T = TypeVar("T")

STALE_PLAN = "InvalidCachedStatementError"
"""A table has changed its shape under a prepared statement; nothing was executed."""

_LONGEST = 15_000
"""A longer statement is not kept: it is one of many rows, and the next one has another number of them."""


def is_closed(connection: Any) -> bool:
    """Whether the server or we have closed asyncpg's connection; nobody is asked."""
    return bool(connection.is_closed())


class AsyncpgDriver:
    """Statements on connections that are borrowed from SQLAlchemy's pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._lender = Lender(engine, is_closed)

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool) -> Result:
        line = await self._lender.borrow()
        try:
            return await _run_alone(line, query, values)
        finally:
            await line.part()

    async def follow(self, steps: Steps[T]) -> T:
        # Each statement sees what is committed when it begins, within a transaction as well: BEGIN adds nothing.
        line = await self._lender.borrow()
        try:
            return await followed(steps, partial(_run_alone, line))
        finally:
            await line.part()

    async def begin(self, *, writes: bool) -> _AsyncpgTransaction:
        line = await self._lender.borrow()
        line.is_sound = False
        try:
            await line.connection.execute("BEGIN")
        except BaseException:
            await line.part()
            raise
        line.is_sound = True
        return _AsyncpgTransaction(line)

    async def close(self) -> None:
        await self._lender.settle()  # the engine owns the pool


async def _run_alone(line: Line, query: Query, values: Mapping[str, Any]) -> Result:
    try:
        return await _run(line, query, values)
    except Exception as error:
        if type(error).__name__ != STALE_PLAN:
            raise
    return await _run(line, query, values)


async def _run(line: Line, query: Query, values: Mapping[str, Any]) -> Result:
    sql, arguments = query.prepare(values)
    plan = known = line.plans.get(sql)
    line.is_sound = False  # whoever is cancelled leaves an answer half read
    try:
        if plan is None:
            plan = await _prepare(line, query, sql)
        rows = await plan.fetch(*arguments)
    except Exception as error:
        line.is_sound = _server_refused(error) or (known is not None and _is_refusal(error))
        if type(error).__name__ == STALE_PLAN:
            line.plans.clear()
        raise
    line.is_sound = True
    count = len(rows) if query.returns_rows else int(plan.get_statusmsg().rpartition(" ")[2])
    return Result(rows, count, False)


async def _prepare(line: Line, query: Query, sql: str) -> Any:
    if not line.plans.most or len(sql) > _LONGEST:
        return _Unprepared(line.connection, query, sql)
    plan = await line.connection.prepare(sql)
    line.plans.keep(sql, plan)
    return plan


class _Unprepared:
    """A statement that is not kept, asked as a prepared one is."""

    __slots__ = ("_connection", "_returns_rows", "_sql", "_status")

    def __init__(self, connection: Any, query: Query, sql: str) -> None:
        self._connection, self._returns_rows, self._sql = connection, query.returns_rows, sql

    async def fetch(self, *arguments: Any) -> Any:
        if self._returns_rows:
            return await self._connection.fetch(self._sql, *arguments)
        self._status: str = await self._connection.execute(self._sql, *arguments)
        return ()

    def get_statusmsg(self) -> str:
        return self._status


def _server_refused(error: Exception) -> bool:
    """The server said no, and has ended what it was asked."""
    return bool(getattr(error, "severity", None))


def _is_refusal(error: Exception) -> bool:
    """The server said no, or the driver did before it sent a value.

    The latter is harmless after a statement that was known. What has just been prepared waits for its end,
    with its locks, until there is another statement on that connection.
    """
    return bool(getattr(error, "sqlstate", None))


class _AsyncpgTransaction:
    """A transaction of ours; the pool does not see it, so the connection goes back only when it has ended."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._is_open = True

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result:
        return await _run(self._line, query, values)

    async def commit(self) -> None:
        if await self._end("COMMIT") != "COMMIT":
            # What PostgreSQL answers where an earlier statement of the transaction had failed.
            raise Busy("the transaction had failed and was rolled back")

    async def rollback(self) -> None:
        if self._line.is_sound:
            await self._end("ROLLBACK")
        else:
            self._is_open = False
            self._line.discard()

    async def _end(self, sql: str) -> str:
        line, self._is_open = self._line, False
        line.is_sound = False
        try:
            status: str = await line.connection.execute(sql)
            line.is_sound = True
        finally:
            await line.part()
        return status

    def __del__(self) -> None:
        if self._is_open:
            self._line.discard()
            warnings.warn(
                "a transaction was neither committed nor rolled back", ResourceWarning, stacklevel=2
            )
