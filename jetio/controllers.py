"""Controllers: classes whose methods are handlers, built once with the services that they ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from .errors import ConfigError, Mistakes
from .operation import Operation
from .routing import Application
from .services import Services

__all__ = ["Controller", "controllers_of", "delete", "get", "patch", "post", "put", "routes_of"]

Method = TypeVar("Method", bound=Callable[..., Any])

_PLACE = "__jetio_routes__"


class _Route(NamedTuple):
    method: str
    path: str
    options: Mapping[str, Any]


class Controller:
    """A class of handlers: `class Posts(Controller, prefix="/posts", tags=["Posts"])`.

    Methods become routes with `@get`, `@post`, `@put`, `@patch`, `@delete`. The constructor takes services: classes,
    named by annotations, of which each application builds one object. `app.add_controller(Posts)` registers it;
    requests share the object, so it keeps nothing that is about one of them.
    """

    __jetio_prefix__ = ""
    __jetio_tags__: Sequence[str] = ()

    def __init_subclass__(
        cls, *, prefix: str | None = None, tags: Sequence[str] | None = None, **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        if prefix is not None:
            cls.__jetio_prefix__ = prefix
        if tags is not None:
            cls.__jetio_tags__ = tags


def get(path: str, **options: Any) -> Callable[[Method], Method]:
    """A method of a `Controller` answers GET; options as `Jetio.route` has them."""
    return _route("GET", path, options)


def post(path: str, **options: Any) -> Callable[[Method], Method]:
    """A method of a `Controller` answers POST."""
    return _route("POST", path, options)


def put(path: str, **options: Any) -> Callable[[Method], Method]:
    """A method of a `Controller` answers PUT."""
    return _route("PUT", path, options)


def patch(path: str, **options: Any) -> Callable[[Method], Method]:
    """A method of a `Controller` answers PATCH."""
    return _route("PATCH", path, options)


def delete(path: str, **options: Any) -> Callable[[Method], Method]:
    """A method of a `Controller` answers DELETE."""
    return _route("DELETE", path, options)


def _route(method: str, path: str, options: Mapping[str, Any]) -> Callable[[Method], Method]:
    def mark(handler: Method) -> Method:
        target: Any = getattr(handler, "__func__", handler)  # what a staticmethod is around
        if not inspect.isfunction(target):
            raise ConfigError(f"@{method.lower()}({path!r}) stands on {handler!r}; put it on a method")
        setattr(target, _PLACE, (_Route(method, path, options), *getattr(target, _PLACE, ())))
        return handler

    return mark


class _MethodOperation(Operation):
    """A method as an endpoint: which object it is bound to is known at build."""

    def __init__(self, controller: type[Controller], name: str, route: _Route, services: Services) -> None:
        self._controller, self._method_name, self._services = controller, name, services
        options = {"tags": controller.__jetio_tags__, **route.options}
        super().__init__(route.method, getattr(controller, name), **options)

    def build(self, app: Application, path: str) -> None:
        self.handler = getattr(self._services.make(self._controller), self._method_name)
        super().build(app, path)


def routes_of(controller: Any, services: Services) -> Iterator[tuple[str, Operation]]:
    """The endpoints of a controller with their paths; raises ConfigError."""
    if not (isinstance(controller, type) and issubclass(controller, Controller)):
        raise ConfigError(f"{controller!r} is no controller; write `class Posts(Controller)`")
    prefix, title = controller.__jetio_prefix__, controller.__qualname__
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ConfigError(f"{title}: the prefix {prefix!r} must begin with / and not end with one")
    found = dict(_methods(controller))
    if not any(found.values()):
        raise ConfigError(f"{title} has no routes; write @get(...) on a method")
    mistakes = Mistakes(title)
    for name, routes in found.items():
        for route in routes:
            with mistakes.about(f"{title}.{name}"):
                if route.path and route.path[0] != "/":
                    raise ConfigError(f"the path {route.path!r} must start with '/'; write '/{route.path}'")
                yield prefix + route.path or "/", _operation(controller, name, route, services)
    mistakes.tell()


def _operation(controller: type[Controller], name: str, route: _Route, services: Services) -> Operation:
    try:
        return _MethodOperation(controller, name, route, services)
    except TypeError as error:  # an option that there is not
        raise ConfigError(f"@{route.method.lower()}({route.path!r}, ...): {error}") from error


def _methods(controller: type[Controller]) -> Iterator[tuple[str, Sequence[_Route]]]:
    """Each method with its routes, those of bases first; an override has to say its route again."""
    names = dict.fromkeys(name for kind in reversed(controller.__mro__) for name in vars(kind))
    for name in names:
        routes = _marks(inspect.getattr_static(controller, name, None))
        kept = [kind for kind in controller.__mro__ if _marks(vars(kind).get(name))]
        if kept and not routes:
            raise ConfigError(
                f"{controller.__qualname__}.{name} replaces a route of {kept[0].__qualname__} and is none; "
                "decorate it, its rules too"
            )
        yield name, routes


def _marks(member: Any) -> Sequence[_Route]:
    return getattr(getattr(member, "__func__", member), _PLACE, ()) if member is not None else ()


def controllers_of(module: Any) -> list[type[Controller]]:
    """The controllers that a module defines and that have routes, in the order in which they stand."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Controller)
        and value.__module__ == module.__name__
        and any(routes for _, routes in _methods(value))
    ]
