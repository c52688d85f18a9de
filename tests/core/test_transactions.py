"""One transaction per request: what it holds, when it ends, and what follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from jetio import (
    BackgroundTasks,
    Body,
    Depends,
    Jetio,
    JetioModel,
    JsonResponse,
    Principal,
    Problem,
    Request,
    UnitOfWork,
)
from jetio.testing import TestClient
from tests.core.apps import make_app
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Word(Own):
    text: Mapped[str] = mapped_column(unique=True)


async def words(app: Jetio) -> set[str]:
    """What another connection sees."""
    async with app.database.transaction(writes=False) as work:
        return set(await work.session().scalars(select(Word.text)))


def stored(client: TestClient) -> set[str]:
    assert client.portal is not None
    return client.portal.call(words, client.jetio)


@pytest.fixture
def app() -> Jetio:
    return make_app(metadata=Own.metadata)


@pytest.fixture
def client(app: Jetio) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def in_use(app: Jetio) -> int:
    """Connections of the pool that somebody holds."""
    pool: Any = app.database.engine.pool
    return int(pool.checkedout())


async def cleaning(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    yield session
    session.add(Word(text="cleaned"))


async def failing_to_clean() -> AsyncIterator[None]:
    yield
    raise Problem(409, "conflict")


def register(app: Jetio) -> None:
    @app.post("/add")
    async def add(session: AsyncSession, word: str, fail: str = "") -> Any:
        session.add(Word(text=word))
        if fail == "early":
            raise Problem(409, "conflict")
        await session.flush()
        if fail == "late":
            raise RuntimeError("no luck")
        if fail == "encoding":
            return object()
        return {"seen": sorted(await words(app))}

    @app.post("/unit")
    async def unit(work: UnitOfWork, session: AsyncSession) -> Any:
        session.add(Word(text="unit"))
        return work.session() is session

    @app.post("/cleaned")
    async def cleaned(session: AsyncSession = Depends(cleaning)) -> Any:
        session.add(Word(text="handled"))
        return "done"

    @app.post("/uncleaned")
    async def uncleaned(session: AsyncSession, _: None = Depends(failing_to_clean)) -> Any:
        session.add(Word(text="lost"))
        await session.flush()
        return "done"

    @app.post("/self")
    async def commits_itself(session: AsyncSession) -> Any:
        session.add(Word(text="kept"))
        await session.commit()
        session.add(Word(text="lost"))
        raise Problem(409, "conflict")

    @app.post("/twice")
    async def twice(session: AsyncSession) -> Any:
        session.add_all([Word(text="same"), Word(text="same")])
        return "done"

    @app.post("/answers")
    async def answers_itself(session: AsyncSession) -> Any:
        session.add(Word(text="answered"))
        return JsonResponse({"seen": sorted(await words(app))}, status_code=201)


def test_what_a_handler_wrote_is_committed_before_the_answer(app: Jetio) -> None:
    """Whoever reads the answer can read the row; nobody could before."""
    register(app)
    with TestClient(app) as client:
        assert client.post("/add?word=a").json() == {"seen": []}
        assert stored(client) == {"a"}
        assert client.post("/unit").json() is True
        assert client.post("/answers").json() == {"seen": ["a", "unit"]}
        assert stored(client) == {"a", "unit", "answered"}
        assert in_use(app) == 0


@pytest.mark.parametrize("fail", ["early", "late", "encoding"])
def test_a_request_that_fails_leaves_nothing(app: Jetio, fail: str) -> None:
    """Whether a problem was raised, or an error, or the answer had no form."""
    register(app)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post(f"/add?word=a&fail={fail}").status_code in (409, 500)
        assert (stored(client), in_use(app)) == (set(), 0)


def test_clean_up_is_part_of_the_transaction(app: Jetio) -> None:
    """It may write; when it fails nothing stays."""
    register(app)
    with TestClient(app) as client:
        assert client.post("/cleaned").json() == "done"
        assert stored(client) == {"cleaned", "handled"}
        assert client.post("/uncleaned").status_code == 409
        assert stored(client) == {"cleaned", "handled"}


def test_a_handler_may_commit_by_itself(app: Jetio) -> None:
    """What follows is a transaction of its own."""
    register(app)
    with TestClient(app) as client:
        assert client.post("/self").status_code == 409
        assert stored(client) == {"kept"}


def test_a_constraint_that_speaks_at_the_end_is_a_problem(app: Jetio) -> None:
    """Not a success, and not a 500."""
    register(app)
    with TestClient(app) as client:
        response = client.post("/twice")
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        assert stored(client) == set()


def test_who_needs_no_database_takes_no_connection(app: Jetio) -> None:
    """Nor does an unknown path: the engine is not even made."""
    app.get("/hello")(lambda: "hello")
    app.get("/idle")(lambda session: "idle")
    client = TestClient(app)
    client.get("/hello")
    client.get("/nowhere")
    client.post("/hello")
    assert "engine" not in app.database.__dict__
    client.get("/idle")
    assert in_use(app) == 0


# ---- while the body is awaited -------------------------------------------------------------------


class Finder:
    user_model = None
    schemas = ()

    async def identify(self, connection: Any, work: UnitOfWork) -> Principal | None:
        row = await work.session().scalar(text("SELECT 7"))
        return Principal(id=row, sub=str(row))

    def principal_of(self, user: Any) -> Principal:
        raise NotImplementedError


def test_nothing_is_held_while_a_body_is_awaited(app: Jetio) -> None:
    """Neither what found out the caller nor what a rule asked keeps its connection; both come first."""
    order: list[Any] = []

    async def rule(access: Any) -> Any:
        from jetio import Allow

        order.append(await access.session.scalar(text("SELECT 'rule'")))
        return Allow()

    app.use_authenticator(Finder())

    @app.post("/", policy=rule)
    async def handler(who: Principal, session: AsyncSession, given: Any = Body()) -> Any:
        order.append(await session.scalar(text("SELECT 'handler'")))
        return who.id

    def content() -> Iterator[bytes]:
        yield b"["
        order.append(in_use(app))
        yield b"]"

    with TestClient(app) as client:
        assert client.post("/", content=content(), headers={"content-type": "application/json"}).json() == 7
    assert order == ["rule", 0, "handler"]


async def drive(app: Jetio, path: str, parts: list[Any]) -> list[Any]:
    """A request whose messages are given; what was sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        part = parts.pop(0)
        return part() if callable(part) else part

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def test_a_client_that_leaves_before_its_body_is_whole_leaves_nothing(app: Jetio) -> None:
    """The handler is not called, what was opened is closed, nothing is answered."""
    log: list[str] = []

    async def opened() -> AsyncIterator[None]:
        log.append("opened")
        yield

    @app.post("/json")
    async def handler(session: AsyncSession, given: dict[str, int], _: None = Depends(opened)) -> Any:
        raise AssertionError("never called")

    @app.post("/read")
    async def read(session: AsyncSession, request: Request) -> Any:
        session.add(Word(text="lost"))
        await session.flush()
        return len(await request.body())

    await app.database.create_tables(Own.metadata)
    for path in ("/json", "/read"):
        parts = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        assert await drive(app, path, list(parts)) == []
    assert (log, await words(app), in_use(app)) == ([], set(), 0)
    await app.database.close()


async def test_a_request_that_is_cancelled_leaves_nothing(app: Jetio) -> None:
    """Whether asyncio cancels once or anyio again and again: clean-up runs to its end, all is undone."""
    log: list[str] = []
    waiting = anyio.Event()

    async def opened(session: AsyncSession) -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("cleaning")
            await anyio.sleep(0.01)
            assert await session.scalar(select(func.count()).select_from(Word)) == 1
            log.append("cleaned")

    @app.post("/")
    async def handler(session: AsyncSession, _: None = Depends(opened)) -> Any:
        session.add(Word(text="lost"))
        await session.flush()
        waiting.set()
        await anyio.sleep_forever()

    await app.database.create_tables(Own.metadata)
    task = asyncio.create_task(drive(app, "/", []))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(drive, app, "/", [])
        await waiting.wait()
        group.cancel_scope.cancel()
    assert log == ["cleaning", "cleaned"] * 2
    assert (await words(app), in_use(app)) == (set(), 0)
    await app.database.close()


SLOW = """
WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 300000) SELECT max(n) FROM counted
"""


async def test_a_statement_that_is_cancelled_leaves_no_task_behind(app: Jetio) -> None:
    """A task that nobody can end would hold up the end of the process."""
    before = asyncio.all_tasks()

    @app.post("/")
    async def handler(session: AsyncSession) -> Any:
        await session.scalar(text(SLOW))

    for _ in range(3):
        with anyio.move_on_after(0.01) as limit:
            await drive(app, "/", [])
        assert limit.cancelled_caught
    with anyio.fail_after(20):
        while asyncio.all_tasks() != before:
            await anyio.sleep(0.01)
    await app.database.close()


# ---- after the answer ----------------------------------------------------------------------------


def test_background_tasks_follow_the_answer(app: Jetio) -> None:
    """They see what was committed; of a request that failed none runs; an answer may bring its own."""
    log: list[Any] = []

    async def note(word: str) -> None:
        log.append((word, sorted(await words(app))))

    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(note, "dependency")

    @app.post("/")
    async def handler(
        session: AsyncSession, tasks: BackgroundTasks, fail: bool = False, _: None = Depends(later)
    ) -> Any:
        session.add(Word(text="a"))
        tasks.add_task(note, "handler")
        tasks.add_task(log.append, "plain")
        if fail:
            raise Problem(409, "conflict")
        return JsonResponse("sent", background=BackgroundTask(note, "answer"))

    with TestClient(app) as client:
        assert client.post("/?fail=1").status_code == 409
        assert log == []
        assert client.post("/").json() == "sent"
        assert log == [("answer", ["a"]), ("dependency", ["a"]), ("handler", ["a"]), "plain"]


async def test_the_answer_is_sent_before_its_tasks_run(app: Jetio) -> None:
    """The client does not wait for them; one that fails does not undo anything."""
    sent_before: list[int] = []
    sent: list[Any] = []

    async def task() -> None:
        sent_before.append(len(sent))
        raise RuntimeError("too late to matter")

    @app.post("/")
    async def handler(session: AsyncSession, tasks: BackgroundTasks) -> Any:
        session.add(Word(text="kept"))
        tasks.add_task(task)
        return "done"

    async def send(message: Any) -> None:
        sent.append(message)

    await app.database.create_tables(Own.metadata)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    with pytest.raises(RuntimeError, match="too late"):
        await app(scope, lambda: None, send)  # type: ignore[arg-type, return-value]  # nothing is received
    assert (sent_before, [message["type"] for message in sent]) == (
        [2],
        ["http.response.start", "http.response.body"],
    )
    assert await words(app) == {"kept"}
    await app.database.close()


def test_a_stream_opens_the_session_it_needs(app: Jetio) -> None:
    """The request's own has ended when the stream begins, and says so instead of leaking a connection."""
    errors: list[BaseException] = []

    @app.get("/own")
    async def own() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            async with app.database.sessions() as session:
                for word in await session.scalars(select(Word.text)):
                    yield word

        return StreamingResponse(lines())

    @app.get("/late")
    async def late(session: AsyncSession) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            try:
                yield str(await session.scalar(select(Word.text)))
            except InvalidRequestError as error:
                errors.append(error)

        return StreamingResponse(lines())

    with TestClient(app) as client:
        client.add(Word(text="a"))
        assert client.get("/own").text == "a"
        assert client.get("/late").text == ""
        assert "closed" in str(errors[0])
        assert in_use(app) == 0
