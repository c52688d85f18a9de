"""The servers of a database: the primary, replicas that follow it, and which of these is asked next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from time import monotonic
from types import TracebackType
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from .dialects import Busy, ConnectionLost, Dialect, NoConnectionFree, StatementTooLong, dialect_for
from .dialects.base import QUEUE_OPTIONS, WAIT_SECONDS
from .dialects.idle import close_idle, count_idle, cut_off_idle
from .dialects.sqlite import BEGIN_OPTION
from .errors import ConfigError

__all__ = ["Replica", "Replicas", "Server", "replicas_of"]

_log = logging.getLogger("jetio.database")
_OPTIONS = ("echo", "isolation_level", "execution_options")
_EVENTS = ("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute")

PAUSE_SECONDS = 5.0
"""How long a replica that did not answer is left alone."""


class Server:
    """One server: its engine, its sessions, its driver; nothing is opened before the first use."""

    def __init__(self, dialect: Dialect, options: Mapping[str, Any], *, fast_path: bool) -> None:
        self.dialect = dialect
        self.fast_path = fast_path
        self._options = options
        _refuse_autocommit(options)

    @cached_property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, with the listeners that this kind of database needs."""
        own = self._options
        options = self._without_queue(self.dialect.engine_options())
        connect = {**options.pop("connect_args"), **own.get("connect_args", {})}
        engine = create_async_engine(self.dialect.url, **{**options, **own, "connect_args": connect})
        self.dialect.install(engine)
        return engine

    def _without_queue(self, options: dict[str, Any]) -> dict[str, Any]:
        """Ours, without what a pool of the developer's own does not take."""
        if self._options.get("pool") is not None:
            return {
                name: options[name] for name in options if "pool" not in name and name not in QUEUE_OPTIONS
            }
        if issubclass(self._options.get("poolclass", QueuePool), QueuePool):
            return options
        return {name: value for name, value in options.items() if name not in QUEUE_OPTIONS}

    @cached_property
    def driver(self) -> Any:
        """The executor of compiled statements; None where all statements go through a session."""
        return self.dialect.driver(self.engine) if self._said() is None else None

    @cached_property
    def why_session(self) -> str | None:
        """Why all statements go through a session; None where the driver runs them."""
        none = f"no executor for {self.dialect.url.drivername}" if self.driver is None else None
        return self._said() or none

    def _said(self) -> str | None:
        """What the developer said that SQLAlchemy alone obeys."""
        engine: Any = self.engine.sync_engine
        if not self.fast_path:
            return "fast_path=False"
        for name in _OPTIONS:
            if self._options.get(name):
                return f"{name}={self._options[name]!r}"
        for name in _EVENTS:
            if getattr(engine.dispatch, name):
                return f"listener on {name}"
        return "sqlalchemy.engine logs statements" if engine._should_log_info() else None

    @cached_property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        """Sessions that will write."""
        return async_sessionmaker(self.engine, expire_on_commit=False)

    @cached_property
    def reading_sessions(self) -> async_sessionmaker[AsyncSession]:
        """Sessions that take no lock before they write."""
        return self._sessions_with({BEGIN_OPTION: "DEFERRED"})

    @cached_property
    def read_only_sessions(self) -> async_sessionmaker[AsyncSession]:
        """Sessions in which the database refuses to write."""
        return self._sessions_with(self.dialect.read_only)

    def _sessions_with(self, options: Mapping[str, Any]) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self.engine.execution_options(**options), expire_on_commit=False)

    async def start(self) -> None:
        """Forget the connections of an event loop that is gone: they cannot be used in this one."""
        await self.engine.dispose(close=False)

    async def close(self) -> None:
        """Close every connection; a later use opens new ones."""
        driver = self.__dict__.pop("driver", None)  # who comes meanwhile is a later user
        if driver is not None:
            await driver.close()
        if "engine" in self.__dict__:
            await close_idle(self.engine)
            await self.engine.dispose()


def _refuse_autocommit(options: Mapping[str, Any]) -> None:
    """Under it nothing can be undone, and a session that only reads can write."""
    for given in (options, options.get("execution_options") or {}):
        if str(given.get("isolation_level", "")).upper() == "AUTOCOMMIT":
            raise ConfigError(
                "Database(isolation_level='AUTOCOMMIT') has no transactions, which requests are; leave it away, "
                "and write session.connection(execution_options={'isolation_level': 'AUTOCOMMIT'}) where it must be"
            )


class Replica(Server):
    """A server that follows the primary. `with replica:` notes whether it answered.

    It leaves the block quietly when the replica is away, has no connection free, or undid the transaction for
    the sake of its own recovery: then somebody else is to be asked. A statement that took too long would do so
    elsewhere too.
    """

    _away = False
    _rests_until = 0.0
    _trial: asyncio.Task[None] | None = None

    @property
    def answers(self) -> bool:
        """Whether it is worth asking. One that was away is tried beside the requests, after a pause."""
        if self._away and monotonic() >= self._rests_until:
            self._try_beside()
        return not self._away and self._trial is None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, StatementTooLong):
            self._try_beside()  # the statement may be slow, or the server hang
            return False
        if isinstance(error, ConnectionLost) and not isinstance(error, NoConnectionFree):
            self._rest()
        return isinstance(error, ConnectionLost | Busy)

    def _rest(self) -> None:
        if not self._away:
            _log.warning("the replica %r is away; others are asked in its place", self.dialect.url)
        self._away, self._rests_until = True, monotonic() + PAUSE_SECONDS
        cut_off_idle(self.engine)  # a server that comes back elsewhere leaves them silent

    def _try_beside(self) -> None:
        if self._trial is None:
            self._trial = asyncio.ensure_future(self._try())

    async def _try(self) -> None:
        """On all idle connections: silent ones are given up, and one that answers is enough."""
        try:
            said = await asyncio.gather(*(self._hello() for _ in range(count_idle(self.engine) or 1)))
            if None not in said:
                if not all(isinstance(fault, NoConnectionFree) for fault in said):
                    self._rest()
            elif self._away:
                _log.warning("the replica %r is back", self.dialect.url)
                self._away = False
        finally:
            self._trial = None

    async def _hello(self) -> Exception | None:
        """What keeps it from answering."""
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception as error:
            return self.dialect.statement_fault(error)
        return None

    async def start(self) -> None:
        """Forget what was found out in another event loop, too."""
        self._away, self._trial = False, None
        await super().start()

    async def close(self) -> None:
        """Close every connection, and stop looking whether it is back."""
        if self._trial is not None:
            trial = self._trial
            trial.cancel()
            with suppress(asyncio.CancelledError):
                await trial
        await super().close()


class Replicas:
    """The replicas of one primary, asked in turn."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.all = tuple(replicas)
        self._next = 0

    def in_turn(self) -> Iterator[Replica]:
        """Those to ask, one after the other until one answers; none after the time that a request may wait."""
        if not self.all:
            return
        begun, first = monotonic(), self._next
        self._next = (first + 1) % len(self.all)
        for replica in (*self.all[first:], *self.all[:first]):
            if replica.answers:
                yield replica
                if monotonic() - begun > WAIT_SECONDS:
                    return


def replicas_of(
    primary: Dialect, urls: Sequence[str], options: Mapping[str, Any], *, fast_path: bool
) -> Replicas:
    """The replicas at these addresses; raises ConfigError for what cannot be a replica of this primary."""
    if isinstance(urls, str):
        raise ConfigError('Database(replicas=...) is no list; write replicas=["postgresql://..."]')
    if urls and primary.name == "sqlite":
        raise ConfigError(
            "a SQLite database has no replicas: it is read beside its writer as it is; leave `replicas` away"
        )
    followers = []
    for url in urls:
        dialect = dialect_for(url)
        if dialect.url.drivername != primary.url.drivername:
            raise ConfigError(
                f"a replica is {dialect.url.drivername}, and its primary is {primary.url.drivername}; "
                "name servers that follow the primary, with the same driver"
            )
        followers.append(Replica(dialect, options, fast_path=fast_path))
    return Replicas(followers)
