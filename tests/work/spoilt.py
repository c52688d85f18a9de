"""The same application with one needless thing at every request: what the budgets have to notice."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import select

from tests.work.application import Post, Workload, application

__all__ = ["SPOILT", "WASTE", "spoilt"]


async def _ask(app: Any) -> None:
    async with app.database.transaction(writes=False) as work:
        await work.run_alone(app.database.shaped("waste", lambda: select(Post.id).limit(1)), {})


async def _cross(app: Any) -> None:
    await asyncio.to_thread(int)


async def _inspect(app: Any) -> None:
    inspect.signature(application)


async def _tie(app: Any) -> None:
    knot: list[Any] = []
    knot.append(knot)


async def _detach(app: Any) -> None:
    await asyncio.ensure_future(asyncio.sleep(0))


async def _hoard(app: Any) -> None:
    bytearray(100_000)


WASTE: Mapping[str, Callable[[Any], Awaitable[None]]] = {
    "statements": _ask,
    "hops": _cross,
    "opcodes": _inspect,
    "garbage": _tie,
    "tasks": _detach,
    "peak": _hoard,
}
SPOILT = {name: Workload("GET", f"/posts/7?{name}", 200) for name in WASTE}


def spoilt(url: str) -> Any:
    """The application behind a door that wastes what the query string says."""
    app = application(url)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        waste = WASTE.get(scope.get("query_string", b"").decode())
        if waste is None:
            await app(scope, receive, send)
        else:
            await waste(app)
            await app({**scope, "query_string": b""}, receive, send)

    return serve
