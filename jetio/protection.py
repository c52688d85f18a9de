"""A closed application: the rule of every route that has none of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .call import Call, Terms
from .errors import ConfigError
from .marks import is_open
from .operation import HandlerContext
from .policy import Policy
from .routing import Application, Endpoint, PathRoute

__all__ = ["Protection"]


class Protection:
    """Handlers, CRUD and WebSockets take the rule at build; all other routes are asked for as they are reached."""

    def __init__(self, rule: Policy, open_paths: Sequence[str], spares: Callable[[Any], bool]) -> None:
        self.rule, self.open_paths, self.spares = rule, tuple(open_paths), spares

    def build(self, app: Application, routes: Iterable[BaseRoute]) -> None:
        """Close the endpoints that know of no rules; raises ConfigError for an open path that is not there."""
        self.app = app
        self._terms = Terms(app, "", writes=False, limit=app.settings.max_body)
        self.rule = self.rule.bind(HandlerContext(app))
        routes = list(routes)
        for route in routes:
            if isinstance(route, PathRoute):
                route.endpoints.update(dict(self._closed(route)))
        foreign = [path for route in routes if (path := _path(route)) is not None]
        for path in self.open_paths:
            if path not in foreign:
                raise ConfigError(
                    f"open names {path!r}, and nothing is mounted there; write allow_anonymous or "
                    f"policy=public() for a handler, or one of: {', '.join(foreign) or '(nothing is mounted)'}"
                )

    def rule_of(self, endpoint: object) -> Policy | None:
        """The rule of an endpoint that has none of its own; None: it stays open."""
        return None if self.spares(endpoint) else self.rule

    def _closed(self, route: PathRoute) -> Iterator[tuple[str, Endpoint]]:
        for method, endpoint in route.endpoints.items():
            shown = getattr(endpoint, "open_in_development", False) and not self.app.settings.production
            if not (getattr(endpoint, "takes_rules", False) or shown or self.spares(endpoint)):
                yield method, _Closed(endpoint, self)

    async def handle(self, route: BaseRoute, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a mount, or a route of another framework's kind, answer whom the rule lets through."""
        if _path(route) in self.open_paths or is_open(getattr(route, "endpoint", None)):
            await route.handle(scope, receive, send)
        else:
            await self.serve(route.handle, scope, receive, send)

    async def serve(
        self, answer: ASGIApp | Callable[..., Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Identify and decide, then answer; nothing is held meanwhile, and nothing of the body is read."""
        call = Call(self._terms, scope, receive, send)
        try:
            try:
                await call.ask(self.rule)
            finally:
                await call.abandon(None)
            scope.pop("jetio.body", None)  # who answers reads it from the beginning
            await answer(scope, receive, send)
        finally:
            call.forget()


class _Closed:
    """An endpoint behind the rule."""

    takes_rules = True

    def __init__(self, endpoint: Endpoint, protection: Protection) -> None:
        self.endpoint, self._protection = endpoint, protection
        self.method, self.name, self.spec = endpoint.method, endpoint.name, endpoint.spec
        self.limit: int | None = getattr(endpoint, "limit", None)
        self.spec.rules, self.spec.secured = [protection.rule], True

    def build(self, app: Application, path: str) -> None:
        """It is built already."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._protection.serve(self.endpoint, scope, receive, send)


def _path(route: BaseRoute) -> str | None:
    return None if isinstance(route, PathRoute) else getattr(route, "path", None)
