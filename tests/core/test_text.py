"""Text that is none: in the query string and in cookies of handlers."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from jetio import Cookie, Query
from tests.core.apps import ask, make_app


def _one(q: str = "") -> str:
    return q


def _many(q: list[str] = Query(())) -> list[str]:
    return q


def _cookie(q: str = Cookie()) -> str:
    return q


@pytest.mark.parametrize("query", ["q=%ff", "q=%C3%28", "%ff=1", "q=a+%80", b"q=\xff"])
@pytest.mark.parametrize("path", ["/one", "/many"])
def test_a_query_string_that_is_no_text_is_refused(query: str | bytes, path: str) -> None:
    """Bytes that are no UTF-8 are 400, as on the routes of rows; nothing stands in their place."""
    app = make_app()
    app.get("/one")(_one)
    app.get("/many")(_many)
    raw = query if isinstance(query, bytes) else query.encode()
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": raw,
        "headers": [], "http_version": "1.1",
    }  # fmt: skip
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    anyio.run(app, scope, receive, send)
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["code"] == "bad_request"


def test_a_cookie_that_holds_nul_is_refused() -> None:
    """Quoted cookies may spell it; no database stores it."""
    app = make_app()
    app.get("/cookie")(_cookie)
    assert ask(app, "/cookie", headers={"cookie": r'q="a\000b"'}).status_code == 400
    assert ask(app, "/cookie", headers={"cookie": r'q="a\101b"'}).json() == "aAb"
