"""Tokens of other issuers as a backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection

from jetio import ConfigError, Jetio, SecurityScheme

from ..context import AuthContext
from ..jwt import TokenError, read_unverified
from ..transports import BearerTransport
from .protocol import Binding, NoLogin
from .remote import RemoteAuthenticator, RemoteIssuer

__all__ = ["RemoteJWTBackend"]

Load = Callable[[Mapping[str, Any]], Awaitable[Any]]


class RemoteJWTBackend(NoLogin):
    """Accepts what these issuers have signed: `RemoteJWTBackend(RemoteIssuer(...))`.

    `await user_loader(claims)` gives the user of a token, None for nobody; without it the claims tell who it is.
    """

    method = "remote"

    def __init__(self, *issuers: RemoteIssuer, user_loader: Load | None = None) -> None:
        if not issuers:
            raise ConfigError(
                'RemoteJWTBackend() has no issuer; write RemoteJWTBackend(RemoteIssuer("...", "..."))'
            )
        if any(issuer.map_user is not None for issuer in issuers):
            raise ConfigError("RemoteJWTBackend has no accounts for map_user; write user_loader=")
        self._names = {issuer.issuer for issuer in issuers}
        self._remote = RemoteAuthenticator(AuthContext(_no_accounts), issuers, {}, None)
        self._app: Jetio | None = None
        self._load = user_loader
        self._bearer = BearerTransport()

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """The bearer token."""
        return self._remote.schemes

    def bind(self, binding: Binding) -> None:
        """Fetch keys while the application runs."""
        self._app = binding.app
        binding.app.on_build.append(lambda app: self._remote.build())
        binding.app.start_tasks.append(self._remote.start)
        binding.app.on_event("shutdown")(self._remote.stop)

    def recognises(self, connection: HTTPConnection) -> bool:
        """Whether a bearer token names one of the issuers; raises 401 for a header that holds none."""
        if "authorization" not in connection.headers:
            return False
        token = self._bearer.read(connection)
        try:
            name = read_unverified(token).claims.get("iss")
        except TokenError:
            return False
        return isinstance(name, str) and name in self._names

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The caller of the token; raises 401 for one that is not accepted, 503 for one without keys."""
        if self._app is None:
            raise ConfigError("RemoteJWTBackend is in no application; write AuthRouter(backend=...)")
        if not self.recognises(connection):
            return None
        work = self._app.database.unit_of_work(writes=False)  # it takes no connection: nothing is asked
        principal = await self._remote.identify(connection, work)
        if self._load is None or principal is None:
            return principal
        return await self._load(principal.claims)


def _no_accounts() -> Any:  # pragma: no cover - only map_user leads to accounts, and it is refused
    raise ConfigError("RemoteJWTBackend has no accounts; write user_loader=")
