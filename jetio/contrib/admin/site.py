"""The pages: starlette-admin with templates, sessions and headers of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.datastructures import URL, URLPath
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp
from starlette_admin.auth import AdminUser
from starlette_admin.base import BaseAdmin
from starlette_admin.flash import FlashMiddleware
from starlette_admin.helpers import list_url
from starlette_admin.routing import route
from starlette_admin.views import CustomView

from ...errors import Problem
from .asking import Answer
from .door import NONCE, own_page, refuse_other_sites
from .signing import Signing
from .view import RowView

__all__ = ["AdminUser", "Site"]

ROUTES = "panel"
_SECOND = frozenset({"mfa_required", "wrong_code"})


class Site(BaseAdmin):
    """starlette-admin without its own sessions, tokens and remote fonts: the door stands before it."""

    def __init__(self, title: str, path: str, views: list[RowView], signing: Signing | None) -> None:
        # Below this level it tells form values, passwords among them, and every slip of a pen.
        logging.getLogger("starlette_admin").setLevel(logging.ERROR)
        self.signing, self.path = signing, path
        super().__init__(
            title=title,
            base_url=path,
            route_name=ROUTES,
            templates_dir="",
            index_view=_Index(),
            timezone_config=None,
        )
        for view in views:
            self.add_view(view)

    def _setup_templates(self) -> None:
        super()._setup_templates()
        env: Environment = self.templates.env
        own = PackageLoader("jetio.contrib.admin", "templates")
        env.loader = _Marked([own, *_package_loaders(env)])
        known: dict[str, Any] = env.globals
        known |= {"is_auth_enabled": True, "nonce": lambda: NONCE.get()}
        known |= {"csrf_input": _csrf_input, "list_url": _list_url}

    # The key is not known yet, and the door looks at tokens.
    def _ensure_secret_key(self) -> None:
        pass

    def _init_flash(self) -> None:
        pass

    def _init_csrf(self) -> None:
        pass

    def _init_auth(self) -> None:
        if self.signing is not None:
            self.routes += [
                Route("/login", self._login_page, methods=["GET"], name="login"),
                Route("/login", self._enter, methods=["POST"]),
                Route("/logout", self._leave, methods=["POST"], name="logout"),
            ]

    def assemble(self, key: str) -> ASGIApp:
        """The application of the pages. What nobody expected goes on to the writer of problems."""
        inner = Starlette(routes=self.routes)
        inner.state.ROUTE_NAME = ROUTES
        handlers: dict[Any, Any] = {HTTPException: self._render_error, Problem: self._refused}
        inner.middleware_stack = FlashMiddleware(
            ExceptionMiddleware(inner.router, handlers=handlers), secret_key=key
        )
        return _Pages([Mount(self.path, app=inner, name=ROUTES)])

    # ---- pages -----------------------------------------------------------------------------------

    async def _login_page(self, request: Request) -> Response:
        return self._template_response(request, "login.html", {"asks_code": False})

    async def _enter(self, request: Request) -> Response:
        """The cookies of a login, or the page again with what was wrong."""
        refuse_other_sites(request)
        form = await request.form()
        name, password, code = (str(form.get(part) or "") for part in ("username", "password", "code"))
        assert self.signing is not None  # noqa: S101 - the route is there with it
        try:
            answer = await self.signing.enter(request, name, password, code)
        except Problem as problem:
            if problem.status >= 500:
                raise
            context = {"error": problem.detail, "name": name, "asks_code": problem.code in _SECOND}
            page = self._template_response(request, "login.html", context, status_code=problem.status)
            _add_headers(page, problem.headers, ("retry-after",))
            return page
        start = f"{request.scope.get('root_path', '')}/"
        return _moved(own_page(request.query_params.get("next"), start), answer)

    async def _leave(self, request: Request) -> Response:
        assert self.signing is not None  # noqa: S101 - the route is there with it
        answer = await self.signing.leave(request)
        return _moved(f"{request.scope.get('root_path', '')}/login", answer)

    @route("/_api/{key}/action", methods=["POST"], name="action")
    async def handle_action(self, request: Request) -> Response:
        """What a button does to several rows; 400 where the address names none."""
        if not request.query_params.get("name"):
            return JSONResponse({"msg": "The address names no action"}, status_code=400)
        answer: Response = await super().handle_action(request)
        return answer

    async def _render_form_body(
        self, request: Request, view: Any, obj: Any, errors: Any, config: dict[str, Any]
    ) -> None:
        if errors is not None and isinstance(view, RowView):
            obj = config["obj"] = view.shown_again(request, obj, errors)
        await super()._render_form_body(request, view, obj, errors, config)

    async def _refused(self, request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)  # noqa: S101 - registered for it
        if problem.status >= 500:
            raise problem
        shown = HTTPException(problem.status, problem.detail)
        return await self._render_error(request, shown)


class _Path(URLPath):
    """An address without scheme and host: those of a request are what its sender, or a proxy, makes of them."""

    def make_absolute_url(self, base_url: str | URL) -> URL:
        return URL(URL(str(base_url)).path.rstrip("/") + str(self))


class _Pages(Router):
    """Where the pages ask for addresses of each other."""

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        return _Path(super().url_path_for(name, **path_params))


class _Index(CustomView):
    """The tables that the person may list, each with its rows counted."""

    path = "/"
    route_name = "index"
    add_to_menu = False
    menu_label = ""

    @route("")
    async def index(self, request: Request) -> Response:
        site = self._admin
        assert isinstance(site, Site)  # noqa: S101 - made for it alone
        views = [view for view in site._model_views if view.is_accessible(request)]
        counted = [(view, await view.count(request)) for view in views]
        return site._template_response(request, "index.html", {"counted": counted, "title": site.title})


class _Marked(BaseLoader):
    """Templates whose scripts carry the nonce of the page: what a value might smuggle in does not."""

    def __init__(self, loaders: list[BaseLoader]) -> None:
        self._found = ChoiceLoader(loaders)

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, fresh = self._found.get_source(environment, template)
        source = source.replace("<script", '<script nonce="{{ nonce() }}"')
        return source.replace('action="{{ request.url }}"', ""), name, fresh  # a form goes to its own page


def _package_loaders(env: Environment) -> list[BaseLoader]:
    """All but the first, which would look for templates in the working directory."""
    assert env.loader is not None  # noqa: S101 - set a line before
    loaders: list[BaseLoader] = env.loader.loaders  # type: ignore[attr-defined]
    return loaders[1:]


def _list_url(request: Request, **overrides: Any) -> str:
    """The page of a list with other words, order or rows."""
    return "?" + urlsplit(list_url(request, **overrides)).query


def _csrf_input(request: Request) -> Markup:
    return Markup('<input type="hidden" name="csrftoken" value="{}">').format(
        escape(request.state.csrf_token)
    )


def _moved(address: str, answer: Answer) -> Response:
    """A redirect with the cookies of an answer."""
    response = RedirectResponse(address, 303)
    response.raw_headers += [(name, value) for name, value in answer.headers if name.lower() == b"set-cookie"]
    return response


def _add_headers(response: Response, headers: Any, names: tuple[str, ...]) -> None:
    for name, value in headers.items():
        if name.lower() in names:
            response.headers[name] = value
