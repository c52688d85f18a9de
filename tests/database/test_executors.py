"""Who asks for what only SQLAlchemy does gets it: the statements of routers go through its sessions then."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import event, text

from jetio import CrudRouter, Database, public, rows
from tests.database.notes import Note, application, opened, talking


def ways(database: Database) -> set[tuple[str, tuple[str, ...]]]:
    app = application(database)
    app.build()
    found: list[Any] = [endpoint for _, endpoint in app.endpoints]
    return {(endpoint.way.executor, endpoint.way.reasons) for endpoint in found}


async def listed(database: Database, *routers: CrudRouter) -> Any:
    async with talking(application(database, *routers)) as client:
        made = await client.post("/notes", json={"text": "one"})
        assert made.status_code == 201
        return (await client.get("/notes")).json()


async def test_echo_shows_the_statements_of_routers(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`echo=True` logs what a list and a create send."""
    async with opened(database_url, echo=True) as database:
        assert ways(database) == {("session", ("echo=True",))}
        with caplog.at_level(logging.INFO, logger="sqlalchemy.engine.Engine"):
            assert [note["text"] for note in await listed(database)] == ["one"]
    told = caplog.text
    assert "INSERT INTO note" in told
    assert "SELECT note" in told


async def test_listeners_of_the_engine_hear_the_statements_of_routers(database_url: str) -> None:
    """Tools that trace statements listen for `before_cursor_execute`; they hear those of routers, too."""
    heard: list[str] = []
    async with opened(database_url) as database:

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            heard.append(statement)

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        assert ways(database) == {("session", ("listener on before_cursor_execute",))}
        await listed(database)
    assert any(statement.startswith("INSERT INTO note") for statement in heard)
    assert any(statement.startswith("SELECT note") for statement in heard)


async def test_a_level_of_isolation_holds_for_routers(database_url: str) -> None:
    """With `isolation_level="SERIALIZABLE"` the transactions of routers are serializable."""
    level = {
        "postgresql": "current_setting('transaction_isolation') = 'serializable'",
        "mysql": "@@tx_isolation = 'SERIALIZABLE'",
        "sqlite": "1 = 1",
    }
    async with opened(database_url, isolation_level="SERIALIZABLE") as database:
        serializable: Any = text(level[database.dialect.name])
        router = CrudRouter(Note, policy={"*": public(), "list": rows(lambda access: serializable)})
        assert [note["text"] for note in await listed(database, router)] == ["one"]


async def test_a_logger_that_is_set_to_info_is_told(database_url: str) -> None:
    """Whoever raises the level of `sqlalchemy.engine` sees the statements of routers."""
    logger = logging.getLogger("sqlalchemy.engine")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        async with opened(database_url) as database:
            assert ways(database) == {("session", ("sqlalchemy.engine logs statements",))}
    finally:
        logger.setLevel(before)


async def test_nothing_said_is_the_driver(database_url: str) -> None:
    """Without any of that the driver runs the statements, wherever there is one."""
    async with opened(database_url) as database:
        expected = {"driver"} if database.driver is not None else {"session"}
        assert {executor for executor, _ in ways(database)} == expected
