"""What a database may refuse, in words that are the same for all of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import JetioError


class Violation(NamedTuple):
    """A constraint that refused a write: its kind, and its name or columns as far as the database tells."""

    kind: Literal["unique", "foreign_key", "check", "not_null", "value"]
    constraint: str | None = None
    columns: tuple[str, ...] = ()


class DatabaseFault(JetioError):
    """Something the database said that the application must answer."""


class ConstraintViolated(DatabaseFault):
    """The write broke a constraint; nothing was changed."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.kind)
        self.violation = violation


class Busy(DatabaseFault):
    """A deadlock or serialization failure: the whole transaction may be run again."""


class ReadOnly(DatabaseFault):
    """A write where nothing can be written: in a session that only reads, or on a server that follows."""


class ConnectionLost(DatabaseFault):
    """No answer to be had: the server is away, or one of the two below, which say nothing against it."""


class NoConnectionFree(ConnectionLost):
    """All connections of this process stayed in use: the server may be well."""


class StatementTooLong(ConnectionLost):
    """One statement was not answered in the time that it has: it is slow, or the server hangs."""
