"""WebSockets: the same arguments, rules and problems as everywhere else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from jetio import Allow, Deny, Depends, Header, Jetio, JetioModel, Principal, Problem, Query, authenticated
from jetio.testing import TestClient
from tests.core.apps import make_app
from tests.live import serve
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Said(Own):
    text: Mapped[str]


class Finder:
    """The caller is whom `x-user` names."""

    user_model = None
    schemas = ()

    async def identify(self, connection: HTTPConnection, work: Any) -> Principal | None:
        name = connection.headers.get("x-user")
        return None if name is None else Principal(id=name, sub=name)

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


log: list[str] = []


@pytest.fixture
def app() -> Jetio:
    log.clear()
    app = make_app(metadata=Own.metadata)
    app.use_authenticator(Finder())
    return app


def ending(client: TestClient, path: str, **options: Any) -> tuple[int, str]:
    """How a connection ends, with its code and reason."""
    with client.websocket_connect(path, **options) as socket, pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    return caught.value.code, caught.value.reason


def test_arguments_are_made_as_for_a_route(app: Jetio) -> None:
    """Path, query, headers, the caller, dependencies with clean-up, a session; `websocket` needs no type."""

    async def opened() -> AsyncIterator[str]:
        yield "dependency"
        log.append("closed")

    @app.websocket("/rooms/{room}")
    async def talk(
        websocket, room: str, n: int, session: AsyncSession, who: Principal, connection: HTTPConnection,
        x_tag: str = Header(""), given: str = Depends(opened),
    ) -> None:  # type: ignore[no-untyped-def]  # fmt: skip
        await websocket.accept()
        await websocket.send_json(
            [room, n, who.sub, x_tag, given, await session.scalar(select(1)), connection is websocket]
        )
        await websocket.send_text(f"you said {await websocket.receive_text()}")

    with (
        TestClient(app) as client,
        client.websocket_connect("/rooms/a?n=5", headers={"x-user": "ann", "x-tag": "t"}) as socket,
    ):
        assert socket.receive_json() == ["a", 5, "ann", "t", "dependency", 1, True]
        socket.send_text("hello")
        assert socket.receive_text() == "you said hello"
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert (caught.value.code, log) == (1000, ["closed"])


async def nobody(access: Any) -> Any:
    return Deny(code="closed_today")


async def everybody(access: Any) -> Any:
    log.append(f"{access.verb} {access.action} {access.item_id}")
    return Allow()


@pytest.mark.parametrize(
    ("path", "user", "code", "reason"),
    [
        ("/nowhere", None, 4404, "not_found"),
        ("/http", None, 4404, "not_found"),
        ("/login", None, 4401, "not_authenticated"),
        ("/login", "ann", 1000, ""),
        ("/principal", None, 4401, "not_authenticated"),
        ("/denied", "ann", 4403, "closed_today"),
        ("/denied", None, 4401, "not_authenticated"),
        ("/ruled", None, 1000, ""),
        ("/numbers/x", None, 4404, "not_found"),
        ("/numbers/1?q=x", None, 4422, "validation"),
        ("/problem?early=1", None, 4409, "conflict"),
        ("/problem", None, 4409, "conflict"),
        ("/http-exception", None, 4418, "bad_request"),
        ("/websocket-exception", None, 4999, "mine"),
        ("/error", None, 1011, "internal"),
        ("/silent", None, 1000, ""),
        ("/closed", None, 4000, "own"),
        ("/starlette/error", None, 1011, "internal"),
        ("/mounted/login", None, 4401, "not_authenticated"),
        ("/mounted/nowhere", None, 4404, "not_found"),
    ],
)
def test_every_end_has_its_code(
    app: Jetio, path: str, user: str | None, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """4000 and the status of the problem; 1000 for a handler that is done; 1011 for what nobody expected."""

    async def accepts(websocket: WebSocket) -> None:
        await websocket.accept()

    async def fails(websocket: WebSocket) -> None:
        raise RuntimeError("secret")

    app.get("/http")(lambda: 1)
    app.websocket("/login", policy=authenticated())(accepts)
    app.websocket("/denied", policy=nobody)(accepts)
    app.websocket("/ruled", policy=everybody)(accepts)
    app.websocket("/error")(fails)

    @app.websocket("/principal")
    async def principal(websocket: WebSocket, who: Principal) -> None: ...

    @app.websocket("/numbers/{n}")
    async def numbers(websocket: WebSocket, n: int, q: int = Query()) -> None: ...

    @app.websocket("/problem")
    async def refuses(websocket: WebSocket, early: bool = False) -> None:
        if not early:
            await websocket.accept()
        raise Problem(409, "conflict")

    @app.websocket("/http-exception")
    async def http_exception(websocket: WebSocket) -> None:
        raise HTTPException(418)

    @app.websocket("/websocket-exception")
    async def websocket_exception(websocket: WebSocket) -> None:
        raise WebSocketException(4999, "mine")

    @app.websocket("/silent")
    async def silent(websocket: WebSocket) -> None: ...

    @app.websocket("/closed")
    async def closed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000, "own")

    inner = make_app()
    inner.use_authenticator(Finder())
    inner.websocket("/login", policy=authenticated())(accepts)
    app.mount("/mounted", inner)
    app.router.routes.append(WebSocketRoute("/starlette/error", fails))
    client = TestClient(app)
    assert ending(client, path, headers={"x-user": user} if user else {}) == (code, reason)
    unexpected = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(unexpected) == (code == 1011)
    assert log == (["GET accepts None"] if path == "/ruled" else [])


def test_a_client_that_leaves_is_no_error(app: Jetio, caplog: pytest.LogCaptureFixture) -> None:
    """Whether the handler hears of it by exception or by message; it is cleaned up, nothing is sent."""

    async def opened() -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("closed")

    @app.websocket("/exception")
    async def exception(websocket: WebSocket, _: None = Depends(opened)) -> None:
        await websocket.accept()
        await websocket.receive_text()

    @app.websocket("/message")
    async def message(websocket: WebSocket, _: None = Depends(opened)) -> None:
        await websocket.accept()
        assert (await websocket.receive())["type"] == "websocket.disconnect"

    client = TestClient(app)
    for path in ("/exception", "/message"):
        with client.websocket_connect(path):
            pass
    assert log == ["closed"] * 2
    assert not caplog.records


def test_a_socket_commits_by_itself(app: Jetio) -> None:
    """A conversation has no end at which anything could be committed: what is open then is undone."""

    @app.websocket("/")
    async def says(websocket: WebSocket, session: AsyncSession, commit: bool) -> None:
        await websocket.accept()
        session.add(Said(text="kept" if commit else "lost"))
        await session.flush()
        if commit:
            await session.commit()

    async def said() -> list[str]:
        async with app.database.sessions() as session:
            return list(await session.scalars(select(Said.text)))

    with TestClient(app) as client:
        for commit in (1, 0):
            assert ending(client, f"/?commit={commit}") == (1000, "")
        assert client.portal is not None
        assert client.portal.call(said) == ["kept"]


def test_a_conversation_that_has_only_read_keeps_nobody_waiting(app: Jetio, tmp_path: Path) -> None:
    """Others write while it is open, and it sees what they wrote in its next transaction."""

    @app.websocket("/")
    async def reads(websocket: WebSocket, session: AsyncSession) -> None:
        await websocket.accept()
        while True:
            await websocket.send_json(len(list(await session.scalars(select(Said)))))
            await session.rollback()
            await session.scalar(select(Said.id))
            await websocket.receive_text()
            await session.rollback()

    with TestClient(app, database=tmp_path / "said.db") as client, client.websocket_connect("/") as socket:
        assert socket.receive_json() == 0
        client.add(Said(text="a"))
        socket.send_text("again")
        assert socket.receive_json() == 1


def test_a_socket_and_a_route_share_a_path(app: Jetio) -> None:
    """A path with a socket only is nowhere for HTTP."""

    async def accepts(websocket: WebSocket) -> None:
        await websocket.accept()

    app.websocket("/both")(accepts)
    app.get("/both")(lambda: "http")
    app.websocket("/only")(accepts)
    app.websocket("/{n}/socket")(accepts)
    app.post("/{n}/socket")(lambda n: n)
    client = TestClient(app)
    assert client.get("/both").json() == "http"
    assert ending(client, "/both")[0] == 1000
    assert client.get("/only").status_code == 404
    assert client.options("/only").status_code == 404
    assert client.get("/x/socket").headers["allow"] == "OPTIONS, POST"
    assert ending(client, "/x/socket")[0] == 1000
    assert ending(client, "/only/")[0] == 4404


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_a_request_with_the_method_websocket_finds_no_socket(tmp_path: Path, parser: str) -> None:
    """It is a 404 where there is a socket alone, a 405 beside a route; the server's own refusal is a 400."""
    source = """
from starlette.websockets import WebSocket

from jetio import Jetio

app = Jetio(database="sqlite+aiosqlite:///:memory:")


@app.websocket("/only")
@app.websocket("/rooms/{n}")
@app.websocket("/rooms/{n}/more")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()


@app.get("/rooms/{n}")
async def room(n: int) -> int:
    return n
"""
    with serve(tmp_path, source=source, options=[f"--http={parser}"]) as server:
        found = {
            path: server.client.request("WEBSOCKET", path).status_code
            for path in ("/only", "/rooms/1/more", "/rooms/1")
        }
        assert server.client.get("/rooms/1").json() == 1
        assert "Traceback" not in server.log
    refused = dict.fromkeys(found, 400)  # by httptools, which knows its methods
    assert found == (
        refused if parser == "httptools" else {"/only": 404, "/rooms/1/more": 404, "/rooms/1": 405}
    )
