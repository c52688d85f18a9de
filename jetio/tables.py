"""Tables made at start, and a word on those that have fallen behind their models."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["create_tables", "tell_stale_tables"]

_log = logging.getLogger("jetio.database")

# Between look and CREATE another process may make the table; SQLite's BEGIN IMMEDIATE keeps others out.
# PostgreSQL's lock ends with the transaction. The number and the name only have to be the same everywhere.
_ONE_CREATOR: Mapping[str, tuple[str | None, str | None]] = {
    "postgresql": ("SELECT pg_advisory_xact_lock(7412095331)", None),
    "mysql": ("SELECT GET_LOCK('jetio_tables', 10)", "DO RELEASE_LOCK('jetio_tables')"),
    "mariadb": ("SELECT GET_LOCK('jetio_tables', 10)", "DO RELEASE_LOCK('jetio_tables')"),
}


async def create_tables(connection: AsyncConnection, metadata: MetaData) -> None:
    """Make the tables that are missing, inside the connection's transaction; one creator at a time."""
    begin, end = _ONE_CREATOR.get(connection.dialect.name, (None, None))
    if begin is not None:
        await connection.exec_driver_sql(begin)
    try:
        await connection.run_sync(metadata.create_all)
    finally:
        if end is not None:
            await connection.exec_driver_sql(end)


async def tell_stale_tables(connection: AsyncConnection, metadata: MetaData) -> None:
    """Log a warning for each table that lacks columns of its model: making tables alters none."""
    for table, missing in await connection.run_sync(lambda held: list(_stale(held, metadata))):
        _log.warning(
            "the table %s has no column %s, which its model has; write a migration, "
            "or drop the table, and it is made anew",
            table,
            ", ".join(missing),
        )


def _stale(connection: Connection, metadata: MetaData) -> Iterator[tuple[str, list[str]]]:
    look = inspect(connection)
    for schema in {table.schema for table in metadata.tables.values()}:
        found = look.get_multi_columns(schema=schema)
        for table in metadata.tables.values():
            there = found.get((schema, table.name)) if table.schema == schema else None
            if there is None:
                continue
            held = {column["name"] for column in there}
            missing = [column.name for column in table.columns if column.name not in held]
            if missing:
                yield table.fullname, missing
