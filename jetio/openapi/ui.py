"""Swagger UI and the OpenAPI document, served from this machine: the page asks nobody else."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from ..body import header
from ..dialects.values import dump
from ..operation import OperationSpec
from ..routing import NOSNIFF, Application

__all__ = ["add_swagger_ui"]

Headers = list[tuple[bytes, bytes]]

OWN = Path(__file__).parent / "page"
FILES: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
# Swagger UI writes style attributes; everything else of the page is a file of this server.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REVALIDATE: Headers = [(b"cache-control", b"no-cache")]
FOREVER: Headers = [(b"cache-control", b"public, max-age=31536000, immutable")]
PAGE: Headers = [
    *REVALIDATE,
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
]


class Documented(Application, Protocol):
    """What the page shows of an application."""

    title: str

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        ...


def add_swagger_ui(app: Documented, path: str = "/docs", openapi_path: str = "/openapi.json") -> None:
    """Serve Swagger UI at `path` and the OpenAPI document at `openapi_path`; otherwise there is neither.

    All files are the server's own, at addresses that change with their content.
    """
    assets = f"{path.rstrip('/')}/assets/{_version()}"
    folder = posixpath.dirname(path)
    links = {"assets": posixpath.relpath(assets, folder), "openapi": posixpath.relpath(openapi_path, folder)}
    page = _File("swagger_ui", "text/html; charset=utf-8", lambda _: _page(app.title, links), PAGE, html=True)
    app.add_endpoint(path, page)
    app.add_endpoint(
        openapi_path,
        _File("openapi", "application/json", lambda root: dump(below(app.openapi(), root)), REVALIDATE),
    )
    for name, media in FILES.items():
        app.add_endpoint(f"{assets}/{name}", _File(name, media, _reader(name), FOREVER))


def below(document: dict[str, Any], root: str) -> dict[str, Any]:
    """The document of an application that is mounted at `root`: its server, and where tokens come from."""
    if not root:
        return document
    components = document["components"]
    schemes = {
        name: _scheme_below(scheme, root) for name, scheme in components.get("securitySchemes", {}).items()
    }
    moved = {**components, "securitySchemes": schemes} if schemes else components
    return {**document, "servers": [{"url": root}], "components": moved}


def _scheme_below(scheme: Mapping[str, Any], root: str) -> dict[str, Any]:
    flows = {
        kind: {
            name: root + value if name.endswith("Url") and value.startswith("/") else value
            for name, value in flow.items()
        }
        for kind, flow in scheme.get("flows", {}).items()
    }
    return {**scheme, "flows": flows} if flows else dict(scheme)


# ---- files -------------------------------------------------------------------------------------------------


def _folder(name: str) -> Path:
    import swagger_ui_bundle  # only applications that show the page need it

    found: Path = OWN if (OWN / name).exists() else swagger_ui_bundle.swagger_ui_path
    return found


def _reader(name: str) -> Callable[[str], bytes]:
    return lambda _: (_folder(name) / name).read_bytes()


@cache
def _version() -> str:
    """Of Swagger UI and of our own files: what browsers keep for a year is never stale."""
    own = hashlib.sha256(b"".join((OWN / name).read_bytes() for name in ("page.css", "page.js")))
    return f"{_folder('swagger-ui.css').name.removeprefix('swagger-ui-')}-{own.hexdigest()[:8]}"


def _page(title: str, links: Mapping[str, str]) -> bytes:
    template = Template((OWN / "index.html").read_text())
    return template.substitute(
        title=escape(title), **{name: escape(link) for name, link in links.items()}
    ).encode()


@dataclass(frozen=True, slots=True)
class _Content:
    """A file in both spellings; each has a tag of its own (RFC 9110, 8.8.3)."""

    plain: bytes
    packed: bytes
    tag: str

    @classmethod
    def of(cls, body: bytes) -> _Content:
        return cls(body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:20])


class _File:
    """An endpoint for one file: made, hashed and compressed at its first request, in a thread."""

    method = "GET"
    open_in_development = True

    def __init__(
        self, name: str, media: str, read: Callable[[str], bytes], headers: Headers, *, html: bool = False
    ) -> None:
        self.name = name
        self.spec = OperationSpec(summary=name, listed=False, html=html)
        self.headers = [(b"vary", b"Accept-Encoding"), *headers, NOSNIFF]
        self._media = media.encode()
        # A mounted application has one content for each place it is mounted at.
        self._content = lru_cache(maxsize=16)(lambda root: _Content.of(read(root)))

    def build(self, app: Application, path: str) -> None:
        """Nothing to read before the first request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await run_in_threadpool(self._content, scope.get("root_path", ""))
        packed = _accepts_gzip(header(scope, b"accept-encoding"))
        tag = f'"{content.tag}{"-gz" if packed else ""}"'
        headers = [(b"etag", tag.encode()), *self.headers]
        if _has(header(scope, b"if-none-match"), tag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body = content.packed if packed else content.plain
        headers += [(b"content-type", self._media), (b"content-length", str(len(body)).encode())]
        headers += [(b"content-encoding", b"gzip")] if packed else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _accepts_gzip(given: str | None) -> bool:
    """Whether `Accept-Encoding` names gzip with a weight above zero."""
    for name, weight in _weighted((given or "").split(",")):
        if name == "gzip":
            return weight.strip("0.") != ""
    return False


def _weighted(parts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for part in parts:
        name, _, parameter = part.partition(";")
        yield name.strip().lower(), parameter.partition("=")[2].strip() or "1"


def _has(given: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, by weak comparison (RFC 9110, 13.1.2)."""
    return given is not None and any(
        part.strip().removeprefix("W/") in (tag, "*") for part in given.split(",")
    )
