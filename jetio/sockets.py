"""A WebSocket handler as an endpoint: decide, make its arguments, call it, clean up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from .call import Call, Terms
from .errors import Problem
from .operation import OperationSpec, admit, read_handler
from .policy import PolicyLike
from .routing import Application
from .signature import caller
from .watched import Watched

__all__ = ["SocketOperation"]

_log = logging.getLogger("jetio")


class SocketOperation:
    """A WebSocket handler. What it writes it commits by itself; what is left open at its end is undone.

    Who is calling, and the rules, are asked again every half a minute: it ends soon after the login does.
    Its session takes no lock before it writes: a conversation that has only read keeps nobody waiting.
    """

    method = "WEBSOCKET"
    takes_rules = True

    def __init__(
        self, handler: Callable[..., Any], *, policy: PolicyLike | None = None, name: str | None = None
    ) -> None:
        self.handler = handler
        self.name: str = name or getattr(handler, "__name__", "") or type(handler).__name__
        self.policy = policy
        self.spec = OperationSpec(summary=self.name, action=self.name, listed=False)

    def build(self, app: Application, path: str) -> None:
        """Read the handler; raises one ConfigError that tells all its mistakes."""
        where = f"WebSocket {path} ({self.name})"
        self.app = app
        self.signature, self.rules = read_handler(
            self.handler, self.policy, app, self.method, path, where, app.default_rule(self)
        )
        self._make = caller(self.signature)
        self._terms = Terms(app, self.name, writes=False, limit=app.settings.max_body)
        self.spec.rules = [rule.policy for rule in self.rules]
        self.spec.needs_login = self.signature.login == "required"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watched = Watched(receive, send, lambda: self._refusal(scope, receive, send))
        call = Call(self._terms, scope, watched.receive, watched.send)
        error: BaseException | None = None
        try:
            await admit(call, self.signature, self.rules)
            if call.principal is not None:
                watched.begin()
            await self._make(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            watched.end()
            try:
                await call.abandon(error)
            finally:
                call.forget()

    async def _refusal(self, scope: Scope, receive: Receive, send: Send) -> Problem | None:
        """Why the caller would not be let in now; a database that is away refuses nobody."""
        call = Call(self._terms, scope, receive, send)
        try:
            await admit(call, self.signature, self.rules)
        except Problem as problem:
            return problem if problem.status in (401, 403, 404) else None
        except Exception:
            _log.exception("%s cannot be asked again", self.name)
        finally:
            await call.abandon(None)
            call.forget()
        return None
