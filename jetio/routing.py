"""From a path to an endpoint in constant time, and what an endpoint must be."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote

from starlette.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    StringConvertor,
    UUIDConvertor,
)
from starlette.datastructures import URLPath
from starlette.routing import (
    BaseRoute,
    Match,
    Mount,
    NoMatchFound,
    Route,
    Router,
    WebSocketRoute,
    compile_path,
    replace_params,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ConfigError, Problem, not_found

if TYPE_CHECKING:
    from sqlalchemy import Table

    from .config import Settings
    from .database import Database
    from .policy import Policy
    from .principal import Authenticator
    from .resource import Resource

__all__ = [
    "Application",
    "Endpoint",
    "JetioRouter",
    "PathRoute",
    "as_if_absent",
    "convertors_of",
    "header_list",
    "without_body",
]

SOCKET = "WEBSOCKET"
"""What endpoints of sockets have for a method; a request that is spelled so finds none of them."""
_SEARCHED = frozenset({"HEAD", SOCKET})

NOSNIFF = (b"x-content-type-options", b"nosniff")

ENCODED_SLASH = "\ufdd0"
"""Stands for %2F while a path is matched: it is part of a value and never parts segments."""


class Application(Protocol):
    """What building and serving an endpoint needs of the app."""

    database: Database
    settings: Settings
    dependency_overrides: dict[Any, Any]

    @property
    def authenticator(self) -> Authenticator | None: ...

    def add_endpoint(self, path: str, endpoint: Endpoint) -> None:
        """Register an endpoint; raises ConfigError when the app is built."""
        ...

    def use_authenticator(self, authenticator: Authenticator) -> None:
        """Make this the app's way to find out who is asking."""
        ...

    def read_rules(self, model: type[Any], *, own: bool = True) -> Sequence[Policy]:
        """The read rules of the model's rows; without `own` those of classes that share its table alone."""
        ...

    def default_rule(self, of: object) -> Policy | None:
        """What an endpoint or a router obeys that has no rule of its own; None: it is open."""
        ...

    def model_of(self, table: Table, resource: Resource) -> type[Any] | None:
        """The model of all rows of a table that the resource refers to; None where there is none."""
        ...


class Endpoint(Protocol):
    """An ASGI application for one path and method, with the facts that documentation needs."""

    @property
    def method(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> Any: ...

    def build(self, app: Application, path: str) -> None:
        """Read everything once; raises ConfigError."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def convertors_of(path: str) -> Mapping[str, Convertor[Any]]:
    """The parameters of a path template, in order, with what reads each of them; raises ConfigError."""
    if not path.startswith("/"):
        raise ConfigError(f"the path {path!r} must start with '/'; write '/{path}'")
    for name in re.findall(r"{\w+:(\w+)}", path):
        if name not in CONVERTOR_TYPES:
            raise ConfigError(
                f"the path {path!r} names {name!r}; write one of: {', '.join(sorted(CONVERTOR_TYPES))}"
            )
    try:
        _, rest, convertors = compile_path(path)
    except ValueError as error:
        raise ConfigError(f"the path {path!r}: {error}; give each parameter a name of its own") from error
    if len(re.findall("[{}]", rest)) != 2 * len(convertors):
        raise ConfigError(
            f"the path {path!r} has a brace that names no parameter; write {{name}} or {{name:int}}"
        )
    return convertors


class PathRoute(BaseRoute):
    """One path with its endpoints by method; HEAD goes to the endpoint of GET."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.endpoints: dict[str, Endpoint] = {}
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.literal = not self.param_convertors
        self._plain = all(isinstance(item, StringConvertor) for item in self.param_convertors.values())

    @property
    def methods(self) -> set[str]:
        """The methods that are answered."""
        found = set(self.endpoints) - {SOCKET}
        return found | {"HEAD"} if "GET" in found else found

    @property
    def shown(self) -> set[str]:
        """The methods that may be told of; those under a rule that hides are as if they were not there."""
        found = self.methods
        hidden = {method for method, endpoint in self.endpoints.items() if _hides(endpoint)}
        return found - hidden - {"HEAD"} if "GET" in hidden else found - hidden

    def endpoint_for(self, method: str | None) -> Endpoint | None:
        """What answers a method, or a socket, which has None."""
        if method is None or method == SOCKET:
            return self.endpoints.get(SOCKET) if method is None else None
        return self.endpoints.get(method) or (self.endpoints.get("GET") if method == "HEAD" else None)

    def values(self, path: str) -> dict[str, Any] | None:
        """The path's parameters, None when it is another path; raises ValueError for endless digits."""
        found = self.path_regex.fullmatch(path)
        if found is None:
            return None
        given: dict[str, Any] = found.groupdict()
        if ENCODED_SLASH in path:
            given = {name: value.replace(ENCODED_SLASH, "/") for name, value in given.items()}
        if self._plain:
            return given
        return {name: self.param_convertors[name].convert(value) for name, value in given.items()}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self.matches_path(path_of(scope), scope)

    def matches_path(self, path: str, scope: Scope) -> tuple[Match, Scope]:
        """`matches` for a path that was read already."""
        given = self.values(path)
        method = scope.get("method")
        if given is None:
            return Match.NONE, {}
        if self.endpoint_for(method) is None:
            return (Match.PARTIAL if self.shown and method is not None else Match.NONE), {}
        outer = scope.get("path_params")
        return Match.FULL, {"path_params": {**outer, **given} if outer else given}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        endpoint = self.endpoint_for(method)
        assert endpoint is not None  # noqa: S101 - the router hands over what matches in full
        await endpoint(scope, receive, without_body(send) if method == "HEAD" else send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        names = {endpoint.name for endpoint in self.endpoints.values()}
        if name not in names or set(path_params) != set(self.param_convertors):
            raise NoMatchFound(name, path_params)
        path, _ = replace_params(self.path_format, self.param_convertors, dict(path_params))
        return URLPath(path=path, protocol="websocket" if set(self.endpoints) == {SOCKET} else "http")


def _hides(endpoint: Endpoint) -> bool:
    return any(rule.hides for rule in getattr(endpoint.spec, "rules", ()))


def as_if_absent(scope: Scope) -> Problem:
    """What a request would be answered if its endpoint were not there: 404, or 405 beside other methods."""
    route = scope.get("route")
    if isinstance(route, PathRoute) and scope.get("type") == "http" and route.shown:
        return _method_refused([route])
    scope.pop("route", None)
    return not_found()


def without_body(send: Send) -> Send:
    """For HEAD: the headers of an answer, without its body."""

    async def head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return head


def path_of(scope: Scope) -> str:
    """The decoded path below the mount, in which an encoded slash is not yet a slash."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    root: str = scope.get("root_path", "")
    if b"%" in raw and b"%2f" in raw.lower():
        kept = "/".join(_decoded(part) for part in raw.partition(b"?")[0].decode("latin-1").split("/"))
        if kept.replace(ENCODED_SLASH, "/") == path:  # else a middleware has changed the path
            path = kept
    return _below(root, path) if root else path


def _below(root: str, path: str) -> str:
    """The part of a path that a mount leaves to its application."""
    below = path.removeprefix(root)
    return below if not below or below.startswith("/") else path


def _decoded(part: str) -> str:
    return unquote(part).replace("/", ENCODED_SLASH)


# ---- the table -----------------------------------------------------------------------------------


class _Node:
    """The routes below a part of a path: by the next literal segment, by any segment, or whatever follows."""

    __slots__ = ("any", "ends", "literals", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.ends: list[tuple[int, BaseRoute]] = []
        self.rest: list[tuple[int, BaseRoute]] = []

    def add(self, number: int, route: BaseRoute, segments: Sequence[str], *, whole: bool) -> None:
        """Put a route where its template leads; without `whole` it answers for all that follows."""
        for place, segment in enumerate(segments):
            if _takes_rest(route, segment):
                return self.rest.append((number, route))
            if "{" in segment:
                self.any = self.any or _Node()
                return self.any.add(number, route, segments[place + 1 :], whole=whole)
            below = self.literals.setdefault(segment, _Node())
            return below.add(number, route, segments[place + 1 :], whole=whole)
        (self.ends if whole else self.rest).append((number, route))

    def find(self, segments: Sequence[str], place: int, found: list[tuple[int, BaseRoute]]) -> None:
        """Add the routes whose template has the shape of a path."""
        found += self.rest
        if place == len(segments):
            found += self.ends
            return
        literal = self.literals.get(segments[place])
        if literal is not None:
            literal.find(segments, place + 1, found)
        if self.any is not None:
            self.any.find(segments, place + 1, found)

    def reached(self, segments: Sequence[str]) -> Iterator[int]:
        """The numbers of all routes that paths of these segments, and one more, may lead to."""
        yield from (number for number, _ in self.rest)
        below = [self.literals.get(segments[0])] if segments else list(self.literals.values())
        for node in (*below, self.any):
            if node is not None and segments:
                yield from node.reached(segments[1:])
            elif node is not None:
                yield from (number for number, _ in node.ends)


def _takes_rest(route: BaseRoute, segment: str) -> bool:
    """Whether a parameter in this segment may hold slashes."""
    convertors: Mapping[str, Convertor[Any]] = getattr(route, "param_convertors", {})
    return any(not isinstance(convertors[name], _SLASHLESS) for name in re.findall(r"{(\w+)", segment))


_SLASHLESS = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)


Guard = Callable[[BaseRoute, Scope, Receive, Send], Awaitable[None]]


class JetioRouter(Router):
    """Starlette's router with a table in front: literal paths and `/items/{id}` at once, else the routes of a
    path's shape.
    """

    guard: Guard | None = None
    """What stands before mounts and other routes that know no rules."""

    def __init__(self, routes: Sequence[BaseRoute] | None = None, **options: Any) -> None:
        super().__init__(routes, **options)
        self._literal: dict[str, PathRoute] = {}
        self._items: dict[str, tuple[PathRoute, str]] = {}
        self._table = _Node()
        self._indexed = -1

    def index(self) -> None:
        """Sort the routes into the table; runs again only when their number has changed."""
        self._indexed = len(self.routes)
        self._literal = {
            route.path: route for route in self.routes if isinstance(route, PathRoute) and route.literal
        }
        self._table = _Node()
        for number, route in enumerate(self.routes):
            if not (isinstance(route, PathRoute) and route.literal):
                _place(self._table, number, route)
        self._items = dict(self._first_items())

    def _first_items(self) -> Iterator[tuple[str, tuple[PathRoute, str]]]:
        """By the path before it, each route with one text at its end that nothing registered earlier can take."""
        for number, route in enumerate(self.routes):
            start, name = _item(route)
            if name and min(self._table.reached(start.split("/")[1:-1])) == number:
                assert isinstance(route, PathRoute)  # noqa: S101 - no other kind is an item
                yield start, (route, name)

    def candidates(self, path: str) -> list[BaseRoute]:
        """The routes that may match: the literal one, then those of the path's shape as registered."""
        found: list[tuple[int, BaseRoute]] = []
        self._table.find(path.split("/")[1:], 0, found)
        if len(found) > 1:
            found.sort(key=itemgetter(0))
        literal = self._literal.get(path)
        routes = [route for _, route in found]
        return routes if literal is None else [literal, *routes]

    def endpoint_for(self, scope: Scope) -> Endpoint | None:
        """What will answer a request, for whoever stands before the router; None: nothing of ours."""
        path = path_of(scope)
        for route in self.candidates(path):
            if _match(route, path, scope)[0] is Match.FULL:
                return route.endpoint_for(scope.get("method")) if isinstance(route, PathRoute) else None
        return None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.find(scope)(scope, receive, send)

    def find(self, scope: Scope) -> ASGIApp:
        """What answers a request: its endpoint where the path alone leads there, else the search for it."""
        if self._indexed != len(self.routes):
            self.index()
        method = scope.get("method", "HEAD")
        if method in _SEARCHED:  # or no request
            return self.lifespan if scope["type"] == "lifespan" else self._search
        path, given = path_of(scope), {}
        route = self._literal.get(path)
        if route is None:
            cut = path.rfind("/") + 1
            start, last = path[:cut], path[cut:]
            if start not in self._items or not last or "\0" in last or ENCODED_SLASH in last:
                return self._search
            route, name = self._items[start]
            given = {name: last}
        endpoint = route.endpoints.get(method)
        if endpoint is None:
            return self._search
        scope["route"] = route
        outer = scope.get("path_params")
        scope["path_params"] = {**outer, **given} if outer else given
        return endpoint

    async def _search(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope)
        partial: list[BaseRoute] = []
        for route in self.candidates(path):
            match, child = _match(route, path, scope)
            if match is Match.FULL:
                scope.setdefault("router", self)
                scope["route"] = route
                scope.update(child)
                if self.guard is None or isinstance(route, PathRoute):
                    await route.handle(scope, receive, send)
                else:
                    await self.guard(route, scope, receive, send)
                return
            if match is Match.PARTIAL:
                partial.append(route)
        if partial:
            scope["route"] = partial[0]
            await _refuse_method(partial, scope, send)
        else:
            await self._missing(scope, send)

    async def _missing(self, scope: Scope, send: Send) -> None:
        other = _other_path(scope)
        if scope["type"] == "http" and other is not None and self._serves(other, scope):
            query: bytes = scope["query_string"]
            location = other + (b"?" + quote(query, safe=_SAFE + "?").encode() if query else b"")
            headers = [(b"location", location), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        scope.pop("route", None)
        raise not_found()

    def _serves(self, raw: bytes, scope: Scope) -> bool:
        moved = {**scope, "path": unquote(raw.decode()), "raw_path": raw}
        path = path_of(moved)
        return any(_is_shown(route, path, moved) for route in self.candidates(path))


def _place(table: _Node, number: int, route: BaseRoute) -> None:
    path = getattr(route, "path", None)
    known = isinstance(route, PathRoute | Route | WebSocketRoute)
    if path is None or not (known or isinstance(route, Mount)):
        table.add(number, route, (), whole=False)  # a Host, or a kind of its own: it must look for itself
    else:
        table.add(number, route, path.split("/")[1:], whole=known)


def _item(route: BaseRoute) -> tuple[str, str]:
    """The literal beginning of `/items/{id}` and the name of what follows; of other routes no name."""
    if not isinstance(route, PathRoute) or [type(item) for item in route.param_convertors.values()] != [
        StringConvertor
    ]:
        return "", ""
    (name,) = route.param_convertors
    start, _, last = route.path_format.rpartition("/")
    return (f"{start}/", name) if last == f"{{{name}}}" else ("", "")


def _match(route: BaseRoute, path: str, scope: Scope) -> tuple[Match, Scope]:
    if "\0" in path:
        return Match.NONE, {}  # neither databases nor file systems have such a name
    try:
        return route.matches_path(path, scope) if isinstance(route, PathRoute) else route.matches(scope)
    except ValueError:  # digits without end are no number
        return Match.NONE, {}


def _is_shown(route: BaseRoute, path: str, scope: Scope) -> bool:
    """Whether a route answers a request, and may be told of."""
    if _match(route, path, scope)[0] is Match.NONE:
        return False
    return not isinstance(route, PathRoute) or bool(route.shown)


async def _refuse_method(partial: Sequence[BaseRoute], scope: Scope, send: Send) -> None:
    """The path exists, the method does not: 405, or OPTIONS, for all routes of the path together."""
    problem = _method_refused(partial)
    allow = problem.headers["Allow"]
    if scope["method"] != "OPTIONS":
        raise problem
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allow.encode())]})
    await send({"type": "http.response.body", "body": b""})


def _method_refused(routes: Sequence[BaseRoute]) -> Problem:
    told = [getattr(route, "shown", getattr(route, "methods", None)) or () for route in routes]
    allow = ", ".join(sorted({"OPTIONS"}.union(*told)))
    return Problem(405, "method_not_allowed", "This method is not allowed here", headers={"Allow": allow})


def _other_path(scope: Scope) -> bytes | None:
    """The address with the trailing slash added or taken away; quoted, it cannot lead to another host."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = quote(raw.partition(b"?")[0], safe=_SAFE).encode()
    other = path.rstrip(b"/") if path.endswith(b"/") else path + b"/"
    return other if other and not path.startswith(b"//") else None


_SAFE = "/%:@!$&'()*+,;=~-._"


def header_list(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
