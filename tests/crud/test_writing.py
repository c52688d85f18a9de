"""Creating, replacing, changing and deleting rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jetio import CrudRouter
from tests.crud.library import Book, library, serving

JSON = {"content-type": "application/json"}
MERGE = {"content-type": "application/merge-patch+json"}


def codes(answer: Any) -> dict[str, str]:
    """The codes of a problem's errors, by pointer."""
    return {entry["pointer"]: entry["code"] for entry in answer.json()["errors"]}


@pytest.fixture
def client(database_url: str, writers: str) -> Iterator[TestClient]:
    """A client of the library, whose rows are written by statements or as objects."""
    with serving(library(database_url)) as client:
        yield client


@pytest.fixture
def author(client: TestClient) -> int:
    return int(client.post("/authors", json={"name": "Ann", "country": "no"}).json()["id"])


@pytest.fixture
def book(client: TestClient, author: int) -> dict[str, Any]:
    given = {"title": "One", "isbn": "111", "price": "9.90", "author_id": author, "pin": "1234"}
    created: dict[str, Any] = client.post("/books", json=given).json()
    return created


def test_create_answers_the_row_and_its_address(client: TestClient, author: int) -> None:
    """POST is 201 with the row, its defaults and `Location`; write-only and hidden fields are not shown."""
    answer = client.post("/books", json={"title": "One", "author_id": author, "pin": "1234"})
    assert answer.status_code == 201
    row = answer.json()
    assert answer.headers["location"] == f"/books/{row['id']}"
    assert (row["pages"], row["sold"], row["price"], row["data"]) == (100, 0, None, None)
    assert row["created_at"] == row["updated_at"]
    assert not {"pin", "note"} & set(row)
    assert client.get(answer.headers["location"]).json() == row


def test_keys_are_never_used_twice(client: TestClient) -> None:
    """The key of a deleted row does not come back."""
    first = client.post("/authors", json={"name": "a"}).json()["id"]
    client.delete(f"/authors/{first}")
    assert client.post("/authors", json={"name": "b"}).json()["id"] > first


def test_unknown_fields_are_named_with_a_suggestion(client: TestClient) -> None:
    """A field that does not exist is 422 `unknown_field` with a suggestion; hidden ones look missing."""
    answer = client.post("/books", json={"title": "x", "pagse": 3, "note": "n", "zzz": 1})
    assert answer.status_code == 422
    assert codes(answer) == {"/pagse": "unknown_field", "/note": "unknown_field", "/zzz": "unknown_field"}
    messages = [entry["message"] for entry in answer.json()["errors"]]
    assert "did you mean 'pages'?" in messages[0]
    assert messages[1] == messages[2]
    assert client.get("/books").json() == []


def test_limits_of_the_columns_hold_on_every_verb(client: TestClient, book: dict[str, Any]) -> None:
    """Length, digits, ranges and types are checked by POST, PUT and PATCH alike; all faults are told."""
    wrong = {"title": "x" * 51, "pages": 2**31, "price": "1.234", "author_id": "1"}
    expected = {
        "/title": "string_too_long",
        "/pages": "less_than_equal",
        "/price": "decimal_max_places",
        "/author_id": "int_type",
    }
    for method, address in [
        ("POST", "/books"),
        ("PUT", f"/books/{book['id']}"),
        ("PATCH", f"/books/{book['id']}"),
    ]:
        answer = client.request(method, address, json=wrong)
        assert (answer.status_code, codes(answer)) == (422, expected), method
    assert client.get("/books").json() == [book]


def test_missing_and_null(client: TestClient, book: dict[str, Any]) -> None:
    """A required field left out of POST or PUT, and null in a column that takes none, are 422."""
    assert codes(client.post("/books", json={})) == {"/title": "missing"}
    assert codes(client.put(f"/books/{book['id']}", json={})) == {"/title": "missing"}
    assert codes(client.patch(f"/books/{book['id']}", json={"title": None})) == {"/title": "string_type"}


def test_an_array_is_refused_with_the_way_out(client: TestClient) -> None:
    """One object is due: an array says where several go."""
    answer = client.post("/books", json=[{"title": "a"}])
    assert answer.status_code == 422
    assert "/bulk" in answer.json()["errors"][0]["message"]


def test_put_replaces_everything(client: TestClient, book: dict[str, Any]) -> None:
    """What PUT leaves out returns to its default or to null; what clients may not set stays as it is."""
    replaced = client.put(f"/books/{book['id']}", json={"title": "Two"}).json()
    assert (replaced["title"], replaced["price"], replaced["author_id"], replaced["pages"]) == (
        "Two",
        None,
        None,
        100,
    )
    assert (replaced["isbn"], replaced["created_at"]) == ("111", book["created_at"])
    assert replaced["updated_at"] > book["updated_at"]


def test_put_never_creates(client: TestClient) -> None:
    """PUT to a key without a row is 404."""
    assert client.put("/books/77", json={"title": "x"}).status_code == 404


def test_patch_changes_what_it_names(client: TestClient, book: dict[str, Any]) -> None:
    """PATCH keeps what is absent and sets null where null is given."""
    changed = client.patch(f"/books/{book['id']}", json={"price": None, "pages": 7}).json()
    assert changed == {**book, "price": None, "pages": 7, "updated_at": changed["updated_at"]}


def test_an_empty_patch_writes_nothing(client: TestClient, book: dict[str, Any]) -> None:
    """`{}` is 200 with the row as it is; without the row it is 404."""
    assert client.patch(f"/books/{book['id']}", json={}).json() == book
    assert client.patch("/books/77", json={}).status_code == 404


def test_merge_patch_reaches_into_documents(client: TestClient, book: dict[str, Any]) -> None:
    """A JSON column is replaced whole by JSON and merged by a merge patch (RFC 7396)."""
    address = f"/books/{book['id']}"
    client.patch(address, json={"data": {"a": {"b": 1, "c": 2}, "d": 3}})
    merged = client.patch(
        address, content=b'{"data": {"a": {"b": null, "e": 4}}, "pages": 9}', headers=MERGE
    ).json()
    assert (merged["data"], merged["pages"]) == ({"a": {"c": 2, "e": 4}, "d": 3}, 9)
    assert client.patch(address, json={"data": {"x": 1}}).json()["data"] == {"x": 1}
    assert client.patch(address, content=b'{"data": null}', headers=MERGE).json()["data"] is None
    assert client.patch(address, content=b'{"data": {"y": {"z": null}}}', headers=MERGE).json()["data"] == {
        "y": {}
    }


def test_other_media_types_are_refused(client: TestClient, book: dict[str, Any]) -> None:
    """A body that is no JSON is 415 and says what is accepted."""
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""):
        headers = {"content-type": media} if media else {}
        answer = client.patch(f"/books/{book['id']}", content=b'{"pages": 3}', headers=headers)
        assert answer.status_code == 415, media
        assert answer.headers["accept-patch"] == "application/json, application/merge-patch+json"
    refused = client.post("/books", content=b"{}", headers=MERGE)
    assert (refused.status_code, refused.headers["accept-post"]) == (415, "application/json")
    assert client.post(
        "/authors", content=b'{"name":"u"}', headers={"content-type": 'application/json; charset="UTF-8"'}
    ).is_success


def test_a_row_may_be_sent_back_as_it_was_read(client: TestClient, book: dict[str, Any]) -> None:
    """Fields that are the server's are accepted with the value they have, and refused with any other."""
    address = f"/books/{book['id']}"
    assert client.put(address, json={**book, "title": "New"}).json()["title"] == "New"
    current = client.get(address).json()
    assert client.patch(address, json={"id": book["id"], "sold": 0}).status_code == 200
    for field, value in {"id": 99, "sold": 1, "isbn": "222", "created_at": "2001-01-01T00:00:00Z"}.items():
        answer = client.patch(address, json={field: value, "pages": 5})
        assert (answer.status_code, codes(answer)) == (422, {f"/{field}": "read_only_field"}), field
    assert client.get(address).json()["pages"] == current["pages"]
    assert codes(client.post("/books", json={"title": "x", "sold": 5})) == {"/sold": "read_only_field"}
    assert client.post("/books", json={"title": "y", "sold": 0}).status_code == 201
    assert [row["title"] for row in client.get("/books").json()] == ["New", "y"]


def test_what_else_is_wrong_is_told_beside_a_row_that_is_sent_back(
    client: TestClient, book: dict[str, Any]
) -> None:
    """Fields of the server's with the value they have are no mistake, whatever the others are."""
    sent = {"sold": book["sold"], "pages": "many", "titel": "x"}
    refused = client.patch(f"/books/{book['id']}", json=sent)
    assert refused.status_code == 422
    assert {item["pointer"] for item in refused.json()["errors"]} == {"/pages", "/titel"}


def test_prefer_minimal_leaves_the_body_out(client: TestClient, book: dict[str, Any]) -> None:
    """`Prefer: return=minimal` gives status and headers alone (RFC 7240)."""
    prefer = {"prefer": "respond-async, return=minimal"}
    created = client.post("/authors", json={"name": "x"}, headers=prefer)
    assert (created.status_code, created.content) == (201, b"")
    assert client.get(created.headers["location"]).json()["name"] == "x"
    changed = client.patch(f"/books/{book['id']}", json={"pages": 5}, headers=prefer)
    assert (changed.status_code, changed.content) == (200, b"")
    assert client.get(f"/books/{book['id']}").json()["pages"] == 5


def test_delete_removes_the_row(client: TestClient, book: dict[str, Any]) -> None:
    """DELETE is 204 without a body; the second time it is 404."""
    answer = client.delete(f"/books/{book['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.delete(f"/books/{book['id']}").status_code == 404


def test_no_state_can_match_yet(client: TestClient, book: dict[str, Any]) -> None:
    """`If-Match` with anything but `*` is 412, after 404; `*` asks only that the row exists."""
    address = f"/books/{book['id']}"
    for method in ("PUT", "PATCH", "DELETE"):
        body: Any = {} if method == "DELETE" else {"json": {"title": "x"}}
        assert client.request(method, address, headers={"if-match": '"v1"'}, **body).status_code == 412
        assert client.request(method, "/books/77", headers={"if-match": '"v1"'}, **body).status_code == 404
        assert client.request(method, "/books/77", headers={"if-match": "*"}, **body).status_code == 404
    assert client.get(address).json() == book
    assert client.patch(address, json={"pages": 6}, headers={"if-match": "*"}).status_code == 200


def test_unique_values_name_their_fields(client: TestClient, book: dict[str, Any], author: int) -> None:
    """A value that another row has is 409 `conflict` with the fields, of one column or of several."""
    single = client.post("/authors", json={"name": "Ann"})
    assert (single.status_code, single.json()["code"], codes(single)) == (
        409,
        "conflict",
        {"/name": "conflict"},
    )
    several = client.post("/books", json={"title": "One", "author_id": author})
    assert (several.status_code, codes(several)) == (409, {"/title": "conflict", "/author_id": "conflict"})
    other = client.post("/books", json={"title": "Two", "author_id": author}).json()
    moved = client.patch(f"/books/{other['id']}", json={"title": "One"})
    assert (moved.status_code, codes(moved)) == (409, {"/title": "conflict", "/author_id": "conflict"})


def test_references_lead_somewhere(client: TestClient, book: dict[str, Any]) -> None:
    """A foreign key to nothing is 422 `invalid_reference` and named; so is one of several columns."""
    for answer in (
        client.post("/books", json={"title": "x", "author_id": 99}),
        client.patch(f"/books/{book['id']}", json={"author_id": 99}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_reference")
        assert codes(answer) == {"/author_id": "invalid_reference"}
    spot = client.post("/spots", json={"room": "attic", "number": 1})
    assert codes(spot) == {"/room": "invalid_reference", "/number": "invalid_reference"}
    assert client.get(f"/books/{book['id']}").json() == book


def test_a_row_that_others_need_stays(client: TestClient, book: dict[str, Any], author: int) -> None:
    """Deleting a row that others refer to is 409 `still_referenced`."""
    answer = client.delete(f"/authors/{author}")
    assert (answer.status_code, answer.json()["code"]) == (409, "still_referenced")
    assert client.get(f"/authors/{author}").status_code == 200


def test_rules_of_the_table_are_told_by_field(client: TestClient, book: dict[str, Any]) -> None:
    """A check constraint of the table is 422 and names its columns."""
    for answer in (
        client.post("/books", json={"title": "x", "pages": 0}),
        client.patch(f"/books/{book['id']}", json={"pages": -1}),
    ):
        assert (answer.status_code, codes(answer)) == (422, {"/pages": "check"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'{"name": "a"} x', 400, "bad_json"),
        (b'{"name": "a", "name": "b"}', 400, "bad_json"),
        (b'{"name": "\xff"}', 400, "bad_json"),
        (b'{"name": "\\ud800"}', 400, "bad_json"),
        (b'{"name": "a\\u0000b"}', 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_json"),
        (b'{"a":' * 100_000, 400, "bad_json"),
        (b"null", 422, "validation"),
        (b'"text"', 422, "validation"),
        (b"NaN", 422, "validation"),
        (b'{"name": NaN}', 422, "validation"),
        (b'{"name": 1}', 422, "validation"),
        (b'{"name": "a", "mentor_id": 1e400}', 422, "validation"),
        (b'{"name": "a", "mentor_id": 1.5}', 422, "validation"),
        (b'{"name": "a", "mentor_id": true}', 422, "validation"),
        (b'{"name": "a", "mentor_id": 99999999999999999999999999}', 422, "validation"),
        (b'{"name": "' + b"x" * 1024 * 1024 + b'"}', 413, "content_too_large"),
    ],
)
def test_hostile_bodies_change_nothing(sqlite_url: str, body: bytes, status: int, code: str) -> None:
    """A body that is broken, deep, huge, ambiguous or not storable is a clear 4xx, and nothing is changed."""
    with serving(library(sqlite_url)) as client:
        answer = client.post("/authors", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert client.get("/authors").json() == []


def test_numbers_that_json_cannot_carry_are_refused(client: TestClient) -> None:
    """NaN and integers beyond 64 bits are refused inside documents too: they would not come back."""
    for value in (b"NaN", b"Infinity", b"1e999", b"99999999999999999999999"):
        answer = client.post(
            "/books", content=b'{"title": "x", "data": {"v": [' + value + b"]}}", headers=JSON
        )
        assert (answer.status_code, list(codes(answer))) == (422, ["/data"]), value


def test_hooks_see_and_stop_writes(sqlite_url: str) -> None:
    """Hooks run at their moments; they may change the values, and what they raise undoes everything."""
    from jetio import Change, Problem

    router = CrudRouter(Book)
    told: list[str] = []

    @router.on("before_create")
    async def shout(change: Change) -> None:
        change.values["title"] = change.values["title"].upper()
        told.append("before create")

    @router.on("after_create")
    def refuse_thirteen(change: Change) -> None:
        assert change.row is not None
        told.append(f"after create {change.row['title']}")
        if change.row["pages"] == 13:
            raise Problem(422, "unlucky", "Not thirteen")

    @router.on("before_update")
    async def compare(change: Change) -> None:
        assert change.row is not None
        told.append(f"before update {change.row['pages']} -> {change.values.get('pages')}")

    @router.on("before_delete")
    async def name(change: Change) -> None:
        assert change.row is not None
        told.append(f"before delete {change.row['title']}")

    @router.on("on_commit")
    async def done(change: Change) -> None:
        told.append(f"{change.action} committed")

    with serving(library(sqlite_url, router)) as client:
        created = client.post("/books", json={"title": "quiet"})
        assert created.json()["title"] == "QUIET"
        refused = client.post("/books", json={"title": "other", "pages": 13})
        assert (refused.status_code, refused.json()["code"]) == (422, "unlucky")
        assert client.patch(created.headers["location"], json={"pages": 8}).json()["pages"] == 8
        assert client.delete(created.headers["location"]).status_code == 204
        assert client.get("/books").json() == []
    assert told == [
        "before create", "after create QUIET", "create committed",
        "before create", "after create OTHER",
        "before update 100 -> 8", "update committed",
        "before delete QUIET", "delete committed",
    ]  # fmt: skip


def test_hooks_share_the_transaction(client: TestClient, database_url: str) -> None:
    """What a hook writes through `change.session` is committed with the row, and undone with it."""
    from sqlalchemy import insert

    from jetio import Change, Problem
    from tests.crud.library import Author

    async def record(change: Change) -> None:
        await change.session.execute(insert(Author).values(name=f"for {change.values['title']}"))
        if change.values["pages"] == 13:
            raise Problem(422, "unlucky", "Not thirteen")

    routers = [CrudRouter(Book, hooks={"before_create": record}), CrudRouter(Author)]
    with serving(library(database_url, *routers)) as hooked:
        assert hooked.post("/books", json={"title": "a", "pages": 13}).status_code == 422
        assert hooked.post("/books", json={"title": "b"}).status_code == 201
        assert [row["name"] for row in hooked.get("/authors").json()] == ["for b"]


def test_a_row_that_the_database_takes_away_at_once_is_not_shown(sqlite_url: str) -> None:
    """A trigger that deletes what was written leaves nothing to answer: 404, and the write is undone."""
    router = CrudRouter(Book, load_relationships=["author"])
    with serving(library(sqlite_url, router)) as client:
        made = client.post("/books", json={"title": "a"}).headers["location"]

        async def add_trigger() -> None:
            async with client.app.database.engine.begin() as connection:  # type: ignore[attr-defined]
                body = "BEGIN DELETE FROM books WHERE id = new.id; END"
                await connection.exec_driver_sql(f"CREATE TRIGGER gone AFTER UPDATE ON books {body}")

        assert client.portal is not None
        client.portal.call(add_trigger)
        assert client.patch(made, json={"title": "b"}).status_code == 404
        assert client.get(made).json()["title"] == "a"
