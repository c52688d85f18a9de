"""Column types for annotations: what is written is what is read back, on every database."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import (
    AnyUrl,
    AwareDatetime,
    BaseModel,
    EmailStr,
    IPvAnyAddress,
    SecretStr,
    TypeAdapter,
)
from sqlalchemy import (
    BLOB,
    CHAR,
    CLOB,
    DATETIME,
    DOUBLE,
    DOUBLE_PRECISION,
    FLOAT,
    JSON,
    NCHAR,
    NVARCHAR,
    REAL,
    TEXT,
    TIME,
    TIMESTAMP,
    UUID,
    VARCHAR,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Text,
    Time,
    Unicode,
    UnicodeText,
    Uuid,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = [
    "Duration",
    "JsonDocument",
    "SecretText",
    "UtcDateTime",
    "WebAddress",
    "column_type",
    "exact_type",
    "inexact_type",
    "is_document",
    "is_foreign",
    "is_sure",
]

_MYSQL = ("mysql", "mariadb")
_MICROSECOND = dt.timedelta(microseconds=1)
KEY_LENGTH = 255
EMAIL_LENGTH = 320  # RFC 5321, 4.5.3.1: 64 of local part, "@", 255 of domain


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment, kept in UTC with microseconds; a naive value is read as UTC."""

    impl = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        return dt.datetime

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        moment = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Duration(TypeDecorator[dt.timedelta]):
    """A length of time, kept as whole microseconds: exact everywhere, unlike the databases' own intervals."""

    impl = BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        return dt.timedelta

    def process_bind_param(self, value: dt.timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> dt.timedelta | None:
        return None if value is None else dt.timedelta(microseconds=value)


class PlainText(TypeDecorator[str]):
    """Text of a value that prints itself: URLs and addresses are stored and read as plain strings."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(value)


class WebAddress(PlainText):
    """A URL in pydantic's normalised spelling."""

    impl = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
    cache_ok = True


class NetworkAddress(PlainText):
    """An IPv4 or IPv6 address."""

    impl = String(45)
    cache_ok = True


class SecretText(TypeDecorator[str]):
    """The plain text of a SecretStr."""

    impl = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return value.get_secret_value() if isinstance(value, SecretStr) else value


class _TextJson(sqlite.JSON):
    """JSON in a column of text: in one called JSON, SQLite makes numbers of documents that look like one."""


@compiles(_TextJson, "sqlite")
def _as_text(kind: _TextJson, compiler: Any, **options: Any) -> str:
    return "TEXT"


_JSON = JSON(none_as_null=True).with_variant(_TextJson(none_as_null=True), "sqlite")


class JsonDocument(TypeDecorator[Any]):
    """JSON whose Python side is an annotation: models and containers of them go in as they are."""

    impl = _JSON
    cache_ok = False

    def __init__(self, annotation: Any = Any) -> None:
        super().__init__()
        self.annotation = annotation
        self._adapter: TypeAdapter[Any] | None = None

    @property
    def adapter(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            self._adapter = TypeAdapter(self.annotation)
        return self._adapter

    def written(self, value: Any) -> Any:
        """The document in JSON's types. A set is put in order: its own differs from process to process."""
        document = self.adapter.dump_python(value, mode="json")
        return sorted(document, key=str) if isinstance(value, set | frozenset) else document

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.written(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.adapter.validate_python(value)


_LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
_LONG: Mapping[type[Any], TypeEngine[Any]] = {
    Text: _LONG_TEXT,
    LargeBinary: LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL),
    Time: Time().with_variant(mysql.TIME(fsp=6), *_MYSQL),
    Double: Double(),
    JSON: _JSON,
}
# Spelt in capitals a type is what one database calls it: another has no such name, or something else by it.
_GENERIC: Mapping[type[Any], type[TypeEngine[Any]]] = {
    DATETIME: DateTime,
    TIMESTAMP: DateTime,
    TIME: Time,
    FLOAT: Float,
    DOUBLE: Double,
    DOUBLE_PRECISION: Double,
    CHAR: String,
    NCHAR: String,
    VARCHAR: String,
    NVARCHAR: String,
    Unicode: String,
    TEXT: Text,
    CLOB: Text,
    UnicodeText: Text,
    BLOB: LargeBinary,
    UUID: Uuid,
}
SINGLE = 24
"""Bits of the numbers that PostgreSQL and MariaDB keep in four bytes."""


def exact_type(kind: TypeEngine[Any], *, in_key: bool) -> TypeEngine[Any]:
    """A plain type of SQLAlchemy's so that it holds the same on every database; other types as they are.

    MariaDB alone would drop microseconds, cut long texts, keep half of a double and refuse some UUIDs; with
    SQLite it would drop offsets, and neither has intervals. PostgreSQL fills a CHAR with spaces.
    """
    if kind._variant_mapping:
        return kind  # its author has chosen for each database
    plain, length = _GENERIC.get(type(kind), type(kind)), getattr(kind, "length", None)
    given: Any = kind
    if plain is DateTime:
        return UtcDateTime() if given.timezone else DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    if plain is Time and given.timezone:
        return kind  # a mistake, which the resource tells
    if plain is String:
        return String(length) if length else String(KEY_LENGTH) if in_key else _LONG_TEXT
    if plain is Float and (given.precision is None or given.precision > SINGLE) and not given.asdecimal:
        return Double()
    if plain is Uuid:
        own = Uuid(as_uuid=given.as_uuid)
        return own.with_variant(Uuid(as_uuid=given.as_uuid, native_uuid=False), *_MYSQL)
    if plain is Interval:
        return Interval().with_variant(Duration(), "sqlite", *_MYSQL)
    return _LONG.get(plain, kind) if length is None else kind


def inexact_type(kind: TypeEngine[Any]) -> str | None:
    """Why no database, or not every one, gives back what was written into such a column; None: all do."""
    if isinstance(kind, Time) and kind.timezone:
        return "a time of day with an offset, which only one database has; write Time(), or a whole moment"
    single = isinstance(kind, REAL) or (isinstance(kind, Float) and (kind.precision or SINGLE + 1) <= SINGLE)
    if single and not isinstance(kind, Double):
        return "a number of four bytes, which gives back 0.1 as 0.10000000149; write mapped_column(Double)"
    if is_unsized_decimal(kind):
        return (
            "a Decimal without a size, which every database would choose differently; "
            "write mapped_column(Numeric(12, 2))"
        )
    return None


def _enum_by_value(kind: type[enum.Enum]) -> Enum:
    values = [str(member.value) for member in kind]
    return Enum(kind, values_callable=lambda _: values, native_enum=False, length=max(map(len, values)))


_EXACT: Mapping[Any, TypeEngine[Any]] = {
    dt.datetime: UtcDateTime(),
    AwareDatetime: UtcDateTime(),
    dt.timedelta: Duration(),
    EmailStr: String(EMAIL_LENGTH),
    SecretStr: SecretText(),
    IPvAnyAddress: NetworkAddress(),
    IPv4Address: NetworkAddress(),
    IPv6Address: NetworkAddress(),
    Any: _JSON,
}


def column_type(annotation: Any, metadata: tuple[Any, ...] = ()) -> TypeEngine[Any] | None:
    """The column type for an annotation that SQLAlchemy has none for, or a less exact one; None: its own.

    `metadata` is what stands beside the type in `Annotated`.
    """
    if annotation in _EXACT:
        return _EXACT[annotation]
    if get_origin(annotation) in (dict, list, tuple, set, frozenset) or annotation in (dict, list):
        return _json_of(annotation)
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, enum.Enum):
        return _enum_by_value(annotation)
    if issubclass(annotation, AnyUrl) or annotation.__module__ == "pydantic.networks":
        return WebAddress()
    if issubclass(annotation, BaseModel):
        return JsonDocument(annotation)
    if annotation is str and (length := max_length_of(metadata)) is not None:
        return String(length)
    return None


_JSON_SCALARS = (str, int, float, bool, type(None), Any, dict, list)


def _json_of(annotation: Any) -> TypeEngine[Any]:
    """Plain JSON where the parsed document is the Python value; else a type that converts both ways."""
    return _JSON if _is_plain_json(annotation) else JsonDocument(annotation)


def _is_plain_json(annotation: Any) -> bool:
    if annotation in _JSON_SCALARS:
        return True
    origin = get_origin(annotation)
    return origin in (dict, list, Union, UnionType) and all(map(_is_plain_json, get_args(annotation)))


def max_length_of(metadata: Iterable[Any]) -> int | None:
    """The `max_length` that stands in an `Annotated`."""
    for item in metadata:
        for part in (item, *getattr(item, "metadata", ())):
            length = getattr(part, "max_length", None)
            if isinstance(length, int):
                return length
    return None


def is_document(kind: TypeEngine[Any]) -> bool:
    """Whether the column holds JSON."""
    return isinstance(kind.impl_instance if isinstance(kind, TypeDecorator) else kind, JSON)


def is_unsized_decimal(kind: TypeEngine[Any]) -> bool:
    """Whether a Numeric lacks precision or scale: databases would each choose another one."""
    return isinstance(kind, Numeric) and kind.asdecimal and None in (kind.precision, kind.scale)


_KNOWN = (
    String,
    Integer,
    Boolean,
    Numeric,
    Float,
    DateTime,
    Date,
    Time,
    Interval,
    LargeBinary,
    Uuid,
    JSON,
    UtcDateTime,
    Duration,
    PlainText,
    SecretText,
    JsonDocument,
)
_SURE_WHEN_MADE = (String, Integer, Boolean)
_MOMENTS = (UtcDateTime, DateTime)


def is_sure(column: Column[Any]) -> bool:
    """Whether any value that the column can get is one that it can read back and show.

    Of a type that is not known here, and of what the database makes itself, nobody can tell.
    """
    if isinstance(column.type, JsonDocument) or is_foreign(column.type):
        return False
    made: Any = column.computed or column.server_default or column.server_onupdate
    if made is None or (isinstance(column.type, _SURE_WHEN_MADE) and not isinstance(column.type, Enum)):
        return True
    return isinstance(column.type, _MOMENTS) and isinstance(getattr(made, "arg", None), _CLOCKS)


_CLOCKS = (functions.now, functions.current_timestamp)


def is_foreign(kind: TypeEngine[Any]) -> bool:
    """Whether values go in and out through code that is neither SQLAlchemy's nor ours."""
    return not all(_is_known(item) for item in (kind, *kind._variant_mapping.values()))


def _is_known(kind: TypeEngine[Any]) -> bool:
    """One of SQLAlchemy's own types or of ours: what inherits from them may read as it likes."""
    return isinstance(kind, _KNOWN) and type(kind).__module__.startswith(("sqlalchemy.", f"{__package__}."))
