"""Seed document 004: an admin panel in one call, behind the application's own sign-in, hidden from others."""

from __future__ import annotations

from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, Settings
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JWTConfig
from tests.contrib.magazine import PASSWORD, User


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
