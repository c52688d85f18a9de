"""Who has SQLite's threads when: single writes one after the other, transactions alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from .base import WAIT_SECONDS
from .faults import ConnectionLost
from .sqlite_threads import Job, Threads, Wakeups

T = TypeVar("T")


class Turns:
    """Threads that transactions have one by one, and single statements in between.

    Who comes first is served first. A single statement that finds neither a transaction nor anybody waiting
    goes into the thread's queue at once. It never comes between the statements of a transaction: it stands in
    that queue before the first of them, or is put there after the last.
    """

    def __init__(self, threads: list[Threads]) -> None:
        self.all = threads
        self._free = list(threads)
        self._line: deque[Job] = deque()
        self._again: deque[Job] = deque()
        self._coming: deque[tuple[float, Job]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def reset(self, calls: Wakeups, undo: Callable[..., Any]) -> None:
        """Take back what the requests of a loop that is gone have kept, and forget who waited there."""
        for thread in self.all:
            if thread not in self._free:
                thread.put((calls, None, (), [undo]))
        self._free = list(self.all)
        self._timer = None
        for waiting in (self._line, self._again, self._coming):
            waiting.clear()

    def single(self, calls: Wakeups, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """A statement that is its own transaction; ConnectionLost when its turn does not come in time."""
        future: asyncio.Future[T] = calls.loop.create_future()
        job = (calls, future, arguments, [work])
        self._expect(calls.loop, job)
        if self._free:  # then nobody waits
            self._free[-1].put(job)
        else:
            self._line.append(job)
        return future

    async def take(self, calls: Wakeups, *, again: bool = False) -> Threads:
        """A thread for one alone; raises ConnectionLost when none comes free in time.

        `again`: before all who came later, for who had a turn and found the database locked.
        """
        if self._free:
            return self._free.pop()
        future: asyncio.Future[Threads] = calls.loop.create_future()
        job: Job = (calls, future, (), [None])
        self._expect(calls.loop, job)
        (self._again if again else self._line).append(job)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self.give_back(future.result())
            raise

    def give_back(self, thread: Threads) -> None:
        """To whoever waits longest."""
        self._free.append(thread)
        while self._free and (waiting := self._again or self._line):
            job = waiting.popleft()
            if job[1].done():
                continue
            if job[3][0] is None:  # asks for the thread itself
                job[1].set_result(self._free.pop())
            else:
                self._free[-1].put(job)

    def _expect(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        """Remember since when it waits, and forget those who do so no more."""
        coming = self._coming
        while coming and coming[0][1][1].done():
            coming.popleft()
        coming.append((loop.time(), job))
        if self._timer is None:
            self._timer = loop.call_later(WAIT_SECONDS, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell those who have waited too long, unless a thread is at their work already."""
        coming, oldest = self._coming, loop.time() - WAIT_SECONDS
        while coming and (coming[0][1][1].done() or coming[0][0] <= oldest):
            job = coming.popleft()[1]
            with suppress(IndexError):
                if not job[1].done():
                    job[3].pop()
                    job[1].set_exception(ConnectionLost("no thread of the database came free in time"))
        self._timer = loop.call_at(coming[0][0] + WAIT_SECONDS, self._expire, loop) if coming else None


async def insist(calls: Wakeups, threads: Threads, work: Callable[..., T], *arguments: Any) -> T:
    """Where another process or a session holds the lock, wait here and not in the thread."""
    deadline, pause = calls.loop.time() + WAIT_SECONDS, 0.001
    while True:
        try:
            return await calls.send(threads, work, *arguments)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or calls.loop.time() > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether somebody else holds the lock."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
