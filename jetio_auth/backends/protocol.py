"""What an authentication backend is: one kind of credential, from the login to the logout."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from starlette.requests import HTTPConnection

from jetio import ConfigError, Jetio, Problem

__all__ = [
    "AdminUser",
    "AuthBackend",
    "Binding",
    "CallerFinder",
    "NoLogin",
    "bind",
    "chosen_in",
    "claims_in",
    "is_usable",
    "login_in",
    "members_of",
    "no_session",
    "offers",
    "recognises",
    "tell_chosen",
    "tell_claims",
    "tell_login",
]

_CLAIMS = "jetio_auth.claims"
_CHOSEN = "jetio_auth.backend"
_LOGIN = "jetio_auth.login"
REFRESH_TOKEN = "jetio_auth.refresh_token"  # noqa: S105 - where in the scope it is
LOGIN = ("authenticate", "login")
ENDPOINTS: Mapping[str, tuple[str, ...]] = {"login": LOGIN, "logout": ("logout",), "refresh": ("refresh",)}


class AdminUser(Protocol):
    """A user of a backend: any object with these. `is_admin`, `username` and `scopes` are read where it has them."""

    @property
    def id(self) -> Any: ...

    @property
    def email(self) -> str | None: ...

    @property
    def roles(self) -> Any: ...

    @property
    def permissions(self) -> Any: ...


class CallerFinder(Protocol):
    """The least that a backend must have: who is calling."""

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The user of a request, None where it carries no credential of this kind."""
        ...


@runtime_checkable
class AuthBackend(CallerFinder, Protocol):
    """One kind of credential, from the login to the logout: `AuthRouter(backend=...)` takes any object with these.

    `get_current_user` is all that it must have; what it has no method for is no route. It may say more:
    `uses_cookies = True` puts it under the CSRF guard, `method` names it in `Principal.method`, `schemes` documents
    it, `offers` is the set of endpoints that it wants of login, logout and refresh, and `recognises(connection)` tells
    whether a request carries its kind of credential, so that a bad one is a 401.
    """

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Any:
        """The user with these credentials (`email`, `username`, `password`), None where they are wrong."""
        ...

    async def login(self, connection: HTTPConnection, user: Any) -> Mapping[str, Any]:
        """Begin a session of this user; what the client is told, such as tokens."""
        ...

    async def logout(self, connection: HTTPConnection) -> None:
        """End the session of a request."""
        ...

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, Any] | None:
        """The next tokens of a session, None where it cannot go on."""
        ...


class NoLogin:
    """The methods of a backend whose credentials come from elsewhere: nobody logs in or out with it."""

    offers: frozenset[str] = frozenset()

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Any:
        """Nobody."""
        return None

    async def login(self, connection: HTTPConnection, user: Any) -> Mapping[str, Any]:
        """Raises ConfigError."""
        raise ConfigError(f"{type(self).__name__} begins no sessions; write another backend beside it")

    async def logout(self, connection: HTTPConnection) -> None:
        """There is nothing to end."""

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, Any] | None:
        """There is nothing to continue."""
        return None


@dataclass(frozen=True, slots=True)
class Binding:
    """What a backend learns when it is registered."""

    app: Jetio
    has_accounts: bool
    refresh_path: str


def bind(backend: Any, binding: Binding) -> None:
    """Tell a backend of its application, if it wants to know; raises ConfigError."""
    wants = getattr(backend, "bind", None)
    if wants is not None:
        wants(binding)


def members_of(backend: Any) -> list[Any]:
    """The backends that a backend consists of."""
    return [part for item in getattr(backend, "backends", [backend]) for part in _parts(item, backend)]


def _parts(item: Any, whole: Any) -> list[Any]:
    return [item] if item is whole else members_of(item)


def offers(backend: Any, endpoint: str) -> bool:
    """Whether a backend has what an endpoint calls, and wants it."""
    wanted = getattr(backend, "offers", None)
    return (wanted is None or endpoint in wanted) and all(
        callable(getattr(backend, name, None)) for name in ENDPOINTS[endpoint]
    )


def recognises(backend: Any, connection: HTTPConnection) -> bool | None:
    """Whether a request carries this kind of credential; None: the backend does not tell."""
    asked = getattr(backend, "recognises", None)
    return None if asked is None else bool(asked(connection))


def tell_claims(connection: HTTPConnection, claims: Mapping[str, Any]) -> None:
    """What the credential of a request says besides whose it is."""
    scope: MutableMapping[str, Any] = connection.scope
    scope[_CLAIMS] = claims


def claims_in(connection: HTTPConnection) -> Mapping[str, Any]:
    """What the backend has told."""
    claims: Mapping[str, Any] = connection.scope.pop(_CLAIMS, {})
    return claims


def tell_login(connection: HTTPConnection, claims: Mapping[str, Any]) -> None:
    """Which login of an account a credential stands for: it lasts no longer than that."""
    connection.scope[_LOGIN] = claims


def login_in(connection: HTTPConnection) -> Mapping[str, Any] | None:
    """What the backend has told of it; None: the credential stands for itself."""
    claims: Mapping[str, Any] | None = connection.scope.pop(_LOGIN, None)
    return claims


def tell_chosen(connection: HTTPConnection, backend: Any) -> None:
    """Which of several backends a request was for."""
    connection.scope[_CHOSEN] = backend


def chosen_in(connection: HTTPConnection, whole: Any) -> Any:
    """The backend that was chosen, else the whole."""
    return connection.scope.get(_CHOSEN, whole)


def is_usable(user: Any) -> bool:
    """Whether the user of a backend may come in: one without `is_active` may."""
    return bool(getattr(user, "is_active", True))


def no_session() -> Problem:
    """409 where a logout would end nothing: a success would say that the credential is over."""
    return Problem(409, "no_session", "This credential belongs to no session; nothing was ended")
