"""The base of an application's own middleware."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BaseMiddleware"]


class BaseMiddleware:
    """A middleware of two moments: override `before(request)`, which may answer by returning a Response, and
    `after(request, message)`, which may change the headers of the answer's start message."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def before(self, request: Request) -> Response | None:
        """Runs first; None goes on."""
        return None

    async def after(self, request: Request, message: Message) -> None:
        """Runs when the answer starts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.after(request, message)
            await send(message)

        response = await self.before(request)
        await (self.app if response is None else response)(scope, receive, watched)
