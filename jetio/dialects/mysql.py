"""MariaDB and MySQL, through asyncmy or aiomysql: their options and their errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from .asyncmy_driver import AWAY, BUSY, AsyncmyDriver, is_closed, share
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
from .lending import forget_lines

_VIOLATIONS: Mapping[Any, Any] = {
    1062: "unique",
    1586: "unique",
    1216: "foreign_key",
    1217: "foreign_key",
    1451: "foreign_key",
    1452: "foreign_key",
    3819: "check",
    4025: "check",
    1048: "not_null",
    1364: "not_null",
}
_VALUES = {1264, 1265, 1292, 1366, 1406}
_READ_ONLY = {1290, 1792, 1836}
_CANCELED = {1317, 1969, 3024}
_TOO_LONG = "(read timeout)"  # asyncmy says it with the number of a lost connection

# `now()` as a default gives UTC, and what does not fit is refused, however the server is configured.
_SESSION = "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"


class MySQL(Dialect):
    """MariaDB 10.6 and later, MySQL 8."""

    name: ClassVar[str] = "mysql"
    drivers: ClassVar[tuple[str, ...]] = ("asyncmy", "aiomysql")
    update_returning = False
    read_only: ClassVar[Mapping[str, Any]] = {"jetio_read_only": True}

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        # INSERT .. RETURNING is MariaDB's alone.
        self.insert_returning = url.get_backend_name() == "mariadb"

    @property
    def _has_asyncmy(self) -> bool:
        return self.url.drivername.endswith("asyncmy")

    def engine_options(self) -> dict[str, Any]:
        options = super().engine_options()
        connect: dict[str, Any] = {"charset": "utf8mb4", "init_command": _SESSION}
        if not self._has_asyncmy:
            connect["connect_timeout"] = int(WAIT_SECONDS)
            return {**options, "pool_pre_ping": True, "connect_args": connect}
        connect |= {"read_timeout": int(STATEMENT_SECONDS), "autocommit": None, "async_creator_fn": _connect}
        # What a session leaves is undone by a listener, which knows when nothing is left.
        return {**options, "poolclass": FairPool, "pool_reset_on_return": None, "connect_args": connect}

    def install(self, engine: AsyncEngine) -> None:
        event.listen(engine.sync_engine, "begin", _begin)
        if self._has_asyncmy:
            keep_sound(engine, is_closed)
            share(engine)
            forget_lines(engine)

    def driver(self, engine: AsyncEngine) -> Driver | None:
        return AsyncmyDriver(engine) if self._has_asyncmy else None

    def driver_fault(self, error: BaseException) -> DatabaseFault | None:
        code = error.args[0] if error.args else None
        message = str(error.args[-1]) if error.args else ""
        if code in _VIOLATIONS:
            return ConstraintViolated(_violation(_VIOLATIONS[code], message))
        if code in _VALUES:
            columns = re.findall(r"for column .*?[`'](\w+)[`'] at", message)
            return ConstraintViolated(Violation("value", None, tuple(columns)))
        if code in BUSY:
            return Busy("lock wait or deadlock")
        if code in _READ_ONLY:
            return ReadOnly("the transaction only reads")
        if isinstance(error, OSError):
            return unanswered(error)
        if code in _CANCELED or (code in AWAY and message.endswith(_TOO_LONG)):
            return StatementTooLong("the statement took too long")
        if code in AWAY:
            return ConnectionLost("the server is away")
        return None


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("jetio_read_only"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")  # of the next one, which is this one


async def _connect(*arguments: Any, **options: Any) -> Any:
    """Whatever keeps a connection from being made: the database is away."""
    import asyncmy

    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncmy.connect(*arguments, **options)
    except (OSError, asyncmy.errors.MySQLError) as error:
        raise ConnectionLost("no connection to the server") from error


def _violation(kind: Any, message: str) -> Violation:
    if kind == "unique":
        key = re.search(r"for key '(?:[^']*\.)?([^'.]+)'\s*$", message)
        return Violation(kind, key[1] if key else None)
    if kind == "not_null":
        return Violation(kind, None, tuple(re.findall(r"(?:Column|Field) '(\w+)'", message)))
    name = re.search(r"CONSTRAINT [`'](?:[^`']*\.)?([^`']+)[`']", message, re.IGNORECASE)
    key = re.search(r"FOREIGN KEY \((.+?)\)", message)
    columns = tuple(key[1].replace("`", "").split(", ")) if key else ()
    return Violation(kind, name[1] if name else None, columns)
