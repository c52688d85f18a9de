"""Arguments from the path, the query string, headers and cookies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from sqlalchemy.orm import DeclarativeBase
from starlette.responses import Response

from .body import SHOWN, entries_of, message_of
from .call import Call
from .errors import ConfigError, FieldError, ValidationError, not_found
from .params import MISSING, Marker

__all__ = ["Parameter", "Step", "adapter_of", "default_of", "is_list", "parameter_step"]

Step = Callable[[Call], Any]
"""Makes one argument; some are coroutine functions."""

Values = Callable[[Call], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A documented parameter: where it stands, under which name, of which type."""

    name: str
    source: str
    adapter: TypeAdapter[Any]
    required: bool
    default: Any = None
    description: str | None = None


def adapter_of(kind: Any, marker: Marker) -> TypeAdapter[Any]:
    """The type with the marker's limits; raises ConfigError for one that no request carries."""
    name = getattr(kind, "__name__", kind)
    if isinstance(kind, type) and issubclass(kind, DeclarativeBase):
        raise ConfigError(f"{name} is a table; take a pydantic model, or its key and a session")
    if isinstance(kind, type) and issubclass(kind, Response):
        raise ConfigError(f"an answer is returned, with its headers; return a {name}")
    info = marker.info
    try:
        return TypeAdapter(kind if info is None else Annotated[kind, info])
    except Exception as error:
        message = f"{name} cannot be read from a request; write a pydantic model, or Depends()"
        raise ConfigError(message) from error


def is_list(kind: Any) -> bool:
    """Whether an argument of this type takes several values."""
    if get_origin(kind) is Annotated:
        return is_list(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return any(is_list(part) for part in get_args(kind))
    return (get_origin(kind) or kind) in (list, set, tuple, frozenset, Sequence)


def default_of(marker: Marker) -> Callable[[], Any]:
    """Makes the default; requests do not share one that can be changed."""
    default = marker.default
    return default.copy if isinstance(default, list | set | dict) else lambda: default


def parameter_step(name: str, kind: Any, marker: Marker, adapter: TypeAdapter[Any]) -> Step:
    """What reads and judges one parameter: a path that does not fit is 404, anything else 422."""
    validate = adapter.validator.validate_python
    many, default = is_list(kind), default_of(marker)
    if marker.source == "path":
        return _path_step(name, validate)
    values = _READERS[marker.source](name)
    if marker.source == "header" and not many:
        values = _joined(values)
    wrong = _header if marker.source == "header" else _parameter

    def step(call: Call) -> Any:
        given = values(call)
        if not given:
            if marker.default is MISSING:
                raise ValidationError([wrong(name, "missing", "This is required")])
            return default()
        if not many and len(given) > 1:
            raise ValidationError([wrong(name, "repeated", "This may be given once")])
        try:
            return validate(given if many else given[0])
        except PydanticError as error:
            entries = entries_of(error)[:SHOWN]
            raise ValidationError(
                wrong(name, entry["type"], message_of(entry)) for entry in entries
            ) from None

    return step


def _path_step(name: str, validate: Callable[[Any], Any]) -> Step:
    def step(call: Call) -> Any:
        try:
            return validate(call.scope["path_params"][name])
        except PydanticError:
            raise not_found() from None

    return step


def _parameter(name: str, code: str, message: str) -> FieldError:
    return FieldError(code, message, parameter=name)


def _header(name: str, code: str, message: str) -> FieldError:
    return FieldError(code, message, header=name)


def _from_query(name: str) -> Values:
    return lambda call: call.query.get(name, ())


def _from_headers(name: str) -> Values:
    key = name.lower().encode("latin-1")
    return lambda call: [value.decode("latin-1") for known, value in call.scope["headers"] if known == key]


def _joined(values: Values) -> Values:
    """Several lines of one header are one value (RFC 9110, 5.3)."""

    def joined(call: Call) -> Sequence[str]:
        given = values(call)
        return (", ".join(given),) if given else ()

    return joined


def _from_cookies(name: str) -> Values:
    return lambda call: (call.cookies[name],) if name in call.cookies else ()


_READERS: Mapping[str, Callable[[str], Values]] = {
    "query": _from_query,
    "header": _from_headers,
    "cookie": _from_cookies,
}
