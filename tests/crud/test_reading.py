"""Lists and single rows: paging, order, headers, keys."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from jetio import CrudRouter
from tests.crud.library import Author, Book, library, serving


def add_authors(client: TestClient, count: int) -> list[dict[str, Any]]:
    return [client.post("/authors", json={"name": f"author {number:03}"}).json() for number in range(count)]


def links(answer: Any) -> dict[str, str]:
    parts = [part.split("; rel=") for part in answer.headers["link"].split(", ")]
    return {rel.strip('"'): address.strip("<>") for address, rel in parts}


def test_a_list_is_an_array_in_the_order_of_the_key(client: TestClient) -> None:
    """A list is a plain array, ordered by primary key, with its facts in headers."""
    authors = add_authors(client, 3)
    answer = client.get("/authors")
    assert answer.json() == authors
    assert [answer.headers[name] for name in ("x-total-count", "x-page", "x-page-size")] == ["3", "1", "50"]


def test_pages_cover_every_row_once(client: TestClient) -> None:
    """Following `next` from the first page reads every row exactly once, and `prev` leads back."""
    authors = add_authors(client, 7)
    seen: list[Any] = []
    address: str | None = "/authors?page_size=3"
    while address is not None:
        answer = client.get(address)
        seen += answer.json()
        address = links(answer).get("next")
    assert seen == authors
    assert links(answer)["prev"] == "/authors?page_size=3&page=2"
    assert answer.headers["x-total-count"] == "7"


def test_the_total_is_told_where_it_is_free(client: TestClient) -> None:
    """A page that reaches the end tells the total; an earlier one only when it was asked to count."""
    add_authors(client, 5)
    assert "x-total-count" not in client.get("/authors?page_size=2").headers
    counted = client.get("/authors?page_size=2&count=exact")
    assert counted.headers["x-total-count"] == "5"
    assert links(counted)["last"] == "/authors?page_size=2&count=exact&page=3"
    assert client.get("/authors?page_size=2&page=3").headers["x-total-count"] == "5"
    assert client.get("/authors?page_size=2&count=none").status_code == 200


def test_a_page_behind_the_end_is_empty(client: TestClient) -> None:
    """A page that does not exist is an empty array, not an error, and says nothing about the total."""
    add_authors(client, 2)
    answer = client.get("/authors?page=9")
    assert (answer.status_code, answer.json()) == (200, [])
    assert "x-total-count" not in answer.headers
    assert client.get("/authors?page=9&count=exact").headers["x-total-count"] == "2"


def test_limit_and_offset(client: TestClient) -> None:
    """`limit` and `offset` cut anywhere; `limit=0` only counts."""
    authors = add_authors(client, 5)
    answer = client.get("/authors?limit=2&offset=1")
    assert answer.json() == authors[1:3]
    assert links(answer)["next"] == "/authors?limit=2&offset=3"
    assert links(answer)["prev"] == "/authors?limit=2&offset=0"
    nothing = client.get("/authors?limit=0")
    assert (nothing.json(), nothing.headers["x-total-count"]) == ([], "5")


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=one", "page"),
        ("page=1.0", "page"),
        ("page=", "page"),
        ("page=99999999999999999999999", "page"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("limit=-1", "limit"),
        ("limit=201", "limit"),
        ("offset=-1", "offset"),
        ("offset=9223372036854775807", "offset"),
        ("count=maybe", "count"),
        ("page=1&page=2", "page"),
        ("page=1&limit=2", "limit"),
    ],
)
def test_bad_paging_is_refused(query: str, parameter: str, sqlite_url: str) -> None:
    """What a page cannot be is 422 and names the parameter; nothing is clamped in silence."""
    with serving(library(sqlite_url)) as client:
        answer = client.get(f"/authors?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == parameter


def test_unknown_parameters_are_refused(client: TestClient) -> None:
    """A parameter that the address does not know is 422 `unknown_parameter`, on every verb."""
    client.post("/authors", json={"name": "a"})
    for method, address in [
        ("GET", "/authors?nmae=a"),
        ("GET", "/authors/1?x=1"),
        ("DELETE", "/authors/1?hard=true"),
        ("POST", "/authors?x=1"),
        ("PATCH", "/authors/1?x=1"),
    ]:
        answer = client.request(method, address, json={"name": "b"} if method in ("POST", "PATCH") else None)
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter"), (method, address)
    assert client.get("/authors").json()[0]["name"] == "a"


def test_a_query_that_is_no_text_is_refused(client: TestClient) -> None:
    """Bytes that are no UTF-8, and NUL, are 400 in a query string."""
    for query in ("page=%ff", "page=%00"):
        assert client.get(f"/authors?{query}").status_code == 400


def test_a_router_may_lift_paging_but_not_the_cap(sqlite_url: str) -> None:
    """`pagination=None` lists everything up to 1000 rows; with more it is 422, never a silent cut."""
    with serving(library(sqlite_url, CrudRouter(Author, pagination=None))) as client:
        add_authors(client, 60)
        assert len(client.get("/authors").json()) == 60
        assert client.get("/authors?page=1").status_code == 422
        for number in range(941):
            client.post("/authors", json={"name": f"x{number}"})
        answer = client.get("/authors")
    assert (answer.status_code, answer.json()["code"]) == (422, "list_too_long")


def test_a_row_has_one_address(client: TestClient) -> None:
    """A row is found by its key as written canonically; anything else is 404."""
    client.post("/authors", json={"name": "a"})
    assert client.get("/authors/1").json() == {"id": 1, "name": "a", "country": None, "mentor_id": None}
    strange = (
        "2",
        "0",
        "-1",
        "01",
        "1.0",
        "+1",
        "%201",
        "abc",
        "1e0",
        "٣",
        "99999999999999999999999",
        "%00",
        "1%2F2",
        "None",
    )
    for key in strange:
        answer = client.get(f"/authors/{key}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), key


def test_text_keys(client: TestClient) -> None:
    """A text key may hold anything that a path segment can carry, percent-encoded."""
    for name in ("plain", "a/b", "50%", "ünïcödé 😀", "a,b", "?#"):
        created = client.post("/tags", json={"name": name})
        assert created.status_code == 201, created.text
        assert client.get(created.headers["location"]).json() == {"name": name}, name
    for name in ("missing", "a%00b", "x" * 31):
        assert client.get(f"/tags/{name}").status_code == 404


def test_composite_keys(client: TestClient) -> None:
    """A composite key is its values in the mapper's order, joined by a comma, each percent-encoded."""
    for room, number in [("attic", 1), ("a,b", 2), ("x/y%", -3)]:
        created = client.post("/shelves", json={"room": room, "number": number, "label": "L"})
        assert created.status_code == 201, created.text
        address = created.headers["location"]
        assert client.get(address).json()["room"] == room
        assert client.patch(address, json={"label": None}).json()["label"] is None
        assert client.delete(address).status_code == 204
        assert client.get(address).status_code == 404
    for key in ("attic", "attic,1,2", "attic,x", ",", "attic,01", "%2500,1", "a%00,1"):
        assert client.get(f"/shelves/{key}").status_code == 404


def test_uuid_keys(client: TestClient) -> None:
    """A UUID key has a default, may be chosen by the client at creation, and never changes."""
    made = client.post("/spots", json={})
    assert client.get(f"/spots/{made.json()['id']}").status_code == 200
    chosen = "0b0f7b9e-52a5-4e0b-9d3d-111111111111"
    assert (
        client.post("/spots", json={"id": chosen, "opened": "2026-01-31"}).headers["location"]
        == f"/spots/{chosen}"
    )
    assert client.post("/spots", json={"id": chosen}).status_code == 409
    assert client.patch(f"/spots/{chosen}", json={"id": made.json()["id"]}).status_code == 422
    assert client.get("/spots/nonsense").status_code == 404


def test_head_and_options(client: TestClient) -> None:
    """HEAD is GET without a body; OPTIONS and 405 carry `Allow`."""
    add_authors(client, 2)
    got, head = client.get("/authors"), client.head("/authors")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["x-total-count"] == "2"
    options = client.options("/authors")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    refused = client.put("/authors", json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert client.options("/authors/1").headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


def test_excluded_methods_are_not_there(sqlite_url: str) -> None:
    """`exclude_methods` takes PATCH away with PUT, and `actions` chooses exactly."""
    with serving(library(sqlite_url, CrudRouter(Author, exclude_methods=["PUT", "delete"]))) as client:
        assert client.options("/authors/1").headers["allow"] == "GET, HEAD, OPTIONS"
    with serving(library(sqlite_url, CrudRouter(Book, actions=["list", "update"]))) as client:
        assert client.options("/books/1").headers["allow"] == "OPTIONS, PATCH"
        assert client.options("/books").headers["allow"] == "GET, HEAD, OPTIONS"
