"""One running library per test, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from starlette.testclient import TestClient

from tests.crud.library import library, listening, serving


@pytest.fixture(params=["statements", "objects"])
def writers(request: pytest.FixtureRequest) -> Iterator[str]:
    """How rows are written: by statements, or as objects because somebody listens for them."""
    with listening() if request.param == "objects" else nullcontext():
        yield request.param


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    """A client of the library with every router."""
    with serving(library(database_url)) as client:
        yield client
