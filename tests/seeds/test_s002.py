"""Seed document 002, "Shared authentication": `examples/devices` is its code under our names, and runs as a program."""

from __future__ import annotations

import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import QueuePool

import jetio_auth
from jetio import Jetio, Principal, Settings
from jetio_auth import (
    AuthEvent,
    AuthRouter,
    AuthSettings,
    CurrentAdmin,
    CurrentUser,
    JetioUserMixin,
    OptionalUser,
    SessionDep,
    TokenPair,
    create_engine_for_url,
)
from tests.auth.forum import SETTINGS, new_base, serving
from tests.live import LiveServer, serve

COMMAND = [sys.executable, "-m", "examples.devices"]
ADMIN = "admin@example.com"
PASSWORD = "secure-password"
ENVIRONMENT = {
    "JETIO_PORT": "0",
    "JETIO_AUTH_DEFAULT_ADMIN_EMAIL": ADMIN,
    "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": PASSWORD,
}
Headers = dict[str, str]


class Cluster:
    """The example, as it is served, and the people in it."""

    def __init__(self, server: LiveServer, folder: Path) -> None:
        self.client, self.folder, self.server = server.client, folder, server
        self.admin = self.login(ADMIN)
        self.joined = 0

    def login(self, email: str) -> Headers:
        """By the form of OAuth2, as the document's clients do it."""
        answer = self.client.post("/auth/jwt/login", data={"username": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def join(self) -> tuple[Mapping[str, Any], Headers]:
        """A new account as it is shown, and its login."""
        self.joined += 1
        email = f"user{self.joined}@example.com"
        answer = self.client.post("/auth/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return answer.json()["user"], self.login(email)

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """What stands in the file of the database."""
        with closing(sqlite3.connect(self.folder / "jetio.db")) as database:
            return database.execute(statement, values).fetchall()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with serve(folder, command=COMMAND, env=ENVIRONMENT) as server:
        yield Cluster(server, folder)


def test_s002_layout(cluster: Cluster) -> None:
    """Logins under /auth/jwt, registering under /auth, accounts under /users; those of others are for superusers."""
    user, person = cluster.join()
    client = cluster.client
    assert client.get("/protected", headers=person).json() == {"message": f"Hello {user['email']}!"}
    assert client.get("/protected").status_code == 401
    assert client.get("/users/me", headers=person).json() == user
    changed = client.patch("/users/me", headers=person, json={"email": f"new-{user['email']}"})
    assert changed.json()["email"] == f"new-{user['email']}"
    place = f"/users/{user['id']}"
    assert client.get(place, headers=cluster.admin).json()["id"] == user["id"]
    assert client.patch(place, headers=cluster.admin, json={"is_active": True}).status_code == 200
    other, _ = cluster.join()
    for method in ("GET", "PATCH", "DELETE"):
        refused = client.request(method, f"/users/{other['id']}", headers=person, json={})
        assert refused.status_code in (403, 404), method
    assert client.delete(place, headers=cluster.admin).status_code == 204
    assert client.get("/users/me", headers=person).status_code == 401


def test_s002_logout(cluster: Cluster) -> None:
    """A logout revokes the token."""
    _, person = cluster.join()
    assert cluster.client.post("/auth/jwt/logout", headers=person).status_code == 200
    assert cluster.client.get("/users/me", headers=person).status_code == 401


def test_s002_profile(cluster: Cluster) -> None:
    """A UUID, the email and three flags, and nothing else."""
    user, _ = cluster.join()
    assert uuid.UUID(user["id"]).version == 4
    assert {name: user[name] for name in user if name not in ("id", "email")} == {
        "is_active": True,
        "is_superuser": False,
        "is_verified": False,
    }


def test_s002_cli(cluster: Cluster) -> None:
    """A program asks, a person approves, and the token is given once; the row stays without its secret."""
    user, person = cluster.join()
    client = cluster.client
    asked = client.post("/auth/cli-login").json()
    assert {"code", "secret", "approve_url"} <= set(asked)
    place, secret = f"/auth/cli-login/{asked['code']}", {"secret": asked["secret"]}
    assert client.get(place, params=secret).json() == {"status": "pending", "token": None}
    assert client.get(place, params={"secret": "another"}).status_code == 404
    assert client.patch(place).status_code == 401
    assert client.patch(place, headers=person).status_code == 200
    collected = client.get(place, params=secret).json()
    token = {"Authorization": f"Bearer {collected['token']}"}
    assert (collected["status"], client.get("/users/me", headers=token).json()) == ("approved", user)
    assert client.get(place, params=secret).status_code == 404
    [kept] = cluster.rows("SELECT status, secret FROM jetio_auth_user_devices WHERE code = ?", asked["code"])
    assert kept == ("redeemed", None)
    assert asked["secret"] not in cluster.server.log
    refused = client.post("/auth/cli-login").json()
    place = f"/auth/cli-login/{refused['code']}"
    assert client.delete(place, headers=person).status_code == 204
    answer = client.get(place, headers={"X-CLI-Secret": refused["secret"]})
    assert answer.json() == {"status": "rejected", "token": None}
    page = client.get(asked["approve_url"])
    assert page.headers["content-type"].startswith("text/html")


def test_s002_mint(cluster: Cluster) -> None:
    """A superuser gets a token of an active account; it names him, and the log tells of it."""
    user, person = cluster.join()
    client, place = cluster.client, f"/admin/users/{user['id']}/token"
    assert client.post(place, headers=person).status_code == 403
    assert client.post(place).status_code == 401
    minted = client.post(place, headers=cluster.admin).json()
    assert (set(minted), minted["token_type"]) == ({"access_token", "token_type", "expires_in"}, "bearer")
    token = {"Authorization": f"Bearer {minted['access_token']}"}
    root = client.get("/users/me", headers=cluster.admin).json()["id"]
    assert client.get("/auth/me", headers=token).json()["auth"]["impersonated_by"] == root
    [event] = client.get(
        "/admin/auth-events", headers=cluster.admin, params={"name": "token.minted", "user_id": user["id"]}
    ).json()
    assert event["actor_id"] == root
    unknown = client.post(f"/admin/users/{uuid.uuid4()}/token", headers=cluster.admin)
    assert unknown.status_code == 404
    assert client.post(f"/admin/users/{user['id']}/disable", headers=cluster.admin).status_code == 200
    assert client.post(place, headers=cluster.admin).status_code == 409


def test_s002_extend(cluster: Cluster) -> None:
    """Another package's model shares the base, the session and the accounts; its rows go with their owner."""
    user, person = cluster.join()
    _, other = cluster.join()
    client = cluster.client
    job = client.post("/jobs/", headers=person, params={"name": "relax"}).json()
    assert (job["name"], job["status"]) == ("relax", "pending")
    assert client.get("/jobs/", headers=person).json() == [job]
    assert client.get(f"/jobs/{job['id']}", headers=person).json() == job
    assert client.get(f"/jobs/{job['id']}", headers=other).json()["detail"] == "Job not found"
    assert client.get("/jobs/", headers=other).json() == []
    assert client.get("/jobs/").status_code == 401
    client.delete(f"/users/{user['id']}", headers=cluster.admin)
    assert cluster.rows("SELECT count(*) FROM job WHERE user_id = ?", uuid.UUID(user["id"]).hex) == [(0,)]


async def test_s002_engine(tmp_path: Path) -> None:
    """The engine of a URL has the pool that its database needs, also in memory."""
    memory = create_engine_for_url("sqlite+aiosqlite://")
    async with AsyncSession(memory) as session:
        await session.execute(text("CREATE TABLE t (n INTEGER)"))
        await session.commit()
    async with AsyncSession(memory) as session:
        assert (await session.scalars(text("SELECT count(*) FROM t"))).all() == [0]
    await memory.dispose()
    chosen = create_engine_for_url(f"sqlite+aiosqlite:///{tmp_path}/a.db", pool_size=3)
    assert isinstance(chosen.pool, QueuePool)
    assert chosen.pool.size() == 3
    await chosen.dispose()


def test_s002_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from variables with a prefix; the document's name for the lifetime is read too."""
    monkeypatch.setenv("JETIO_AUTH_SECRET_KEY", "k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA")
    monkeypatch.setenv("JETIO_AUTH_TOKEN_LIFETIME_SECONDS", "1200")
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_EMAIL", ADMIN)
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    assert AuthSettings().token_expiry == 1200
    assert AuthSettings().default_admin == (None, ADMIN, PASSWORD)
    key = Settings().secret_key
    assert key is not None
    assert key.get_secret_value().startswith("k3Jx9")


def site(url: str, **options: Any) -> tuple[Jetio, AuthRouter, Any]:
    """An application with the document's user model."""
    base: Any = new_base()
    model = type("User", (base, JetioUserMixin), {"__tablename__": "user"})
    app = Jetio(database=url, settings=SETTINGS, metadata=base.metadata)
    auth = AuthRouter(model, **options)
    auth.register_routes(app)
    return app, auth, model


def test_s002_default_admin(cluster: Cluster, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured admin is made at start, or promoted when the account is there with that password."""
    assert cluster.client.get("/users/me", headers=cluster.admin).json()["is_superuser"] is True
    app, auth, _ = site(sqlite_url)
    body = {"email": ADMIN, "password": PASSWORD}
    with serving(app, auth) as running:
        assert running.client.post("/register", json=body).json()["user"]["is_superuser"] is False
        running.run(auth.ensure_admin)  # nothing is configured
        monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_EMAIL", ADMIN)
        monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
        running.run(auth.ensure_admin)
        token = running.client.post("/login", json=body).json()["access_token"]
        me = running.client.get("/me", headers={"Authorization": f"Bearer {token}"}).json()
        assert me["is_superuser"] is True


def test_s002_modes(sqlite_url: str) -> None:
    """Nobody is a superuser by registering, unless development says so aloud."""
    for options, expected in (({}, False), ({"dev_superusers": True}, True)):
        app, auth, _ = site(sqlite_url.replace("test.db", f"{expected}.db"), **options)
        with serving(app, auth) as running:
            user = running.client.post("/register", json={"email": ADMIN, "password": PASSWORD}).json()[
                "user"
            ]
            assert user["is_superuser"] is expected


def test_s002_deps(sqlite_url: str) -> None:
    """The active user, the superuser, and perhaps nobody."""
    app, auth, _ = site(sqlite_url)

    @app.get("/user")
    async def current(user: CurrentUser) -> str:
        return str(user.email)

    @app.get("/super")
    async def superuser(user: CurrentAdmin) -> str:
        return str(user.email)

    @app.get("/optional")
    async def optional(user: OptionalUser, session: SessionDep) -> str | None:
        return None if user is None else str(user.email)

    with serving(app, auth) as running:
        running.client.post("/register", json={"email": ADMIN, "password": PASSWORD})
        pair = running.client.post("/login", json={"email": ADMIN, "password": PASSWORD}).json()
        headers = {"Authorization": f"Bearer {pair['access_token']}"}
        client = running.client
        assert client.get("/user", headers=headers).json() == ADMIN
        assert client.get("/user").status_code == 401
        assert client.get("/super", headers=headers).status_code == 403
        assert client.get("/optional", headers=headers).json() == ADMIN
        assert client.get("/optional").json() is None


def test_s002_hooks(sqlite_url: str) -> None:
    """What happens to accounts is told to functions of the application; its schemas are there for its own routes."""
    app, auth, _ = site(sqlite_url)
    told: list[AuthEvent] = []
    auth.on("user.registered", told.append)
    auth.on("login.*", told.append)
    with serving(app, auth) as running:
        user = running.client.post("/register", json={"email": ADMIN, "password": PASSWORD}).json()["user"]
        pair = running.client.post("/login", json={"email": ADMIN, "password": PASSWORD}).json()
        assert TokenPair(**pair).token_type == "bearer"
        deadline = time.monotonic() + 5
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [event.name for event in told] == ["user.registered", "login.ok"]
        assert {event.user_id for event in told} == {user["id"]}
        read, create, update = auth.schemas
        assert read.model_validate(user).model_dump(mode="json") == user
        assert set(create.model_fields) >= {"email", "password"}
        assert "email" in update.model_fields
    assert {"UserSchemas", "TokenPair", "AuthSettings"} <= set(jetio_auth.__all__)
    assert Principal(id=None, sub="x").impersonated_by is None
