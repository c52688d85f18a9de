"""One database: its engine, its sessions, and the unit of work that a request runs in."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import Executable, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from .config import DEFAULT_DATABASE_URL
from .dialects import (
    Busy,
    ConnectionLost,
    Query,
    Result,
    StatementTooLong,
    StepFailed,
    Steps,
    Transaction,
    carried,
    dialect_for,
    followed,
)
from .dialects.base import ANSWER_SECONDS
from .dialects.json_text import JsonText
from .replicas import Server, replicas_of
from .tables import create_tables, tell_stale_tables

__all__ = ["Database", "UnitOfWork", "create_engine_for_url"]

_log = logging.getLogger("jetio.database")
_SHAPES = 500
_HELLO = text("SELECT 1")
T = TypeVar("T")
TRIES = 3


class Database:
    """A database by its URL; nothing is opened before the first use.

    `replicas` are the addresses of servers that follow this one: lists and single rows of routers are read
    there, and what asks for a `ReadSession`. `fast_path=False` sends every statement through an
    `AsyncSession`. `database_json=False` lets no database make the JSON of answers. Further keyword arguments
    go to SQLAlchemy's `create_async_engine`, for every server.
    """

    def __init__(
        self,
        url: str = DEFAULT_DATABASE_URL,
        *,
        replicas: Sequence[str] = (),
        fast_path: bool = True,
        database_json: bool = True,
        **engine_options: Any,
    ) -> None:
        self.dialect = dialect_for(url)
        self.fast_path = fast_path
        self._database_json = database_json
        self.primary = Server(self.dialect, engine_options, fast_path=fast_path)
        self._replicas = replicas_of(self.dialect, replicas, engine_options, fast_path=fast_path)
        self._queries: dict[Hashable, Query] = {}
        self._before: dict[Hashable, Query] = {}
        self._keeping = threading.Lock()  # steps ask for shapes in the threads of SQLite, too

    def __repr__(self) -> str:
        shown = [server.dialect.url.render_as_string(hide_password=True) for server in self._all()]
        return f"Database({shown[0]!r}, replicas={shown[1:]!r})" if shown[1:] else f"Database({shown[0]!r})"

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, with the listeners that this kind of database needs."""
        return self.primary.engine

    @property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        """A session that may write: `async with database.sessions() as session`."""
        return self.primary.sessions

    @property
    def driver(self) -> Any:
        """The executor of compiled statements; None where all statements go through a session."""
        return self.primary.driver

    @property
    def why_session(self) -> str | None:
        """Why all statements go through a session; None where the driver runs them."""
        return self.primary.why_session

    @property
    def json(self) -> JsonText | None:
        """What writes JSON in the database; None where answers are made of rows."""
        return self.dialect.json if self._database_json and self.why_session is None else None

    @cached_property
    def joins_questions(self) -> bool:
        """Whether one statement may ask two things at once, one of them about rows, which replicas have."""
        return self.dialect.joins_questions and self.why_session is None and not self._replicas.all

    def query(self, statement: Executable) -> Query:
        """Compile a statement; keep the result, compiling is the slow part."""
        return Query(statement, self.dialect, self.engine.sync_engine.dialect)

    def known(self, key: Hashable | None) -> Query | None:
        """The compiled statement of a shape that was seen before."""
        return self._queries.get(key) or self._seen_again(key)

    def _seen_again(self, key: Hashable | None) -> Query | None:
        """A shape of the generation before this one, which goes over into this one."""
        query = self._before.get(key)
        if query is not None:
            self._keep(key, query)
        return query

    def _keep(self, key: Hashable, query: Query) -> None:
        """When a generation is full the next one begins: shapes that nobody asks for in it are forgotten after it."""
        with self._keeping:
            if len(self._queries) >= _SHAPES:
                self._before, self._queries = self._queries, {}
            self._queries[key] = query

    def shaped(
        self,
        key: Hashable | None,
        build: Callable[[], Executable],
        binds: Callable[[], Sequence[Any]] = tuple,
    ) -> Query:
        """The compiled statement of this shape, built and compiled when the shape is first seen.

        `binds` gives the parameters that the built statement's clauses hold; the query remembers their names,
        in that order. No key: nothing is kept.
        """
        query = self.known(key) if key is not None else None
        if query is None:
            query = self.query(build())
            query.clause_names = tuple(query.names[bind] for bind in binds())
            if key is not None:
                self._keep(key, query)
        return query

    def unit_of_work(self, *, writes: bool = True) -> UnitOfWork:
        """The transaction of one request; takes no connection before the first statement."""
        return UnitOfWork(self, self.primary, writes=writes)

    def read(self, work: UnitOfWork, steps: Callable[[UnitOfWork], Awaitable[T]]) -> Awaitable[T]:
        """Run steps that read what a caller may see: on a replica that answers, else in this unit of work.

        Where there are replicas, what the unit of work has begun is committed first, and steps that a replica
        did not finish are run again elsewhere: not where a statement took too long, and never after ten seconds.
        """
        return self._read_apart(work, steps) if self._replicas.all else steps(work)

    async def _read_apart(self, work: UnitOfWork, steps: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        await work.commit()
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as deadline:
                return await self._read_in_turn(work, steps)
        except TimeoutError as error:
            raise (StatementTooLong("no server answered in time") if deadline.expired() else error) from error

    async def _read_in_turn(self, work: UnitOfWork, steps: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        for replica in self._replicas.in_turn():
            reading = UnitOfWork(self, replica, writes=False, read_only=True)
            with replica:
                try:
                    found = await steps(reading)
                    await reading.commit()
                    return found
                finally:
                    await reading.rollback()
        return await steps(work)

    async def reading(self) -> UnitOfWork:
        """A unit of work in which nothing can be written: on a replica that answers, else on the primary."""
        for replica in self._replicas.in_turn():
            work = UnitOfWork(self, replica, writes=False, read_only=True)
            with replica:
                await work.connect()
                return work
        return UnitOfWork(self, self.primary, writes=False, read_only=True)

    @asynccontextmanager
    async def transaction(self, *, writes: bool = True) -> AsyncIterator[UnitOfWork]:
        """A unit of work that commits at the end, and rolls back when the block raises."""
        work = self.unit_of_work(writes=writes)
        try:
            yield work
            await work.commit()
        except BaseException:
            await work.rollback()
            raise

    async def run_transaction(self, steps: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run steps in one transaction that writes; again, twice, when the database says that it lost a race."""
        for _ in range(1, TRIES):
            try:
                async with self.transaction() as work:
                    return await steps(work)
            except Busy:
                continue
        async with self.transaction() as work:
            return await steps(work)

    async def start(self) -> None:
        """Forget the connections of an event loop that is gone: they cannot be used in this one."""
        for server in self._all():
            await server.start()

    async def create_tables(self, metadata: MetaData) -> None:
        """Make the tables that are missing. Safe when several processes start at once."""
        for attempt in range(1, TRIES):
            try:
                return await self._create_tables(metadata)
            except Exception:  # between the look and the CREATE another process may have made the table
                await asyncio.sleep(0.1 * attempt)
        return await self._create_tables(metadata)

    async def _create_tables(self, metadata: MetaData) -> None:
        async with self.engine.begin() as connection:
            await create_tables(connection, metadata)

    async def tell_stale_tables(self, metadata: MetaData) -> None:
        """Log a warning for each table that lacks columns of its model."""
        async with self.engine.connect() as connection:
            await tell_stale_tables(connection, metadata)

    async def close(self) -> None:
        """Close every connection; a later use opens new ones."""
        await asyncio.gather(*(server.close() for server in self._all()))

    def _all(self) -> list[Server]:
        return [self.primary, *self._replicas.all]


def create_engine_for_url(url: str, **options: Any) -> AsyncEngine:
    """SQLAlchemy's engine for a URL, with the pool and the listeners that this kind of database needs.

    Options go to SQLAlchemy's `create_async_engine`.
    """
    database = Database(url, **options)
    engine = database.engine
    # What an in-memory URL means goes with its Database, so that one has to stay as long as the engine.
    engine.sync_engine.jetio_database = database  # type: ignore[attr-defined]
    return engine


class UnitOfWork:
    """One transaction, on one of two executors: a session once someone asks for one, else the driver."""

    __slots__ = ("_read_only", "_server", "_session", "_transaction", "database", "writes")

    def __init__(self, database: Database, server: Server, *, writes: bool, read_only: bool = False) -> None:
        self.database = database
        self.writes = writes
        self._server, self._read_only = server, read_only
        self._session: AsyncSession | None = None
        self._transaction: Transaction | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is anything to commit or to undo."""
        return self._transaction is not None or self._session is not None

    @property
    def has_session(self) -> bool:
        """Whether someone asked for a session; statements then run in its transaction."""
        return self._session is not None

    def session(self) -> AsyncSession:
        """The session of this transaction; it takes a connection at its first statement."""
        if self._session is None:
            if self._transaction is not None:
                raise RuntimeError(
                    "a session is asked for before the first statement of a unit of work, not after it"
                )
            # Whoever keeps it for later, as a stream may, is told and opens no connection that nobody closes.
            self._session = self._sessions(close_resets_only=False)
        return self._session

    @property
    def _sessions(self) -> async_sessionmaker[AsyncSession]:
        if self._read_only:
            return self._server.read_only_sessions
        return self._server.sessions if self.writes else self._server.reading_sessions

    async def connect(self) -> None:
        """Begin with the session, and hear something of the server to know that it is there."""
        try:
            await self.session().execute(_HELLO)
        except BaseException as error:
            await self.rollback()
            if not isinstance(error, Exception):
                raise
            fault = self.database.dialect.statement_fault(error)
            if isinstance(fault, StatementTooLong):  # this one cannot be slow: the server hangs
                fault = ConnectionLost("the server does not answer")
            raise fault from error

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result:
        """A statement among others of this transaction."""
        if self._session is not None or self._server.driver is None:
            return await self._run_in_session(query, values)
        try:
            if self._transaction is None:
                self._transaction = await self._server.driver.begin(writes=self.writes)
            assert self._transaction is not None  # noqa: S101 - begun in the line above
            return await self._transaction.run(query, values)
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool = False) -> Result:
        """A statement that is the whole transaction, unless one is open already: then it joins that."""
        driver = self._server.driver
        if self._session is not None or self._transaction is not None or driver is None:
            return await self.run(query, values)
        try:
            result: Result = await driver.run_alone(query, values, writes=writes)
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error
        return result

    async def follow(self, steps: Steps[T], *, several: bool = True) -> T:
        """Statements that only read, each made of what came before, as a whole unless a transaction is open.

        `several` says that there may be more than one. What a single one gives stays in the loop: a thread at
        work on it would want the interpreter when the loop does.
        """
        if not several:
            return await followed(steps, self.run_alone)
        driver = self._server.driver
        if self._session is not None or self._transaction is not None or driver is None:
            return await followed(steps, self.run)
        try:
            value: T = await driver.follow(carried(steps))
        except StepFailed as failed:
            own = failed.error
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error
        else:
            return value
        raise own  # here, where nothing is added to what it says of its cause

    async def _run_in_session(self, query: Query, values: Mapping[str, Any]) -> Result:
        try:
            connection = await self.session().connection()
            cursor = await connection.execute(query.core, values)
            if not query.returns_rows:
                made = (cursor.inserted_primary_key,) if cursor.context.isinsert else ()
                return Result(made, cursor.rowcount, True)
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error
        rows = cursor.all()  # they are here already: what types raise now is no fault of the database
        return Result(rows, len(rows), True)

    async def flush(self) -> None:
        """Send what the session still holds: new rows get their keys, and constraints speak."""
        try:
            if self._session is not None:
                await self._session.flush()
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error

    async def commit(self) -> None:
        """Make it lasting; afterwards the unit of work is as new."""
        session, transaction = self._forget()
        try:
            if transaction is not None:
                await transaction.commit()
            if session is not None:
                try:
                    await session.commit()
                finally:
                    await _shielded(session.close)
        except Exception as error:
            raise self.database.dialect.statement_fault(error) from error

    async def rollback(self) -> None:
        """Undo it; also when the task is being cancelled."""
        session, transaction = self._forget()
        if transaction is not None:
            await _shielded(transaction.rollback)
        if session is not None:
            await _shielded(session.close)

    def _forget(self) -> tuple[AsyncSession | None, Transaction | None]:
        session, transaction = self._session, self._transaction
        self._session = self._transaction = None
        return session, transaction


async def _shielded(end: Callable[[], Awaitable[None]]) -> None:
    """To the end in a task of its own: whoever is cancelled here leaves no connection half returned."""
    await asyncio.shield(asyncio.ensure_future(_ended(end)))


async def _ended(end: Callable[[], Awaitable[None]]) -> None:
    try:
        await end()
    except Exception as error:  # what is being undone has failed already: this adds nothing to act upon
        _log.debug("ending a transaction failed: %s", type(error).__name__)
