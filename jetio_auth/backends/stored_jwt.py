"""Signed tokens for users that the application loads itself; the session behind them is kept in a store."""

from __future__ import annotations

import base64
import hmac
import inspect
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from time import time
from types import MappingProxyType
from typing import Any

import anyio
from starlette.requests import HTTPConnection
from starlette.responses import Response

from jetio import ConfigError, Jetio, Problem, SecurityScheme, Settings, default_settings

from ..cookies import CookieTransport
from ..digests import derived, digest
from ..jwt import TokenCodec, TokenError, read_unverified
from ..passwords import Passwords
from ..session_stores.database import DatabaseSessions
from ..session_stores.store import SessionStore, stored_name
from ..sessions import Proof
from ..settings import JWTConfig, signing_keys, token_codec, unshared_key, weaknesses
from ..transports import BearerTransport, refused
from .jwt import revoked
from .protocol import REFRESH_TOKEN, Binding, is_usable, tell_claims

__all__ = ["JWTAuthBackend"]

Load = Callable[[Any], Awaitable[Any]]
Verify = Callable[[str, str], Any]
GRACE = 10
_NOBODYS = "$2b$12$Y6auU1KOr.i2fhqeZ0W4J.DHKRfo8BSBdbs8iOByOjcN/TLzQklzO"
"""Of a password that nobody knows: judging it takes as long as judging one of somebody."""
_LONGEST = 320
_HASHES = ("password_hash", "hashed_password")
_GENERATIONS = 1000
"""How many refreshes ago a refresh token may be, and still be known for one of ours."""


@dataclass(frozen=True, slots=True)
class _Session:
    """A login as it is stored: the user, the hash of the refresh token that is good, and of the one before."""

    user: Any
    epoch: str | None
    begun: int
    ends: int
    good: str
    before: str | None = None
    turned: int = 0


class JWTAuthBackend:
    """Access tokens that are signed, refresh tokens that are used once, and a session that a logout ends.

    `await user_loader(id_or_email)` gives a user or None, `password_verifier(stored_hash, password)` judges a
    password; without it `password_hash` or `hashed_password` of the user is bcrypt. `store` is where sessions are
    kept; None: the application's database.
    """

    method = "jwt"
    offers = frozenset({"login", "logout", "refresh"})

    def __init__(
        self,
        config: JWTConfig,
        user_loader: Load | None = None,
        password_verifier: Verify | None = None,
        *,
        store: SessionStore | None = None,
    ) -> None:
        if user_loader is None:
            raise ConfigError(
                "JWTAuthBackend has no users; write user_loader=..., or AuthRouter(User, jwt=config) for a model"
            )
        self.config, self._load, self._verify = config, user_loader, password_verifier
        self._store = store
        self._settings: Settings | None = None
        in_header = "header" in config.locations
        self._bearer = BearerTransport(config.token_header, config.token_prefix) if in_header else None
        self._cookies: CookieTransport | None = None

    def bind(self, binding: Binding) -> None:
        """Learn of the application: its settings, its database, and where tokens are refreshed."""
        app, config = binding.app, self.config
        self._settings = app.settings
        app.start_checks.append(self._check)
        self._store = self._store or DatabaseSessions()
        if hasattr(self._store, "bind"):
            self._store.bind(app)
        if "cookie" in config.locations:
            secure = app.settings.production if config.cookie_secure is None else config.cookie_secure
            self._cookies = CookieTransport(
                config.cookie_name,
                refresh_path=binding.refresh_path,
                secure=lambda: secure,
                httponly=config.cookie_httponly,
                samesite=config.cookie_samesite,
                key=lambda: self._key("csrf"),
            )

    def _check(self, app: Jetio) -> Sequence[str]:
        wrong = weaknesses if app.settings.production else unshared_key
        return list(wrong(self.config, app.settings))

    @property
    def writes_cookies(self) -> bool:
        """Whether a login puts tokens into cookies."""
        return "cookie" in self.config.locations

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """A bearer token, or a header or cookie of another name."""
        found = []
        if self._bearer is not None and self._bearer.is_standard:
            bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            found.append(SecurityScheme("BearerToken", bearer))
        elif self._bearer is not None:
            named = {"type": "apiKey", "in": "header", "name": self.config.token_header}
            found.append(SecurityScheme("TokenHeader", named))
        if "cookie" in self.config.locations:
            named = {"type": "apiKey", "in": "cookie", "name": self.config.cookie_name}
            found.append(SecurityScheme("TokenCookie", named))
        return found

    # ---- whose request -------------------------------------------------------------------------------------

    def recognises(self, connection: HTTPConnection) -> bool:
        """Whether there is a token that does not name another issuer."""
        token, _ = self._token(connection)
        if token is None:
            return False
        try:
            return read_unverified(token).claims.get("iss") == self.config.issuer
        except TokenError:
            return True

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The user of the token; raises 401 for one that is not accepted."""
        if not self.recognises(connection):
            return None
        token, by_cookie = self._token(connection)
        claims = self._claims(token)
        session = await self._session(claims.get("sid"))
        if session is None:
            raise revoked()
        if by_cookie and self._cookies is not None:
            self._cookies.guard(connection, str(claims["sid"]))
        user = await self._user_of(session)
        tell_claims(connection, MappingProxyType(claims))
        return user

    def _token(self, connection: HTTPConnection) -> tuple[str | None, bool]:
        """The token, and whether a cookie brought it."""
        token = self._bearer.read(connection) if self._bearer is not None else None
        if token is None and self._cookies is not None:
            return self._cookies.read(connection), True
        return token, False

    def _claims(self, token: str | None) -> dict[str, Any]:
        try:
            return self._codec.decode(token)
        except TokenError as error:
            if error.expired:
                raise refused("The access token has expired", code="token_expired") from None
            raise refused() from None

    async def _session(self, sid: Any) -> _Session | None:
        if not isinstance(sid, str):
            return None
        text = await self._kept.read(self._name(sid))
        return None if text is None else _Session(**json.loads(text))

    def _name(self, sid: str) -> str:
        """Where a session is kept: two issuers that share a store do not know each other's."""
        return stored_name("jwt" if self.config.issuer is None else f"jwt {self.config.issuer}", sid)

    async def _user_of(self, session: _Session) -> Any:
        """The user of a session; raises 401 where it is gone, disabled, or has another password."""
        user = await self._load(session.user)
        if user is None or not is_usable(user) or self._epoch(user) != session.epoch:
            raise revoked()
        return user

    # ---- a session -----------------------------------------------------------------------------------------

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Any:
        """The user with this name and password; whether there is such a user costs the same."""
        name = credentials.get("email") or credentials.get("username") or ""
        password = credentials.get("password", "")
        user = await self._load(name) if _is_storable(name) else None
        stored = _hash_of(user) if user is not None and is_usable(user) else None
        return user if await self._is_right(stored, password) else None

    async def _is_right(self, stored: str | None, password: str) -> bool:
        if self._verify is None:
            right, _ = await self._passwords.verify_and_upgrade(password, stored)
            return right and stored is not None
        given = stored or _NOBODYS
        try:
            if inspect.iscoroutinefunction(self._verify):
                told = await self._verify(given, password)
            else:
                told = await anyio.to_thread.run_sync(self._verify, given, password)
        except ValueError:  # what a password cannot be, or a hash of another kind
            return False
        return bool(told) and stored is not None

    async def login(self, connection: HTTPConnection, user: Any) -> Mapping[str, Any]:
        """The tokens of a new session."""
        now, sid, token = int(time()), secrets.token_urlsafe(24), secrets.token_urlsafe(32)
        key = user.id if isinstance(user.id, int | str) else str(user.id)
        session = _Session(key, self._epoch(user), now, now + self.config.session_max, digest(token))
        await self._kept.write(self._name(sid), _text(session), self._left(session))
        return self._pair(session, sid, token)

    async def logout(self, connection: HTTPConnection) -> None:
        """End the session of the token."""
        sid = self._claims(self._token(connection)[0])["sid"]
        await self._kept.delete(self._name(sid))

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, Any] | None:
        """The next tokens; raises 401 `token_reused` for a token that was used before, and ends its session.

        A token that was never ours ends nothing.
        """
        sid, _, token = (self._refresh_token(connection) or "").partition(".")
        if not token:
            return None
        name, session = self._name(sid), await self._session(sid)
        if session is None:
            raise _over()
        await self._user_of(session)
        given, successor, now = digest(token), self._successor(token), int(time())
        if hmac.compare_digest(given, session.good):
            turned = replace(session, good=digest(successor), before=given, turned=now)
            if await self._kept.swap(name, _text(session), _text(turned), self._left(turned)):
                return self._pair(turned, sid, successor)
            session = await self._session(sid) or session  # another request was quicker with the same token
        if given == session.before and now - session.turned <= GRACE:
            return self._pair(session, sid, successor)
        if not self._came_before(token, session):
            raise _over()
        await self._kept.delete(name)
        raise refused("The refresh token was used before; the session is over", code="token_reused")

    def _refresh_token(self, connection: HTTPConnection) -> str | None:
        given: str | None = connection.scope.get(REFRESH_TOKEN) or connection.headers.get("x-refresh-token")
        if given is None and self._cookies is not None:
            given = self._cookies.read_refresh(connection)
            if given is not None:
                self._cookies.guard_refresh(connection)
        return given

    def _pair(self, session: _Session, sid: str, token: str) -> dict[str, Any]:
        seconds = self.config.token_expiry
        claims = {"sub": str(session.user), "sid": sid, **Proof(method="password", at=session.begun).claims}
        return {
            "access_token": self._codec.encode(claims, expires_in=seconds),
            "token_type": "bearer",
            "expires_in": seconds,
            "refresh_token": f"{sid}.{token}",
            "refresh_expires_in": self._left(session),
        }

    def write_cookies(self, connection: HTTPConnection, response: Response, pair: Mapping[str, Any]) -> None:
        """Put the tokens into cookies where those are configured."""
        if self._cookies is not None:
            self._cookies.write(connection, response, pair, pair["refresh_token"].partition(".")[0])

    def clear_cookies(self, connection: HTTPConnection, response: Response) -> None:
        """Take the cookies away."""
        if self._cookies is not None:
            self._cookies.clear(connection, response)

    # ---- keys ----------------------------------------------------------------------------------------------

    @cached_property
    def _codec(self) -> TokenCodec:
        return token_codec(self.config, self._settings or default_settings())

    @cached_property
    def _passwords(self) -> Passwords:
        return Passwords(4) if (self._settings or default_settings()).env == "test" else Passwords()

    @property
    def _kept(self) -> SessionStore:
        if self._store is None:
            raise ConfigError("JWTAuthBackend is in no application; write AuthRouter(backend=...)")
        return self._store

    def _key(self, purpose: str) -> bytes:
        [first, *_] = signing_keys(self.config, self._settings or default_settings())
        return derived(purpose, first.key)

    def _epoch(self, user: Any) -> str | None:
        """What ties a session to the password of its user, where the user has one."""
        stored = _hash_of(user)
        if stored is None:
            return None
        return hmac.digest(self._key("epoch"), f"{user.id}\0{stored}".encode(), "sha256").hex()[:16]

    def _successor(self, token: str) -> str:
        digest = hmac.digest(self._key("refresh"), token.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _came_before(self, token: str, session: _Session) -> bool:
        """Whether the good token of a session descends from this one."""
        for _ in range(_GENERATIONS):
            token = self._successor(token)
            if hmac.compare_digest(digest(token), session.good):
                return True
        return False

    def _left(self, session: _Session) -> int:
        return max(1, min(self.config.refresh_token_expiry, session.ends - int(time())))


def _hash_of(user: Any) -> str | None:
    return next((stored for name in _HASHES if (stored := getattr(user, name, None)) is not None), None)


def _is_storable(name: str) -> bool:
    """Whether a database could be asked for such a name."""
    try:
        return 0 < len(name) <= _LONGEST and b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def _over() -> Problem:
    return refused("The session is over", code="token_revoked")


def _text(session: _Session) -> str:
    return json.dumps(asdict(session))
