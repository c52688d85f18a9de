"""SQLAlchemy's pool with a queue of ours: who waits for a connection gets it before whoever comes later."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet
from sqlalchemy.util.queue import Empty, Full, QueueCommon


class FairQueue(QueueCommon[ConnectionPoolEntry]):
    """Idle connections, or those who wait for one: never both.

    An entry that comes back is handed to whoever waits longest. Left in the queue for it, as asyncio's queues
    do, it would go to whoever runs first, and the one that was woken would wait again, behind all others.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize, self.use_lifo = maxsize, use_lifo
        self._idle: deque[ConnectionPoolEntry] = deque()
        self._waiting: deque[asyncio.Future[ConnectionPoolEntry]] = deque()
        self.returned: Callable[[ConnectionPoolEntry], None] = self.put_nowait
        """What takes an entry that was handed to somebody who does not want it any more."""

    def qsize(self) -> int:
        """How many are idle."""
        return len(self._idle)

    def empty(self) -> bool:
        """Whether none is idle."""
        return not self._idle

    def full(self) -> bool:
        """Whether one more would be too many."""
        return 0 < self.maxsize <= len(self._idle)

    def get_nowait(self) -> ConnectionPoolEntry:
        """An idle entry, else Empty."""
        if not self._idle:
            raise Empty
        return self._idle.pop() if self.use_lifo else self._idle.popleft()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:
        """An entry, waited for inside SQLAlchemy's greenlet."""
        if self._idle or not block:
            return self.get_nowait()
        entry: ConnectionPoolEntry = await_only(self.wait(timeout))
        return entry

    async def wait(self, timeout: float | None) -> ConnectionPoolEntry:
        """The next entry that comes back, else Empty."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[ConnectionPoolEntry] = loop.create_future()
        self._waiting.append(waiter)
        alarm = loop.call_later(timeout, _give_up, waiter) if timeout is not None else None
        try:
            return await waiter
        except BaseException:
            self._leave(waiter)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()

    def _leave(self, waiter: asyncio.Future[ConnectionPoolEntry]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif not waiter.cancelled() and waiter.exception() is None:
            self.returned(waiter.result())  # handed over in the moment of the cancellation

    def put_nowait(self, item: ConnectionPoolEntry) -> None:
        """Hand it over or keep it idle, else Full."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter.set_result(item)
        if self.full():
            raise Full
        self._idle.append(item)

    def put(self, item: ConnectionPoolEntry, block: bool = True, timeout: float | None = None) -> None:
        """Nothing is waited for: a pool closes what is too many."""
        self.put_nowait(item)


def _give_up(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(Empty())


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool for asyncio, without barging."""

    _queue_class = FairQueue
    _pool: FairQueue

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pool.returned = self._do_return_conn  # which closes what is too many, and counts it

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        # A farewell waits for the server, and outside of a greenlet nothing can be waited for.
        super()._close_connection(connection, terminate=terminate or not in_greenlet())

    @property
    def has_idle(self) -> bool:
        """Whether an entry can be taken at once."""
        return bool(self._pool._idle)

    @property
    def has_room(self) -> bool:
        """Whether one more connection may be opened."""
        return self._max_overflow == -1 or self._overflow < self._max_overflow

    def take(self) -> ConnectionPoolEntry:
        """An idle entry; it goes back by its `checkin`."""
        return self._pool.get_nowait()

    async def wait(self) -> ConnectionPoolEntry:
        """The next entry that comes back, else Empty after the pool's timeout."""
        return await self._pool.wait(self._timeout)
