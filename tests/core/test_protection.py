"""A protected application: every route is closed that does not say otherwise; and rules that stand on handlers."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import pytest
from sqlalchemy.orm import Mapped
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from jetio import (
    Access,
    Allow,
    ConfigError,
    CrudRouter,
    Decision,
    Deny,
    Depends,
    Jetio,
    JetioModel,
    Operation,
    Principal,
    SecurityContext,
    Settings,
    add_swagger_ui,
    allow_anonymous,
    authenticated,
    guard,
    policy,
    public,
)
from jetio.testing import TestClient
from tests.core.apps import ask, make_app
from tests.core.callers import Finder, headers
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Memo(Own):
    text: Mapped[str]


class Sign(Own):
    text: Mapped[str]


ANN = headers("ann")


def protected(**options: Any) -> Jetio:
    app = make_app(**options)
    app.use_authenticator(Finder())
    app.protect(authenticated())
    return app


@policy
async def only_editors(access: Access) -> Decision:
    fine = access.principal is not None and access.principal.has_role("editor")
    return Allow() if fine else Deny("role_required")


async def who(request: Request) -> PlainTextResponse:
    """A handler of Starlette's kind."""
    found = SecurityContext.get()
    return PlainTextResponse(found.sub if found is not None else "nobody")


def refused(answer: Any, status: int = 401) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


# ---- what protect closes -----------------------------------------------------------------------------------


def test_handlers_are_closed_and_opened_one_by_one() -> None:
    """A handler needs a login; `allow_anonymous` and a policy of its own say otherwise."""
    app = protected()

    @app.get("/closed")
    async def closed() -> str:
        return "closed"

    @app.get("/health")
    @allow_anonymous
    async def health() -> str:
        return "open"

    @allow_anonymous
    @app.get("/above")
    async def above() -> str:
        return "open"

    @app.get("/public", policy=public())
    async def by_policy() -> str:
        return "open"

    @app.get("/optional")
    async def optional(principal: Principal | None) -> str:
        return "closed"

    for path in ("/closed", "/optional"):
        answer = ask(app, path)
        refused(answer)
        assert answer.json()["detail"] == "Missing or invalid Authorization header"
        assert ask(app, path, headers=ANN).json() == "closed"
    for path in ("/health", "/above", "/public"):
        assert ask(app, path).json() == "open"
        refused(ask(app, path, headers=headers("bad")))


def test_other_addresses_are_told_as_ever() -> None:
    """What is not there is 404 and 405 for strangers, too."""
    app = protected()

    @app.get("/closed")
    async def closed() -> str:
        return "closed"

    refused(ask(app, "/nothing"), 404)
    refused(ask(app, "/closed", "POST"), 405)
    assert ask(app, "/closed/").status_code == 307
    refused(ask(app, "/closed", "HEAD"))


def test_rows_are_closed(database_url: str) -> None:
    """A router without rules needs a login on every verb; a public rule opens it."""
    app = protected(database=database_url, metadata=Own.metadata)
    CrudRouter(Memo).register_routes(app)
    CrudRouter(Sign, policy={"GET": public()}).register_routes(app)
    with TestClient(app) as client:
        for method, path in (
            ("GET", "/memos"),
            ("POST", "/memos"),
            ("GET", "/memos/1"),
            ("PUT", "/memos/1"),
            ("PATCH", "/memos/1"),
            ("DELETE", "/memos/1"),
            ("POST", "/signs"),
        ):
            refused(client.request(method, path, json={"text": "tea"}))
        assert client.get("/signs").status_code == 200
        assert client.post("/memos", json={"text": "tea"}, headers=ANN).status_code == 201
        assert len(client.get("/memos", headers=ANN).json()) == 1


def test_a_router_that_is_called_open_stops_the_build() -> None:
    """`secure=False` and a protected application contradict each other."""
    app = protected(metadata=Own.metadata)
    CrudRouter(Memo, secure=False).register_routes(app)
    with pytest.raises(ConfigError, match=r"secure=False.*write policy=\{\"\*\": public\(\)\}"):
        app.build()


def test_sockets_are_closed() -> None:
    """A WebSocket ends with 4401 for a stranger, 4403 for who may not, and opens where it says so."""
    app = protected()

    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app.websocket("/talk")(greet)
    app.websocket("/edit", policy=only_editors)(greet)

    @app.websocket("/open")
    @allow_anonymous
    async def open_to_all(socket: WebSocket) -> None:
        await greet(socket)

    app.router.routes.append(WebSocketRoute("/foreign", greet))
    with TestClient(app) as client:

        def ending(path: str, given: dict[str, str]) -> int | str:
            try:
                with client.websocket_connect(path, headers=given) as socket:
                    return socket.receive_text()
            except WebSocketDisconnect as closed:
                return closed.code

        assert [ending(path, {}) for path in ("/talk", "/edit", "/foreign", "/open")] == [
            4401, 4401, 4401, "hello",
        ]  # fmt: skip
        assert [ending(path, ANN) for path in ("/talk", "/edit", "/foreign")] == ["hello", 4403, "hello"]


def test_what_is_mounted_is_closed() -> None:
    """Applications below a path, routes of Starlette's kind, also those that come after the build."""
    app = protected(routes=[Route("/plain", who), Route("/marked", allow_anonymous(marked))])
    app.mount("/sub", Starlette(routes=[Route("/who", who)]))
    app.build()
    app.router.routes.append(Mount("/late", Starlette(routes=[Route("/who", who)])))
    for path in ("/plain", "/sub/who", "/late/who", "/sub/nothing"):
        refused(ask(app, path))
    for path in ("/plain", "/sub/who", "/late/who"):
        assert ask(app, path, headers=ANN).text == "ann"
    assert ask(app, "/marked").text == "open"
    assert SecurityContext.get() is None


async def marked(request: Request) -> PlainTextResponse:
    return PlainTextResponse("open")


def test_a_mount_is_opened_by_its_path() -> None:
    """`open` names mounts; a path where nothing is mounted stops the build."""
    app = make_app()
    app.use_authenticator(Finder())
    app.mount("/files", Starlette(routes=[Route("/who", who)]))
    app.mount("/more", Starlette(routes=[Route("/who", who)]))
    app.protect(authenticated(), open=["/files"])
    assert ask(app, "/files/who").text == "nobody"
    refused(ask(app, "/more/who"))

    wrong = make_app()
    wrong.use_authenticator(Finder())
    wrong.protect(authenticated(), open=["/fils"])
    with pytest.raises(ConfigError, match="open names '/fils', and nothing is mounted there"):
        wrong.build()


def test_a_mount_reads_the_body_itself() -> None:
    """What decides before a mounted application leaves the body to it."""

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    app = protected(routes=[Route("/echo", echo, methods=["POST"])])
    assert ask(app, "/echo", "POST", content=b"tea", headers=ANN).text == "tea"


def test_a_mounted_application_finds_its_own_callers() -> None:
    """Who passes the outer application is nobody in an inner one that does not know them."""

    class Nobody(Finder):
        async def identify(self, connection: Any, work: Any) -> Principal | None:
            return None

    def inner(finder: Finder) -> Jetio:
        app = make_app()
        app.use_authenticator(finder)

        @app.get("/who")
        async def inside(principal: Principal) -> str:
            return principal.sub

        return app

    app = protected()
    app.mount("/same", inner(Finder()))
    app.mount("/others", inner(Nobody()))
    refused(ask(app, "/same/who"))
    assert ask(app, "/same/who", headers=ANN).json() == "ann"
    refused(ask(app, "/others/who", headers=ANN))


def test_endpoints_of_extensions_are_closed() -> None:
    """An endpoint that knows no rules is closed; `spares` leaves out those that close themselves."""

    async def hello() -> str:
        return "hello"

    class Plain:
        method, name = "GET", "plain"

        def __init__(self) -> None:
            self.spec = Operation("GET", hello).spec

        def build(self, app: Any, path: str) -> None:
            pass

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("plain")(scope, receive, send)

    spared, own = Plain(), Operation("GET", hello)
    app = make_app()
    app.use_authenticator(Finder())
    app.protect(authenticated(), spares=lambda endpoint: endpoint in (spared, own))
    for path, endpoint in (("/plain", Plain()), ("/spared", spared), ("/own", own)):
        app.add_endpoint(path, endpoint)
    refused(ask(app, "/plain"))
    assert ask(app, "/plain", headers=ANN).text == "plain"
    assert (ask(app, "/spared").text, ask(app, "/own").json()) == ("plain", "hello")


@pytest.mark.parametrize(("env", "status"), [("development", 200), ("test", 200), ("production", 401)])
def test_the_documentation_is_open_in_development(env: Any, status: int) -> None:
    """Swagger UI, its files and the document need a login in production alone."""
    app = protected(settings=Settings(env=env, database_url="sqlite+aiosqlite:///:memory:"))
    add_swagger_ui(app)
    app.build()
    for path, endpoint in app.endpoints:
        assert ask(app, path).status_code == status, endpoint.name
        assert ask(app, path, headers=ANN).status_code == 200


def test_it_is_told() -> None:
    """OpenAPI marks closed operations, and the access matrix says who may do what."""
    app = protected()

    @app.get("/closed")
    async def closed() -> str:
        return ""

    @app.get("/open")
    @allow_anonymous
    async def opened() -> str:
        return ""

    @app.get("/edit")
    @guard(only_editors)
    async def edit() -> str:
        return ""

    paths = app.openapi()["paths"]
    assert {"401", "403"} <= set(paths["/closed"]["get"]["responses"])
    rows = {row.path: dict(row.callers) for row in app.access_matrix(["editor"])}
    assert rows["/closed"] == {"anonymous": "deny", "user": "allow", "admin": "allow", "editor": "allow"}
    assert rows["/open"] == dict.fromkeys(("anonymous", "user", "admin", "editor"), "allow")
    assert rows["/edit"] == {"anonymous": "deny", "user": "deny", "admin": "deny", "editor": "allow"}


def test_mistakes() -> None:
    """Two protections, one after the build, or one that nobody can pass are told."""
    app = protected()
    app.protect(authenticated())
    with pytest.raises(ConfigError, match=r"protect\(\) is called twice"):
        app.build()
    late = make_app()
    late.build()
    with pytest.raises(ConfigError, match=r"protect\(\) comes after the application was built"):
        late.protect(authenticated())
    nobody = make_app()
    nobody.protect(authenticated())

    @nobody.get("/closed")
    async def closed() -> str:
        return ""

    with pytest.raises(ConfigError, match="asks who is calling, but nothing finds out"):
        nobody.build()


# ---- rules on handlers -------------------------------------------------------------------------------------


def test_a_guard_stands_on_the_handler() -> None:
    """Below or above the route, on plain and async functions, wrapped ones and partials: the rule is asked."""
    app = make_app()
    app.use_authenticator(Finder())

    @guard(only_editors)
    async def drafts(name: str = "") -> str:
        return "drafts"

    @wraps(drafts)
    async def wrapped(name: str = "") -> str:
        return await drafts(name)

    class Answering:
        @guard(only_editors)
        def __call__(self) -> str:
            return "drafts"

        @guard(only_editors)
        @staticmethod
        def by_name() -> str:
            return "drafts"

        @guard(only_editors)
        def method(self) -> str:
            return "drafts"

    found = Answering()
    handlers = (drafts, wrapped, partial(drafts, name="x"), found, Answering.by_name, found.method)
    for number, handler in enumerate(handlers):
        app.get(f"/drafts/{number}", name=f"drafts{number}")(handler)
    for number in range(len(handlers)):
        path = f"/drafts/{number}"
        refused(ask(app, path))
        refused(ask(app, path, headers=ANN), 403)
        assert ask(app, path, headers=headers("eve", "editor")).json() == "drafts"


def test_all_guards_must_agree() -> None:
    """Several decorators and the route's policy are asked together."""
    app = make_app()
    app.use_authenticator(Finder())

    @policy
    async def with_key(access: Access) -> Decision:
        return Allow() if "x-key" in access.request.headers else Deny("no_key")

    @app.get("/both", policy=public())
    @guard(only_editors)
    @guard(with_key)
    async def both() -> str:
        return ""

    editor = headers("eve", "editor")
    assert ask(app, "/both", headers=editor).json()["code"] == "no_key"
    assert ask(app, "/both", headers=ANN | {"x-key": "1"}).json()["code"] == "role_required"
    assert ask(app, "/both", headers=editor | {"x-key": "1"}).status_code == 200


def test_a_guard_on_a_dependency_is_asked_for_the_handler() -> None:
    """Before the dependency is made; `allow_anonymous` on one is a mistake."""
    app = make_app()
    app.use_authenticator(Finder())

    @guard(only_editors)
    def desk() -> str:
        return "desk"

    @app.get("/desk")
    async def handler(given: str = Depends(desk)) -> str:
        return given

    refused(ask(app, "/desk", headers=ANN), 403)
    assert ask(app, "/desk", headers=headers("eve", "editor")).json() == "desk"

    other = make_app()

    @other.get("/desk")
    async def opened(given: str = Depends(allow_anonymous(lambda: "desk"))) -> str:
        return given

    with pytest.raises(ConfigError, match="allow_anonymous opens handlers"):
        other.build()


def test_contradictions_stop_the_build() -> None:
    """`allow_anonymous` beside a rule, beside a Principal, or where nothing finds out who is calling."""
    app = make_app()
    app.use_authenticator(Finder())

    @app.get("/rule", policy=authenticated())
    @allow_anonymous
    async def rule() -> str:
        return ""

    @app.get("/caller")
    @allow_anonymous
    async def caller(principal: Principal) -> str:
        return ""

    with pytest.raises(ConfigError) as told:
        app.build()
    assert "/rule (rule) is allow_anonymous and asks for" in str(told.value)
    assert "/caller (caller) is allow_anonymous and asks for a Principal" in str(told.value)

    alone = make_app()
    alone.get("/open")(allow_anonymous(lambda: "open"))
    with pytest.raises(ConfigError, match="nothing finds out"):
        alone.build()


def test_what_cannot_carry_a_rule() -> None:
    """A class and a method that is bound already are refused where they are decorated."""
    for thing in (Memo, Finder().principal_of):
        with pytest.raises(ConfigError, match="cannot carry a rule"):
            guard(only_editors)(thing)
