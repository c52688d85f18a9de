"""Policies over HTTP: who is asked what, which rows follow, and how rules combine, on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import ForeignKey, func, select, true
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType
from starlette.exceptions import HTTPException

from jetio import (
    Access,
    Allow,
    AllowWhere,
    ConfigError,
    CrudRouter,
    Decision,
    Deny,
    Depends,
    Jetio,
    Policy,
    Principal,
    decisions,
    policy,
    read_only,
    rows,
)
from jetio.testing import TestClient
from jetio_auth import AuthRouter, JetioAuthMixin, ownership
from jetio_auth.ownership import OwnerOrAdmin
from tests.auth.forum import (
    SETTINGS,
    Comment,
    Idea,
    Message,
    Note,
    Person,
    Post,
    Site,
    User,
    call,
    new_app,
    new_base,
    serving,
)

Rules = Callable[[AuthRouter], dict[str, Any]]


@policy
async def published_or_mine(access: Access) -> Decision:
    """What the documentation shows."""
    if access.principal is None:
        return AllowWhere(Post.published)
    mine = Post.author_id == access.principal.id
    return AllowWhere(Post.published | mine, check=mine)


def new_site(url: str, *routers: Callable[[AuthRouter], CrudRouter]) -> tuple[Jetio, AuthRouter]:
    """The forum with these routers."""
    app = new_app(url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    for make in routers:
        make(auth).register_routes(app)
    return app, auth


@contextmanager
def ruled(url: str, model: Any, **options: Any) -> Iterator[Site]:
    """The forum with one router; `policy` may be a function of the AuthRouter."""
    rules = options.pop("policy", None)

    def make(auth: AuthRouter) -> CrudRouter:
        given = rules(auth) if callable(rules) else rules
        return CrudRouter(model, policy=given, **options)

    with serving(*new_site(url, make)) as site:
        yield site


@pytest.fixture(scope="module")
def site(shared_url: str) -> Iterator[Site]:
    """Posts that are public once they are published; comments on what one can see; only admins delete."""

    def post_router(auth: AuthRouter) -> CrudRouter:
        own = auth.owner_or_admin(Post)
        rules = {"GET": published_or_mine, "PUT": own, "DELETE": auth.admin_only()}
        return CrudRouter(Post, policy=rules, load_relationships=["comments"])

    def comment_router(auth: AuthRouter) -> CrudRouter:
        rules = {"GET": auth.public(), "*": auth.owner_or_admin(Comment)}
        return CrudRouter(Comment, policy=rules, load_relationships=["post"])

    with serving(*new_site(shared_url, post_router, comment_router)) as site:
        yield site


@pytest.fixture(scope="module")
def people(site: Site) -> tuple[Person, Person, Person]:
    """Two people and an admin."""
    return site.person("alice"), site.person("bob"), site.admin()


def problem(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def new_post(person: Person, **fields: Any) -> int:
    """The key of a new post of this person."""
    answer = person.post("/posts", {"title": "a title", **fields})
    assert answer.status_code == 201, answer.text
    key: int = answer.json()["id"]
    return key


# ---- 401, 403, 404 -----------------------------------------------------------------------------------------


def test_readable_is_not_writable(site: Site, people: tuple[Person, Person, Person]) -> None:
    """A row that may be read and not written is 403, one that may not be read 404; nobody is 401."""
    alice, bob, root = people
    hidden, shown = new_post(alice), new_post(alice, published=True)
    body = {"title": "b", "published": True}
    for method in ("PUT", "PATCH"):
        assert problem(bob.request(method, f"/posts/{shown}", json=body)) == (403, "forbidden")
        assert problem(bob.request(method, f"/posts/{hidden}", json=body)) == (404, "not_found")
        assert site.client.request(method, f"/posts/{shown}", json=body).status_code == 401
        assert alice.request(method, f"/posts/{shown}", json=body).status_code == 200
    assert root.patch(f"/posts/{hidden}", {"title": "c"}).status_code == 404  # the read rule knows no admin
    assert root.patch(f"/posts/{shown}", {"title": "c"}).status_code == 200
    assert problem(alice.delete(f"/posts/{shown}")) == (403, "forbidden")
    assert alice.delete(f"/posts/{shown}").json()["detail"] == "Only admins may do this"
    assert problem(bob.delete(f"/posts/{hidden}")) == (403, "forbidden")
    assert root.delete(f"/posts/{shown}").status_code == 204
    assert root.delete(f"/posts/{shown}").status_code == 404


def test_anonymous_callers_see_what_the_rule_gives_them(
    site: Site, people: tuple[Person, Person, Person]
) -> None:
    """A rule may let anonymous callers read some rows; a bad credential is 401 there too."""
    alice, bob, _ = people
    hidden, shown = new_post(alice), new_post(alice, published=True)
    assert site.client.get(f"/posts/{shown}").status_code == 200
    assert site.client.get(f"/posts/{hidden}").status_code == 404
    found = {row["id"] for row in site.client.get("/posts?page_size=200").json()}
    assert shown in found
    assert hidden not in found
    assert {shown, hidden} <= {row["id"] for row in alice.get("/posts?page_size=200").json()}
    bad = {"Authorization": "Bearer rubbish"}
    assert site.client.get("/posts", headers=bad).status_code == 401
    assert bob.get(f"/posts/{hidden}").status_code == 404


def test_what_is_embedded_follows_each_caller(site: Site, people: tuple[Person, Person, Person]) -> None:
    """A comment shows its post to those who may read the post, and null to others."""
    alice, bob, _ = people
    key = new_post(alice, published=True)
    comment = bob.post("/comments", {"text": "nice", "post_id": key}).json()
    path = f"/comments/{comment['id']}"
    assert comment["post"]["id"] == key
    alice.patch(f"/posts/{key}", {"published": False})
    assert bob.get(path).json()["post"] is None
    assert site.client.get(path).json()["post"] is None
    assert alice.get(path).json()["post"]["id"] == key
    assert problem(bob.patch(path, {"post_id": key})) == (422, "invalid_reference")
    assert bob.patch(path, {"text": "still mine"}).json()["post"] is None
    alice.patch(f"/posts/{key}", {"published": True})
    assert [row["text"] for row in site.client.get(f"/posts/{key}").json()["comments"]] == ["still mine"]


# ---- the row as written ------------------------------------------------------------------------------------


def drafts_only(auth: AuthRouter) -> dict[str, Any]:
    """Everybody writes, but nobody writes a published post."""
    drafts = rows(lambda access: Post.published.is_(False))
    return {"GET": auth.authenticated(), "POST": drafts, "PATCH": drafts}


def test_the_written_row_must_satisfy_the_rule(database_url: str) -> None:
    """An insert or update whose row breaks the check is 403 `policy_check` and leaves nothing behind."""
    with ruled(database_url, Post, policy=drafts_only) as site:
        ann = site.person("ann")
        key = new_post(ann)
        for method in ("PATCH", "PUT"):
            answer = ann.request(method, f"/posts/{key}", json={"title": "t", "published": True})
            assert problem(answer) == (403, "policy_check")
        assert problem(ann.post("/posts", {"title": "t", "published": True})) == (403, "policy_check")
        assert ann.get("/posts").json() == [
            {"id": key, "title": "a title", "published": False, "author_id": ann.id}
        ]
        assert ann.patch(f"/posts/{key}", {"title": "b"}).status_code == 200


def by_subquery(auth: AuthRouter) -> dict[str, Any]:
    """Comments belong to those whose posts they stand under."""

    async def rule(access: Access) -> Decision:
        if access.principal is None:
            return Deny()
        own = select(Post.id).where(Post.author_id == access.principal.id)
        return AllowWhere(Comment.post_id.in_(own))

    return {"*": rule}


def test_a_rule_with_a_subquery(database_url: str) -> None:
    """Subqueries narrow lists, rows, writes and the row as written, on each database."""

    def posts(auth: AuthRouter) -> CrudRouter:
        return CrudRouter(Post, secure=True)

    def comments(auth: AuthRouter) -> CrudRouter:
        return CrudRouter(Comment, policy=by_subquery(auth))

    with serving(*new_site(database_url, posts, comments)) as site:
        ann, ben = site.person("ann"), site.person("ben")
        own, other = new_post(ann), new_post(ben)
        key = ann.post("/comments", {"text": "a", "post_id": own}).json()["id"]
        assert problem(ann.post("/comments", {"text": "a", "post_id": other})) == (403, "policy_check")
        assert [row["id"] for row in ann.get("/comments?count=exact").json()] == [key]
        assert ben.get("/comments?count=exact").headers["x-total-count"] == "0"
        assert problem(ann.patch(f"/comments/{key}", {"post_id": other})) == (403, "policy_check")
        assert ann.patch(f"/comments/{key}", {"text": "b"}).json()["post_id"] == own
        assert problem(ben.patch(f"/comments/{key}", {"text": "c"})) == (404, "not_found")
        assert problem(ben.delete(f"/comments/{key}")) == (404, "not_found")
        assert ann.delete(f"/comments/{key}").status_code == 204


def test_a_rule_that_forgets_the_subquery(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A clause about another table would pair each row with each: nothing is answered, the log says why."""

    def rules(auth: AuthRouter) -> dict[str, Any]:
        return {"GET": rows(lambda access: User.age > 3), "*": rows(lambda access: Post.published.is_(False))}

    def open_comments(auth: AuthRouter) -> CrudRouter:
        return CrudRouter(Comment, policy={"*": rows(lambda access: User.age > 3)})

    def posts(auth: AuthRouter) -> CrudRouter:
        return CrudRouter(Post, policy=rules(auth), load_relationships=["comments"])

    with serving(*new_site(database_url, posts, open_comments)) as site:
        ann = site.person("ann")
        for answer in (
            ann.get("/posts"),
            ann.get("/posts/1"),
            ann.get("/posts?limit=0"),
            ann.post("/comments", {"text": "t", "post_id": 1}),
            ann.patch("/comments/1", {"text": "t"}),
            ann.delete("/comments/1"),
        ):
            assert problem(answer) == (500, "internal")
            assert "users" not in answer.text
        assert "a rule about posts reads users outside of a subquery" in caplog.text


def limited(auth: AuthRouter) -> dict[str, Any]:
    """At most two posts each."""

    async def rule(access: Access) -> Decision:
        if access.principal is None:
            return Deny()
        mine = select(func.count()).select_from(Post).where(Post.author_id == access.principal.id)
        if (await access.session.scalar(mine) or 0) >= 2:
            return Deny("too_many", "Two posts are enough")
        return Allow()

    return {"GET": auth.public(), "POST": rule}


def test_a_rule_that_asks_the_database(database_url: str) -> None:
    """`access.session` reads in the request's own transaction; a Deny has its own code and detail."""
    with ruled(database_url, Post, policy=limited) as site:
        ann = site.person("ann")
        assert [ann.post("/posts", {"title": "t"}).status_code for _ in range(3)] == [201, 201, 403]
        refused = ann.post("/posts", {"title": "t"})
        assert problem(refused) == (403, "too_many")
        assert refused.json()["detail"] == "Two posts are enough"
        assert site.client.post("/posts", json={"title": "t"}).status_code == 401
        assert site.client.get("/posts").headers["x-total-count"] == "2"


# ---- which rule answers ------------------------------------------------------------------------------------

ORDER: dict[str, tuple[Rules, dict[str, int]]] = {
    "the action before its verb": (
        lambda auth: {"GET": auth.admin_only(), "list": auth.public()},
        # What may not be read is not there to be written.
        {"list": 200, "retrieve": 403, "create": 201, "replace": 404, "update": 404, "delete": 404},
    ),
    "PATCH for PUT": (
        lambda auth: {"PATCH": auth.admin_only()},
        {"list": 200, "retrieve": 200, "create": 201, "replace": 403, "update": 403, "delete": 204},
    ),
    "PUT for PATCH": (
        lambda auth: {"PUT": auth.admin_only()},
        {"list": 200, "retrieve": 200, "create": 201, "replace": 403, "update": 403, "delete": 204},
    ),
    "each its own": (
        lambda auth: {"PUT": auth.admin_only(), "update": auth.authenticated()},
        {"list": 200, "retrieve": 200, "create": 201, "replace": 403, "update": 200, "delete": 204},
    ),
    "the star for the rest": (
        lambda auth: {"*": auth.admin_only(), "GET": auth.authenticated(), "POST": auth.authenticated()},
        {"list": 200, "retrieve": 200, "create": 201, "replace": 403, "update": 403, "delete": 403},
    ),
    "read only": (
        lambda auth: {"*": read_only()},
        {"list": 200, "retrieve": 200, "create": 403, "replace": 403, "update": 403, "delete": 403},
    ),
}


@pytest.mark.parametrize("name", ORDER)
def test_which_rule_answers(sqlite_url: str, name: str) -> None:
    """The action, its verb, its twin, the star; for what is left everybody who is signed in."""
    rules, expected = ORDER[name]
    with ruled(sqlite_url, Note, policy=rules) as site:
        ann = site.person("ann")

        async def add() -> None:
            async with site.app.database.sessions() as session:
                session.add(Note(id=7, text="t"))
                await session.commit()

        site.run(add)
        body = {"text": "t"}
        found = {
            "list": ann.get("/notes"),
            "retrieve": ann.get("/notes/7"),
            "create": ann.post("/notes", body),
            "replace": ann.put("/notes/7", body),
            "update": ann.patch("/notes/7", body),
            "delete": ann.delete("/notes/7"),
        }
        assert {action: answer.status_code for action, answer in found.items()} == expected


@pytest.mark.parametrize(
    "options",
    [
        {"secure": True},
        {"policy": {}},
        {"policy": lambda auth: {"DELETE": auth.admin_only()}},
        {"policy": {"list": lambda access: None}},
    ],
)
def test_any_rule_secures_the_rest(sqlite_url: str, options: dict[str, Any]) -> None:
    """`policy` alone needs no second switch: what it does not name needs a login."""
    with ruled(sqlite_url, Note, **options) as site:
        assert site.client.post("/notes", json={"text": "t"}).status_code == 401
        assert site.client.get("/notes/1").status_code == 401
        assert site.person("ann").post("/notes", {"text": "t"}).status_code == 201


# ---- composition -------------------------------------------------------------------------------------------

COMPOSED: dict[str, tuple[Rules, set[str], set[str], set[str]]] = {
    # the rule; what ann, an admin and nobody see of: ann's draft, ann's post, ben's draft, ben's post
    "or": (
        lambda auth: {"GET": auth.owner_or_admin(Post) | rows(lambda access: Post.published)},
        {"ad", "ap", "bp"},
        {"ad", "ap", "bd", "bp"},
        {"ap", "bp"},
    ),
    "and": (
        lambda auth: {"GET": auth.owner_or_admin(Post) & rows(lambda access: Post.published)},
        {"ap"},
        {"ap", "bp"},
        set(),
    ),
    "not": (
        lambda auth: {"GET": ~auth.owner_or_admin(Post)},
        {"bd", "bp"},
        set(),
        set(),
    ),
    "not of rows": (
        lambda auth: {"GET": ~rows(lambda access: Post.published)},
        {"ad", "bd"},
        {"ad", "bd"},
        {"ad", "bd"},
    ),
    "both sides of a function": (
        lambda auth: {"GET": auth.authenticated() & published_or_mine & ~auth.admin_only()},
        {"ad", "ap", "bp"},
        set(),
        set(),
    ),
    "function first": (
        lambda auth: {"GET": (lambda access: _published()) | auth.admin_only()},
        {"ap", "bp"},
        {"ad", "ap", "bd", "bp"},
        {"ap", "bp"},
    ),
}


async def _published() -> Decision:
    return AllowWhere(Post.published)


@pytest.mark.parametrize("name", COMPOSED)
def test_rules_combine(shared_url: str, name: str) -> None:
    """`&`, `|` and `~` combine whole decisions; the permission of one never meets the rows of the other."""
    rules, seen_by_ann, seen_by_admin, seen_by_nobody = COMPOSED[name]

    def with_post(auth: AuthRouter) -> dict[str, Any]:
        return {**rules(auth), "POST": auth.authenticated()}

    with ruled(shared_url, Post, policy=with_post) as site:
        ann, ben, root = site.person("ann"), site.person("ben"), site.admin()
        keys = {}
        for letter, person in (("a", ann), ("b", ben)):
            for kind, published in (("d", False), ("p", True)):
                keys[new_post(person, published=published)] = letter + kind
        for who, expected in ((ann, seen_by_ann), (root, seen_by_admin), (site.client, seen_by_nobody)):
            answer = who.get("/posts?page_size=200")
            if answer.status_code == 200:
                found = {keys[row["id"]] for row in answer.json() if row["id"] in keys}
            else:
                assert answer.status_code == (401 if who is site.client else 403)
                found = set()
            assert found == expected


def test_negation_knows_null(database_url: str) -> None:
    """`~` means "is not true": a row for which the clause is NULL belongs to the negation."""

    def rules(auth: AuthRouter) -> dict[str, Any]:
        return {"GET": ~rows(lambda access: Note.secret == true()), "POST": auth.public()}

    with ruled(database_url, Note, policy=rules) as site:
        for secret in (True, False, None):
            made = site.client.post("/notes", json={"text": str(secret), "secret": secret})
            assert made.status_code == 201
        assert [row["text"] for row in site.client.get("/notes").json()] == ["False", "None"]


# ---- rules of other kinds ----------------------------------------------------------------------------------


class Visitor:
    """What an old-style dependency returns."""

    id = 5
    username = "visitor"
    is_admin = False


def plain_dependency(request: Any) -> Any:
    """A dependency that is not async."""
    return Visitor() if request.headers.get("x-door") == "open" else None


async def full_dependency(request: Any, db: Any, item_id: Any) -> Any:
    """A dependency that uses all that it may be given."""
    door = request.headers.get("x-door")
    if door == "teapot":
        raise HTTPException(418, "Not a door", headers={"X-Pot": "tea"})
    if door == "forbidden":
        raise HTTPException(403)
    count = await db.scalar(select(func.count()).select_from(Note))
    return Visitor() if door == "open" and (item_id is None or item_id == 1) and count >= 0 else False


async def principal_dependency(request: Any) -> Principal | None:
    """A dependency that knows our Principal."""
    return Principal(id=1, sub="1") if request.headers.get("x-door") == "open" else None


@pytest.mark.parametrize("dependency", [plain_dependency, full_dependency, principal_dependency])
def test_old_style_dependencies(sqlite_url: str, dependency: Any) -> None:
    """A callable of request, db and item_id gates every route: falsy is 401."""
    app = new_app(sqlite_url)
    CrudRouter(Note, auth_dependency=dependency).register_routes(app)
    with serving(app, None) as site:  # type: ignore[arg-type]  # there is no AuthRouter
        opened = {"X-Door": "open"}
        assert site.client.get("/notes").status_code == 401
        assert site.client.post("/notes", json={"text": "t"}).headers["www-authenticate"] == "Bearer"
        assert site.client.post("/notes", json={"text": "t"}, headers=opened).status_code == 201
        assert site.client.get("/notes", headers=opened).json()[0]["text"] == "t"
        assert site.client.get("/notes/1", headers=opened).status_code == 200
        if dependency is full_dependency:
            assert site.client.get("/notes/2", headers=opened).status_code == 401
            teapot = site.client.get("/notes", headers={"X-Door": "teapot"})
            assert (teapot.status_code, teapot.headers["x-pot"]) == (418, "tea")
            assert site.client.get("/notes", headers={"X-Door": "forbidden"}).status_code == 403


def test_rules_on_handlers(sqlite_url: str) -> None:
    """Handlers take the same rules, as `policy=` or in Depends; rules about rows are refused at build."""
    app, auth = new_site(sqlite_url)

    @app.post("/by-policy", policy=auth.admin_only())
    async def by_policy() -> dict[str, str]:
        return {"done": "yes"}

    @app.post("/by-dependency")
    async def by_dependency(user: User = Depends(auth.admin_only())) -> dict[str, str]:  # noqa: B008 - as users do
        return {"done": user.username}

    with serving(app, auth) as site:
        ann, root = site.person("ann"), site.admin()
        for path in ("/by-policy", "/by-dependency"):
            assert site.client.post(path).status_code == 401
            assert problem(ann.post(path)) == (403, "forbidden")
            assert root.post(path).status_code == 200


# ---- bodies ------------------------------------------------------------------------------------------------


def test_nobody_makes_the_server_read_a_body(sqlite_url: str) -> None:
    """Who may not write is answered before a byte of the body is read, or a connection is taken."""
    app, auth = new_site(sqlite_url, lambda auth: CrudRouter(Note, policy={"*": auth.admin_only()}))
    auth.register_admin_routes(app)

    @app.post("/work")
    async def work(text: dict[str, str], principal: Principal) -> None:
        raise AssertionError("unreachable")

    @app.put("/work", policy=auth.admin_only())
    async def other(text: dict[str, str]) -> None:
        raise AssertionError("unreachable")

    async def receive() -> Any:
        raise AssertionError("the body was read")

    with serving(app, auth) as site:
        ann = site.person("ann")
        for method, path in (
            ("POST", "/notes"),
            ("PUT", "/notes/1"),
            ("PATCH", "/notes/1"),
            ("DELETE", "/notes/1"),
            ("POST", "/work"),
            ("PUT", "/work"),
            ("POST", "/admin/1/make-admin"),
        ):
            for headers, status in (({}, 401), ({"authorization": "Bearer x"}, 401), (ann.headers, 403)):
                if path == "/work" and method == "POST" and status == 403:
                    continue  # any account may
                given = {**headers, "content-length": "5000000"}
                answer = site.run(call, app, method, path, headers=given, receive=receive)
                assert answer.status == status


# ---- mistakes ----------------------------------------------------------------------------------------------


def a_note_rule(auth: AuthRouter) -> dict[str, Any]:
    return {"PUT": auth.owner_or_admin(Note)}


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "open beside rules": (Note, {"secure": False, "policy": {"GET": read_only()}}, "secure=False"),
    "open beside an empty policy": (Note, {"secure": False, "policy": {}}, "secure=False"),
    "open beside a dependency": (
        Note,
        {"secure": False, "auth_dependency": plain_dependency},
        "secure=False",
    ),
    "unknown key": (Note, {"policy": {"POTS": read_only()}}, "POTS"),
    "no rule": (Note, {"policy": {"GET": "admin"}}, "is no policy"),
    "strange function": (Note, {"policy": {"GET": lambda one, two: None}}, "takes"),
    "no owner": (Note, {"policy": a_note_rule}, "no foreign key to User"),
    "which owner": (
        Message,
        {"policy": lambda auth: {"PUT": auth.owner_or_admin(Message)}},
        "who owns a Message",
    ),
    "owner that is none": (Post, {"secure": True, "owner": "writer_id"}, "writer_id"),
    "candidates that are none": (Post, {"secure": True, "audit_fields": ["a", "b"]}, "'a', 'b'"),
    "an owner of another type": (
        Post,
        {"secure": True, "owner": "title"},
        r"Post.title cannot own: .* no foreign key to User, .* write ForeignKey\(\"users.id\"\)",
    ),
    "a candidate of another type": (
        Post,
        {"secure": True, "audit_fields": ["published", "author_id"]},
        "Post.published cannot own",
    ),
    "a rule that was not called": (
        Note,
        {"policy": lambda auth: {"GET": auth.owner_or_admin, "PUT": auth.admin_only}},
        r"(?s)'GET': owner_or_admin makes a rule and is none; write owner_or_admin\(\.\.\.\).*'PUT': admin_only",
    ),
    "candidates of a rule": (
        Post,
        {"policy": lambda auth: {"PUT": auth.owner_or_admin(Post, audit_fields=["writer_id"])}},
        "writer_id",
    ),
    "the rule of another model": (
        Note,
        {"policy": lambda auth: {"GET": auth.owner_or_admin(Post)}},
        "owner_or_admin of Post cannot guard the rows of Note",
    ),
    "self elsewhere": (
        Post,
        {"policy": lambda auth: {"GET": auth.self_or_admin() | auth.admin_only()}},
        "self_or_admin of User cannot guard the rows of Post",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_found_before_serving(name: str) -> None:
    """Rules that cannot hold are a ConfigError that says where and what to write."""
    model, options, told = MISTAKES[name]

    def build() -> None:
        with ruled("sqlite://", model, **options):
            raise AssertionError("it was built")

    with pytest.raises(ConfigError, match=told):
        build()


@pytest.mark.parametrize("rule", ["owner_or_admin", "self_or_admin"])
def test_handlers_have_no_rows(rule: str) -> None:
    """A rule about rows on a handler is found at build."""
    app, auth = new_site("sqlite://")
    made = auth.owner_or_admin(Post) if rule == "owner_or_admin" else auth.self_or_admin()

    @app.get("/x", policy=made)
    async def handler() -> None:
        raise AssertionError("unreachable")

    with pytest.raises(ConfigError, match=f"{rule} of .* cannot guard a handler"):
        app.build()


def test_rules_without_an_authenticator() -> None:
    """Without anybody who finds out callers a secured router cannot be built; the rules bring one along."""
    app = new_app("sqlite://")
    CrudRouter(Note, secure=True).register_routes(app)
    with pytest.raises(ConfigError, match="nothing finds out who is calling"):
        app.build()
    other = new_app("sqlite://")
    auth = AuthRouter(User)
    CrudRouter(Note, auth_dependency=auth.get_auth_dependency()).register_routes(other)
    other.build()
    assert other.authenticator is auth.authenticator


# ---- which column owns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "column"),
    [
        (Post, {}, "author_id"),
        (Message, {"owner": "recipient_id"}, "recipient_id"),
        (Message, {"audit_fields": ["nobody_id", "sender_id"]}, "sender_id"),
        (Message, {}, None),
        (Note, {}, None),
    ],
)
def test_which_column_is_stamped(sqlite_url: str, model: Any, options: Any, column: str | None) -> None:
    """`owner=`, else the candidates, else the only key to the accounts, else the usual names, else none."""
    with ruled(sqlite_url, model, secure=True, **options) as site:
        ann, ben = site.person("ann"), site.person("ben")
        body: dict[str, Any] = {"text": "t"} if model is not Post else {"title": "t"}
        if model is Message:
            body |= {"sender_id": ben.id, "recipient_id": ben.id}
        if column is not None:
            body.pop(column, None)
        made = ann.post(f"/{model.__tablename__}", body)
        assert made.status_code == 201, made.text
        stamped = {
            name for name in ("author_id", "sender_id", "recipient_id") if made.json().get(name) == ann.id
        }
        assert stamped == ({column} if column is not None else set())


def test_a_rule_about_a_column_that_nobody_stamps(sqlite_url: str) -> None:
    """Where the router knows no owner, the rule's own candidates name one, and it must be the caller."""

    def rules(auth: AuthRouter) -> dict[str, Any]:
        return {"*": auth.owner_or_admin(Message, audit_fields=["sender_id"])}

    with ruled(sqlite_url, Message, policy=rules) as site:
        ann, ben = site.person("ann"), site.person("ben")
        body = {"text": "t", "recipient_id": ben.id}
        assert problem(ann.post("/messages", {**body, "sender_id": ben.id})) == (403, "policy_check")
        assert ann.post("/messages", {**body, "sender_id": ann.id}).status_code == 201
        assert ben.get("/messages").json() == []


def test_many_callers(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a rule remembers of its callers is bounded, and never another's."""
    monkeypatch.setattr(ownership, "_REMEMBERED", 2)
    with ruled(sqlite_url, Post, policy=lambda auth: {"*": auth.owner_or_admin(Post)}) as site:
        people = [site.person("ann") for _ in range(4)]
        keys = {person.id: new_post(person) for person in people}
        for _ in range(2):
            for person in people:
                assert [row["id"] for row in person.get("/posts").json()] == [keys[person.id]]


def test_many_callers_of_combined_rules(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what is remembered of two rules together, or of a rule turned around."""
    monkeypatch.setattr(decisions, "_KEPT", 2)

    def mine(auth: AuthRouter, column: str) -> Policy:
        return auth.owner(Message, audit_fields=[column])

    def rules(auth: AuthRouter) -> dict[str, Any]:
        sent, got = mine(auth, "sender_id"), mine(auth, "recipient_id")
        return {"list": sent & ~got, "retrieve": sent | got, "*": auth.authenticated()}

    with ruled(sqlite_url, Message, policy=rules) as site:
        people = [site.person("ann") for _ in range(3)]
        keys = {
            (one.id, two.id): one.post(
                "/messages", {"text": "t", "sender_id": one.id, "recipient_id": two.id}
            ).json()["id"]
            for one in people
            for two in people
        }
        for who in people * 2:
            seen = [row["id"] for row in who.get("/messages").json()]
            assert seen == [key for pair, key in keys.items() if pair[0] == who.id != pair[1]]
            for pair, key in keys.items():
                assert who.get(f"/messages/{key}").status_code == (200 if who.id in pair else 404)


def test_rules_have_names() -> None:
    """What `jetio access` and error messages call a rule."""
    auth = AuthRouter(User)
    owned = auth.owner_or_admin(Post) | ~(auth.admin_only() & auth.self_or_admin())
    assert repr(owned) == "(owner_or_admin | ~(admin_only & self_or_admin))"
    assert repr(auth.authenticated()) == repr(auth.get_auth_dependency()) == "authenticated"


def test_a_rule_about_another_column_than_the_stamped(sqlite_url: str) -> None:
    """Where the rule's owner column is the client's to set, nobody plants a row that is another's."""

    def rules(auth: AuthRouter) -> dict[str, Any]:
        return {"*": auth.owner_or_admin(Message, audit_fields=["recipient_id"])}

    with ruled(sqlite_url, Message, owner="sender_id", policy=rules) as site:
        ann, ben, root = site.person("ann"), site.person("ben"), site.admin()
        assert problem(ann.post("/messages", {"text": "t", "recipient_id": ben.id})) == (403, "policy_check")
        made = ann.post("/messages", {"text": "t", "recipient_id": ann.id}).json()
        assert problem(ann.patch(f"/messages/{made['id']}", {"recipient_id": ben.id})) == (
            403,
            "policy_check",
        )
        assert root.post("/messages", {"text": "t", "recipient_id": ben.id}).status_code == 201
        assert [row["recipient_id"] for row in ben.get("/messages").json()] == [ben.id]


def test_an_open_creation_of_owned_rows(database_url: str) -> None:
    """Where everybody may create, who is signed in owns the row; a row that must have an owner needs a login."""

    def posts(auth: AuthRouter) -> CrudRouter:
        return CrudRouter(Post, policy={"*": auth.public(), "PUT": auth.owner_or_admin(Post)})

    with serving(*new_site(database_url, posts)) as site:
        ann, ben = site.person("ann"), site.person("ben")
        assert ann.post("/posts", {"title": "t"}).json()["author_id"] == ann.id
        assert problem(ann.post("/posts", {"title": "t", "author_id": ben.id})) == (422, "read_only_field")
        for body in ({"title": "t"}, {"title": "t", "author_id": ann.id}):
            assert problem(site.client.post("/posts", json=body)) == (401, "not_authenticated")
        assert site.client.post("/posts", content=b"{").status_code == 401
        assert site.client.get("/posts").headers["x-total-count"] == "1"


def test_an_open_creation_of_rows_that_may_be_nobodys(sqlite_url: str) -> None:
    """An owner column that may be NULL stays so for anonymous callers, and they cannot fill it."""

    with ruled(sqlite_url, Idea, policy=lambda auth: {"*": auth.public(), "PUT": auth.admin_only()}) as site:
        ann = site.person("ann")
        assert ann.post("/ideas", {"text": "t"}).json()["author_id"] == ann.id
        assert site.client.post("/ideas", json={"text": "t"}).json()["author_id"] is None
        answer = site.client.post("/ideas", json={"text": "t", "author_id": ann.id})
        assert problem(answer) == (422, "read_only_field")


def test_an_open_creation_takes_the_default_of_an_owner(sqlite_url: str) -> None:
    """For anonymous callers an owner column takes its default, and they cannot choose another."""
    base = new_base()

    class Account(base, JetioAuthMixin):  # type: ignore[misc, valid-type]
        username: Mapped[str] = mapped_column(unique=True)

    class Wish(base):  # type: ignore[misc, valid-type]
        text: Mapped[str]
        account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), default=1)

    app = Jetio(database=sqlite_url, metadata=base.metadata, settings=SETTINGS)
    auth = AuthRouter(Account)
    auth.register_routes(app)
    CrudRouter(Wish, policy={"*": auth.public()}).register_routes(app)
    with TestClient(app) as client:
        house = client.add(Account(username="house"))
        ann = client.add(Account(username="ann"))
        made = client.post("/wishes", json={"text": "t"})
        assert (made.status_code, made.json()["account_id"]) == (201, house.id)
        chosen = client.post("/wishes", json={"text": "t", "account_id": ann.id})
        assert problem(chosen) == (422, "read_only_field")
        assert client.login_as(ann).post("/wishes", json={"text": "t"}).json()["account_id"] == ann.id


class Machines:
    """An authenticator whose callers have no account."""

    user_model = User
    schemes = ()

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        return Principal(id=None, sub="machine") if "x-machine" in connection.headers else None

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user.id, sub=str(user.id))


def test_callers_without_an_account_own_nothing(sqlite_url: str) -> None:
    """Whoever has no id owns neither the rows of others nor those of nobody."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    app.use_authenticator(Machines())
    owned = OwnerOrAdmin(Idea)
    CrudRouter(Idea, policy={"*": owned, "GET": auth.public()}).register_routes(app)
    CrudRouter(Post, secure=True).register_routes(app)
    CrudRouter(User, exclude_methods=["GET"]).register_routes(app)

    async def fill() -> None:
        async with app.database.sessions() as session:
            session.add_all([User(username="ann", email="a@example.com"), Idea(text="nobody's")])
            await session.commit()

    with serving(app, auth) as site:
        site.run(fill)
        machine = {"X-Machine": "1"}
        for path in ("/ideas/1", "/users/1"):
            refused = site.client.patch(path, json={}, headers=machine)
            assert problem(refused) == (403, "forbidden")
            assert refused.json()["detail"] == "Only an account can own rows"
        refused = site.client.post("/posts", json={"title": "t"}, headers=machine)
        assert refused.json()["detail"] == "Only an account can own this"
        made = site.client.post("/ideas", json={"text": "t"}, headers=machine)
        assert made.json()["author_id"] is None


def test_an_owner_of_a_type_that_says_nothing(sqlite_url: str) -> None:
    """A column whose type does not tell what it holds cannot be compared with the key of the accounts."""
    base: Any = new_base()

    class Mark(UserDefinedType[str]):
        cache_ok = True

        def get_col_spec(self, **options: Any) -> str:
            return "TEXT"

        @property
        def python_type(self) -> type[Any]:
            raise NotImplementedError

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)

    class Sheet(base):
        mark: Mapped[str] = mapped_column(Mark())

    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=base.metadata)
    AuthRouter(Member).register_routes(app)
    CrudRouter(Sheet, secure=True, owner="mark").register_routes(app)
    with pytest.raises(ConfigError, match=r"Sheet.mark cannot own: it is no foreign key to Member"):
        app.build()
