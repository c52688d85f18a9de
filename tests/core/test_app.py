"""The application around its handlers: start and end, middleware, mounts, errors and pages."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import anyio
import httpx2
import pytest
from sqlalchemy import ForeignKey, create_engine, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Host, Mount, NoMatchFound, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient as StarletteClient

from jetio import (
    BaseMiddleware,
    ConfigError,
    CORSMiddleware,
    Database,
    Jetio,
    JetioModel,
    Problem,
    Request,
    Response,
    Settings,
)
from jetio.testing import TestClient
from tests.core.apps import ask, make_app
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Thing(Own):
    name: Mapped[str]


class Part(Own):
    thing_id: Mapped[int] = mapped_column(ForeignKey("things.id"))


def problem(response: httpx2.Response) -> tuple[int, str]:
    """The status and the code; the problem has the same status inside and out."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == f"urn:jetio:problem:{document['code']}"
    return response.status_code, document["code"]


# ---- start and end -------------------------------------------------------------------------------


def test_start_and_end_run_in_order() -> None:
    """The lifespan surrounds the start-up handlers; shutdown handlers run in reverse; plain ones in threa."""
    log: list[str] = []
    main = threading.get_ident()

    @contextlib.asynccontextmanager
    async def lifespan(app: Jetio) -> AsyncIterator[dict[str, Any]]:
        log.append("enter")
        yield {"pool": "ready"}
        log.append("leave")

    app = make_app(lifespan=lifespan)

    @app.on_event("startup")
    async def first() -> None:
        log.append("first")

    @app.on_event("startup")
    def second() -> None:
        log.append("second" if threading.get_ident() != main else "on the loop")

    app.on_event("shutdown")(lambda: log.append("last"))
    app.on_event("shutdown")(lambda: log.append("before last"))

    @app.get("/")
    async def handler(request: Request) -> Any:
        return request.state.pool

    with TestClient(app) as client:
        assert client.get("/").json() == "ready"
        assert log == ["enter", "first", "second"]
    assert log == ["enter", "first", "second", "before last", "last", "leave"]


def test_a_start_that_fails_ends_what_had_begun() -> None:
    """What was entered is left; shutdown handlers belong to a start that succeeded."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Jetio) -> AsyncIterator[None]:
        yield
        log.append("left")

    app = make_app(lifespan=lifespan)
    app.on_event("shutdown")(lambda: log.append("shutdown"))

    @app.on_event("startup")
    async def fail() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"), TestClient(app):
        raise AssertionError("never started")
    assert log == []


@pytest.mark.parametrize(("env", "made"), [("development", True), ("test", True), ("production", False)])
def test_tables_are_made_at_the_start_of_development(tmp_path: Path, env: Any, made: bool) -> None:
    """In production migrations make them."""
    url = f"sqlite+aiosqlite:///{tmp_path}/things.db"
    app = Jetio(settings=Settings(env=env, database_url=url), metadata=Own.metadata)
    with TestClient(app):
        pass
    engine = create_engine(f"sqlite:///{tmp_path}/things.db")
    assert inspect(engine).has_table("things") is made
    engine.dispose()


def test_start_tasks_come_after_the_tables_and_before_the_handlers() -> None:
    """They are how parts of the application prepare themselves."""
    log: list[Any] = []
    app = make_app(metadata=Own.metadata)

    async def task() -> None:
        async with app.database.sessions() as session:
            log.append(await session.get(Thing, 1))

    app.start_tasks.append(task)
    app.on_event("startup")(lambda: log.append("handler"))
    with TestClient(app):
        assert log == [None, "handler"]


def test_mistakes_stop_the_start() -> None:
    """Of the build and of the start-up checks, which `check()` tells without serving."""
    app = make_app()
    app.start_checks.append(lambda _: ["the key is short"])
    app.start_checks.append(lambda _: ["the name is long"])
    with pytest.raises(ConfigError, match="2 mistakes") as caught:
        app.check()
    assert caught.value.mistakes == ("the key is short", "the name is long")
    with pytest.raises(ConfigError, match="2 mistakes"), TestClient(app):
        raise AssertionError("never started")
    wrong = make_app()
    wrong.get("nowhere")(lambda: None)
    with pytest.raises(ConfigError, match="must start with '/'"), TestClient(wrong):
        raise AssertionError("never started")
    with pytest.raises(ConfigError, match="must start with '/'"):
        TestClient(wrong).get("/")


def test_a_database_may_be_given_in_three_ways(tmp_path: Path) -> None:
    """As an object, as a URL, by the settings; else it is the one behind `jetio.engine`."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    assert Jetio(database=database).database is database
    url = f"sqlite+aiosqlite:///{tmp_path}/b.db"
    assert str(Jetio(database=url).database.dialect.url) == url
    assert str(Jetio(settings=Settings(database_url=url)).database.dialect.url) == url
    import jetio

    assert Jetio().database.engine is jetio.engine
    assert Jetio().settings is jetio.settings


# ---- middleware ----------------------------------------------------------------------------------


class Stamp(BaseMiddleware):
    async def before(self, request: Request) -> Response | None:
        if "stop" in request.query_params:
            return PlainTextResponse("stopped", status_code=418)
        return None

    async def after(self, request: Request, message: Any) -> None:
        message["headers"].append((b"x-stamp", request.url.path.encode()))


class Pure:
    def __init__(self, app: Any, word: str) -> None:
        self.app, self.word = app, word

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["state"] = {**scope.get("state", {}), "word": self.word}
        await self.app(scope, receive, send)


async def by_function(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-function"] = request.state.word
    return response


def test_every_kind_of_middleware_works() -> None:
    """Ours, pure ASGI and Starlette's, given at once or added; the last added is the outermost."""
    app = make_app(
        middleware=[
            Middleware(BaseMiddleware),
            Middleware(Pure, word="inner"),
            Middleware(BaseHTTPMiddleware, dispatch=by_function),
        ]
    )
    app.add_middleware(Stamp)

    @app.get("/")
    async def handler(request: Request) -> Any:
        return request.state.word

    with TestClient(app) as client:
        response = client.get("/")
        assert (response.json(), response.headers["x-function"], response.headers["x-stamp"]) == (
            "inner",
            "inner",
            "/",
        )
        stopped = client.get("/?stop=1")
        assert (stopped.status_code, stopped.text, "x-function" in stopped.headers) == (418, "stopped", False)
        assert stopped.headers["x-stamp"] == "/"
        missing = client.get("/nowhere")
        assert (problem(missing), missing.headers["x-stamp"]) == ((404, "not_found"), "/nowhere")
    with pytest.raises(RuntimeError, match="after an application has started"):
        app.add_middleware(Stamp)


def test_cors_and_compression_apply_to_problems() -> None:
    """What is handled passes through the application's middleware; what nobody expected is outside of it."""
    app = make_app()
    app.add_middleware(GZipMiddleware, minimum_size=10)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
    app.get("/broken")(lambda: 1 / 0)
    headers = {"origin": "https://a.example", "accept-encoding": "gzip"}
    refused = ask(app, "/nowhere", headers=headers)
    assert problem(refused) == (404, "not_found")
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert refused.headers["content-encoding"] == "gzip"
    assert problem(ask(app, "/broken", headers=headers)) == (500, "internal")
    preflight = ask(app, "/", "OPTIONS", headers={**headers, "access-control-request-method": "GET"})
    assert preflight.headers["x-content-type-options"] == "nosniff"


class Lax(CORSMiddleware):
    def __init__(self, app: Any, allow_credentials: bool = True, **options: Any) -> None:
        super().__init__(app, allow_credentials=allow_credentials, **options)


EVERY_ORIGIN: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (CORSMiddleware, (), {"allow_origins": ["https://a.example", "*"], "allow_credentials": True}),
    (CORSMiddleware, (("*",), ("GET",), (), True), {}),
    (CORSMiddleware, (), {"allow_origin_regex": ".*", "allow_credentials": True}),
    (CORSMiddleware, (), {"allow_origin_regex": r"https?://.+", "allow_credentials": True}),
    (Lax, (), {"allow_origins": "*"}),
]
SOME_ORIGINS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (CORSMiddleware, (), {"allow_origins": ["*"]}),
    (CORSMiddleware, (), {"allow_origins": ["https://a.example"], "allow_credentials": True}),
    (CORSMiddleware, (), {"allow_origin_regex": r"https://\w+\.a\.example", "allow_credentials": True}),
    (GZipMiddleware, (), {}),
]


@pytest.mark.parametrize(("kind", "given", "named"), EVERY_ORIGIN)
def test_production_refuses_credentials_for_every_origin(kind: Any, given: Any, named: Any) -> None:
    """However the middleware is told so; together with what else is wrong. In development it may be."""
    for env in ("development", "production"):
        app = make_app(settings=Settings(env=cast("Any", env)))
        app.add_middleware(kind, *given, **named)
        app.start_checks.append(lambda app: ["more"])
        with pytest.raises(ConfigError) as told:
            app.check()
        first = 'CORSMiddleware allows credentials to every origin; write allow_origins=["https://the.site'
        assert [mistake[: len(first)] for mistake in told.value.mistakes] == (
            [first, "more"] if env == "production" else ["more"]
        )


@pytest.mark.parametrize(("kind", "given", "named"), SOME_ORIGINS)
def test_production_takes_other_ways_to_share(kind: Any, given: Any, named: Any) -> None:
    """A wildcard without credentials, and origins by name."""
    app = make_app(settings=Settings(env="production"))
    app.add_middleware(kind, *given, **named)
    app.check()


def test_every_answer_forbids_sniffing(tmp_path: Path) -> None:
    """Values, answers of their own, Starlette's routes and mounts, redirects, problems, middleware."""
    (tmp_path / "a.txt").write_text("a")

    async def plain(request: Request) -> Response:
        return PlainTextResponse("p")

    async def own(request: Request) -> Response:
        return PlainTextResponse("p", headers={"X-Content-Type-Options": "nosniff"})

    app = make_app(
        routes=[Route("/route", plain), Route("/own", own), Mount("/files", StaticFiles(directory=tmp_path))],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])],
    )
    app.get("/value")(lambda: 1)
    app.get("/empty", status_code=204)(lambda: None)
    app.get("/redirect")(lambda: RedirectResponse("/value"))
    inner = make_app()
    inner.get("/value")(lambda: 1)
    app.mount("/inner", inner)
    client = TestClient(app, follow_redirects=False)
    paths = (
        "/value",
        "/value/",
        "/empty",
        "/redirect",
        "/route",
        "/own",
        "/files/a.txt",
        "/files/b.txt",
        "/no",
        "/inner/value",
    )
    answers = [client.get(path) for path in paths]
    answers += [
        client.options("/value"),
        client.post("/value"),
        client.get("/value", headers={"host": "evil.example"}),
    ]
    assert {response.status_code for response in answers} == {200, 204, 307, 400, 404, 405}
    for response in answers:
        assert response.headers.get_list("x-content-type-options") == ["nosniff"], response.request.url


# ---- mounts and foreign routes -------------------------------------------------------------------


def test_routes_of_starlette_are_served() -> None:
    """Routes, mounts and hosts, with the problems of this application and addresses that lead to them."""

    async def shown(request: Request) -> Response:
        return PlainTextResponse(str(request.url_for("shown", id=request.path_params["id"])))

    async def refused(request: Request) -> Response:
        raise HTTPException(402, "Pay first", headers={"x-price": "1"})

    sub = Starlette(routes=[Route("/shown/{id:int}", shown, name="shown")])
    app = make_app(
        routes=[
            Route("/shown/{id:int}", shown, name="shown"),
            Route("/refused", refused, methods=["POST"]),
            Mount("/sub", sub, name="sub"),
            Host("api.example", sub),
        ]
    )
    client = TestClient(app, base_url="http://testserver")
    assert client.get("/shown/5").text == "http://testserver/shown/5"
    assert client.get("/sub/shown/5").status_code == 200
    assert client.get("/shown/5", headers={"host": "api.example"}).status_code == 200
    assert problem(client.get("/shown/x")) == (404, "not_found")
    assert problem(client.get(f"/shown/{'9' * 5000}")) == (404, "not_found")
    refusal = client.post("/refused")
    assert (problem(refusal), refusal.json()["detail"], refusal.headers["x-price"]) == (
        (402, "bad_request"),
        "Pay first",
        "1",
    )
    method = client.get("/refused")
    assert (problem(method), method.headers["allow"]) == ((405, "method_not_allowed"), "OPTIONS, POST")


@pytest.mark.parametrize("kind", [Jetio, Starlette])
def test_an_application_may_be_mounted_without_a_start(kind: Any) -> None:
    """It builds at its first request; its paths, addresses, redirects and problems know where it stands."""
    inner = make_app()

    @inner.get("/items/{id}", name="item")
    async def item(id: str, request: Request) -> Any:
        return [id, str(request.url_for("api:item" if kind is Starlette else "item", id="x"))]

    outer = (
        kind(routes=[Mount("/v1", inner, name="api")])
        if kind is Starlette
        else make_app(routes=[Mount("/v1", inner)])
    )
    client = StarletteClient(outer)
    assert client.get("/v1/items/5").json() == ["5", "http://testserver/v1/items/x"]
    assert client.get("/v1/items/5/", follow_redirects=False).headers["location"] == "/v1/items/5"
    missing = client.get("/v1/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert client.get("/v1/items/5", headers={"accept": "text/html"}).status_code == 200


def test_many_first_requests_build_once() -> None:
    """However many come at the same time."""
    app = make_app()
    built: list[int] = []
    app.on_build.append(lambda _: built.append(1))
    app.get("/")(lambda: "fine")

    async def all_at_once() -> list[int]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://t") as client:
            found: list[int] = []

            async def one() -> None:
                found.append((await client.get("/")).status_code)

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(one)
            return found

    assert anyio.run(all_at_once) == [200] * 20
    assert built == [1]


@pytest.mark.parametrize("root", ["/api", "/caf\u00e9 x"])
def test_a_prefix_that_a_proxy_took_away_is_known(root: str) -> None:
    """`root_path` stands in redirects and is not part of the routes."""
    app = make_app()

    @app.get("/items/{name}")
    async def item(name: str) -> Any:
        return name

    client = TestClient(app, root_path=root, follow_redirects=False)
    assert client.get(f"{root}/items/a%2Fb").json() == "a/b"
    assert client.get(f"{root}/items/a%2Fb/").headers["location"] == f"{root}/items/a%2Fb".replace(
        "é x", "%C3%A9%20x"
    )
    assert client.get(f"{root}x/items/a").status_code == 404


# ---- problems ------------------------------------------------------------------------------------


def test_the_frameworks_own_refusals_are_problems() -> None:
    """404, 405 with Allow, 413, 415: one shape, with the path and the request id, never cached."""
    app = make_app()

    @app.post("/items", max_body=10)
    async def items(given: dict[str, int]) -> Any:
        return given

    assert problem(ask(app, "/nowhere?secret=1")) == (404, "not_found")
    refused = ask(app, "/items")
    assert (problem(refused), refused.headers["allow"]) == ((405, "method_not_allowed"), "OPTIONS, POST")
    assert problem(ask(app, "/items", "POST", json={"a": 10**9})) == (413, "content_too_large")
    media = ask(app, "/items", "POST", content=b"a=1", headers={"content-type": "text/plain"})
    assert problem(media) == (415, "unsupported_media_type")
    assert media.json()["instance"] == "/items"
    assert media.headers["cache-control"] == "no-store"
    assert "instance" not in ask(app, "/nowhere").json()


def test_a_build_says_once_how_much_it_built_and_how_long_that_took(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, so that a slow start explains itself; a build that fails says nothing."""
    caplog.set_level(logging.INFO, "jetio")
    app = make_app()
    app.get("/one")(do_nothing)
    app.post("/one")(do_nothing)
    app.build()
    app.build()
    built = [record.getMessage() for record in caplog.records if record.name == "jetio"]
    assert [re.sub(r"\d+\.\d s", "... s", line) for line in built] == ["built 2 operations in ... s"]

    caplog.clear()
    app = make_app()
    app.get("/{one}")(do_nothing)
    with pytest.raises(ConfigError, match="one"):
        app.build()
    assert not caplog.records


async def do_nothing() -> None:
    """A handler that takes nothing."""


def test_no_secret_of_an_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever stands in a path's parameters; before there is a route, all that follows the first part."""
    app = make_app()

    @app.get("/invitations/{token}")
    async def invitation(token: str) -> None:
        raise RuntimeError("broken")

    class Broken:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["query_string"]:
                raise RuntimeError("the store is away")
            await self.inner(scope, receive, send)

    app.add_middleware(Broken)
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/invitations/s3cret", "/invitations/s3cret?early=1"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
            assert "s3cret" not in answer.text
    told = [record.getMessage().partition(" failed")[0] for record in caplog.records]
    assert told == ["GET /invitations/{token}", "GET /invitations/..."]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("<x>", False), ("é", False)],
)
def test_a_request_id_is_taken_over_when_it_is_a_plain_word(given: str, kept: bool) -> None:
    """Else one is made; it stands in the problem, in its header, and in the log."""
    app = make_app()
    response = ask(app, "/nowhere", headers={"x-request-id": given.encode()})
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert (response.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize("debug", [False, True])
def test_nothing_leaks_from_an_unexpected_error(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets the request id, the log the stack with the same id; `debug` changes nothing of that."""
    app = make_app(debug=debug)

    @app.get("/")
    async def handler(secret: str) -> Any:
        raise RuntimeError(f"password {secret}")

    response = ask(app, "/?secret=hunter2", headers={"accept": "text/html"})
    assert problem(response) == (500, "internal")
    assert set(response.json()) == {"type", "title", "status", "detail", "code", "instance", "request_id"}
    assert "hunter2" not in response.text
    (record,) = [record for record in caplog.records if record.name == "jetio"]
    assert (record.levelno, response.json()["request_id"] in record.getMessage()) == (logging.ERROR, True)
    assert "password hunter2" in caplog.text


def test_problems_raised_anywhere_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    """With further members and headers; 401 always has its challenge; an unknown status is no error."""
    app = make_app()
    raised: list[Exception] = [
        Problem(
            409,
            "too_late",
            "It is over",
            title="Too late",
            headers={"Retry-After": "5"},
            members={"since": 3},
        ),
        Problem(401, "token_expired"),
        Problem(401, "token_expired", headers={"www-authenticate": "Basic"}),
        Problem(499, "gone_away"),
        HTTPException(404),
        HTTPException(401, "Who?"),
        HTTPException(418, "Teapot"),
        HTTPException(502),
        Problem(503, "unavailable"),
    ]

    @app.get("/{n}")
    async def handler(n: int) -> Any:
        raise raised[n]

    answers = [ask(app, f"/{n}") for n in range(len(raised))]
    assert [problem(response) for response in answers] == [
        (409, "too_late"), (401, "token_expired"), (401, "token_expired"), (499, "gone_away"),
        (404, "not_found"), (401, "not_authenticated"), (418, "bad_request"),
        (502, "internal"), (503, "unavailable"),
    ]  # fmt: skip
    first = answers[0].json()
    assert (first["title"], first["detail"], first["since"], answers[0].headers["retry-after"]) == (
        "Too late",
        "It is over",
        3,
        "5",
    )
    assert [answers[n].headers["www-authenticate"] for n in (1, 2, 5)] == ["Bearer", "Basic", "Bearer"]
    assert answers[5].json()["detail"] == "Who?"
    assert {record.levelno for record in caplog.records if record.name == "jetio"} == {logging.WARNING}


def test_what_a_database_says_is_a_problem(tmp_path: Path) -> None:
    """A handler's own statements: a taken value, a reference to nothing, NULL, a database that is away."""
    app = Jetio(database=f"sqlite+aiosqlite:///{tmp_path}/a.db", metadata=Own.metadata)
    statements = {
        "unique": "INSERT INTO things (id, name) VALUES (1, 'a'), (1, 'b')",
        "reference": "INSERT INTO parts (thing_id) VALUES (77)",
        "empty": "INSERT INTO things (name) VALUES (NULL)",
        "wrong": "INSERT INTO nowhere VALUES (1)",
    }

    @app.post("/{name}")
    async def handler(name: str, session: AsyncSession) -> Any:
        await session.execute(text(statements[name]))

    with TestClient(app, raise_server_exceptions=False) as client:
        assert [problem(client.post(f"/{name}")) for name in statements] == [
            (409, "conflict"), (422, "validation"), (422, "validation"), (500, "internal"),
        ]  # fmt: skip
        app.database = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/a.db")
        away = client.post("/unique")
        assert (problem(away), away.headers["retry-after"]) == ((503, "unavailable"), "1")


class Late(Exception):
    pass


class Later(Late):
    pass


def test_exception_handlers_answer_for_classes_and_statuses(caplog: pytest.LogCaptureFixture) -> None:
    """The nearest class first, then the status; plain functions in threads; nothing of it is unexpected."""
    app = make_app(
        exception_handlers={Late: lambda request, error: PlainTextResponse("late", status_code=410)}
    )

    @app.exception_handler(404)
    async def missing(request: Request, error: Problem) -> Response:
        return PlainTextResponse(f"no {request.url.path}", status_code=404)

    @app.exception_handler(Problem)
    def any_problem(request: Request, error: Problem) -> Response:
        return PlainTextResponse(error.code, status_code=error.status)

    raised: dict[str, Exception] = {
        "late": Later(),
        "problem": Problem(409, "conflict"),
        "http": HTTPException(404),
    }

    @app.get("/{name}")
    async def handler(name: str) -> Any:
        raise raised[name]

    assert [(ask(app, f"/{name}").status_code, ask(app, f"/{name}").text) for name in raised] == [
        (410, "late"), (409, "conflict"), (404, "no /http"),
    ]  # fmt: skip
    assert ask(app, "/a/b").text == "not_found"
    assert not [record for record in caplog.records if record.name == "jetio"]


@pytest.mark.parametrize("kind", [500, Exception])
@pytest.mark.parametrize("surrounded", [False, True])
def test_a_handler_for_everything_else_is_asked_last(
    kind: Any, surrounded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands outside the middleware, hides no error from the log, and is not asked for problems."""
    app = make_app()
    if surrounded:
        app.add_middleware(Stamp)

    @app.exception_handler(kind)
    async def everything(request: Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", status_code=500)

    app.get("/broken")(lambda: 1 / 0)
    response = ask(app, "/broken")
    assert (response.text, "x-stamp" in response.headers) == ("sorry", False)
    assert "ZeroDivisionError" in caplog.text
    assert problem(ask(app, "/nowhere")) == (404, "not_found")


def test_an_exception_handler_may_pass(caplog: pytest.LogCaptureFixture) -> None:
    """What it raises again is as if there were no handler."""
    app = make_app()

    @app.exception_handler(Late)
    async def passes(request: Request, error: Late) -> Response:
        raise error

    @app.get("/")
    async def handler() -> Any:
        raise Late("first")

    assert problem(ask(app, "/")) == (500, "internal")
    assert "Late: first" in caplog.text


def test_an_exception_handler_that_fails_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    """The client still gets an answer, the log both errors."""
    app = make_app()
    app.add_exception_handler(Late, lambda request, error: PlainTextResponse(1 / 0))  # type: ignore[arg-type]

    @app.get("/")
    async def handler() -> Any:
        raise Late("first")

    assert problem(ask(app, "/")) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert "Late: first" in caplog.text


async def test_an_error_in_the_middle_of_an_answer_ends_it() -> None:
    """Nothing is added to what was sent; the server hears of it."""
    app = make_app()

    async def lines() -> AsyncIterator[str]:
        yield "a"
        raise Problem(409, "conflict")

    app.get("/")(lambda: StreamingResponse(lines()))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await anyio.sleep_forever()

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    with pytest.raises((Problem, ExceptionGroup)):
        await app(scope, receive, send)
    assert [message.get("body") for message in sent] == [None, b"a"]


# ---- pages ---------------------------------------------------------------------------------------


def test_people_see_pages_where_people_look(tmp_path: Path) -> None:
    """On HTML routes, and on unknown addresses that a browser asks for; never on a route of the API."""
    (tmp_path / "404.html").write_text("<p>lost")
    app = make_app()
    app.add_error_page(404, tmp_path / "404.html")
    app.add_error_page(405, "<p>method")
    app.add_error_page(
        401, lambda request, problem: HTMLResponse(f"<p>{problem.code}", headers={"x-page": "1"})
    )

    async def broken(request: Request, problem: Problem) -> str:
        return f"<p>{problem.detail}"

    app.add_error_page(500, broken)

    @app.get("/page", html=True)
    async def page(fail: str = "") -> str:
        if fail == "login":
            raise Problem(401, "not_authenticated")
        return str(1 / 0) if fail else "<p>fine"

    app.get("/api")(lambda: 1 / 0)
    browser = {"accept": "text/html,*/*"}
    assert ask(app, "/page").text == "<p>fine"
    login = ask(app, "/page?fail=login")
    assert (login.status_code, login.text, login.headers["x-page"]) == (401, "<p>not_authenticated", "1")
    assert login.headers["www-authenticate"] == "Bearer"
    assert login.headers["cache-control"] == "no-store"
    assert ask(app, "/page?fail=1").text == "<p>Something went wrong here; the request id leads to the report"
    assert ask(app, "/page", "POST").text == "<p>method"
    lost = ask(app, "/nowhere", headers=browser)
    assert (lost.status_code, lost.headers["content-type"], lost.text) == (
        404,
        "text/html; charset=utf-8",
        "<p>lost",
    )
    assert ask(app, "/page?fail=login", "HEAD").status_code == 401
    assert problem(ask(app, "/nowhere")) == (404, "not_found")
    assert problem(ask(app, "/api", headers=browser)) == (500, "internal")
    assert problem(ask(app, "/api", "POST", headers=browser)) == (405, "method_not_allowed")


# ---- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        (b"/items/", b"/items"),
        (b"/items//", b"/items"),
        (b"/a/slash", b"/a/slash/"),
        (b"/items/?a=1&b=%2F", b"/items?a=1&b=%2F"),
        (b"/items/?a=<x>\r\n", b"/items?a=%3Cx%3E%0D%0A"),
        (b"/names/caf%C3%A9/", b"/names/caf%C3%A9"),
        (b"/names/a%2Fb/", b"/names/a%2Fb"),
        (b"/names/%0d%0aSet-Cookie:x/", b"/names/%0d%0aSet-Cookie:x"),
        (b"/names/%5Cevil.example/", b"/names/%5Cevil.example"),
        (b"/\\evil.example/", b"/%5Cevil.example"),
        (b"/%2Fevil.example/", b"/%2Fevil.example"),
        (b"//evil.example/", None),
        (b"//evil.example/a.html/", None),
        (b"/deep/a.html/", b"/deep/a.html"),
        (b"//evil.example", None),
        (b"//", None),
        (b"/nowhere/at/all/", None),
        (b"/", None),
    ],
)
async def test_a_trailing_slash_is_redirected_and_nothing_else(raw: bytes, location: bytes | None) -> None:
    """To the same address in the same place: relative, quoted, never to another host."""
    app = make_app()
    for path in ("/items", "/a/slash/", "/names/{name}", "/{name}", "/{rest:path}.html"):
        app.get(path)(lambda request: "served")
    app.build()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    target, _, query = raw.partition(b"?")
    scope = {
        "type": "http", "method": "GET", "path": unquote(target.decode()), "raw_path": target,
        "query_string": query, "headers": [],
    }  # fmt: skip
    await app(scope, None, send)  # type: ignore[arg-type]  # nothing is received
    assert (sent[0]["status"], dict(sent[0]["headers"]).get(b"location")) == (
        307 if location else 404,
        location,
    )


def test_a_path_that_a_middleware_has_changed_counts() -> None:
    """Although the raw one still says something else."""

    class Moved:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "path": "/new/a"} if scope["type"] == "http" else scope, receive, send)

    app = make_app(middleware=[Middleware(Moved)])
    app.get("/new/{name}")(lambda name: name)
    assert ask(app, "/old/x%2Fy").json() == "a"


def test_options_and_405_name_all_methods_of_a_path() -> None:
    """Of every route that has it, Starlette's too; HEAD comes with GET."""

    async def foreign(request: Request) -> Response:
        return PlainTextResponse("f")

    app = make_app(routes=[Route("/items/special", foreign, methods=["DELETE"])])
    app.get("/items/special")(lambda: 1)
    app.put("/items/{id}")(lambda id: id)
    app.route("/own", methods=["OPTIONS"])(lambda: "mine")
    allow = "DELETE, GET, HEAD, OPTIONS, PUT"
    answers = [ask(app, "/items/special", method) for method in ("OPTIONS", "PATCH")]
    assert [(response.status_code, response.headers["allow"]) for response in answers] == [
        (204, allow),
        (405, allow),
    ]
    assert ask(app, "/items/x", "OPTIONS").headers["allow"] == "OPTIONS, PUT"
    assert ask(app, "/own", "OPTIONS").json() == "mine"
    assert ask(app, "/items/special", "PUT").json() == "special"
    assert ask(app, "/items/special", "DELETE").text == "f"


def test_addresses_are_made_from_names() -> None:
    """Of handlers and sockets, by the application and by the request."""
    app = make_app()

    @app.get("/people/{name}/{n:int}", name="person")
    async def handler(request: Request) -> Any:
        return str(request.url_for("person", name="ann", n=3))

    @app.websocket("/socket/{n}")
    async def socket(n: int) -> None: ...

    assert app.url_path_for("person", name="ann", n=3) == "/people/ann/3"
    assert app.url_path_for("socket", n=1).protocol == "websocket"
    assert ask(app, "/people/x/1").json() == "http://testserver/people/ann/3"
    with pytest.raises(NoMatchFound):
        app.url_path_for("person", name="ann")


def test_a_session_is_asked_of_every_kind_of_handler(tmp_path: Path) -> None:
    """One small application from start to end."""
    app = Jetio(database=f"sqlite+aiosqlite:///{tmp_path}/a.db", metadata=Own.metadata)

    @app.post("/things", status_code=201)
    async def new(session: AsyncSession, name: str) -> Thing:
        thing = Thing(name=name)
        session.add(thing)
        return thing

    @app.delete("/things/{id}", status_code=204)
    async def delete(session: AsyncSession, id: int) -> None:
        await session.delete(await session.get_one(Thing, id))

    @app.patch("/things/{id}")
    async def change(session: AsyncSession, id: int, name: str) -> Thing:
        thing = await session.get_one(Thing, id)
        thing.name = name
        return thing

    with TestClient(app) as client:
        assert client.post("/things?name=a").json() == {"id": 1, "name": "a"}
        assert client.patch("/things/1?name=b").json() == {"id": 1, "name": "b"}
        assert client.delete("/things/1").status_code == 204
        assert client.options("/things/1").headers["allow"] == "DELETE, OPTIONS, PATCH"
