"""What people read: letters and pages, made of templates that an application may replace."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetio import ConfigError, HTMLResponse

from .mailers import Letter

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Templates"]

_OWN = Path(__file__).parent / "templates"
_SUBJECT = "Subject: "
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


class Templates:
    """The templates of a folder, and those of the package for what is not there. All values are escaped in HTML."""

    def __init__(self, folder: str | Path | None) -> None:
        if find_spec("jinja2") is None:  # pragma: no cover - Swagger UI's package brings it
            raise ConfigError("letters and pages need jinja2; install it with: pip install 'jetio[mail]'")
        self._folders = [str(folder), str(_OWN)] if folder is not None else [str(_OWN)]

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

        return Environment(
            loader=FileSystemLoader(self._folders),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def check(self, letters: Iterable[str]) -> None:
        """Read all of them; raises ConfigError for one that cannot be, or has no subject."""
        from jinja2 import TemplateError

        names = [f"{name}.{kind}" for name in letters for kind in ("txt", "html")]
        for name in [*names, "page.html"]:
            try:
                self._environment.get_template(name)
            except TemplateError as error:
                raise ConfigError(f"the template {name} cannot be read: {error}") from error
        for name in names:
            source, *_ = self._environment.loader.get_source(self._environment, name)  # type: ignore[union-attr]
            if name.endswith(".txt") and not source.startswith(_SUBJECT):
                raise ConfigError(
                    f"the template {name} has no subject; begin it with the line `{_SUBJECT}...`"
                )

    def letter(self, name: str, to: str, values: Mapping[str, Any]) -> Letter:
        """A letter of two templates; the first line of the text is its subject."""
        text = self._environment.get_template(f"{name}.txt").render(values)
        subject, _, body = text.partition("\n")
        html = self._environment.get_template(f"{name}.html").render(values)
        subject = subject.removeprefix(_SUBJECT).strip()
        return Letter(to=to, subject=subject, text=body.strip() + "\n", html=html)

    def page(self, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        """A page that loads nothing, runs nothing, is kept nowhere and tells no other site where it was."""
        text = self._environment.get_template("page.html").render(values)
        return HTMLResponse(text, status, {**_HEADERS, "Content-Security-Policy": _policy(text)})


def _policy(page: str) -> str:
    """The page's own style alone: no script, no picture, no frame, no form that leads elsewhere (CSP 3)."""
    digests = [hashlib.sha256(style.encode()).digest() for style in _STYLE.findall(page)]
    styles = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; style-src {styles}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
