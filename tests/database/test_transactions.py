"""One transaction per request: committed before the answer, undone when anything fails, never left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from jetio import (
    Access,
    Allow,
    Change,
    CrudRouter,
    Database,
    Decision,
    Principal,
    SecurityScheme,
    UnitOfWork,
    policy,
)
from jetio.dialects import Busy, ConnectionLost
from tests.database.notes import COUNT, Note, add, application, count, opened, run, settle, talking


@pytest.fixture(params=[True, False], ids=["driver", "session"])
async def database(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Database]:
    """A database with its tables, by both executors."""
    async with opened(database_url, fast_path=request.param) as database:
        yield database


@pytest.fixture
async def quick(database_url: str) -> AsyncIterator[Database]:
    """A database with its tables, by the fast path."""
    async with opened(database_url) as database:
        yield database


def scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    about = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    return {**about, "headers": [(b"content-type", b"application/json"), *headers], "root_path": ""}


def messages(*parts: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    """A client that sends these and then nothing more."""
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def nobody_holds_anything(database: Database) -> None:
    """No connection is borrowed, and the server knows of no open transaction of ours."""
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while await _open_transactions(database):
            await asyncio.sleep(0.02)


async def _open_transactions(database: Database) -> int:
    if database.dialect.name == "sqlite":
        async with database.transaction() as work:  # waits for the write lock
            await run(work, COUNT)
        return 0
    about = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%'",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
        "ON p.id = t.trx_mysql_thread_id WHERE p.db = database() AND p.id <> connection_id()",
    }[database.dialect.name]
    async with database.engine.connect() as connection:
        return int((await connection.scalar(text(about))) or 0)


async def test_a_row_is_committed_before_its_answer_starts(database: Database) -> None:
    """When the first byte of the answer goes out, everybody can see the row."""
    seen: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append(await count(database))

    app = application(database)
    await app(scope("POST", "/notes"), messages({"type": "http.request", "body": b'{"text": "a"}'}), send)
    assert seen == [1]


async def test_a_handler_that_fails_leaves_nothing(database: Database) -> None:
    """What a handler wrote is undone when it raises, and committed when it returns."""
    app = application(database)

    @app.post("/both")
    async def both(session: AsyncSession, fails: bool) -> None:
        session.add(Note(text=f"fails: {fails}"))
        await session.flush()
        if fails:
            raise LookupError("the handler's own")

    async with talking(app) as client:
        assert (await client.post("/both?fails=true")).status_code == 500
        assert (await client.post("/both?fails=false")).status_code == 204
        assert [row["text"] for row in (await client.get("/notes")).json()] == ["fails: False"]
    await nobody_holds_anything(database)


async def test_errors_of_the_application_are_its_own(quick: Database) -> None:
    """A file that is missing or a timeout in a handler is 500: it says nothing about the database."""
    app = application(quick)

    @app.get("/file")
    async def file() -> str:
        raise FileNotFoundError("settings.toml")

    @app.get("/slow")
    async def slow() -> str:
        raise TimeoutError

    async with talking(app) as client:
        for path in ("/file", "/slow"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
            assert "settings" not in answer.text


@pytest.mark.parametrize("moments", [0, 1, 2, 3, 5, 8, 13])
async def test_a_request_cancelled_at_any_moment_leaves_nothing_behind(quick: Database, moments: int) -> None:
    """Whenever a request is cancelled: all or nothing is written, and no connection is kept or dirty."""

    async def leave(change: Change) -> None:
        await asyncio.sleep(0)

    app = application(quick)
    CrudRouter(Note, hooks={"after_create": leave}).register_routes(app, prefix="/hooked")
    async with talking(app) as client:
        for number in range(8):
            prefix = "/hooked" if number % 2 else ""
            task = asyncio.create_task(client.post(f"{prefix}/notes", json={"text": f"{number}"}))
            for _ in range(moments):
                await asyncio.sleep(0)
            await asyncio.sleep(0.0005 * moments * (number % 3))
            task.cancel()
            await settle([task])
        await nobody_holds_anything(quick)
        assert (await client.post("/notes", json={"text": "last"})).status_code == 201
        rows = (await client.get("/notes")).json()
    assert len({row["text"] for row in rows}) == len(rows)


async def test_a_client_that_leaves_in_mid_body_changes_nothing(database: Database) -> None:
    """A body that never ends, or whose client goes away, writes nothing and keeps no connection."""
    app = application(database)
    answers: list[Any] = []
    part = {"type": "http.request", "body": b'{"text": ', "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    await app(scope("POST", "/notes"), messages(part, {"type": "http.disconnect"}), send)
    assert answers == []
    endless = asyncio.create_task(app(scope("POST", "/notes"), messages(part), send))
    await asyncio.sleep(0.02)
    await nobody_holds_anything(database)
    endless.cancel()
    await settle([endless])
    assert await count(database) == 0


class Asking:
    """An authenticator that asks the database, in the request's own transaction."""

    user_model = None
    schemes: Sequence[SecurityScheme] = ()

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        await run(work, COUNT)
        return self.principal_of(1)

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


async def test_no_connection_is_held_while_a_body_is_awaited(database: Database) -> None:
    """What authenticator and policy asked the database is ended before the body is read, everywhere."""

    @policy
    async def asking(access: Access) -> Decision:
        await run(access.work, COUNT)
        return Allow()

    app = application(database, CrudRouter(Note, policy={"*": asking}))
    asked = CrudRouter(Note, policy={"*": asking}, hooks={"before_create": lambda change: None})
    asked.register_routes(app, prefix="/hooked")

    app.use_authenticator(Asking())

    @app.post("/handler", policy=asking)
    async def handler(body: dict[str, str], session: AsyncSession) -> None:
        await session.execute(select(Note.id))

    for method, path in [
        ("POST", "/notes"),
        ("PUT", "/notes/1"),
        ("PATCH", "/notes/1"),
        ("POST", "/hooked/notes"),
        ("POST", "/handler"),
    ]:
        arrived, waiting = asyncio.Event(), asyncio.Event()

        async def receive(arrived: asyncio.Event = arrived, waiting: asyncio.Event = waiting) -> Any:
            waiting.set()
            await arrived.wait()
            return {"type": "http.request", "body": b'{"text": "arrived"}'}

        answers: list[Any] = []

        async def send(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        request = asyncio.create_task(app(scope(method, path), receive, send))
        await asyncio.wait([request, asyncio.create_task(waiting.wait())], return_when="FIRST_COMPLETED")
        assert not request.done(), (path, answers)
        await nobody_holds_anything(database)
        arrived.set()
        await request
        assert answers[0]["status"] in (200, 201, 204, 404, 409), (path, answers)


async def test_a_route_that_needs_no_database_takes_no_connection(database_url: str) -> None:
    """A handler without a session, an unknown path and a refused body open nothing."""
    app = application(Database(database_url))

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    async with talking(app) as client:
        assert (await client.get("/hello")).json() == "hello"
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.post("/notes", json={})).status_code == 422
        assert (await client.get("/notes/x")).status_code == 404
    assert app.database.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
    await app.database.close()


async def test_a_pool_that_is_exhausted_is_503(database_url: str) -> None:
    """Who finds no connection in time is told to come back; then everything works."""
    options: dict[str, Any] = {"pool_size": 1, "pool_timeout": 0.05, "fast_path": False}
    async with opened(database_url, **options) as database:
        app = application(database)
        async with talking(app) as client:
            async with database.sessions() as holder:
                await holder.execute(select(Note.id))
                busy = await client.get("/notes")
                assert (busy.status_code, busy.json()["code"]) == (503, "unavailable")
                assert busy.headers["retry-after"]
            assert (await client.get("/notes")).status_code == 200


async def test_of_many_creates_of_one_value_one_wins(database: Database) -> None:
    """Of concurrent creates of one unique value exactly one is 201, all others are 409."""
    app = application(database)
    async with talking(app) as client:
        answers = await asyncio.gather(*(client.post("/notes", json={"text": "mine"}) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert await count(database) == 1


async def test_a_replacement_is_never_torn(database: Database) -> None:
    """Of concurrent PUTs each answers its own row whole, and the row is one of them whole."""
    app = application(database)
    async with talking(app) as client:
        await client.post("/notes", json={"text": "0", "copies": 0})
        bodies = [{"text": f"{number}", "copies": number} for number in range(1, 21)]
        answers = await asyncio.gather(*(client.put("/notes/1", json=body) for body in bodies))
        assert [answer.json() for answer in answers] == [{"id": 1, **body} for body in bodies]
        row = (await client.get("/notes/1")).json()
    assert str(row["copies"]) == row["text"]


async def test_a_deadlock_is_run_again(database_url: str) -> None:
    """Of two transactions that wait for each other the database ends one; repeated, both succeed."""
    if database_url.startswith("sqlite"):
        pytest.skip("one writer at a time cannot wait for another")
    meeting = asyncio.Barrier(2)
    attempts: list[int] = []

    async def touch_the_other(change: Change) -> None:
        key = change.key[0] if change.key else 0
        attempts.append(key)
        if len(attempts) <= 2:
            await meeting.wait()
        await change.session.execute(update(Note).where(Note.id == 3 - key).values(copies=Note.copies + 1))

    async with opened(database_url) as database:
        app = application(database, CrudRouter(Note, hooks={"before_update": touch_the_other}))
        async with talking(app) as client:
            for name in ("one", "two"):
                await client.post("/notes", json={"text": name})
            both = await asyncio.gather(
                *(client.patch(f"/notes/{key}", json={"text": f"patched {key}"}) for key in (1, 2))
            )
            assert [answer.status_code for answer in both] == [200, 200]
            assert len(attempts) in (3, 4)  # PostgreSQL may end both, where each has waited long enough
            assert [row["copies"] for row in (await client.get("/notes")).json()] == [2, 2]
        await nobody_holds_anything(database)


async def test_a_race_that_is_always_lost_is_503(postgresql_url: str) -> None:
    """A transaction that the database refuses three times is 503 with Retry-After."""
    attempts = []

    async def lose(change: Change) -> None:
        attempts.append(change.action)
        await change.session.execute(
            text("DO $$ BEGIN RAISE EXCEPTION 'race' USING ERRCODE = '40001'; END $$")
        )

    async with opened(postgresql_url) as database:
        app = application(database, CrudRouter(Note, hooks={"before_create": lose}))
        async with talking(app) as client:
            answer = await client.post("/notes", json={"text": "a"})
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
            assert attempts == ["create"] * 3
        await nobody_holds_anything(database)


async def test_a_reader_that_writes_too_late_is_told_to_come_back(sqlite_url: str) -> None:
    """A GET that writes after somebody else did is 503 at once: its view of the database is old."""
    async with opened(sqlite_url) as database:
        app = application(database)

        @app.get("/visit")
        async def visit(session: AsyncSession) -> None:
            await session.execute(select(Note.id))
            async with database.transaction() as work:
                await add(work, "quicker")
            session.add(Note(text="visited"))
            await session.flush()

        async with talking(app) as client:
            answer = await client.get("/visit")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert await count(database) == 1


async def test_many_writers_on_sqlite(sqlite_url: str) -> None:
    """64 concurrent writers, by statements, by hooks and by handlers: all succeed and every row is there."""
    async with opened(sqlite_url) as database:
        app = application(database)
        CrudRouter(Note, hooks={"before_create": lambda change: None}).register_routes(app, prefix="/hooked")

        @app.post("/handler")
        async def handler(session: AsyncSession, note: str) -> None:
            held = await session.scalar(select(Note.id).limit(1))
            session.add(Note(text=f"{note} after {held}"))

        async with talking(app) as client:

            async def write(number: int) -> int:
                ways = [
                    client.post("/notes", json={"text": f"{number}"}),
                    client.post("/hooked/notes", json={"text": f"{number}"}),
                    client.post(f"/handler?note={number}"),
                ]
                for number_of_way, way in enumerate(ways):
                    if number_of_way != number % 3:
                        way.close()
                return (await ways[number % 3]).status_code

            statuses = await asyncio.gather(*(write(number) for number in range(192)))
        assert set(statuses) == {201, 204}
        assert await count(database) == 192


async def test_a_session_comes_before_the_first_statement(quick: Database) -> None:
    """A unit of work has one executor: asking for a session in mid-transaction is a mistake that is told."""
    work = quick.unit_of_work()
    await run(work, COUNT)
    if quick.driver is None:
        assert work.has_session
    else:
        with pytest.raises(RuntimeError, match="before the first statement"):
            work.session()
    await work.rollback()
    assert work.session() is work.session()
    await work.rollback()


async def test_a_failed_transaction_is_never_acknowledged(postgresql_url: str) -> None:
    """Committing after a swallowed error is refused where PostgreSQL would have rolled back in silence."""
    async with opened(postgresql_url) as database:
        work = database.unit_of_work()
        await add(work, "same")
        with pytest.raises(Exception, match="unique"):
            await add(work, "same")
        with pytest.raises(Busy):
            await work.commit()
        assert await count(database) == 0
        await nobody_holds_anything(database)


async def test_a_plan_that_has_become_stale_is_made_anew(postgresql_url: str) -> None:
    """A table that changes its shape while connections remember their plans costs no error."""
    async with opened(postgresql_url) as database:
        app = application(database)
        hooked = CrudRouter(Note, load_relationships=[], hooks={"before_update": lambda change: None})
        hooked.register_routes(app, prefix="/hooked")
        async with talking(app) as client:
            await client.post("/notes", json={"text": "a"})
            ways = [("GET", "/notes"), ("PATCH", "/notes/1"), ("PATCH", "/hooked/notes/1")]
            for round_ in range(3):
                for method, path in ways:
                    body = None if method == "GET" else {"text": f"{round_} {path}"}
                    assert (await client.request(method, path, json=body)).status_code == 200, (path, round_)
                async with database.engine.begin() as connection:
                    kind = ("BIGINT", "INTEGER")[round_ % 2]
                    await connection.execute(text(f"ALTER TABLE notes ALTER COLUMN copies TYPE {kind}"))


async def test_statements_that_end_badly_do_not_come_back(postgresql_url: str) -> None:
    """A connection on which a statement timed out is not handed to anybody else."""
    options = {"connect_args": {"command_timeout": 0.2}, "pool_size": 1}
    async with opened(postgresql_url, **options) as database:
        slow = database.query(text("SELECT pg_sleep(1)").columns(Note.id))
        work = database.unit_of_work()
        with pytest.raises(ConnectionLost):
            await work.run_alone(slow, {})
        with pytest.raises(ConnectionLost):
            await work.run(slow, {})
        await work.rollback()
        async with database.sessions() as session:
            with pytest.raises(ConnectionLost):
                await session.execute(text("SELECT pg_sleep(1)"))
        assert await count(database) == 0
        await nobody_holds_anything(database)
