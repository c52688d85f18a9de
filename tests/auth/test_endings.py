"""What ends with a session, and what belongs to none: sockets, refresh tokens, cookies, logouts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import text
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from jetio import Jetio, Principal, watched
from jetio_auth import AuthRouter, JWTConfig, Lockout
from tests.auth.forum import Site, User, bearer, call, new_app, serving
from tests.live import serve


def add_sockets(app: Jetio, auth: AuthRouter) -> None:
    @app.websocket("/echo", policy=auth.authenticated())
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for word in websocket.iter_text():
            await websocket.send_text(word)

    @app.websocket("/admins", policy=auth.admin_only())
    async def admins(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    @app.websocket("/everybody")
    async def everybody(websocket: WebSocket, principal: Principal | None) -> None:
        await websocket.accept()
        async for word in websocket.iter_text():
            await websocket.send_text(word)


@pytest.fixture
def site(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The forum with sockets whose callers are looked at every 50 ms."""
    monkeypatch.setattr(watched, "RECHECK", 0.05)
    app = new_app(sqlite_url)
    auth = AuthRouter(User, lockout=Lockout(address_failures=1000), enable=["api_tokens"])
    auth.register_routes(app)
    add_sockets(app, auth)
    with serving(app, auth) as site:
        yield site


# ---- sockets -----------------------------------------------------------------------------------------------


def test_a_socket_ends_with_the_logout_of_its_session(site: Site) -> None:
    """It is closed with 4401 although nobody sends anything; that of another session goes on."""
    ann = site.person("ann")
    other = site.login(ann.username).json()["access_token"]
    with (
        site.client.websocket_connect("/echo", headers=ann.headers) as ended,
        site.client.websocket_connect("/echo", headers=bearer(other)) as open_,
    ):
        ended.send_text("hello")
        assert ended.receive_text() == "hello"
        ann.post("/logout")
        with pytest.raises(WebSocketDisconnect) as closed:
            ended.receive_text()
        assert (closed.value.code, closed.value.reason) == (4401, "token_revoked")
        open_.send_text("still here")
        assert open_.receive_text() == "still here"


def test_a_socket_ends_with_the_right_to_it(site: Site) -> None:
    """Rules are asked again as well: an admin's socket is closed with 4403 when he is none."""
    admin = site.admin()
    with site.client.websocket_connect("/admins", headers=admin.headers) as socket:
        site.change(admin, is_admin=False)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 4403


def test_a_socket_that_nobody_has_opened_yet_ends_with_the_login_too(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that takes long to accept is told of the end, and accepts no more: the connection is closed."""
    monkeypatch.setattr(watched, "RECHECK", 0.05)
    app, heard = new_app(sqlite_url), []
    auth = AuthRouter(User)
    auth.register_routes(app)

    @app.websocket("/slow", policy=auth.authenticated())
    async def slow(websocket: WebSocket) -> None:
        heard.extend([await websocket.receive(), await websocket.receive()])
        with pytest.raises(OSError, match="the conversation is over"):
            await websocket.accept()
        heard.append({"type": "refused"})

    async def talk(token: str) -> list[Any]:
        came, sent = iter([{"type": "websocket.connect"}]), []

        async def receive() -> Any:
            if (first := next(came, None)) is not None:
                return first
            assert (await call(app, "POST", "/logout", headers=bearer(token))).status == 200
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws",
            "path": "/slow", "raw_path": b"/slow", "query_string": b"", "root_path": "", "subprotocols": [],
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": ("192.0.2.1", 5000), "server": ("testserver", 80),
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 10)
        return sent

    with serving(app, auth) as site:
        sent = site.run(talk, site.person("ann").token)
    assert [(item["type"], item.get("code")) for item in heard] == [
        ("websocket.connect", None),
        ("websocket.disconnect", 4401),
        ("refused", None),
    ]
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


def test_a_socket_of_nobody_stays_open(site: Site) -> None:
    """There is no credential that could end."""
    with site.client.websocket_connect("/everybody") as socket:
        time.sleep(0.2)
        socket.send_text("hello")
        assert socket.receive_text() == "hello"


def test_a_socket_goes_on_while_the_database_is_away(site: Site) -> None:
    """What cannot be asked ends nothing: the next look decides."""
    ann = site.person("ann")

    async def rename(old: str, new: str) -> None:
        async with site.app.database.sessions() as session:
            await session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
            await session.commit()

    with site.client.websocket_connect("/echo", headers=ann.headers) as socket:
        site.run(rename, "users", "gone")
        time.sleep(0.2)
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
        site.run(rename, "gone", "users")


def read_on(socket: ClientConnection) -> None:
    """Take what comes until the connection is closed."""
    while True:
        socket.recv(timeout=5)


def test_a_real_server_closes_the_socket(tmp_path: Any) -> None:
    """A client of a real server sees the close frame with its code; a handler that only sends is stopped, too."""
    (tmp_path / "app.py").write_text(
        """
import asyncio
from sqlalchemy.orm import Mapped, mapped_column
from starlette.websockets import WebSocket
from jetio import Jetio, JetioModel, watched
from jetio_auth import AuthRouter, JetioAuthMixin

watched.RECHECK = 0.1

class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)

app = Jetio()
auth = AuthRouter(User)
auth.register_routes(app)

@app.websocket("/ticks", policy=auth.authenticated())
async def ticks(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("tick")
            await asyncio.sleep(0.02)
    finally:
        print("the handler has ended", flush=True)
"""
    )
    with serve(tmp_path, env={"JETIO_ENV": "test"}) as server:
        ann = {"username": "ann", "password": "correct horse battery"}
        server.client.post("/register", json=ann)
        token = server.client.post("/login", json=ann).json()["access_token"]
        address = f"ws://127.0.0.1:{server.port}/ticks"
        with connect(address, additional_headers=bearer(token), proxy=None) as socket:
            assert socket.recv() == "tick"
            server.client.post("/logout", headers=bearer(token))
            with pytest.raises(ConnectionClosed) as closed:
                read_on(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        deadline = time.monotonic() + 5
        while "the handler has ended" not in server.log and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "the handler has ended" in server.log
        assert "Traceback" not in server.log


# ---- refresh tokens ----------------------------------------------------------------------------------------


def test_a_session_keeps_a_bounded_number_of_used_tokens(database_url: str) -> None:
    """Whoever refreshes all day fills no table; what was used lately is still known when it comes back."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)

    async def count() -> int:
        async with app.database.sessions() as session:
            found = await session.scalar(text("SELECT count(*) FROM jetio_auth_users_refresh_tokens"))
            return int(found or 0)

    with serving(app, auth) as site, time_machine.travel(time.time(), tick=False) as clock:
        site.register("ann")
        tokens = [site.login("ann").json()["refresh_token"]]
        for _ in range(115):
            clock.shift(timedelta(seconds=11))
            tokens.append(site.run(auth.refresh, tokens[-1])["refresh_token"])
        assert site.run(count) == 101
        clock.shift(timedelta(seconds=11))
        unknown = site.client.post("/refresh", json={"refresh_token": tokens[0]})
        assert unknown.json()["code"] == "not_authenticated"
        known = site.client.post("/refresh", json={"refresh_token": tokens[-90]})
        assert known.json()["code"] == "token_reused"


# ---- cookies and logouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_two_cookies_of_one_name_are_refused(sqlite_url: str, name: str) -> None:
    """A neighbour's page may have planted one of them; which is ours, nobody can tell."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, jwt=JWTConfig(token_location="cookie"))
    auth.register_routes(app)
    with serving(app, auth) as site:
        site.register("ann")
        pair = site.login("ann").cookies
        csrf = pair["csrf_token"]
        value = dict(pair)[name]
        site.client.cookies.clear()
        method, path = ("GET", "/me") if name == "access_token" else ("POST", "/refresh")
        for given, status in ((value, 200), (f"{value}; {name}=x", 401), (f"x; {name} ={value}", 401)):
            cookie = f"csrf_token={csrf}; {name}={given}"
            headers = {"Cookie": cookie, "X-CSRF-Token": csrf}
            answer = site.client.request(method, path, headers=headers)
            site.client.cookies.clear()
            if name == "refresh_token" and status == 200:
                value = answer.cookies[name]
            assert answer.status_code == status, answer.text


def test_a_token_without_a_session_is_not_logged_out(site: Site) -> None:
    """A success would say that it is over: 409, and 403 for a program; what can be ended is ended."""
    ann = site.person("ann")

    async def mint() -> str:
        async with site.app.database.sessions() as session:
            return site.auth.create_token(await session.get(User, ann.id))

    made = ann.post("/tokens", {"name": "x", "scopes": []}).json()["token"]
    for token, status, code in ((site.run(mint), 409, "no_session"), (made, 403, "delegated")):
        answer = site.client.post("/logout", headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert site.client.get("/me", headers=bearer(token)).status_code == 200
    pair = site.login(ann.username).json()
    body = {"refresh_token": pair["refresh_token"]}
    assert site.client.post("/logout", json=body, headers=bearer(site.run(mint))).status_code == 200
    assert site.client.get("/me", headers=bearer(pair["access_token"])).status_code == 401
    assert site.client.post("/logout", json={"all": True}, headers=bearer(site.run(mint))).status_code == 200
    assert ann.get("/me").status_code == 401
