"""Accounts as rows: /users, /users/{id} and one's own under /users/me."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from jetio import ConfigError, Database, Settings
from jetio_auth import AuthRouter, JetioUserMixin, MemoryUserStore, RemoteIssuer, TokenPair
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, new_app, new_base, serving, whole_forum

NEW = "another long password"
KEY = "k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"


def _forum(url: str, **options: Any) -> Any:
    return whole_forum(url, enable=["impersonation", "api_tokens"], **options)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A forum that serves its accounts, on every database."""
    with _forum(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite."""
    with _forum(sqlite_url) as site:
        yield site


def test_who_sees_and_changes_whom(site: Site) -> None:
    """Everybody sees and changes his own account; admins all, and only they delete."""
    admin, ann, bob = site.admin(), site.person("ann"), site.person("bob")
    assert site.client.get("/users").status_code == 401
    assert [row["id"] for row in ann.get("/users").json()] == [ann.id]
    assert {row["id"] for row in admin.get("/users").json()} == {admin.id, ann.id, bob.id}
    assert ann.get("/users/me").json() == ann.get(f"/users/{ann.id}").json()
    assert ann.get(f"/users/{bob.id}").status_code == 404
    assert ann.patch(f"/users/{bob.id}", {"age": 30}).status_code == 404
    assert ann.patch(f"/users/{ann.id}", {"age": 30}).json()["age"] == 30
    assert ann.patch("/users/me", {"age": 31}).json()["age"] == 31
    assert admin.patch(f"/users/{bob.id}", {"age": 32, "is_active": True}).json()["age"] == 32
    assert ann.delete(f"/users/{ann.id}").status_code == 403
    assert admin.delete(f"/users/{ann.id}").status_code == 204
    assert ann.get("/users/me").status_code == 401
    assert site.client.post("/users", json={}).status_code == 405


def test_what_nobody_changes_about_himself(quick: Site) -> None:
    """Neither the admin flag nor what admins decide; unknown and wrong values are told by field."""
    ann = quick.person("ann")
    for body, pointer in (
        ({"is_active": False}, "/is_active"),
        ({"is_admin": True}, "/is_admin"),
        ({"hashed_password": "x"}, "/hashed_password"),
        ({"nothing": 1}, "/nothing"),
        ({"age": "old"}, "/age"),
    ):
        refused = ann.patch("/users/me", body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert (
        ann.patch("/users/me", {"username": "  " + ann.username.upper()}).json()["username"] == ann.username
    )
    assert quick.client.patch("/users/me", json={"age": 1}).status_code == 401


def test_a_new_password_with_other_fields(site: Site) -> None:
    """It takes the current one, is stored with the other fields or not at all, and ends all sessions."""
    admin, ann = site.admin(), site.person("ann")
    other = site.login(ann.username).json()["access_token"]
    both = {"password": NEW, "current_password": PASSWORD}
    taken = ann.patch("/users/me", {**both, "username": admin.username})
    assert taken.status_code == 409
    assert ann.get("/users/me").status_code == 200
    changed = ann.patch("/users/me", {**both, "age": 44})
    assert (changed.status_code, changed.json()["age"]) == (200, 44)
    assert "password" not in changed.text
    for token in (ann.token, other):
        assert site.client.get("/me", headers=bearer(token)).json()["code"] == "token_revoked"
    assert site.login(ann.username).status_code == 401
    assert site.login(ann.username, NEW).status_code == 200
    names = [event["name"] for event in admin.get("/admin/auth-events", params={"user_id": ann.id}).json()]
    assert "password.changed" in names


def test_a_new_password_alone(quick: Site) -> None:
    """`{}` is a change of nothing, and so is what is left of a body beside its password."""
    ann = quick.person("ann")
    assert ann.patch("/users/me", {}).status_code == 200
    assert ann.patch("/users/me", {"current_password": "whatever it is"}).status_code == 200
    assert ann.get("/me").status_code == 200
    answer = ann.patch("/users/me", {"password": NEW, "current_password": PASSWORD})
    assert (answer.status_code, answer.json()["username"]) == (200, ann.username)
    assert quick.login(ann.username, NEW).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"password": NEW}, 422, "validation"),
        ({"password": NEW, "current_password": "wrong password"}, 403, "wrong_password"),
        ({"password": "short", "current_password": PASSWORD}, 422, "validation"),
        ({"password": PASSWORD, "current_password": PASSWORD}, 422, "validation"),
        ({"password": 7, "current_password": PASSWORD}, 422, "validation"),
    ],
)
def test_passwords_that_are_refused(quick: Site, body: dict[str, Any], status: int, code: str) -> None:
    """Nothing changes, and what is wrong stands under the name that was sent."""
    ann = quick.person("ann")
    refused = ann.patch("/users/me", {**body, "age": 99})
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    if status == 422:
        assert refused.json()["errors"][0]["pointer"] in ("/password", "/current_password")
    assert ann.get("/users/me").json()["age"] == 18
    assert quick.login(ann.username).status_code == 200


def test_bodies_that_are_none(quick: Site) -> None:
    """What is no JSON object, is too long or of another media type is refused as everywhere."""
    ann = quick.person("ann")
    for content, status in (
        (b"{", 400),
        (b"[]", 422),
        (b'{"password":', 400),
        (b'{"age": 1, "age": 2}', 400),
    ):
        headers = {"content-type": "application/json"}
        assert ann.request("PATCH", "/users/me", content=content, headers=headers).status_code == status
    assert (
        ann.request("PATCH", "/users/me", content=b"x", headers={"content-type": "text/plain"}).status_code
        == 415
    )
    large = b'{"username": "' + b"x" * 1_100_000 + b'"}'
    headers = {"content-type": "application/json"}
    assert ann.request("PATCH", "/users/me", content=large, headers=headers).status_code == 413
    merge = {"content-type": "application/merge-patch+json"}
    assert ann.request("PATCH", "/users/me", content=b'{"age": 5}', headers=merge).json()["age"] == 5


def test_programs_and_borrowed_tokens_change_no_account(quick: Site) -> None:
    """Neither a token made for a program nor an admin in somebody's name changes it; both may look."""
    admin, ann = quick.admin(), quick.person("ann")
    borrowed = admin.post(f"/admin/users/{ann.id}/token").json()["access_token"]
    program = ann.post("/tokens", {"name": "p", "scopes": ["*"]}).json()["token"]
    for token, code in ((borrowed, "impersonated"), (program, "delegated")):
        caller = Person(quick.client, ann.id, ann.username, token)
        assert caller.get("/users/me").json()["id"] == ann.id
        for path in ("/users/me", f"/users/{ann.id}"):
            assert caller.patch(path, {"age": 3}).json()["code"] == code


def test_where_it_cannot_be(sqlite_url: str) -> None:
    """Accounts of a database of their own are no rows of the application's; without accounts there are none."""
    app = new_app(sqlite_url)
    with pytest.raises(ConfigError, match="leave database= out"):
        AuthRouter(User, database=Database(sqlite_url)).register_user_routes(app)
    issuer = RemoteIssuer(issuer="https://id.example.com", audience="a")
    with pytest.raises(ConfigError, match="no accounts"):
        AuthRouter(issuers=[issuer]).register_user_routes(app)
    with pytest.raises(ConfigError, match=r"write AuthRouter\(User\)"):
        AuthRouter(store=MemoryUserStore()).register_user_routes(app)


# ---- a model by email, with a UUID -------------------------------------------------------------------------


def _member(base: Any, *, mixin_first: bool = False) -> Any:
    bases = (JetioUserMixin, base) if mixin_first else (base, JetioUserMixin)
    return type("Member", bases, {"__tablename__": "user"})


@pytest.mark.parametrize("mixin_first", [False, True])
def test_accounts_by_email_with_uuids(sqlite_url: str, mixin_first: bool) -> None:
    """`JetioUserMixin` is a whole model, whatever stands first; its documents show no hash."""
    base: Any = new_base()
    model = _member(base, mixin_first=mixin_first)
    app = new_app(sqlite_url, metadata=base.metadata)
    auth = AuthRouter(model, session_prefix="/jwt", prefix="/auth", users_prefix="/people")
    auth.register_routes(app)
    auth.register_user_routes(app)
    with serving(app, auth) as site:
        body = {"email": "Ann@Example.com", "password": PASSWORD}
        user = site.client.post("/auth/register", json=body).json()["user"]
        assert list(user) == ["id", "email", "is_active", "is_superuser", "is_verified"]
        assert (uuid.UUID(user["id"]).version, user["email"]) == (4, "ann@example.com")
        login = site.client.post("/auth/jwt/login", data={"username": body["email"], "password": PASSWORD})
        token = TokenPair(**login.json()).access_token or ""
        assert site.client.get("/people/me", headers=bearer(token)).json() == user
        assert site.client.get(f"/people/{user['id']}", headers=bearer(token)).json() == user
        for field in ("is_superuser", "is_verified"):
            greedy = site.client.post("/auth/register", json={**body, "email": "b@example.com", field: True})
            assert greedy.status_code == 422
        schemas = auth.schemas
        assert schemas.read.model_validate(user).model_dump(mode="json") == user
        assert set(schemas.create.model_json_schema()["required"]) == {"email", "password"}
        assert "email" in schemas.update.model_fields


def test_everybody_an_admin_for_development(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only by its argument, with a warning for each; production does not start."""
    base: Any = new_base()
    app = new_app(sqlite_url, metadata=base.metadata)
    model = _member(base)
    auth = AuthRouter(model, dev_superusers=True)
    auth.register_routes(app)
    with serving(app, auth) as site:
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert site.client.post("/register", json=body).json()["user"]["is_superuser"] is True
    assert "registers with dev_superusers=True" in caplog.text
    strict = new_app(sqlite_url, metadata=base.metadata, settings=Settings(env="production", secret_key=KEY))
    other = AuthRouter(model, dev_superusers=True)
    other.register_routes(strict)
    with pytest.raises(ConfigError, match="makes an admin of everybody"), serving(strict, other):
        pass


def test_a_version_that_cannot_be_is_refused(quick: Site) -> None:
    """Rows have no versions: `If-Match` on one's own account is 412, which the document tells."""
    ann = quick.person("ann")
    answer = ann.request("PATCH", "/users/me", json={"age": 31}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "etag_mismatch")
    told = quick.app.openapi()["paths"]["/users/me"]["patch"]["responses"]
    assert "412" in told


def test_a_flag_of_verification_sends_no_mail(sqlite_url: str) -> None:
    """`is_verified` is a column of many models: addresses are confirmed by mail where that is switched on by name."""
    base: Any = new_base()
    model = _member(base)
    assert "verify_email" not in AuthRouter(model).features
    assert "verify_email" in AuthRouter(model, enable=["verify_email"]).features


def test_a_new_password_without_sessions(sqlite_url: str) -> None:
    """The tokens of the former one end all the same."""
    with _forum(sqlite_url, disable=["sessions", "refresh"]) as site:
        ann = site.person("ann")
        body = {"password": NEW, "current_password": PASSWORD}
        assert ann.patch("/users/me", body).status_code == 200
        assert ann.get("/me").status_code == 401
        assert site.login(ann.username, NEW).status_code == 200
