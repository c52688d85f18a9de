"""Where passkeys belong: the domain and the addresses of its pages, as configured and never as a request says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from jetio import ConfigError, Settings

from ..domain import own_address

__all__ = ["PasskeySettings", "place_of"]

_LOCAL = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasskeySettings:
    """`rp_id` is the domain that passkeys belong to, for ever: those made under another one are lost.

    `origins` are the addresses of the pages that use them, on this domain or below it: `https://app.example.com`.
    `name` is what browsers show, by default the title of the application. For `AuthRouter(passkeys=...)`.
    """

    rp_id: str
    origins: Sequence[str]
    name: str | None = None

    def __post_init__(self) -> None:
        mistakes = [*self._domain_mistakes()]
        if isinstance(self.origins, str) or not self.origins:
            mistakes.append('PasskeySettings(origins=...) takes a list; write ["https://app.example.com"]')
        else:
            mistakes += [wrong for origin in self.origins for wrong in self._origin_mistakes(origin)]
        if mistakes:
            raise ConfigError.of(mistakes)

    def _domain_mistakes(self) -> Iterator[str]:
        told = self.rp_id
        if not told or told != told.lower() or urlsplit(f"//{told}").hostname != told:
            yield f'PasskeySettings(rp_id={told!r}) is no domain; write "example.com"'

    def _origin_mistakes(self, origin: str) -> Iterator[str]:
        place = _read(origin)
        safe = place is not None and (place.scheme == "https" or place.host == _LOCAL)
        if place is None or not safe or origin != place.origin:
            yield (
                f"PasskeySettings(origins=[{origin!r}]) is no address of pages; "
                'write "https://app.example.com", or "http://localhost:8000" for this machine'
            )
        elif place.host != self.rp_id and not place.host.endswith(f".{self.rp_id}"):
            yield f"PasskeySettings(origins=[{origin!r}]) is not on {self.rp_id!r}; browsers would refuse it"


class _Place(NamedTuple):
    scheme: str
    host: str
    origin: str


def place_of(given: PasskeySettings | None, settings: Settings) -> PasskeySettings:
    """As given; else by `DOMAIN`; else, outside of production, this machine. Raises ConfigError."""
    if given is not None:
        return given
    address = own_address(None)
    if address is None:
        if settings.production:
            raise ConfigError(
                "passkeys belong to a domain; set DOMAIN=https://app.example.com, "
                "or write AuthRouter(passkeys=PasskeySettings(...))"
            )
        return PasskeySettings(rp_id=_LOCAL, origins=[f"http://{_LOCAL}:{settings.port}"])
    place = _read(address)
    assert place is not None  # noqa: S101 - it was read as an address
    return PasskeySettings(rp_id=place.host, origins=[place.origin])


def _read(address: object) -> _Place | None:
    try:
        parts = urlsplit(str(address))
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    usual = {"http": 80, "https": 443}[parts.scheme]
    return _Place(
        parts.scheme, host, f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")
    )
