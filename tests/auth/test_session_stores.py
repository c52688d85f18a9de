"""Sessions of the server: a random id in the cookie, all else in a store, whichever it is."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import time_machine
from sqlalchemy import text
from starlette.testclient import TestClient

from jetio import ConfigError, Database, Jetio, Request, Settings
from jetio_auth import (
    DatabaseSessions,
    MemorySessions,
    RedisSessions,
    ServerSessions,
    SessionStore,
    renew_session,
)
from tests.auth.forum import SETTINGS, call, new_base

STORES = ["memory", "sqlite", "postgresql", "mariadb", "redis"]
Make = Callable[[Jetio], SessionStore]


@pytest.fixture(params=STORES)
def store_and_url(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[tuple[Make, str]]:
    """What makes a store of each kind for an application, and the application's database."""
    kind = request.param
    if kind == "redis":
        url = request.getfixturevalue("redis_url")
        yield (lambda app: RedisSessions(url, app=app)), "sqlite+aiosqlite://"
    elif kind == "memory":
        yield (lambda app: MemorySessions()), "sqlite+aiosqlite://"
    elif kind == "sqlite":
        yield DatabaseSessions, f"sqlite+aiosqlite:///{tmp_path}/test.db"
    else:
        with request.getfixturevalue(f"{kind}_server").fresh_database() as url:
            yield DatabaseSessions, url


def new_app(
    make: Make, url: str, settings: Settings = SETTINGS, **options: Any
) -> tuple[Jetio, SessionStore]:
    """An application with sessions."""
    app = Jetio(database=url, settings=settings, metadata=new_base().metadata)
    store = make(app)
    app.add_middleware(ServerSessions, store=store, **options)

    @app.post("/put/{word}")
    async def put(word: str, request: Request) -> None:
        request.session["word"] = word

    @app.post("/enter")
    async def enter(request: Request) -> None:
        request.session["in"] = True
        renew_session(request)

    @app.post("/clear")
    async def clear(request: Request) -> None:
        request.session.clear()

    @app.get("/see")
    async def see(request: Request) -> dict[str, Any]:
        return dict(request.session)

    return app, store


@contextmanager
def browser(make: Make, url: str, **options: Any) -> Iterator[TestClient]:
    with TestClient(new_app(make, url, **options)[0]) as client:
        yield client


def test_a_session_is_kept_and_ended(store_and_url: tuple[Make, str]) -> None:
    """What is put is there at the next request; an empty session leaves neither a row nor a cookie."""
    with browser(*store_and_url) as client:
        assert "set-cookie" not in client.get("/see").headers
        answer = client.post("/put/a")
        line = answer.headers["set-cookie"]
        assert all(part in line for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=1209600"))
        assert "Secure" not in line
        assert len(client.cookies["session"]) == 43
        assert client.get("/see").json() == {"word": "a"}
        assert "set-cookie" not in client.post("/put/b").headers
        assert client.get("/see").json() == {"word": "b"}
        kept = client.cookies["session"]
        assert "session" not in client.post("/clear").cookies
        client.cookies.set("session", kept)
        assert client.get("/see").json() == {}


def test_a_login_gets_another_id(store_and_url: tuple[Make, str]) -> None:
    """Whoever has planted or read the id before the login has nothing: it is over (session fixation)."""
    with browser(*store_and_url) as client:
        client.post("/put/a")
        before = client.cookies["session"]
        client.post("/enter")
        assert client.cookies["session"] != before
        assert client.get("/see").json() == {"word": "a", "in": True}
        client.cookies.set("session", before)
        client.cookies.delete("session", domain="testserver.local")
        assert client.get("/see", headers={"Cookie": f"session={before}"}).json() == {}


def test_an_id_of_ones_own_is_not_taken(store_and_url: tuple[Make, str]) -> None:
    """Nobody chooses his id: unknown ones, and what is none, get a new one as soon as something is kept."""
    with browser(*store_and_url) as client:
        for planted in ("x" * 43, "short", "x" * 5000, "a b", "\u00e9"):
            headers = [(b"Cookie", f"session={planted}".encode("latin-1"))]
            answer = client.post("/put/a", headers=headers)
            assert answer.cookies["session"] not in ("", planted)
            client.cookies.clear()
        twice = client.post("/put/a", headers={"Cookie": "session=a; session=b"})
        assert twice.status_code == 401


def test_of_several_who_swap_one_does(store_and_url: tuple[Make, str]) -> None:
    """The primitive of all races: a text is replaced while it is still the old one, by one of eight."""
    make, url = store_and_url
    app, store = new_app(make, url)

    async def race() -> tuple[list[bool], str | None]:
        await store.write("name", "old", 60)
        found = await asyncio.gather(*(store.swap("name", "old", f"new {number}", 60) for number in range(8)))
        return found, await store.read("name")

    async def missing() -> bool:
        await store.delete("name")
        await store.delete("name")
        return await store.swap("name", "old", "new", 60) or await store.read("name") is not None

    with TestClient(app) as client:
        assert client.portal is not None
        won, kept = client.portal.call(race)
        assert sum(won) == 1
        assert kept == f"new {won.index(True)}"
        assert client.portal.call(missing) is False


def test_a_late_answer_brings_no_session_back(store_and_url: tuple[Make, str]) -> None:
    """A request that was under way at the logout writes nothing: the session stays ended."""
    make, url = store_and_url
    app, _ = new_app(make, url)
    gate = asyncio.Event()

    @app.post("/slow")
    async def slow(request: Request) -> None:
        request.session["word"] = "late"
        await gate.wait()

    async def race(cookie: str) -> list[int]:
        headers = {"cookie": f"session={cookie}"}
        under_way = asyncio.create_task(call(app, "POST", "/slow", headers=headers))
        await asyncio.sleep(0.2)
        ended = await call(app, "POST", "/clear", headers=headers)
        gate.set()
        return [ended.status, (await under_way).status]

    with TestClient(app) as client:
        assert client.portal is not None
        client.post("/put/a")
        kept = client.cookies["session"]
        assert client.portal.call(race, kept) == [204, 204]
        client.cookies.clear()
        assert client.get("/see", headers={"Cookie": f"session={kept}"}).json() == {}


def test_a_session_expires(sqlite_url: str) -> None:
    """After `max_age` seconds it is over on the server, whatever the browser keeps, and is swept away."""
    for make in (lambda app: MemorySessions(), DatabaseSessions):
        with (
            time_machine.travel(1_800_000_000, tick=False) as clock,
            browser(make, sqlite_url, max_age=60) as client,
        ):
            client.post("/put/a")
            headers = {"Cookie": f"session={client.cookies['session']}"}
            client.cookies.clear()
            clock.shift(59)
            assert client.get("/see", headers=headers).json() == {"word": "a"}
            clock.shift(2)
            assert client.get("/see", headers=headers).json() == {}
            clock.shift(4000)
            client.post("/put/b")
    with time_machine.travel(1_800_000_000, tick=False):
        assert count(sqlite_url) == 1


def count(url: str) -> int:
    """How many sessions the database holds."""

    async def ask() -> int:
        database = Database(url)
        async with database.sessions() as session:
            found = int(await session.scalar(text("SELECT count(*) FROM jetio_auth_stored_sessions")) or 0)
        await database.close()
        return found

    return asyncio.run(ask())


def test_memory_forgets_what_is_over() -> None:
    """A thousand writes sweep: a process that runs for long does not grow."""
    store = MemorySessions()

    async def fill() -> int:
        with time_machine.travel(1_800_000_000, tick=False) as clock:
            for number in range(1000):
                await store.write(f"old {number}", "", 10)
            clock.shift(11)
            for number in range(1000):
                await store.write(f"new {number}", "", 10)
            return len(store._kept)

    assert asyncio.run(fill()) == 1000


def test_no_id_is_stored(sqlite_url: str) -> None:
    """Whoever reads the table can take over no session."""
    with browser(DatabaseSessions, sqlite_url) as client:
        client.post("/put/a")
        app: Any = client.app

        async def dump() -> str:
            async with app.database.sessions() as session:
                return str((await session.execute(text("SELECT * FROM jetio_auth_stored_sessions"))).all())

        assert client.portal is not None
        shown = client.portal.call(dump)
        assert "word" in shown
        assert client.cookies["session"] not in shown


def test_cookies_are_secure_in_production() -> None:
    """Without a word; `secure=` says otherwise."""
    settings = Settings(env="production", secret_key="0123456789abcdef" * 4)
    with browser(lambda app: MemorySessions(), "sqlite+aiosqlite://", settings=settings) as client:
        assert "Secure" in client.post("/put/a").headers["set-cookie"]
    with browser(lambda app: MemorySessions(), "sqlite+aiosqlite://", secure=True) as client:
        assert "Secure" in client.post("/put/a").headers["set-cookie"]


def test_redis_away_is_503() -> None:
    """Who is logged in cannot be known: nobody is guessed in, and nothing hangs."""
    begun = time.monotonic()
    with browser(lambda app: RedisSessions("redis://127.0.0.1:1", app=app), "sqlite+aiosqlite://") as client:
        answer = client.get("/see", headers={"Cookie": f"session={'x' * 43}"})
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
            503,
            "unavailable",
            "1",
        )
    assert time.monotonic() - begun < 10


async def test_redis_by_hand(redis_url: str) -> None:
    """Without `app=` whoever made the store closes it; what it holds outlives that."""
    first, second = RedisSessions(redis_url), RedisSessions(redis_url)
    await first.write("name", "text", 60)
    await first.close()
    assert await second.read("name") == "text"
    await second.close()


def test_redis_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client the mistake says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install 'jetio\[redis\]'"):
        RedisSessions("redis://127.0.0.1:1")


async def test_a_store_without_an_application_says_so() -> None:
    """Its mistake is told with what to write."""
    with pytest.raises(ConfigError, match=r"DatabaseSessions\(app\)"):
        await DatabaseSessions().read("name")
