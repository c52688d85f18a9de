"""Tables that have fallen behind their models, on every database."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Table, text
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
