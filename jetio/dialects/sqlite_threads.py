"""Threads with a SQLite connection each, and the way back from them to the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .faults import ConnectionLost

PATIENCE = 0.02
"""How long reads wait behind a slow one before another thread starts to help."""
IDLE = 1.0
"""How long a helper waits for work before it ends."""

T = TypeVar("T")
Job = tuple["Wakeups", Any, tuple[Any, ...], list[Any]]
"""The way back, the future that waits (None: nobody), the arguments, the work: whoever pops that has the job."""


class Wakeups:
    """Makes jobs of one event loop, and wakes it once for all results that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_over = False
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._asked = False

    def send(self, threads: Threads, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """One crossing to a thread and back; when nobody waits any more, the work may not be done at all."""
        future: asyncio.Future[T] = self.loop.create_future()
        threads.put((self, future, arguments, [work]))
        return future

    def end(self) -> None:
        """Another loop takes over; RuntimeError while this one runs."""
        if self.loop.is_running():
            raise RuntimeError(
                "this Database is at work in another event loop; give each event loop a Database of its own"
            )
        self.is_over = True

    def put(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        """Called by the threads."""
        self._done.append((future, value, error))
        if not self._asked:
            self._asked = True
            try:
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._done.clear()

    def _drain(self) -> None:
        self._asked = False
        while self._done:
            future, value, error = self._done.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


class Threads:
    """A thread with a queue of jobs, and up to `most` in all while one job holds the others up.

    Threads that are busy together take the interpreter's lock from each other: one alone is the fastest.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], most: int) -> None:
        self._name, self._connect, self._most = name, connect, most
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._running: list[threading.Thread] = []
        self._taken = 0
        self._watched = self._ending = False

    def put(self, job: Job) -> None:
        """Done in the order of coming, where there is one thread; ConnectionLost after the end."""
        if self._ending:
            if job[1] is not None:
                job[1].set_exception(ConnectionLost("the database was closed"))
            return
        self._jobs.put(job)
        if not self._running:
            self._start()
        elif not self._watched and len(self._running) < self._most and self._jobs.qsize():
            self._watched = True
            loop = job[0].loop
            loop.call_later(PATIENCE, self._watch, loop, self._taken)

    def _watch(self, loop: asyncio.AbstractEventLoop, taken: int) -> None:
        """Start a helper if no job was taken meanwhile; look again as long as jobs wait."""
        waiting = 0 if self._ending else self._jobs.qsize()
        if waiting and taken == self._taken:
            self._start()
        self._watched = bool(waiting) and len(self._running) < self._most
        if self._watched:
            loop.call_later(PATIENCE, self._watch, loop, self._taken)

    def _start(self) -> None:
        idle = IDLE if self._running else None
        thread = threading.Thread(
            target=self._serve, args=(idle,), name=f"jetio-sqlite-{self._name}", daemon=True
        )
        self._running.append(thread)
        thread.start()

    def _serve(self, idle: float | None) -> None:
        connection: sqlite3.Connection | None = None
        with suppress(Empty):
            while (job := self._jobs.get(timeout=idle)) is not None:
                self._taken += 1
                connection = self._do(job, connection)
                del job
            self._jobs.put(None)  # for the next one
        if idle is not None:
            with suppress(ValueError):  # whoever closes has taken it off by then
                self._running.remove(threading.current_thread())
        if connection is not None:
            connection.close()

    def _do(self, job: Job, connection: sqlite3.Connection | None) -> sqlite3.Connection | None:
        calls, future, arguments, held = job
        if future is not None and future.cancelled():
            return connection
        try:
            work = held.pop()
        except IndexError:  # its time was over
            return connection
        value = failure = None
        try:
            connection = connection or self._connect()
            value = work(connection, *arguments)
        except BaseException as error:
            failure = error
        if future is not None:
            calls.put(future, value, failure)
        return connection

    def reset(self) -> None:
        """Forget who was to look after the jobs in a loop that is gone."""
        self._watched = False

    def stop(self) -> None:
        """End when the jobs are done, and take no more."""
        self._ending = True  # what still waits is no reason for a helper, which nobody would end
        self._jobs.put(None)

    def join(self) -> None:
        """Wait for the end."""
        for thread in list(self._running):
            thread.join()
        self._running.clear()
