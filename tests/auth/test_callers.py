"""Who is calling: a closed application, rules on handlers, and arguments that stand for the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from jetio import ConfigError, CrudRouter, Jetio, SecurityContext, add_swagger_ui, public
from jetio_auth import (
    AuthRouter,
    CurrentAdmin,
    CurrentUser,
    OptionalUser,
    RequireLogin,
    SessionDep,
    allow_anonymous,
    requires_permission,
    requires_role,
)
from tests.auth.forum import PASSWORD, Note, Post, Site, User, bearer, new_app, serving


class Profiles:
    """A service that nobody hands the caller to."""

    def own(self) -> dict[str, Any]:
        caller = SecurityContext.require()
        return {"email": caller.email, "roles": SecurityContext.get_roles()}


@contextmanager
def closed(url: str) -> Iterator[Site]:
    """A protected application with a bit of everything."""
    app, auth, profiles = new_app(url), AuthRouter(User, role_permissions=PERMISSIONS), Profiles()
    auth.register_routes(app)
    auth.register_admin_routes(app)
    add_swagger_ui(app)
    CrudRouter(Post).register_routes(app)
    CrudRouter(Note, policy={"GET": public()}).register_routes(app)

    @app.get("/api/me")
    async def me() -> dict[str, Any]:
        return profiles.own()

    @app.get("/api/health")
    @allow_anonymous
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/stats")
    @requires_role("admin")
    async def stats() -> int:
        return 42

    @app.get("/api/drafts")
    @requires_role("editor", "admin")
    def drafts() -> int:
        return 5

    @app.post("/api/publish")
    @requires_permission("posts:write", "posts:publish")
    async def publish() -> str:
        return "published"

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json(profiles.own()["roles"])
        await socket.close()

    @app.websocket("/drafts")
    @requires_role("editor")
    async def edit(socket: WebSocket) -> None:
        await talk(socket)

    auth.protect(app)
    with serving(app, auth) as site:
        yield site


PERMISSIONS = {"editor": ["posts:write", "posts:publish"], "writer": ["posts:write"]}


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    found: str = answer.json()["code"]
    return found


def test_everything_is_closed_that_is_not_opened(sqlite_url: str) -> None:
    """A stranger gets 401 with the same text everywhere; what is not there is 404."""
    with closed(sqlite_url) as site:
        for method, path in (
            ("GET", "/api/me"),
            ("GET", "/api/stats"),
            ("POST", "/api/publish"),
            ("GET", "/posts"),
            ("POST", "/posts"),
            ("POST", "/notes"),
            ("GET", "/me"),
            ("GET", "/sessions"),
            ("POST", "/change-password"),
            ("POST", "/admin/1/make-admin"),
        ):
            answer = site.client.request(method, path, json={})
            assert code(answer, 401) == "not_authenticated", path
            assert answer.json()["detail"] == "Missing or invalid Authorization header"
        assert code(site.client.get("/nothing"), 404) == "not_found"
        for path in ("/api/health", "/notes", "/docs", "/openapi.json"):
            assert site.client.get(path).status_code == 200, path


def test_ways_to_a_login_stay_open(sqlite_url: str) -> None:
    """Registering, logging in and refreshing take no login, and no look at a credential that is no good."""
    with closed(sqlite_url) as site:
        stale = bearer("stale")
        account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        assert site.client.post("/register", json=account, headers=stale).status_code == 201
        login = site.client.post("/login", json={"username": "ann", "password": PASSWORD}, headers=stale)
        assert login.status_code == 200
        pair = {"refresh_token": login.json()["refresh_token"]}
        assert site.client.post("/refresh", json=pair, headers=stale).status_code == 200
        assert code(site.client.get("/api/health", headers=stale), 401) == "not_authenticated"


def test_roles_and_permissions(sqlite_url: str) -> None:
    """Any of the roles, all of the permissions; the refusal names what was asked for."""
    with closed(sqlite_url) as site:
        member, admin = site.person(), site.admin()
        editor, writer = site.person("editor"), site.person("writer")
        site.change(editor, role="editor")
        site.change(writer, role="writer")
        email = f"{member.username}@example.com"
        assert member.get("/api/me").json() == {"email": email, "roles": ["member"]}
        assert (admin.get("/api/stats").json(), admin.get("/api/drafts").json()) == (42, 5)
        assert editor.get("/api/drafts").json() == 5
        assert code(editor.get("/api/stats"), 403) == "role_required"
        refused = member.get("/api/drafts")
        assert code(refused, 403) == "role_required"
        assert refused.json()["detail"] == "Requires one of roles: ['editor', 'admin']"
        assert member.get("/api/stats").json()["detail"] == "Requires one of roles: ['admin']"
        assert editor.post("/api/publish").json() == "published"
        for person in (member, writer, admin):
            assert code(person.post("/api/publish"), 403) == "forbidden"


def test_sockets(sqlite_url: str) -> None:
    """4401 without a login, 4403 without the role."""
    with closed(sqlite_url) as site:
        member = site.person()

        def ending(path: str, headers: dict[str, str]) -> Any:
            try:
                with site.client.websocket_connect(path, headers=headers) as socket:
                    return socket.receive_json()
            except WebSocketDisconnect as ended:
                return ended.code

        assert ending("/talk", {}) == 4401
        assert ending("/drafts", member.headers) == 4403
        assert ending("/talk", member.headers) == ["member"]


def test_rows_of_a_closed_application_have_owners(database_url: str) -> None:
    """A router without rules takes a login, and fills the owner from it."""
    with closed(database_url) as site:
        member = site.person()
        post = member.post("/posts", {"title": "tea"})
        assert post.status_code == 201, post.text
        assert post.json()["author_id"] == member.id
        assert [item["id"] for item in member.get("/posts").json()] == [post.json()["id"]]


def test_the_documents_tell(sqlite_url: str) -> None:
    """OpenAPI and the access matrix show the rules of decorators and of the closed application."""
    with closed(sqlite_url) as site:
        paths = site.app.openapi()["paths"]
    assert paths["/api/me"]["get"]["security"] == paths["/api/drafts"]["get"]["security"] != []
    assert {"401", "403"} <= set(paths["/api/drafts"]["get"]["responses"])
    assert not paths["/login"]["post"].get("security")
    rows = {(row.method, row.path): dict(row.callers) for row in site.app.access_matrix(["editor"])}
    told = {name: rows["GET", f"/api/{name}"] for name in ("me", "health", "stats", "drafts")}
    assert [told["me"][kind] for kind in ("anonymous", "user")] == ["deny", "allow"]
    assert set(told["health"].values()) == {"allow"}
    assert [told["stats"][kind] for kind in ("user", "editor", "admin")] == ["deny", "deny", "allow"]
    assert [told["drafts"][kind] for kind in ("user", "editor", "admin")] == ["deny", "allow", "allow"]


def test_arguments_that_stand_for_the_caller(database_url: str) -> None:
    """A type is enough: the principal, the row, an admin's row, the row or None, the session."""
    app, auth = new_app(database_url), AuthRouter(User, extra_claims=lambda user: {"team": "red"})
    auth.register_routes(app)

    @app.get("/principal")
    async def principal(user: RequireLogin) -> dict[str, Any]:
        return {"sub": user.sub, "extra": user.extra, "jti": user.jti is None}

    @app.post("/birthday")
    async def birthday(user: CurrentUser, session: SessionDep) -> int:
        user.age += 1
        await session.flush()
        age: int = user.age
        return age

    @app.get("/boss")
    async def boss(user: CurrentAdmin) -> str:
        name: str = user.username
        return name

    @app.get("/greeting")
    async def greeting(user: OptionalUser) -> str:
        return f"hello {user.username if user is not None else 'stranger'}"

    with serving(app, auth) as site:
        member, admin = site.person(), site.admin()
        found = member.get("/principal").json()
        assert (found["sub"], found["extra"]) == (str(member.id), {"team": "red", "is_admin": False})
        assert admin.get("/principal").json()["extra"]["is_admin"] is True
        assert [member.post("/birthday").json() for _ in range(2)] == [19, 20]
        assert (code(member.get("/boss"), 403), admin.get("/boss").json()) == ("forbidden", admin.username)
        assert member.get("/greeting").json() == f"hello {member.username}"
        assert site.client.get("/greeting").json() == "hello stranger"
        assert code(site.client.get("/greeting", headers=bearer("stale")), 401) == "not_authenticated"
        for method, path in (("GET", "/principal"), ("POST", "/birthday"), ("GET", "/boss")):
            assert code(site.client.request(method, path), 401) == "not_authenticated"


def test_nothing_passes_without_accounts(sqlite_url: str) -> None:
    """Decorated, or with an argument for the caller, and no AuthRouter: the application does not build."""

    @requires_role("editor")
    async def role() -> None: ...

    @requires_permission("posts:write")
    async def permission() -> None: ...

    @allow_anonymous
    async def opened() -> None: ...

    async def login(user: RequireLogin) -> None: ...

    async def row(user: CurrentUser) -> None: ...

    async def admin(user: CurrentAdmin) -> None: ...

    async def perhaps(user: OptionalUser) -> None: ...

    for handler in (role, permission, opened, login, row, admin, perhaps):
        app = new_app(sqlite_url)
        app.get("/")(handler)
        with pytest.raises(ConfigError, match="nothing finds out"):
            app.build()


def test_a_rule_names_something() -> None:
    """A decorator without names, or without parentheses, is a mistake where it stands."""

    async def handler() -> None: ...

    with pytest.raises(ConfigError, match="takes names"):
        requires_role()
    with pytest.raises(ConfigError, match="takes names"):
        requires_permission()
    with pytest.raises(ConfigError, match="takes names"):
        requires_role(handler)  # type: ignore[arg-type]


def test_one_protection_for_one_application(sqlite_url: str) -> None:
    """`open` names what is mounted; another AuthRouter's protection is refused."""
    app, auth = new_app(sqlite_url), AuthRouter(User)
    auth.protect(app, open=["/static"])
    with pytest.raises(ConfigError, match="open names '/static', and nothing is mounted there"):
        app.build()
    with pytest.raises(ConfigError, match="one AuthRouter serves one application"):
        auth.protect(Jetio(database=sqlite_url))
