"""Connections of SQLAlchemy's pool, lent to statements that need none of what a session does with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ManagesConnection, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn
from sqlalchemy.util.queue import Empty

from .fair_pool import FairPool
from .faults import NoConnectionFree

_LINE, _PLANS = "jetio.line", "jetio.plans"
_SIZES = ("statement_cache_size", "prepared_statement_cache_size")
_USUAL_SIZE = 100  # asyncpg's and SQLAlchemy's default alike


class Plans(dict[str, Any]):
    """What a connection has prepared, by the text of the statement; no more of them than `most`."""

    def __init__(self, most: int) -> None:
        self.most = most

    def keep(self, sql: str, plan: Any) -> None:
        """The oldest goes: one that is in use is prepared anew, once for a hundred others."""
        if len(self) >= self.most:
            del self[next(iter(self))]
        self[sql] = plan


class Line:
    """A borrowed connection: give it back, or discard it, once.

    `is_sound` says whether somebody else may use it after the last statement.
    """

    __slots__ = ("_lender", "connection", "is_sound", "plans")

    def __init__(self, borrowed: ManagesConnection) -> None:
        self._lender: Any = borrowed
        self.connection: Any = borrowed.driver_connection
        self.is_sound = True
        self.plans: Plans = borrowed.info.setdefault(_PLANS, Plans(_USUAL_SIZE))
        if _is_watched(self.connection):
            self.plans.most = 0

    async def part(self) -> None:
        """Give it back where it is sound; it is on its way back also when the task is cancelled."""
        if self.is_sound:
            self._lender.checkin(False)  # it is in no transaction: nothing has to be reset
        else:
            self.discard()

    def discard(self) -> None:
        """Nobody shall get this connection again."""
        try:
            self._lender.invalidate()
        finally:
            self._lender.checkin(False)


class _WrappedLine(Line):
    """A line of somebody who wants to hear of it, or pings it: SQLAlchemy's whole way."""

    __slots__ = ("_leaving",)

    def __init__(self, borrowed: PoolProxiedConnection, leaving: set[asyncio.Task[None]]) -> None:
        super().__init__(borrowed)
        self._leaving = leaving

    async def part(self) -> None:
        """Pools of other kinds, and listeners, may have to wait for the server."""
        if not self.is_sound:
            return self.discard()
        end = asyncio.ensure_future(greenlet_spawn(self._lender._close_special, transaction_reset=True))
        self._leaving.add(end)
        end.add_done_callback(self._leaving.discard)
        await asyncio.shield(end)

    def discard(self) -> None:
        self._lender.invalidate()


def _is_watched(connection: Any) -> bool:
    """Whether somebody logs or traces what goes through `fetch`: a prepared statement would pass them by."""
    traced = hasattr(getattr(type(connection), "fetch", None), "__wrapped__")
    return traced or bool(getattr(connection, "_query_loggers", None))  # asyncpg has no other way to ask


def remember_plans(engine: AsyncEngine) -> None:
    """Give each connection room for as many prepared statements as the developer allows it."""

    def note(_dialect: Any, entry: ManagesConnection, _arguments: Any, options: dict[str, Any]) -> None:
        entry.info[_PLANS] = Plans(min(int(options.get(size, _USUAL_SIZE)) for size in _SIZES))

    event.listen(engine.sync_engine, "do_connect", note)


def forget_lines(engine: AsyncEngine) -> None:
    """Keep the line of a connection no longer than that: as it refers to its entry, a collector would have to come."""

    def forget(_connection: Any, entry: ManagesConnection) -> None:
        entry.info.pop(_LINE, None)

    event.listen(engine.sync_engine, "close", forget)


class Lender:
    """Lends the entries of the pool themselves, without SQLAlchemy's wrapper and its change of stacks.

    The pool counts, recycles and invalidates an entry as it does a wrapped connection. Who listens for
    checkouts or resets, or has connections pinged, gets wrapped ones. `is_closed` asks the driver's
    connection; `resets` is how many listeners for resets are our own.
    """

    def __init__(self, engine: AsyncEngine, is_closed: Callable[[Any], bool], *, resets: int = 0) -> None:
        self._engine: Engine = engine.sync_engine
        self._is_closed, self._resets = is_closed, resets
        self._leaving: set[asyncio.Task[None]] = set()
        pool: Any = self._engine.pool
        ordinary = isinstance(pool, FairPool) and not pool._pre_ping
        self._wraps = not ordinary or pool._should_log_debug()

    async def borrow(self) -> Line:
        """A connection that is not known to be closed."""
        pool: Any = self._engine.pool
        heard = pool.dispatch
        if self._wraps or len(heard.checkout) > 1 or len(heard.reset) > self._resets:  # one checkout is ours
            borrowed: PoolProxiedConnection = await greenlet_spawn(self._engine.raw_connection)
            return _WrappedLine(borrowed, self._leaving)
        if pool.has_idle:
            entry = pool.take()
        elif pool.has_room:
            return await greenlet_spawn(self._open, pool)
        else:
            entry = await _wait(pool)
        line: Line | None = entry.info.get(_LINE)
        if line is None or self._is_spent(pool, entry, line):
            return await greenlet_spawn(self._renew, entry)
        return line

    async def settle(self) -> None:
        """Wait until everything is back."""
        await asyncio.gather(*self._leaving)

    def _is_spent(self, pool: Any, entry: Any, line: Line) -> bool:
        if self._is_closed(line.connection) or entry._is_hard_or_soft_invalidated():
            return True
        return bool(pool._recycle > -1 and time.time() - entry.starttime > pool._recycle)

    def _open(self, pool: Any) -> Line:
        return self._renew(pool._do_get())

    def _renew(self, entry: Any) -> Line:
        """The line of an entry, on a new connection wherever the pool would make one."""
        try:
            entry.get_connection()
            if self._is_closed(entry.driver_connection):
                entry.invalidate()
                entry.get_connection()
        except BaseException as error:
            entry._checkin_failed(error, False)
            raise
        line: Line = entry.info.get(_LINE) or Line(entry)
        entry.info[_LINE] = line
        return line


async def _wait(pool: FairPool) -> Any:
    try:
        return await pool.wait()
    except Empty:
        raise NoConnectionFree("no connection came free in time") from None
