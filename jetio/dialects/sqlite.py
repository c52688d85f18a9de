"""SQLite: foreign keys, write-ahead log, an in-memory URL that all connections share."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import aiosqlite
from sqlalchemy import URL, Connection, DateTime, Float, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeEngine

from ..columns import UtcDateTime
from .base import WAIT_SECONDS, Dialect, Driver
from .faults import Busy, ConnectionLost, ConstraintViolated, DatabaseFault, ReadOnly, Violation
from .query import Codec, Conversion, Processor
from .sqlite_driver import PRAGMAS, SQLiteDriver

# At DEBUG it writes every parameter of every statement into the log, password hashes among them.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

BEGIN_OPTION = "jetio_begin"
"""Execution option of a connection: how its transactions begin (IMMEDIATE unless it says DEFERRED)."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_AWAY = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOTADB,
}


class SQLite(Dialect):
    """SQLite through aiosqlite for sessions, through the standard library for compiled statements."""

    name: ClassVar[str] = "sqlite"
    drivers: ClassVar[tuple[str, ...]] = ("aiosqlite",)
    significant_digits: ClassVar[int | None] = 15
    row_lock: ClassVar[bool] = False
    read_only: ClassVar[Mapping[str, Any]] = {BEGIN_OPTION: "DEFERRED", "jetio_read_only": True}

    def __init__(self, url: URL) -> None:
        super().__init__(_shared_memory(self, url) if _is_memory(url) else url)

    def engine_options(self) -> dict[str, Any]:
        connect = {"timeout": WAIT_SECONDS, "async_creator_fn": _connect}
        return {**super().engine_options(), "connect_args": connect}

    def install(self, engine: AsyncEngine) -> None:
        event.listen(engine.sync_engine, "connect", _prepare_connection)
        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "close", _let_go)
        event.listen(engine.sync_engine, "checkin", _leave_nothing_open)

    def driver(self, engine: AsyncEngine) -> Driver:
        [path], options = engine.dialect.create_connect_args(self.url)
        return SQLiteDriver(path, uri=bool(options.get("uri")))

    def bind_processor(self, kind: TypeEngine[Any], processor: Processor) -> Processor:
        return _stored if isinstance(kind, UtcDateTime) else processor

    def codec(self, kind: TypeEngine[Any], processor: Processor) -> Codec:
        if isinstance(kind, UtcDateTime):
            return Conversion(_moment, _MOMENT)
        codec = super().codec(kind, processor)
        if type(kind) is DateTime and isinstance(codec, Conversion):
            return Conversion(codec.function, _AS_STORED)
        return codec

    def form(self, kind: TypeEngine[Any]) -> Codec:
        return (
            Conversion(float) if isinstance(kind, Float) else super().form(kind)
        )  # RETURNING gives 8 for an 8.0

    def driver_fault(self, error: BaseException) -> DatabaseFault | None:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.IntegrityError):
            return ConstraintViolated(_violation(error, code))
        if isinstance(error, OverflowError):
            return ConstraintViolated(Violation("value"))
        if code == sqlite3.SQLITE_READONLY:
            return ReadOnly("the transaction, or the file, can only be read")
        if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
            return Busy("a reading transaction wanted to write, and another was quicker")
        if code is not None and (code & 0xFF) in _BUSY | _AWAY:
            return ConnectionLost("the database is locked or cannot be opened")
        return None


class _Connection(aiosqlite.Connection):
    """A close that is cancelled is made again by force; then nobody may wait for a thread that has gone.

    What was opened for somebody who no longer waits is closed all the same: its answer reaches nobody.
    """

    _stopped = False
    _opened: sqlite3.Connection | None = None

    def open(self, database: str, **options: Any) -> sqlite3.Connection:
        """Runs in the thread."""
        self._opened = sqlite3.connect(database, **options)
        return self._opened

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopped:
            return None
        self._stopped = True
        self._tx.put_nowait((None, self._close))
        return super().stop()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _connect(database: str, **options: Any) -> _Connection:
    connection = _Connection(lambda: connection.open(database, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy has it: a forgotten connection does not keep the process
    return connection


def _is_memory(url: URL) -> bool:
    name = url.database or ""
    return name in ("", ":memory:", "file::memory:") or url.query.get("mode") == "memory"


def _shared_memory(owner: SQLite, url: URL) -> URL:
    """A file that goes with its owner: a true in-memory database would be one connection for all."""
    folder = tempfile.mkdtemp(prefix="jetio-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return url.set(database=str(Path(folder) / "memory.db"), query={})


def _stored(value: dt.datetime | None) -> str | None:
    """What UtcDateTime and SQLAlchemy's DATETIME make of it together, in three calls."""
    if value is None:
        return None
    zone = value.tzinfo
    moment = value if zone is None or zone is dt.UTC else value.astimezone(dt.UTC)
    return moment.isoformat(" ", "microseconds")[:26]


def _moment(text: str) -> str:
    """`2026-01-02 03:04:05.000006` as RFC 3339 with Z, the way a UTC datetime is written elsewhere."""
    return f"{text.replace(' ', 'T', 1).removesuffix('.000000')}Z"


_MOMENT = "{v}.replace(' ', 'T', 1) + 'Z' if '.000000' not in {v} else {f}({v})"
"""The same. A search is cheaper than a comparison at the end."""
_AS_STORED = _MOMENT.replace(
    " if ", " if len({v}) == 26 and {v}[10] == ' ' and {v}[19] == '.' and {v}[20:].isdecimal() and "
)
"""Of a column without a zone: text that is not as SQLAlchemy stores it is parsed."""


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own would upgrade a read and fail
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    read_only = bool(options.get("jetio_read_only"))
    if read_only != connection.info.get("read_only", False):
        connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
        connection.info["read_only"] = read_only
    connection.exec_driver_sql(f"BEGIN {options.get(BEGIN_OPTION, 'IMMEDIATE')}")


def _let_go(connection: Any, _record: Any) -> None:
    """Roll back before closing: a closed connection keeps the write lock for as long as anybody, if only the
    traceback of a cancelled request, remembers a cursor of it."""
    held = connection.driver_connection
    if held._connection is not None:
        held._tx.put_nowait((None, held._connection.rollback))  # after the statement that is on its way


def _leave_nothing_open(connection: Any, record: Any) -> None:
    """A COMMIT that was refused leaves its transaction open, which SQLAlchemy knows of no database."""
    held = None if connection is None else connection.driver_connection._connection
    if held is not None and held.in_transaction:
        _let_go(connection, record)


def _violation(error: sqlite3.IntegrityError, code: int | None) -> Violation:
    kind, _, subject = str(error).partition(" constraint failed: ")
    columns = tuple(name.rpartition(".")[2].strip() for name in subject.split(",") if "." in name)
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Violation("foreign_key")
    if kind == "UNIQUE":
        index = subject.removeprefix("index ").strip("'") if subject.startswith("index ") else None
        return Violation("unique", index, columns)
    if kind == "NOT NULL":
        return Violation("not_null", None, columns)
    return Violation("check", subject or None) if kind == "CHECK" else Violation("value")
