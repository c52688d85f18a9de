"""Seed document 004 promises logins by other services for later: they are there, at the addresses of its layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.auth.forum import bearer
from tests.auth.remote import Provider
from tests.auth.test_oauth import ANN, Forum, forum, known
from tests.live import LiveServer, serve


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("provider"), "tests.auth.provider:app") as server:
        yield server


def test_s004_oauth(server: LiveServer, sqlite_url: str) -> None:
    """Somebody logs in at a provider, and is let in here under a prefix, with the tokens that a password gives."""
    provider = Provider(server)
    provider.change(user=ANN)
    with forum(server, sqlite_url, known(provider), prefix="/admin/api/auth") as site:
        pair = log_in(site, "/admin/api/auth")
        assert {"access_token", "refresh_token", "token_type"} <= set(pair)
        me = site.client.get("/admin/api/auth/me", headers=bearer(pair["access_token"])).json()
        assert me["email"] == "ann@example.com"
        assert {"/admin/api/auth/oauth/{provider}/authorize", "/admin/api/auth/oauth/token"} <= set(
            site.app.openapi()["paths"]
        )


def log_in(site: Forum, prefix: str) -> dict[str, str]:
    begun = site.client.get(f"{prefix}/oauth/idp/authorize", follow_redirects=False)
    back = site.back(site.agree(begun.headers["location"]))
    code = back.headers["location"].partition("#code=")[2]
    pair: dict[str, str] = site.client.post(f"{prefix}/oauth/token", json={"code": code}).json()
    return pair
