"""Connections of MariaDB's pool, which statements and sessions use in turn and each in its own mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import Integer, column, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Database
from jetio.dialects import Busy, ConnectionLost, Steps
from tests.database import servers
from tests.database.notes import COUNT, Note, add, application, count, opened, run, settle, talking

ID = text("SELECT connection_id()").columns(column("id", Integer))
WAITING = text(
    "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND state = 'User lock'"
).columns(column("number", Integer))
OTHERS = text(
    "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
).columns(column("id", Integer))


@pytest.fixture
async def single(mariadb_url: str) -> AsyncIterator[Database]:
    """A database with one connection."""
    async with opened(mariadb_url, pool_size=1, pool_timeout=0.05) as database:
        yield database


@pytest.fixture
async def other(mariadb_url: str) -> AsyncIterator[Database]:
    """Somebody else's view of the same database."""
    async with opened(mariadb_url) as database:
        yield database


async def alone(database: Database, statement: Any, **values: Any) -> list[tuple[Any, ...]]:
    """A statement that is the whole transaction; its rows."""
    query = database.query(statement)
    return query.decode(await database.unit_of_work().run_alone(query, values))


async def write(database: Database, note: str) -> None:
    """An insert that is the whole transaction."""
    query = database.query(insert(Note).values(text=note, copies=1))
    await database.unit_of_work().run_alone(query, {}, writes=True)


async def end_others(database: Database) -> None:
    """The server ends every connection of this database but the one that asks."""
    async with database.sessions() as session:
        for (identity,) in (await session.execute(OTHERS)).all():
            await session.execute(text(f"KILL CONNECTION {identity}"))
    await asyncio.sleep(0.05)  # the loop hears of closed connections


def pool_of(database: Database) -> Any:
    return database.engine.sync_engine.pool


async def test_statements_and_sessions_borrow_the_same_connections(single: Database) -> None:
    """With one connection in the pool a statement, a transaction and a session get that one in turn."""
    ids = {(await alone(single, ID))[0][0] for _ in range(3)}
    async with single.transaction() as work:
        ids.add((await run(work, ID))[0][0])
        assert pool_of(single).checkedout() == 1
    async with single.sessions() as session:
        ids.add(await session.scalar(text("SELECT connection_id()")))
    assert len(ids) == 1
    assert pool_of(single).checkedout() == 0


@pytest.mark.parametrize("holder", ["transaction", "session"])
async def test_whoever_finds_no_connection_in_time_is_503(single: Database, holder: str) -> None:
    """While one connection is all there is, and held, statements and sessions are 503; then they work."""
    app = application(single)

    @app.get("/count")
    async def counted(session: AsyncSession) -> int:
        return int(await session.scalar(COUNT) or 0)

    async with talking(app) as client:
        work = single.unit_of_work()
        if holder == "session":
            await work.session().execute(COUNT)
        else:
            await run(work, COUNT)
        for path in ("/notes", "/count"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
        await work.rollback()
        assert [(await client.get(path)).status_code for path in ("/notes", "/count")] == [200, 200]


@pytest.mark.parametrize("broken", ["closed", "invalidated", "soft", "recycled"])
async def test_a_connection_that_is_no_good_is_replaced(
    mariadb_url: str, other: Database, broken: str
) -> None:
    """One that the server closed, that was invalidated or is too old is replaced before it is used."""
    recycle = {"pool_recycle": 0} if broken == "recycled" else {}
    async with opened(mariadb_url, pool_size=1, **recycle) as one:
        before = await alone(one, ID)
        if broken == "closed":
            await end_others(other)
        elif broken in ("invalidated", "soft"):
            async with one.engine.connect() as connection:
                (await connection.get_raw_connection()).invalidate(soft=broken == "soft")
        assert await alone(one, ID) != before
        assert pool_of(one).checkedout() == 0


# ---- what a session leaves ---------------------------------------------------------------------------------


async def leave_by_commit(database: Database) -> None:
    async with database.sessions() as session:
        await session.execute(COUNT)
        await session.commit()


async def leave_by_hand(database: Database) -> None:
    """The driver takes no note of this SET: its answer says nothing."""
    async with database.sessions() as session:
        await session.execute(text("SET autocommit = 1"))
        await session.execute(text("SET autocommit = 0"))
        await session.commit()


async def leave_another_isolation(database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")
        await connection.execute(COUNT)
        await connection.commit()


async def leave_a_mode(database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(COUNT)


async def leave_what_nobody_noticed(database: Database) -> None:
    """Whoever says so when a connection is made is not heard by the driver, whose answer says nothing."""

    def switch(connection: Any, _entry: Any) -> None:
        connection.cursor().execute("SET autocommit = 0")

    event.listen(database.engine.sync_engine, "connect", switch)
    async with database.engine.connect() as connection:
        await connection.invalidate()


LEFT = [leave_by_commit, leave_by_hand, leave_another_isolation, leave_a_mode, leave_what_nobody_noticed]


@pytest.mark.parametrize("leave", LEFT)
async def test_a_statement_is_lasting_whatever_a_session_has_left(
    single: Database, other: Database, leave: Any
) -> None:
    """A single statement on a session's connection commits: others see it, and an undone session keeps it."""
    await leave(single)
    await write(single, "lasting")
    assert await count(other) == 1
    async with single.sessions() as session:
        await session.rollback()
    assert await count(other) == 1
    async with single.transaction() as work:
        await add(work, "too")
    assert await count(other) == 2


async def test_a_session_behind_a_statement_has_a_transaction(single: Database, other: Database) -> None:
    """What it writes is seen by nobody before its commit, and is gone when it is rolled back."""
    await write(single, "first")
    async with single.sessions() as session:
        session.add(Note(text="second", copies=1))
        await session.flush()
        assert await count(other) == 1
        await session.rollback()
        session.add(Note(text="third", copies=1))
        await session.flush()
        assert await count(other) == 1
        await session.commit()
        assert await count(other) == 2
        session.add(Note(text="fourth", copies=1))
        await session.flush()
    assert await count(other) == await count(single) == 2


async def test_a_session_has_a_transaction_behind_what_commits_by_itself(
    single: Database, other: Database
) -> None:
    """DDL commits what came before it; what comes behind it can be undone all the same."""
    await count(single)
    async with single.sessions() as session:
        await session.execute(text("CREATE TABLE beside (id INT)"))
        session.add(Note(text="behind", copies=1))
        await session.flush()
        await session.rollback()
    assert await count(other) == 0


@pytest.mark.parametrize("note", ["taken", "new"])
async def test_what_a_bare_connection_leaves_is_undone(single: Database, other: Database, note: str) -> None:
    """Neither rows nor locks of a connection that was given back without a word stay, also after a refusal."""
    await write(single, "taken")
    async with single.sessions() as session:
        await session.execute(COUNT)
        await session.commit()

    async with single.engine.connect() as connection:
        bare = await connection.get_raw_connection()
        driver: Any = bare.driver_connection
        await driver.autocommit(False)
        cursor = driver.cursor()
        with pytest.raises(Exception, match="Duplicate") if note == "taken" else nullcontext():
            await cursor.execute("INSERT INTO notes (text, copies) VALUES (%s, 2)", (note,))
    assert pool_of(single).checkedout() == 0
    async with asyncio.timeout(5):
        query = other.query(update(Note).where(Note.text == "taken").values(copies=3))
        assert (await other.unit_of_work().run_alone(query, {}, writes=True)).count == 1
    assert await count(other) == 1


async def test_a_session_that_is_told_to_commit_by_itself_does(mariadb_url: str, other: Database) -> None:
    """Where the developer wants a session without a transaction, it has none."""
    async with opened(mariadb_url) as database, database.sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        session.add(Note(text="at once", copies=1))
        await session.flush()
        assert await count(other) == 1


# ---- statements --------------------------------------------------------------------------------------------


async def test_statements_that_follow_each_other_see_one_state(single: Database, other: Database) -> None:
    """What somebody else commits between two statements of one reading is not seen by the second."""
    lock = text("SELECT GET_LOCK('between', 10)").columns(column("got", Integer))
    free = text("DO RELEASE_ALL_LOCKS()")

    def steps() -> Steps[list[int]]:
        seen = []
        for statement in (COUNT, lock, COUNT):
            query = single.query(statement)
            seen.append(query.decode((yield query, {}))[0][0])
        return seen

    assert await count(single) == 0
    async with other.sessions() as session:
        await session.execute(lock)
        reading = asyncio.create_task(single.unit_of_work(writes=False).follow(steps()))
        async with asyncio.timeout(10):
            while await alone(other, WAITING) == [(0,)]:
                await asyncio.sleep(0.01)
        await write(other, "between")
        await session.execute(free)
        assert await reading == [0, 1, 0]
    assert await count(single) == 1


async def test_steps_that_fail_leave_no_transaction(single: Database) -> None:
    """An error between two statements, ours or the server's, ends the reading; the connection goes on."""

    def failing(second: Any) -> Steps[None]:
        yield single.query(COUNT), {}
        if second is None:
            raise LookupError("between")
        yield single.query(second), {}

    before = await alone(single, ID)
    with pytest.raises(LookupError):
        await single.unit_of_work(writes=False).follow(failing(None))
    with pytest.raises(Exception, match="nowhere"):
        await single.unit_of_work(writes=False).follow(
            failing(text("SELECT 1 FROM nowhere").columns(Note.id))
        )
    assert await alone(single, ID) == before
    await write(single, "after")
    assert await count(single) == 1


async def test_who_loses_a_race_cannot_go_on(mariadb_url: str) -> None:
    """Behind a deadlock each statement would commit by itself: nothing more is run, nothing is committed."""
    async with opened(mariadb_url, pool_size=3) as database:
        for note in ("a", "b"):
            await write(database, note)
        works = {note: database.unit_of_work() for note in ("a", "b")}

        async def touch(work: Any, note: str) -> None:
            await work.run(database.query(update(Note).where(Note.text == note).values(copies=9)), {})

        for note, work in works.items():
            await touch(work, note)
        crossing = [touch(works["a"], "b"), touch(works["b"], "a")]
        told = await settle([asyncio.create_task(step) for step in crossing])
        lost, won = (works["a"], works["b"]) if isinstance(told[0], Busy) else (works["b"], works["a"])
        assert [type(error) for error in told if error is not None] == [Busy]
        with pytest.raises(Busy):
            await add(lost, "behind")
        with pytest.raises(Busy):
            await lost.commit()
        await won.commit()
        assert await count(database) == 2
        assert pool_of(database).checkedout() == 0


async def test_statements_that_end_badly_do_not_come_back(mariadb_url: str) -> None:
    """A connection on which a statement timed out is not handed to anybody else."""
    options: dict[str, Any] = {"connect_args": {"read_timeout": 0.2}, "pool_size": 1}
    async with opened(mariadb_url, **options) as database:
        before = await alone(database, ID)
        slow = database.query(text("SELECT SLEEP(3)").columns(Note.id))
        work = database.unit_of_work()
        with pytest.raises(ConnectionLost):
            await work.run_alone(slow, {})
        assert await alone(database, ID) != before
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await work.run(slow, {})
        with pytest.raises(ConnectionLost):
            await work.commit()
        async with database.sessions() as session:
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT SLEEP(3)"))
        assert await count(database) == 0
        assert pool_of(database).checkedout() == 0


async def test_a_large_value_does_not_wait_for_a_server_that_hangs() -> None:
    """What does not even leave this process is given up in time, too."""
    with servers.mariadb() as server:
        options: dict[str, Any] = {"connect_args": {"read_timeout": 0.5}, "pool_size": 1}
        async with opened(server.url, **options) as database:
            size = database.query(text("SELECT length(:large)").columns(column("size", Integer)))
            assert await count(database) == 0
            server.freeze()
            try:
                async with asyncio.timeout(20):
                    with pytest.raises(ConnectionLost):
                        await database.unit_of_work().run_alone(size, {"large": "x" * 80_000_000})
            finally:
                server.thaw()
            assert await count(database) == 0


async def test_percent_signs_are_text(single: Database) -> None:
    """In a statement and in its values, with other values beside them and without."""
    assert await alone(single, text("SELECT '100%', '%s'").columns(column("a"), column("b"))) == [
        ("100%", "%s")
    ]
    assert await alone(
        single, text("SELECT '5%', :value").columns(column("a"), column("b")), value="%s %% %(x)s"
    ) == [("5%", "%s %% %(x)s")]
    await write(single, "10% of it")
    found = select(Note.text).where(Note.text.like("10%%of%"))
    assert await alone(single, found) == [("10% of it",)]


async def test_an_update_that_changes_nothing_has_found_its_row(single: Database) -> None:
    """A PATCH of what the row has already is a 200 with the row."""
    async with talking(application(single)) as client:
        await client.post("/notes", json={"text": "same"})
        for _ in range(2):
            answer = await client.patch("/notes/1", json={"text": "same"})
            assert (answer.status_code, answer.json()["text"]) == (200, "same")


async def test_a_refused_value_keeps_the_connection(single: Database) -> None:
    """What the server refuses costs no connection, alone and in a transaction, which then goes on."""
    await write(single, "taken")
    before = await alone(single, ID)
    with pytest.raises(Exception, match="unique"):
        await write(single, "taken")
    async with single.transaction() as work:
        await add(work, "new")
        with pytest.raises(Exception, match="unique"):
            await add(work, "taken")
    assert await alone(single, ID) == before
    assert await count(single) == 2


# ---- the pool ----------------------------------------------------------------------------------------------


async def test_listeners_of_the_pool_hear_of_every_request(mariadb_url: str) -> None:
    """Who listens for checkouts, resets and check-ins hears of statements as of sessions."""
    heard: list[str] = []
    async with opened(mariadb_url) as database:
        async with talking(application(database)) as client:
            await client.get("/notes")
            for name in ("checkout", "reset", "checkin"):
                event.listen(database.engine.sync_engine, name, lambda *_, name=name: heard.append(name))
            assert (await client.get("/notes")).status_code == 200
            assert heard == ["checkout", "reset", "checkin"]
            async with database.sessions() as session:
                await session.execute(COUNT)
                await session.commit()
            async with database.transaction() as work:
                await add(work, "a")
                number = await run(work, ID)
            assert heard == ["checkout", "reset", "checkin"] * 3
            assert await alone(database, ID) == number
        assert await count(database) == 1


async def test_a_pool_that_pings_works(mariadb_url: str, other: Database) -> None:
    """Connections that the developer has pinged before each use serve statements too."""
    async with opened(mariadb_url, pool_size=1, pool_pre_ping=True) as database:
        before = await alone(database, ID)
        await end_others(other)
        assert await alone(database, ID) != before
        await write(database, "a")
        assert await count(other) == 1


@pytest.mark.filterwarnings("ignore:a transaction was neither:ResourceWarning")
async def test_a_forgotten_transaction_is_undone(single: Database) -> None:
    """A unit of work that nobody ends is undone, and its connection comes back."""
    await add(single.unit_of_work(), "forgotten")
    assert await count(single) == 0
    assert pool_of(single).checkedout() == 0
