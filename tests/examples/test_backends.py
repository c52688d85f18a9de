"""The example of backends, over HTTP: three applications over one table of employees."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from tests.auth.forum import bearer
from tests.live import LiveServer, serve

ROOT = Path(__file__).parent.parent.parent
PREFIX = "/admin/api/auth"
PASSWORD = "secret123"


@contextmanager
def running(folder: Path, name: str) -> Iterator[LiveServer]:
    """One of the applications with an admin, Ada, and a viewer, Vic."""
    command = [sys.executable, "-m", f"examples.backends.{name}"]
    env = {"JETIO_PORT": "0", "PYTHONPATH": str(ROOT)}
    with serve(folder, command=command, env=env) as server:
        with sqlite3.connect(folder / "jetio.db") as database:
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
            rows = [(1, "ada@example.com", hashed, True), (2, "vic@example.com", hashed, False)]
            database.executemany(
                "INSERT INTO employees (id, email, password_hash, is_admin) VALUES (?, ?, ?, ?)", rows
            )
        database.close()
        yield server


def body(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"email": f"{name}@example.com", "password": password}


def test_signed_tokens(tmp_path: Path) -> None:
    """Login, me, refresh and logout under the prefix; the report is there for the admin alone."""
    with running(tmp_path, "tokens") as server:
        client = server.client
        pair = client.post(f"{PREFIX}/login", json=body("ada")).json()
        assert client.get(f"{PREFIX}/me", headers=bearer(pair["access_token"])).json() == {
            "id": 1, "email": "ada@example.com", "roles": ["admin"],
            "permissions": ["models:delete", "models:read", "models:write"],
        }  # fmt: skip
        vic = client.post(f"{PREFIX}/login", json=body("vic")).json()
        callers: tuple[dict[str, str], ...] = (bearer(pair["access_token"]), bearer(vic["access_token"]), {})
        seen = [client.get("/admin/api/report", headers=headers).status_code for headers in callers]
        assert seen == [200, 404, 404]
        following = client.post(
            f"{PREFIX}/refresh", headers={"X-Refresh-Token": pair["refresh_token"]}
        ).json()
        out = client.post(f"{PREFIX}/logout", headers=bearer(following["access_token"]))
        assert out.json() == {"message": "Logged out successfully"}
        assert client.get(f"{PREFIX}/me", headers=bearer(pair["access_token"])).status_code == 401
        assert client.post(f"{PREFIX}/login", json=body("ada", "wrong password")).status_code == 401
        assert client.post(f"{PREFIX}/login", json=body("9" * 300)).status_code == 401


def test_sessions_of_the_application(tmp_path: Path) -> None:
    """Whoever the shop has logged in is in the admin part, if he is an admin; for others it is not there."""
    with running(tmp_path, "sessions") as server:
        client = server.client
        found = [client.get("/admin/api/report").status_code]
        for number in (2, 1):
            client.post(f"/shop/enter/{number}")
            found.append(client.get("/admin/api/report").status_code)
        assert found == [404, 404, 200]
        assert client.get(f"{PREFIX}/me").json()["permissions"] == ["admin:access"]
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert client.get("/admin/api/report").status_code == 404


def test_a_backend_of_ones_own(tmp_path: Path) -> None:
    """The session id of the login is a cookie; writes need the header that repeats the readable one."""
    with running(tmp_path, "own") as server:
        client = server.client
        told = client.post(f"{PREFIX}/login", json=body("vic")).json()
        client.cookies.set("session_id", told["session_id"], domain="127.0.0.1")
        assert client.get(f"{PREFIX}/me").json()["email"] == "vic@example.com"
        assert client.post("/notes").json()["code"] == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/notes", headers=csrf).json() == {"by": "vic@example.com"}
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert client.get(f"{PREFIX}/me").status_code == 401


@pytest.mark.parametrize("name", ["tokens", "sessions", "own"])
def test_they_are_what_they_say(name: str) -> None:
    """Each module builds by itself, and documents the four endpoints that its backend has."""
    import importlib

    app = importlib.import_module(f"examples.backends.{name}").app
    paths = {path.removeprefix(PREFIX) for path in app.openapi()["paths"] if path.startswith(PREFIX)}
    wanted = {"tokens": {"/login", "/logout", "/refresh", "/me"}, "sessions": {"/logout", "/me"}}
    assert paths == wanted.get(name, {"/login", "/logout", "/refresh", "/me"})
