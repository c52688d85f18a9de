"""Small applications for one test, and what to ask them with."""

from __future__ import annotations

from typing import Any

import httpx2
from sqlalchemy import MetaData

from jetio import Jetio
from jetio.testing import TestClient


def make_app(**options: Any) -> Jetio:
    """An application without tables, on a database of its own."""
    return Jetio(**{"database": "sqlite+aiosqlite:///:memory:", "metadata": MetaData(), **options})


def ask(app: Jetio, path: str, method: str = "GET", **options: Any) -> httpx2.Response:
    """One request to an application that nobody started; nothing is followed, errors are answers."""
    app.build()
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    return client.request(method, path, **options)


def errors(response: httpx2.Response) -> set[tuple[str, str]]:
    """Where a 422 points, and why: `{("parameter:q", "missing")}`."""
    assert response.status_code == 422, response.text
    return {
        (
            next(f"{kind}:{entry[kind]}" for kind in ("pointer", "parameter", "header") if kind in entry),
            entry["code"],
        )
        for entry in response.json()["errors"]
    }
