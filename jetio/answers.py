"""What a handler returns, as bytes, and complete answers on the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, PlainValidator, TypeAdapter
from pydantic import ValidationError as PydanticError
from sqlalchemy.orm import DeclarativeBase
from starlette.responses import Response
from starlette.types import Send

from .body import pointer
from .dialects.values import dump, form_of, json_form
from .resource import resource_of
from .routing import NOSNIFF
from .schemas import read_schema

__all__ = [
    "BODILESS",
    "JSON_TYPE",
    "Encode",
    "JsonResponse",
    "document_of",
    "encode",
    "encoder",
    "is_response",
    "read_type",
    "send_body",
    "send_empty",
    "send_json",
]

JSON_TYPE = (b"content-type", b"application/json")
BODILESS = frozenset({204, 205, 304})

Header = tuple[bytes, bytes]
Headers = Sequence[Header]
Encode = Callable[[Any], bytes]


class JsonResponse(Response):
    """A JSON answer with a status and headers of its own."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


# ---- values to bytes -----------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """JSON of a value that nothing was declared about; a mapped object is written as its readable columns."""
    if type(value) not in _PLAIN and isinstance(value, BaseModel):
        return value.__pydantic_serializer__.to_json(value, by_alias=True)
    return dump(value, _form_of)


# pydantic's test for its models costs more than writing a small document.
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})


def _form_of(value: Any) -> Any:
    if isinstance(value, DeclarativeBase):
        return document_of(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    return form_of(value)


def document_of(row: DeclarativeBase) -> dict[str, Any]:
    """The readable columns of a mapped object."""
    document = {}
    for name, form in _readable(type(row)):
        held = getattr(row, name)
        document[name] = held if form is None else form(held)
    return document


@cache
def _readable(model: type[Any]) -> list[tuple[str, Callable[[Any], Any] | None]]:
    return [(item.name, json_form(item.column.type)) for item in resource_of(model).readable(admin=False)]


def encoder(declared: Any, where: str) -> Encode:
    """What encodes the values of a declared type, and nothing that the type does not name."""
    if not _names_fields(declared):
        return encode
    adapter: TypeAdapter[Any] = TypeAdapter(_replaced(declared, _row_of))
    exact = declared.__pydantic_serializer__ if _is_model(declared) else None

    def filtered(value: Any) -> bytes:
        if exact is not None and type(value) is declared:
            written: bytes = exact.to_json(value, by_alias=True)
            return written
        try:
            fitting = adapter.validate_python(value, from_attributes=True)
        except PydanticError as error:
            raise TypeError(
                f"{where} returned a {type(value).__name__} that is no {declared}: {_told(error)}"
            ) from None
        return adapter.dump_json(fitting, by_alias=True)

    return filtered


def _told(error: PydanticError) -> str:
    """What does not fit, without the values: they do not belong into a log."""
    entries = error.errors(include_url=False, include_input=False)[:5]
    return "; ".join(f"{pointer(entry['loc']) or 'it'}: {entry['msg']}" for entry in entries)


def read_type(declared: Any) -> Any:
    """The type that documents an answer: a mapped class stands for its Read schema."""
    return _replaced(declared, lambda model: read_schema(resource_of(model)))


def _row_of(model: type[Any]) -> Any:
    """The type that takes rows of a model and gives their documents."""

    def document(value: Any) -> dict[str, Any]:
        if not isinstance(value, model):
            raise ValueError(f"a {model.__name__} is due here")
        return document_of(value)

    return Annotated[Any, PlainValidator(document)]


def _replaced(declared: Any, replace: Callable[[type[Any]], Any]) -> Any:
    """A type with its mapped classes replaced; answers of their own are left out of unions."""
    if _is_mapped(declared):
        return replace(declared)
    arguments, origin = get_args(declared), get_origin(declared)
    if origin is Annotated:
        return Annotated[(_replaced(arguments[0], replace), *arguments[1:])]
    parts = tuple(_replaced(part, replace) for part in arguments)
    if origin in (Union, UnionType):
        kept = tuple(part for part in parts if not is_response(part)) or parts[:1]
        return Union[kept]  # noqa: UP007 - made of a tuple
    return declared if parts == arguments else origin[parts]


def is_response(declared: Any) -> bool:
    """Whether this is a class of answers."""
    return isinstance(declared, type) and issubclass(declared, Response)


def _is_mapped(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, DeclarativeBase)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _names_fields(kind: Any) -> bool:
    """Whether a type names fields, so that others are left out."""
    if _is_model(kind) or _is_mapped(kind) or is_dataclass(kind) or hasattr(kind, "__required_keys__"):
        return True
    return any(_names_fields(part) for part in get_args(kind))


# ---- bytes to the wire ---------------------------------------------------------------------------


def send_json(send: Send, status: int, body: bytes, headers: Headers = ()) -> Awaitable[None]:
    """One complete JSON answer."""
    return send_body(send, status, JSON_TYPE, body, headers)


async def send_body(send: Send, status: int, content: Header, body: bytes, headers: Headers = ()) -> None:
    """One complete answer; its nosniff is the one that the writer of problems adds to all others."""
    length = (b"content-length", b"%d" % len(body))
    await send(
        {"type": "http.response.start", "status": status, "headers": [NOSNIFF, content, length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


async def send_empty(send: Send, status: int, headers: Headers = ()) -> None:
    """An answer without a body; 204 and 304 have no length either (RFC 9110, 8.6)."""
    length = [] if status in (204, 304) else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": b""})
