"""`jetio login` and `jetio token` against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from jetio_auth.cli import add_commands
from tests.live import LiveServer, serve

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
SOURCE = """
from sqlalchemy.orm import Mapped, mapped_column

from jetio import HTMLResponse, Jetio, JetioModel, JsonResponse, Response
from jetio_auth import AuthRouter, JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


app = Jetio()
AuthRouter(User, prefix="/auth", enable=["device_login"]).register_routes(app)
answers = [HTMLResponse("a proxy's page", 502), {"status": "pending"}, {"status": "rejected"}]


@app.post("/odd/cli-login")
async def odd() -> HTMLResponse:
    return HTMLResponse("no document")


@app.post("/away/cli-login", status_code=201)
@app.post("/slow/cli-login", status_code=201)
async def begin() -> dict[str, str | int]:
    return {"code": "A\\u202e", "secret": "s", "approve_url": "https://example.com", "expires_in": 3, "interval": 1}


@app.get("/slow/cli-login/{code}")
async def pending(code: str) -> dict[str, str]:
    return {"status": "pending"}


@app.get("/away/cli-login/{code}")
async def away(code: str) -> Response:
    found = answers.pop(0)
    return found if isinstance(found, Response) else JsonResponse(found)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An application that lets programs in, with one account."""
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, source=SOURCE) as server:
        body = {"username": "ann", "password": PASSWORD}
        assert server.client.post("/auth/register", json=body).status_code == 201
        server.folder = folder  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine of its own, on which jetio is installed as pyproject.toml says; its browser tells what it opens."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands = project["entry-points"]["jetio.commands"]
    about = tmp_path / "site" / "commands-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: commands\nVersion: 1\n")
    lines = "".join(f"{name} = {place}\n" for name, place in commands.items())
    (about / "entry_points.txt").write_text(f"[jetio.commands]\n{lines}")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}",
        "BROWSER": f"{browser} %s",
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "jetio.cli", *arguments]


@contextmanager
def begun(environment: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as it waits, and the code that it shows."""
    # Tests that run in the background of a shell would hand it an interrupt that is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(
            command(*arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"Code:  (\S+)", line)
        assert found is not None, (line, process.communicate(timeout=20))
        try:
            yield process, found[1]
        finally:
            process.kill()


def person(server: LiveServer) -> dict[str, str]:
    """The credential of somebody who has just logged in."""
    body = {"username": "ann", "password": PASSWORD}
    token = server.client.post("/auth/login", json=body).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def run(environment: dict[str, str], *arguments: str) -> Any:
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=60)


def test_a_machine_is_logged_in(server: LiveServer, environment: dict[str, str], tmp_path: Path) -> None:
    """The page is opened, the token is kept for its owner alone, and shown only to whoever asks for it."""
    url = f"{server.base_url}/auth"
    with begun(environment, "login", url) as (process, code):
        assert server.client.patch(f"/auth/cli-login/{code}", headers=person(server)).status_code == 200
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output.endswith("Logged in.\n")
    assert (tmp_path / "opened").read_text().strip() == f"{url}/cli-login/approve?code={code}"
    kept = tmp_path / "config" / "jetio" / "tokens.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["tokens.json"]
    secret = json.loads(kept.read_text())[url]["token"]
    assert secret not in output
    shown = run(environment, "token", f"{url}/")
    assert shown.stdout == f"{secret}\n"
    me = server.client.get("/auth/me", headers={"Authorization": f"Bearer {secret}"})
    assert me.json()["username"] == "ann"


def test_a_login_that_is_refused(server: LiveServer, environment: dict[str, str], tmp_path: Path) -> None:
    """It is one line and status 1, no browser was opened, and there is no token."""
    url = f"{server.base_url}/auth"
    with begun(environment, "login", url, "--no-browser") as (process, code):
        assert server.client.delete(f"/auth/cli-login/{code}", headers=person(server)).status_code == 204
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "error: the login was rejected\n")
    assert not (tmp_path / "opened").exists()
    missing = run(environment, "token", url)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "run jetio login" in missing.stderr


def test_a_login_that_nobody_approves(server: LiveServer, environment: dict[str, str]) -> None:
    """When the code has expired the command ends, and says so."""
    with begun(environment, "login", f"{server.base_url}/auth", "--no-browser") as (process, code):
        folder: Path = server.folder  # type: ignore[attr-defined]
        with sqlite3.connect(folder / "jetio.db") as database:
            database.execute("UPDATE jetio_auth_users_devices SET expires = 1 WHERE code = ?", (code,))
        database.close()
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "error: The code has expired; begin again\n")


def test_a_login_that_is_interrupted(server: LiveServer, environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C ends it without a stack, and nothing is kept."""
    with begun(environment, "login", f"{server.base_url}/auth", "--no-browser") as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "\nNothing was changed.\n")
    assert not (tmp_path / "config" / "jetio").exists()


def invoked(*arguments: str) -> Any:
    """The command in this process."""
    commands = typer.Typer()
    add_commands(commands)
    return CliRunner().invoke(commands, arguments)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("odd", "the answer cannot be read"),
        ("slow", "the code has expired; begin again"),
        ("away", "the login was rejected"),
    ],
)
def test_servers_that_are_odd(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, place: str, told: str
) -> None:
    """A proxy's page is asked again, time runs out here too, and no page of another host is opened."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    refused = invoked("login", f"{server.base_url}/{place}")
    assert refused.exit_code == 1
    assert told in refused.output
    assert "\u202e" not in refused.output
    assert opened == []


def test_a_file_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where it lies, and no token is made up."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "jetio").mkdir()
    (tmp_path / "jetio" / "tokens.json").write_text("{")
    refused = invoked("token", "https://example.com")
    assert refused.exit_code == 1
    assert "tokens.json cannot be read; delete it" in refused.output


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com", "would be sent in clear"),
        ("ftp://example.com", "is no address"),
        ("https://ann:secret@example.com", "is no address"),
        ("http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_addresses_that_are_none(url: str, told: str) -> None:
    """A token is asked for over TLS, or from this machine."""
    refused = invoked("login", url, "--no-browser")
    assert refused.exit_code == 1
    assert told in refused.output
    assert isinstance(refused.exception, SystemExit)


def test_an_application_without_such_logins(server: LiveServer, environment: dict[str, str]) -> None:
    """The wrong prefix is told."""
    refused = run(environment, "login", f"{server.base_url}/elsewhere", "--no-browser")
    assert refused.stderr == "error: it has no logins for programs there (404)\n"
