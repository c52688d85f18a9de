"""The largest bodies that are taken: none of them holds the loop."""

from __future__ import annotations

import gc
import time
from typing import Any

import anyio
import httpx2
import pytest
from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from jetio import Body, CrudRouter, Jetio, JetioModel
from tests.core.apps import make_app
from tests.registries import own_registry

HELD = 0.5
LONG = 1024 * 1024 - 100


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Paper(Own):
    data: Mapped[Any] = mapped_column(JSON)


def filled(unit: str) -> str:
    return f"[{','.join([unit] * (LONG // (len(unit) + 1)))}]"


DOCUMENTS = {
    "numbers": filled("1"),
    "lists": filled("[]"),
    "objects": filled("{}"),
    "nested": filled("[[[[[[1]]]]]]"),
    "members": filled('{"a":1}'),
    "NUL": filled("[]")[:-12] + ',"\\u0000"]',
    "keys": "{" + ",".join(f'"{number:x}":1' for number in range(100_000)) + "}",
    "escapes": '["%s"]' % ("\\u00e9" * (LONG // 6)),
}


def papers() -> Jetio:
    app = make_app(metadata=Own.metadata)
    CrudRouter(Paper).register_routes(app)

    @app.post("/any")
    async def anything(data: Any = Body()) -> int:
        return len(data)

    @app.post("/numbers")
    async def numbers(data: list[int]) -> int:
        return len(data)

    return app


async def longest_pause(client: httpx2.AsyncClient, path: str, body: str) -> tuple[float, httpx2.Response]:
    """For how long the loop was held while this was answered, in time of this process: machines have others."""
    answers: list[httpx2.Response] = []

    async def send() -> None:
        headers = {"content-type": "application/json"}
        answers.append(await client.post(path, content=body.encode(), headers=headers))

    longest = 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(send)
        while not answers:
            before = time.process_time()
            await anyio.sleep(0.001)
            longest = max(longest, time.process_time() - before)
    return longest, answers[0]


@pytest.mark.alone
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_no_body_holds_the_loop(name: str) -> None:
    """A megabyte of whatever is slowest to parse leaves others their turn, taken, stored or refused."""
    document = DOCUMENTS[name]
    app = papers()
    bodies = {
        "/any": document,
        "/numbers": document,
        "/papers": f'{{"data":{document}}}',
        "/papers?": document if name == "keys" else f'{{"nothing":{document}}}',
    }
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://t") as client,
    ):
        await client.get("/papers")
        for path, body in bodies.items():
            pause, answer = await longest_pause(client, path, body)
            assert answer.status_code in (200, 201, 400, 422), answer.text
            assert pause < HELD, (path, pause)
    assert gc.isenabled()
