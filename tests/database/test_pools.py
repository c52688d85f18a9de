"""Pools of another size: connections beyond what is kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Integer, column, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool, PoolResetState

from jetio import Database
from tests.database.notes import COUNT, add, application, count, opened, talking

NUMBER = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database() "
    "AND id <> connection_id()",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each server."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def looking(server_url: str) -> AsyncIterator[Database]:
    """Somebody else's one connection to the same database."""
    async with opened(server_url, pool_size=1) as database:
        await others(database)
        yield database


async def others(database: Database) -> int:
    """How many connections there are beside the one that asks."""
    query = database.query(text(NUMBER[database.dialect.name]).columns(column("number", Integer)))
    rows = query.decode(await database.unit_of_work().run_alone(query, {}))
    return int(rows[0][0])


async def has_others(looking: Database, number: int) -> None:
    """As many connections as that are left to this database, or will be in a moment."""
    async with asyncio.timeout(10):
        while await others(looking) != number:
            await asyncio.sleep(0.02)


async def test_connections_beyond_the_size_are_closed(
    server_url: str, looking: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """`max_overflow` opens more when they are needed; when they come back one is kept, silently."""
    with caplog.at_level(logging.WARNING):
        async with opened(server_url, pool_size=1, max_overflow=3) as database:
            works = [database.unit_of_work() for _ in range(4)]
            for number, work in enumerate(works):
                await add(work, f"note {number}")
            pool: Any = database.engine.sync_engine.pool
            assert pool.checkedout() == 4
            for work in works:
                await work.commit()
            assert (pool.checkedout(), pool.checkedin(), pool.overflow()) == (0, 1, 0)
            await has_others(looking, 1)
            assert await count(database) == 4
    assert caplog.records == []


async def test_the_limit_holds_however_often_more_are_needed(
    server_url: str, looking: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Again and again twelve statements at once have five connections; then one is left, after `close` none."""
    database = Database(server_url, pool_size=1, max_overflow=4)
    for _ in range(4):
        found = await asyncio.gather(*(others(database) for _ in range(12)))
        assert max(found) <= 4 + 1  # of `looking`
        await has_others(looking, 1)
        assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await database.close()
    await has_others(looking, 0)
    assert caplog.records == []


async def test_who_is_cancelled_as_it_is_handed_one_too_many_loses_none(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two connections one is idle, the other just handed to a request that is cancelled: both serve again."""
    async with opened(server_url, pool_size=1, max_overflow=1) as database:
        lender: Any = database.driver._lender
        pool: Any = database.engine.sync_engine.pool
        first, second = await lender.borrow(), await lender.borrow()
        waiting = asyncio.create_task(count(database))
        await asyncio.sleep(0)
        await first.part()  # to the one that waits
        await second.part()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (pool.checkedout(), pool.checkedin()) == (0, 1)
        for line in [await lender.borrow(), await lender.borrow()]:
            await line.part()
    assert caplog.records == []


async def test_a_closed_connection_is_let_go(server_url: str) -> None:
    """What stood for a connection in the pool goes with it, without a collector."""
    async with opened(server_url, pool_size=1, max_overflow=1) as database:
        lender: Any = database.driver._lender
        lines = [await lender.borrow(), await lender.borrow()]
        entries = [weakref.ref(line._lender) for line in lines]
        gc.collect()
        gc.disable()
        try:
            while lines:
                await lines.pop(0).part()
            assert [entry() is None for entry in entries] == [False, True]
        finally:
            gc.enable()


@pytest.mark.parametrize("poolclass", [NullPool, AsyncAdaptedQueuePool])
async def test_another_kind_of_pool_serves_all_statements(
    server_url: str, looking: Database, poolclass: type[Pool], caplog: pytest.LogCaptureFixture
) -> None:
    """`Database(poolclass=...)`: requests and sessions use it, and no connection is left after `close`."""
    async with opened(server_url, poolclass=poolclass) as database:
        async with talking(application(database)) as client:
            made = await asyncio.gather(*(client.post("/notes", json={"text": f"{n}"}) for n in range(8)))
            assert [answer.status_code for answer in made] == [201] * 8
            assert len((await client.get("/notes")).json()) == 8
            assert (await client.get("/notes/0")).status_code == 404
        async with database.sessions() as session:
            assert await session.scalar(COUNT) == 8
        assert database.driver is not None
        if poolclass is NullPool:
            await has_others(looking, 0)
    await has_others(looking, 0)
    assert caplog.records == []


async def test_sqlite_opens_one_for_each_session_where_that_is_said(sqlite_url: str) -> None:
    """`poolclass=NullPool` works there too."""
    async with opened(sqlite_url, poolclass=NullPool) as database:
        async with database.sessions() as session:
            assert await session.scalar(COUNT) == 0
        assert await count(database) == 0


async def test_a_pool_of_the_developers_own_is_taken_as_it_is(postgresql_url: str) -> None:
    """`Database(pool=...)` gets none of the options that make a pool."""
    made = create_async_engine(postgresql_url, poolclass=NullPool)
    async with opened(postgresql_url, pool=made.pool) as database:
        assert database.engine.pool is made.pool
        assert await count(database) == 0


async def test_a_listener_may_ask_the_server_when_a_connection_comes_back(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Statements of its own at every reset, as SQLAlchemy describes them, work with statements of routers."""
    heard: list[bool] = []

    def discard(connection: Any, _entry: Any, state: PoolResetState) -> None:
        heard.append(state.asyncio_safe)
        if not state.terminate_only:
            connection.cursor().execute("SELECT 1")

    async with opened(postgresql_url, pool_size=1) as database:
        event.listen(database.engine.sync_engine, "reset", discard)
        for _ in range(3):
            assert await count(database) == 0
    assert heard[:3] == [True] * 3
    assert caplog.records == []
