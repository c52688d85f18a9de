"""Event loops, processes and kills: what is true beyond one request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import inspect, text

from jetio import ConfigError, Database
from jetio.dialects import ConnectionLost, dialect_for
from tests.database.notes import Model, add, count
from tests.live import LiveServer

SERVED = """
import asyncio
import os

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from jetio import Base, CrudRouter, Jetio, JetioModel, engine


class Note(JetioModel):
    text: Mapped[str] = mapped_column(unique=True)


app = Jetio()
CrudRouter(Note).register_routes(app)


@app.get("/sessions")
async def sessions(session: AsyncSession) -> int:
    return len((await session.scalars(select(Note))).all())


async def init_db() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        if await session.scalar(select(Note).where(Note.text == "first")) is None:
            session.add(Note(text="first"))
            await session.commit()


if os.environ.get("INIT"):
    asyncio.run(init_db())
"""


def test_tables_made_in_another_loop_before_serving(
    live_server: Callable[..., LiveServer], database_url: str
) -> None:
    """`asyncio.run(init_db())` before the server starts leaves connections that nobody stumbles over."""
    server = live_server(source=SERVED, env={"DATABASE_URL": database_url, "INIT": "1", "JETIO_ENV": "test"})
    assert [row["text"] for row in server.client.get("/notes").json()] == ["first"]
    assert server.client.get("/sessions").json() == 1
    assert server.client.post("/notes", json={"text": "second"}).status_code == 201
    assert server.stop() == -signal.SIGTERM  # uvicorn ends itself as it was asked to
    assert "Traceback" not in server.log
    assert "Warning" not in server.log


def test_an_acknowledged_row_survives_a_kill(live_server: Callable[..., LiveServer], sqlite_url: str) -> None:
    """What was answered with 201 is there after `kill -9`, whoever else was writing."""
    env = {"DATABASE_URL": sqlite_url, "JETIO_ENV": "test"}
    server = live_server(source=SERVED, env=env)
    acknowledged = set()
    for number in range(30):
        assert server.client.post("/notes", json={"text": f"{number}"}).status_code == 201
        acknowledged.add(f"{number}")
    server.kill()
    again = live_server(source=SERVED, env=env)
    assert {row["text"] for row in again.client.get("/notes").json()} == acknowledged
    assert again.client.post("/notes", json={"text": "after"}).status_code == 201


async def test_many_make_the_tables_at_once(database_url: str) -> None:
    """Processes that start together make each table once, and none fails."""
    databases = [Database(database_url) for _ in range(6)]
    await asyncio.gather(*(database.create_tables(Model.metadata) for database in databases))
    async with databases[0].engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert tables == ["notes"]
    for database in databases:
        await database.close()


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
def test_one_loop_after_the_other(database_url: str, fast_path: bool) -> None:
    """A database that was used in one event loop is started in the next, and closed there."""
    database = Database(database_url, fast_path=fast_path)

    async def first() -> None:
        await database.create_tables(Model.metadata)
        await write("first")
        await database.close()

    async def second() -> None:
        await database.start()
        await write("second")
        assert await count(database) == 2
        await database.close()

    async def write(note: str) -> None:
        async with database.transaction() as work:
            await add(work, note)

    asyncio.run(first())
    asyncio.run(second())


async def test_a_failure_to_make_tables_is_told(postgresql_url: str) -> None:
    """A server without that database is a clear error, and no table is made by halves."""
    database = Database(postgresql_url.rpartition("/")[0] + "/jetio_no_such_database")
    with pytest.raises(ConnectionLost, match="no connection") as told:
        await database.create_tables(Model.metadata)
    assert "does not exist" in str(told.value.__cause__)
    await database.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "cannot be read"),
        ("sqlite:///x.db?", None),
        ("oracle://u:p@host/db", "no support for the database 'oracle'"),
        ("sqlite+pysqlite:///x.db", r"write sqlite\+aiosqlite"),
        ("postgresql+psycopg2://host/db", r"write postgresql\+asyncpg"),
        ("mysql+pymysql://host/db", r"write mysql\+asyncmy"),
        ("postgres://host/db", None),
        ("postgresql+psycopg://host/db", None),
        ("mariadb://host/db", None),
        ("mysql+aiomysql://host/db", None),
    ],
)
def test_urls_that_cannot_work_are_told(url: str, message: str | None) -> None:
    """A URL of another database or of a synchronous driver is a mistake that names what to write."""
    if message is None:
        drivers = {
            "sqlite+aiosqlite",
            "postgresql+asyncpg",
            "postgresql+psycopg",
            "mariadb+asyncmy",
            "mysql+aiomysql",
        }
        assert dialect_for(url).url.drivername in drivers
    else:
        with pytest.raises(ConfigError, match=message):
            Database(url)


def test_a_database_shows_no_password() -> None:
    """The representation of a database can be logged."""
    shown = repr(Database("postgresql://user:hunter2@host/name"))
    assert "hunter2" not in shown
    assert "user:***@host/name" in shown


async def test_options_join_those_of_the_dialect(postgresql_url: str) -> None:
    """What an application says about connections joins what the dialect needs, and wins over it."""
    options: dict[str, Any] = {
        "pool_size": 3,
        "connect_args": {"server_settings": {"application_name": "me"}},
    }
    database = Database(postgresql_url, **options)
    assert database.engine.pool.size() == 3  # type: ignore[attr-defined]
    async with database.sessions() as session:
        assert await session.scalar(text("SHOW application_name")) == "me"
    await database.close()
