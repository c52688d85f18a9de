"""Fixtures for every test: databases, a live server, a browser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests import databases, live
from tests.availability import skipped_services
from tests.browser import open_page
from tests.databases import DatabaseServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOG_LINES = 200


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of every asynchronous test."""
    return "asyncio"


@pytest.fixture(scope="session")
def database_portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, where databases are made and dropped."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def postgresql_server(database_portal: BlockingPortal) -> Iterator[DatabaseServer]:
    """The PostgreSQL that answers; a test that needs several databases of one server asks for it."""
    with databases.postgresql_server(database_portal) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(database_portal: BlockingPortal) -> Iterator[DatabaseServer]:
    """The MariaDB that answers; a test that needs several databases of one server asks for it."""
    with databases.mariadb_server(database_portal) as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: DatabaseServer) -> Iterator[str]:
    """An empty database on PostgreSQL."""
    with postgresql_server.fresh_database() as url:
        yield url


@pytest.fixture
def mariadb_url(mariadb_server: DatabaseServer) -> Iterator[str]:
    """An empty database on MariaDB."""
    with mariadb_server.fresh_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once on every server; `-k sqlite` picks one of them.

    For one database only, ask for `sqlite_url`, `postgresql_url` or `mariadb_url`.
    """
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty numbered database of the Redis server; it holds one key, `jetio-test`."""
    with databases.empty_redis() as url:
        yield url


@pytest.fixture
def live_server(tmp_path: Path) -> Iterator[Callable[..., live.LiveServer]]:
    """Start applications under uvicorn: `server = live_server("app:app", source=..., env=...)`.

    The arguments are those of `tests.live.serve`, with `tmp_path` for a folder; every call starts one
    more process, and all end with the test. `server.client` is an httpx2 client, `server.log` what was
    printed, `server.process` the process. A failing test shows the logs.
    """
    with ExitStack() as stack:

        def start(*arguments: Any, folder: Path = tmp_path, **options: Any) -> live.LiveServer:
            return stack.enter_context(live.serve(folder, *arguments, **options))

        yield start


@pytest.fixture
def chromium() -> Iterator[Page]:
    """A page of a new Chromium, to be used by its synchronous methods: `chromium.goto(...)`.

    Only plain `def` tests may ask for it. Playwright keeps an event loop of its own running in the
    thread of the test until the browser is closed, so neither an `async def` test nor `asyncio.run`
    works beside it; the application under test runs in a `live_server`, which is another process.
    """
    with open_page() as page:
        yield page


# Few tests that take long each: begun last, they would leave the other workers with nothing to do.
_LONG = (
    "tests/test_docs.py",
    "tests/openapi/test_contract.py",
    "tests/examples/",
    "tests/cli/",
    "tests/seeds/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest; a module stays together, and in its order."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what the live servers printed last."""
    report = yield
    if report.failed:
        for server in live.running:
            last_lines = "\n".join(server.log.splitlines()[-LOG_LINES:])
            report.sections.append((f"log of {server.base_url}", last_lines))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which services were missing."""
    for message, tests in skipped_services(terminalreporter.stats.get("skipped", [])).items():
        terminalreporter.write_line(f"{message} ({tests} skipped)", red=True, bold=True)
