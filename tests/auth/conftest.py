"""Databases that the tests of one module share: their accounts have names of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.databases import DatabaseServer


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def shared_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database for all tests of the module, once on every server."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('shared')}/test.db"
        return
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    with server.fresh_database() as url:
        yield url
