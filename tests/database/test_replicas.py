"""Servers that follow the primary: what is read from them, what never is, and what happens when they are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import ForeignKey, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import (
    Access,
    Allow,
    ConfigError,
    CrudRouter,
    Database,
    Decision,
    Deny,
    Depends,
    Jetio,
    JetioModel,
    ReadSession,
    Settings,
    authenticated,
    public,
    rows,
)
from jetio import replicas as followers
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig
from tests.database import servers
from tests.database.notes import talking
from tests.registries import own_registry

PASSWORD = "correct horse battery"
SETTINGS = Settings(env="test", secret_key="a key of these tests alone, and long enough")  # type: ignore[arg-type]


SLEEPERS = (
    "SELECT FROM pg_stat_activity "
    "WHERE state = 'active' AND query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()"
)


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class User(Model, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


class Shelf(Model):
    name: Mapped[str]
    books: Mapped[list[Book]] = relationship(order_by="Book.id")


class Book(Model):
    title: Mapped[str]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelfs.id"))


class Slow(Model):
    word: Mapped[str]


class Secret(Model):
    word: Mapped[str]


@pytest.fixture(scope="module")
def primary() -> Iterator[servers.PostgreSQL]:
    """A primary of these tests alone."""
    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def first(primary: servers.PostgreSQL) -> Iterator[servers.PostgreSQL]:
    """A replica of it."""
    with servers.replica_of(primary) as server:
        yield server


@pytest.fixture(scope="module")
def second(primary: servers.PostgreSQL) -> Iterator[servers.PostgreSQL]:
    """Another replica of it."""
    with servers.replica_of(primary) as server:
        yield server


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that was away is tried again by the next request."""
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 0.0)


async def ask(server: servers.PostgreSQL, sql: str) -> Any:
    """One value that the server itself answers."""
    connection = await asyncpg.connect(server.url.replace("+asyncpg", ""))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def until(server: servers.PostgreSQL, sql: str) -> None:
    """Until the server says that this is so; one that has just started says nothing at first."""
    async with asyncio.timeout(30):
        while True:
            with suppress(asyncpg.CannotConnectNowError):
                if await ask(server, f"SELECT {sql}"):
                    return
            await asyncio.sleep(0.02)


async def follow(primary: servers.PostgreSQL, *replicas: servers.PostgreSQL) -> None:
    """Until the replicas have what the primary has."""
    position = await ask(primary, "SELECT pg_current_wal_flush_lsn()::text")
    for server in replicas:
        await until(server, f"pg_last_wal_replay_lsn() >= '{position}'::pg_lsn")


@asynccontextmanager
async def lagging(primary: servers.PostgreSQL, *replicas: servers.PostgreSQL) -> AsyncIterator[None]:
    """The replicas have all that was written until now, and nothing that is written in the block."""
    await follow(primary, *replicas)
    for server in replicas:
        await ask(server, "SELECT pg_wal_replay_pause()")
        await ask(primary, "SELECT pg_logical_emit_message(true, '', '')")  # it pauses before the next one
        await until(server, "pg_get_wal_replay_pause_state() = 'paused'")
    try:
        yield
    finally:
        for server in replicas:
            await ask(server, "SELECT pg_wal_replay_resume()")
        await follow(primary, *replicas)


async def port_of(session: AsyncSession) -> str:
    """Of the server that the session is connected to."""
    return str(await session.scalar(text("SELECT current_setting('port')")))


async def words(session: AsyncSession) -> list[str]:
    """What a handler below asks for."""
    return list(await session.scalars(select(Secret.word)))


def application(database: Database, *, panel: bool = False) -> Jetio:
    """Shelves with their books, rows behind a login, rows behind a rule that asks, and handlers of each kind."""
    app = Jetio(database=database, metadata=Model.metadata, settings=SETTINGS)
    auth = AuthRouter(User, jwt=JWTConfig(token_location=["header", "cookie"] if panel else ["header"]))
    auth.register_routes(app)
    if panel:
        Admin(app, auth=auth)

    async def known(access: Access) -> Decision:
        named = await access.session.scalar(select(func.count()).where(Secret.word == "open"))
        return Allow() if named else Deny()

    CrudRouter(Shelf, load_relationships=["books"]).register_routes(app)
    CrudRouter(Book, policy={"*": authenticated()}).register_routes(app)
    CrudRouter(Secret, policy={"GET": known, "POST": public()}).register_routes(app)

    slowly = rows(lambda access: func.pg_sleep(5).is_not(None))
    CrudRouter(Slow, policy={"GET": slowly, "POST": public()}, actions=["list", "create"]).register_routes(
        app
    )

    @app.get("/port")
    async def port(session: ReadSession) -> str:
        return await port_of(session)

    @app.get("/twice")
    async def twice(one: ReadSession, other: ReadSession) -> list[Any]:
        return [one is other, await port_of(one)]

    @app.get("/own-port")
    async def own_port(session: AsyncSession) -> str:
        return await port_of(session)

    @app.get("/both")
    async def both(session: AsyncSession, reading: ReadSession) -> list[Any]:
        return [session is reading, await port_of(reading)]

    @app.get("/below")
    async def below(reading: ReadSession, found: Annotated[list[str], Depends(words)]) -> str:
        return await port_of(reading)

    @app.post("/port")
    async def written_port(session: ReadSession) -> str:
        await session.execute(insert(Secret).values(word="posted"))
        return await port_of(session)

    @app.get("/visits")
    async def visit(session: AsyncSession) -> int:
        session.add(Secret(word="visited"))
        await session.flush()
        return int(await session.scalar(select(func.count()).where(Secret.word == "visited")) or 0)

    @app.get("/written")
    async def written(session: ReadSession) -> None:
        session.add(Secret(word="lost"))

    @app.get("/sent")
    async def sent(session: ReadSession) -> None:
        await session.execute(text("INSERT INTO secrets (word) VALUES ('lost')"))

    return app


@asynccontextmanager
async def site(
    primary: servers.PostgreSQL,
    replicas: Sequence[servers.PostgreSQL],
    *,
    panel: bool = False,
    **options: Any,
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application with empty tables; no connection is lent out once all requests are answered."""
    database = Database(primary.url, replicas=[server.url for server in replicas], **options)
    app = application(database, panel=panel)  # it brings tables
    async with database.engine.begin() as connection:
        await connection.run_sync(Model.metadata.drop_all)
        await connection.run_sync(Model.metadata.create_all)
    await follow(
        primary, *(server for server in replicas if server.process and server.process.poll() is None)
    )
    try:
        async with talking(app) as client:
            yield client
        pools = [server.engine.pool for server in database._all()]
    finally:
        await database.close()
    assert {pool.checkedout() for pool in pools} == {0}  # type: ignore[attr-defined]


async def login(client: httpx2.AsyncClient) -> dict[str, str]:
    """Headers of a new account."""
    account = {"username": "ann", "password": PASSWORD}
    assert (await client.post("/register", json=account)).status_code == 201
    token = (await client.post("/login", json=account)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def names(client: httpx2.AsyncClient) -> list[str]:
    return [row["name"] for row in (await client.get("/shelfs")).json()]


async def is_used_again(client: httpx2.AsyncClient, server: servers.PostgreSQL) -> None:
    async with asyncio.timeout(30):
        while (await client.get("/port")).json() != str(server.port):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
async def test_rows_come_from_the_replica_and_answers_of_writes_from_the_primary(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, fast_path: bool
) -> None:
    """While the replica lags, a write answers the row as it is, and lists and single rows are as they were."""
    async with site(primary, [first], fast_path=fast_path) as client:
        assert (await client.post("/shelfs", json={"name": "old"})).status_code == 201
        async with lagging(primary, first):
            assert (await client.post("/shelfs", json={"name": "new"})).json()["name"] == "new"
            changed = await client.patch("/shelfs/1", json={"name": "changed"})
            assert changed.json() == {"id": 1, "name": "changed", "books": []}
            assert await names(client) == ["old"]
            assert (await client.get("/shelfs", params={"count": "exact"})).headers["x-total-count"] == "1"
            assert (await client.get("/shelfs/1")).json()["name"] == "old"
            assert (await client.get("/shelfs/2")).status_code == 404
        assert await names(client) == ["changed", "new"]
        assert (await client.get("/shelfs/2")).json()["name"] == "new"


async def test_embedded_rows_come_from_the_same_server(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """A shelf and the books on it are of one moment."""
    async with site(primary, [first]) as client:
        headers = await login(client)
        await client.post("/shelfs", json={"name": "a"})
        await client.post("/books", json={"title": "one", "shelf_id": 1}, headers=headers)
        async with lagging(primary, first):
            await client.post("/books", json={"title": "two", "shelf_id": 1}, headers=headers)
            [shelf] = (await client.get("/shelfs", headers=headers)).json()
            assert [book["title"] for book in shelf["books"]] == ["one"]
        [shelf] = (await client.get("/shelfs", headers=headers)).json()
        assert [book["title"] for book in shelf["books"]] == ["one", "two"]


async def test_who_is_calling_is_asked_of_the_primary(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """An account that no replica knows yet is let in; a login that has just ended is refused everywhere."""
    async with site(primary, [first]) as client:
        async with lagging(primary, first):
            headers = await login(client)
            assert (await client.get("/books", headers=headers)).json() == []
            assert (await client.get("/me", headers=headers)).status_code == 200
        async with lagging(primary, first):
            assert (await client.post("/logout", headers=headers)).is_success
            assert (await client.get("/books", headers=headers)).json()["code"] == "token_revoked"
            assert (await client.get("/me", headers=headers)).status_code == 401


async def test_a_rule_that_asks_is_answered_by_the_primary(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """What a rule reads is of now; the rows that it lets through are the replica's."""
    async with site(primary, [first]) as client:
        assert (await client.get("/secrets")).status_code == 401
        async with lagging(primary, first):
            await client.post("/secrets", json={"word": "open"})
            answer = await client.get("/secrets")
            assert (answer.status_code, answer.json()) == (200, [])
        async with lagging(primary, first):
            assert (await client.get("/secrets")).json()[0]["word"] == "open"
            await ask(primary, "DELETE FROM secrets")
            assert (await client.get("/secrets")).status_code == 401


async def test_pages_for_admins_show_what_they_have_just_changed(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """Lists and forms of the admin panel are the primary's."""
    async with site(primary, [first], panel=True) as client:
        await client.post("/shelfs", json={"name": "before"})
        await login(client)
        await ask(primary, "UPDATE users SET is_admin = true")
        await client.post("/admin/login", data={"username": "ann", "password": PASSWORD})
        async with lagging(primary, first):
            await ask(primary, "UPDATE shelfs SET name = 'afterwards'")
            for page in ("list", "detail?pk=1", "edit?pk=1"):
                assert "afterwards" in (await client.get(f"/admin/shelfs/{page}")).text, page
            assert await names(client) == ["before"]


async def test_replicas_are_asked_in_turn(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, second: servers.PostgreSQL
) -> None:
    """Two replicas share the requests; a session that may write, wherever it is asked for, is the primary's."""
    async with site(primary, [first, second]) as client:
        ports = [int((await client.get("/port")).json()) for _ in range(4)]
        assert ports == [first.port, second.port, first.port, second.port]
        assert (await client.get("/own-port")).json() == str(primary.port)
        assert (await client.get("/both")).json() == [True, str(primary.port)]
        assert (await client.get("/twice")).json() == [True, str(first.port)]
        assert (await client.get("/below")).json() == str(primary.port)
        assert (await client.post("/port")).json() == str(primary.port)


async def test_a_handler_may_write_whatever_its_method(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """An `AsyncSession` of a GET reads what it wrote, and its rows are there for the next one."""
    async with site(primary, [first]) as client:
        async with lagging(primary, first):
            assert [(await client.get("/visits")).json() for _ in range(2)] == [1, 2]
        assert await ask(primary, "SELECT count(*) FROM secrets") == 2


@pytest.mark.parametrize("path", ["/written", "/sent"])
async def test_a_write_where_nothing_can_be_written_is_told(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, path: str
) -> None:
    """By objects or by SQL, on a replica as on the primary: a problem that says so, and no row."""
    for replicas in ([first], []):
        async with site(primary, replicas) as client:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "read_only")
            assert await ask(primary, "SELECT count(*) FROM secrets") == 0
            assert (await client.get("/visits")).json() == 1


@pytest.mark.parametrize("path", ["/written", "/sent"])
async def test_nothing_is_written_in_a_reading_session_of_any_database(database_url: str, path: str) -> None:
    """What a replica would refuse is refused where there are none, and only there."""
    database = Database(database_url)
    await database.create_tables(Model.metadata)
    async with talking(application(database)) as client:
        for number in (1, 2):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "read_only")
            assert (await client.get("/visits")).json() == number
        async with database.sessions() as session:
            assert list(await session.scalars(select(Secret.word))) == ["visited"] * 2
    await database.close()


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
async def test_a_replica_that_dies_is_missed_by_nobody(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, second: servers.PostgreSQL, fast_path: bool
) -> None:
    """The other one answers, then the primary, and each replica is used again once it is back."""
    async with site(primary, [first, second], fast_path=fast_path) as client:
        await client.post("/shelfs", json={"name": "a"})
        await follow(primary, first, second)
        for _ in range(4):
            assert await names(client) == ["a"]
        first.stop()
        try:
            assert {(await client.get("/port")).json() for _ in range(6)} == {str(second.port)}
            for _ in range(4):
                assert await names(client) == ["a"]
            second.stop()
            try:
                assert {(await client.get("/port")).json() for _ in range(4)} == {str(primary.port)}
                await client.post("/shelfs", json={"name": "b"})
                assert await names(client) == ["a", "b"]
                assert (await client.get("/shelfs/2")).json()["name"] == "b"
            finally:
                second.start()
            await is_used_again(client, second)
        finally:
            first.start()
        await is_used_again(client, first)
        await is_used_again(client, second)
        async with lagging(primary, first, second):
            await client.post("/shelfs", json={"name": "c"})
            assert await names(client) == ["a", "b"]


async def test_a_replica_rests_after_it_was_away(
    primary: servers.PostgreSQL,
    first: servers.PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until the pause is over it is not asked, though it is back; the log tells once that it is away."""
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 1000.0)
    async with site(primary, [first]) as client:
        first.stop()
        try:
            assert (await client.get("/port")).json() == str(primary.port)
        finally:
            first.start()
        await until(first, "true")
        assert {(await client.get("/port")).json() for _ in range(3)} == {str(primary.port)}
        assert [record.message for record in caplog.records if "is away" in record.message] == [
            f"the replica {first.url} is away; others are asked in its place"
        ]


async def test_a_read_that_the_replica_gives_up_is_done_elsewhere(
    primary: servers.PostgreSQL, first: servers.PostgreSQL
) -> None:
    """A replica that undoes a read for the sake of its own recovery is no reason to fail."""
    async with site(primary, [first]) as client:
        await client.post("/slows", json={"word": "a"})
        await follow(primary, first)
        answer = asyncio.ensure_future(client.get("/slows"))
        await until(first, f"EXISTS ({SLEEPERS})")
        await ask(primary, "TRUNCATE slows")
        assert ((await answer).status_code, (await answer).json()) == (200, [])
        assert (await client.get("/port")).json() == str(first.port)


async def test_a_replica_that_hangs_is_left_alone(
    primary: servers.PostgreSQL,
    first: servers.PostgreSQL,
    second: servers.PostgreSQL,
) -> None:
    """A statement that it does not answer in time is a 503; the next requests do not wait for it.

    An application that ends meanwhile does not wait for it either.
    """
    waits = {"command_timeout": 1.0, "timeout": 60.0}
    try:
        async with site(primary, [first, second], connect_args=waits) as client:
            assert await names(client) == []
            first.freeze()
            async with lagging(primary, second):
                await client.post("/shelfs", json={"name": "a"})
                assert await names(client) == []
                assert (await client.get("/shelfs")).status_code == 503
                assert [await names(client) for _ in range(3)] == [[], [], []]
    finally:
        first.thaw()


async def test_a_session_to_read_in_is_not_on_a_replica_that_hangs(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request waits for it and is on the primary then, as are the next ones."""
    monkeypatch.setattr(followers, "WAIT_SECONDS", 0.0)
    try:
        async with site(primary, [first], connect_args={"command_timeout": 0.5, "timeout": 60.0}) as client:
            assert (await client.get("/port")).json() == str(first.port)
            first.freeze()
            assert [(await client.get("/port")).json() for _ in range(2)] == [str(primary.port)] * 2
    finally:
        first.thaw()


async def test_a_busy_replica_is_not_away(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets none of its connections in time reads from the primary; the replica is used as before."""
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 1000.0)
    async with site(primary, [first], pool_size=1, pool_timeout=0.05) as client:
        await client.post("/slows", json={"word": "a"})
        async with lagging(primary, first):
            await client.post("/shelfs", json={"name": "a"})
            slow = asyncio.ensure_future(client.get("/slows"))
            await until(first, f"EXISTS ({SLEEPERS})")
            assert await names(client) == ["a"]
            assert (await client.get("/port")).json() == str(primary.port)
            await ask(first, SLEEPERS.replace("FROM", "pg_cancel_backend(pid) FROM"))
            assert (await slow).status_code == 503
            await is_used_again(client, first)
            assert await names(client) == []


@pytest.mark.parametrize("fast_path", [True, False], ids=["driver", "session"])
async def test_a_slow_statement_is_run_once_and_says_nothing_of_the_replica(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, monkeypatch: pytest.MonkeyPatch, fast_path: bool
) -> None:
    """It is a 503, though the primary has no slow row any more, and the replica is not left alone."""
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 1000.0)
    options: dict[str, Any] = {"connect_args": {"command_timeout": 0.5}, "fast_path": fast_path}
    async with site(primary, [first], **options) as client:
        await client.post("/slows", json={"word": "a"})
        async with lagging(primary, first):
            await ask(primary, "DELETE FROM slows")
            answer = await client.get("/slows")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            await is_used_again(client, first)


async def test_all_servers_together_have_one_time_to_answer(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that lasts longer than that is ended where it is: a 503, and its connection is not lent out."""
    monkeypatch.setattr("jetio.database.ANSWER_SECONDS", 0.5)
    async with site(primary, [first]) as client:
        await client.post("/slows", json={"word": "a"})
        await follow(primary, first)
        answer = await client.get("/slows")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        assert await names(client) == []


class Relay:
    """A way to a server; those who have come by it can be made to hear nothing more."""

    process = None

    def __init__(self, server: servers.PostgreSQL) -> None:
        self.behind = server
        self._lines = dict[asyncio.Task[None], asyncio.Event]()

    async def open(self) -> None:
        """On a port of its own."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = self.behind.url.replace(f":{self.behind.port}/", f":{self.port}/")

    async def close(self) -> None:
        """All lines are cut."""
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def silence(self) -> int:
        """Of all lines that there were until now; new ones work. How many there were."""
        for speaks in self._lines.values():
            speaks.clear()
        return len(self._lines)

    def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaks = asyncio.Event()
        speaks.set()
        self._lines[asyncio.ensure_future(self._both_ways(reader, writer, speaks))] = speaks

    async def _both_ways(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: asyncio.Event
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.behind.port)
        await asyncio.gather(_pass(reader, far_writer, speaks), _pass(far_reader, writer, speaks))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: asyncio.Event) -> None:
    try:
        while said := await reader.read(65536):
            await speaks.wait()
            writer.write(said)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def relay(first: servers.PostgreSQL) -> AsyncIterator[Relay]:
    """A way to the first replica."""
    way = Relay(first)
    await way.open()
    yield way
    await way.close()


async def test_a_replica_that_came_back_is_not_judged_by_its_silent_connections(
    primary: servers.PostgreSQL, first: servers.PostgreSQL, relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once one connection was silent the others of that time are not used again: no request waits for them."""
    async with site(primary, [relay], connect_args={"command_timeout": 0.5}) as client:
        await asyncio.gather(*(names(client) for _ in range(12)))
        assert relay.silence() > 4
        assert (await client.get("/shelfs")).status_code == 503
        await is_used_again(client, first)
        monkeypatch.setattr(followers, "PAUSE_SECONDS", 1000.0)
        answers = await asyncio.gather(*(client.get("/shelfs") for _ in range(12)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await client.get("/port")).json() == str(first.port)


async def test_silent_connections_are_left_together(primary: servers.PostgreSQL, relay: Any) -> None:
    """Closing a database does not wait for each of them as long as for a statement."""
    database = Database(relay.url, connect_args={"command_timeout": 20.0})

    async def hello() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(0.1)"))

    await asyncio.gather(*(hello() for _ in range(4)))
    assert relay.silence() == 4
    async with asyncio.timeout(15):
        await database.close()
    await hello()
    await database.close()


async def test_when_all_are_away_the_answer_is_503() -> None:
    """Neither a replica nor the primary: try again later."""
    with servers.postgresql() as lonely, servers.replica_of(lonely) as replica:
        async with site(lonely, [replica]) as client:
            assert await names(client) == []
            replica.stop()
            lonely.stop()
            for path in ("/shelfs", "/shelfs/1", "/port"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert answer.headers["retry-after"]


@pytest.mark.parametrize("driver", ["psycopg", "asyncmy", "aiomysql"])
async def test_other_drivers_have_replicas_too(request: pytest.FixtureRequest, driver: str) -> None:
    """A server that is named as its own replica answers as ever, and writes where writes belong."""
    family = "postgresql" if driver == "psycopg" else "mariadb"
    url = request.getfixturevalue(f"{family}_url").replace("asyncpg", driver).replace("asyncmy", driver)
    database = Database(url, replicas=[url])
    await database.create_tables(Model.metadata)
    async with talking(application(database)) as client:
        assert (await client.post("/shelfs", json={"name": "a"})).status_code == 201
        assert await names(client) == ["a"]
        for path in ("/written", "/sent"):
            assert (await client.get(path)).json()["code"] == "read_only"
        assert (await client.get("/visits")).json() == 1
    await database.close()


@pytest.mark.parametrize(
    ("url", "replicas", "message"),
    [
        ("sqlite:///a.db", ["sqlite:///b.db"], "a SQLite database has no replicas"),
        (
            "postgresql://a/b",
            ["mariadb://c/b"],
            r"a replica is mariadb\+asyncmy, and its primary is postgresql",
        ),
        ("postgresql://a/b", ["postgresql+psycopg://c/b"], "with the same driver"),
        ("postgresql://a/b", "postgresql://c/b", r'is no list; write replicas=\["postgresql://..."\]'),
        ("postgresql://a/b", ["nonsense"], "cannot be read"),
    ],
)
def test_what_cannot_be_a_replica_is_told(url: str, replicas: Any, message: str) -> None:
    """Another kind of server, another driver, a file, an address that is none."""
    with pytest.raises(ConfigError, match=message):
        Database(url, replicas=replicas)


@pytest.mark.parametrize(
    "options",
    [{"isolation_level": "AUTOCOMMIT"}, {"execution_options": {"isolation_level": "autocommit"}}],
)
def test_a_database_without_transactions_is_refused(options: dict[str, Any]) -> None:
    """A session that only reads could write there, and nothing would be undone."""
    with pytest.raises(ConfigError, match=r"AUTOCOMMIT.* has no transactions, which requests are; leave it"):
        Database("sqlite:///./a.db", **options)


def test_a_database_shows_its_replicas_without_passwords() -> None:
    """The representation of a database can be logged."""
    shown = repr(Database("postgresql://a:hunter2@b/c", replicas=["postgresql://d:hunter2@e/c"]))
    assert shown == (
        "Database('postgresql+asyncpg://a:***@b/c', replicas=['postgresql+asyncpg://d:***@e/c'])"
    )


def test_options_are_those_of_every_server() -> None:
    """A pool's size holds for the primary and for each replica."""
    database = Database("postgresql://a/b", replicas=["postgresql://c/b"], pool_size=3)
    assert [server.engine.pool.size() for server in database._all()] == [3, 3]  # type: ignore[attr-defined]
