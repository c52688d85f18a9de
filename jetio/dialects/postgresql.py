"""PostgreSQL, through asyncpg or psycopg: its options, its types and its errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import URL, Float, Numeric
from sqlalchemy.engine import Dialect as SQLDialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeDecorator, TypeEngine

from .asyncpg_driver import STALE_PLAN, AsyncpgDriver, is_closed
from .base import STATEMENT_SECONDS, WAIT_SECONDS, Dialect, Driver, keep_sound, unanswered
from .fair_pool import FairPool
from .faults import (
    Busy,
    ConnectionLost,
    ConstraintViolated,
    DatabaseFault,
    ReadOnly,
    StatementTooLong,
    Violation,
)
from .lending import forget_lines, remember_plans
from .postgresql_json import PostgreSQLJson
from .query import Processor

_NUMERIC, _FLOAT8 = 1700, 701  # pg_type oids

_VIOLATIONS: Mapping[str, Any] = {
    "23505": "unique",
    "23P01": "unique",
    "23503": "foreign_key",
    "23001": "foreign_key",
    "23514": "check",
    "23502": "not_null",
}
_BUSY = {"40001", "40P01", "55P03"}
_READ_ONLY = "25006"
_CANCELED = "57014"
_AWAY_CLASSES = ("08", "53", "57", "58")


class PostgreSQL(Dialect):
    """PostgreSQL 12 and later."""

    name: ClassVar[str] = "postgresql"
    drivers: ClassVar[tuple[str, ...]] = ("asyncpg", "psycopg")
    read_only: ClassVar[Mapping[str, Any]] = {"postgresql_readonly": True}

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self.json = PostgreSQLJson() if self._has_asyncpg else None
        self.joins_questions = self._has_asyncpg

    @property
    def _has_asyncpg(self) -> bool:
        return self.url.drivername.endswith("asyncpg")

    def engine_options(self) -> dict[str, Any]:
        options = super().engine_options()
        if not self._has_asyncpg:
            return {**options, "pool_pre_ping": True, "connect_args": {"connect_timeout": int(WAIT_SECONDS)}}
        waits = {"timeout": WAIT_SECONDS, "command_timeout": STATEMENT_SECONDS}
        return {**options, "poolclass": FairPool, "connect_args": {**waits, "async_creator_fn": _connect}}

    def install(self, engine: AsyncEngine) -> None:
        if self._has_asyncpg:
            keep_sound(engine, is_closed)
            remember_plans(engine)
            forget_lines(engine)

    def driver(self, engine: AsyncEngine) -> Driver | None:
        return AsyncpgDriver(engine) if self._has_asyncpg else None

    def result_processor(self, kind: TypeEngine[Any], sql_dialect: SQLDialect) -> Processor:
        # What the driver would tell of the column; a Float is no Numeric since SQLAlchemy 2.1.
        own = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
        code = _FLOAT8 if isinstance(own, Float) else _NUMERIC if isinstance(own, Numeric) else None
        processor: Processor = kind._cached_result_processor(sql_dialect, code)
        return processor

    def driver_fault(self, error: BaseException) -> DatabaseFault | None:
        # SQLAlchemy's wrapper of asyncpg's error has the state, but not the names.
        named_here = hasattr(error, "constraint_name") or hasattr(error, "diag")
        cause = error if named_here else (error.__cause__ or error)
        state = getattr(cause, "sqlstate", None) or ""
        named = {kind.__name__ for kind in type(cause).__mro__}
        if state in _VIOLATIONS:
            return ConstraintViolated(_violation(_VIOLATIONS[state], cause))
        if state in _BUSY or STALE_PLAN in named:
            return Busy("serialization failure or deadlock")
        if state == _READ_ONLY:
            return ReadOnly("the transaction only reads")
        if state.startswith("22") or "DataError" in named:
            return ConstraintViolated(Violation("value"))
        if isinstance(cause, OSError):
            return unanswered(cause)
        if state == _CANCELED:
            return StatementTooLong("the server canceled the statement")
        if state.startswith(_AWAY_CLASSES):
            return ConnectionLost("the server is away")
        lost = not state and named & {"InternalClientError", "InterfaceError", "OperationalError"}
        return ConnectionLost("the connection was lost") if lost else None


def _violation(kind: Any, error: Any) -> Violation:
    told = getattr(error, "diag", error)  # psycopg keeps the details apart
    column = getattr(told, "column_name", None)
    detail = getattr(told, "detail", None) or getattr(told, "message_detail", None) or ""
    key = re.match(r"Key \((.+?)\)=", detail)
    columns = (column,) if column else tuple(key[1].replace('"', "").split(", ")) if key else ()
    return Violation(kind, getattr(told, "constraint_name", None), columns)


async def _connect(*arguments: Any, **options: Any) -> Any:
    """Whatever keeps a connection from being made: the database is away."""
    import asyncpg

    making = asyncio.ensure_future(asyncpg.connect(*arguments, **options))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_discard)  # asyncpg loses an error when it is cancelled in mid-handshake
        raise
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConnectionLost("no connection to the server") from error


def _discard(made: asyncio.Future[Any]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().terminate()
