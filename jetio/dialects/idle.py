"""Connections of a pool that nobody uses at the moment, all of them at once."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util import greenlet_spawn
from sqlalchemy.util.queue import Empty

FAREWELL_SECONDS = 1.0
"""How long a connection may take to say farewell before it is cut off."""


def count_idle(engine: AsyncEngine) -> int:
    """How many there are; none in a pool that keeps none."""
    pool = engine.sync_engine.pool
    return pool.checkedin() if isinstance(pool, QueuePool) else 0


def cut_off_idle(engine: AsyncEngine) -> None:
    """Close them without a word; their places in the pool stay, for new ones."""
    pool: Any = engine.sync_engine.pool
    if not engine.dialect.has_terminate:  # such a driver's are pinged before they are used
        return
    for entry in (idle := _taken(pool)):
        entry.invalidate()  # outside of a greenlet nothing is waited for
    for entry in idle:
        pool._pool.put(entry, False)


async def close_idle(engine: AsyncEngine) -> None:
    """Take leave of them together; those that are silent are cut off."""
    partings = {
        asyncio.ensure_future(greenlet_spawn(entry.close)): entry for entry in _taken(engine.sync_engine.pool)
    }
    if not partings:
        return
    _, late = await asyncio.wait(partings, timeout=FAREWELL_SECONDS)
    for parting in late:
        _cut_off(partings[parting])
    if late:
        await asyncio.wait(late, timeout=FAREWELL_SECONDS)


def _taken(pool: Any) -> list[ConnectionPoolEntry]:
    """The entries of a pool that keeps connections, no longer in it."""
    taken: list[ConnectionPoolEntry] = []
    while isinstance(pool, QueuePool):
        try:
            taken.append(pool._pool.get(False))
        except Empty:
            break
    return taken


def _cut_off(entry: ConnectionPoolEntry) -> None:
    connection: Any = entry.dbapi_connection
    if hasattr(connection, "_terminate_force_close"):
        connection._terminate_force_close()
