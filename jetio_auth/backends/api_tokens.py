"""The caller by an API token: its account's rights, within the scopes of the token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import time
from types import MappingProxyType
from typing import Any

from starlette.requests import HTTPConnection

from jetio import JetioError, Principal, SecurityScheme, UnitOfWork

from ..grants.api_tokens import PREFIX, ApiTokens, Presented, is_whole
from ..transports import BearerTransport, refused
from .jwt import JWTAuthenticator, revoked

__all__ = ["ApiTokenAuthenticator"]

_log = logging.getLogger("jetio.auth")
_BEGINNING = PREFIX.encode()


class ApiTokenAuthenticator:
    """Reads bearer tokens that begin as API tokens do, and leaves all others alone."""

    def __init__(self, accounts: JWTAuthenticator, tokens: ApiTokens) -> None:
        self._accounts, self._tokens = accounts, tokens
        self._bearer = accounts.bearer or BearerTransport()

    @property
    def user_model(self) -> type[Any]:
        """The model of the accounts."""
        return self._accounts.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """A bearer token that is no JWT."""
        if not self._bearer.is_standard:  # the header that the accounts' own scheme names
            return []
        bearer = {"type": "http", "scheme": "bearer", "bearerFormat": f"{PREFIX}..."}
        return [SecurityScheme("ApiToken", bearer)]

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None where there is no API token; raises 401 for one that is not accepted."""
        if not any(_BEGINNING in value for _, value in connection.scope["headers"]):
            return None
        token = self._bearer.read(connection)
        if token is None or not token.startswith(PREFIX):
            return None
        presented = await self._tokens.find(token, work) if is_whole(token) else None
        if presented is None:
            raise refused("The API token is not valid")
        principal = self._judged(presented)
        try:
            await self._tokens.see(presented)
        except JetioError:  # the database is busy: the request matters more than when the last one was
            _log.debug("the last use of an API token was not written")
        return principal

    def _judged(self, presented: Presented) -> Principal:
        if presented.expires <= time():
            raise refused("The API token has expired", code="token_expired")
        if not self._accounts.accepts(presented.account, presented.epoch):
            raise revoked()
        claims = MappingProxyType({"jti": presented.id, "iat": presented.created, "exp": presented.expires})
        return self._accounts.caller(presented.account, claims, method="api_token", scopes=presented.scopes)

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be after a login."""
        return self._accounts.principal_of(user)
