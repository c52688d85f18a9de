"""Whoever the application's own sessions say is logged in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

from jetio import ConfigError, Jetio, SecurityScheme

from ..session_stores.middleware import has_ended, renew_session
from .jwt import revoked
from .protocol import Binding, no_session, tell_claims, tell_login

__all__ = ["SessionAuthBackend"]

_log = logging.getLogger("jetio.auth")
_PROVED, _LOGIN = "_auth_time", "_login"
_MISSING = (
    "SessionAuthBackend reads request.session, and no middleware brings it; write "
    "app.add_middleware(ServerSessions, store=DatabaseSessions(app))"
)

Handler = Callable[[dict[str, Any], Any], Awaitable[Any]]
Authenticate = Callable[[Any, dict[str, str]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Named:
    """A user of whom the session knows the key, and the account's row the rest."""

    id: Any
    roles: tuple[str, ...] = ()


class SessionAuthBackend:
    """Reads `request.session`, which Starlette's `SessionMiddleware` or `ServerSessions` brings.

    `await retrieve_user_handler(session, connection)` gives the user, None for whoever may not come in; it is asked
    only where `session_key` is in the session. Without it that is the key of an account: `AuthRouter(User, ...)`,
    and only sessions that `auth.enter_session(request, user)` began are anybody's.
    `await authenticate_handler(connection, credentials)` gives who logs in here; without it nobody does.
    """

    method = "session"
    uses_cookies = True

    def __init__(
        self,
        retrieve_user_handler: Handler | None = None,
        session_key: str = "user_id",
        authenticate_handler: Authenticate | None = None,
        *,
        cookie_name: str = "session",
    ) -> None:
        self._retrieve, self._key, self._authenticate = (
            retrieve_user_handler,
            session_key,
            authenticate_handler,
        )
        self._cookie_name = cookie_name

    @property
    def offers(self) -> frozenset[str]:
        """A login only where somebody judges it."""
        return frozenset({"logout"} if self._authenticate is None else {"login", "logout"})

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """A cookie."""
        return [
            SecurityScheme("SessionCookie", {"type": "apiKey", "in": "cookie", "name": self._cookie_name})
        ]

    def bind(self, binding: Binding) -> None:
        """Raises ConfigError where nobody can tell who a session is of; without middleware, at build."""
        if self._retrieve is None and not binding.has_accounts:
            raise ConfigError(
                "SessionAuthBackend() has no accounts; write SessionAuthBackend(retrieve_user_handler=...), "
                "or AuthRouter(User, backend=SessionAuthBackend())"
            )
        binding.app.on_build.append(_check_middleware)

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The user of the session, None where it is nobody's."""
        session = _session_of(connection)
        if session.get(self._key) is None:
            return None
        if connection.scope["type"] == "websocket" and await has_ended(connection):
            return None
        login = session.get(_LOGIN)
        if isinstance(login, dict):
            tell_login(connection, login)
            tell_claims(connection, login)
        elif isinstance(session.get(_PROVED), int):
            tell_claims(connection, {"auth_time": session[_PROVED]})
        if self._retrieve is not None:
            return await self._retrieve(session, connection)
        if not isinstance(login, dict):  # nothing would end it with the password
            _log.warning("a session names an account, and no auth.enter_session(request, user) began it")
            raise revoked()
        return _Named(session[self._key])

    def enter(self, connection: HTTPConnection, key: Any, login: Mapping[str, Any]) -> None:
        """Begin a session of an account, which lasts as long as this login of it."""
        session = self._begin(connection, key)
        session[_LOGIN] = dict(login)

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Any:
        """The user with these credentials."""
        return None if self._authenticate is None else await self._authenticate(connection, credentials)

    async def login(self, connection: HTTPConnection, user: Any) -> Mapping[str, Any]:
        """A session of this user; what was in the one before is gone, and so is its id."""
        self._begin(connection, user.id)
        return {"message": "Logged in successfully"}

    def _begin(self, connection: HTTPConnection, key: Any) -> dict[str, Any]:
        session = _session_of(connection)
        session.clear()
        session[self._key] = key if isinstance(key, int | str) else str(key)
        session[_PROVED] = int(time())
        renew_session(connection)
        return session

    async def logout(self, connection: HTTPConnection) -> None:
        """Empty the session, which ends it where it is kept on the server; raises 409 `no_session`."""
        session = _session_of(connection)
        if session.get(self._key) is None:
            raise no_session()
        session.clear()

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, Any] | None:
        """Nothing: a session goes on by itself."""
        return None


def _session_of(connection: HTTPConnection) -> dict[str, Any]:
    session: dict[str, Any] | None = connection.scope.get("session")
    if session is None:
        raise ConfigError(_MISSING)
    return session


def _check_middleware(app: Jetio) -> None:
    middleware: list[Middleware] = app.user_middleware
    if not middleware:
        raise ConfigError(_MISSING)
