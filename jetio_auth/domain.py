"""The address of the application, as it is configured and never as a request says."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from jetio import ConfigError, Settings

__all__ = ["address_of", "domain_weaknesses", "in_clear", "is_here", "local_address", "own_address"]


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    domain: str | None = Field(None, validation_alias="DOMAIN")


def own_address(given: str | None) -> str | None:
    """What paths are put behind: as given, else by `DOMAIN`, which is read now; None where neither says.

    Raises ConfigError for what is no address.
    """
    found = given or _Environment().domain
    return None if found is None else address_of("DOMAIN", found)


def address_of(name: str, text: str) -> str:
    """`example.com` and `https://example.com/api/` as what paths are put behind; raises ConfigError."""
    url = text if "://" in text else f"https://{text}"
    if not _is_address(url):
        raise ConfigError(f"{name} is no address; write one without query, such as https://example.com")
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    odd = "@" in parts.netloc or any(letter.isspace() or not letter.isprintable() for letter in url)
    return bool(host) and parts.scheme in ("http", "https") and not (odd or parts.query or parts.fragment)


def domain_weaknesses(given: str | None, settings: Settings) -> Iterator[str]:
    """What stops a start in production; each is a warning elsewhere."""
    address = own_address(given)
    if address is None:
        if settings.production:
            yield "no DOMAIN; set the address of this application: DOMAIN=https://example.com"
    elif in_clear(address):
        yield "DOMAIN begins with http:, and what goes there is secret; write https"


def in_clear(address: str) -> bool:
    """Whether what goes there crosses a network unencrypted; raises ValueError for what is no address."""
    parts = urlsplit(address)
    return parts.scheme == "http" and not is_here(parts.hostname or "")


def local_address(settings: Settings) -> str:
    """Where a browser on this machine finds the server: what listens everywhere has no address of that name."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here


def is_here(host: str) -> bool:
    """Whether it is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
