"""The answer that carries tokens, and where a login comes from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from jetio import JsonResponse, Request

from ..backends.jwt import JWTAuthenticator, session_name
from ..sessions import Device

__all__ = ["NO_STORE", "TokenAnswers", "TokenPair", "device_of"]

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenPair(BaseModel):
    """RFC 6749, section 5.1; the refresh token is there where refreshing is on."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a type
    expires_in: int = Field(description="Seconds")
    refresh_token: str | None = Field(default=None, description="Good for one use at /refresh")
    refresh_expires_in: int | None = Field(default=None, description="Seconds")


class TokenAnswers:
    """Puts tokens into an answer, and into cookies where those are configured."""

    def __init__(self, authenticator: JWTAuthenticator) -> None:
        self._authenticator, self._cookies = authenticator, authenticator.cookies

    def answer(self, pair: dict[str, Any]) -> JsonResponse:
        """A pair that no cache keeps."""
        response = JsonResponse(pair, headers=NO_STORE)
        if self._cookies is not None:
            claims = self._authenticator.codec.decode(pair["access_token"])
            self._cookies.write(response, pair, session_name(claims))
        return response

    def forget(self, content: Any) -> JsonResponse:
        """The answer to a logout."""
        response = JsonResponse(content, headers=NO_STORE)
        if self._cookies is not None:
            self._cookies.clear(response)
        return response

    def refresh_cookie(self, request: Request) -> str | None:
        """The refresh token that came as a cookie."""
        return self._cookies.read_refresh(request) if self._cookies is not None else None

    def refuse_other_sites(self, request: Request) -> None:
        """Raises 403 `csrf_failed` where another site would log a browser in, or use up its refresh token."""
        if self._cookies is not None:
            self._cookies.guard_origin(request)


def device_of(request: Request, method: str = "password") -> Device:
    """The peer's address and what the client calls itself."""
    address = request.client.host[:45] if request.client is not None else None
    return Device(address=address, agent=request.headers.get("user-agent"), method=method)
