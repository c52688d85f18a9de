"""Pages that links in mails lead to: a form, a result, a refusal."""

from __future__ import annotations

from typing import Any

from jetio import HTMLResponse, Problem, Response

from ..context import AuthContext
from .rendering import Templates

__all__ = ["Pages"]


class Pages:
    """Small, without scripts, and kept nowhere."""

    def __init__(self, context: AuthContext, templates: Templates) -> None:
        self._context, self._templates = context, templates

    def form(
        self,
        title: str,
        text: str | None,
        button: str,
        *,
        password: str | None = None,
        error: str | None = None,
        status: int = 200,
    ) -> HTMLResponse:
        """A form that sends itself to its own address; `password` tells what one may be, where one is asked for."""
        return self._page(status, title=title, text=text, button=button, password=password, error=error)

    def done(self, title: str, text: str, carrier: Response | None = None) -> HTMLResponse:
        """What was done, with the cookies of another answer."""
        page = self._page(200, title=title, text=text)
        cookies = (
            [item for item in carrier.raw_headers if item[0] == b"set-cookie"] if carrier is not None else []
        )
        page.raw_headers.extend(cookies)
        return page

    def refused(self, problem: Problem) -> HTMLResponse:
        """Why it cannot be, with the status of the problem."""
        page = self._page(problem.status, title="That did not work", text=problem.detail)
        page.headers.update(problem.headers)
        return page

    def _page(self, status: int, **values: Any) -> HTMLResponse:
        app = self._context.app
        known = {"site": app.title if app is not None else "Jetio", "text": None, "button": None}
        return self._templates.page({**known, "password": None, "error": None, **values}, status)
