"""Pools of another size: connections beyond what is kept."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import text

from jetio import Database
from tests.database.notes import add, count, opened

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


async def has_others(url: str, number: int) -> None:
    """As many connections as that are left to this database, or will be in a moment."""
    looking = Database(url)
    try:
        async with asyncio.timeout(10):
            found = -1
            while found != number:
                async with looking.engine.connect() as connection:
                    found = await connection.scalar(text(NUMBER[looking.dialect.name])) or 0
                await asyncio.sleep(0.02)
    finally:
        await looking.close()


async def test_connections_beyond_the_size_are_closed(
    server_url: str, caplog: pytest.LogCaptureFixture
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
            await has_others(server_url, 1)
            assert await count(database) == 4
    assert caplog.records == []
