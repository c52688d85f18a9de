"""owner_or_admin: one rule narrows lists, counts, rows, writes and what is embedded, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jetio import CrudRouter
from jetio_auth import AuthRouter
from tests.auth.forum import Comment, Message, Person, Post, Site, User, new_app, serving


@pytest.fixture(scope="module")
def site(shared_url: str) -> Iterator[Site]:
    """A forum where everybody sees and changes what is their own, and admins everything."""
    app = new_app(shared_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    for model, options in (
        (Post, {"load_relationships": ["author", "comments"]}),
        (Comment, {"load_relationships": ["post.author"]}),
        (Message, {"owner": "sender_id"}),
    ):
        rule = auth.owner_or_admin(model)
        CrudRouter(model, policy={"*": rule}, **options).register_routes(app)
    CrudRouter(User, policy={"GET": auth.self_or_admin()}).register_routes(app)
    with serving(app, auth) as site:
        yield site


@pytest.fixture(scope="module")
def people(site: Site) -> tuple[Person, Person, Person]:
    """Two people and an admin."""
    return site.person("alice"), site.person("bob"), site.admin()


def new_post(person: Person, **fields: Any) -> int:
    """The key of a new post of this person."""
    answer = person.post("/posts", {"title": "a title", **fields})
    assert answer.status_code == 201, answer.text
    key: int = answer.json()["id"]
    return key


def ids(answer: Any) -> set[int]:
    """The keys of the rows in a list."""
    assert answer.status_code == 200, answer.text
    return {row["id"] for row in answer.json()}


def problem(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


# ---- reading -----------------------------------------------------------------------------------------------


def test_lists_and_counts_show_ones_own(site: Site) -> None:
    """A list, its total and its pages hold the caller's rows; an admin's hold all."""
    ann, ben, root = site.person("ann"), site.person("ben"), site.admin()
    mine = {new_post(ann) for _ in range(3)}
    theirs = {new_post(ben) for _ in range(2)}
    assert ids(ann.get("/posts")) == mine
    assert ids(ben.get("/posts")) == theirs
    assert ids(root.get("/posts?page_size=200")) >= mine | theirs
    for query in ("", "?count=exact", "?page_size=2&count=exact", "?limit=0", "?page=2&page_size=2"):
        assert ann.get(f"/posts{query}").headers["x-total-count"] == "3"
    assert ann.get("/posts?limit=0").json() == []
    assert len(ann.get("/posts?page_size=2").json()) == 2
    assert ann.request("HEAD", "/posts?count=exact").headers["x-total-count"] == "3"
    assert site.client.get("/posts").status_code == 401


def test_a_row_of_somebody_else_is_not_there(people: tuple[Person, Person, Person]) -> None:
    """Outside the read rule a row is 404 for every verb, exactly as one that does not exist."""
    alice, bob, root = people
    key = new_post(alice)
    assert alice.get(f"/posts/{key}").status_code == 200
    assert root.get(f"/posts/{key}").status_code == 200
    for path in (f"/posts/{key}", "/posts/999999"):
        for answer in (
            bob.get(path),
            bob.put(path, {"title": "b"}),
            bob.patch(path, {"title": "b"}),
            bob.patch(path, {}),
            bob.delete(path),
        ):
            assert problem(answer) == (404, "not_found")
    assert alice.get(f"/posts/{key}").json()["title"] == "a title"


def test_anonymous_callers_learn_nothing(site: Site, people: tuple[Person, Person, Person]) -> None:
    """401 comes before any row is looked up and any body is read."""
    key = new_post(people[0])
    for path in (f"/posts/{key}", "/posts/999999", "/posts/x"):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            assert site.client.request(method, path, content=b"{").status_code == 401
    assert site.client.post("/posts", content=b"{").status_code == 401


def test_embedded_rows_obey_their_own_rule(people: tuple[Person, Person, Person]) -> None:
    """To-many relations hold what the caller may read of the other model, to-one relations are null else."""
    alice, _, root = people
    key = new_post(alice)
    said = alice.post("/comments", {"text": "mine", "post_id": key}).json()
    heard = root.post("/comments", {"text": "the admin's", "post_id": key}).json()
    assert [row["id"] for row in alice.get(f"/posts/{key}").json()["comments"]] == [said["id"]]
    assert [row["id"] for row in root.get(f"/posts/{key}").json()["comments"]] == [said["id"], heard["id"]]
    assert alice.get(f"/posts/{key}").json()["author"]["username"] == alice.username
    given = root.post("/posts", {"title": "the admin's"}).json()
    comment = root.post("/comments", {"text": "own", "post_id": given["id"]}).json()
    assert comment["post"]["author"]["username"] == root.username
    listed = next(row for row in root.get("/posts?page_size=200").json() if row["id"] == key)
    assert len(listed["comments"]) == 2
    assert root.get(f"/comments/{said['id']}").json()["post"]["author"]["id"] == alice.id
    assert alice.get(f"/comments/{said['id']}").json()["post"]["author"]["id"] == alice.id


def test_a_reference_must_be_readable(people: tuple[Person, Person, Person]) -> None:
    """A foreign key to a row that the caller may not read is refused as one to nothing."""
    alice, bob, root = people
    key = new_post(alice)
    for post_id in (key, 999_999):
        answer = bob.post("/comments", {"text": "on it", "post_id": post_id})
        assert problem(answer) == (422, "invalid_reference")
        assert [entry["pointer"] for entry in answer.json()["errors"]] == ["/post_id"]
    own = bob.post("/comments", {"text": "on my own", "post_id": new_post(bob)}).json()
    assert problem(bob.patch(f"/comments/{own['id']}", {"post_id": key})) == (422, "invalid_reference")
    full = {"text": "t", "post_id": key}
    assert problem(bob.put(f"/comments/{own['id']}", full)) == (422, "invalid_reference")
    assert bob.get(f"/comments/{own['id']}").json() == own
    assert root.post("/comments", {"text": "on it", "post_id": key}).status_code == 201


# ---- the owner column --------------------------------------------------------------------------------------


def test_the_owner_is_the_caller(people: tuple[Person, Person, Person]) -> None:
    """The owner column is filled from the caller; sent with that value it is accepted, else refused."""
    alice, bob, root = people
    for person in (alice, root):
        assert person.post("/posts", {"title": "x"}).json()["author_id"] == person.id
        assert person.post("/posts", {"title": "x", "author_id": person.id}).status_code == 201
        before = person.get("/posts?limit=0").headers["x-total-count"]
        for other in (bob.id, None, str(person.id), 999_999):
            answer = person.post("/posts", {"title": "x", "author_id": other})
            assert problem(answer) == (422, "read_only_field")
            assert [entry["pointer"] for entry in answer.json()["errors"]] == ["/author_id"]
        assert person.get("/posts?limit=0").headers["x-total-count"] == before


def test_nobody_gives_a_row_away(people: tuple[Person, Person, Person]) -> None:
    """No verb moves the owner, not even for an admin; the stored value may be sent back."""
    alice, bob, root = people
    key = new_post(alice)
    whole = alice.get(f"/posts/{key}").json()
    for person in (alice, root):
        for method in ("PUT", "PATCH"):
            body = {"title": "changed", "author_id": bob.id}
            assert problem(person.request(method, f"/posts/{key}", json=body)) == (422, "read_only_field")
            body = {"title": "kept", "author_id": alice.id}
            assert person.request(method, f"/posts/{key}", json=body).status_code == 200
    assert alice.get(f"/posts/{key}").json() == {**whole, "title": "kept"}
    assert bob.get(f"/posts/{key}").status_code == 404


def test_other_keys_to_accounts_are_the_clients(people: tuple[Person, Person, Person]) -> None:
    """Of two keys to accounts only the owner column is managed; the other may name anybody."""
    alice, bob, _ = people
    sent = alice.post("/messages", {"text": "hello", "recipient_id": bob.id})
    assert sent.json().items() >= {"sender_id": alice.id, "recipient_id": bob.id}.items()
    assert problem(bob.get(f"/messages/{sent.json()['id']}")) == (404, "not_found")
    assert problem(alice.post("/messages", {"text": "x", "recipient_id": 999_999})) == (
        422,
        "invalid_reference",
    )
    moved = alice.patch(f"/messages/{sent.json()['id']}", {"recipient_id": alice.id})
    assert moved.json()["recipient_id"] == alice.id


def test_a_row_that_is_sent_back_as_it_was_read(people: tuple[Person, Person, Person]) -> None:
    """Key and owner in a PUT are accepted with the values that they have; embedded rows are not fields."""
    alice, _, _ = people
    key = new_post(alice)
    whole = alice.get(f"/posts/{key}").json()
    plain = {name: value for name, value in whole.items() if name not in ("author", "comments")}
    assert alice.put(f"/posts/{key}", {**plain, "title": "again"}).json()["title"] == "again"
    assert problem(alice.put(f"/posts/{key}", {**plain, "id": key + 1})) == (422, "read_only_field")


# ---- the accounts themselves -------------------------------------------------------------------------------


def test_self_or_admin(people: tuple[Person, Person, Person]) -> None:
    """Everybody sees and changes their own account, admins all; creation is the admins'."""
    alice, bob, root = people
    assert ids(alice.get("/users")) == {alice.id}
    assert ids(root.get("/users?page_size=200")) >= {alice.id, bob.id, root.id}
    assert alice.get(f"/users/{bob.id}").status_code == 404
    assert alice.patch(f"/users/{alice.id}", {"age": 33}).json()["age"] == 33
    assert alice.patch(f"/users/{bob.id}", {"age": 33}).status_code == 404
    assert root.patch(f"/users/{alice.id}", {"age": 34}).json()["age"] == 34
    body = {"username": "made", "email": "made@example.com"}
    assert problem(alice.post("/users", body)) == (403, "forbidden")
    made = root.post("/users", body)
    assert made.status_code == 201
    assert root.delete(f"/users/{made.json()['id']}").status_code == 204


def test_nobody_changes_rights_by_crud(people: tuple[Person, Person, Person]) -> None:
    """Roles and states are the admins' to write; flags and hashes nobody's, on any verb."""
    alice, _, root = people
    path = f"/users/{alice.id}"
    whole = {"username": alice.username, "email": f"{alice.username}@example.com"}
    for field, value in (("role", "admin"), ("is_active", False)):
        assert problem(alice.patch(path, {field: value})) == (422, "read_only_field")
        assert problem(alice.put(path, {**whole, field: value})) == (422, "read_only_field")
    assert alice.patch(path, {"role": "member", "is_active": True}).status_code == 200
    assert root.patch(path, {"role": "editor"}).json()["role"] == "editor"
    assert alice.put(path, whole).json()["role"] == "editor"
    for field, value in (("is_admin", True), ("hashed_password", "x"), ("is_admin", False)):
        for person in (alice, root):
            assert problem(person.patch(path, {field: value})) == (422, "unknown_field")
            assert problem(person.put(path, {**whole, field: value})) == (422, "unknown_field")
            made = {"username": "new", "email": "new@example.com", field: value}
            assert person.post("/users", made).status_code == (403 if person is alice else 422)
    assert not {"is_admin", "hashed_password"} & set(root.get(path).json())


def test_names_are_canonical_by_crud_too(people: tuple[Person, Person, Person]) -> None:
    """A changed name is kept in its one form; a taken one is 409, an imitation 422."""
    alice, bob, _ = people
    path = f"/users/{bob.id}"
    assert bob.patch(path, {"email": " BOB@New.Example.COM "}).json()["email"] == "bob@new.example.com"
    assert problem(bob.patch(path, {"username": alice.username.upper()})) == (409, "conflict")
    assert problem(bob.patch(path, {"username": "\u0430dmin"})) == (422, "validation")


def test_keys_from_account_to_account_are_data(people: tuple[Person, Person, Person]) -> None:
    """A user model's key to itself is no owner column."""
    alice, bob, _ = people
    path = f"/users/{alice.id}"
    assert alice.patch(path, {"sponsor_id": bob.id}).json()["sponsor_id"] == bob.id
    assert alice.patch(path, {"sponsor_id": None}).json()["sponsor_id"] is None


def test_who_deletes_the_own_account_is_gone(site: Site) -> None:
    """After DELETE of oneself the token opens nothing."""
    carl = site.person("carl")
    assert carl.delete(f"/users/{carl.id}").status_code == 204
    assert carl.get("/me").status_code == 401
