"""The caller by an API token: its account's rights, within the scopes of the token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from types import MappingProxyType
from typing import Any

from starlette.requests import HTTPConnection

from jetio import JetioError, Principal, SecurityScheme, UnitOfWork

from ..digests import digest
from ..grants.api_tokens import PREFIX, ApiTokens, Presented, is_whole
from ..transports import BearerTransport, refused
from .jwt import JWTAuthenticator, revoked

__all__ = ["ApiTokenAuthenticator"]

_log = logging.getLogger("jetio.auth")
_BEGINNING = PREFIX.encode()
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, repr=False)  # the rows hold hashes
class _Known:
    """Whom a token stood for when its row and the account's were these."""

    row: tuple[Any, ...]
    presented: Presented
    principal: Principal


class ApiTokenAuthenticator:
    """Reads bearer tokens that begin as API tokens do, and leaves all others alone."""

    def __init__(self, accounts: JWTAuthenticator, tokens: ApiTokens) -> None:
        self._accounts, self._tokens = accounts, tokens
        self._bearer = accounts.bearer or BearerTransport()
        self._known: dict[str, _Known] = {}

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
        if not self._bearer.holds(connection, _BEGINNING):
            return None
        token = self._bearer.read(connection)
        if token is None or not token.startswith(PREFIX):
            return None
        known = await self._found(token, work)
        try:
            await self._tokens.see(known.presented)
        except JetioError:  # the database is busy: the request matters more than when the last one was
            _log.debug("the last use of an API token was not written")
        return known.principal

    async def _found(self, token: str, work: UnitOfWork) -> _Known:
        """While the rows of a token and of its account are what they were, so is the caller."""
        hashed = digest(token)
        known = self._known.get(hashed)
        result = await self._tokens.find(hashed, work) if known is not None or is_whole(token) else None
        if result is None or not result.rows:
            raise refused("The API token is not valid")
        row = tuple(result.rows[0])
        if known is not None and known.row != row:
            known = None
        presented = self._tokens.read(result) if known is None else known.presented
        if presented.expires <= time():
            raise refused("The API token has expired", code="token_expired")
        return known or self._remembered(hashed, _Known(row, presented, self._judged(presented)))

    def _remembered(self, hashed: str, known: _Known) -> _Known:
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[hashed] = known
        return known

    def _judged(self, presented: Presented) -> Principal:
        if not self._accounts.accepts(presented.account, presented.epoch):
            raise revoked()
        claims = MappingProxyType({"jti": presented.id, "iat": presented.created, "exp": presented.expires})
        return self._accounts.caller(presented.account, claims, method="api_token", scopes=presented.scopes)

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be after a login."""
        return self._accounts.principal_of(user)
