"""Markers: where a handler's argument comes from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

from pydantic import Field
from pydantic.fields import FieldInfo

from .errors import ConfigError

__all__ = [
    "MISSING",
    "Body",
    "Cookie",
    "Depends",
    "File",
    "Form",
    "Header",
    "Marker",
    "Needed",
    "Path",
    "Query",
]

MISSING: Any = ...

Source = Literal["path", "query", "header", "cookie", "body", "form", "file"]


class Limits(TypedDict, total=False):
    """What a value must satisfy; the words are those of pydantic's `Field`."""

    gt: Any
    ge: Any
    lt: Any
    le: Any
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str
    strict: bool
    allow_inf_nan: bool
    max_digits: int
    decimal_places: int
    title: str
    examples: list[Any]
    deprecated: bool


@dataclass(frozen=True, slots=True)
class Marker:
    """One source of an argument, with its limits."""

    source: Source
    default: Any = MISSING
    alias: str | None = None
    description: str | None = None
    embed: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.limits:
            if name not in Limits.__annotations__:
                close = difflib.get_close_matches(name, Limits.__annotations__, 1) or sorted(
                    Limits.__annotations__
                )
                raise ConfigError(f"{self!r} has no limit {name!r}; write {' or '.join(close)}")

    def __repr__(self) -> str:
        return f"{self.source.capitalize()}({'' if self.default is MISSING else repr(self.default)})"

    @property
    def info(self) -> FieldInfo | None:
        """The limits as pydantic reads them beside a type; None: there are none."""
        if not self.limits:
            return None
        info: FieldInfo = Field(**self.limits)
        return info


@dataclass(frozen=True, slots=True)
class Needed:
    """What `Depends` makes: the value of another callable."""

    dependency: Callable[..., Any] | None
    use_cache: bool


# Typed as Any, so that `page: int = Query(1)` is what a type checker expects of a default.


def Path(*, alias: str | None = None, description: str | None = None, **limits: Unpack[Limits]) -> Any:
    """A part of the path."""
    return Marker("path", MISSING, alias, description, limits=limits)


def Query(
    default: Any = MISSING,
    *,
    alias: str | None = None,
    description: str | None = None,
    **limits: Unpack[Limits],
) -> Any:
    """A parameter of the query string; a list takes every value that is given."""
    return Marker("query", default, alias, description, limits=limits)


def Header(
    default: Any = MISSING,
    *,
    alias: str | None = None,
    description: str | None = None,
    **limits: Unpack[Limits],
) -> Any:
    """A request header; underscores in the argument's name stand for hyphens."""
    return Marker("header", default, alias, description, limits=limits)


def Cookie(
    default: Any = MISSING,
    *,
    alias: str | None = None,
    description: str | None = None,
    **limits: Unpack[Limits],
) -> Any:
    """A cookie."""
    return Marker("cookie", default, alias, description, limits=limits)


def Body(
    default: Any = MISSING, *, embed: bool = False, description: str | None = None, **limits: Unpack[Limits]
) -> Any:
    """The JSON body, or with `embed=True`, and where several arguments are marked, one member of it."""
    return Marker("body", default, None, description, embed, limits)


def Form(
    default: Any = MISSING,
    *,
    alias: str | None = None,
    description: str | None = None,
    **limits: Unpack[Limits],
) -> Any:
    """A field of a form, or a model of the whole form."""
    return Marker("form", default, alias, description, limits=limits)


def File(default: Any = MISSING, *, alias: str | None = None, description: str | None = None) -> Any:
    """An uploaded file (`UploadFile`), or several (`list[UploadFile]`)."""
    return Marker("file", default, alias, description)


def Depends(dependency: Callable[..., Any] | None = None, *, use_cache: bool = True) -> Any:
    """The value that another callable gives, called once per request unless `use_cache=False`.

    The callable's own parameters are resolved in the same way. A generator is resumed after the handler,
    before the commit. Without an argument the annotated class is called.
    """
    return Needed(dependency, use_cache)
