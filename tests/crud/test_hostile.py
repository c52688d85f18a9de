"""Whatever a client sends is answered by a clear refusal, changes nothing by halves, and is not repeated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.crud.library import library, serving

CANARY = "zq7canary"
FIELDS = [
    "id",
    "title",
    "isbn",
    "pages",
    "price",
    "data",
    "note",
    "pin",
    "sold",
    "author_id",
    "created_at",
    "room",
]
TEXT = st.text(max_size=12) | st.sampled_from(
    [CANARY, "", "\0", "\ud800", "😀", "9" * 40, "1e400", "-0", "NaN", "null"]
)
NUMBERS = (
    st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([2**31, 2**63, -(2**63) - 1])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=6,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS) | TEXT, JSON, max_size=5) | JSON
TABLES = st.sampled_from(["authors", "tags", "books", "shelves", "spots"])
KEYS = st.sampled_from(
    ["1", "0", "-1", "1,2", "a,1", "x%2Fy,1", "%00", "%FF", "1e3", "9" * 30, CANARY]
) | st.text(max_size=6)
MEDIA = st.sampled_from(
    ["application/json", "application/merge-patch+json", "text/plain", "application/json;charset=x"]
)
PROPERTY = settings(
    max_examples=50,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A library with a row of each kind, for all tests of this module."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'test.db'}"
        else:
            url = stack.enter_context(request.getfixturevalue(f"{request.param}_server").fresh_database())
        client = stack.enter_context(serving(library(url)))
        client.post("/authors", json={"name": "Ann"})
        client.post("/tags", json={"name": "new"})
        client.post("/books", json={"title": "One", "author_id": 1})
        client.post("/shelves", json={"room": "a", "number": 1})
        yield client


def assert_civil(answer: Any) -> None:
    assert answer.status_code < 500, (answer.request.content, answer.text)
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == answer.status_code
        told = {name: value for name, value in problem.items() if name != "instance"}
        entries = [{**entry, "pointer": ""} for entry in told.pop("errors", [])]
        assert CANARY not in str(told) + str(entries)
        assert not {"sql", "select", "insert", "sqlite", "asyncpg", "traceback"} & set(
            answer.text.lower().split()
        )


@PROPERTY
@given(table=TABLES, key=KEYS, method=st.sampled_from(["POST", "PUT", "PATCH"]), media=MEDIA, body=BODIES)
def test_no_document_is_a_fault_of_the_server(
    client: TestClient, table: str, key: str, method: str, media: str, body: Any
) -> None:
    """Any JSON under any key is a success or a clear 4xx, and says nothing of what was sent."""
    address = f"/{table}" if method == "POST" else f"/{table}/{_segment(key)}"
    try:
        content = _json(body)
    except (TypeError, ValueError):
        return
    assert_civil(client.request(method, address, content=content, headers={"content-type": media}))


@PROPERTY
@given(content=st.binary(max_size=60), method=st.sampled_from(["POST", "PATCH"]))
def test_no_bytes_are_a_fault_of_the_server(client: TestClient, content: bytes, method: str) -> None:
    """Any bytes are a success or a clear 4xx."""
    address = "/books" if method == "POST" else "/books/1"
    assert_civil(
        client.request(method, address, content=content, headers={"content-type": "application/json"})
    )


@PROPERTY
@given(
    table=TABLES,
    key=KEYS,
    query=st.dictionaries(st.sampled_from(["page", "limit", "offset", "count", "x"]), TEXT),
)
def test_no_address_is_a_fault_of_the_server(
    client: TestClient, table: str, key: str, query: dict[str, str]
) -> None:
    """Any key and any query string is a success or a clear 4xx."""
    given_query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    assert_civil(client.get(f"/{table}", params=given_query))
    assert_civil(client.get(f"/{table}/{_segment(key)}"))
    assert_civil(client.delete(f"/spots/{_segment(key)}"))


async def test_a_body_without_a_length_is_cut_off(sqlite_url: str) -> None:
    """A chunked body is refused as soon as it is too long, without waiting for its end."""
    app = library(sqlite_url)
    answers: list[Any] = []
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b'{"name": "' + b"x" * 65536, "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/authors", "query_string": b"", "root_path": ""}
    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    await app({**scope, "headers": headers}, receive, send)
    assert answers[0]["status"] == 413
    assert asked == 16
    await app.database.close()


def test_a_refusal_changes_nothing(client: TestClient) -> None:
    """After all of this the first rows are as they were made, or as somebody was allowed to change them."""
    assert client.get("/books/1").json()["id"] == 1
    assert client.get("/authors/1").status_code == 200


def _segment(key: str) -> str:
    text = key.encode("utf-8", "replace").decode()
    return (
        "".join(part if part.isalnum() or part in "%,-" else f"%{ord(part) % 256:02X}" for part in text)
        or "x"
    )


def _json(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()
