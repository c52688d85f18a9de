"""Seed document 001, accounts that an administrator approves: one test for each thing that it claims.

The example `examples.approval` is its application under our names, started as a user starts it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import MetaData

from jetio import Jetio
from jetio.testing import TestClient
from jetio_auth import AuthRouter, JSONUserStore, RequireLogin, StoredUser, setup_auth
from tests.auth.forum import SETTINGS, bearer, serving
from tests.live import LiveServer, serve

PASSWORD = "written on paper"
ADMIN = ("admin@admin.com", "changeme")


def log_in(client: Any, email: str, password: str) -> dict[str, str]:
    """The credential of an account, by the OAuth2 form."""
    answer = client.post("/auth/login", data={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    return bearer(answer.json()["access_token"])


def join(client: Any, email: str) -> dict[str, str]:
    """Register, be approved by email, log in."""
    assert client.post("/auth/register", json={"email": email, "password": PASSWORD}).status_code == 201
    root = log_in(client, *ADMIN)
    assert client.post("/auth/approve", json={"email": email}, headers=root).status_code == 200
    return log_in(client, email, PASSWORD)


def tables_of(path: Path) -> set[str]:
    """The tables in a SQLite file."""
    database = sqlite3.connect(path)
    try:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    finally:
        database.close()
    return {name for (name,) in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for the example."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    """The example, with no configuration."""
    command = [sys.executable, "-m", "examples.approval"]
    with serve(folder, command=command, env={"JETIO_PORT": "0"}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> httpx2.Client:
    """A client of it."""
    return server.client


@contextmanager
def small(**options: Any) -> Iterator[TestClient]:
    """An application of a few lines, with its accounts in memory."""
    app = Jetio(database="sqlite+aiosqlite:///:memory:", settings=SETTINGS, metadata=MetaData())
    setup_auth(app, **{"db_url": "sqlite+aiosqlite:///:memory:", **options})

    @app.get("/who")
    async def who(user: RequireLogin) -> dict[str, Any]:
        return {"sub": user.sub, **user.extra}

    with TestClient(app) as client:
        yield client


def test_s001_setup(client: httpx2.Client, folder: Path) -> None:
    """One call: keys, tables, the first admin, routes under /auth, and Swagger UI that knows the form."""
    assert client.post("/auth/login", data={"username": ADMIN[0], "password": ADMIN[1]}).status_code == 200
    document = client.get("/openapi.json").json()
    assert {"/auth/register", "/auth/login", "/auth/me", "/auth/change-password"} <= set(document["paths"])
    assert {"/auth/pending", "/auth/approve", "/auth/reject"} <= set(document["paths"])
    form = document["components"]["securitySchemes"]["OAuth2PasswordBearer"]["flows"]["password"]
    assert form["tokenUrl"] == "/auth/login"
    assert (folder / ".jetio" / "dev-secret").exists()


def test_s001_options() -> None:
    """A key, an algorithm, a time to live and a database; half an hour is the default."""
    key = "your own secret key of more than sixty-four bytes, which nobody else has ever seen"
    with small(secret_key=key, algorithm="HS512", expire_minutes=5) as client:
        answer = client.post("/auth/login", data={"username": ADMIN[0], "password": ADMIN[1]})
        assert answer.json()["expires_in"] == 300
    with small() as client:
        answer = client.post("/auth/login", data={"username": ADMIN[0], "password": ADMIN[1]})
        assert answer.json()["expires_in"] == 1800


def test_s001_db(client: httpx2.Client, folder: Path, postgresql_url: str, mariadb_url: str) -> None:
    """users.db beside the application's database; and any other that Jetio knows."""
    client.get("/dashboard")
    assert {"users", "jetio_auth_users_sessions"} <= tables_of(folder / "users.db")
    assert "users" not in tables_of(folder / "jetio.db")
    assert "orders" in tables_of(folder / "jetio.db")
    for url in (postgresql_url, mariadb_url):
        with small(db_url=url) as other:
            ann = join(other, "ann@example.com")
            assert other.get("/who", headers=ann).json()["sub"] == "ann@example.com"


def test_s001_endpoints(client: httpx2.Client) -> None:
    """The workflow of the document: register, pending, approve or reject by email, log in, change the password."""
    for name in ("ann", "eve"):
        body = {"email": f"{name}@endpoints.example", "password": PASSWORD}
        registered = client.post("/auth/register", json=body)
        assert (registered.status_code, registered.json()["status"]) == (201, "pending")
        assert client.post("/auth/login", json=body).status_code == 403
    root = log_in(client, *ADMIN)
    waiting = [item["email"] for item in client.get("/auth/pending", headers=root).json()]
    assert {"ann@endpoints.example", "eve@endpoints.example"} <= set(waiting)
    for way, name in (("approve", "ann"), ("reject", "eve")):
        body = {"email": f"{name}@endpoints.example"}
        assert client.post(f"/auth/{way}", json=body, headers=root).status_code == 200
    ann = log_in(client, "ann@endpoints.example", PASSWORD)
    me = client.get("/auth/me", headers=ann).json()
    assert (me["email"], me["claims"]) == (
        "ann@endpoints.example",
        {"company_id": me["claims"]["company_id"]},
    )
    refused = client.post("/auth/login", data={"username": "eve@endpoints.example", "password": PASSWORD})
    assert refused.json()["code"] == "invalid_credentials"
    wrong = {"current_password": "not this one", "new_password": "a new " + PASSWORD}
    assert client.post("/auth/change-password", json=wrong, headers=ann).status_code == 403
    right = {**wrong, "current_password": PASSWORD}
    assert client.post("/auth/change-password", json=right, headers=ann).status_code == 200
    log_in(client, "ann@endpoints.example", "a new " + PASSWORD)


def test_s001_seed_admin(server: LiveServer, folder: Path) -> None:
    """admin@admin.com with `changeme`: warned of, on this machine alone, and never in production."""
    log_in(server.client, *ADMIN)
    assert "sample password 'changeme'" in server.log
    passed_on = server.client.post(
        "/auth/login",
        data={"username": ADMIN[0], "password": ADMIN[1]},
        headers={"X-Forwarded-For": "192.0.2.1"},
    )
    assert passed_on.json()["code"] == "password_change_required"
    command = [sys.executable, "-m", "examples.approval"]
    env = {"JETIO_PORT": "0", "JETIO_ENV": "production", "SECRET_KEY": "k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"}
    for password, told in (
        ("", "set JETIO_AUTH_DEFAULT_ADMIN_PASSWORD"),
        (PASSWORD, "has the sample password"),
    ):
        with (
            pytest.raises(RuntimeError, match=told),
            serve(folder, command=command, env={**env, "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": password}),
        ):
            pass  # pragma: no cover - it does not start


def test_s001_require_login(client: httpx2.Client) -> None:
    """`user: RequireLogin` has `.sub`, the email, and `.extra`."""
    root = log_in(client, *ADMIN)
    assert client.get("/dashboard", headers=root).json() == {"sub": "admin@admin.com", "is_admin": True}
    ann = join(client, "ann@login.example")
    assert client.get("/dashboard", headers=ann).json() == {"sub": "ann@login.example", "is_admin": False}


def test_s001_declare_only(client: httpx2.Client) -> None:
    """Declaring it is enough: nobody is 401, also for a token that is none."""
    assert client.get("/notice", headers=log_in(client, *ADMIN)).status_code == 200
    for path in ("/notice", "/dashboard", "/tenant-data", "/orders"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer("nothing")).status_code == 401


def test_s001_claims(client: httpx2.Client) -> None:
    """Further claims of a login are in the token, in every handler, and choose the rows of a company."""
    app = Jetio(database="sqlite+aiosqlite:///:memory:", settings=SETTINGS, metadata=MetaData())
    auth = setup_auth(app, db_url="sqlite+aiosqlite:///:memory:", approval=None)

    @app.get("/tenant-data")
    async def tenant_data(user: RequireLogin) -> dict[str, Any]:
        return {"company_id": user.extra.get("company_id"), "role": user.extra.get("role")}

    with serving(app, auth) as site:
        site.run(auth.register, email="user@example.com", password="secret 123")
        claims = {"company_id": 42, "role": "manager"}
        pair = site.run(auth.login, "user@example.com", "secret 123", extra_claims=claims)
        answer = site.client.get("/tenant-data", headers=bearer(pair["access_token"]))
        assert answer.json() == claims
    ann, bob = join(client, "ann@one.example"), join(client, "bob@other.example")
    made = client.post("/orders", json={"item": "tea"}, headers=ann)
    assert made.json()["company_id"] == client.get("/tenant-data", headers=ann).json()["company_id"]
    path = f"/orders/{made.json()['id']}"
    assert [client.get(path, headers=headers).status_code for headers in (ann, bob)] == [200, 404]
    assert client.delete(path, headers=bob).status_code == 404
    assert client.get("/orders", headers=bob).json() == []


class MyUserRepository:
    """The document's repository, by our names."""

    users: dict[str, StoredUser]

    def __init__(self) -> None:
        self.users = {}

    async def find_by_email(self, email: str) -> StoredUser | None:
        return self.users.get(email)

    async def create(self, user: StoredUser) -> None:
        self.users[user.email] = replace(user, id=str(len(self.users) + 1))

    async def update(self, user: StoredUser) -> None:
        self.users[user.email] = user

    async def list_pending(self) -> Sequence[StoredUser]:
        return [user for user in self.users.values() if user.approval_status == "pending"]

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        if email not in self.users:
            await self.create(
                StoredUser(
                    email=email, hashed_password=hashed_password, is_admin=True, approval_status="approved"
                )
            )


def test_s001_store() -> None:
    """A repository of five functions, given by a generator, carries the whole workflow."""
    kept = MyUserRepository()

    async def get_user_store() -> AsyncIterator[MyUserRepository]:
        yield kept

    app = Jetio(database="sqlite+aiosqlite:///:memory:", settings=SETTINGS, metadata=MetaData())
    auth = setup_auth(app, store=MyUserRepository())
    auth.use_store(get_user_store)
    with TestClient(app) as client:
        ann = join(client, "ann@example.com")
        assert client.get("/auth/me", headers=ann).json()["email"] == "ann@example.com"
    assert sorted(kept.users) == ["admin@admin.com", "ann@example.com"]


def test_s001_json_store(tmp_path: Path) -> None:
    """A file that outlives the process, and holds no password."""
    path = tmp_path / "users.json"
    for again in (False, True):
        app = Jetio(database="sqlite+aiosqlite:///:memory:", settings=SETTINGS, metadata=MetaData())
        auth = AuthRouter(store=JSONUserStore(path))
        auth.register_routes(app)
        with TestClient(app) as client:
            body = {"email": "ann@example.com", "password": PASSWORD}
            assert client.post("/register", json=body).status_code == (409 if again else 201)
            assert client.post("/login", json=body).status_code == 200
    assert PASSWORD not in path.read_text()
    assert [entry["email"] for entry in json.loads(path.read_text())["users"]] == ["ann@example.com"]


def test_s001_testing() -> None:
    """An ASGI transport and accounts in memory, each test with its own; no server is needed."""

    async def registered() -> int:
        app = Jetio(database="sqlite+aiosqlite:///:memory:", settings=SETTINGS, metadata=MetaData())
        setup_auth(app, db_url="sqlite+aiosqlite:///:memory:")
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            body = {"email": "ann@example.com", "password": PASSWORD}
            return (await client.post("/auth/register", json=body)).status_code

    assert [asyncio.run(registered()) for _ in range(2)] == [201, 201]
