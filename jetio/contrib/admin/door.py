"""The door of the panel: who comes in, and what every page carries."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...body import RequestBody
from ...errors import Problem, not_found
from ...policy import Access, Allow, Deny, Policy
from ...principal import Principal, identify
from ...routing import ENCODED_SLASH, path_of
from .asking import OUTER, VISIT

if TYPE_CHECKING:
    from .panel import Admin
    from .view import RowView

__all__ = ["NONCE", "Door", "Visit", "own_page"]

_log = logging.getLogger("jetio.admin")

NONCE: ContextVar[str] = ContextVar("jetio_panel_nonce", default="")
"""What marks the scripts of the page in hand as ours."""

CSRF_COOKIE, CSRF_HEADER, CSRF_FIELD = "starlette_admin_csrftoken", "x-csrftoken", "csrftoken"
_SAFE = frozenset({"GET", "HEAD"})
_OWN_HOST = re.compile(
    r"https?://[^/]+(?=/(?![/\\]))"
)  # what would read as another host's address stays whole
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(slots=True)
class Visit:
    """One page for one person: what the rules let them do, and what was counted already."""

    panel: Admin
    request: Request
    principal: Principal
    key: bytes
    rights: set[tuple[str | None, str]] = field(default_factory=set)
    totals: dict[tuple[str | None, str | None], int] = field(default_factory=dict)

    async def tell(self, event: str, detail: Mapping[str, Any]) -> None:
        """Log a change, and write it down where accounts keep events; a failure of that is logged."""
        _log.info("%s %s %s by %s", event, detail["model"], detail["key"], self.principal.sub)
        if self.panel.accounts is None:
            return
        try:
            await self.panel.accounts.tell(event, self.principal, self.request, detail)
        except Exception:  # the change itself is lasting
            _log.exception("%s was not written down", event)


class Door:
    """Answers 404 to whoever is not admitted, as unknown addresses do; `inside` are the pages."""

    def __init__(self, panel: Admin, allow: Policy, views: list[RowView]) -> None:
        self.panel, self.allow, self.views = panel, allow, views

    @cached_property
    def inside(self) -> ASGIApp:
        """The pages; made at the first request, for their cookies need a key."""
        return self.panel.assemble(self.key.hex())

    @cached_property
    def key(self) -> bytes:
        """What the panel's own cookies are signed with."""
        return hashlib.sha256(b"jetio panel\0" + self.panel.secret()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise _nothing_here(scope)
        place = path_of(scope).replace(ENCODED_SLASH, "/").removeprefix(self.panel.path)
        request = Request(scope)
        if self._is_file(place, request):
            await self.inside(
                self._inner(request, place, None), receive, self._dressed(request, None, place, send)
            )
            return
        principal, headers = await self._caller(request)
        if principal is None and not (self.panel.signing is not None and place == "/login"):
            await self._refuse_or_invite(request, place, headers)(scope, receive, send)
            return
        if place == "" or (place == "/login" and principal is not None):
            await RedirectResponse(self._address(request, "/"), 303)(scope, receive, send)
            return
        limit = self.panel.app.settings.max_body
        sent = RequestBody(scope, receive, limit)
        inner = self._inner(request, place, principal)
        if principal is not None:
            await self._guard(request, principal, sent)
            inner[VISIT] = await self._visit(request, principal, place)
        NONCE.set(secrets.token_urlsafe(16))
        await self.inside(
            inner, RequestBody(scope, sent, limit), self._dressed(request, principal, place, send)
        )

    # ---- who it is -------------------------------------------------------------------------------

    async def _caller(self, request: Request) -> tuple[Principal | None, Mapping[str, str]]:
        """Whoever is admitted; and what takes a dead cookie away."""
        # The guard of cookies wants a header that forms cannot send: here `_guard` stands in its place.
        safe = Request({**request.scope, "method": "GET"})
        work = self.panel.app.database.unit_of_work(writes=False)
        try:
            principal = await identify(self.panel.authenticator, safe, work)
            if principal is None:
                return None, {}
            access = Access(safe, principal, work, finder=self.panel.authenticator)
            decision = await self.allow(access)
        except Problem as problem:
            if problem.status not in (401, 403, 404):
                raise
            return None, problem.headers
        finally:
            await work.rollback()
        if isinstance(decision, Allow):
            return principal, {}
        request.scope["jetio.panel.stranger"] = True
        return None, {}

    def _is_file(self, place: str, request: Request) -> bool:
        """Styles, scripts and icons, which the page for signing in needs too; a hidden panel shows none."""
        return self.panel.signing is not None and place.startswith("/static/") and request.method in _SAFE

    def _refuse_or_invite(self, request: Request, place: str, headers: Mapping[str, str]) -> RedirectResponse:
        """Raises 404, unless somebody whom nobody knows yet looks here with a browser."""
        stranger = request.scope.get("jetio.panel.stranger", False)
        looks = request.method in _SAFE and "text/html" in request.headers.get("accept", "")
        if self.panel.signing is None or stranger or not looks:
            raise _nothing_here(request.scope)
        query = request.url.query
        here = self._address(request, place) + (f"?{query}" if query else "")
        dead = {name: value for name, value in headers.items() if name.lower() == "set-cookie"}
        address = f"{self._address(request, '/login')}?{urlencode({'next': here})}"
        return RedirectResponse(address, 303, headers={**dead, "Cache-Control": "no-store"})

    def _address(self, request: Request, place: str) -> str:
        return f"{request.scope.get('root_path', '')}{self.panel.path}{place}"

    # ---- what a page carries ---------------------------------------------------------------------

    async def _guard(self, request: Request, principal: Principal, sent: RequestBody) -> None:
        """Raises 403 `csrf_failed` where another site may have made the browser send this."""
        if request.method in _SAFE:
            return
        refuse_other_sites(request)
        given = request.headers.get(CSRF_HEADER)
        if given is None and request.headers.get("content-type", "").startswith(_FORMS):
            form = await Request(request.scope, RequestBody(request.scope, sent, sent.limit)).form()
            given = str(form.get(CSRF_FIELD) or "")
        if not hmac.compare_digest((given or "").encode("utf-8", "replace"), self.token(principal).encode()):
            raise Problem(403, "csrf_failed", "The page is too old, or not ours; open it again")

    def token(self, principal: Principal) -> str:
        """What forms and scripts of this session send along."""
        session = str(principal.claims.get("sid") or principal.sub)
        return hmac.digest(self.key, b"csrf\0" + session.encode(), "sha256").hex()

    async def _visit(self, request: Request, principal: Principal, place: str) -> Visit:
        visit = Visit(self.panel, request, principal, self.key)
        work = self.panel.app.database.unit_of_work(writes=False)
        try:
            for view in self.views:
                here = f"/{view.key}/" in f"{place}/"
                for action in view.endpoints if here else ("list",):
                    if await self._may(view, action, request, principal, work):
                        visit.rights.add((view.key, action))
        finally:
            await work.rollback()
        return visit

    async def _may(
        self, view: RowView, action: str, request: Request, principal: Principal, work: Any
    ) -> bool:
        """What pages offer; the endpoints decide again, about the row."""
        endpoint = view.rows if action == "list" else view.endpoints[action]
        if endpoint.rule is None:
            return True
        access = Access(
            Request({**request.scope, "method": endpoint.method}), principal, work,
            action=action, verb=endpoint.method, model=endpoint.resource.model, finder=self.panel.authenticator,
        )  # fmt: skip
        try:
            return not isinstance(await endpoint.rule(access), Deny)
        except Problem as problem:
            return problem.status not in (401, 403)
        except Exception:  # the rule needs a row or a body: then it is asked again, and answers
            return True

    def _inner(self, request: Request, place: str, principal: Principal | None) -> Scope:
        """The pages are an application of their own: they get no router and no state of ours."""
        scope = request.scope
        inner = {name: value for name, value in scope.items() if name not in ("router", "route", "endpoint")}
        name = (principal.username or principal.email or principal.sub) if principal is not None else ""
        outer = scope if principal is None else {**scope, "jetio.principal": principal}
        state = {
            "is_anonymous": principal is None, "signs_out": self.panel.signing is not None,
            "admin_user": self.panel.person(name), "csrf_token": "" if principal is None else self.token(principal),
        }  # fmt: skip
        root = scope.get("root_path", "")
        # A proxy may have taken the root path away: pages of a mount look for it.
        path = self._address(request, place)
        own = {OUTER: outer, "state": state, "path_params": {}, "app_root_path": root, "path": path}
        return {**inner, **own}

    def _dressed(self, request: Request, principal: Principal | None, place: str, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            headers = MutableHeaders(scope=message) if message["type"] == "http.response.start" else None
            if headers is not None and place.startswith("/static/"):
                headers["Cache-Control"] = "private, max-age=86400"
            elif headers is not None:
                if "location" in headers:
                    headers["Location"] = _OWN_HOST.sub("", headers["Location"])
                headers["Content-Security-Policy"] = _POLICY.format(nonce=NONCE.get())
                headers["Cache-Control"] = "no-store"
                headers["Referrer-Policy"] = "same-origin"
                headers["X-Frame-Options"] = "DENY"
                if principal is not None and request.cookies.get(CSRF_COOKIE) != self.token(principal):
                    headers.append("Set-Cookie", self._csrf_cookie(request, principal))
            await send(message)

        return dressed

    def _csrf_cookie(self, request: Request, principal: Principal) -> str:
        """Scripts of the pages read it; elsewhere it is worth nothing."""
        secure = "; Secure" if self.panel.app.settings.production or request.url.scheme == "https" else ""
        path = self._address(request, "/")
        return f"{CSRF_COOKIE}={self.token(principal)}; Path={path}; SameSite=Strict{secure}"


def refuse_other_sites(request: Request) -> None:
    """Raises 403 `csrf_failed` where the browser says that another site sends this."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    ):
        raise Problem(403, "csrf_failed", "The request comes from another site")


def own_page(wanted: str | None, start: str) -> str:
    """The page to go to after signing in: one of the panel, whatever the address says."""
    safe = wanted is not None and wanted.startswith(start) and "\\" not in wanted and wanted.isprintable()
    return wanted if wanted is not None and safe else start


def _nothing_here(scope: Scope) -> Problem:
    scope.pop("route", None)  # as of an address that nobody serves
    return not_found()
