"""The proof that the page which makes a browser send cookies is ours."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from jetio import Problem

__all__ = ["CSRF_COOKIE", "CSRF_HEADER", "CsrfGuard", "forged"]

CSRF_COOKIE, CSRF_HEADER = "csrf_token", "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class CsrfGuard:
    """By origin, and by a token in a header that is made from the session and stands in a readable cookie."""

    def __init__(
        self,
        *,
        secure: Callable[[], bool],
        samesite: Literal["lax", "strict", "none"],
        key: Callable[[], bytes],
    ) -> None:
        self._secure, self._samesite, self._key = secure, samesite, key

    def guard(self, connection: HTTPConnection, session: str) -> None:
        """Raises 403 `csrf_failed` where another site may have made the browser send this."""
        websocket = connection.scope["type"] == "websocket"
        if not websocket and connection.scope["method"] in _SAFE:
            return
        self.guard_origin(connection)
        if websocket:  # a browser cannot give it headers; its origin is always told
            if "origin" not in connection.headers:
                raise forged("The request does not tell its origin")
            return
        given = connection.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode("latin-1"), self.csrf_of(session).encode()):
            raise forged(f"The header X-CSRF-Token does not hold the value of the cookie {CSRF_COOKIE}")

    def guard_origin(self, connection: HTTPConnection) -> None:
        """Raises 403 `csrf_failed` where the browser says that another site sends this."""
        if not _same_origin(connection):
            raise forged("The request comes from another site")

    def csrf_of(self, session: str) -> str:
        """What the header must repeat in this session."""
        return hmac.digest(self._key(), session.encode(), "sha256").hex()

    def show(self, response: Response, session: str, seconds: int) -> None:
        """Put the token into its cookie."""
        response.set_cookie(
            CSRF_COOKIE,
            self.csrf_of(session),
            max_age=seconds,
            secure=self._secure(),
            httponly=False,
            samesite=self._samesite,
        )


def _same_origin(connection: HTTPConnection) -> bool:
    """By what the browser says; whoever is no browser says nothing, and holds no cookies of others."""
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin == "null" and site == "same-origin":
        return True  # a page without referrer, such as the one of a link in a mail, hides where it is
    return origin is None or _is_own(origin, connection)


def _is_own(origin: str, connection: HTTPConnection) -> bool:
    try:
        given = urlsplit(origin)
    except ValueError:
        return False
    # A proxy that ends TLS leaves http to us: only the other way round the scheme tells something.
    downgraded = connection.scope["scheme"] in ("https", "wss") and given.scheme != "https"
    host = connection.headers.get("host", "").lower()
    return bool(given.netloc) and given.netloc.lower() == host and not downgraded


def forged(detail: str) -> Problem:
    """403 for what another site may have made a browser send."""
    return Problem(403, "csrf_failed", detail)
