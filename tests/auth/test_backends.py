"""Backends: users of an application's own, each with a credential of its own, found out one after the other."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import bcrypt
import pytest
import time_machine
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from jetio import (
    Access,
    ConfigError,
    Decision,
    Depends,
    Jetio,
    Principal,
    Problem,
    Request,
    SecurityContext,
    Settings,
    policy,
    watched,
)
from jetio_auth import (
    AdminUser,
    APIKeyBackend,
    AuthBackend,
    AuthRouter,
    JWTAuthBackend,
    JWTConfig,
    Lockout,
    MemorySessions,
    MultiBackend,
    RemoteIssuer,
    RemoteJWTBackend,
    ServerSessions,
    SessionAuthBackend,
)
from tests.auth.forum import SETTINGS, User, bearer, call, new_app, new_base, serving
from tests.auth.remote import AUDIENCE, Provider
from tests.live import LiveServer, serve

PASSWORD = "correct horse battery"
HASHED = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
SECRET = "0123456789abcdef" * 4
PREFIX = "/admin/api/auth"
CONFIG = JWTConfig(secret_key=SECRET)


@dataclass
class Person:
    id: int
    email: str
    password_hash: str = HASHED
    roles: list[str] = field(default_factory=list)
    permissions: list[str] = field(default_factory=list)
    is_active: bool = True


class Staff:
    """Users in a dictionary."""

    def __init__(self) -> None:
        self.people = {
            1: Person(1, "ann@example.com", roles=["admin"], permissions=["models:read", "models:write"]),
            2: Person(2, "ben@example.com", roles=["viewer"], permissions=["models:read"]),
        }

    async def load(self, identifier: str | int) -> Person | None:
        found = [person for person in self.people.values() if identifier in (person.id, person.email)]
        return found[0] if found else None


@contextmanager
def site(
    backend: Any, *, middleware: Any = None, url: str | None = None, **options: Any
) -> Iterator[TestClient]:
    """A running application with a backend and a few routes."""
    model = new_base()
    app = Jetio(settings=SETTINGS, metadata=model.metadata, database=url or "sqlite+aiosqlite://")
    auth = AuthRouter(backend=backend, prefix=PREFIX, **options)
    auth.register_routes(app)
    if middleware is not None:
        app.add_middleware(middleware[0], **middleware[1])

    @app.get("/secret", policy=auth.hidden(auth.admin_only()), include_in_schema=False)
    async def secret() -> str:
        return "in"

    @app.post("/write", policy=auth.authenticated())
    async def write(principal: Principal) -> list[Any]:
        assert SecurityContext.require() is principal
        return [principal.id, principal.method]

    @app.get("/open")
    async def open_(principal: Principal | None) -> Any:
        return None if principal is None else principal.sub

    @app.post("/rare", policy=auth.fresh())
    async def rare() -> str:
        return "done"

    @app.websocket("/live", policy=auth.authenticated())
    async def live(websocket: WebSocket, principal: Principal) -> None:
        await websocket.accept()
        await websocket.send_json([principal.id, principal.method])

    with serving(app, auth) as running:
        yield running.client


def login(client: TestClient, name: str = "ann@example.com", password: str = PASSWORD) -> Any:
    return client.post(f"{PREFIX}/login", json={"email": name, "password": password})


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    found: str = answer.json()["code"]
    return found


# ---- signed tokens -----------------------------------------------------------------------------------------


@pytest.fixture
def staff() -> Staff:
    """Ann, who is an admin, and Ben, who is not."""
    return Staff()


@pytest.fixture
def tokens(staff: Staff) -> Iterator[TestClient]:
    """Signed tokens for them."""
    with site(
        JWTAuthBackend(config=CONFIG, user_loader=staff.load), lockout=Lockout(address_failures=1000)
    ) as client:
        yield client


def test_a_life_with_tokens(database_url: str, staff: Staff) -> None:
    """Login, me, refresh by header and logout have the documented bodies; a logout ends the token at once."""
    with site(JWTAuthBackend(config=CONFIG, user_loader=staff.load), url=database_url) as client:
        answer = login(client)
        assert answer.headers["cache-control"] == "no-store"
        pair = answer.json()
        assert (pair["token_type"], pair["expires_in"], pair["refresh_expires_in"]) == ("bearer", 3600, 86400)
        me = client.get(f"{PREFIX}/me", headers=bearer(pair["access_token"]))
        assert me.json() == {
            "id": 1, "email": "ann@example.com", "roles": ["admin"], "permissions": ["models:read", "models:write"],
        }  # fmt: skip
        assert client.post("/write", headers=bearer(pair["access_token"])).json() == [1, "jwt"]
        following = client.post(
            f"{PREFIX}/refresh", headers={"X-Refresh-Token": pair["refresh_token"]}
        ).json()
        assert set(following) == set(pair)
        again = client.post(f"{PREFIX}/refresh", json={"refresh_token": following["refresh_token"]}).json()
        out = client.post(f"{PREFIX}/logout", headers=bearer(again["access_token"]))
        assert out.json() == {"message": "Logged out successfully"}
        for one in (pair, following, again):
            assert (
                code(client.get(f"{PREFIX}/me", headers=bearer(one["access_token"])), 401) == "token_revoked"
            )
        ended = client.post(f"{PREFIX}/refresh", json={"refresh_token": again["refresh_token"]})
        assert code(ended, 401) == "token_revoked"


def test_a_refresh_token_that_comes_back_ends_the_session(tokens: TestClient) -> None:
    """Within ten seconds a repeat gets the same successor; later a copy is in use, and all of it is over."""
    with time_machine.travel(time.time(), tick=False) as clock:
        pair, other = login(tokens).json(), login(tokens).json()
        first, repeat = (
            tokens.post(f"{PREFIX}/refresh", json={"refresh_token": pair["refresh_token"]}).json()
            for _ in range(2)
        )
        assert first["refresh_token"] == repeat["refresh_token"]
        clock.shift(timedelta(seconds=11))
        reused = tokens.post(f"{PREFIX}/refresh", json={"refresh_token": pair["refresh_token"]})
        assert code(reused, 401) == "token_reused"
        assert tokens.get(f"{PREFIX}/me", headers=bearer(first["access_token"])).status_code == 401
        assert tokens.get(f"{PREFIX}/me", headers=bearer(other["access_token"])).status_code == 200


def test_refreshes_at_once_get_one_successor(database_url: str, staff: Staff) -> None:
    """Of eight tabs one turns the token over, and all are told the same."""
    model = new_base()
    app = Jetio(settings=SETTINGS, metadata=model.metadata, database=database_url)
    auth = AuthRouter(backend=JWTAuthBackend(config=CONFIG, user_loader=staff.load))
    auth.register_routes(app)
    with serving(app, auth) as running:
        body = {"email": "ann@example.com", "password": PASSWORD}
        token = running.client.post("/login", json=body).json()["refresh_token"]

        async def race() -> set[Any]:
            calls = [call(app, "POST", "/refresh", {"refresh_token": token}) for _ in range(8)]
            answers = await asyncio.gather(*calls)
            return {(answer.status, json.loads(answer.body).get("refresh_token")) for answer in answers}

        found = running.run(race)
        assert len(found) == 1
        assert next(iter(found))[0] == 200


def test_tokens_end_with_the_password_and_the_user(tokens: TestClient, staff: Staff) -> None:
    """The user is loaded for each request: a new hash or none, a disabled user and one who is gone are refused."""
    token = bearer(login(tokens).json()["access_token"])
    kept = staff.people[1]
    for change in ({"password_hash": "$2b$04$other"}, {"password_hash": None}, {"is_active": False}):
        before = {name: getattr(kept, name) for name in change}
        vars(kept).update(change)
        assert code(tokens.get(f"{PREFIX}/me", headers=token), 401) == "token_revoked"
        vars(kept).update(before)
    assert tokens.get(f"{PREFIX}/me", headers=token).status_code == 200
    del staff.people[1]
    assert code(tokens.get(f"{PREFIX}/me", headers=token), 401) == "token_revoked"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("ann@example.com", "x" * 100),
        ("", PASSWORD),
        ("x" * 1000, PASSWORD),
        ("gone@example.com", PASSWORD),
    ],
)
def test_refused_logins_are_alike(staff: Staff, name: str, password: str) -> None:
    """Unknown, wrong, disabled or unstorable: one answer; also where the application judges the password."""
    staff.people[3] = Person(3, "gone@example.com", is_active=False)

    def verify(stored: str, given: str) -> bool:
        return bcrypt.checkpw(given.encode(), stored.encode())

    for verifier in (None, verify):
        with site(JWTAuthBackend(CONFIG, staff.load, verifier)) as client:
            answer = login(client, name, password)
            assert code(answer, 401) == "invalid_credentials"
            assert login(client).status_code == 200


def test_an_unknown_name_costs_what_a_known_one_does(staff: Staff) -> None:
    """The application's verifier is asked for nobody, too, with a hash that nothing matches."""
    seen: list[str] = []

    async def verify(stored: str, given: str) -> bool:
        seen.append(stored)
        return True

    with site(JWTAuthBackend(CONFIG, staff.load, verify)) as client:
        assert login(client, "nobody@example.com").status_code == 401
        assert login(client).status_code == 200
    assert seen[0].startswith("$2b$12$")
    assert seen[1] == HASHED


def test_logins_are_throttled(staff: Staff) -> None:
    """Ten failures of a name, in whichever case it is written; then the right password is refused, too."""
    with site(JWTAuthBackend(CONFIG, staff.load), lockout=Lockout(failures=3)) as client:
        answers = [
            login(client, name, "wrong password")
            for name in ("ann@example.com", "Ann@example.com", "ANN@example.com")
        ]
        assert {answer.status_code for answer in answers} == {401}
        refusal = login(client)
        assert code(refusal, 429) == "rate_limited"
        assert int(refusal.headers["retry-after"]) > 0
        assert login(client, "ben@example.com").status_code == 200


def test_tokens_in_cookies(staff: Staff) -> None:
    """Cookies have their flags and guards: no token in a body, and no write without the readable cookie."""
    config = JWTConfig(
        secret_key=SECRET, token_location="cookie", cookie_secure=True, cookie_samesite="strict"
    )
    with site(JWTAuthBackend(config, staff.load)) as client:
        client.base_url = "https://testserver"
        answer = login(client)
        assert answer.json() == {"token_type": "bearer", "expires_in": 3600, "refresh_expires_in": 86400}
        cookies = answer.headers.get_list("set-cookie")
        assert all("Secure" in line and "SameSite=strict" in line for line in cookies)
        assert [("HttpOnly" in line) for line in cookies] == [True, True, False]
        assert f"Path={PREFIX}/refresh" in cookies[1]
        assert client.get(f"{PREFIX}/me").json()["id"] == 1
        assert code(client.post("/write"), 403) == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/write", headers=csrf).json() == [1, "jwt"]
        assert (
            code(client.post("/write", headers={**csrf, "Origin": "https://evil.example"}), 403)
            == "csrf_failed"
        )
        assert client.post(f"{PREFIX}/refresh", headers=csrf).status_code == 200
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert "access_token" not in client.cookies


def test_another_header(staff: Staff) -> None:
    """`token_header` and `token_prefix` are obeyed and documented."""
    config = JWTConfig(secret_key=SECRET, token_header="X-Admin-Token", token_prefix="")
    with site(JWTAuthBackend(config, staff.load)) as client:
        token = login(client).json()["access_token"]
        assert client.get(f"{PREFIX}/me", headers={"X-Admin-Token": token}).status_code == 200
        assert client.get(f"{PREFIX}/me", headers=bearer(token)).status_code == 401


def test_a_fresh_login_is_known(tokens: TestClient) -> None:
    """`auth.fresh()` works with backends that tell when somebody logged in."""
    with time_machine.travel(time.time(), tick=False) as clock:
        token = login(tokens).json()["access_token"]
        assert tokens.post("/rare", headers=bearer(token)).status_code == 200
        clock.shift(timedelta(minutes=16))
        assert code(tokens.post("/rare", headers=bearer(token)), 401) == "fresh_login_required"


# ---- hiding ------------------------------------------------------------------------------------------------


def test_what_is_hidden_is_not_there(tokens: TestClient) -> None:
    """404 for nobody, for who may not, and for a bad token, as for an address that does not exist."""
    ann, ben = (login(tokens, f"{name}@example.com").json()["access_token"] for name in ("ann", "ben"))
    nothing = tokens.get("/nothing").json()
    assert tokens.get("/secret", headers=bearer(ann)).json() == "in"
    for headers in ({}, bearer(ben), bearer("bad"), {"Authorization": "Basic x"}):
        answer = tokens.get("/secret", headers=headers)
        assert code(answer, 404) == nothing["code"]
        assert answer.json()["detail"] == nothing["detail"]
        assert "www-authenticate" not in answer.headers


def test_nothing_tells_of_what_is_hidden(staff: Staff) -> None:
    """Any method, `OPTIONS` and a further slash answer as for an address that does not exist, to the last header."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    auth = AuthRouter(backend=JWTAuthBackend(config=CONFIG, user_loader=staff.load))
    auth.register_routes(app)
    rule = auth.hidden(auth.admin_only())

    @app.get("/hidden/report", policy=rule)
    async def report() -> str:
        return "in"

    @app.get("/hidden/{number}", policy=rule & auth.authenticated())
    async def one(number: int) -> int:
        return number

    @app.get("/half")
    async def shown() -> str:
        return "seen"

    @app.post("/half", policy=rule)
    async def half() -> str:
        return "in"

    def told(client: TestClient, method: str, path: str, **headers: str) -> Any:
        answer = client.request(
            method, path, headers={**headers, "X-Request-ID": "same"}, follow_redirects=False
        )
        return answer.status_code, sorted(answer.headers.items()), answer.text

    with serving(app, auth) as running:
        client = running.client
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
            missing = told(client, method, "/nothing/here")
            assert missing[0] == 404
            for path in ("/hidden/report", "/hidden/report/", "/hidden/7", "/hidden/7/"):
                assert told(client, method, path) == missing
                assert told(client, method, path, authorization="Bearer bad") == missing
        refused = told(client, "POST", "/half")
        assert refused == told(client, "PUT", "/half")
        assert ("allow", "GET, HEAD, OPTIONS") in refused[1]
        assert dict(told(client, "OPTIONS", "/half")[1])["allow"] == "GET, HEAD, OPTIONS"
        token = client.post("/login", json={"email": "ann@example.com", "password": PASSWORD}).json()[
            "access_token"
        ]
        assert client.get("/hidden/7", headers=bearer(token)).json() == 7
        assert client.post("/half", headers=bearer(token)).json() == "in"


def test_a_hidden_rule_knows_accounts(sqlite_url: str) -> None:
    """Its caller's row is handed over, and the authenticator that it asks tells what the one beneath tells."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    rule = auth.hidden(auth.authenticated())

    @app.get("/secret")
    async def secret(user: User = Depends(rule)) -> str:
        return user.email

    with serving(app, auth) as running:
        assert code(running.client.get("/secret"), 404) == "not_found"
        assert running.person("ann").get("/secret").json().endswith("@example.com")
        asked, beneath = rule.authenticator, auth.authenticator
        assert asked is not None
        assert asked is not beneath
        assert asked.user_model is User
        assert asked.schemes == beneath.schemes != ()
        ann = User(id=7, username="ann", email="ann@example.com", is_admin=False)
        assert asked.principal_of(ann) == beneath.principal_of(ann)


def test_a_rule_that_raises_is_hidden_too(staff: Staff) -> None:
    """Its 401 and 403 are 404; what is no refusal, such as a 503, is told as it is."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    auth = AuthRouter(backend=JWTAuthBackend(config=CONFIG, user_loader=staff.load))
    auth.register_routes(app)

    @policy
    async def moody(access: Access) -> Decision:
        raise Problem(int(access.request.headers["x-status"]), "moody", "Not today")

    @app.get("/secret", policy=auth.hidden(moody))
    async def secret() -> str:
        return "in"

    with serving(app, auth) as running:
        told = [running.client.get("/secret", headers={"X-Status": str(n)}) for n in (401, 403, 503)]
        assert [code(answer, 404) for answer in told[:2]] == ["not_found"] * 2
        assert code(told[2], 503) == "moody"


# ---- sessions ----------------------------------------------------------------------------------------------


class Door:
    """What a session backend of the tests is made of."""

    def __init__(self, staff: Staff) -> None:
        self.staff = staff

    async def retrieve(self, session: dict[str, Any], connection: Any) -> Person | None:
        user = await self.staff.load(session["user_id"])
        return user if user is not None and "admin" in user.roles else None

    async def authenticate(self, connection: Any, credentials: dict[str, str]) -> Person | None:
        user = await self.staff.load(credentials["email"])
        right = user is not None and bcrypt.checkpw(
            credentials["password"].encode(), user.password_hash.encode()
        )
        return user if right else None

    @property
    def backend(self) -> SessionAuthBackend:
        return SessionAuthBackend(self.retrieve, authenticate_handler=self.authenticate)


SIGNED: tuple[Any, dict[str, Any]] = (SessionMiddleware, {"secret_key": SECRET})


@pytest.mark.parametrize("kind", ["signed", "memory"])
def test_a_life_with_a_session(staff: Staff, kind: str) -> None:
    """The cookie of the session is the credential, a header repeats the readable cookie, a logout ends it."""
    middleware = SIGNED if kind == "signed" else (ServerSessions, {"store": MemorySessions()})
    with site(Door(staff).backend, middleware=middleware) as client:
        assert client.get(f"{PREFIX}/me").status_code == 401
        assert login(client).json() == {"message": "Logged in successfully"}
        before = client.cookies["session"]
        assert client.get(f"{PREFIX}/me").json()["email"] == "ann@example.com"
        assert client.get("/secret").json() == "in"
        assert code(client.post("/write"), 403) == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/write", headers=csrf).json() == [1, "session"]
        assert client.post("/rare", headers=csrf).json() == "done"
        assert client.post(f"{PREFIX}/refresh", headers=csrf).status_code == 404
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert client.get(f"{PREFIX}/me").status_code == 401
        client.cookies.set("session", before)
        ended = client.get(f"{PREFIX}/me").status_code
        assert ended == (200 if kind == "signed" else 401), "a signed cookie cannot be ended, a stored one is"


def test_another_site_uses_no_session(staff: Staff) -> None:
    """Neither writes, nor logins, nor sockets from another origin; the token of another caller is none."""
    with site(Door(staff).backend, middleware=(ServerSessions, {"store": MemorySessions()})) as client:
        login(client)
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        evil = {"Origin": "https://evil.example"}
        assert code(client.post("/write", headers={**csrf, **evil}), 403) == "csrf_failed"
        assert (
            code(client.post("/write", headers={**csrf, "Sec-Fetch-Site": "cross-site"}), 403)
            == "csrf_failed"
        )
        assert code(client.post("/write", headers={"X-CSRF-Token": "0" * 64}), 403) == "csrf_failed"
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert code(client.post(f"{PREFIX}/login", json=body, headers=evil), 403) == "csrf_failed"
        with client.websocket_connect("/live", headers={"Origin": "http://testserver"}) as socket:
            assert socket.receive_json() == [1, "session"]
        with (
            client.websocket_connect("/live", headers=evil) as socket,
            pytest.raises(WebSocketDisconnect) as closed,
        ):
            socket.receive_json()
        assert closed.value.code == 4403


def test_a_socket_ends_with_its_session(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of the server is looked up again while a WebSocket is open: a logout closes it with 4401."""
    monkeypatch.setattr(watched, "RECHECK", 0.05)
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    app.add_middleware(ServerSessions, store=MemorySessions())
    auth = AuthRouter(backend=Door(staff).backend, prefix=PREFIX)
    auth.register_routes(app)

    @app.websocket("/echo", policy=auth.authenticated())
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for word in websocket.iter_text():
            await websocket.send_text(word)

    with serving(app, auth) as running:
        client = running.client
        login(client)
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        with client.websocket_connect("/echo", headers={"Origin": "http://testserver"}) as socket:
            time.sleep(0.15)
            socket.send_text("hello")
            assert socket.receive_text() == "hello"
            assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
            assert closed.value.code == 4401


def test_whoever_the_application_has_logged_in_is_in(staff: Staff) -> None:
    """Without `authenticate_handler` there is no login here; who is not admitted is nobody, and no mistake."""
    backend = SessionAuthBackend(Door(staff).retrieve)
    model = new_base()
    app = Jetio(settings=SETTINGS, metadata=model.metadata, database="sqlite+aiosqlite://")
    app.add_middleware(ServerSessions, store=MemorySessions())
    auth = AuthRouter(backend=backend, prefix=PREFIX)
    auth.register_routes(app)

    @app.post("/enter/{number:int}")
    async def enter(number: int, request: Request) -> None:
        request.session["user_id"] = number

    @app.get("/open")
    async def open_(principal: Principal | None) -> Any:
        return None if principal is None else principal.sub

    with serving(app, auth) as running:
        client = running.client
        assert login(client).status_code == 404
        assert client.get("/open").json() is None
        client.post("/enter/1")
        assert client.get("/open").json() == "1"
        client.post("/enter/2")
        assert client.get("/open").json() is None
        assert client.get(f"{PREFIX}/me").status_code == 401


def test_a_session_may_name_an_account(sqlite_url: str) -> None:
    """With a user model the key is enough: the row says who it is, what it may do, and whether it may be used."""
    app = new_app(sqlite_url)
    app.add_middleware(ServerSessions, store=MemorySessions())
    auth = AuthRouter(User, backend=SessionAuthBackend())
    auth.register_routes(app)

    @app.post("/enter/{number:int}")
    async def enter(number: int, request: Request) -> None:
        async with app.database.sessions() as session:
            user = await session.get(User, number)
        await auth.enter_session(request, user)

    @app.post("/rename/{number}")
    async def rename(number: str, request: Request) -> None:
        request.session["user_id"] = number

    @app.get("/who", policy=auth.authenticated())
    async def who(principal: Principal) -> list[Any]:
        return [principal.id, principal.username, principal.is_admin, principal.method]

    with serving(app, auth) as running:
        ann = running.person("ann")
        assert ann.get("/who").json() == [ann.id, ann.username, False, "jwt"]
        running.client.post(f"/enter/{ann.id}")
        assert running.client.get("/who").json() == [ann.id, ann.username, False, "session"]
        running.change(ann, is_admin=True)
        assert running.client.get("/who").json()[2] is True
        running.change(ann, is_active=False)
        assert code(running.client.get("/who"), 401) == "token_revoked"
        running.change(ann, is_active=True)
        for unknown in ("99999", "no-number", str(running.person("ben").id)):
            running.client.post(f"/enter/{ann.id}")
            running.client.post(f"/rename/{unknown}")
            assert code(running.client.get("/who"), 401) == "token_revoked"


# ---- keys, several, own ------------------------------------------------------------------------------------


def test_keys_of_programs(staff: Staff) -> None:
    """A key in its header; the loader sees its hash alone, and a bad key is never anonymous."""
    key = secrets.token_urlsafe(32)
    seen: list[str] = []

    async def load(hashed: str) -> Person | None:
        seen.append(hashed)
        return staff.people[2] if hashed == APIKeyBackend.hash(key) else None

    for backend in (APIKeyBackend(load), APIKeyBackend(keys={APIKeyBackend.hash(key): staff.people[2]})):
        with site(backend) as client:
            headers = {"X-API-Key": key}
            assert client.post("/write", headers=headers).json() == [2, "api_key"]
            assert client.get("/open").json() is None
            assert client.get("/open", headers=headers).json() == "2"
            for wrong in ([("X-API-Key", "bad")], [("X-API-Key", "")], [("X-API-Key", key)] * 2):
                assert code(client.get("/open", headers=wrong), 401) == "not_authenticated"
            with client.websocket_connect("/live", headers=headers) as socket:
                assert socket.receive_json() == [2, "api_key"]
            for path in ("login", "logout", "refresh"):
                assert client.post(f"{PREFIX}/{path}", headers=headers).status_code == 404
    assert key not in seen


def test_the_first_that_knows_the_credential_decides(staff: Staff) -> None:
    """Header, key and session side by side, each documented; a bad one of one kind is not saved by another kind."""
    backend = MultiBackend(
        [
            JWTAuthBackend(CONFIG, staff.load),
            APIKeyBackend(keys={APIKeyBackend.hash("k" * 40): staff.people[2]}),
            SessionAuthBackend(Door(staff).retrieve),
        ]
    )
    middleware = (ServerSessions, {"store": MemorySessions()})
    with site(backend, middleware=middleware) as client:
        token = login(client).json()["access_token"]
        key = {"X-API-Key": "k" * 40}
        assert client.post("/write", headers=bearer(token)).json() == [1, "jwt"]
        assert client.post("/write", headers=key).json() == [2, "api_key"]
        assert client.post("/write", headers={**key, **bearer(token)}).json() == [1, "jwt"]
        assert client.post("/write", headers={**key, **bearer(token[:-3] + "abc")}).status_code == 401
        assert client.post("/write", headers={"X-API-Key": "bad", **bearer(token)}).json() == [1, "jwt"]
        assert client.post(f"{PREFIX}/logout", headers=bearer(token)).status_code == 200
        assert client.get(f"{PREFIX}/me", headers=bearer(token)).status_code == 401


def test_all_schemes_are_documented(staff: Staff) -> None:
    """OpenAPI lists what each backend of the chain reads, and closed routes name all of them as alternatives."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    app.add_middleware(ServerSessions, store=MemorySessions())
    backend = MultiBackend(
        [
            JWTAuthBackend(CONFIG, staff.load),
            APIKeyBackend(keys={}),
            MultiBackend([SessionAuthBackend(Door(staff).retrieve)]),
        ]
    )
    AuthRouter(backend=backend, prefix=PREFIX).register_routes(app)
    document = app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"BearerToken", "ApiKey", "SessionCookie"}
    named = [name for entry in document["paths"][f"{PREFIX}/me"]["get"]["security"] for name in entry]
    assert sorted(named) == ["ApiKey", "BearerToken", "SessionCookie"]
    assert set(document["paths"]) == {f"{PREFIX}/{name}" for name in ("login", "logout", "refresh", "me")}


def test_an_unknown_bearer_token_is_refused(staff: Staff) -> None:
    """One of another issuer is nobody's: 401 also where a route is open to everybody."""
    backend = JWTAuthBackend(JWTConfig(secret_key=SECRET, issuer="https://we.example"), staff.load)
    other = JWTAuthBackend(JWTConfig(secret_key=SECRET, issuer="https://they.example"), staff.load)
    with site(backend) as ours, site(other) as theirs:
        token = login(theirs).json()["access_token"]
        assert theirs.get("/open", headers=bearer(token)).json() == "1"
        assert code(ours.get("/open", headers=bearer(token)), 401) == "not_authenticated"


class Own:
    """Four lines that find somebody."""

    async def get_current_user(self, connection: Any) -> Any:
        name = connection.headers.get("x-name")
        return (
            None if name is None else Principal(id=None, sub=name, roles=frozenset({"editor"}), method="mine")
        )


def test_a_backend_in_a_few_lines(sqlite_url: str) -> None:
    """What it has no method for is no route; it may give a Principal, and beside accounts it is asked first."""
    with site(Own(), role_permissions={"editor": ["posts:write"]}) as client:
        assert client.get("/open", headers={"X-Name": "zoe"}).json() == "zoe"
        assert client.get(f"{PREFIX}/me", headers={"X-Name": "zoe"}).json() == {
            "id": None, "email": None, "roles": ["editor"], "permissions": ["posts:write"],
        }  # fmt: skip
        assert login(client).status_code == 404
    app = new_app(sqlite_url)
    auth = AuthRouter(User, backend=Own())
    auth.register_routes(app)

    @app.get("/who", policy=auth.authenticated())
    async def who(principal: Principal) -> list[Any]:
        return [principal.sub, principal.method]

    with serving(app, auth) as running:
        assert running.client.get("/who", headers={"X-Name": "zoe"}).json() == ["zoe", "mine"]
        assert running.person("ann").get("/who").json()[1] == "jwt"
        assert running.client.get("/me", headers={"X-Name": "zoe"}).status_code == 403


class Whole(Own):
    """All five methods, and a cookie."""

    uses_cookies = True

    def __init__(self, staff: Staff) -> None:
        self.staff, self.sessions = staff, dict[str, int]()

    async def authenticate(self, connection: Any, credentials: dict[str, str]) -> Person | None:
        return await self.staff.load(credentials["email"])

    async def get_current_user(self, connection: Any) -> Person | None:
        return self.staff.people.get(self.sessions.get(connection.cookies.get("session_id"), 0))

    async def login(self, connection: Any, user: Person) -> dict[str, str]:
        self.sessions["one"] = user.id
        return {"session_id": "one"}

    async def logout(self, connection: Any) -> None:
        self.sessions.clear()

    async def refresh(self, connection: Any) -> dict[str, str] | None:
        return {"session_id": "one"} if connection.headers.get("x-refresh-token") == "right" else None


def test_a_whole_backend_of_ones_own(staff: Staff) -> None:
    """All five methods are called by the endpoints, and `uses_cookies` puts it under the guard."""
    backend: AuthBackend = Whole(staff)
    user: AdminUser = staff.people[1]
    assert user.id == 1
    with site(backend) as client:
        assert login(client).json() == {"session_id": "one"}
        client.cookies.set("session_id", "one")
        assert client.get(f"{PREFIX}/me").json()["email"] == "ann@example.com"
        assert code(client.post("/write"), 403) == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/write", headers=csrf).json() == [1, "custom"]
        assert client.post(f"{PREFIX}/refresh", headers={"X-Refresh-Token": "right"}).json() == {
            "session_id": "one"
        }
        assert code(client.post(f"{PREFIX}/refresh"), 401) == "not_authenticated"
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert client.get(f"{PREFIX}/me").status_code == 401


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An OpenID provider in a process of its own."""
    with serve(tmp_path_factory.mktemp("provider"), "tests.auth.provider:app") as server:
        yield server


def test_tokens_of_others_beside_our_own(server: LiveServer, staff: Staff) -> None:
    """The issuer that a token names decides who reads it; the claims name the caller, or the loader does."""
    provider = Provider(server)

    async def load(claims: Any) -> Person | None:
        return await staff.load(claims["email"])

    issuer = RemoteIssuer(provider.issuer, AUDIENCE)
    ours = JWTAuthBackend(CONFIG, staff.load)
    with site(MultiBackend([RemoteJWTBackend(issuer), ours])) as client:
        assert client.post("/write", headers=bearer(login(client).json()["access_token"])).json() == [
            1,
            "jwt",
        ]
        assert client.post("/write", headers=bearer(provider.token())).json() == [None, "remote"]
        assert client.post("/write", headers=bearer(provider.token(aud="other"))).status_code == 401
        assert (
            client.post("/write", headers=bearer(provider.token(iss="https://other.example"))).status_code
            == 401
        )
    with site(MultiBackend([ours, RemoteJWTBackend(issuer, user_loader=load)])) as client:
        assert client.post("/write", headers=bearer(provider.token(email="ben@example.com"))).json() == [
            2,
            "remote",
        ]
        assert (
            client.post("/write", headers=bearer(provider.token(email="zoe@example.com"))).status_code == 401
        )
        assert client.get("/open").json() is None


# ---- mistakes ----------------------------------------------------------------------------------------------


def test_mistakes_are_told_early(staff: Staff) -> None:
    """Each says what to write instead."""
    issuer = RemoteIssuer(
        issuer="https://id.example.com", audience="api", map_user=lambda claims, session: staff.load(1)
    )
    for make, told in (
        (lambda: JWTAuthBackend(CONFIG), "user_loader"),
        (lambda: APIKeyBackend(), "user_loader or keys"),
        (lambda: APIKeyBackend(keys={"a key in clear": 1}), "APIKeyBackend.hash"),
        (lambda: MultiBackend([]), "MultiBackend"),
        (lambda: RemoteJWTBackend(), "RemoteIssuer"),
        (lambda: RemoteJWTBackend(issuer), "user_loader"),
        (lambda: AuthRouter(backend=Own), "Own()"),  # type: ignore[arg-type]
        (lambda: AuthRouter(backend=object()), "get_current_user"),  # type: ignore[arg-type]
        (lambda: AuthRouter(backend=Own(), jwt=CONFIG), "without a user model"),
    ):
        with pytest.raises(ConfigError, match=told.replace("(", r"\(").replace(")", r"\)")):
            make()
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    with pytest.raises(ConfigError, match="retrieve_user_handler"):
        AuthRouter(backend=SessionAuthBackend()).register_routes(app)
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    AuthRouter(backend=SessionAuthBackend(Door(staff).retrieve)).register_routes(app)
    with pytest.raises(ConfigError, match="ServerSessions"):
        app.build()


def test_production_needs_a_key(staff: Staff) -> None:
    """A weak key stops the start, of tokens and of the readable cookie."""
    for backend, middleware in (
        (JWTAuthBackend(JWTConfig(secret_key="short"), staff.load), None),
        (Door(staff).backend, SIGNED),
    ):
        settings = Settings(env="production")
        app = Jetio(settings=settings, metadata=new_base().metadata, database="sqlite+aiosqlite://")
        if middleware is not None:
            app.add_middleware(middleware[0], **middleware[1])
        AuthRouter(backend=backend).register_routes(app)
        with pytest.raises(ConfigError, match="SECRET_KEY"):
            app.check()
