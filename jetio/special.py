"""Arguments that have a type of their own: the connection, the caller, the transaction, what runs later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from .call import Call
from .database import UnitOfWork
from .errors import ConfigError, unauthenticated
from .parameters import Step
from .params import MISSING
from .principal import Principal
from .signature import Signature

__all__ = ["SPECIAL_NAMES", "ReadSession", "special_step", "usual_type"]

_READS = object()
ReadSession = Annotated[AsyncSession, _READS]
"""A session that only reads: on a replica where there is one, else on the primary.

In a request that may write, or asks for an `AsyncSession` as well, it is the request's own session.
"""


async def _caller(call: Call) -> Principal:
    principal = await call.identify()
    if principal is None:
        raise unauthenticated()
    return principal


async def _optional_caller(call: Call) -> Principal | None:
    return await call.identify()


async def _read_session(call: Call) -> AsyncSession:
    return await call.read_session()


_SPECIAL: Mapping[Any, Step] = {
    Request: lambda call: call.connection,
    WebSocket: lambda call: call.connection,
    HTTPConnection: lambda call: call.connection,
    AsyncSession: lambda call: call.work.session(),
    UnitOfWork: lambda call: call.work,
    BackgroundTasks: lambda call: call.later(),
}
_ONLY_HTTP = (Request, BackgroundTasks)
_ONLY_SOCKETS = (WebSocket,)
_USUAL: Mapping[str, Any] = {
    "request": Request,
    "websocket": WebSocket,
    "db": AsyncSession,
    "session": AsyncSession,
}

SPECIAL_NAMES: Mapping[str, Any] = {
    **{kind.__name__: kind for kind in (*_SPECIAL, Principal)},
    "ReadSession": ReadSession,
}
"""These need no import where the program runs."""


def usual_type(name: str) -> Any:
    """What an argument without a type is by its name: `request`, `websocket`, `db`, `session`."""
    return _USUAL.get(name, MISSING)


def special_step(kind: Any, signature: Signature, *, socket: bool) -> Step | None:
    """What makes an argument of this type; the signature learns what it needs. None: it is not special."""
    if get_origin(kind) is Annotated:
        kind, *beside = get_args(kind)
        if kind is AsyncSession and any(item is _READS for item in beside):
            signature.holds = True
            return _read_session
    if kind in (Principal, Principal | None):
        required = kind is Principal
        signature.login = "required" if required or signature.login == "required" else "optional"
        return _caller if required else _optional_caller
    kind = get_origin(kind) or kind  # Request[State]
    if not any(kind is known for known in _SPECIAL):  # what is no class may not be hashable
        return None
    if kind in (_ONLY_HTTP if socket else _ONLY_SOCKETS):
        raise ConfigError(f"there is no {kind.__name__} here; HTTPConnection is what both have")
    signature.takes_connection |= kind in (Request, WebSocket, HTTPConnection)
    signature.holds |= kind in (AsyncSession, UnitOfWork)
    signature.may_write |= kind in (AsyncSession, UnitOfWork)
    return _SPECIAL[kind]
