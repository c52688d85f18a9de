"""A database server that goes away, hangs and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import CrudRouter, Database, Jetio
from tests.database import servers
from tests.database.notes import Model, Note, application, talking

AWAY_SECONDS, BACK_SECONDS = 10.0, 5.0


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A server of these tests alone."""
    with getattr(servers, request.param)() as server:
        yield server


@pytest.fixture
async def app(server: Any) -> AsyncIterator[Jetio]:
    """Notes by statements and, with a hook, by a session; a handler that counts them."""
    database = Database(server.url)
    hooked = CrudRouter(Note, hooks={"before_create": lambda change: None})
    app = application(database)
    hooked.register_routes(app, prefix="/hooked")

    @app.route("/count")
    async def count(session: AsyncSession) -> int:
        return int(await session.scalar(select(func.count()).select_from(Note)) or 0)

    async with database.engine.begin() as connection:
        await connection.run_sync(Model.metadata.drop_all)
        await connection.run_sync(Model.metadata.create_all)
    yield app
    await database.close()


WAYS = [
    ("GET", "/notes"),
    ("GET", "/count"),
    ("POST", "/notes"),
    ("POST", "/hooked/notes"),
    ("PATCH", "/notes/1"),
]


async def ask(client: httpx2.AsyncClient, way: tuple[str, str], text: str = "a note") -> httpx2.Response:
    method, address = way
    body = None if method == "GET" else {"text": text}
    return await asyncio.wait_for(client.request(method, address, json=body), AWAY_SECONDS)


async def answers_again(client: httpx2.AsyncClient, way: tuple[str, str]) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while (await client.request(*way)).status_code == 503:
            await asyncio.sleep(0.05)


def refused(answer: httpx2.Response) -> bool:
    return (answer.status_code, answer.json()["code"], bool(answer.headers.get("retry-after"))) == (
        503,
        "unavailable",
        True,
    )


async def test_a_stopped_server_is_503_until_it_is_back(app: Jetio, server: servers.Server) -> None:
    """Every way to the database is 503 while the server is away, and works once it is back."""
    async with talking(app) as client:
        assert (await ask(client, ("POST", "/notes"), "first")).status_code == 201
        server.stop()
        try:
            for way in WAYS * 2:
                assert refused(await ask(client, way)), way
        finally:
            server.start()
        await answers_again(client, ("GET", "/notes"))
        for number, way in enumerate(WAYS):
            assert (await ask(client, way, f"after {number}")).is_success, way
        assert len((await client.get("/notes")).json()) == 3


async def test_nobody_notices_a_restart_between_requests(app: Jetio, server: servers.Server) -> None:
    """Connections that the server has closed while nothing happened are replaced without an error."""
    async with talking(app) as client:
        starts = [ask(client, ("GET", "/notes")) for _ in range(5)] + [
            ask(client, ("GET", "/count")) for _ in range(5)
        ]
        assert all(answer.is_success for answer in await asyncio.gather(*starts))
        server.stop()
        server.start()
        await asyncio.sleep(0.05)  # the loop hears of closed connections
        for number, way in enumerate(WAYS):
            assert (await ask(client, way, f"note {number}")).status_code in (200, 201, 404), way


async def test_a_server_that_hangs_is_503_in_time(app: Jetio, server: servers.Server) -> None:
    """A server that keeps its connections and says nothing is 503 in ten seconds, and used again after."""
    async with talking(app) as client:
        assert (await ask(client, ("POST", "/notes"), "first")).status_code == 201
        await asyncio.gather(*(ask(client, ("GET", "/count")) for _ in range(3)))
        server.freeze()
        try:
            hung = await asyncio.gather(*(ask(client, way) for way in WAYS), return_exceptions=True)
        finally:
            server.thaw()
        assert [
            way for way, answer in zip(WAYS, hung, strict=True) if isinstance(answer, BaseException)
        ] == []
        assert all(refused(answer) for answer in hung if isinstance(answer, httpx2.Response))
        await answers_again(client, ("GET", "/notes"))
        for number, way in enumerate(WAYS):
            assert (await ask(client, way, f"after {number}")).is_success, way
