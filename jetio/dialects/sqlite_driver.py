"""Compiled statements on SQLite: threads of our own, where no request waits inside a thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextvars import Context, copy_context
from typing import Any, TypeVar

from .base import WAIT_SECONDS
from .faults import ConnectionLost
from .query import Query, Result, Steps
from .sqlite_threads import Threads, Wakeups
from .sqlite_turns import Turns, insist, is_busy

T = TypeVar("T")

PRAGMAS = ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL")
READERS = 3
STATEMENTS = 500
"""How many prepared statements a connection keeps: of one that it has forgotten, the text is parsed anew."""


class SQLiteDriver:
    """One thread that writes and a few that read, each with a connection.

    Single reads share a queue. A transaction has a thread to itself: the writer when it writes, else one of
    those kept for reading transactions; who finds it taken waits in the loop.
    """

    def __init__(self, path: str, *, uri: bool) -> None:
        self._path, self._uri = path, uri
        self._readers = Threads("reader", self._connect, READERS)
        self._writer = Turns([Threads("writer", self._connect, 1)])
        self._snapshots = Turns([Threads(f"snapshot-{n}", self._connect, 1) for n in range(READERS)])
        self._wakeups: Wakeups | None = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
            uri=self._uri,
        )
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("PRAGMA busy_timeout=0")  # from here on the loop does the waiting
        except BaseException:
            connection.close()
            raise
        return connection

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool) -> Result:
        sql, arguments = query.prepare(values)
        statement = (_execute, sql, arguments, query.returns_rows)
        calls = self.calls()
        try:
            if writes:
                return await self._writer.single(calls, *statement)
            return await calls.send(self._readers, *statement)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        if not writes:
            return await insist(calls, self._readers, *statement)
        thread = await self._writer.take(calls, again=True)
        try:
            return await insist(calls, thread, *statement)
        finally:
            self._writer.give_back(thread)

    async def follow(self, steps: Steps[T]) -> T:
        """All of it in one crossing, seeing one state of the database; the steps go on in the caller's context."""
        query, values = next(steps)
        sql, arguments = query.prepare(values)
        statement = (sql, arguments, query.returns_rows)
        return await insist(self.calls(), self._readers, _in_context, copy_context(), steps, *statement)

    async def begin(self, *, writes: bool) -> _Transaction:
        calls = self.calls()
        turns = self._writer if writes else self._snapshots
        return _Transaction(calls, turns, await turns.take(calls), writes=writes)

    def calls(self) -> Wakeups:
        """The way back to the running loop; a new loop starts with every thread free.

        RuntimeError while another loop is at work: it would lose its transactions.
        """
        loop = asyncio.get_running_loop()
        if self._wakeups is None or self._wakeups.loop is not loop:
            if self._wakeups is not None:
                self._wakeups.end()
            self._wakeups = Wakeups(loop)
            self._readers.reset()
            self._writer.reset(self._wakeups, _rollback)
            self._snapshots.reset(self._wakeups, _rollback)
        return self._wakeups

    async def close(self) -> None:
        """For good: what comes later is refused."""
        threads = [self._readers, *self._writer.all, *self._snapshots.all]
        for item in threads:
            item.stop()
        for item in threads:
            await asyncio.to_thread(item.join)


class _Transaction:
    """A thread's transaction: begins with its first statement, has the thread to itself until it ends."""

    def __init__(self, calls: Wakeups, turns: Turns, thread: Threads, *, writes: bool) -> None:
        self._calls, self._turns, self._thread, self._writes = calls, turns, thread, writes
        self._open = False

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result:
        if self._calls.is_over:
            raise ConnectionLost("another event loop uses the database since")
        sql, arguments = query.prepare(values)
        statement = (sql, arguments, query.returns_rows)
        if self._open:
            return await self._calls.send(self._thread, _go_on, *statement)
        self._open = True
        begin = "BEGIN IMMEDIATE" if self._writes else "BEGIN"
        return await insist(self._calls, self._thread, _begin_with, begin, *statement)

    async def commit(self) -> None:
        try:
            if self._open and self._writes:
                await self._calls.send(self._thread, _commit)
                self._open = False
        finally:
            await self.rollback()

    async def rollback(self) -> None:
        if self._calls.is_over:
            return  # the thread belongs to others, who found it as new
        if self._open:
            # The thread takes its jobs in order: this one comes after whatever a cancelled request left on
            # its way, and before the first job of who comes next.
            self._thread.put((self._calls, None, (), [_rollback]))
        self._turns.give_back(self._thread)


def _execute(connection: sqlite3.Connection, sql: str, arguments: Any, returns_rows: bool) -> Result:
    cursor = connection.execute(sql, arguments)
    try:
        # fetchall also finishes a statement with RETURNING: before that, nothing is committed.
        return Result(cursor.fetchall() if returns_rows else (), cursor.rowcount, False)
    finally:
        cursor.close()


def _in_context(connection: sqlite3.Connection, context: Context, steps: Steps[T], *first: Any) -> T:
    return context.run(_follow, connection, steps, *first)


def _follow(connection: sqlite3.Connection, steps: Steps[T], *first: Any) -> T:
    connection.execute("BEGIN")
    try:
        return _rest(connection, steps, _execute(connection, *first))
    finally:
        _rollback(connection)


def _rest(connection: sqlite3.Connection, steps: Steps[T], result: Result) -> T:
    try:
        while True:
            query, values = steps.send(result)
            result = _execute(connection, *query.prepare(values), query.returns_rows)
    except StopIteration as end:
        value: T = end.value
        return value
    except sqlite3.OperationalError as error:
        # Only a first statement may be tried again: the steps have gone on since.
        raise (ConnectionLost("the database is locked") if is_busy(error) else error) from error


def _begin_with(connection: sqlite3.Connection, begin: str, *statement: Any) -> Result:
    connection.execute(begin)
    try:
        return _execute(connection, *statement)
    except sqlite3.OperationalError as error:
        if is_busy(error):
            _rollback(connection)  # it will be tried again, BEGIN and all
        raise


def _go_on(connection: sqlite3.Connection, *statement: Any) -> Result:
    _insist_on_transaction(connection)
    return _execute(connection, *statement)


def _commit(connection: sqlite3.Connection) -> None:
    _insist_on_transaction(connection)
    connection.execute("COMMIT")


def _insist_on_transaction(connection: sqlite3.Connection) -> None:
    """SQLite itself ends a transaction for some errors; what came next would last without the rest."""
    if not connection.in_transaction:
        raise ConnectionLost("the transaction has ended before its time")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
