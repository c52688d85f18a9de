"""SQLite's writer: single statements and transactions in the order of their coming, none between another's."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from jetio import Database
from jetio.dialects import ConnectionLost, ConstraintViolated, sqlite_turns
from tests.database.notes import COUNT_TO, INSERT, Model, Note, add, count, opened, settle

SLOW = "INSERT INTO notes (text, copies) SELECT 'slow', i FROM ({}) AS counted"
TAKEN = "taken"


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with opened(sqlite_url) as database:
        yield database


async def single(database: Database, note: str) -> None:
    """Write a note by a statement that is its own transaction."""
    work = database.unit_of_work()
    await work.run_alone(database.query(INSERT), {"note_text": note}, writes=True)


async def slow(database: Database, steps: int) -> None:
    """A single write that keeps the thread for a while."""
    table = COUNT_TO.replace("max(i)", "max(i) AS i").format(steps)
    work = database.unit_of_work()
    await work.run_alone(database.query(text(SLOW.format(table))), {}, writes=True)


async def pair(database: Database, note: str, *, fails: bool = False) -> None:
    """Write two notes in one transaction, which does not last when it fails."""
    async with database.transaction() as work:
        await add(work, f"{note}/1")
        await asyncio.sleep(0)
        await add(work, TAKEN if fails else f"{note}/2")


async def notes(database: Database) -> list[str]:
    """All notes, in the order in which they were written."""
    query = database.query(select(Note.text).order_by(Note.id))
    return [row[0] for row in query.decode(await database.unit_of_work().run_alone(query, {}))]


def path_of(database: Database) -> str:
    return str(database.dialect.url.database)


# ---- the order -------------------------------------------------------------------------------------------


async def test_single_writes_wait_for_a_transaction_and_come_in_order(database: Database) -> None:
    """What comes while a transaction is open is written after it, who came first before who came later."""
    holder = database.unit_of_work()
    await add(holder, "first")
    tasks = [
        asyncio.create_task(single(database, "a")),
        asyncio.create_task(single(database, "b")),
        asyncio.create_task(pair(database, "c")),
        asyncio.create_task(single(database, "d")),
    ]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks)
    await add(holder, "second")
    await holder.commit()
    await asyncio.gather(*tasks)
    assert await notes(database) == ["first", "second", "a", "b", "c/1", "c/2", "d"]


async def test_a_transaction_comes_after_the_single_writes_before_it(database: Database) -> None:
    """A transaction does not overtake statements that are on their way, nor do later ones overtake it."""
    tasks = [asyncio.create_task(single(database, f"s{number}")) for number in range(5)]
    tasks += [asyncio.create_task(pair(database, "t")), asyncio.create_task(single(database, "last"))]
    await asyncio.gather(*tasks)
    assert await notes(database) == [*(f"s{number}" for number in range(5)), "t/1", "t/2", "last"]


async def test_neither_kind_of_write_starves_the_other(database: Database) -> None:
    """Under a stream of single writes a transaction gets its turn, and the other way round."""
    ended = asyncio.Event()

    async def stream(write: Any, name: str) -> None:
        number = 0
        while not ended.is_set():
            await write(database, f"{name}{number}")
            number += 1

    for write, other in ((single, pair), (pair, single)):
        ended.clear()
        tasks = [asyncio.create_task(stream(write, f"{write.__name__}{n}/")) for n in range(8)]
        await asyncio.sleep(0.01)
        for number in range(5):
            await asyncio.wait_for(other(database, f"{other.__name__}-{number}"), 10)
        ended.set()
        await asyncio.gather(*tasks)


async def test_a_refused_single_write_disturbs_no_other(database: Database) -> None:
    """Of statements that go to the thread together, one that is refused takes nothing else with it."""
    writes = [single(database, note) for note in ("a", "a", "b", "a", "c")]
    ends = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [ConstraintViolated, ConstraintViolated]
    assert await notes(database) == ["a", "b", "c"]


# ---- those who go away -----------------------------------------------------------------------------------


async def test_a_write_that_is_cancelled_in_the_line_is_not_done(database: Database) -> None:
    """Who goes away while a transaction is open writes nothing; the others in the line do."""
    holder = database.unit_of_work()
    await add(holder, "holder")
    tasks = [asyncio.create_task(single(database, f"s{number}")) for number in range(6)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await settle(tasks[::2])
    await holder.commit()
    await asyncio.gather(*tasks[1::2])
    assert await notes(database) == ["holder", "s1", "s3", "s5"]


async def test_a_write_that_is_cancelled_behind_another_is_not_done(database: Database) -> None:
    """A statement that the thread has not begun when its request goes away is never begun."""
    first = asyncio.create_task(slow(database, 400_000))
    tasks = [asyncio.create_task(single(database, f"s{number}")) for number in range(4)]
    await asyncio.sleep(0.01)
    for task in tasks[:3]:
        task.cancel()
    await asyncio.gather(first, tasks[3])
    assert await notes(database) == ["slow", "s3"]


async def test_a_turn_that_comes_together_with_the_cancellation_is_passed_on(database: Database) -> None:
    """Who is cancelled at the moment in which the writer comes free does not keep it."""
    holder = await database.driver.begin(writes=True)
    waiter = asyncio.create_task(database.driver.begin(writes=True))
    await asyncio.sleep(0)
    await holder.rollback()
    waiter.cancel()
    await settle([waiter])
    await asyncio.wait_for(pair(database, "next"), 10)
    assert await notes(database) == ["next/1", "next/2"]


# ---- those who wait too long -----------------------------------------------------------------------------


async def test_who_waits_too_long_for_a_transaction_writes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single writes and transactions whose turn does not come in time are told so, and are not done later."""
    monkeypatch.setattr(sqlite_turns, "WAIT_SECONDS", 0.05)
    holder = database.unit_of_work()
    await add(holder, "holder")
    ends = await settle(
        [asyncio.create_task(single(database, "late")), asyncio.create_task(pair(database, "late"))]
    )
    assert [str(end) for end in ends] == ["no thread of the database came free in time"] * 2
    assert all(isinstance(end, ConnectionLost) for end in ends)
    await holder.commit()
    await single(database, "next")
    assert await notes(database) == ["holder", "next"]


async def test_who_waits_too_long_behind_a_single_write_writes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement that the thread is at goes on to its end; those behind it are told, and not done later."""
    monkeypatch.setattr(sqlite_turns, "WAIT_SECONDS", 0.05)
    first = asyncio.create_task(slow(database, 3_000_000))
    await asyncio.sleep(0.01)
    for number in range(2):
        with pytest.raises(ConnectionLost, match="came free in time"):
            await single(database, f"late{number}")
    assert not first.done()
    await first
    await single(database, "next")
    assert await notes(database) == ["slow", "next"]


# ---- a lock that somebody else holds ---------------------------------------------------------------------


async def test_nobody_overtakes_who_found_the_database_locked(database: Database) -> None:
    """While the first in turn waits for another process, later writes stay behind it."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(single(database, "first"))
    await asyncio.sleep(0.05)
    later = [
        asyncio.create_task(single(database, "second")),
        asyncio.create_task(pair(database, "third")),
        asyncio.create_task(single(database, "fourth")),
    ]
    await asyncio.sleep(0.02)
    other.execute("COMMIT")
    other.close()
    await asyncio.gather(first, *later)
    assert await notes(database) == ["first", "second", "third/1", "third/2", "fourth"]


async def test_all_who_found_the_database_locked_come_before_a_transaction(database: Database) -> None:
    """Statements that were refused together are tried again one after the other, before who came later."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tasks = [asyncio.create_task(single(database, f"s{number}")) for number in range(3)]
    await asyncio.sleep(0.05)
    tasks.append(asyncio.create_task(pair(database, "t")))
    await asyncio.sleep(0.02)
    tasks[1].cancel()
    other.execute("COMMIT")
    other.close()
    await settle(tasks)
    assert await notes(database) == ["s0", "s2", "t/1", "t/2"]


async def test_a_refusal_other_than_the_lock_is_told_at_once(database: Database) -> None:
    """An operational error that waiting does not mend is raised, and the writer goes on."""
    missing = database.query(text("INSERT INTO nowhere (a) VALUES (1)"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await database.driver.run_alone(missing, {}, writes=True)
    await single(database, "next")
    assert await count(database) == 1


async def test_who_found_the_database_locked_comes_before_who_waited_for_a_turn(database: Database) -> None:
    """A transaction that began meanwhile may pass the refused ones, and nobody after it does."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tasks = [asyncio.create_task(single(database, f"s{number}")) for number in range(3)]
    tasks += [asyncio.create_task(pair(database, "t")), asyncio.create_task(single(database, "last"))]
    await asyncio.sleep(0.05)
    other.execute("COMMIT")
    other.close()
    await asyncio.gather(*tasks)
    assert await notes(database) == ["t/1", "t/2", "s0", "s1", "s2", "last"]


async def test_a_write_that_is_called_a_read_waits_for_the_lock_as_well(database: Database) -> None:
    """Whatever meets the lock of another process waits for it, on every thread."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    work, insert = database.unit_of_work(writes=False), database.query(INSERT)
    writing = asyncio.create_task(work.run_alone(insert, {"note_text": "a"}))
    await asyncio.sleep(0.05)
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing
    assert await notes(database) == ["a"]


# ---- all of it together ----------------------------------------------------------------------------------


@dataclass
class Scene:
    """Writes that were begun in an order, and what each of them came to."""

    database: Database
    begun: list[tuple[list[str], asyncio.Task[None]]] = field(default_factory=list)

    def begin(self, kind: str) -> None:
        name = f"{kind}{len(self.begun)}"
        if kind == "single":
            rows, write = [name], single(self.database, name)
        elif kind == "refused":
            rows, write = [], single(self.database, TAKEN)
        elif kind == "undone":
            rows, write = [], pair(self.database, name, fails=True)
        else:
            rows, write = [f"{name}/1", f"{name}/2"], pair(self.database, name)
        self.begun.append((rows, asyncio.create_task(write)))

    async def end(self) -> tuple[list[str], set[str]]:
        """The rows that must be there, in order, and those of cancelled writes, which may be."""
        must: list[str] = [TAKEN]
        may: set[str] = set()
        for rows, task in self.begun:
            [end] = await settle([task])
            if isinstance(end, asyncio.CancelledError):
                may.update(rows)
            elif rows:
                assert end is None
                must += rows
            else:
                assert isinstance(end, ConstraintViolated)
        return must, may


KINDS = st.sampled_from(["single", "single", "single", "refused", "pair", "undone"])
STEPS = st.lists(
    st.one_of(KINDS, st.tuples(st.just("cancel"), st.integers(0, 30)), st.integers(0, 3)), max_size=40
)


@pytest.fixture(scope="module")
def kept() -> Iterator[Database]:
    """One database for all examples: each has an event loop of its own, and takes over what the last one left."""
    database = Database("sqlite://")

    async def prepare() -> None:
        await database.create_tables(Model.metadata)
        await database.engine.dispose()

    asyncio.run(prepare())
    yield database
    asyncio.run(database.close())


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, leaves=st.booleans())
def test_writes_are_as_if_made_one_after_the_other(kept: Database, steps: list[Any], leaves: bool) -> None:
    """Whatever comes, fails or goes away when: each write is whole or absent, in the order of coming."""
    database = kept

    async def play() -> None:
        async with database.transaction() as work:
            await work.run(database.query(text("DELETE FROM notes")), {})
            await add(work, TAKEN)
        scene = Scene(database)
        for step in steps:
            if isinstance(step, str):
                scene.begin(step)
            elif isinstance(step, tuple):
                _ = scene.begun and scene.begun[step[1] % len(scene.begun)][1].cancel()
            else:
                await asyncio.sleep(0.0005 if step == 3 else 0)
        must, may = await scene.end()
        found = await notes(database)
        assert [note for note in found if note not in may] == must
        for first in (note for note in may & set(found) if note.endswith("/1")):
            assert found[found.index(first) + 1] == f"{first[:-1]}2"
        if leaves:  # in the middle of a transaction, with others waiting
            await add(database.unit_of_work(), "left")
            for kind in ("single", "pair"):
                scene.begin(kind)
            await asyncio.sleep(0)

    asyncio.run(play())
