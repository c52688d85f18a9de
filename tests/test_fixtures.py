"""The fixtures of the suite do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import redis
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Page
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.databases import DatabaseServer
from tests.live import LiveServer

HELLO = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import os

async def hello(request):
    return PlainTextResponse(os.environ["GREETING"])

app = Starlette(routes=[Route("/", hello)])
"""


@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_gets_an_empty_database(database_url: str, attempt: int) -> None:
    """The table of the first attempt does not exist for the second."""
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE things (name VARCHAR(20) PRIMARY KEY)"))
        await connection.execute(
            text("INSERT INTO things VALUES ('caf\u00e9 \U0001f600'), ('tea \U0001f600')")
        )
        names = set(await connection.scalars(text("SELECT name FROM things")))
    await engine.dispose()
    assert names == {"café 😀", "tea 😀"}


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_forgotten_transaction_does_not_hold_up_the_drop(
    request: pytest.FixtureRequest, database_portal: BlockingPortal, kind: str
) -> None:
    """Whoever is still connected when a test ends is disconnected."""
    server: DatabaseServer = request.getfixturevalue(f"{kind}_server")
    with server.fresh_database() as url:
        engine = create_async_engine(url)
        connection = database_portal.call(engine.connect().start)
        database_portal.call(connection.execute, text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
        database_portal.call(connection.execute, text("SELECT * FROM things"))
    with pytest.raises(DBAPIError):
        database_portal.call(connection.execute, text("SELECT 1"))
    database_portal.call(connection.invalidate)
    database_portal.call(connection.close)
    database_portal.call(engine.dispose)


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_gets_an_empty_redis(redis_url: str, attempt: int) -> None:
    """What the first attempt wrote is gone for the second."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == [b"jetio-test"]
        client.set("more", attempt)


def test_a_live_server_answers(live_server: Callable[..., LiveServer]) -> None:
    """It serves the application it was given, in the environment it was given, and logs."""
    server = live_server("hello:app", source=HELLO, env={"GREETING": "good morning"})
    assert server.client.get("/").text == "good morning"
    assert '"GET / HTTP/1.1" 200' in server.log
    assert server.stop() in (0, -15)


def test_live_servers_run_beside_each_other(live_server: Callable[..., LiveServer]) -> None:
    """Two processes, two ports; a killed one refuses connections."""
    first = live_server("hello:app", source=HELLO, env={"GREETING": "one"})
    second = live_server("hello:app", env={"GREETING": "two"})
    assert [server.client.get("/").text for server in (first, second)] == ["one", "two"]
    first.kill()
    with pytest.raises(httpx2.ConnectError):
        first.client.get("/")


def test_a_server_that_cannot_start_shows_its_log(live_server: Callable[..., LiveServer]) -> None:
    """The error carries what the process printed."""
    with pytest.raises(RuntimeError, match="no luck today"):
        live_server("broken:app", source="raise SystemExit('no luck today')")


def test_a_browser_shows_a_page(live_server: Callable[..., LiveServer], chromium: Page) -> None:
    """Chromium reads what the live server sends."""
    server = live_server("hello:app", source=HELLO, env={"GREETING": "good evening"})
    chromium.goto(server.base_url)
    assert chromium.inner_text("body") == "good evening"


def run_pytest(folder: Path, source: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one test file with the fixtures of this suite, in a process of its own."""
    root = Path(__file__).parent.parent
    (folder / "test_inner.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", str(folder)]
    environment = {"PATH": "/usr/bin:/bin", **env}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)


NEEDS_MARIADB = "def test_needs_mariadb(mariadb_url): pass"
NOWHERE = "mysql+asyncmy://root@127.0.0.1:9"


def test_a_missing_server_is_skipped_loudly(tmp_path: Path) -> None:
    """The summary names what was not tested and why."""
    run = run_pytest(tmp_path, NEEDS_MARIADB, JETIO_TEST_MARIADB=NOWHERE)
    assert run.returncode == 0, run.stdout
    assert "NOT TESTED: mariadb: no server for mysql+asyncmy://root@127.0.0.1:9" in run.stdout
    assert "(1 skipped)" in run.stdout


def test_a_missing_server_that_is_required_fails(tmp_path: Path) -> None:
    """JETIO_TEST_REQUIRE turns the skip into a failure."""
    run = run_pytest(tmp_path, NEEDS_MARIADB, JETIO_TEST_MARIADB=NOWHERE, JETIO_TEST_REQUIRE="redis,mariadb")
    assert run.returncode == 1, run.stdout
    assert "mariadb is required by JETIO_TEST_REQUIRE" in run.stdout


def test_a_failure_shows_the_log_of_its_server(tmp_path: Path) -> None:
    """What the live server printed stands in the report of the test that failed."""
    source = f"HELLO = {HELLO!r}\ndef test_it(live_server):\n    live_server(source=HELLO)\n    assert 0"
    run = run_pytest(tmp_path, source)
    assert run.returncode == 1, run.stdout
    assert "log of http://127.0.0.1:" in run.stdout
    assert "Application startup complete" in run.stdout
