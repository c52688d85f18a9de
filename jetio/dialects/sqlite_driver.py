"""Compiled statements on SQLite: threads of our own, where no request waits inside a thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .base import WAIT_SECONDS
from .faults import ConnectionLost
from .query import Query, Result

PRAGMAS = ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL")
READERS = 3
PATIENCE = 0.02
"""How long reads wait behind a slow one before another thread starts to help."""
IDLE = 1.0
"""How long a helper waits for work before it ends."""

T = TypeVar("T")
Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any] | None", "_Wakeups"]


class SQLiteDriver:
    """One thread that writes and a few that read, each with a connection.

    Single reads share a queue. A transaction has a thread to itself: the writer when it writes, else one of
    those kept for reading transactions; who finds it taken waits in the loop.
    """

    def __init__(self, path: str, *, uri: bool) -> None:
        self._path, self._uri = path, uri
        self._readers = _Threads("reader", self._connect, READERS)
        self._writer = _Seats([_Threads("writer", self._connect, 1)])
        self._snapshots = _Seats([_Threads(f"snapshot-{n}", self._connect, 1) for n in range(READERS)])
        self._wakeups: _Wakeups | None = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, uri=self._uri
        )
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA busy_timeout=0")  # from here on the loop does the waiting
        return connection

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool) -> Result:
        sql, arguments = query.prepare(values)
        call = self.calls()
        if not writes:
            return await call.insist(self._readers, _execute, sql, arguments, query.returns_rows)
        thread = await self._writer.take()
        try:
            return await call.insist(thread, _execute, sql, arguments, query.returns_rows)
        finally:
            self._writer.give_back(thread)

    async def begin(self, *, writes: bool) -> _Transaction:
        call = self.calls()
        seats = self._writer if writes else self._snapshots
        return _Transaction(call, seats, await seats.take(), writes=writes)

    def calls(self) -> _Wakeups:
        """The way back to the running loop; a new loop starts with every seat free."""
        loop = asyncio.get_running_loop()
        if self._wakeups is None or self._wakeups.loop is not loop:
            self._wakeups = _Wakeups(loop)
            self._writer.reset(self._wakeups)
            self._snapshots.reset(self._wakeups)
        return self._wakeups

    async def close(self) -> None:
        threads = [self._readers, *self._writer.all, *self._snapshots.all]
        for item in threads:
            item.stop()
        for item in threads:
            await asyncio.to_thread(item.join)


class _Transaction:
    """A thread's transaction: begins with its first statement, owns the thread's seat until it ends."""

    def __init__(self, calls: _Wakeups, seats: _Seats, thread: _Threads, *, writes: bool) -> None:
        self._calls, self._seats, self._thread, self._writes = calls, seats, thread, writes
        self._open = False

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result:
        sql, arguments = query.prepare(values)
        statement = (sql, arguments, query.returns_rows)
        if self._open:
            return await self._calls.call(self._thread, _execute, *statement)
        self._open = True
        begin = "BEGIN IMMEDIATE" if self._writes else "BEGIN"
        return await self._calls.insist(self._thread, _begin_with, begin, *statement)

    async def commit(self) -> None:
        try:
            if self._open and self._writes:
                await self._calls.call(self._thread, _commit)
                self._open = False
        finally:
            await self.rollback()

    async def rollback(self) -> None:
        if self._open:
            # The thread takes its jobs in order: this one comes after whatever a cancelled request left on
            # its way, and before the first job of who sits here next.
            self._thread.put((_rollback, (), None, self._calls))
        self._seats.give_back(self._thread)


def _execute(connection: sqlite3.Connection, sql: str, arguments: Any, returns_rows: bool) -> Result:
    cursor = connection.execute(sql, arguments)
    try:
        # fetchall also finishes a statement with RETURNING: before that, nothing is committed.
        return Result(cursor.fetchall() if returns_rows else (), cursor.rowcount, False)
    finally:
        cursor.close()


def _begin_with(connection: sqlite3.Connection, begin: str, *statement: Any) -> Result:
    connection.execute(begin)
    return _execute(connection, *statement)


def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class _Seats:
    """Threads that are one request's own for a while; who comes first is served first."""

    def __init__(self, threads: list[_Threads]) -> None:
        self.all = threads
        self._free = list(threads)
        self._permits = asyncio.Semaphore(len(threads))

    def reset(self, calls: _Wakeups) -> None:
        """Take back what the requests of a loop that is gone have kept."""
        for thread in self.all:
            if thread not in self._free:
                thread.put((_rollback, (), None, calls))
        self._free = list(self.all)
        self._permits = asyncio.Semaphore(len(self.all))

    async def take(self) -> _Threads:
        """Raises ConnectionLost when none comes free in time."""
        if not self._permits.locked():
            await self._permits.acquire()
            return self._free.pop()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._permits.acquire()
        except TimeoutError:
            raise ConnectionLost("no thread of the database came free in time") from None
        return self._free.pop()

    def give_back(self, thread: _Threads) -> None:
        """To whoever waits longest."""
        self._free.append(thread)
        self._permits.release()


class _Wakeups:
    """Calls threads from one event loop, and wakes it once for all results that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._asked = False

    async def insist(self, threads: _Threads, work: Callable[..., T], *arguments: Any) -> T:
        """Where another process or a session holds the lock, wait here and not in the thread."""
        try:
            return await self.call(threads, work, *arguments)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        deadline, pause = self.loop.time() + WAIT_SECONDS, 0.001
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
            try:
                return await self.call(threads, work, *arguments)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or self.loop.time() > deadline:
                    raise

    async def call(self, threads: _Threads, work: Callable[..., T], *arguments: Any) -> T:
        """One crossing to a thread and back; when nobody waits any more, the work may not be done at all."""
        future: asyncio.Future[T] = self.loop.create_future()
        threads.put((work, arguments, future, self))
        return await future

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


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY


class _Threads:
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
        self._jobs.put(job)
        if not self._running:
            self._start()
        elif not self._watched and len(self._running) < self._most and self._jobs.qsize():
            self._watched = True
            job[3].loop.call_later(PATIENCE, self._watch, job[3].loop, self._taken)

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
        work, arguments, future, calls = job
        if future is not None and future.cancelled():
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

    def stop(self) -> None:
        self._ending = True  # what still waits is no reason for a helper, which nobody would end
        self._jobs.put(None)

    def join(self) -> None:
        for thread in list(self._running):
            thread.join()
        self._running.clear()
        self._jobs = SimpleQueue()
        self._ending = False
