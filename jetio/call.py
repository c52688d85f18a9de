"""One request on its way through an operation: what its arguments are made from, and what ends with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import anyio
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from .body import BodyRequest, RequestBody
from .errors import ConfigError, Problem
from .policy import Access, Allow, Decision, Deny, Policy
from .principal import Principal, identify
from .security import CALLER

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from .database import Database, UnitOfWork
    from .routing import Application

__all__ = ["Call", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the build knows of every call of one endpoint.

    `limit` is the largest body, `keep` how much of it stays for a second reader (None: all), `reads` whether
    a session that cannot write is enough where one is asked for, `database` whose transaction the requests
    run in (None: the application's).
    """

    app: Application
    action: str
    writes: bool
    limit: int
    keep: int | None = None
    reads: bool = False
    database: Callable[[], Database] | None = None


class Call:
    """What a request carries is read when an argument asks for it, and once."""

    # Most requests ask for little: what is not asked for stays at the class.
    identified = False
    principal: Principal | None = None
    background: BackgroundTasks | None = None
    opened = False
    """Whether there is anything to end."""
    _connection: Request | WebSocket | None = None
    _body: RequestBody | None = None
    _work: UnitOfWork | None = None
    _reading: UnitOfWork | None = None
    _exits: AsyncExitStack | None = None
    _asked: Access | None = None
    _decided: tuple[Policy, ...] = ()
    _query: dict[str, list[str]] | None = None
    _cookies: Mapping[str, str] | None = None
    _before: Token[Principal | None] | None = None

    def __init__(self, terms: Terms, scope: Scope, receive: Receive, send: Send) -> None:
        self.terms, self.app, self.scope = terms, terms.app, scope
        self._receive, self._send = receive, send
        self.values: dict[Any, Any] = {}

    # ---- what the request carries ----------------------------------------------------------------

    @property
    def connection(self) -> HTTPConnection:
        """The Request, whose body is bounded, or the WebSocket."""
        return self.request if self.scope["type"] == "http" else self.socket

    @property
    def request(self) -> Request:
        """The request; its body can be read although the operation has read it."""
        if self._connection is None:
            self._connection = BodyRequest(self._bounded(), self._send)
            self.opened = True
        assert isinstance(self._connection, Request)  # noqa: S101 - the build refuses a Request for a WebSocket
        return self._connection

    @property
    def socket(self) -> WebSocket:
        """The WebSocket."""
        if self._connection is None:
            self._connection = WebSocket(self.scope, self._receive, self._send)
        assert isinstance(self._connection, WebSocket)  # noqa: S101 - the build refuses a WebSocket for a Request
        return self._connection

    def _bounded(self) -> RequestBody:
        if self._body is None:
            self._body = RequestBody(self.scope, self._receive, self.terms.limit, self.terms.keep)
            self.scope["jetio.body"] = self._body  # an exception handler may look at what was sent
        return self._body

    def body(self) -> Awaitable[bytes]:
        """The whole body; raises 413."""
        return self._bounded().read()

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query string; raises 400 for what is no text, and for NUL, which databases do not store."""
        if self._query is None:
            self._query = _read_query(self.scope["query_string"])
        return self._query

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies; raises 400 for NUL."""
        if self._cookies is None:
            lines = [value.decode("latin-1") for name, value in self.scope["headers"] if name == b"cookie"]
            self._cookies = cookie_parser(";".join(lines))
            if any("\0" in value for value in self._cookies.values()):
                raise Problem(400, "bad_request", "Text may not hold the character NUL")
        return self._cookies

    # ---- who asks --------------------------------------------------------------------------------

    async def identify(self, policy: Policy | None = None) -> Principal | None:
        """The caller, found out once: by the rule's own authenticator, else by the application's."""
        if not self.identified:
            finder = (policy.authenticator if policy is not None else None) or self.app.authenticator
            if finder is not None:
                self._know(await identify(finder, self.connection, self.work))
                self.identified = True
        return self.principal

    async def ask(self, rule: Policy) -> None:
        """Let a rule decide, once; raises the problem that the caller sees."""
        if any(rule is known for known in self._decided):
            return
        await self.identify(rule)
        access = self._access(rule)
        _admit(await rule(access), access.principal, rule)
        if access.principal is not self.principal:  # a dependency of the older kind has found the caller
            self._know(access.principal)
        self._decided += (rule,)

    def _know(self, principal: Principal | None) -> None:
        self.principal = principal
        before = CALLER.set(principal)
        self._before = self._before or before

    def forget(self) -> None:
        """Let whoever called this see the caller that was known before."""
        if self._before is not None:
            CALLER.reset(self._before)

    def _access(self, rule: Policy) -> Access:
        if self._asked is not None:
            self._asked.principal = self.principal
            return self._asked
        values = self.scope.get("path_params", {})
        verb, item_id = self.scope.get("method", "GET"), values.get("item_id", values.get("id"))
        finder = rule.authenticator or self.app.authenticator
        self._asked = Access(
            self.connection, self.principal, self.work,
            action=self.terms.action, verb=verb, item_id=item_id, finder=finder,
        )  # fmt: skip
        return self._asked

    # ---- what ends with it -----------------------------------------------------------------------

    @property
    def work(self) -> UnitOfWork:
        """The transaction of this request."""
        if self._work is None:
            self._work = self._database().unit_of_work(writes=self.terms.writes)
            self.opened = True
        return self._work

    def _database(self) -> Database:
        chosen = self.terms.database
        return self.app.database if chosen is None else chosen()

    async def read_session(self) -> AsyncSession:
        """A session that cannot write; where the request asks for one that can, that one."""
        if not self.terms.reads:
            return self.work.session()
        if self._reading is None:
            self._reading = await self._database().reading()
            self.opened = True
        return self._reading.session()

    def later(self) -> BackgroundTasks:
        """What runs after the response."""
        if self.background is None:
            self.background = BackgroundTasks()
        return self.background

    async def enter(self, manager: AbstractAsyncContextManager[Any]) -> Any:
        """Open a generator dependency; it is resumed when the call ends."""
        if self._exits is None:
            self._exits = AsyncExitStack()
            self.opened = True
        return await self._exits.enter_async_context(manager)

    async def flush(self) -> None:
        """Send what the session still holds, so that new rows have their keys."""
        if self._work is not None:
            await self._work.flush()

    async def release(self) -> None:
        """Give back what rules took: nothing is held while a body is awaited."""
        if self._work is not None:
            await self._work.commit()

    async def finish(self) -> None:
        """Clean up, last opened first, then commit: a clean-up that fails undoes everything."""
        await self._clean_up(None)
        for work in self._works():
            await work.commit()

    async def abandon(self, error: BaseException | None) -> None:
        """Clean up and roll back, also while being cancelled. What a clean-up raises instead is raised."""
        with anyio.CancelScope(shield=True):
            try:
                await self._clean_up(error)
            finally:
                for work in self._works():
                    await work.rollback()

    def _works(self) -> list[UnitOfWork]:
        return [work for work in (self._reading, self._work) if work is not None]

    async def _clean_up(self, error: BaseException | None) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.__aexit__(
                type(error) if error else None, error, error.__traceback__ if error else None
            )
        if isinstance(self._connection, Request):
            await self._connection.close()


def _read_query(raw: bytes) -> dict[str, list[str]]:
    query: dict[str, list[str]] = {}
    try:
        text = raw.decode("ascii")
        if "%" in text or "+" in text:
            pairs: Iterable[Sequence[str]] = parse_qsl(text, keep_blank_values=True, errors="strict")
        else:
            pairs = [part.partition("=")[::2] for part in text.split("&") if part]
    except ValueError:
        raise Problem(400, "bad_request", "The query string cannot be read") from None
    for name, value in pairs:
        if "\0" in value:
            raise Problem(400, "bad_request", "Text may not hold the character NUL")
        query.setdefault(name, []).append(value)
    return query


def _admit(decision: Decision, principal: Principal | None, rule: Policy) -> None:
    if isinstance(decision, Deny):
        decision.raise_for(principal)
    if not isinstance(decision, Allow):
        raise ConfigError(f"the rule {rule!r} chooses rows, and a handler has none; use it on a CrudRouter")
