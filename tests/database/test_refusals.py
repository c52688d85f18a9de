"""What a database says no to, at the edges: values, connections that have just died, many shapes."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from typing import Any

import pytest
from sqlalchemy import String, func, literal, select, text
from sqlalchemy.orm import Mapped, mapped_column

from jetio import Change, CrudRouter, Database, Jetio, JetioModel, UnitOfWork
from jetio.dialects import Busy, ConnectionLost, ConstraintViolated, StatementTooLong
from jetio.large import parse_document, parse_large
from tests.database.notes import COUNT, SETTINGS, Note, add, opened, run, talking
from tests.registries import own_registry


class Own(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Stamp(Own):
    """A row whose code the server makes, and makes too long."""

    code: Mapped[str] = mapped_column(String(3), default=lambda: "too long")
    number: Mapped[int] = mapped_column(default=0)


class Paper(Own):
    """A document."""

    document: Mapped[dict[str, Any]]


def overflow(change: Change) -> None:
    change.values["number"] = 2**70


def stamps(database: Database, **options: Any) -> Jetio:
    """An application of this table."""
    app = Jetio(database=database, metadata=Own.metadata, settings=SETTINGS)
    CrudRouter(Stamp, **options).register_routes(app)
    return app


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
async def test_a_value_that_no_column_holds_is_told(database_url: str, fast_path: bool) -> None:
    """A hook that writes a number of 71 bits is a 422 on every database, and nothing is kept."""
    async with opened(database_url, fast_path=fast_path) as database:
        await database.create_tables(Own.metadata)
        app = stamps(database, hooks={"before_create": overflow})
        async with talking(app) as client:
            answer = await client.post("/stamps", json={"code": "a"})
            assert answer.status_code == 422, answer.text
            assert "1180591620717411303424" not in answer.text
            assert (await client.get("/stamps")).json() == []


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
async def test_a_text_that_is_too_long_names_its_field(mariadb_url: str, fast_path: bool) -> None:
    """MariaDB tells which column was too short; the answer names its field."""
    async with (
        opened(mariadb_url, fast_path=fast_path) as database,
        talking(stamps(database)) as client,
    ):
        await database.create_tables(Own.metadata)
        answer = await client.post("/stamps", json={})
        assert answer.status_code == 422
        assert [(entry["pointer"], entry["code"]) for entry in answer.json()["errors"]] == [
            ("/code", "value")
        ]


async def terminate_all(url: str) -> None:
    """End every connection to this database, from another one."""
    import asyncpg

    name = url.rpartition("/")[2]
    admin = await asyncpg.connect(url.rpartition("/")[0].replace("+asyncpg", "") + "/postgres")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await admin.close()


async def test_a_connection_that_dies_before_the_commit_is_told(postgresql_url: str) -> None:
    """The commit of a connection that the server has just ended is no success, and the pool goes on."""
    async with opened(postgresql_url) as database:
        work = database.unit_of_work()
        await add(work, "lost")
        await _terminate_unseen(postgresql_url)
        with pytest.raises(ConnectionLost):
            await work.commit()
        async with database.transaction() as again:
            await add(again, "kept")
        async with database.transaction(writes=False) as reading:
            assert await run(reading, COUNT) == [(1,)]


async def test_a_connection_that_dies_before_the_rollback_is_no_second_error(postgresql_url: str) -> None:
    """Undoing on a connection that the server has just ended raises nothing, and the pool goes on."""
    async with opened(postgresql_url) as database:
        work = database.unit_of_work()
        await add(work, "lost")
        await _terminate_unseen(postgresql_url)
        await work.rollback()
        async with database.transaction() as again:
            await add(again, "kept")
        async with database.transaction(writes=False) as reading:
            assert await run(reading, COUNT) == [(1,)]


async def test_a_connection_that_dies_before_the_transaction_is_told(postgresql_url: str) -> None:
    """Beginning on a connection that the server has just ended is a ConnectionLost; the next one works."""
    async with opened(postgresql_url) as database:
        async with database.transaction() as work:
            await add(work, "first")
        await _terminate_unseen(postgresql_url)
        work = database.unit_of_work()
        with pytest.raises(ConnectionLost):
            await add(work, "second")
        await work.rollback()
        async with database.transaction() as again:
            await add(again, "third")


async def _terminate_unseen(url: str) -> None:
    """End the connections while this loop looks away: what the sockets say is read only afterwards."""
    ending = threading.Thread(target=lambda: asyncio.run(terminate_all(url)))
    ending.start()
    ending.join()


async def test_a_shape_that_nobody_asks_for_makes_room(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled statements are kept up to a number; the answer of one that was dropped is the same."""
    monkeypatch.setattr("jetio.database._SHAPES", 2)
    async with opened(sqlite_url) as database:
        first = database.shaped("first", lambda: COUNT)
        assert database.shaped("first", lambda: COUNT) is first
        for name in ("second", "third", "fourth", "fifth"):
            database.shaped(name, lambda: select(func.max(Note.id)))
        again = database.shaped("first", lambda: COUNT)
        assert again is not first
        async with database.transaction(writes=False) as work:
            assert again.decode(await work.run_alone(again, {})) == [(0,)]
        assert database.shaped(None, lambda: COUNT) is not database.shaped(None, lambda: COUNT)


async def test_a_mistake_in_sql_stays_what_it_is(mariadb_url: str) -> None:
    """What is no refusal, no race and no outage is the application's own error."""
    async with opened(mariadb_url) as database:
        work = database.unit_of_work()
        with pytest.raises(Exception, match="nowhere") as told:
            await run(work, text("SELECT 1 FROM nowhere").columns(Note.id))
        assert not isinstance(told.value, ConnectionLost | ConstraintViolated)
        await work.rollback()


@pytest.mark.parametrize(
    ("driver", "connect"),
    [
        ("asyncpg", {"command_timeout": 0.2}),
        ("asyncpg", {"server_settings": {"statement_timeout": "200"}}),
        ("psycopg", {"options": "-c statement_timeout=200"}),
        ("asyncmy", {"read_timeout": 1}),
    ],
)
async def test_a_statement_that_takes_too_long_is_told_from_a_server_that_is_away(
    request: pytest.FixtureRequest, driver: str, connect: dict[str, Any]
) -> None:
    """Whoever ends it, driver or server, by a statement of ours or in a session."""
    family, sleep = ("mariadb", "sleep(3)") if driver == "asyncmy" else ("postgresql", "pg_sleep(3)")
    url = request.getfixturevalue(f"{family}_url").replace("+asyncpg", f"+{driver}")
    async with opened(url, connect_args=connect) as database:
        work = database.unit_of_work()
        with pytest.raises(StatementTooLong):
            await run(work, text(f"SELECT {sleep}").columns(Note.id))
        await work.rollback()
        async with database.transaction() as again:
            await add(again, "kept")
        with pytest.raises(Exception, match=r"\w") as told:
            async with database.sessions() as session:
                await session.execute(text(f"SELECT {sleep}"))
        assert isinstance(database.dialect.fault(told.value), StatementTooLong)


async def test_a_request_that_ends_while_it_connects_leaves_nothing_behind() -> None:
    """Neither a connection nor an error that nobody looks at, when the server hangs up after all."""
    arrived, hang_up = asyncio.Event(), asyncio.Event()
    unseen: list[Any] = []

    async def serve(reader: Any, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await hang_up.wait()
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        database = Database(f"postgresql+asyncpg://someone@127.0.0.1:{port}/somewhere")
        asking = asyncio.create_task(database.unit_of_work().run_alone(database.query(COUNT), {}))
        await arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        hang_up.set()
        await asyncio.sleep(0.1)
        await database.close()
    gc.collect()
    assert unseen == []


async def test_steps_that_lose_a_race_are_taken_again(sqlite_url: str) -> None:
    """Twice; what a lost attempt wrote is gone, and a race that is lost for the third time is told."""
    async with opened(sqlite_url) as database:
        attempts: list[int] = []

        async def steps(work: UnitOfWork) -> int:
            await add(work, f"attempt {len(attempts)}")
            attempts.append(len(attempts))
            if len(attempts) % 3:
                raise Busy("somebody was quicker")
            return len(attempts)

        assert await database.run_transaction(steps) == 3
        async with database.transaction(writes=False) as work:
            assert await run(work, COUNT) == [(1,)]

        async def always(work: UnitOfWork) -> None:
            attempts.append(0)
            raise Busy("somebody is quicker")

        with pytest.raises(Busy):
            await database.run_transaction(always)
        assert len(attempts) == 6


async def test_a_large_document_comes_back(database_url: str) -> None:
    """A document that is parsed apart is what was written."""
    document = {"rows": [{"number": number, "text": "x" * 20} for number in range(2000)]}
    async with opened(database_url) as database:
        await database.create_tables(Own.metadata)
        app = Jetio(database=database, metadata=Own.metadata, settings=SETTINGS)
        CrudRouter(Paper).register_routes(app)
        async with talking(app) as client:
            answer = await client.post("/papers", json={"document": document})
            assert answer.status_code == 201
            assert (await client.get("/papers/1")).json()["document"] == document
    assert gc.isenabled()


def test_the_collector_rests_until_the_last_has_parsed() -> None:
    """Of two that parse at once the first to end does not wake it."""
    text = json.dumps(["x" * 100] * 1000)

    def parse() -> bool:
        parse_document(text)
        return gc.isenabled()

    assert asyncio.run(parse_large(parse)) is False
    assert gc.isenabled()


async def test_a_shape_in_use_is_compiled_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others come, what is asked for among them stays; of the others not all are kept."""
    monkeypatch.setattr("jetio.database._SHAPES", 10)
    async with opened(sqlite_url) as database:
        hot = database.shaped("hot", lambda: select(literal(1)))
        for number in range(100):
            database.shaped(number, lambda: select(literal(2)))
            assert database.known("hot") is hot
        kept = [number for number in range(100) if database.known(number) is not None]
    assert 99 in kept
    assert 0 not in kept
    assert len(kept) < 20
