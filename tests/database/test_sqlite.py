"""SQLite: one writer, several readers, nothing left behind by whoever goes away."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal_column, select, text

from jetio import Database, UnitOfWork
from jetio.dialects import ConnectionLost, ConstraintViolated, sqlite_turns
from tests.database.notes import (
    COUNT,
    COUNT_TO,
    INSERT,
    Gate,
    Model,
    Note,
    add,
    count,
    opened,
    run,
    settle,
    until,
)


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with opened(sqlite_url) as database:
        yield database


async def write(database: Database, note: str) -> None:
    async with database.transaction() as work:
        await add(work, note)


def path_of(database: Database) -> str:
    return str(database.dialect.url.database)


async def test_a_cancelled_wait_for_the_write_lock_leaves_it_free(database: Database) -> None:
    """Who is cancelled while another writes is forgotten: the next one writes."""
    first = database.unit_of_work()
    await add(first, "first")
    waiting = [asyncio.create_task(add(database.unit_of_work(), f"w{n}")) for n in range(3)]
    await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await settle(waiting))
    await first.commit()
    await write(database, "last")
    assert await count(database) == 2


@pytest.mark.parametrize("moments", range(6))
async def test_a_transaction_cancelled_at_any_moment_leaves_nothing(database: Database, moments: int) -> None:
    """Whenever the cancellation comes, no transaction stays open and nothing is written by halves."""

    async def write(number: int) -> None:
        async with database.transaction() as work:
            await add(work, f"a{number}")
            await add(work, f"b{number}")

    for number in range(20):
        task = asyncio.create_task(write(number))
        for _ in range(moments):
            await asyncio.sleep(0)
        if number % 2:
            await asyncio.sleep(0.0002)
        task.cancel()
        task.cancel()
        await settle([task])
    await asyncio.wait_for(write(99), 10)
    assert await count(database) % 2 == 0
    with sqlite3.connect(path_of(database), timeout=0) as other:
        other.execute("BEGIN IMMEDIATE")  # fails at once if anybody still writes
    other.close()


async def test_a_cancelled_single_write_frees_the_lock(database: Database) -> None:
    """A statement that was on its way when its request went away does not keep others from writing."""
    insert = database.query(INSERT)
    for number in range(30):
        task = asyncio.create_task(
            database.unit_of_work().run_alone(insert, {"note_text": f"n{number}"}, writes=True)
        )
        await asyncio.sleep(0.0001 * (number % 3))
        task.cancel()
        await settle([task])
    await database.unit_of_work().run_alone(insert, {"note_text": "last"}, writes=True)
    assert await count(database) >= 1


async def test_what_is_cancelled_before_its_turn_is_not_done(database: Database) -> None:
    """A read that nobody waits for any more does not keep the thread busy."""
    slow = database.query(text(COUNT_TO.format(300_000)).columns(Note.id))
    work = database.unit_of_work(writes=False)
    tasks = [asyncio.create_task(work.run_alone(slow, {})) for _ in range(200)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await settle(tasks)
    assert await asyncio.wait_for(count(database), 5) == 0


async def test_a_slow_scan_holds_one_reader_only(database: Database) -> None:
    """While one read takes long, others are answered."""
    slow = database.query(text(COUNT_TO.format(800_000)).columns(Note.id))
    long = asyncio.create_task(database.unit_of_work(writes=False).run_alone(slow, {}))
    await asyncio.sleep(0.01)
    assert [await count(database) for _ in range(3)] == [0, 0, 0]
    assert not long.done()
    assert (await long).rows == [(800_000,)]


async def test_a_reading_transaction_sees_one_moment(database: Database) -> None:
    """What others commit meanwhile is not seen, and nobody waits for a reader."""
    reading = database.unit_of_work(writes=False)
    assert await run(reading, COUNT) == [(0,)]
    await write(database, "meanwhile")
    assert await run(reading, COUNT) == [(0,)]
    await reading.commit()
    assert await run(reading, COUNT) == [(1,)]
    await reading.rollback()


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    """An open writing transaction holds back neither single reads nor reading transactions."""
    writing = database.unit_of_work()
    await add(writing, "unseen")
    assert await count(database) == 0
    async with database.transaction(writes=False) as reading:
        assert await run(reading, COUNT) == [(0,)]
    await writing.rollback()


async def test_more_reading_transactions_than_threads_take_turns(database: Database) -> None:
    """A reading transaction that finds every thread taken waits for the next one that comes free."""

    async def look() -> int:
        async with database.transaction(writes=False) as work:
            await run(work, COUNT)
            await asyncio.sleep(0.001)
            return int((await run(work, COUNT))[0][0])

    assert await asyncio.gather(*(look() for _ in range(20))) == [0] * 20


async def test_an_unused_transaction_ends_without_a_thread(database: Database) -> None:
    """A unit of work that ran nothing commits and rolls back for free."""
    driver_transaction = await database.driver.begin(writes=True)
    await driver_transaction.commit()
    await (await database.driver.begin(writes=True)).rollback()
    assert not [thread for thread in threading.enumerate() if thread.name == "jetio-sqlite-writer"]


async def test_the_lock_of_another_process_is_waited_for(database: Database) -> None:
    """A write waits while somebody else writes, and goes on when that has ended."""
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    single = database.query(INSERT)
    tasks = [
        asyncio.create_task(database.unit_of_work().run_alone(single, {"note_text": "a"}, writes=True)),
        asyncio.create_task(write(database, "b")),
    ]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)
    other.execute("COMMIT")
    other.close()
    await asyncio.gather(*tasks)
    assert await count(database) == 2


async def test_a_lock_that_never_comes_free_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the longest wait the database counts as away, inside the process and outside it."""
    monkeypatch.setattr(sqlite_turns, "WAIT_SECONDS", 0.05)
    holder = database.unit_of_work()
    await add(holder, "holder")
    with pytest.raises(ConnectionLost, match="came free in time"):
        await write(database, "waiter")
    await holder.rollback()
    other = sqlite3.connect(path_of(database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConnectionLost, match="locked"):
        await write(database, "waiter")
    other.close()
    await write(database, "free again")


async def test_an_error_in_a_transaction_leaves_the_lock_to_others(database: Database) -> None:
    """A refused statement undoes its transaction alone."""

    async def twice() -> None:
        async with database.transaction() as work:
            await add(work, "same")
            await add(work, "same")

    for _ in range(3):
        with pytest.raises(ConstraintViolated, match="unique"):
            await twice()
    assert await count(database) == 0


def test_a_loop_that_dies_leaves_nothing_open(sqlite_url: str) -> None:
    """What an event loop left in the middle of a transaction is undone for the next one."""
    database = Database(sqlite_url)

    async def leave() -> None:
        await database.create_tables(Model.metadata)
        await add(database.unit_of_work(), "left")

    async def go_on() -> None:
        await write(database, "new")
        assert await count(database) == 1
        await database.close()

    asyncio.run(leave())
    asyncio.run(go_on())


def test_results_for_a_closed_loop_are_dropped(sqlite_url: str) -> None:
    """A thread that ends its work after the loop is gone goes on with the next loop's."""
    database = Database(sqlite_url)
    slow = text(COUNT_TO.format(400_000)).columns(Note.id)

    async def leave() -> None:
        await database.create_tables(Model.metadata)
        task = asyncio.create_task(database.unit_of_work(writes=False).run_alone(database.query(slow), {}))
        await asyncio.sleep(0.02)
        task.cancel()

    async def go_on() -> None:
        assert await count(database) == 0
        await database.close()

    asyncio.run(leave())
    asyncio.run(go_on())


async def test_a_closed_database_opens_again(database: Database) -> None:
    """After `close` no thread of the database is left, and the next use starts new ones."""
    await write(database, "before")
    await database.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jetio-sqlite")]
    assert await count(database) == 1


def test_shapes_are_kept_from_several_threads(sqlite_url: str) -> None:
    """Threads that see more shapes than are remembered at once each get their statement."""
    database, interval = Database(sqlite_url), sys.getswitchinterval()
    statement = select(literal_column("1"))

    def ask(thread: int) -> set[str]:
        return {database.shaped((thread, number), lambda: statement).sql for number in range(3000)}

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(ask, range(4))) == [{"SELECT 1"}] * 4
    finally:
        sys.setswitchinterval(interval)


async def test_what_comes_while_a_database_is_closed_is_answered(database: Database, gate: Gate) -> None:
    """Nobody waits for ever: what had begun is done, and who comes later opens the database again."""
    held = database.query(text("SELECT held()").columns(Note.id))
    slow = asyncio.create_task(database.unit_of_work(writes=False).run_alone(held, {}))
    await until(gate.reached.is_set)
    closing = [asyncio.create_task(database.close()) for _ in range(2)]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(write(database, "later"), count(database)), 10)
    assert not slow.done()
    gate.open()
    assert (await slow).rows == [(0,)]
    await asyncio.gather(*closing)
    assert await count(database) == 1


async def test_a_transaction_ends_with_the_database_that_is_closed(database: Database) -> None:
    """Half a transaction does not last: its next statement and its end are refused, as are those behind it."""
    for begun in (True, False):
        work = database.unit_of_work()
        if begun:
            await add(work, "half")
        else:
            await work.run(database.query(COUNT), {})
        waiting = asyncio.create_task(write(database, "waiting"))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await (add(work, "other half") if begun else work.commit())
        await work.rollback()
        with pytest.raises(ConnectionLost, match="closed"):
            await asyncio.wait_for(waiting, 10)
    assert await count(database) == 0


async def test_a_transaction_that_sqlite_has_ended_is_not_gone_on_with(database: Database) -> None:
    """Where a statement undoes the whole transaction, neither a later one nor the end lasts without the rest."""
    await write(database, "same")
    conflict = database.query(text("INSERT OR ROLLBACK INTO notes (text, copies) VALUES ('same', 1)"))
    for more in (True, False):
        work = database.unit_of_work()
        await add(work, "first half")
        with pytest.raises(ConstraintViolated):
            await work.run(conflict, {})
        with pytest.raises(ConnectionLost, match="before its time"):
            await (add(work, "second half") if more else work.commit())
        await work.rollback()
    await write(database, "next")
    assert await count(database) == 2


async def test_a_database_belongs_to_one_running_loop(database: Database) -> None:
    """A second loop that runs beside the first is refused, and takes nothing from it."""
    work = database.unit_of_work()
    await add(work, "one")
    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, count(database))
    await add(work, "two")
    await work.commit()
    assert await count(database) == 2


def test_a_loop_that_paused_finds_its_transactions_ended(sqlite_url: str) -> None:
    """What another loop took over meanwhile is not written to, neither undone nor given to a third."""
    database, paused = Database(sqlite_url), asyncio.new_event_loop()

    async def begin() -> list[UnitOfWork]:
        await database.create_tables(Model.metadata)
        await database.engine.dispose()
        works = [database.unit_of_work() for _ in range(2)]
        await add(works[0], "left")
        return works[:1]

    async def go_on(work: UnitOfWork) -> None:
        with pytest.raises(ConnectionLost, match="another event loop"):
            await add(work, "late")
        await work.rollback()

    try:
        [work] = paused.run_until_complete(begin())
        between = asyncio.new_event_loop()
        other = database.unit_of_work()
        between.run_until_complete(add(other, "one"))
        paused.run_until_complete(go_on(work))
        between.run_until_complete(add(other, "two"))
        between.run_until_complete(other.commit())
        assert between.run_until_complete(count(database)) == 2
        between.run_until_complete(database.close())
        between.close()
    finally:
        paused.close()


def test_helpers_start_again_in_the_next_loop(sqlite_url: str, gate: Gate) -> None:
    """A loop that ended while reads were held up does not leave later ones with a single reader."""
    database = Database(sqlite_url)
    held = text("SELECT held()").columns(Note.id)

    async def hold(work: UnitOfWork) -> None:
        await work.run_alone(database.query(held), {})

    async def leave() -> None:
        await database.create_tables(Model.metadata)
        assert await count(database) == 0
        reads = [hold(database.unit_of_work(writes=False)), count(database)]
        tasks = [asyncio.ensure_future(read) for read in reads]
        await until(gate.reached.is_set)
        assert not any(task.done() for task in tasks)

    async def go_on() -> None:
        slow = asyncio.create_task(hold(database.unit_of_work(writes=False)))
        await asyncio.wait_for(count(database), 10)
        assert not slow.done()
        gate.open()
        await slow
        await database.close()

    asyncio.run(leave())
    asyncio.run(go_on())


async def test_a_first_statement_that_finds_the_database_locked_is_tried_again(tmp_path: Path) -> None:
    """Where BEGIN itself meets no lock, the read behind it waits for another process and begins anew."""
    path = tmp_path / "journal.db"
    own = sqlite3.connect(f"file:{path}?vfs=unix-dotfile", uri=True, isolation_level=None)
    own.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR, copies INTEGER)")
    database = Database(f"sqlite:///file:{path}?vfs=unix-dotfile&uri=true")
    async with database.transaction(writes=False) as opening:  # to open a connection asks for a lock as well
        assert await run(opening, COUNT) == [(0,)]
    own.execute("BEGIN EXCLUSIVE")
    work = database.unit_of_work(writes=False)
    reading = asyncio.create_task(run(work, COUNT))
    await asyncio.sleep(0.05)
    assert not reading.done()
    own.execute("ROLLBACK")
    own.close()
    assert await reading == [(0,)]
    await work.rollback()
    await database.close()


async def test_the_statements_of_many_models_stay_prepared(database: Database) -> None:
    """A connection parses hundreds of statements once each, however they take turns."""
    connection = database.driver._connect()
    parsed: list[int] = []

    def note(action: int, *_: object) -> int:
        parsed.append(action)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)  # SQLite asks it while it parses, and at no other time
    counts = []
    for _ in range(3):
        for number in range(400):
            connection.execute(f"SELECT {number}").fetchall()
        counts.append(len(parsed))
    connection.close()
    assert counts == [400, 400, 400]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite+aiosqlite:///:memory:", "sqlite:///x?mode=memory"])
async def test_memory_is_one_database_for_all(url: str) -> None:
    """An in-memory URL is shared by sessions and statements, isolated as any, and gone with its owner."""
    async with opened(url) as database:
        async with database.sessions() as session:
            session.add(Note(text="seen by nobody yet"))
            await session.flush()
            assert await count(database) == 0
            await session.commit()
        assert await count(database) == 1
        folder = Path(path_of(database)).parent
        assert folder.exists()
    del database
    gc.collect()
    assert not folder.exists()


async def test_a_database_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    """A folder that does not exist and a file that is none of SQLite's count as away; nothing stays open."""
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to be read as one " * 20)
    for name in ("no/such/folder.db", "text.db"):
        database = Database(f"sqlite:///{tmp_path / name}")
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await count(database)
        assert _open_files(tmp_path / name) == 0
        await database.close()


async def test_uri_filenames_reach_the_driver(tmp_path: Path) -> None:
    """A `file:` URI with parameters opens the same file for statements as for sessions."""
    async with opened(f"sqlite:///file:{tmp_path / 'u.db'}?uri=true&mode=rwc") as database:
        await write(database, "one")
        async with database.sessions() as session:
            assert len((await session.scalars(select(Note))).all()) == 1


async def test_a_connection_that_its_user_has_closed_is_replaced(database: Database) -> None:
    """Whoever closes the driver's own connection disturbs nobody after them."""
    async with database.engine.connect() as connection:
        held: Any = await connection.get_raw_connection()
        await held.driver_connection.close()
        await connection.invalidate()
    await write(database, "after")
    assert await count(database) == 1


async def test_a_connection_for_somebody_who_has_gone_is_closed(tmp_path: Path) -> None:
    """Whoever leaves while a connection is being opened leaves no open file behind, whenever that is."""
    path = tmp_path / "left.db"
    sqlite3.connect(path).close()
    engine = Database(f"sqlite+aiosqlite:///{path}").engine
    gc.disable()  # it would close them some time
    try:
        for steps in range(8):
            opening = asyncio.ensure_future(engine.connect().start())
            for _ in range(steps):
                await asyncio.sleep(0)
            opening.cancel()
            with suppress(asyncio.CancelledError):
                await (await opening).close()
        await engine.dispose()
        for _ in range(200):
            if not any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
                break
            await asyncio.sleep(0.01)  # the last threads tell this loop of their end
        assert _open_files(path) == 0
    finally:
        gc.enable()


def _open_files(path: Path) -> int:
    found = Path("/proc/self/fd")
    return sum(os.path.realpath(item) == str(path.resolve()) for item in found.iterdir())
