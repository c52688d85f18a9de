"""The blog example, as `make run` starts it, driven from outside."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from tests.live import LiveServer, serve

COMMAND = [sys.executable, "-m", "examples.blog"]


class People:
    """Tokens of the people in these stories, as headers."""

    def __init__(self, server: LiveServer) -> None:
        """Register two readers; the admin's password stands in the log."""
        self.client = server.client
        self.nobody: dict[str, str] = {}
        self.alice = self.join("alice")
        self.bob = self.join("bob")
        self.admin = self.log_in("admin", admin_password(server))

    def join(self, name: str) -> dict[str, str]:
        """Register and log in."""
        account = {"username": name, "email": f"{name}@example.com", "password": f"{name} writes here"}
        assert self.client.post("/register", json=account).status_code == 201
        return self.log_in(name, f"{name} writes here")

    def log_in(self, name: str, password: str) -> dict[str, str]:
        """The headers of a logged-in person."""
        answer = self.client.post("/login", json={"username": name, "password": password})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def admin_password(server: LiveServer) -> str:
    """What the server printed at its first start."""
    found = re.search(r"The first admin is `admin`, the password (\S+) \(shown this once\)", server.log)
    assert found is not None, server.log
    return found[1]


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("blog"), command=COMMAND, env={"JETIO_PORT": "0"}) as server:
        yield server


@pytest.fixture(scope="module")
def people(blog: LiveServer) -> People:
    return People(blog)


@pytest.fixture
def client(blog: LiveServer) -> httpx2.Client:
    return blog.client


@pytest.fixture
def post(client: httpx2.Client, people: People) -> str:
    """The address of a new post of Alice's."""
    answer = client.post("/posts", json={"title": "Tea", "body": "How to."}, headers=people.alice)
    assert answer.status_code == 201, answer.text
    address: str = answer.headers["Location"]
    return address


def test_it_says_where_its_documentation_is(blog: LiveServer, client: httpx2.Client) -> None:
    """The first line that it prints names the docs, and they are there, without a foreign host."""
    assert re.search(r"Jetio Blog \(development\) on \S+, docs at http://127\.0\.0\.1:\d+/docs", blog.log)
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert not re.findall(r"https?://", page.text)
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/posts", "/posts/{id}", "/comments", "/users/{id}", "/login", "/stats"} <= set(paths)


def test_everybody_reads(client: httpx2.Client, people: People, post: str) -> None:
    """A post is there for those who never logged in, with its author and its comments in it."""
    comment = {"body": "Nice.", "post_id": int(post.rpartition("/")[2])}
    assert client.post("/comments", json=comment, headers=people.bob).status_code == 201
    shown = client.get(post).json()
    assert (shown["title"], shown["author"]["username"]) == ("Tea", "alice")
    assert [comment["body"] for comment in shown["comments"]] == ["Nice."]
    assert shown["id"] in [listed["id"] for listed in client.get("/posts").json()]


def test_writing_takes_an_account(client: httpx2.Client) -> None:
    """401 for a post by nobody, with the challenge."""
    answer = client.post("/posts", json={"title": "Tea", "body": "How to."})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_author_is_who_writes(client: httpx2.Client, people: People, post: str) -> None:
    """The author cannot be chosen: naming another account is refused."""
    mine = client.get(post).json()["author_id"]
    forged = {"title": "Tea", "body": "Mine.", "author_id": mine}
    answer = client.post("/posts", json=forged, headers=people.bob)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/author_id"]


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("bob", 403), ("alice", 200), ("admin", 200)])
def test_a_post_is_changed_by_its_author_and_admins(
    client: httpx2.Client, people: People, post: str, who: str, status: int
) -> None:
    """PATCH and PUT follow the one rule."""
    headers = getattr(people, who)
    assert client.patch(post, json={"title": "Coffee"}, headers=headers).status_code == status
    replaced = client.put(post, json={"title": "Cocoa", "body": "How to."}, headers=headers)
    assert replaced.status_code == status
    assert client.get(post).json()["title"] == ("Cocoa" if status == 200 else "Tea")


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("bob", 403), ("alice", 204), ("admin", 204)])
def test_a_post_is_deleted_by_its_author_and_admins(
    client: httpx2.Client, people: People, post: str, who: str, status: int
) -> None:
    """Its comments go with it."""
    comment = {"body": "Nice.", "post_id": int(post.rpartition("/")[2])}
    said = client.post("/comments", json=comment, headers=people.bob).headers["Location"]
    assert client.delete(post, headers=getattr(people, who)).status_code == status
    gone = status == 204
    assert client.get(post).status_code == client.get(said).status_code == (404 if gone else 200)


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("bob", 403), ("alice", 403), ("admin", 204)])
def test_comments_are_deleted_by_admins_only(
    client: httpx2.Client, people: People, post: str, who: str, status: int
) -> None:
    """Not even by who wrote them: Bob may change his comment, not take it back."""
    comment = {"body": "Nice.", "post_id": int(post.rpartition("/")[2])}
    said = client.post("/comments", json=comment, headers=people.bob).headers["Location"]
    assert client.patch(said, json={"body": "Very nice."}, headers=people.bob).status_code == 200
    assert client.delete(said, headers=getattr(people, who)).status_code == status


@pytest.mark.parametrize("text", ["'; DROP TABLE posts; --", "' OR '1'='1", "%_\\", "{0} ${x}", '"\r\n<!--'])
def test_text_is_only_text(client: httpx2.Client, people: People, text: str) -> None:
    """Whatever it would be to a database or a template: it comes back as it was, and leads nowhere."""
    made = client.post("/posts", json={"title": text, "body": text}, headers=people.alice)
    assert made.status_code == 201, made.text
    found = client.get(made.headers["Location"]).json()
    assert (found["title"], found["body"]) == (text, text)
    assert client.get("/posts/" + quote(text, safe="")).status_code == 404
    assert client.get("/posts", params={"page": text}).status_code == 422
    assert client.post("/login", json={"username": text, "password": text}).status_code == 401


def test_accounts_show_no_address(client: httpx2.Client, people: People) -> None:
    """Emails are for admins; hashes and the admin flag for nobody."""
    public = client.get("/users").json()
    assert {"id", "username", "bio"} == set(public[0])
    private = client.get("/users", headers=people.admin).json()
    assert {"id", "username", "email", "bio"} == set(private[0])


def test_an_account_is_its_owners(client: httpx2.Client, people: People) -> None:
    """Bob changes his own, not Alice's, and deletes neither."""
    ids = {user["username"]: user["id"] for user in client.get("/users").json()}
    bio = {"bio": "Reads."}
    assert client.patch(f"/users/{ids['bob']}", json=bio, headers=people.bob).json()["bio"] == "Reads."
    assert client.patch(f"/users/{ids['alice']}", json=bio, headers=people.bob).status_code == 403
    assert client.delete(f"/users/{ids['bob']}", headers=people.bob).status_code == 403
    assert client.post("/users", json={"username": "eve"}, headers=people.admin).status_code == 405


def test_admins_make_admins(client: httpx2.Client, people: People) -> None:
    """A promotion counts at the next request with the same token, and so does its end."""
    carol = people.join("carol")
    number = client.get("/me", headers=carol).json()["id"]
    assert client.post(f"/admin/{number}/make-admin", headers=carol).status_code == 403
    assert client.post(f"/admin/{number}/make-admin", headers=people.admin).status_code == 200
    assert client.get("/me", headers=carol).json()["roles"] == ["admin"]
    assert client.post(f"/admin/{number}/remove-admin", headers=carol).status_code == 200
    assert client.get("/me", headers=carol).json()["roles"] == []


def test_routes_of_its_own(client: httpx2.Client, people: People, post: str) -> None:
    """Counts for everybody; the own posts, newest first, for whoever is logged in."""
    counted = client.get("/stats").json()
    assert set(counted) == {"users", "posts", "comments"}
    assert counted["posts"] >= 1
    assert client.get("/me/posts").status_code == 401
    mine = client.get("/me/posts", headers=people.alice).json()
    assert f"/posts/{mine[0]['id']}" == post
    assert client.get("/me/posts", headers=people.bob).json() == []


def test_the_page_escapes_what_people_wrote(client: httpx2.Client, people: People) -> None:
    """A script in a title is shown and not run."""
    hostile = {"title": "<script>alert(1)</script>", "body": "{0} & <b>"}
    assert client.post("/posts", json=hostile, headers=people.alice).status_code == 201
    page = client.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text


def test_people_get_a_page_and_programs_a_problem(client: httpx2.Client) -> None:
    """An address that does not exist, opened in a browser and asked for by a program."""
    page = client.get("/nowhere", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "This page does not exist" in page.text
    for path in ("/nowhere", "/posts/0"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_first_admin_is_made_once(tmp_path: Path) -> None:
    """A second start in the same folder prints no password, and the first one still works."""
    with serve(tmp_path, command=COMMAND, env={"JETIO_PORT": "0", "JETIO_ENV": "test"}) as server:
        password = admin_password(server)
    with serve(tmp_path, command=COMMAND, env={"JETIO_PORT": "0", "JETIO_ENV": "test"}) as server:
        assert "the password" not in server.log
        answer = server.client.post("/login", json={"username": "admin", "password": password})
        assert answer.status_code == 200


def test_the_first_admin_may_come_from_the_environment(tmp_path: Path) -> None:
    """Then nothing is printed."""
    account = {"USERNAME": "root", "EMAIL": "root@example.com", "PASSWORD": "from the environment"}
    named = {f"JETIO_AUTH_DEFAULT_ADMIN_{name}": value for name, value in account.items()}
    with serve(tmp_path, command=COMMAND, env={"JETIO_PORT": "0", "JETIO_ENV": "test", **named}) as server:
        assert "the password" not in server.log
        login = {"username": "root", "password": "from the environment"}
        assert server.client.post("/login", json=login).status_code == 200


def test_production_makes_no_admin_and_no_tables(tmp_path: Path) -> None:
    """Both are for people to make there."""
    production = {"JETIO_PORT": "0", "JETIO_ENV": "production", "SECRET_KEY": secrets.token_urlsafe(48)}
    with serve(tmp_path, command=COMMAND, env=production) as server:
        assert server.client.get("/posts").status_code == 500
        assert "the password" not in server.log
