"""One table and its API, for tests about the database underneath."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from sqlalchemy import Executable, bindparam, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Database, Jetio, JetioModel, Settings, UnitOfWork
from tests.registries import own_registry

SETTINGS = Settings(env="test")


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Note(Model):
    text: Mapped[str] = mapped_column(unique=True)
    copies: Mapped[int] = mapped_column(default=1)


INSERT = insert(Note).values(text=bindparam("note_text"), copies=1)
COUNT = select(func.count()).select_from(Note)
COUNT_TO = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT max(i) FROM n"


def application(database: Database, *routers: CrudRouter) -> Jetio:
    """An application of these tables; without routers, a plain one."""
    app = Jetio(database=database, metadata=Model.metadata, settings=SETTINGS)
    for router in routers or [CrudRouter(Note)]:
        router.register_routes(app)
    return app


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A database with its tables, closed at the end."""
    database = Database(url, **options)
    await database.create_tables(Model.metadata)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def talking(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that calls the application in this event loop."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def run(work: UnitOfWork, statement: Executable, **values: Any) -> list[tuple[Any, ...]]:
    """A statement of a unit of work; its rows."""
    query = work.database.query(statement)
    return query.decode(await work.run(query, values))


async def add(work: UnitOfWork, text: str) -> None:
    """Insert a note."""
    await work.run(work.database.query(INSERT), {"note_text": text})


async def count(database: Database) -> int:
    """How many notes there are, read by itself."""
    query = database.query(COUNT)
    async with database.transaction(writes=False) as work:
        number: int = query.decode(await work.run_alone(query, {}))[0][0]
    return number


async def settle(tasks: Sequence[asyncio.Task[Any]]) -> list[Any]:
    """What each task gave or raised."""
    return await asyncio.gather(*tasks, return_exceptions=True)


class Gate:
    """A function of SQL that holds its statement up until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self._open = threading.Event(), threading.Event()

    def hold(self) -> int:
        self.reached.set()
        assert self._open.wait(60)
        return 0

    def open(self) -> None:
        self._open.set()


async def until(happened: Callable[[], bool]) -> None:
    """Let the loop go on until it has."""
    while not happened():
        await asyncio.sleep(0.001)
