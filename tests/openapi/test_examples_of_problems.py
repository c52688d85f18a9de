"""The document shows for each status a problem that this status brings, and not one for all."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio
from jetio_auth import AuthRouter
from tests.auth.forum import Post, User, new_app

# What no HTTPException says by itself: a code of its own belongs to it.
NAMED = {410, 412}


@pytest.fixture
def app() -> Jetio:
    """An application with all kinds of problems, and a route that brings any of them."""
    app = new_app("sqlite://")
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(Post, policy={"*": auth.owner_or_admin(Post)}).register_routes(app)

    @app.get("/fail/{status}")
    async def fail(status: int) -> None:
        raise HTTPException(status)

    return app


def test_each_status_has_its_own_example(app: Jetio) -> None:
    """Status, type, title and code of the example are those of an answer with this status."""
    documented: dict[str, Any] = app.openapi()["components"]["responses"]
    examples = [item["content"]["application/problem+json"]["example"] for item in documented.values()]
    assert {400, 401, 403, 404, 409, 412, 413, 415, 422, 429} <= {item["status"] for item in examples}
    with TestClient(app) as client:
        for example in examples:
            answer = client.get(f"/fail/{example['status']}").json()
            assert answer["status"] == example["status"]
            assert example["type"] == f"urn:jetio:problem:{example['code']}"
            if example["status"] not in NAMED:
                assert example["code"] == answer["code"]
            if example["status"] != 422:
                assert example["title"] == answer["title"]
