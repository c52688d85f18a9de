"""A backend that an application brings, as part of an AuthRouter: who finds callers, and who logs them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from jetio import ConfigError, Jetio, Problem

from ..accounts import invalid_credentials
from ..context import AuthContext
from ..csrf import CsrfGuard
from ..digests import derived
from ..events import AuthEvent, Events
from ..names import canonical_or_typed
from ..sessions import Device
from ..settings import JWTConfig, Lockout, signing_keys, weaknesses
from ..tables import backend_attempts_table
from ..throttle import Limit, Throttle, origin
from . import BackendAuthenticator, JWTAuthBackend, JWTAuthenticator, SessionAuthBackend
from .protocol import Binding, bind, is_usable, members_of

__all__ = ["Backed"]

_CSRF_SECONDS = 14 * 86400


class Backed:
    """One backend, or several as one. Logins with it are throttled, and told as events."""

    def __init__(
        self,
        backend: Any,
        context: AuthContext,
        accounts: JWTAuthenticator | None,
        role_permissions: Mapping[str, Sequence[str]],
        lockout: Lockout,
        events: Events,
    ) -> None:
        self.backend, self._context, self._accounts = backend, context, accounts
        self._lockout, self._events = lockout, events
        self._throttle: Throttle | None = None
        self.csrf = CsrfGuard(secure=lambda: context.settings.production, samesite="lax", key=self._csrf_key)
        parts = members_of(backend)
        for part in parts:
            _check(part)
        _check_tokens([accounts, *parts] if accounts is not None else parts)
        self._parts = parts
        self._by_cookie = {getattr(part, "method", "custom") for part in parts if _uses_cookies(part)}
        self.finders = [
            BackendAuthenticator(part, context, accounts, role_permissions, self.csrf) for part in parts
        ]

    def bind(self, app: Jetio, refresh_path: str) -> None:
        """Tell the backend of its application."""
        bind(self.backend, Binding(app, self._accounts is not None, refresh_path))
        if self._accounts is None:
            self._throttle = Throttle(backend_attempts_table(app.metadata))
        if self._by_cookie:
            app.start_checks.append(_check_key)

    def proves_by_cookie(self, method: str) -> bool:
        """Whether callers of this method need the readable cookie."""
        return method in self._by_cookie

    def show_csrf(self, response: Response, subject: str) -> None:
        """Put what this caller's requests must repeat into the readable cookie."""
        self.csrf.show(response, subject, _CSRF_SECONDS)

    def refuse_other_sites(self, connection: HTTPConnection) -> None:
        """Raises 403 `csrf_failed` where another site would log a browser in."""
        if self._by_cookie or any(_writes_cookies(part) for part in self._parts):
            self.csrf.guard_origin(connection)

    async def log_in(
        self, connection: HTTPConnection, name: str, password: str, device: Device
    ) -> tuple[Any, Mapping[str, Any]]:
        """The user, and what the backend tells it; raises 401 `invalid_credentials` or 429 `rate_limited`."""
        limits = self._limits(name, device.address)
        throttle = await self._admit(limits, device)
        credentials = {"email": name, "username": name, "password": password}
        user = await self.backend.authenticate(connection, credentials)
        if user is None or not is_usable(user):
            await self._events.announce(_event("login.failed", None, device))
            raise invalid_credentials()
        await throttle.clear(self._context.database, limits[0])
        await throttle.forgive(self._context.database, limits[1:])
        told = await self.backend.login(connection, user)
        await self._events.announce(_event("login.ok", str(user.id), device))
        return user, told

    @property
    def session_backend(self) -> SessionAuthBackend | None:
        """The part that reads `request.session`."""
        return next((part for part in self._parts if isinstance(part, SessionAuthBackend)), None)

    async def tell(self, name: str, user: str | None, device: Device) -> None:
        """Announce what happened."""
        await self._events.announce(_event(name, user, device))

    async def _admit(self, limits: Sequence[Limit], device: Device) -> Throttle:
        if self._throttle is None:  # pragma: no cover - the routes are there with bind alone
            raise ConfigError("this backend is in no application; call register_routes(app)")
        try:
            await self._throttle.attempt(self._context.database, limits)
        except Problem:
            await self._events.announce(_event("login.throttled", None, device))
            raise
        return self._throttle

    def _limits(self, name: str, address: str | None) -> list[Limit]:
        rule = self._lockout
        limits = [Limit("backend name", canonical_or_typed(name), rule.failures, rule.window)]
        if address is not None:
            limits.append(
                Limit("backend address", origin(address), rule.address_failures, rule.address_window)
            )
        return limits

    def _csrf_key(self) -> bytes:
        config = self._accounts.config if self._accounts is not None else JWTConfig()
        [first, *_] = signing_keys(config, self._context.settings)
        return derived("backend csrf", first.key)


def _check(backend: Any) -> None:
    if isinstance(backend, type):
        raise ConfigError(f"{backend.__name__} is a class; write AuthRouter(backend={backend.__name__}())")
    if not callable(getattr(backend, "get_current_user", None)):
        raise ConfigError(
            f"{type(backend).__name__} is no backend; write `async def get_current_user(self, connection)` in it"
        )


def _check_tokens(signers: Sequence[Any]) -> None:
    """Tokens of one issuer in one place are judged by whoever comes first; raises ConfigError."""
    seen: set[tuple[str | None, str]] = set()
    for signer in signers:
        if not isinstance(signer, JWTAuthenticator | JWTAuthBackend):
            continue
        config = signer.config
        named = {"header": f"header {config.token_header.lower()}", "cookie": f"cookie {config.cookie_name}"}
        places = {(config.issuer, named[location]) for location in config.locations}
        if places & seen:
            raise ConfigError(
                f"two parts read tokens of the issuer {config.issuer!r} from one place, and neither could tell whose "
                'a token is; give one of them JWTConfig(issuer="...")'
            )
        seen |= places


def _check_key(app: Jetio) -> Sequence[str]:
    """The readable cookie is made with the secret key."""
    return list(weaknesses(JWTConfig(), app.settings)) if app.settings.production else ()


def _uses_cookies(backend: Any) -> bool:
    return bool(getattr(backend, "uses_cookies", False))


def _writes_cookies(backend: Any) -> bool:
    return bool(getattr(backend, "writes_cookies", hasattr(backend, "write_cookies")))


def _event(name: str, user: str | None, device: Device) -> AuthEvent:
    return AuthEvent(name=name, user_id=user, address=device.address, agent=device.agent)
