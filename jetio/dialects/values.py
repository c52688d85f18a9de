"""The one JSON form of each Python type that a column may hold."""

from __future__ import annotations

import base64
import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import DateTime, Enum, Float, Interval, LargeBinary, Numeric, Time
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..columns import Duration, JsonDocument, UtcDateTime
from .query import Conversion

_DURATION: TypeAdapter[dt.timedelta] = TypeAdapter(dt.timedelta)

OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def json_form(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """From a column's Python value to one that `dump` writes as documented; None where it is that already."""
    if isinstance(kind, Duration | Interval):
        return Conversion(duration)
    if isinstance(kind, JsonDocument):
        return Conversion(kind.written)
    if isinstance(kind, UtcDateTime):
        return None
    if isinstance(kind, TypeDecorator):
        return json_form(kind.impl_instance)
    if isinstance(kind, Enum):
        return Conversion(enum_value)
    if isinstance(kind, Numeric | Float) and kind.asdecimal:
        return Conversion(decimal, "f'{{{v}:f}}'")
    if isinstance(kind, Numeric):
        return Conversion(float)  # SQLite gives whole numbers for some
    if isinstance(kind, DateTime):
        return Conversion(_in_utc)
    if isinstance(kind, Time):
        return Conversion(moment)
    return Conversion(binary) if isinstance(kind, LargeBinary) else None


def _in_utc(value: dt.datetime) -> dt.datetime:
    """What databases without zones keep is UTC."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value


def moment(value: dt.date | dt.time) -> str:
    """RFC 3339. Not left to orjson: of a time it drops the zeros that begin a fraction."""
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def decimal(value: Decimal) -> str:
    """Plain digits: no exponent, all declared decimals."""
    return f"{value:f}"


def binary(value: bytes) -> str:
    """base64url (RFC 4648, section 5), as pydantic reads it back."""
    return base64.urlsafe_b64encode(value).decode()


def duration(value: dt.timedelta) -> str:
    """ISO 8601, as pydantic reads it back."""
    text: str = _DURATION.dump_python(value, mode="json")
    return text


def enum_value(value: Any) -> Any:
    """What stands for a member of an enumeration."""
    return value.value if isinstance(value, enum.Enum) else value


def dump(value: Any, objects: Callable[[Any], Any] | None = None) -> bytes:
    """JSON bytes; integers beyond 64 bits are written too, at the standard library's speed.

    `objects` gives what stands for a value that JSON does not know, as `form_of` does; raises TypeError.
    """
    option = OPTIONS if objects is None else OPTIONS | orjson.OPT_PASSTHROUGH_DATETIME
    objects = objects or form_of
    try:
        return orjson.dumps(value, default=objects, option=option)
    except TypeError:
        import json

        def portable(item: Any) -> Any:
            return orjson.loads(orjson.dumps(item, default=objects, option=option))

        return json.dumps(value, default=portable, ensure_ascii=False, separators=(",", ":")).encode()


def form_of(value: Any) -> Any:
    """What stands in JSON for a value that it does not know."""
    if isinstance(value, Decimal):
        return decimal(value)
    if isinstance(value, dt.date | dt.time):
        return moment(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return binary(bytes(value))
    if isinstance(value, dt.timedelta):
        return duration(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return _form_of_objects(value)


def _form_of_objects(value: Any) -> Any:
    from pydantic import SecretStr
    from pydantic_core import to_jsonable_python

    if isinstance(value, SecretStr):
        raise TypeError("a SecretStr does not go into an answer")
    return to_jsonable_python(value)
