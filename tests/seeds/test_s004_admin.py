"""Seed document 004: an admin panel in one call, behind the application's own sign-in, hidden from others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, Settings
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JWTConfig, SessionAuthBackend
from tests.contrib.magazine import KEY, PASSWORD, Section, User, new_app

ROLES = {"root": ["admin"], "ann": ["reader"]}


def test_s004_admin(sqlite_url: str) -> None:
    """`Admin(app, title=, auth=)`: an admin signs in and sees the tables; a user who is no admin meets 404."""
    settings = Settings(env="test")
    app = Jetio(database=sqlite_url, settings=settings, metadata=User.metadata)
    auth = AuthRouter(User, prefix="/admin/api/auth", jwt=JWTConfig(token_location=["header", "cookie"]))
    auth.register_routes(app)
    CrudRouter(User, exclude_methods=["POST"], policy={"*": auth.admin_only()}).register_routes(app)
    Admin(app, title="Secure Admin", auth=auth)

    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(lambda: auth.ensure_admin(username="root", email="root@x.org", password=PASSWORD))
        ann = {"username": "ann", "email": "ann@x.org", "password": PASSWORD}
        assert client.post("/admin/api/auth/register", json=ann).status_code == 201

        page = client.post("/admin/login", data={"username": "root", "password": PASSWORD})
        assert page.status_code == 200
        assert "Secure Admin" in page.text
        assert "ann@x.org" in client.get("/admin/users/list").text
        assert client.get("/admin/api/auth/me").json()["email"] == "root@x.org"

        client.cookies.clear()
        answer = client.post("/admin/login", data={"username": "ann", "password": PASSWORD})
        assert answer.status_code == 404
        assert client.get("/admin/users/list").status_code == 404


def test_s004_admin_behind_the_session_of_the_host(sqlite_url: str) -> None:
    """With `hidden=True` a session of the host's own opens the panel; all others meet 404, at the login page too."""

    async def retrieve(session: dict[str, Any], connection: Any) -> Any:
        name = session.get("user_id")
        return name and SimpleNamespace(id=name, email=f"{name}@x.org", roles=ROLES[name], permissions=[])

    async def authenticate(connection: Any, credentials: dict[str, str]) -> Any:
        name = credentials["username"]
        known = name in ROLES and credentials["password"] == PASSWORD
        return (
            SimpleNamespace(id=name, email=f"{name}@x.org", roles=ROLES[name], permissions=[])
            if known
            else None
        )

    app = new_app(sqlite_url, middleware=[Middleware(SessionMiddleware, secret_key=KEY)])
    backend = SessionAuthBackend(retrieve_user_handler=retrieve, authenticate_handler=authenticate)
    auth = AuthRouter(backend=backend, prefix="/admin/api/auth")
    auth.register_routes(app)
    CrudRouter(Section, policy={"*": auth.admin_only()}).register_routes(app)
    Admin(app, title="My Admin", auth=auth, hidden=True)

    with TestClient(app, base_url="http://desk.example") as client:
        for name, status in (("nobody", 404), ("ann", 404), ("root", 200)):
            client.post("/admin/api/auth/login", json={"username": name, "password": PASSWORD})
            assert client.get("/admin/").status_code == status
            assert client.get("/admin/sections/list").status_code == status
        form = {"name": "Sports", "open": "on", "csrftoken": client.cookies["starlette_admin_csrftoken"]}
        assert client.post("/admin/sections/create", data=form).status_code == 200
        assert "Sports" in client.get("/admin/sections/list").text
        client.cookies.clear()
        assert client.get("/admin/login").status_code == 404
