"""Rules and hooks that are no coroutines: they run in a thread, and nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import httpx2
import pytest
from sqlalchemy.orm import Mapped

from jetio import (
    Access,
    Allow,
    BaseMiddleware,
    Change,
    CrudRouter,
    Jetio,
    JetioModel,
    Problem,
    Request,
    Response,
)
from jetio.testing import TestClient
from tests.core.apps import make_app
from tests.registries import own_registry

ASLEEP = 0.6
TOLD: ContextVar[str] = ContextVar("TOLD", default="")
THREADS: list[tuple[int, str]] = []


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Sheep(Own):
    __tablename__ = "sheep"
    name: Mapped[str]


class Telling(BaseMiddleware):
    async def before(self, request: Request) -> Response | None:
        TOLD.set("told")
        return None


def sleep() -> None:
    THREADS.append((threading.get_ident(), TOLD.get()))
    time.sleep(ASLEEP)


def slow_rule(access: Access) -> Allow:
    sleep()
    return Allow()


def slow_dependency(request):  # type: ignore[no-untyped-def]  # as they were written
    sleep()
    return "ann"


def slow_hook(change: Change) -> None:
    sleep()
    change.values["name"] = "counted"


class SlowHook:
    def __call__(self, change: Change) -> None:
        slow_hook(change)


def flock(**options: Any) -> Jetio:
    app = make_app(metadata=Own.metadata)
    app.add_middleware(Telling)
    CrudRouter(Sheep, **options).register_routes(app)

    @app.get("/awake")
    async def awake() -> int:
        return threading.get_ident()

    return app


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options",
    [
        {"policy": {"*": slow_rule}},
        {"policy": {"*": slow_dependency}},
        {"auth_dependency": slow_dependency},
        {"hooks": {"before_create": slow_hook}},
        {"hooks": {"before_create": SlowHook()}},
    ],
)
async def test_others_are_answered_while_one_sleeps(options: dict[str, Any]) -> None:
    """A plain rule, dependency of old or hook that sleeps delays its own request and no other."""
    THREADS.clear()
    app = flock(**options)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://t") as client,
        anyio.create_task_group() as group,
    ):
        await client.get("/awake")
        answers: list[httpx2.Response] = []

        async def create() -> None:
            answers.append(await client.post("/sheep", json={"name": "dolly"}))

        group.start_soon(create)
        while not THREADS and not answers:
            await anyio.sleep(0.01)
        began, count = time.monotonic(), 0
        while not answers:
            assert (await client.get("/awake")).json() == threading.get_ident()
            count += 1
            await anyio.sleep(0.001)  # nothing in such a request waits for the loop
        assert count > 20
        assert time.monotonic() - began > ASLEEP / 2
    assert answers[0].status_code == 201, answers[0].text
    assert answers[0].json()["name"] == ("counted" if "hooks" in options else "dolly")
    assert all(thread != threading.get_ident() and told == "told" for thread, told in THREADS)


def refuse(change: Change) -> None:
    raise Problem(409, "conflict", "Not that one")


def write_more(change: Change) -> None:
    change.session.add(Sheep(name="twin"))


@pytest.mark.parametrize(("hook", "status", "rows"), [(refuse, 409, 0), (write_more, 201, 2)])
def test_plain_hooks_are_part_of_the_write(
    database_url: str, hook: Callable[[Change], None], status: int, rows: int
) -> None:
    """What one raises undoes it; what one adds to the session is written with it."""
    app = Jetio(database=database_url, metadata=Own.metadata)
    CrudRouter(Sheep, hooks={"after_create": hook}).register_routes(app)
    with TestClient(app) as client:
        assert client.post("/sheep", json={"name": "dolly"}).status_code == status
        assert len(client.get("/sheep").json()) == rows
