"""What every kind of database is to the rest of Jetio: Dialect, Driver, Transaction."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy import URL, Enum, event
from sqlalchemy.engine import Dialect as SQLDialect
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..columns import UtcDateTime, is_foreign
from ..large import parse_document
from .faults import ConnectionLost, DatabaseFault, NoConnectionFree, StatementTooLong
from .json_text import JsonText
from .query import Codec, Conversion, Processor, Query, Result, Steps
from .values import json_form

T = TypeVar("T")

WAIT_SECONDS = 5.0
"""How long a request waits for a connection or for the write lock before it is a 503."""

STATEMENT_SECONDS = 8.0
"""How long one statement may take before the answer is a 503."""

ANSWER_SECONDS = 10.0
"""How long the servers of a database have together to answer what is read of them."""


QUEUE_OPTIONS: Mapping[str, Any] = {
    "pool_size": 20,
    "max_overflow": 0,
    "pool_timeout": WAIT_SECONDS,
    "pool_use_lifo": True,
}
"""What only a pool takes that keeps connections in a queue."""


class Transaction(Protocol):
    """An open transaction on one driver connection; ends with exactly one of commit and rollback."""

    async def run(self, query: Query, values: Mapping[str, Any]) -> Result: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Driver(Protocol):
    """Runs compiled statements on the driver's own connections."""

    async def run_alone(self, query: Query, values: Mapping[str, Any], *, writes: bool) -> Result:
        """One statement that is the whole transaction."""
        ...

    async def follow(self, steps: Steps[T]) -> T:
        """At least one statement, and perhaps more, each of which only reads."""
        ...

    async def begin(self, *, writes: bool) -> Transaction: ...

    async def close(self) -> None: ...


class Dialect(ABC):
    """What one kind of database does its own way; this class holds what they share."""

    name: ClassVar[str]
    drivers: ClassVar[tuple[str, ...]]
    """The drivers of SQLAlchemy that are asynchronous; the first is the one a bare URL gets."""
    significant_digits: ClassVar[int | None] = None
    """How many digits of a Numeric this database keeps; None: all that the type declares."""
    row_lock: ClassVar[bool] = True
    read_only: ClassVar[Mapping[str, Any]] = {}
    """Execution options with which SQLAlchemy's transactions refuse to write."""
    update_returning: bool = True
    insert_returning: bool = True
    joins_questions: bool = False
    """Whether two questions in one statement cost less than two statements."""
    json: JsonText | None = None
    """How this database makes JSON, where that is less work than to make it of rows."""

    def __init__(self, url: URL) -> None:
        self.url = url

    def engine_options(self) -> dict[str, Any]:
        """Arguments for `create_async_engine`."""
        return {
            **QUEUE_OPTIONS,
            "json_deserializer": parse_document,
            "hide_parameters": True,  # an exception goes into logs, what was written into the row does not
        }

    @abstractmethod
    def install(self, engine: AsyncEngine) -> None:
        """Event listeners that every connection of this engine needs."""

    def driver(self, engine: AsyncEngine) -> Driver | None:
        """The executor of compiled statements, None when statements go through SQLAlchemy's."""
        return None

    def bind_processor(self, kind: TypeEngine[Any], processor: Processor) -> Processor:
        """From the Python value to the driver's; `processor` is what SQLAlchemy does."""
        return processor

    def result_processor(self, kind: TypeEngine[Any], sql_dialect: SQLDialect) -> Processor:
        """From the driver's value to the Python value."""
        processor: Processor = kind._cached_result_processor(sql_dialect, None)
        return processor

    def codec(self, kind: TypeEngine[Any], processor: Processor) -> Codec:
        """From the driver's value to one that JSON has."""
        to_json = self.form(kind)
        if type(kind) is UtcDateTime and processor is not None:
            return Conversion(processor, "{v} if {v}.tzinfo is {utc} else {f}({v})", utc=dt.UTC)
        if processor is None or to_json is None:
            return processor or to_json
        if isinstance(to_json, Conversion) and not (isinstance(kind, TypeDecorator) or is_foreign(kind)):
            chained = to_json.after(processor)
            return _looked_up(kind.enums, chained) if isinstance(kind, Enum) else chained
        return lambda value: to_json(
            processor(value)
        )  # such a type may make something of NULL, and NULL of it

    def form(self, kind: TypeEngine[Any]) -> Codec:
        """From the Python value to one that JSON has."""
        return json_form(kind)

    def fault(self, error: BaseException) -> DatabaseFault | None:
        """The fault behind an exception of SQLAlchemy's; None for what the application raised itself."""
        if isinstance(error, DatabaseFault):
            return error
        if isinstance(error, PoolTimeout):
            return NoConnectionFree("no connection came free in time")
        if not isinstance(error, DBAPIError) or error.orig is None:
            return None
        return self.driver_fault(error.orig)

    def statement_fault(self, error: Exception) -> Exception:
        """What to raise for an exception that one of our own statements ended with."""
        if isinstance(error, OSError):
            return unanswered(error)
        return self.fault(error) or self.driver_fault(error) or error

    @abstractmethod
    def driver_fault(self, error: BaseException) -> DatabaseFault | None:
        """The fault behind one of the driver's own exceptions."""


def _looked_up(names: Iterable[str], convert: Conversion) -> Conversion:
    """What stands for these names, made once; of others the conversion tells that they are none."""
    known = {name: convert(name) for name in names}
    return Conversion(convert.function, "{known}.get({v}) or {f}({v})", known=known)


def unanswered(error: OSError) -> ConnectionLost:
    """The fault behind a statement that got no answer."""
    # The TimeoutError of a socket has a number, that of a driver has none.
    if isinstance(error, TimeoutError) and error.errno is None:
        return StatementTooLong("the statement took too long")
    return ConnectionLost("the server is away")


def keep_sound(engine: AsyncEngine, is_closed: Callable[[Any], bool]) -> None:
    """Neither hand out a connection that the server has closed, nor keep one that timed out.

    `is_closed` asks the driver's connection, which knows without asking the server.
    """

    def refuse(connection: Any, _record: Any, _proxy: Any) -> None:
        if is_closed(connection.driver_connection):
            raise DisconnectionError("the server closed this connection")

    event.listen(engine.sync_engine, "checkout", refuse)
    event.listen(engine.sync_engine, "handle_error", _lose)


def _lose(context: ExceptionContext) -> Exception | None:
    """A timeout or a broken socket: no error of the driver's, so SQLAlchemy would keep the connection."""
    if not isinstance(context.original_exception, OSError):
        return None
    context.is_disconnect = True
    context.invalidate_pool_on_disconnect = False  # a slow statement says nothing about other connections
    held: Any = context.connection
    held.connection.dbapi_connection._terminate_force_close()  # a farewell would be waited for as well
    return unanswered(context.original_exception)
