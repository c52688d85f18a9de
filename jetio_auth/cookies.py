"""Tokens in cookies, and the proof that the page which sends them is ours."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

from .csrf import CSRF_COOKIE, CSRF_HEADER, CsrfGuard, forged
from .transports import refused

__all__ = ["CSRF_COOKIE", "CSRF_HEADER", "REFRESH_COOKIE", "CookieTransport", "the_cookie"]

REFRESH_COOKIE = "refresh_token"


class CookieTransport(CsrfGuard):
    """A token in a cookie that scripts cannot read.

    Cookies come along whichever page sends the request: for one that changes something, and for a WebSocket, the
    origin must be our own and the header must repeat the token in the readable cookie, which is made from the
    session, so that a cookie planted by a neighbour is of no use (OWASP ASVS 5, 3.5.1).
    """

    def __init__(
        self,
        name: str,
        *,
        refresh_path: str,
        secure: Callable[[], bool],
        httponly: bool,
        samesite: Literal["lax", "strict", "none"],
        key: Callable[[], bytes],
    ) -> None:
        super().__init__(secure=secure, samesite=samesite, key=key)
        self.name, self._refresh_path, self._httponly = name, refresh_path, httponly

    def read(self, connection: HTTPConnection) -> str | None:
        """The access token, None where there is none; raises 401 where the cookie stands twice."""
        return the_cookie(connection, self.name)

    def read_refresh(self, connection: HTTPConnection) -> str | None:
        """The refresh token, None where there is none; raises 401 where the cookie stands twice."""
        return the_cookie(connection, REFRESH_COOKIE)

    def guard_refresh(self, connection: HTTPConnection) -> None:
        """The same for a refresh token in a cookie, whose session is not known yet: header and cookie agree."""
        self.guard_origin(connection)
        given, kept = connection.headers.get(CSRF_HEADER, ""), connection.cookies.get(CSRF_COOKIE, "")
        if not kept or not hmac.compare_digest(given.encode("latin-1"), kept.encode("latin-1", "replace")):
            raise forged(f"The header X-CSRF-Token does not hold the value of the cookie {CSRF_COOKIE}")

    def expired(self, connection: HTTPConnection, name: str) -> dict[str, str]:
        """The header of a refusal that takes a dead cookie away."""
        path = self._refresh_place(connection) if name == REFRESH_COOKIE else "/"
        return {"Set-Cookie": f"{name}=; Max-Age=0; Path={path}; HttpOnly"}

    def _refresh_place(self, connection: HTTPConnection) -> str:
        place: str = connection.scope.get("root_path", "") + self._refresh_path
        return place

    def write(
        self, connection: HTTPConnection, response: Response, pair: Mapping[str, Any], session: str
    ) -> None:
        """Put the tokens into cookies; the refresh token goes to its own route alone."""
        self._set(response, self.name, pair["access_token"], pair["expires_in"])
        lasting = pair.get("refresh_expires_in", pair["expires_in"])
        if "refresh_token" in pair:
            self._set(
                response, REFRESH_COOKIE, pair["refresh_token"], lasting, path=self._refresh_place(connection)
            )
        self._set(response, CSRF_COOKIE, self.csrf_of(session), lasting, httponly=False)

    def clear(self, connection: HTTPConnection, response: Response) -> None:
        """Take the cookies away."""
        place = self._refresh_place(connection)
        for name, path in ((self.name, "/"), (REFRESH_COOKIE, place), (CSRF_COOKIE, "/")):
            response.delete_cookie(
                name,
                path=path,
                secure=self._secure(),
                httponly=self._httponly and name != CSRF_COOKIE,
                samesite=self._samesite,
            )

    def _set(
        self,
        response: Response,
        name: str,
        value: str,
        seconds: int,
        *,
        path: str = "/",
        httponly: bool | None = None,
    ) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=path,
            secure=self._secure(),
            httponly=self._httponly if httponly is None else httponly,
            samesite=self._samesite,
        )


def the_cookie(connection: HTTPConnection, name: str) -> str | None:
    """The value of a cookie, None where there is none.

    Raises 401 for two of one name: a neighbour's page may have planted one, and nobody can tell which is ours.
    """
    lines = [value.decode("latin-1") for field, value in connection.scope["headers"] if field == b"cookie"]
    named = [part for line in lines for part in line.split(";") if part.partition("=")[0].strip() == name]
    if len(named) > 1:
        raise refused(f"The cookie {name} stands twice; delete the cookies of this site")
    return connection.cookies.get(name) or None
