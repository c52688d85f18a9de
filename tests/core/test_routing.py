"""The table in front of the routes finds what looking at each of them would find, and looks at few."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route

from jetio import Problem
from jetio.routing import JetioRouter, PathRoute
from tests.core.apps import make_app


class Named:
    """An endpoint that answers with its name and the values of its path."""

    spec = None

    def __init__(self, method: str, name: str) -> None:
        self.method, self.name = method, name

    def build(self, app: Any, path: str) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "found", "answer": (self.name, dict(scope["path_params"]))})


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """To its end, without a loop: nothing in here waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def scope_of(method: str, path: str) -> dict[str, Any]:
    return {
        "type": "http", "method": method, "path": path, "raw_path": quote(path).encode(), "query_string": b"",
        "headers": [(b"host", b"a.example")], "root_path": "",
    }  # fmt: skip


def outcome(serve: Callable[[Any, Any, Any], Coroutine[Any, Any, None]], method: str, path: str) -> Any:
    """What was answered, or which problem was raised, with its Allow."""
    return outcome_of(serve, scope_of(method, path))


def outcome_of(serve: Callable[[Any, Any, Any], Coroutine[Any, Any, None]], scope: dict[str, Any]) -> Any:
    """`outcome` of a request that is not as simple."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        run(serve(scope, None, send))
    except Problem as problem:
        return problem.status, problem.headers.get("Allow")
    return sent[0]["answer"] if sent[0]["type"] == "found" else (sent[0]["status"], dict(sent[0]["headers"]))


# ---- the plain way -------------------------------------------------------------------------------


def linear(routes: Sequence[BaseRoute], method: str, path: str) -> Any:
    """Every route is asked: a literal path first, then the first that has the path and the method."""
    scope = scope_of(method, path)
    found = [(route, *route.matches(scope)) for route in routes]
    full = [(route, child) for route, match, child in found if match is Match.FULL]
    literal = [item for item in full if isinstance(item[0], PathRoute) and item[0].literal]
    if full:
        route, child = (literal or full)[0]
        return outcome(lambda scope, receive, send: route.handle(scope | child, receive, send), method, path)
    partial = [route for route, match, _ in found if match is Match.PARTIAL]
    if partial:
        allow = ", ".join(sorted({"OPTIONS"}.union(*(getattr(route, "methods") for route in partial))))  # noqa: B009
        return (204, {b"allow": allow.encode()}) if method == "OPTIONS" else (405, allow)
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    redirects = other and not path.startswith("//")
    if redirects and any(route.matches(scope_of(method, other))[0] is not Match.NONE for route in routes):
        return 307, {b"location": quote(other).encode(), b"content-length": b"0"}
    return 404, None


# ---- random tables -------------------------------------------------------------------------------

WORDS = ["", "a", "b", "ab", "7", "a.b"]
SEGMENTS = [*WORDS[1:], "{x}", "{x:int}", "a{x}", "{x}.b", "{x:path}"]
METHODS = ["GET", "POST", "HEAD", "OPTIONS"]

templates = st.lists(st.sampled_from(SEGMENTS), max_size=4).map(lambda parts: _numbered(parts))
paths = st.lists(st.sampled_from([*WORDS, "77", "a b"]), max_size=5).map(lambda parts: "/" + "/".join(parts))


def _numbered(parts: Sequence[str]) -> str:
    """A template whose parameters have different names."""
    return "/" + "/".join(part.replace("{x", f"{{x{place}") for place, part in enumerate(parts))


def route_of(number: int, kind: str, template: str, methods: Sequence[str]) -> BaseRoute:
    name = f"{number} {template}"
    if kind == "own":
        route = PathRoute(template)
        route.endpoints = {method: Named(method, name) for method in methods}
        return route
    endpoint: Any = Named("", name)
    if kind == "starlette":
        foreign = Route(template, PlainTextResponse("never asked"), methods=methods)
        foreign.app = endpoint
        return foreign
    return (
        Mount(template, endpoint)
        if kind == "mount"
        else Host(["a.example", "b.example"][number % 2], endpoint)
    )


kinds = st.sampled_from(["own"] * 6 + ["starlette"] * 2 + ["mount", "host"])
methods = st.lists(st.sampled_from(METHODS[:2]), min_size=1, max_size=2, unique=True)
tables = st.lists(
    st.tuples(kinds, templates, methods),
    max_size=12,
    unique_by=lambda item: item[1] if item[0] == "own" else id(item),
)


@settings(max_examples=150, deadline=None)
@given(table=tables, path=paths, method=st.sampled_from(METHODS))
def test_the_table_finds_what_looking_at_every_route_finds(table: list[Any], path: str, method: str) -> None:
    """The same endpoint with the same values, the same 404, 405 with the same Allow, the same redirect."""
    routes = [route_of(number, *item) for number, item in enumerate(table)]
    router = JetioRouter(routes)
    assert outcome(router.app, method, path) == linear(routes, method, path)


ITEMS = ["/a/{x}", "/a/{y}", "/{x}", "/a/b", "/a/{x:int}", "/a/b{x}", "/{x}/{y}", "/{x:path}", "/a/{x}/b"]
PARTS = ["a", "b", "7", "", "b%2Fc", "%00", "%C3%A9", "a%20b", "%EF%B7%90"]
PATHS = ["", *(f"/{one}" for one in PARTS), *(f"/{one}/{two}" for one in PARTS for two in PARTS), "/a/b/c"]


@settings(max_examples=60, deadline=None)
@given(table=st.lists(st.tuples(kinds, st.sampled_from(ITEMS), methods), min_size=1, max_size=4))
def test_an_item_is_found_as_the_search_finds_it(table: list[Any]) -> None:
    """The same endpoint, values, problem and redirect, whatever is encoded in the path, below a mount as well."""
    router = JetioRouter([route_of(number, *item) for number, item in enumerate(table)])
    router.index()
    for raw, method, below in itertools.product(PATHS, METHODS, ({}, BELOW)):
        raw_path = below.get("root_path", "") + raw
        scope = {**scope_of(method, "/"), "path": unquote(raw_path), "raw_path": raw_path.encode(), **below}
        assert outcome_of(router.app, dict(scope)) == outcome_of(router._search, dict(scope)), (raw, method)


BELOW = {"root_path": "/m", "path_params": {"tenant": "t", "x": "outer"}}


def test_an_item_is_not_searched_for() -> None:
    """Its endpoint is known by what stands before it, unless something registered earlier may take the path."""
    item, rival = route_of(0, "own", "/a/{id}", ["GET"]), route_of(1, "own", "/{x}/b", ["GET"])
    assert isinstance(item, PathRoute)
    endpoint = item.endpoints["GET"]
    assert JetioRouter([item, rival]).find(scope_of("GET", "/a/c")) is endpoint
    assert JetioRouter([rival, item]).find(scope_of("GET", "/a/c")) is not endpoint
    assert JetioRouter([Mount("/a", make_app()), item]).find(scope_of("GET", "/a/c")) is not endpoint
    assert JetioRouter([Mount("/b", make_app()), item]).find(scope_of("GET", "/a/c")) is endpoint


# ---- how much is looked at -----------------------------------------------------------------------

SHAPES = {
    "at the root": ("/model{n}", "/model{n}/{{id}}"),
    "below one prefix": ("/api/v1/model{n}", "/api/v1/model{n}/{{id}}"),
    "below a parameter": ("/{{tenant}}/model{n}", "/{{tenant}}/model{n}/{{id}}"),
    "inside each other": ("/a/{{x}}/model{n}/{{y}}", "/a/{{x}}/model{n}/{{y}}/b/{{z}}"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thousand_models_are_found_as_one(shape: str) -> None:
    """How many routes are tried does not depend on how many there are, found or not."""

    def tried(count: int) -> list[int]:
        table = [PathRoute(template.format(n=n)) for n in range(count) for template in SHAPES[shape]]
        router = JetioRouter([*table, Mount("/static", make_app())])
        router.index()
        last = f"model{count - 1}"
        asked = [
            template.format(n=count - 1).format(tenant="t", id="5", x="1", y="2", z="3")
            for template in SHAPES[shape]
        ]
        assert last in asked[0]
        return [
            len(router.candidates(path))
            for path in (*asked, "/nowhere", "/api/v1/nowhere/5", "/t/nowhere/5", "/static/x")
        ]

    assert tried(1) == tried(1000)
    assert max(tried(1000)) <= 2


def test_a_deep_path_is_not_searched() -> None:
    """A path of ten thousand segments ends where the table ends."""
    router = JetioRouter([PathRoute("/a/{x}/c"), PathRoute("/{x}/b/{y}")])
    assert outcome(router.app, "GET", "/a" * 10_000) == (404, None)


def test_routes_that_are_added_later_are_found() -> None:
    """The table is made anew when their number changes."""
    router = JetioRouter([])
    assert outcome(router.app, "GET", "/a") == (404, None)
    router.routes.append(route_of(0, "own", "/a", ["GET"]))
    assert outcome(router.app, "GET", "/a") == ("0 /a", {})


def test_a_literal_path_wins_over_a_parameter() -> None:
    """Whichever was registered first; for another method the parameter is asked."""
    for order in (1, -1):
        routes = [
            route_of(0, "own", "/posts/{id}", ["GET", "DELETE"]),
            route_of(1, "own", "/posts/bulk", ["GET", "POST"]),
        ]
        router = JetioRouter(routes[::order])
        assert outcome(router.app, "GET", "/posts/bulk") == ("1 /posts/bulk", {})
        assert outcome(router.app, "DELETE", "/posts/bulk") == ("0 /posts/{id}", {"id": "bulk"})
        assert outcome(router.app, "PUT", "/posts/bulk") == (405, "DELETE, GET, HEAD, OPTIONS, POST")


def test_a_kind_of_route_of_its_own_looks_for_itself() -> None:
    """Whatever derives from Starlette's BaseRoute is asked for every path."""

    class Even(BaseRoute):
        def matches(self, scope: Any) -> tuple[Match, Any]:
            return (Match.FULL if scope["path"].endswith(".even") else Match.NONE), {"path_params": {}}

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "found", "answer": ("even", {})})

    router = JetioRouter([Even()])
    assert outcome(router.app, "GET", "/a/b.even") == ("even", {})
    assert outcome(router.app, "GET", "/a/b.odd") == (404, None)
