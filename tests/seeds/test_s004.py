"""Seed document 004, "Authentication" of an admin panel: its backends under our names, one test for each claim.

The panel itself and social logins have tests of their own.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from jose import jwt
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient

from jetio import Jetio, Principal, Request
from jetio_auth import AdminUser, AuthBackend, AuthRouter, JWTAuthBackend, JWTConfig, SessionAuthBackend
from tests.auth.forum import SETTINGS, bearer, new_base
from tests.live import LiveServer, serve

KEY = "a-key-of-the-test-that-is-long-enough-for-anything"
ROOT = Path(__file__).parent.parent.parent
PREFIX = "/admin/api/auth"
ADMIN = {"email": "admin@example.com", "password": "secret123"}
LATER = {"expires_in": 3600, "token_type": "bearer"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The document's complete example under a real server."""
    env = {"JETIO_PORT": "0", "JWT_SECRET_KEY": KEY, "PYTHONPATH": str(ROOT), "JETIO_ENV": "test"}
    command = [sys.executable, "-m", "tests.seeds.s004.complete"]
    with serve(tmp_path_factory.mktemp("s004"), command=command, env=env) as server:
        yield server


@dataclass
class User:
    id: int
    email: str
    roles: list[str]
    permissions: list[str]
    password_hash: str = ""


BOSS = User(7, "boss@example.com", ["admin"], ["models:read"])


async def load(identifier: str | int) -> User | None:
    return BOSS if identifier in (7, "boss@example.com") else None


async def anything(stored_hash: str, password: str) -> bool:
    return password == "right"


def client_of(backend: Any, **session: Any) -> tuple[Jetio, TestClient]:
    """An application with a backend, in this process."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    auth = AuthRouter(backend=backend, prefix=PREFIX)
    auth.register_routes(app)
    if session:
        app.add_middleware(SessionMiddleware, **session)

    @app.get("/panel", policy=auth.hidden(auth.admin_only()))
    async def panel(principal: Principal) -> list[Any]:
        return [principal.id, principal.email, sorted(principal.roles), sorted(principal.permissions)]

    @app.post("/enter/{user_id:int}")
    async def enter(user_id: int, request: Request) -> None:
        request.session["user_id"] = user_id

    return app, TestClient(app)


def test_s004_endpoints(server: LiveServer) -> None:
    """Login, logout, refresh and me under /admin/api/auth, with the document's bodies; times are numbers."""
    client = server.client
    answer = client.post(f"{PREFIX}/login", json=ADMIN)
    pair = answer.json()
    assert {name: pair[name] for name in LATER} == LATER
    assert {"access_token", "refresh_token"} <= set(pair)
    headers = bearer(pair["access_token"])
    assert client.get(f"{PREFIX}/me", headers=headers).json() == {
        "id": 1, "email": "admin@example.com", "roles": ["admin"],
        "permissions": ["models:delete", "models:read", "models:write"],
    }  # fmt: skip
    assert client.post(f"{PREFIX}/logout", headers=headers).json() == {"message": "Logged out successfully"}
    assert client.get(f"{PREFIX}/me", headers=headers).status_code == 401
    assert client.post(f"{PREFIX}/login", json=ADMIN | {"password": "wrong"}).status_code == 401
    assert client.get(f"{PREFIX}/me").status_code == 401


def test_s004_refresh(server: LiveServer) -> None:
    """The header X-Refresh-Token gives the next token, and so does a body; nothing, or both, does not."""
    client = server.client
    pair = client.post(f"{PREFIX}/login", json=ADMIN).json()
    following = client.post(f"{PREFIX}/refresh", headers={"X-Refresh-Token": pair["refresh_token"]}).json()
    assert {name: following[name] for name in LATER} == LATER
    assert client.get(f"{PREFIX}/me", headers=bearer(following["access_token"])).status_code == 200
    body = {"refresh_token": following["refresh_token"]}
    assert client.post(f"{PREFIX}/refresh", json=body, headers={"X-Refresh-Token": "x"}).status_code == 422
    assert client.post(f"{PREFIX}/refresh", json=body).status_code == 200
    assert client.post(f"{PREFIX}/refresh").status_code == 401


def test_s004_jwt_backend() -> None:
    """`JWTAuthBackend(config, user_loader, password_verifier)`, the last one optional, judges logins and tokens."""
    names = list(inspect.signature(JWTAuthBackend).parameters)
    assert names[:3] == ["config", "user_loader", "password_verifier"]
    backend = JWTAuthBackend(JWTConfig(secret_key=KEY), load, anything)
    with client_of(backend)[1] as client:
        wrong = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "wrong"})
        assert wrong.status_code == 401
        right = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"})
        assert client.get("/panel", headers=bearer(right.json()["access_token"])).json()[0] == 7


def test_s004_jwtconfig() -> None:
    """Every setting has the document's name and default, and is obeyed."""
    defaults = {
        "algorithm": "HS256", "token_expiry": 3600, "refresh_token_expiry": 86400, "token_location": "header",
        "token_header": "Authorization", "token_prefix": "Bearer", "issuer": None, "audience": None,
    }  # fmt: skip
    known = {item.name: item.default for item in fields(JWTConfig)}
    assert {name: known[name] for name in defaults} == defaults
    config = JWTConfig(
        secret_key=KEY * 2, algorithm="HS512", token_expiry=1800, refresh_token_expiry=604800,
        token_header="X-Admin-Token", token_prefix="Token", issuer="https://myapp.com", audience="myapp-admin",
    )  # fmt: skip
    with client_of(JWTAuthBackend(config, load, anything))[1] as client:
        pair = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"}).json()
        token = pair["access_token"]
        assert (pair["expires_in"], pair["refresh_expires_in"]) == (1800, 604800)
        assert jwt.get_unverified_header(token)["alg"] == "HS512"
        claims = jwt.get_unverified_claims(token)
        assert (claims["iss"], claims["aud"]) == ("https://myapp.com", "myapp-admin")
        assert abs(claims["exp"] - time.time() - 1800) < 10
        found = [
            client.get(f"{PREFIX}/me", headers=headers).status_code
            for headers in ({"X-Admin-Token": f"Token {token}"}, {"X-Admin-Token": token}, bearer(token))
        ]
        assert found == [200, 401, 401]


def test_s004_principal() -> None:
    """A user has id, email, roles and permissions, and so has the Principal that handlers and rules see."""
    user: AdminUser = BOSS
    names = ("id", "email", "roles", "permissions")
    assert all(hasattr(AdminUser, name) and hasattr(user, name) for name in names)
    with client_of(JWTAuthBackend(JWTConfig(secret_key=KEY), load, anything))[1] as client:
        pair = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"}).json()
        seen = client.get("/panel", headers=bearer(pair["access_token"])).json()
        assert seen == [7, "boss@example.com", ["admin"], ["models:read"]]


def test_s004_session() -> None:
    """`SessionAuthBackend` reads the application's own session; for nobody, and who is no admin, there is 404."""
    asked: list[dict[str, Any]] = []

    async def retrieve_user_handler(session: dict[str, Any], connection: Any) -> User | None:
        asked.append(dict(session))
        assert connection.session is session
        return BOSS if session["user_id"] == 7 else None

    names = list(inspect.signature(SessionAuthBackend).parameters)
    assert names[:3] == ["retrieve_user_handler", "session_key", "authenticate_handler"]
    backend = SessionAuthBackend(retrieve_user_handler=retrieve_user_handler)
    with client_of(backend, secret_key=KEY)[1] as client:
        assert client.get("/panel").status_code == 404
        assert asked == []
        client.post("/enter/8")
        assert client.get("/panel").status_code == 404
        client.post("/enter/7")
        assert client.get("/panel").json()[0] == 7
        assert asked == [{"user_id": 8}, {"user_id": 7}]
        assert client.post(f"{PREFIX}/login", json=ADMIN).status_code == 404


class CustomAuthBackend:
    """Custom authentication backend, as the document writes one."""

    def __init__(self) -> None:
        self.sessions: dict[str, User] = {}

    async def authenticate(self, connection: Any, credentials: dict[str, str]) -> User | None:
        email = credentials.get("email")
        password = credentials.get("password")
        return BOSS if (email, password) == (BOSS.email, "right") else None

    async def get_current_user(self, connection: Any) -> User | None:
        session_id = connection.cookies.get("session_id")
        return self.sessions.get(session_id) if session_id else None

    async def login(self, connection: Any, user: User) -> dict[str, str]:
        self.sessions["s1"] = user
        return {"session_id": "s1"}

    async def logout(self, connection: Any) -> None:
        self.sessions.pop(connection.cookies.get("session_id"), None)

    async def refresh(self, connection: Any) -> dict[str, str] | None:
        return None


def test_s004_protocol() -> None:
    """Five async methods make a backend; all of them are called by the endpoints."""
    backend = CustomAuthBackend()
    assert isinstance(backend, AuthBackend)
    with client_of(backend)[1] as client:
        refused = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "wrong"})
        assert refused.status_code == 401
        told = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"}).json()
        assert told == {"session_id": "s1"}
        client.cookies.set("session_id", "s1")
        assert client.get("/panel").json()[0] == 7
        assert client.post(f"{PREFIX}/refresh").status_code == 401
        assert client.post(f"{PREFIX}/logout").status_code == 200
        assert client.get("/panel").status_code == 404


@pytest.mark.parametrize("samesite", ["lax", "strict"])
def test_s004_cookies(samesite: Any) -> None:
    """Cookies are HttpOnly and SameSite=Lax by default, Secure by setting (and in production); all is settable."""
    settings: dict[str, Any] = (
        {} if samesite == "lax" else {"cookie_samesite": samesite, "cookie_secure": True}
    )
    config = JWTConfig(secret_key=KEY, token_location="cookie", **settings)
    with client_of(JWTAuthBackend(config, load, anything))[1] as client:
        answer = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"})
        line = next(
            item for item in answer.headers.get_list("set-cookie") if item.startswith("access_token=")
        )
        assert "HttpOnly" in line
        assert f"SameSite={samesite}" in line
        assert ("Secure" in line) is (samesite == "strict")
        assert "access_token" not in answer.json()
    open_ = JWTConfig(secret_key=KEY, token_location="cookie", cookie_httponly=False, cookie_name="admin")
    with client_of(JWTAuthBackend(open_, load, anything))[1] as client:
        answer = client.post(f"{PREFIX}/login", json={"email": "boss@example.com", "password": "right"})
        line = next(item for item in answer.headers.get_list("set-cookie") if item.startswith("admin="))
        assert "HttpOnly" not in line
