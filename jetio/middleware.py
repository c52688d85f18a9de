"""The base of an application's own middleware."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .body import BodyRequest, RequestBody
from .config import Settings

__all__ = ["BaseMiddleware", "open_to_all"]

LOOKED_AT: int = Settings.model_fields["max_body"].default
"""How much of a body that the application has read `after` can still see."""


class BaseMiddleware:
    """A middleware of two moments: override `before(request)`, which may answer by returning a Response, and
    `after(request, message)`, which may change the headers of the answer's start message.

    Both may read the body: whoever reads it later gets the same bytes, and one that is too large for its
    route is 413 here as well.
    """

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
        body = RequestBody(scope, receive, self._limit)
        request = BodyRequest(body)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.after(request, message)
            await send(message)

        response = await self.before(request)
        # The application judges by its own limits, and streams what is larger than others may look at.
        rest = RequestBody(scope, body, sys.maxsize, keep=LOOKED_AT)
        await (self.app if response is None else response)(scope, rest, watched)

    def _limit(self, scope: Scope) -> int:
        """What the route of this request takes; outside of an application the usual limit."""
        limit = getattr(scope.get("app") or self.app, "body_limit", None)
        return LOOKED_AT if limit is None else limit(scope)


def open_to_all(middleware: Iterable[Middleware]) -> Iterator[str]:
    """What is wrong with CORS that lets the pages of any origin act with a person's cookies."""
    for cls, given, named in middleware:
        if not (inspect.isclass(cls) and issubclass(cls, CORSMiddleware)):
            continue
        bound = inspect.signature(cls).bind_partial(None, *given, **named)
        bound.apply_defaults()
        options = {**bound.arguments, **named}
        if options.get("allow_credentials") and _any_origin(options):
            yield (
                "CORSMiddleware allows credentials to every origin; "
                'write allow_origins=["https://the.site.that.may"]'
            )


def kept_apart(middleware: Iterable[Middleware], workers: int) -> Iterator[str]:
    """What several workers need in common, and keep each by itself: it says so by `one_process = True`."""
    for cls, given, named in middleware if workers > 1 else ():
        for part in (*given, *named.values()):
            if getattr(part, "one_process", False):
                yield (
                    f"{getattr(cls, '__name__', cls)} has {type(part).__name__}, which one process knows alone, and "
                    f"there are {workers} workers; give it one that they share, or run one worker"
                )


def _any_origin(options: Mapping[str, Any]) -> bool:
    pattern = options.get("allow_origin_regex")
    strangers = ("https://qzx.example", "http://qzx.test:1", "null")
    return "*" in options.get("allow_origins", ()) or (
        pattern is not None and any(re.fullmatch(pattern, origin) for origin in strangers)
    )
