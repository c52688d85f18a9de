"""Keys that an application has given to programs, in a header of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection

from jetio import ConfigError, SecurityScheme

from ..digests import digest
from ..transports import BearerTransport
from .protocol import NoLogin

__all__ = ["APIKeyBackend"]

_LONGEST = 4096


class APIKeyBackend(NoLogin):
    """A key in the header `X-API-Key`. Who asks for a key has its SHA-256, so that none is stored in clear.

    `await user_loader(hashed)` gives the user of a key, None where there is none; or `keys={hashed: user}` lists
    them. `APIKeyBackend.hash(key)` is the hash.
    """

    method = "api_key"

    def __init__(
        self,
        user_loader: Callable[[str], Awaitable[Any]] | None = None,
        *,
        keys: Mapping[str, Any] | None = None,
        header: str = "X-API-Key",
    ) -> None:
        if (user_loader is None) == (keys is None):
            raise ConfigError("APIKeyBackend takes user_loader or keys; write one of them")
        wrong = [name for name in keys or () if len(name) != 64 or not set(name) <= set("0123456789abcdef")]
        if wrong:
            raise ConfigError("APIKeyBackend(keys=...) takes hashes; write {APIKeyBackend.hash(key): user}")
        self._load, self._keys = user_loader, dict(keys or {})
        self._header = header
        self._transport = BearerTransport(header, "")

    @staticmethod
    def hash(key: str) -> str:
        """What is stored of a key: its SHA-256, for it is long and random, and no password."""
        return digest(key)

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """A key in a header."""
        return [SecurityScheme("ApiKey", {"type": "apiKey", "in": "header", "name": self._header})]

    def recognises(self, connection: HTTPConnection) -> bool:
        """Whether there is such a header."""
        return self._header in connection.headers

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The user of the key; raises 401 for two keys."""
        key = self._transport.read(connection)
        if key is None or len(key) > _LONGEST:
            return None
        hashed = self.hash(key)
        return self._keys.get(hashed) if self._load is None else await self._load(hashed)
