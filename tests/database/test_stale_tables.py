"""Tables that have fallen behind their models, on every database."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, text
from starlette.testclient import TestClient

from jetio import Database
from tests.database.notes import Model, Note, application


async def test_a_table_without_a_column_of_its_model_is_told(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables are made at start and never altered: a warning names the column that an older table lacks."""
    database = Database(database_url)
    await database.create_tables(Model.metadata)
    assert isinstance(Note.__table__, Table)
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE notes DROP COLUMN copies"))
    await database.close()
    with caplog.at_level(logging.WARNING, "jetio.database"), TestClient(application(Database(database_url))):
        pass
    (told,) = [record.getMessage() for record in caplog.records if record.name == "jetio.database"]
    assert told.startswith("the table notes has no column copies, which its model has; write a migration")


def test_tables_of_today_are_not_told(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where tables and models agree nothing is said, at the first start and the next."""
    for _ in range(2):
        with (
            caplog.at_level(logging.WARNING, "jetio.database"),
            TestClient(application(Database(sqlite_url))),
        ):
            pass
    assert not [record for record in caplog.records if record.name == "jetio.database"]


async def test_tables_of_several_schemas_are_told_each_by_its_own(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A table is compared with the one of its own schema, and a warning says which it is."""
    held, wanted = MetaData(), MetaData()
    Table("towns", held, Column("id", Integer, primary_key=True))
    Table("roads", held, Column("id", Integer, primary_key=True), schema="main")
    Table("towns", wanted, Column("id", Integer, primary_key=True))
    columns = (Column("id", Integer, primary_key=True), Column("length", Integer))
    Table("roads", wanted, *columns, schema="main")
    Table("rivers", wanted, Column("id", Integer, primary_key=True))
    database = Database(sqlite_url)
    await database.create_tables(held)
    with caplog.at_level(logging.WARNING, "jetio.database"):
        await database.tell_stale_tables(wanted)
    await database.close()
    (told,) = [record.getMessage() for record in caplog.records if record.name == "jetio.database"]
    assert told.startswith("the table main.roads has no column length")
