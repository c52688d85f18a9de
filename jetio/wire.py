"""The JSON spelling of a column's values: what is accepted is exactly what the schema says."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AnyUrl,
    AwareDatetime,
    EmailStr,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    IPvAnyAddress,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as core
from sqlalchemy import JSON, BigInteger, Integer, LargeBinary, Numeric, SmallInteger
from sqlalchemy.types import TypeDecorator, TypeEngine

from .numerals import Amount, Choice, Whole

__all__ = ["NO_NUL", "Addressable", "in_document", "is_addressable", "spelled"]

NO_NUL: Mapping[str, Any] = {"not": {"type": "string", "pattern": r"\x00"}}
"""Text that every database stores. As a pattern of its own it would be what tools make examples from."""

_BITS: Mapping[type[Any], int] = {SmallInteger: 15, BigInteger: 63, Integer: 31}


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """Text of one shape, then a parser: pydantic alone would read numbers as dates and words as spans.

    `shape` is a regular expression. Without `parse` the type parses by itself; `written` describes answers.
    """

    code: str
    message: str
    shape: str
    accepted: Mapping[str, Any]
    parse: CoreSchema | None = None
    written: Mapping[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        own = handler(source)
        text = core.str_schema(pattern=self.shape, strict=True)
        chain = core.chain_schema([text, self.parse or own])
        json = core.custom_error_schema(chain, self.code, custom_error_message=self.message)
        return core.json_or_python_schema(json, own)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return dict(self.accepted if self.written is None else self.written)
        limits = {name: value for name, value in handler(schema).items() if name in _TEXT_LIMITS}
        return {**self.accepted, **limits}


_TEXT_LIMITS = ("minLength", "maxLength")
_ZONE = r"([Zz]|[+-]\d{2}:\d{2})"
_DATE = r"\d{4}-\d{2}-\d{2}"
_DAYS = "".join(rf"(\d{{1,5}}{unit})?" for unit in "YMWD")
_HOURS, _MINUTES, _SECONDS = r"\d{1,5}H", r"\d{1,5}M", r"\d{1,8}(\.\d{1,6})?S"
_CLOCK = f"({_HOURS}({_MINUTES})?({_SECONDS})?|{_MINUTES}({_SECONDS})?|{_SECONDS})"

_SPELLINGS: Mapping[Any, Spelling] = {
    dt.date: Spelling(
        "date",
        "This must be a date such as 2026-01-31",
        f"^{_DATE}$",
        {"type": "string", "format": "date"},
        core.date_schema(strict=False),
    ),
    dt.datetime: Spelling(
        "date_time",
        "This must be a date and time such as 2026-01-31T12:30:00Z",
        rf"^{_DATE}[Tt ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?{_ZONE}?$",
        {"type": "string", "format": "date-time"},
        core.datetime_schema(strict=False),
    ),
    AwareDatetime: Spelling(
        "date_time",
        "This must be a date and time with its offset, such as 2026-01-31T12:30:00Z",
        rf"^{_DATE}[Tt ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?{_ZONE}$",
        {"type": "string", "format": "date-time"},
        core.datetime_schema(strict=False, tz_constraint="aware"),
    ),
    dt.time: Spelling(
        "time",
        "This must be a time of day such as 12:30:00, without a zone",
        _TIME := r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$",
        {"type": "string", "pattern": _TIME, "examples": ["12:30:00"]},
        core.time_schema(strict=False),
    ),
    dt.timedelta: Spelling(
        "duration",
        "This must be an ISO 8601 duration such as P1DT2H30M",
        rf"^[+-]?P{_DAYS}(T{_CLOCK})?$",
        # JSON Schema's own format knows neither a sign nor years with days (RFC 3339, appendix A).
        {"type": "string", "pattern": rf"^[+-]?P(?!$){_DAYS}(T{_CLOCK})?$", "examples": ["P1DT2H30M"]},
        core.timedelta_schema(strict=False, microseconds_precision="error"),
    ),
    uuid.UUID: Spelling(
        "uuid",
        "This must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
        {"type": "string", "format": "uuid"},
        core.uuid_schema(strict=False),
    ),
}


@cache
def _email() -> Spelling:
    # When the first column asks: with its tables the package takes a twentieth of the time of `import jetio`.
    from email_validator import SPECIAL_USE_DOMAIN_NAMES

    names = "|".join(sorted(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES))
    return Spelling(
        "email",
        "This is not a valid email address",
        r"^[^<>\x00]+$",
        {
            "type": "string",
            "format": "email",
            "pattern": rf"^(?!.*\.({names})$)[^<>\x00]+$",
            "examples": ["someone@example.com"],
        },
        None,
        {"type": "string", "format": "email"},
    )


def _address(code: str, kind: Callable[[str], Any], *formats: str) -> Spelling:
    told = [{"type": "string", "format": name} for name in formats]
    parse = core.no_info_plain_validator_function(kind, serialization=core.to_string_ser_schema())
    message = f"This must be an {' or '.join(name.replace('ip', 'IP') for name in formats)} address"
    return Spelling(code, message, r"^[0-9A-Fa-f:.]+$", {"anyOf": told} if len(told) > 1 else told[0], parse)


_ADDRESSES: Mapping[Any, Spelling] = {
    IPvAnyAddress: _address("ip_address", ip_address, "ipv4", "ipv6"),
    IPv4Address: _address("ip_address", IPv4Address, "ipv4"),
    IPv6Address: _address("ip_address", IPv6Address, "ipv6"),
}


def spelled(bare: Any, kind: TypeEngine[Any]) -> list[Any]:
    """What to write first into the `Annotated` of a column: how its values stand in JSON."""
    inner = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
    if bare is Decimal and isinstance(inner, Numeric):
        sized = inner.precision is not None and inner.scale is not None
        return [Amount(inner.precision or 0, inner.scale or 0)] if sized else []
    if bare is bytes and isinstance(inner, LargeBinary):
        return [_binary(inner.length)]
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return [Choice(bare)] if all(type(member.value) is int for member in bare) else []
    if bare is int and isinstance(inner, Integer):
        bits = next(bits for base, bits in _BITS.items() if isinstance(inner, base))
        return [Whole(-(2**bits), 2**bits - 1)]
    if bare is Any and isinstance(inner, JSON):
        return [_Something()]
    if isinstance(bare, type) and issubclass(bare, AnyUrl):
        return [_Address()]
    found = _email() if bare is EmailStr else _SPELLINGS.get(bare) or _ADDRESSES.get(bare)
    return [] if found is None else [found]


def in_document(annotation: Any) -> Any:
    """The type of a JSON column, with what stands inside it as it stands in JSON."""
    return annotation if annotation is Any else _inside(annotation)


def _inside(annotation: Any) -> Any:
    if annotation is Any:
        return Annotated[Any, _Anything()]
    if annotation is int:
        return Annotated[int, Whole(-(2**63), 2**64 - 1)]
    if annotation is dict:
        return _inside(dict[str, Any])
    if annotation is list:
        return _inside(list[Any])
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_inside(parts[0]), *parts[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(map(_inside, parts))]  # noqa: UP007 - made of parts
    if origin in (list, dict, set, frozenset, tuple):
        return origin[tuple(map(_inside, parts))]
    return annotation


# ---- documents and addresses -------------------------------------------------------------------------------

_JSON_REF = "jetio.Json:0"
_KINDS = ("object", "array", "string", "number", "boolean")


def _json_told(schema: Any, handler: Any) -> JsonSchemaValue:
    inside = handler(core.definition_reference_schema(_JSON_REF))
    return {
        "description": "Any JSON value; whole numbers have up to 64 bits.",
        **_json_of((*_KINDS, "null"), inside),
    }


def _json_of(kinds: Sequence[str], inside: JsonSchemaValue) -> JsonSchemaValue:
    names = {"propertyNames": dict(NO_NUL), "additionalProperties": inside}
    return {"type": list(kinds), **NO_NUL, "items": inside, **names}


_JSON_SCHEMA = core.definitions_schema(
    core.definition_reference_schema(_JSON_REF),
    [core.any_schema(ref=_JSON_REF, metadata={"pydantic_js_functions": [_json_told]})],
)


class _Anything:
    """Any JSON value inside a document."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(_JSON_SCHEMA)


class _Something:
    """Any JSON value but null: that is for nullable columns."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core.no_info_after_validator_function(_present, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _json_of(_KINDS, handler(_JSON_SCHEMA))


def _present(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("json_null", "This may not be null")
    return value


class Addressable:
    """Text or bytes of a key: clients take `.` and `..` out of an address, and nothing stands for nothing there.

    One character that Unicode leaves to programs stands for the slash of a value while a path is matched.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core.no_info_after_validator_function(_addressable, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        told = handler(schema)
        if handler.mode == "serialization":
            return told
        if "pattern" in told:
            return {**told, "allOf": [{"pattern": _ADDRESSABLE}]}
        told.pop("not", None)  # the pattern says it too
        return {**told, "pattern": _ADDRESSABLE, "examples": ["key"[: told.get("maxLength")]]}


_ADDRESSABLE = r"^(\.{0,2}[^.\x00\ufdd0]|\.{3})[^\x00\ufdd0]*$"


def is_addressable(value: str | bytes) -> bool:
    """Whether a value can stand in an address as one segment."""
    return value not in ("", ".", "..", b"") and not (isinstance(value, str) and "\ufdd0" in value)


def _addressable(value: str | bytes) -> str | bytes:
    if not is_addressable(value):
        raise PydanticCustomError("not_addressable", "This cannot stand in an address")
    return value


class _Address:
    """A URL with one of its type's schemes; of any length once it is normalised."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return {"type": "string", "format": "uri"}
        schemes = _schemes(schema)
        if not schemes:
            return handler(schema)
        example = {"examples": [f"{schemes[-1]}://example.com/"]}
        return {**handler(schema), "pattern": f"^({'|'.join(schemes)}):", **example}


def _schemes(schema: Any) -> Sequence[str]:
    """The schemes that a URL type allows; none: all of them."""
    while "schema" in schema:
        schema = schema["schema"]
    found: Sequence[str] = schema.get("allowed_schemes") or ()
    return found


# ---- bytes -------------------------------------------------------------------------------------------------

_SEXTET = "[A-Za-z0-9_-]"
_TAILS = (rf"{_SEXTET}[AQgw](==)?", rf"{_SEXTET}{{2}}[AEIMQUYcgkosw048]=?")  # one byte, two bytes


def _binary(length: int | None) -> Spelling:
    pattern = _binary_pattern(length)
    example = base64.urlsafe_b64encode(b"bytes"[:length]).decode()
    told = {"type": "string", "pattern": pattern, "contentEncoding": "base64url", "examples": [example]}
    parse = core.no_info_plain_validator_function(_decoded)
    return Spelling("base64url", _binary_message(length), pattern, told, parse)


def _binary_message(length: int | None) -> str:
    return "This must be bytes in base64url" + (f", at most {length} bytes" if length else "")


def _binary_pattern(length: int | None) -> str:
    """Text of at most `length` bytes in base64url, padded or not, with no bits set that mean nothing."""
    group, tail = f"({_SEXTET}{{4}})", f"({'|'.join(_TAILS)})?"
    if length is None:
        return f"^{group}*{tail}$"
    groups, rest = divmod(length, 3)
    last = f"{group}{{{groups}}}" + (f"({'|'.join(_TAILS[:rest])})?" if rest else "")
    return (
        f"^({group}{{0,{groups - 1}}}{tail}|{last})$" if groups else f"^{last.removeprefix(group + '{0}')}$"
    )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
