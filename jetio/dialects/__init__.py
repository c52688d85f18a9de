"""What each database does its own way; the only package that knows a driver."""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigError
from .base import Dialect, Driver, Transaction
from .faults import (
    Busy,
    ConnectionLost,
    ConstraintViolated,
    DatabaseFault,
    NoConnectionFree,
    ReadOnly,
    StatementTooLong,
    Violation,
)
from .mysql import MySQL
from .postgresql import PostgreSQL
from .query import Codec, Conversion, Query, Result, StepFailed, Steps, carried, followed
from .sqlite import SQLite

__all__ = [
    "Busy",
    "Codec",
    "ConnectionLost",
    "ConstraintViolated",
    "Conversion",
    "DatabaseFault",
    "Dialect",
    "Driver",
    "NoConnectionFree",
    "Query",
    "ReadOnly",
    "Result",
    "StatementTooLong",
    "StepFailed",
    "Steps",
    "Transaction",
    "Violation",
    "carried",
    "dialect_for",
    "followed",
]

_DIALECTS: dict[str, type[Dialect]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
}


def dialect_for(address: str | URL) -> Dialect:
    """The dialect of a database URL; a bare `postgresql://` gets the driver that Jetio is tested with."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "the database URL cannot be read; write for example sqlite:///./app.db "
            "or postgresql://user:pass@host/name"
        ) from None
    name, _, driver = url.drivername.partition("+")
    name = "postgresql" if name == "postgres" else name  # as hosting companies write it
    kind = _DIALECTS.get(name)
    if kind is None:
        raise ConfigError(f"no support for the database {name!r}; write one of: {', '.join(_DIALECTS)}")
    if driver and driver not in kind.drivers:
        raise ConfigError(f"{name}+{driver} is not asynchronous; write {name}+{kind.drivers[0]}")
    return kind(url.set(drivername=f"{name}+{driver or kind.drivers[0]}"))
