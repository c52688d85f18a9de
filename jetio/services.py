"""Services: objects that controllers and other services are given, each built once for an application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection

from .callables import hints_of, unknown_name
from .database import UnitOfWork
from .errors import ConfigError, Mistakes
from .principal import Principal

__all__ = ["Services"]

Kind = TypeVar("Kind")

_OF_REQUESTS = (HTTPConnection, AsyncSession, UnitOfWork, Principal, BackgroundTasks)
_OF_CLIENTS = (BaseModel,)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Services:
    """Builds a class by giving its constructor what the annotations ask for, and keeps the object."""

    def __init__(self) -> None:
        self._made: dict[type[Any], Any] = {}
        self._given: set[type[Any]] = set()

    def provide(self, kind: type[Kind], service: Kind) -> None:
        """Give this object to whoever asks for that class; raises ConfigError for a second one."""
        if not isinstance(kind, type):
            raise ConfigError(f"provide({kind!r}, ...) names no class; write the class that services ask for")
        if kind in self._made:
            raise ConfigError(f"there are two services for {kind.__qualname__}; provide one")
        self._made[kind] = service
        self._given.add(kind)

    def make(self, kind: type[Kind], above: tuple[type[Any], ...] = ()) -> Kind:
        """The one object of a class, built with its services; raises ConfigError."""
        if kind not in self._made:
            if kind in above:
                way = " -> ".join(item.__qualname__ for item in (*above, kind))
                raise ConfigError(f"these need each other: {way}; break the cycle")
            self._made[kind] = self._built(kind, (*above, kind))
        made: Kind = self._made[kind]
        return made

    def _built(self, kind: type[Kind], above: tuple[type[Any], ...]) -> Kind:
        arguments, mistakes = {}, Mistakes(f"{kind.__qualname__}(")
        for parameter in _parameters(kind):
            place = f"{kind.__qualname__}({parameter.name}=...)"
            with mistakes.about(place):
                if self._is_wanted(parameter):
                    arguments[parameter.name] = self._service(parameter.annotation, above)
        mistakes.tell()
        try:
            return kind(**arguments)
        except Exception as error:
            raise ConfigError(f"{kind.__qualname__} cannot be built: {error}") from error

    def _service(self, annotation: Any, above: tuple[type[Any], ...]) -> Any:
        known = isinstance(annotation, type) and annotation in self._made
        return self.make(annotation if known else _service_class(annotation), above)

    def _is_wanted(self, parameter: inspect.Parameter) -> bool:
        """A parameter with a default keeps it, unless somebody has provided the service."""
        kind = parameter.annotation
        return parameter.default is parameter.empty or (isinstance(kind, type) and kind in self._given)


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    """What a constructor asks for, with the types that the annotations mean."""
    try:
        found = inspect.signature(kind).parameters.values()
        hints = hints_of(kind, {})
    except Exception as error:
        raise ConfigError(f"the constructor of {kind.__qualname__} cannot be read: {error}") from error
    return [
        item.replace(annotation=hints.get(item.name, item.annotation))
        for item in found
        if item.kind not in _VARIADIC
    ]


def _service_class(annotation: Any) -> type[Any]:
    """The class that an annotation names; raises ConfigError for what no service is."""
    for is_other, why in _OTHERS.items():
        if is_other(annotation):
            raise ConfigError(why.format(name=getattr(annotation, "__name__", annotation)))
    found: type[Any] = annotation
    return found


def _is_abstract(kind: type[Any]) -> bool:
    return inspect.isabstract(kind) or bool(getattr(kind, "_is_protocol", False))


_OTHERS: Mapping[Callable[[Any], bool], str] = {
    lambda kind: kind is inspect.Parameter.empty: "it has no type; write the class of the service",
    lambda kind: (
        unknown_name(kind) is not None
    ): "{name} is known to type checkers only; import it where the program runs, too",
    lambda kind: (
        bool(get_args(kind)) or not isinstance(kind, type)
    ): "{name} is no class; write the class of the service, or give it a default",
    lambda kind: issubclass(
        kind, _OF_REQUESTS
    ): "{name} belongs to one request, a service to all; take it in the method and hand it on",
    lambda kind: (
        issubclass(kind, _OF_CLIENTS) or hasattr(kind, "__mapper__") or kind.__module__ == "builtins"
    ): "{name} is no service; give it a default, or app.provide({name}, ...)",
    _is_abstract: "{name} is abstract; say which one is meant: app.provide({name}, ...)",
}
"""What cannot be built, asked in this order, with what to write instead."""
