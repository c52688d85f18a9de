"""The same application with one needless thing at every request: what the budgets have to notice."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select

from tests.work.application import Post, application

__all__ = ["SPOILT"]


def _spoilt(waste: Callable[[Any], Awaitable[None]]) -> Callable[[str], Any]:
    def build(url: str) -> Any:
        app = application(url)

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await waste(app)
            await app(scope, receive, send)

        return serve

    return build


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


SPOILT = {
    "statements": _spoilt(_ask),
    "hops": _spoilt(_cross),
    "opcodes": _spoilt(_inspect),
    "garbage": _spoilt(_tie),
    "tasks": _spoilt(_detach),
    "peak": _spoilt(_hoard),
}
