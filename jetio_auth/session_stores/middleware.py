"""`request.session`, kept on the server: the cookie holds an id, and a new one after each login."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jetio import default_settings

from ..cookies import the_cookie
from .store import SessionStore, stored_name

__all__ = ["ServerSessions", "has_ended", "renew_session"]

_TAKEN, _TAKEN_SECONDS = "{}", 5
"""What a session is for the moment in which it gets another id: an empty one."""
_is_id = re.compile(r"[\w-]{43}", re.ASCII).fullmatch


class StoredSession(dict[str, Any]):
    """The session of a request. `renew()` gives it another id with the answer, as every login must."""

    renewed = False
    cleared = False
    reads: Callable[[], Awaitable[str | None]] | None = None
    """How its text is read again; None for one that is stored nowhere yet."""

    def clear(self) -> None:
        """Begin anew: what is put in from now on has nothing to do with what was there."""
        self.cleared = True
        super().clear()

    def renew(self) -> None:
        """Leave the id to whoever knows it already."""
        self.renewed = True


def renew_session(connection: HTTPConnection) -> None:
    """Give the session of a request another id; call it wherever somebody logs in.

    A session that is kept in its cookie has no id, and needs none.
    """
    session = connection.scope.get("session")
    if isinstance(session, StoredSession):
        session.renew()


async def has_ended(connection: HTTPConnection) -> bool:
    """Whether the session of a connection was ended since it was read: a WebSocket reads it once, and lasts."""
    session = connection.scope.get("session")
    reads = session.reads if isinstance(session, StoredSession) else None
    return reads is not None and await reads() is None


class ServerSessions:
    """Middleware that gives every request its session: `app.add_middleware(ServerSessions, store=...)`.

    It takes the place of Starlette's `SessionMiddleware`, which keeps the session in the cookie itself, where it
    cannot be ended. `max_age` counts from the last change; `secure` None: in production.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: SessionStore,
        *,
        cookie_name: str = "session",
        max_age: int = 14 * 86400,
        secure: bool | None = None,
        samesite: Literal["lax", "strict", "none"] = "lax",
        path: str = "/",
    ) -> None:
        self._app, self._store, self._name, self._seconds = app, store, cookie_name, max_age
        self._secure, self._samesite, self._path = secure, samesite, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        given = the_cookie(HTTPConnection(scope), self._name)
        name = stored_name("session", given) if given is not None and _is_id(given) else None
        stored = await self._store.read(name) if name is not None else None
        session = StoredSession(json.loads(stored) if stored is not None else {})
        if name is not None and stored is not None:
            session.reads = partial(self._store.read, name)
        scope["session"] = session

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = await self._kept(session, name, stored, forget=given is not None)
                if cookie is not None:
                    MutableHeaders(scope=message).append("set-cookie", self._cookie(scope, *cookie))
            await send(message)

        await self._app(scope, receive, sent)

    async def _kept(
        self, session: StoredSession, name: str | None, stored: str | None, *, forget: bool
    ) -> tuple[str, int] | None:
        """Keep what the session is now; the value and age of the cookie, None where it stays as it is."""
        if not session:
            if name is not None and stored is not None:
                await self._store.delete(name)
            return ("", 0) if forget else None
        text = json.dumps(session)
        if name is not None and stored is not None and not session.renewed:
            if text != stored:
                # Where it was ended or changed meanwhile, that stands: a late answer brings no session back.
                await self._store.swap(name, stored, text, self._seconds)
            return None
        if name is not None and stored is not None and not await self._taken(session, name, stored):
            return None
        fresh = secrets.token_urlsafe(32)
        await self._store.write(stored_name("session", fresh), text, self._seconds)
        return fresh, self._seconds

    async def _taken(self, session: StoredSession, name: str, stored: str) -> bool:
        """Whether what goes on under another id may: of several requests one takes it, and none after its end."""
        if session.cleared:
            await self._store.delete(name)
            return True
        known: str | None = stored
        while known is not None and known != _TAKEN:
            if await self._store.swap(name, known, _TAKEN, _TAKEN_SECONDS):
                await self._store.delete(name)
                return True
            known = await self._store.read(name)  # another request has changed it, or ended it
        return False

    def _cookie(self, scope: Scope, value: str, seconds: int) -> str:
        settings = getattr(scope.get("app"), "settings", None) or default_settings()
        response = Response()
        response.set_cookie(
            self._name,
            value,
            max_age=seconds,
            path=self._path,
            secure=settings.production if self._secure is None else self._secure,
            httponly=True,
            samesite=self._samesite,
        )
        return response.headers["set-cookie"]
