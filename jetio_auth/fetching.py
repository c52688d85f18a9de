"""JSON from other servers: bounded in time and length, from safe addresses alone."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jetio import ConfigError

if TYPE_CHECKING:
    from httpx2 import AsyncClient

__all__ = ["FetchError", "Metadata", "Visit", "Web", "discovered", "is_safe_url"]

DISCOVERY = "/.well-known/openid-configuration"
_SECONDS = 5.0
_LARGEST = 256 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Compressed answers would be small on the way and large here.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class FetchError(Exception):
    """Why there is no answer; its text is for the log. `status` is what the server said, if it did."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def is_safe_url(url: object) -> bool:
    """Whether to believe what is there: over https, or from this very machine."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        found = parts.hostname
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and found in _LOOPBACK)
    return safe and bool(found) and "@" not in parts.netloc and not parts.fragment


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in _LOOPBACK


class Web:
    """An HTTP client for the server at an address; raises ConfigError where none is installed."""

    def __init__(self, url: str) -> None:
        self._client = _http_client()
        self._tls = _trusting(ssl.get_default_verify_paths())  # reads files, so not while serving
        # What is on this machine is not behind the proxy of the environment.
        self._outside = not _is_local(url)

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        """Requests that have a few seconds together; raises FetchError for all that goes wrong with them."""
        from httpx2 import HTTPError, InvalidURL

        client = self._client(
            verify=self._tls, timeout=_SECONDS, follow_redirects=False, trust_env=self._outside
        )
        try:
            async with asyncio.timeout(_SECONDS), client:
                yield Visit(client)
        except TimeoutError:
            raise FetchError(f"no whole answer within {_SECONDS:.0f} s") from None
        except (HTTPError, InvalidURL, OSError) as error:
            raise FetchError(f"{type(error).__name__}: {error}") from error


class Visit:
    """Requests for JSON."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, url: str, *, token: str | None = None) -> Any:
        """What is at an address, asked for with an access token if there is one."""
        return await self._ask("GET", url, {"Authorization": f"Bearer {token}"} if token is not None else {})

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The answer to a form."""
        return await self._ask("POST", url, headers, dict(form))

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], form: dict[str, str] | None = None
    ) -> Any:
        body = bytearray()
        async with self._client.stream(method, url, headers={**_HEADERS, **headers}, data=form) as response:
            if response.status_code != 200:
                raise FetchError(f"{url} answered {response.status_code}", status=response.status_code)
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _LARGEST:
                    raise FetchError(f"{url} answered more than {_LARGEST} bytes")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise FetchError(f"{url} answered no JSON") from None


@dataclass(frozen=True, slots=True)
class Metadata:
    """The discovery document of an issuer."""

    issuer: str
    told: Mapping[str, Any]

    def endpoint(self, name: str) -> str:
        """An address in it; raises FetchError for none, and for one that is not safe."""
        url = self.told.get(name)
        # An issuer elsewhere has nothing on this machine.
        if (
            not isinstance(url, str)
            or not is_safe_url(url)
            or (_is_local(url) and not _is_local(self.issuer))
        ):
            raise FetchError(f"its discovery document names no {name} on https")
        return url


async def discovered(visit: Visit, issuer: str) -> Metadata:
    """What an issuer says of itself (OpenID Connect Discovery, section 4.3)."""
    document = await visit.get(issuer.rstrip("/") + DISCOVERY)
    told = document if isinstance(document, dict) else {}
    if told.get("issuer") != issuer:
        raise FetchError("its discovery document is of another issuer")
    return Metadata(issuer, told)


@lru_cache(maxsize=4)
def _trusting(certificates: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """One for all servers: reading the certificates takes longer than building a router."""
    return ssl.create_default_context()


def _http_client() -> type[AsyncClient]:
    try:
        from httpx2 import AsyncClient
    except ImportError:
        raise ConfigError(
            "tokens and logins of others need an HTTP client; install it with: pip install 'jetio[oauth]'"
        ) from None
    return AsyncClient
