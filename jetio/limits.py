"""What a column takes: the type of its values, with every limit of the column."""

from __future__ import annotations

import datetime as dt
import enum
import sys
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from inspect import get_annotations
from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin

import orjson
from pydantic import AfterValidator, EmailStr, SecretStr
from pydantic import Field as Limit
from pydantic_core import PydanticCustomError
from sqlalchemy import JSON, Column, DateTime, Enum, Float, Numeric, String
from sqlalchemy.orm import Mapped, MappedColumn, QueryableAttribute
from sqlalchemy.types import TypeDecorator, TypeEngine

from .columns import JsonDocument, SecretText, UtcDateTime, max_length_of
from .errors import ConfigError
from .wire import Addressable, in_document, spelled

__all__ = ["annotations_of", "is_secret", "limited"]


def annotations_of(model: type[Any]) -> dict[str, Any]:
    """What stands inside `Mapped[...]` for each attribute; names for type checkers only are left out."""
    found: dict[str, Any] = {}
    for ancestor in reversed(model.__mro__):
        # An attribute called `date` does not hide the type of that name.
        own = {name: value for name, value in vars(ancestor).items() if not isinstance(value, _ATTRIBUTES)}
        namespace = {**vars(sys.modules.get(ancestor.__module__, object)), **own}
        for name, annotation in get_annotations(ancestor).items():
            inner = _inside_mapped(annotation, namespace)
            if inner is not None:
                found[name] = inner
    return found


_ATTRIBUTES = (QueryableAttribute, MappedColumn)


def _inside_mapped(annotation: Any, namespace: dict[str, Any]) -> Any:
    annotation = _evaluated(annotation, namespace)
    if get_origin(annotation) is Mapped:
        return _evaluated(get_args(annotation)[0], namespace)
    return None


def _evaluated(annotation: Any, namespace: dict[str, Any]) -> Any:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, namespace)  # noqa: S307 - the model's own source, as typing.get_type_hints does
    except Exception:
        return None  # the column's own type tells enough


def limited(
    model: type[Any], name: str, column: Column[Any], annotation: Any, info: Mapping[str, Any]
) -> Any:
    """The annotation of a column with all its limits."""
    bare, beside = _split(annotation)
    kind = column.type
    own = _python_type(kind)
    plain = not isinstance(kind, TypeDecorator) and bare in _SCALARS and own in _SCALARS
    if bare is None or plain or isinstance(kind, Enum):
        bare = own  # what the column gives and takes, whatever was written beside it
    if bare is None:
        raise ConfigError(
            f"the type of {model.__name__}.{name} is not known; annotate it, e.g. `{name}: Mapped[str]`"
        )
    if bare is str and name == "email":
        bare = EmailStr
    if isinstance(kind, JSON | JsonDocument):
        bare = in_document(bare)
    given = [*beside, *_info_limits(info)]
    if column.primary_key and (own is str or bare in (str, bytes)):
        given.append(Addressable())
    # Of two bounds pydantic takes the last: the author's must come after the column's, unless it is wider.
    limits = [*spelled(bare, kind), *_type_limits(kind, bare), *given, *_text_limits(kind, bare, given)]
    return Annotated[(bare, *limits)] if limits else bare


_SCALARS = (
    str,
    int,
    float,
    bool,
    bytes,
    Decimal,
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    uuid.UUID,
)


def is_secret(annotation: Any, column: Column[Any]) -> bool:
    """Whether the column holds what nobody is shown."""
    return _split(annotation)[0] is SecretStr or isinstance(column.type, SecretText)


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    """The type without Optional, and what stands beside it in Annotated (columns apart)."""
    if annotation is None:
        return None, []
    origin = get_origin(annotation)
    if origin is Annotated:
        first, *beside = get_args(annotation)
        bare, more = _split(first)
        return bare, [*more, *(item for item in beside if not isinstance(item, MappedColumn | Column))]
    arguments = get_args(annotation)
    if type(None) in arguments and origin is not Literal:
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            return _split(rest[0])
    return annotation, []


def _python_type(kind: TypeEngine[Any]) -> Any:
    """What the column gives; None where its type does not tell."""
    if isinstance(kind, JsonDocument):
        return kind.annotation
    if isinstance(kind, JSON):
        return Any
    if isinstance(kind, Enum):
        return kind.enum_class or Literal[tuple(kind.enums)]
    try:
        given = kind.python_type
    except NotImplementedError:
        return None
    return None if given is object else given  # what a TypeDecorator says that was told nothing


INFO_LIMITS = (
    "min_length",
    "max_length",
    "pattern",
    "ge",
    "gt",
    "le",
    "lt",
    "multiple_of",
    "description",
    "examples",
)


def _info_limits(info: Mapping[str, Any]) -> list[Any]:
    given = {name: info[name] for name in INFO_LIMITS if name in info}
    limits: list[Any] = [Limit(**given)] if given else []
    normalise = info.get("normalise")
    return [*limits, AfterValidator(normalise)] if normalise else limits


def _type_limits(kind: TypeEngine[Any], bare: Any) -> list[Any]:
    if isinstance(kind, UtcDateTime):
        return [AfterValidator(_in_utc)]
    if isinstance(kind, DateTime):
        return [AfterValidator(_in_utc if kind.timezone else _in_naive_utc)]
    if isinstance(kind, JsonDocument):
        return [AfterValidator(_portable_document(kind))]
    if isinstance(kind, JSON):
        return [AfterValidator(_portable_json)]
    if isinstance(kind, Float) or (isinstance(kind, Numeric) and bare is not Decimal):
        return [Limit(allow_inf_nan=False)]
    return []


def _text_limits(kind: TypeEngine[Any], bare: Any, given: list[Any]) -> list[Any]:
    """What holds for text, whatever the annotation makes of it."""
    inner: Any = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
    if not isinstance(inner, String) or isinstance(inner, Enum) or get_origin(bare) is Literal:
        return []
    length: int | None = inner.length
    if bare is not str and bare is not EmailStr:
        return [] if kind is not inner else [AfterValidator(_as_text(length))]
    own = max_length_of(given)
    wider = length is not None and (own is None or own > length)
    return [Limit(max_length=length)] if wider else []


def _as_text(length: int | None) -> Callable[[Any], str]:
    """For a column of plain text whose values are URLs, addresses or secrets to Python."""

    def convert(value: Any) -> str:
        value = value.value if isinstance(value, enum.Enum) else value
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if length is not None and len(text) > length:
            raise PydanticCustomError("string_too_long", "This is too long")
        return text

    return convert


def _in_utc(value: dt.datetime) -> dt.datetime:
    """A moment that every database can hold; a naive one is read as UTC."""
    try:
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError:
        raise PydanticCustomError(
            "datetime_range", "The moment is outside the years 1 to 9999 in UTC"
        ) from None


def _in_naive_utc(value: dt.datetime) -> dt.datetime:
    return _in_utc(value).replace(tzinfo=None)


def _portable_json(value: Any) -> Any:
    """Refuse what would not come back: NaN, Infinity, and integers beyond 64 bits."""
    try:
        same = orjson.loads(orjson.dumps(value)) == value
    except TypeError:
        same = False
    if not same:
        raise PydanticCustomError(
            "json_value", "The document holds a number that JSON does not carry portably"
        )
    return value


def _portable_document(kind: JsonDocument) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        _portable_json(kind.adapter.dump_python(value, mode="json"))
        return value

    return check
