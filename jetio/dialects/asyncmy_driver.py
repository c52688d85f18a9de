"""Compiled statements on asyncmy's connections: one trip for a statement that is the whole transaction."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolResetState

from .faults import Busy, ConnectionLost, StatementTooLong
from .lending import Lender, Line
from .query import Query, Result, Steps, followed

T = TypeVar("T")

_COMMITTED = "jetio.committed"
BUSY = {1020, 1205, 1213}
"""Numbers of lost races: the server has undone the transaction, or a part of it."""
AWAY = {1040, 1053, 1927, 1969, 2002, 2003, 2006, 2013, 2014, 2055}
"""Numbers of errors after which the connection, or the server, is gone."""


def is_closed(connection: Any) -> bool:
    """Whether the server or we have closed asyncmy's connection; nobody is asked."""
    return bool(connection._stream_broken)


class AsyncmyDriver:
    """Statements on connections that are borrowed from SQLAlchemy's pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._lender = Lender(engine, is_closed, resets=1)

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool) -> Result:
        line = await self._lender.borrow()
        try:
            await _let_alone(line)
            result = await _run(line, query, values)
            if line.connection.get_transaction_status():  # a session has left it otherwise than it said
                await _wait(line, line.connection.commit())
            return result
        finally:
            await line.part()

    async def follow(self, steps: Steps[T]) -> T:
        line = await self._lender.borrow()
        try:
            begin = line.connection.cursor().execute("START TRANSACTION READ ONLY")
            await _wait(line, begin)  # all of them see one state
            try:
                found = await followed(steps, partial(_run, line))
            finally:
                if line.is_sound:
                    await _wait(line, line.connection.commit())
            return found
        finally:
            await line.part()

    async def begin(self, *, writes: bool) -> _AsyncmyTransaction:
        line = await self._lender.borrow()
        try:
            await _wait(line, line.connection.begin())
        except BaseException:
            await line.part()
            raise
        return _AsyncmyTransaction(line)

    async def close(self) -> None:
        await self._lender.settle()  # the engine owns the pool


async def _let_alone(line: Line) -> None:
    """Have statements commit by themselves: sessions switch that off, and leave it off."""
    if not line.connection.get_autocommit():
        await _wait(line, line.connection.autocommit(True))


async def _run(line: Line, query: Query, values: Mapping[str, Any]) -> Result:
    sql, arguments = query.prepare(values)
    cursor = line.connection.cursor()
    sql = cursor.mogrify(sql, arguments)
    await _wait(line, cursor.execute(sql))
    if query.made_key is not None:
        return Result((query.made_key(cursor.lastrowid, values),), cursor.rowcount, True)
    return Result(await cursor.fetchall(), cursor.rowcount, False)


async def _wait(line: Line, answer: Awaitable[Any]) -> None:
    """With an alarm of our own in place of the driver's, which makes a task of whatever it waits for."""
    connection, loop = line.connection, asyncio.get_running_loop()
    patience, connection._read_timeout = connection._read_timeout, None
    alarm = loop.call_later(patience, _hang_up, connection) if patience else None
    line.is_sound = False  # whoever is cancelled leaves an answer half read
    try:
        await answer
        line.is_sound = True
    except Exception as error:
        line.is_sound = _server_refused(error)
        if alarm is not None and alarm.when() <= loop.time() and not line.is_sound:
            raise StatementTooLong("the statement took too long") from error
        raise
    finally:
        connection._read_timeout = patience
        if alarm is not None:
            alarm.cancel()


def _hang_up(connection: Any) -> None:
    """A farewell would be waited for as well."""
    if connection._transport is not None:
        connection._transport.abort()


def _server_refused(error: Exception) -> bool:
    """The server said no, and has ended what it was asked; errors of the driver have numbers of their own."""
    code = error.args[0] if error.args else None
    return isinstance(code, int) and code >= 1000 and not 2000 <= code < 3000 and code not in AWAY


class _AsyncmyTransaction:
    """A transaction of ours; the pool does not see it, so the connection goes back only when it has ended."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._is_open, self._is_undone = True, False

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result:
        self._refuse_what_is_left()
        try:
            return await _run(self._line, query, values)
        except Exception as error:
            self._is_undone = bool(error.args) and error.args[0] in BUSY
            raise

    async def commit(self) -> None:
        if self._is_undone or not self._line.is_sound:
            await self.rollback()
            self._refuse_what_is_left()
        await self._end(self._line.connection.commit())

    async def rollback(self) -> None:
        if self._line.is_sound:
            await self._end(self._line.connection.rollback())
        else:
            self._is_open = False
            self._line.discard()

    def _refuse_what_is_left(self) -> None:
        """Behind a lost race the server would take each statement for a transaction of its own."""
        if not self._line.is_sound:
            raise ConnectionLost("the connection was lost")
        if self._is_undone:
            raise Busy("the transaction had failed and was rolled back")

    async def _end(self, answer: Awaitable[Any]) -> None:
        self._is_open = False
        try:
            await _wait(self._line, answer)
        finally:
            await self._line.part()

    def __del__(self) -> None:
        if self._is_open:
            self._line.discard()
            warnings.warn(
                "a transaction was neither committed nor rolled back", ResourceWarning, stacklevel=2
            )


# ---- beside sessions ---------------------------------------------------------------------------------------


def share(engine: AsyncEngine) -> None:
    """Let sessions use the connections that statements use, which commit by themselves.

    A session switches that off, and whoever wants it next switches it on: a connection changes hands for
    nothing where only one of both is at work.
    """
    event.listen(engine.sync_engine, "begin", _join)
    event.listen(engine.sync_engine, "commit", _note)
    event.listen(engine.sync_engine, "reset", _undo)


def _join(connection: Connection) -> None:
    connection.info.pop(_COMMITTED, None)
    held: Any = connection.connection.dbapi_connection
    if connection._is_autocommit_isolation() or not held.get_autocommit():
        return
    try:
        held.autocommit(False)
    except Exception as error:
        raise ConnectionLost("the server is away") from error


def _note(connection: Connection) -> None:
    connection.info[_COMMITTED] = True


def _undo(held: Any, entry: Any, state: PoolResetState) -> None:
    """Roll back, unless a COMMIT was the last that was said, and the server says that nothing is open."""
    if not state.asyncio_safe:
        return
    ended = entry.info.pop(_COMMITTED, False) or state.transaction_was_reset
    driver = held.driver_connection
    if not is_closed(driver) and (driver.get_transaction_status() or not ended):
        held.rollback()
