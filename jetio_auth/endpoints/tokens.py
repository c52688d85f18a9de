"""The answer that carries tokens, and where a login comes from."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from jetio import JsonResponse, Request, Response

from ..backends.jwt import JWTAuthenticator, session_name
from ..cookies import REFRESH_COOKIE
from ..sessions import Device
from ..throttle import is_local

__all__ = ["NO_STORE", "TokenAnswers", "TokenPair", "device_of"]

# What proxies, content networks and clouds add to what they pass on.
_is_relay = re.compile(
    r"forwarded|via|cdn-loop|cf-(ray|visitor|connecting-.*)|x-(forwarded|original|envoy|amzn|azure)(-.*)?|"
    r".*(client|real|user|remote|cluster)-?ip(v6)?|.*-remote-addr"
).fullmatch
_OWN_NAMES = ("localhost", "test", "testserver")  # the latter are what test clients ask
_SECRET = ("access_token", "refresh_token")
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenPair(BaseModel):
    """RFC 6749, section 5.1; the refresh token is there where refreshing is on.

    Where tokens travel in cookies alone, neither stands here.
    """

    access_token: str | None = None
    token_type: str = "bearer"  # noqa: S105 - the name of a type
    expires_in: int = Field(description="Seconds")
    refresh_token: str | None = Field(default=None, description="Good for one use at /refresh")
    refresh_expires_in: int | None = Field(default=None, description="Seconds")


class TokenAnswers:
    """Puts tokens into an answer, and into cookies where those are configured."""

    def __init__(self, authenticator: JWTAuthenticator) -> None:
        self._authenticator, self._cookies = authenticator, authenticator.cookies
        self._told = "header" in authenticator.config.locations

    @property
    def problems(self) -> list[int]:
        """What cookies may be refused with."""
        return [403] if self._cookies is not None else []

    def answer(self, request: Request, pair: dict[str, Any], *, by_cookie: bool = False) -> JsonResponse:
        """A pair that no cache keeps. A browser that lives on cookies has no use for more than the times."""
        told = self._told and not by_cookie
        shown = {name: value for name, value in pair.items() if told or name not in _SECRET}
        response = JsonResponse(shown, headers=NO_STORE)
        self.write(request, response, pair)
        return response

    def write(self, request: Request, response: Response, pair: dict[str, Any]) -> None:
        """Put a pair into cookies, where those are configured."""
        if self._cookies is not None:
            claims = self._authenticator.codec.decode(pair["access_token"])
            self._cookies.write(request, response, pair, session_name(claims))

    def forget(self, request: Request, content: Any) -> JsonResponse:
        """The answer to a logout."""
        response = JsonResponse(content, headers=NO_STORE)
        if self._cookies is not None:
            self._cookies.clear(request, response)
        return response

    def refresh_cookie(self, request: Request) -> str | None:
        """The refresh token that came as a cookie; raises 403 `csrf_failed`."""
        token = self._cookies.read_refresh(request) if self._cookies is not None else None
        if token is not None and self._cookies is not None:
            self._cookies.guard_refresh(request)
        return token

    def dead_cookie(self, request: Request) -> dict[str, str]:
        """What a refusal says to a browser whose refresh token is over."""
        return self._cookies.expired(request, REFRESH_COOKIE) if self._cookies is not None else {}

    def refuse_other_sites(self, request: Request) -> None:
        """Raises 403 `csrf_failed` where another site would log a browser in."""
        if self._cookies is not None:
            self._cookies.guard_origin(request)


def device_of(request: HTTPConnection, method: str = "password") -> Device:
    """The peer's address and what the client calls itself."""
    address = request.client.host if request.client is not None else None
    relayed = address is None or _is_passed_on(request, address)
    return Device(address=address, agent=request.headers.get("user-agent"), method=method, relayed=relayed)


def _is_passed_on(request: HTTPConnection, address: str) -> bool:
    """Whether a header tells of a relay, or the client has asked another host than the one that it has reached."""
    if any(_is_relay(name) for name in request.headers):
        return True
    return is_local(address) and not _names_this_machine(request.headers.get("host", ""))


def _names_this_machine(host: str) -> bool:
    name = host.lower() if _is_ip(host) else re.sub(r":\d+$", "", host).strip("[]").lower().rstrip(".")
    return name in _OWN_NAMES or name.endswith(".localhost") or (_is_ip(name) and is_local(name))


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
