"""Whoever waits for the database waits alone: others are answered meanwhile, as the order of events shows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, insert, update

from jetio import Access, AllowWhere, CrudRouter, Database, Decision, policy, public
from jetio.policy import ALLOW
from tests.database.notes import Gate, Note, application, opened, talking, until


@policy
async def held(access: Access) -> Decision:
    """Rows are shown, and changed, to whoever says `x-slow` as soon as the gate is open."""
    return AllowWhere(func.held() == 0) if "x-slow" in access.request.headers else ALLOW


@asynccontextmanager
async def notes(url: str, rule: Any) -> AsyncIterator[tuple[Database, httpx2.AsyncClient]]:
    """Two notes, and a client in this event loop."""
    async with opened(url) as database:
        async with database.sessions() as session:
            await session.execute(insert(Note), [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}])
            await session.commit()
        async with talking(application(database, CrudRouter(Note, policy={"*": rule}))) as client:
            yield database, client


def started(request: Coroutine[Any, Any, httpx2.Response]) -> asyncio.Task[httpx2.Response]:
    return asyncio.ensure_future(request)


SLOW = {"x-slow": "yes"}


@pytest.mark.parametrize("path", ["/notes", "/notes/1"])
async def test_a_slow_read_holds_nobody_up(sqlite_url: str, gate: Gate, path: str) -> None:
    """While one read lasts, lists, rows and writes are answered; then it is answered, too."""
    async with notes(sqlite_url, held) as (_, client):
        slow = started(client.get(path, headers=SLOW))
        await until(gate.reached.is_set)
        answers = await asyncio.gather(*(client.get(f"/notes/{number % 2 + 1}") for number in range(8)))
        answers += [
            await client.get("/notes"),
            await client.patch("/notes/2", json={"text": "changed"}),
            await client.delete("/notes/2"),
        ]
        assert {answer.status_code for answer in answers} == {200, 204}
        assert (await client.post("/notes", json={"text": "new"})).status_code == 201
        assert not slow.done()
        gate.open()
        assert (await slow).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_slow_write_holds_no_read_up(sqlite_url: str, gate: Gate, method: str) -> None:
    """While one write lasts, reads are answered with the rows as they were; the next writes come after it."""
    async with notes(sqlite_url, held) as (_, client):
        ended: list[str] = []

        async def write(name: str, *arguments: Any, **options: Any) -> int:
            answer = await client.request(*arguments, **options)
            ended.append(name)
            return answer.status_code

        body = {"json": {"text": "changed"}} if method == "PATCH" else {}
        slow = asyncio.ensure_future(write("slow", method, "/notes/1", headers=SLOW, **body))
        await until(gate.reached.is_set)
        others = [
            asyncio.ensure_future(write("other", "POST", "/notes", json={"text": f"n{number}"}))
            for number in range(3)
        ]
        reads = [await client.get(path) for path in ("/notes", "/notes/1", "/notes/2", "/notes?count=exact")]
        assert [answer.status_code for answer in reads] == [200] * 4
        assert reads[1].json()["text"] == "one"
        assert ended == []
        gate.open()
        assert await slow in (200, 204)
        assert await asyncio.gather(*others) == [201] * 3
        assert ended[0] == "slow"


async def test_a_lock_that_others_hold_is_waited_for_in_the_loop(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that finds the file locked asks again and again: no thread stays in SQLite until the lock is free."""
    asked: list[str] = []
    connect = sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)
    async with notes(sqlite_url, public()) as (database, client):
        holder = connect(str(database.dialect.url.database), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        asked.clear()
        writes = [started(client.post("/notes", json={"text": f"n{number}"})) for number in range(3)]
        await until(lambda: sum(text.startswith("INSERT") for text in asked) >= 6)
        assert (await client.get("/notes/1")).status_code == 200
        assert not any(task.done() for task in writes)
        holder.execute("ROLLBACK")
        holder.close()
        assert [answer.status_code for answer in await asyncio.gather(*writes)] == [201] * 3


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
async def test_a_locked_row_holds_nobody_else_up(request: pytest.FixtureRequest, server: str) -> None:
    """A change waits for the row that another transaction has changed; other rows are read, written and changed."""
    async with notes(request.getfixturevalue(f"{server}_url"), public()) as (database, client):
        async with database.sessions() as session:
            await session.execute(update(Note).where(Note.id == 1).values(copies=5))
            waiting = [started(client.patch("/notes/1", json={"copies": n})) for n in (7, 7, 7)]
            answers = [
                await client.get("/notes"),
                await client.get("/notes/1"),
                await client.patch("/notes/2", json={"copies": 3}),
                await client.delete("/notes/2"),
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 204]
            assert answers[1].json()["copies"] == 1
            assert not any(task.done() for task in waiting)
            await session.commit()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 3
        assert (await client.get("/notes/1")).json()["copies"] == 7
