"""GET /cli-login/approve: the page on which somebody lets a program in; it asks no other host for anything."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from time import gmtime, strftime
from typing import TYPE_CHECKING, Annotated

from jetio import HTMLResponse, Operation, Problem, Query, Request

from ..grants.device import Asked, code_of
from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["page_route"]

PAGES = Path(__file__).parent.parent / "pages"
_OVER = {
    "approved": "This login has been approved already.",
    "redeemed": "This login has been approved already.",
    "rejected": "This login has been rejected.",
}


def page_route(auth: AuthRouter) -> Operation:
    """The page; what it shows of the asking program helps to see through a trick (RFC 8628, section 5.4)."""

    async def approve_page(
        request: Request, code: Annotated[str | None, Query(max_length=100)] = None
    ) -> HTMLResponse:
        """The page that approves a program's login."""
        if not code:
            return _answer(_entry(request, "", ""), 200)
        if not code_of(code):
            return _answer(_entry(request, code, "This is no code."), 404)
        try:
            found = await auth.devices.shown(code, device_of(request))
        except Problem as problem:
            told = "This code is not known." if problem.status == 404 else problem.detail
            return _answer(_entry(request, code, told), problem.status, problem.headers)
        if found.is_expired:
            return _answer(_entry(request, "", "This code has expired; begin again in the program."), 410)
        if found.status != "pending":
            return _answer(_entry(request, "", _OVER[found.status]), 200)
        return _answer(_decision(auth, request, found), 200)

    return Operation("GET", approve_page, tags=["auth"], html=True, include_in_schema=False)


def _decision(auth: AuthRouter, request: Request, found: Asked) -> str:
    config, places = auth.authenticator.config, auth.places
    here = request.url.path
    root = here.removesuffix(places["device"] + "/approve")  # where the application is mounted
    return _filled(
        "device.html",
        script=_text("device.js"),
        title=auth.title,
        code=found.code,
        address=found.address or "unknown",
        agent=found.agent or "unknown",
        created=strftime("%H:%M:%S UTC", gmtime(found.created)),
        login=root + places["login"],
        me=root + places["me"],
        logout=root + places["logout"] if "sessions" in auth.features else "",
        decide=f"{here.removesuffix('approve')}{found.code}",
        header=config.token_header,
        prefix=config.token_prefix,
        cookies="yes" if auth.authenticator.cookies is not None else "",
    )


def _entry(request: Request, code: str, told: str) -> str:
    return _filled("device_code.html", code=code, told=told, here=request.url.path)


def _filled(name: str, *, script: str = "", **values: str) -> str:
    shown = {key: escape(value) for key, value in values.items()}
    return Template(_text(name)).substitute(shown, style=_text("device.css"), script=script)


def _answer(html: str, status: int, more: object = None) -> HTMLResponse:
    given = dict(more) if isinstance(more, dict) else {}
    return HTMLResponse(html, status, {**given, **_headers()})


@cache
def _headers() -> dict[str, str]:
    """Nothing runs but the page's own script, nobody frames it, no cache and no other site learns the code."""
    policy = (
        f"default-src 'none'; script-src '{_digest('device.js')}'; style-src '{_digest('device.css')}'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _digest(name: str) -> str:
    digest = hashlib.sha256(_text(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _text(name: str) -> str:
    return (PAGES / name).read_text()
