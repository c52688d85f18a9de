"""A database for each contestant, made as a copy of one that is filled once, and dropped after the run."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg
from sqlalchemy import make_url

from benchmarks import dataset
from benchmarks.errors import BenchmarkError


class Store(Protocol):
    """Where copies of the dataset come from."""

    def copy(self, name: str) -> str:
        """Makes one more copy, for the contestant `name`; returns its SQLAlchemy URL with an async driver."""


class SQLiteStore:
    """Copies as files in one folder, which its owner removes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seed = folder / "seed.sqlite"
        asyncio.run(dataset.fill(self._url(self._seed)))

    def copy(self, name: str) -> str:
        """Copies the filled file; its connections are closed, so its write-ahead log is empty."""
        target = self._folder / f"{name}.sqlite"
        shutil.copyfile(self._seed, target)
        return self._url(target)

    @staticmethod
    def _url(path: Path) -> str:
        return f"sqlite+aiosqlite:///{path}"


class PostgreSQLStore:
    """Copies as databases of one server, named after this process so that two runs do not meet."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._made: list[str] = []
        self._seed = ""

    def fill(self) -> None:
        """Makes the database that is copied."""
        self._seed = self._create("seed")
        asyncio.run(dataset.fill(self._url(self._seed)))

    def require_room(self, connections: int) -> None:
        """Raises if the server has not so many connections to give: a contestant that gets none answers with 500."""
        free = asyncio.run(self._count_free())
        if free < connections:
            raise BenchmarkError(
                f"PostgreSQL has {free} connections to give, and the contestants open up to {connections}"
                "\n(raise max_connections, or measure fewer at a time with --contestant)"
            )

    def copy(self, name: str) -> str:
        """Copies the filled database on the server."""
        return self._url(self._create(name, template=self._seed))

    def close(self) -> None:
        """Drops every database made here, whoever is still connected."""
        while self._made:
            self._drop(self._made.pop())

    def _create(self, name: str, template: str = "template1") -> str:
        database = f"jetio_bench_{os.getpid()}_{name}"
        self._made.append(database)  # first: an interrupt may come when the server has made it
        try:
            self._drop(database)
            self._execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        except Exception:
            self._made.remove(database)
            raise
        return database

    def _drop(self, database: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _url(self, database: str) -> str:
        url = make_url(self._server).set(drivername="postgresql+asyncpg", database=database)
        return url.render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        asyncio.run(self._execute_on_server(statement))

    async def _count_free(self) -> int:
        connection = await asyncpg.connect(self._server, timeout=10)
        try:
            return int(
                await connection.fetchval(
                    "SELECT current_setting('max_connections')::int - count(*)"
                    " FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )
            )
        finally:
            await connection.close()

    async def _execute_on_server(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server, timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def open_store(database: str, folder: Path, postgresql_url: str, *, connections: int = 0) -> Iterator[Store]:
    """The store of `database`, "sqlite" or "postgresql"; databases on a server are dropped when it closes.

    Raises BenchmarkError if a server has fewer than `connections` to give.
    """
    if database == "sqlite":
        yield SQLiteStore(folder)
        return
    server = PostgreSQLStore(postgresql_url)
    try:
        _fill(server)
        server.require_room(connections)
        yield server
    finally:
        server.close()


def read_version(database: str, postgresql_url: str) -> str:
    """The version of the database that was measured."""
    if database == "sqlite":
        return sqlite3.sqlite_version
    return asyncio.run(_read_server_version(postgresql_url))


async def _read_server_version(url: str) -> str:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return str(await connection.fetchval("SHOW server_version")).partition(" ")[0]
    finally:
        await connection.close()


def _fill(server: PostgreSQLStore) -> None:
    """Fills the store, or raises an error that says how to name another server."""
    try:
        server.fill()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        hint = "name another server with --postgresql-url, or leave it out with --database sqlite"
        raise BenchmarkError(f"PostgreSQL: {error}\n({hint})") from error
