"""What happens to accounts: a log, a table, and handlers of the application's own."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from time import time
from typing import Any

import anyio
from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import ConfigError, UnitOfWork

from .context import AuthContext

__all__ = ["EVENTS", "AuthEvent", "Events", "Handler"]

_log = logging.getLogger("jetio.auth.events")
_HOUR = 3600

EVENTS = (
    "user.registered",
    "user.approved",
    "user.rejected",
    "login.ok",
    "login.failed",
    "login.throttled",
    "logout",
    "session.ended",
    "token.refreshed",
    "token.reused",
    "password.changed",
    "api_token.created",
    "api_token.revoked",
    "password.reset",
    "email.verified",
    "email.changed",
    "admin.granted",
    "admin.revoked",
    "mfa.enabled",
    "mfa.disabled",
    "mfa.reset",
    "mfa.failed",
    "mfa.recovery_used",
    "mfa.recovery_renewed",
    "identity.linked",
    "identity.unlinked",
    "passkey.added",
    "passkey.removed",
    "passkey.failed",
    "user.disabled",
    "user.enabled",
    "user.unlocked",
    "roles.changed",
    "token.minted",
    "device.created",
    "device.approved",
    "device.rejected",
    "device.redeemed",
    "panel.created",
    "panel.updated",
    "panel.deleted",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthEvent:
    """One thing that happened; `at` in seconds since 1970, `detail` without anything secret.

    `user_id` is the account's key as text, None where there is none; `actor_id` is whoever did it, where that is
    somebody else.
    """

    name: str
    at: float = field(default_factory=time)
    user_id: str | None = None
    actor_id: str | None = None
    address: str | None = None
    agent: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Handler = Callable[[AuthEvent], Any]


class Events:
    """Keeps events in a table where there is one, and tells them to whoever listens once they are lasting."""

    def __init__(self, context: AuthContext, table: Table | None, days: int) -> None:
        self._context, self._table, self._days = context, table, days
        self._swept = 0.0
        self._handlers: list[tuple[str, Handler, bool]] = []

    def on(self, pattern: str, handler: Handler) -> Handler:
        """Call a function with each event of this name; `login.*` and `*` are patterns. Raises ConfigError."""
        if not any(fnmatchcase(name, pattern) for name in EVENTS):
            raise ConfigError(f"no event is called {pattern!r}; write one of: {', '.join(EVENTS)}")
        waits = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
        self._handlers.append((pattern, handler, waits))
        return handler

    async def write(self, event: AuthEvent, into: UnitOfWork | AsyncSession) -> None:
        """Add an event to a transaction: it is lasting when that is."""
        if self._table is None:
            return
        values = {f"v_{name}": value for name, value in _row_of(event).items()}
        if isinstance(into, AsyncSession):
            await into.execute(self._insert, values)
        else:
            await into.run(self._context.database.shaped((self, "insert"), lambda: self._insert), values)

    async def announce(self, event: AuthEvent) -> None:
        """Log an event and call the handlers; one that fails is logged, and what has happened stays."""
        _log.info("%s", event.name, extra={"event": asdict(event)})
        for pattern, handler, waits in self._handlers:
            if fnmatchcase(event.name, pattern):
                try:
                    # A plain function runs in a thread: it may wait for something.
                    await (handler(event) if waits else anyio.to_thread.run_sync(handler, event))
                except Exception:
                    _log.exception("a handler of %s failed", event.name)

    async def record(self, event: AuthEvent) -> None:
        """Write an event in a transaction of its own, then announce it."""
        if self._table is not None:
            async with self._context.database.transaction() as work:
                await self.write(event, work)
            await self._sweep()
        await self.announce(event)

    async def list(self, offset: int, limit: int, only: Mapping[str, str]) -> Sequence[AuthEvent]:
        """Events that last, the latest first; `only` narrows by name or user_id."""
        assert self._table is not None  # noqa: S101 - the route is there where the table is
        columns, names = self._table.c, tuple(sorted(only))
        statement = select(*(columns[name] for name in _STORED)).where(
            *(columns[name] == bindparam(f"only_{name}") for name in names)
        )
        page = statement.order_by(columns.id.desc()).limit(bindparam("limit_")).offset(bindparam("offset_"))
        query = self._context.database.shaped((self, "list", names), lambda: page)
        values = {f"only_{name}": only[name] for name in names} | {"limit_": limit, "offset_": offset}
        async with self._context.database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, values))
        return [_event_of(row) for row in rows]

    async def _sweep(self) -> None:
        """Once an hour drop what is older than it is kept."""
        if time() - self._swept < _HOUR or self._table is None:
            return
        self._swept = time()
        cutoff = int(time() - self._days * 86400) * 1000
        table = self._table
        expire = self._context.database.shaped(
            (self, "expire"), lambda: delete(table).where(table.c.at < bindparam("cutoff", type_=BigInteger))
        )
        async with self._context.database.transaction() as work:
            await work.run_alone(expire, {"cutoff": cutoff}, writes=True)

    @cached_property
    def _insert(self) -> Executable:
        assert self._table is not None  # noqa: S101 - asked for where there is one
        return insert(self._table).values({name: bindparam(f"v_{name}") for name in _STORED})


_STORED = ("name", "at", "user_id", "actor_id", "address", "agent", "detail")


def _row_of(event: AuthEvent) -> dict[str, Any]:
    """As it is stored: milliseconds, and the detail as a document."""
    detail = json.dumps(dict(event.detail)) if event.detail else None
    return {**asdict(event), "at": int(event.at * 1000), "detail": detail}


def _event_of(row: Sequence[Any]) -> AuthEvent:
    values = dict(zip(_STORED, row, strict=True))
    detail = json.loads(values["detail"]) if values["detail"] else {}
    return AuthEvent(**{**values, "at": values["at"] / 1000, "detail": detail})
