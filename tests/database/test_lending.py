"""Connections of PostgreSQL's pool, borrowed by statements and by sessions, and what they have prepared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, Integer, bindparam, column, event, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Database
from jetio.dialects import ConnectionLost
from jetio.dialects.fair_pool import FairPool, FairQueue
from tests.database.notes import COUNT, Note, add, application, count, opened, run, settle, talking

PID = text("SELECT pg_backend_pid()").columns(column("pid", Integer))
PREPARED = text("SELECT statement FROM pg_prepared_statements").columns(column("statement"))
LOCKS = text(
    "SELECT count(*) FROM pg_locks WHERE relation = 'notes'::regclass AND pid <> pg_backend_pid()"
).columns(column("number", Integer))
END = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND "


@pytest.fixture
async def single(postgresql_url: str) -> AsyncIterator[Database]:
    """A database with one connection."""
    async with opened(postgresql_url, pool_size=1, pool_timeout=0.05) as database:
        yield database


async def alone(database: Database, statement: Any, **values: Any) -> list[tuple[Any, ...]]:
    """A statement that is the whole transaction; its rows."""
    query = database.query(statement)
    return query.decode(await database.unit_of_work().run_alone(query, values))


async def backend(database: Database) -> int:
    """The server's number of the connection that a statement got."""
    return int((await alone(database, PID))[0][0])


async def end_others(database: Database) -> None:
    """The server ends every connection of this database but the one that asks."""
    async with opened(address(database)) as other, other.sessions() as session:
        await session.execute(text(END + "pid <> pg_backend_pid()"))
    await asyncio.sleep(0.05)  # the loop hears of closed connections


def address(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def pool_of(database: Database) -> Any:
    return database.engine.sync_engine.pool


async def test_statements_and_sessions_borrow_the_same_connections(single: Database) -> None:
    """With one connection in the pool a statement, a transaction and a session get that one in turn."""
    pids = {await backend(single) for _ in range(3)}
    async with single.transaction() as work:
        pids.add((await run(work, PID))[0][0])
        assert pool_of(single).checkedout() == 1
    async with single.sessions() as session:
        pids.add(await session.scalar(text("SELECT pg_backend_pid()")))
        assert pool_of(single).checkedout() == 1
    assert len(pids) == 1
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
            assert answer.headers["retry-after"]
        await work.rollback()
        assert [(await client.get(path)).status_code for path in ("/notes", "/count")] == [200, 200]


@pytest.mark.parametrize("broken", ["closed", "invalidated", "soft", "recycled"])
async def test_a_connection_that_is_no_good_is_replaced(postgresql_url: str, broken: str) -> None:
    """One that the server closed, that was invalidated or is too old is replaced before it is used."""
    async with opened(
        postgresql_url, pool_size=1, **{"pool_recycle": 0} if broken == "recycled" else {}
    ) as one:
        before = await backend(one)
        if broken == "closed":
            await end_others(one)
        elif broken in ("invalidated", "soft"):
            async with one.engine.connect() as connection:
                raw = await connection.get_raw_connection()
                raw.invalidate(soft=broken == "soft")
        assert await backend(one) != before
        assert await count(one) == 0
        assert pool_of(one).checkedout() == 0


async def test_a_connection_that_dies_in_the_queue_is_replaced(single: Database) -> None:
    """Who waited gets a new connection where the one that came back had been closed."""
    work = single.unit_of_work()
    before = (await run(work, PID))[0][0]
    pool_of(single)._timeout = 5
    waiting = asyncio.create_task(backend(single))
    await asyncio.sleep(0)
    await end_others(single)
    await work.rollback()
    assert await waiting != before
    assert pool_of(single).checkedout() == 0


async def test_a_statement_is_prepared_once_for_each_connection(single: Database) -> None:
    """However often a row is asked for, its connection has prepared that statement once."""
    app = application(single)
    async with talking(app) as client:
        await client.post("/notes", json={"text": "a"})
        for _ in range(5):
            assert (await client.get("/notes/1")).status_code == 200
        prepared = [row[0] for row in await alone(single, PREPARED)]
    about = [sql for sql in prepared if "SELECT" in sql and "FROM notes" in sql]
    assert len(about) == len(set(about)) > 0


async def test_as_many_statements_are_kept_as_the_developer_says(postgresql_url: str) -> None:
    """`statement_cache_size` bounds them; the oldest are forgotten here and on the server."""
    async with opened(postgresql_url, pool_size=1, connect_args={"statement_cache_size": 5}) as database:
        for number in range(20):
            rows = await alone(database, select(literal(1, Integer).label(f"name_{number}")))
            assert rows == [(1,)]
        kept = [row[0] for row in await alone(database, PREPARED)]
    assert len([sql for sql in kept if "name_" in sql]) <= 5


@pytest.mark.parametrize("size", ["statement_cache_size", "prepared_statement_cache_size"])
async def test_nothing_stays_prepared_where_the_developer_says_so(postgresql_url: str, size: str) -> None:
    """Size 0, which a pooler in transaction mode needs, leaves no statement of ours on the connection."""
    arguments = {"statement_cache_size": 0, size: 0}
    async with opened(postgresql_url, pool_size=1, connect_args=arguments) as database:
        app = application(database)
        async with talking(app) as client:
            assert (await client.post("/notes", json={"text": "a"})).status_code == 201
            assert (await client.patch("/notes/1", json={"text": "b"})).json()["text"] == "b"
            assert (await client.get("/notes/1")).json()["text"] == "b"
            assert (await client.delete("/notes/1")).status_code == 204
        changed = update(Note).values(copies=2)
        work = database.unit_of_work()
        assert (await work.run_alone(database.query(changed), {}, writes=True)).count == 0
        async with database.sessions() as session:
            left = (await session.scalars(text("SELECT statement FROM pg_prepared_statements"))).all()
        assert [sql for sql in left if "notes" in sql] == []


async def test_a_very_long_statement_is_not_kept(single: Database) -> None:
    """A statement of many rows is run, and not remembered."""
    rows = [{"text": f"{number}", "copies": 1} for number in range(500)]
    work = single.unit_of_work()
    query = single.query(insert(Note).values(rows))
    assert len(query.sql) > 15_000
    assert (await work.run_alone(query, {}, writes=True)).count == 500
    assert all("INSERT" not in row[0] for row in await alone(single, PREPARED))


async def test_a_statement_without_rows_tells_how_many_it_touched(single: Database) -> None:
    """Whether it was prepared before or not."""
    async with single.transaction() as work:
        await add(work, "one")
        await add(work, "two")
    query = single.query(update(Note).values(copies=2))
    for _ in range(2):
        result = await single.unit_of_work().run_alone(query, {}, writes=True)
        assert (list(result.rows), result.count) == ([], 2)


async def test_a_value_that_the_driver_refuses_leaves_no_lock(single: Database) -> None:
    """A statement that fails between being prepared and being run keeps no lock on its tables."""
    wanted = select(Note.id).where(column("id", BigInteger) == bindparam("wanted"))
    for attempt in range(2):
        with pytest.raises(Exception, match="value"):
            await alone(
                single, text("SELECT id FROM notes WHERE id = :wanted").columns(Note.id), wanted=2**40
            )
        async with opened(address(single)) as other:
            assert await alone(other, LOCKS) == [(0,)], attempt
        assert await alone(single, wanted, wanted=1) == []


async def test_a_refused_value_of_a_known_statement_keeps_the_connection(single: Database) -> None:
    """Once a statement is prepared, a value that the driver refuses costs no connection."""
    statement = text("SELECT id FROM notes WHERE id = :wanted").columns(Note.id)
    assert await alone(single, statement, wanted=1) == []
    before = await backend(single)
    with pytest.raises(Exception, match="value"):
        await alone(single, statement, wanted=2**40)
    assert await backend(single) == before


async def test_listeners_of_the_pool_hear_of_every_request(postgresql_url: str) -> None:
    """Who listens for checkouts, resets and check-ins hears of statements as of sessions."""
    heard: list[str] = []
    async with opened(postgresql_url) as database:
        app = application(database)
        async with talking(app) as client:
            await client.get("/notes")
            for name in ("checkout", "reset", "checkin"):
                event.listen(database.engine.sync_engine, name, lambda *_, name=name: heard.append(name))
            assert (await client.get("/notes")).status_code == 200
            assert heard == ["checkout", "reset", "checkin"]
            assert (await client.get("/notes?sort=nothing")).status_code in (400, 422)
            async with database.transaction() as work:
                await add(work, "a")
            assert heard == ["checkout", "reset", "checkin"] * 2
            with pytest.raises(ConnectionLost):
                await alone(database, text("SELECT pg_terminate_backend(pg_backend_pid())").columns(Note.id))
            assert await count(database) == 1


async def test_a_pool_that_pings_works(postgresql_url: str) -> None:
    """Connections that the developer has pinged before each use serve statements too."""
    async with opened(postgresql_url, pool_size=1, pool_pre_ping=True) as database:
        before = await backend(database)
        await end_others(database)
        assert await backend(database) != before


async def test_who_logs_queries_sees_every_statement(postgresql_url: str) -> None:
    """A query logger of the driver, set when a connection is made, is told each statement of each request."""
    seen: list[str] = []
    database = Database(postgresql_url)

    @event.listens_for(database.engine.sync_engine, "connect")
    def log(connection: Any, _entry: Any) -> None:
        connection.driver_connection.add_query_logger(lambda record: seen.append(record.query))

    async with opened(postgresql_url) as maker:
        await maker.create_tables(Note.metadata)
    async with talking(application(database)) as client:
        for _ in range(3):
            assert (await client.get("/notes")).status_code == 200
    await database.close()
    assert len([sql for sql in seen if "FROM notes" in sql]) == 3


@pytest.mark.filterwarnings("ignore:a transaction was neither:ResourceWarning")
async def test_a_forgotten_transaction_is_undone(single: Database) -> None:
    """A unit of work that nobody ends is undone, and its connection comes back."""
    await add(single.unit_of_work(), "forgotten")
    assert await count(single) == 0
    assert pool_of(single).checkedout() == 0


def test_one_database_serves_one_event_loop_after_another(postgresql_url: str) -> None:
    """Connections and statements of a loop that is gone are not used in the next one."""

    async def life(database: Database) -> list[int]:
        await database.start()
        await database.create_tables(Note.metadata)
        async with talking(application(database)) as client:
            answers = await asyncio.gather(*(client.get("/notes") for _ in range(5)))
        return [answer.status_code for answer in answers]

    database = Database(postgresql_url)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(life(database)) == [200] * 5
        left = [entry.driver_connection for entry in pool_of(database)._pool._idle]
        assert second.run(life(database)) == [200] * 5
        second.run(database.close())
        first.run(ended(left))


async def ended(connections: list[Any]) -> None:
    assert connections
    for connection in connections:
        await connection.close()


async def test_connections_go_to_whoever_waits_longest(single: Database) -> None:
    """Statements and sessions that wait get the connection in the order in which they came."""
    pool_of(single)._timeout = 5
    work = single.unit_of_work()
    await run(work, COUNT)
    served: list[int] = []

    async def ask(number: int) -> None:
        if number % 3:
            await count(single)
        else:
            async with single.sessions() as session:
                await session.execute(COUNT)
        served.append(number)

    tasks = []
    for number in range(12):
        tasks.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(0)
    await work.rollback()
    await settle(tasks)
    assert served == list(range(12))


@pytest.mark.parametrize("moments", range(12))
async def test_who_is_cancelled_in_the_queue_loses_no_connection(single: Database, moments: int) -> None:
    """Whether it waits, has just been handed the connection or uses it: others get it afterwards."""
    pool_of(single)._timeout = 5
    work = single.unit_of_work()
    await run(work, COUNT)
    waiting = [asyncio.create_task(count(single)) for _ in range(4)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(work.rollback())
    for _ in range(moments):
        await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[2].cancel()
    await ending
    await settle(waiting)
    assert await count(single) == 0
    assert pool_of(single).checkedout() == 0
    assert pool_of(single).size() >= pool_of(single).checkedin()


async def test_who_is_cancelled_as_it_is_handed_an_entry_hands_it_on() -> None:
    """An entry that was given in the very moment of a cancellation goes to the next in line."""
    queue, entry = FairQueue(1), entry_of()
    first, second = (asyncio.create_task(queue.wait(None)) for _ in range(2))
    await asyncio.sleep(0)
    queue.put_nowait(entry)
    first.cancel()
    assert await second is entry
    assert queue.empty()
    third = asyncio.create_task(queue.wait(None))
    await asyncio.sleep(0)
    third.cancel()
    await settle([first, third])
    queue.put(entry)
    assert queue.full()
    assert queue.get() is entry


def entry_of() -> Any:
    return object()


async def test_a_pool_of_no_size_opens_as_many_as_are_asked_for(postgresql_url: str) -> None:
    """`pool_size=0` knows no limit, and gives the oldest idle connection where it is no stack."""
    async with opened(postgresql_url, pool_size=0, pool_use_lifo=False) as database:
        assert isinstance(pool_of(database), FairPool)
        works = [database.unit_of_work() for _ in range(5)]
        pids = [(await run(work, PID))[0][0] for work in works]
        assert len(set(pids)) == 5
        for work in works:
            await work.rollback()
        await run(works[0], COUNT)
        assert (await run(works[0], PID))[0][0] in pids
        await works[0].rollback()
