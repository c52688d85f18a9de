"""Fixtures of the tests about the database underneath."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from tests.database.notes import Gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that every connection of SQLite knows as `held()`."""
    found, connect = Gate(), sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.create_function("held", 0, found.hold)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)
    return found
