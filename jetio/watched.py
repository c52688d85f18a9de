"""A conversation that ends with the credential that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from .errors import Problem

__all__ = ["Watched"]

RECHECK = 30.0
"""Seconds between two looks at who holds a WebSocket open: so long it may outlive a logout."""


class Watched:
    """The two ends of a WebSocket. `ask` tells why its caller may hold it no longer, or None."""

    def __init__(self, receive: Receive, send: Send, ask: Callable[[], Awaitable[Problem | None]]) -> None:
        self._receive, self._send, self._ask = receive, send, ask
        self._over: asyncio.Future[Message] | None = None
        self._task: asyncio.Task[None] | None = None
        self._open = False

    def begin(self) -> None:
        """Look again and again from now on."""
        self._over = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._watch(self._over))

    def end(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def receive(self) -> Message:
        """The next message, or that the conversation is over."""
        if self._over is None:
            return await self._receive()
        coming = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait((coming, self._over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not coming.done():
                coming.cancel()
        return self._over.result() if self._over.done() else coming.result()

    async def send(self, message: Message) -> None:
        """Send a message; raises OSError after the end, as a server does whose client has gone."""
        if self._over is not None and self._over.done():
            raise OSError("the conversation is over")
        self._open = self._open or message["type"] == "websocket.accept"
        if message["type"] == "websocket.close":
            self.end()
        await self._send(message)

    async def _watch(self, over: asyncio.Future[Message]) -> None:
        while True:
            await asyncio.sleep(RECHECK)
            problem = await self._ask()
            if problem is not None:
                code = 4000 + problem.status
                over.set_result({"type": "websocket.disconnect", "code": code, "reason": problem.code})
                if self._open:
                    await self._send({"type": "websocket.close", "code": code, "reason": problem.code})
                return
