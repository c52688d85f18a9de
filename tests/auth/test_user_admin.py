"""What admins do to accounts: off and on, unlocked, logged out, with other roles."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter
from jetio_auth import AuthRouter, JetioAuthMixin, Lockout
from tests.auth.forum import Person, Site, User, bearer, call, new_app, new_base, serving, whole_forum
from tests.auth.test_factors import switch_on


def _forum(url: str, model: Any = User, **options: Any) -> Any:
    return whole_forum(url, model, lockout=Lockout(failures=3), **options)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A forum with its admin routes, on every database."""
    with _forum(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite."""
    with _forum(sqlite_url) as site:
        yield site


def events(admin: Person, person: Person) -> list[tuple[str, str | None]]:
    """What admins did to somebody."""
    found = admin.get("/admin/auth-events", params={"user_id": str(person.id)}).json()
    return [(item["name"], item["actor_id"]) for item in reversed(found) if item["actor_id"] is not None]


def test_an_account_is_switched_off_and_on(site: Site) -> None:
    """Off, its sessions are over and no login works; on, it may log in anew, and old tokens stay dead."""
    admin, ann = site.admin(), site.person("ann")
    off = admin.post(f"/admin/users/{ann.id}/disable")
    assert (off.status_code, off.json()["is_active"], off.json()["id"]) == (200, False, ann.id)
    assert ann.get("/me").status_code == 401
    assert site.login(ann.username).status_code == 401
    on = admin.post(f"/admin/users/{ann.id}/enable")
    assert (on.status_code, on.json()["is_active"]) == (200, True)
    assert ann.get("/me").json()["code"] == "token_revoked"
    assert site.login(ann.username).status_code == 200
    by = str(admin.id)
    assert events(admin, ann) == [("user.disabled", by), ("user.enabled", by)]


def test_an_update_of_the_row_switches_an_account_off_and_on(site: Site) -> None:
    """As the route does it: an event, told once it is lasting, and no session goes on. Other updates are no event."""
    admin, ann = site.admin(), site.person("ann")
    told: list[str] = []
    site.auth.on("user.*", lambda event: told.append(event.name))
    off = admin.patch(f"/users/{ann.id}", {"is_active": False})
    assert (off.status_code, off.json()["is_active"]) == (200, False)
    for body in ({"is_active": False}, {"age": 30}):
        assert admin.patch(f"/users/{ann.id}", body).status_code == 200
    assert admin.patch(f"/users/{ann.id}", {"is_active": True}).status_code == 200
    assert ann.get("/me").json()["code"] == "token_revoked"
    by = str(admin.id)
    assert events(admin, ann) == [("user.disabled", by), ("user.enabled", by)]
    assert told == ["user.disabled", "user.enabled"]
    assert admin.patch(f"/users/{admin.id}", {"is_active": False}).json()["code"] == "last_admin"
    assert admin.get("/me").status_code == 200


def test_an_account_is_unlocked(site: Site) -> None:
    """Failed logins are forgotten, and a right password is heard again."""
    admin, ann = site.admin(), site.person("ann")
    for _ in range(4):
        site.login(ann.username, "wrong password")
    assert site.login(ann.username).status_code == 429
    assert admin.post(f"/admin/users/{ann.id}/unlock").json()["username"] == ann.username
    assert site.login(ann.username).status_code == 200
    assert events(admin, ann) == [("user.unlocked", str(admin.id))]


def test_an_account_is_logged_out(site: Site) -> None:
    """Everywhere, and nobody else is."""
    admin, ann, bob = site.admin(), site.person("ann"), site.person("bob")
    assert admin.post(f"/admin/users/{ann.id}/revoke-sessions").status_code == 200
    assert ann.get("/me").status_code == 401
    assert bob.get("/me").status_code == 200
    assert site.login(ann.username).status_code == 200
    assert events(admin, ann) == [("session.ended", str(admin.id))]


def test_lost_factors_are_taken_away(database_url: str) -> None:
    """By an admin who has logged in of late; the password is enough again, and who was logged in is out."""
    with (
        _forum(database_url, enable=["totp", "api_tokens"]) as site,
        time_machine.travel(time.time(), tick=False) as clock,
    ):
        admin, ann = site.admin(), site.person("ann")
        place = f"/admin/users/{ann.id}/reset-factors"
        assert admin.post(place).json()["code"] == "not_found"
        switch_on(ann)
        assert site.login(ann.username).json()["code"] == "mfa_required"
        assert site.client.post(place).status_code == 401
        assert ann.post(place).status_code == 403
        delegated = admin.post("/tokens", {"name": "program", "scopes": ["*"]}).json()["token"]
        assert site.client.post(place, headers=bearer(delegated)).json()["code"] == "delegated"
        assert admin.post("/admin/users/999999/reset-factors").status_code == 404
        assert ann.get("/mfa/totp").json()["enabled"] is True
        answer = admin.post(place)
        assert (answer.status_code, answer.json()["username"]) == (200, ann.username)
        assert ann.get("/me").json()["code"] == "token_revoked"
        ann.token = site.login(ann.username).json()["access_token"]
        assert ann.get("/mfa/totp").json() == {"enabled": False, "recovery_codes": 0}
        assert events(admin, ann) == [("mfa.reset", str(admin.id))]
        clock.shift(timedelta(minutes=15))
        assert admin.post(place).json()["code"] == "fresh_login_required"


def test_without_factors_nothing_is_taken_away(quick: Site) -> None:
    """The route is there where they are."""
    admin = quick.admin()
    assert admin.post(f"/admin/users/{admin.id}/reset-factors").status_code == 404


def test_roles_are_given_and_taken(site: Site) -> None:
    """All roles are told at once; `admin` is the flag, and its change is an event of its own."""
    admin, ann = site.admin(), site.person("ann")
    place = f"/admin/users/{ann.id}/roles"
    assert admin.put(place, {"roles": ["editor"]}).json()["role"] == "editor"
    assert ann.get("/me").json()["roles"] == ["editor"]
    assert admin.put(place, {"roles": ["admin", "editor"]}).status_code == 200
    assert ann.get("/me").json()["roles"] == ["admin", "editor"]
    assert ann.put(f"/admin/users/{admin.id}/roles", {"roles": []}).json()["role"] == "member"
    assert admin.put(place, {"roles": []}).status_code == 403
    assert [name for name, _ in events(ann, ann)] == ["roles.changed", "roles.changed", "admin.granted"]
    assert [name for name, _ in events(ann, admin)] == ["roles.changed", "admin.revoked"]


def test_an_admin_stays(site: Site) -> None:
    """The last one who can log in is neither switched off nor demoted; of two who end each other one stays."""
    first, second = site.admin(), site.admin()
    ways = [("POST", "disable", None), ("PUT", "roles", {"roles": ["editor"]})]

    async def both() -> Counter[int]:
        answers = await asyncio.gather(
            *(
                call(site.app, method, f"/admin/users/{other.id}/{way}", body, headers=admin.headers)
                for (admin, other), (method, way, body) in zip(
                    [(first, second), (second, first)], ways, strict=True
                )
            )
        )
        return Counter(answer.status for answer in answers)

    statuses = site.run(both)
    assert statuses[200] == 1
    [left] = [person for person in (first, second) if "admin" in person.get("/me").json().get("roles", [])]
    for method, way, body in ways:
        refused = left.request(method, f"/admin/users/{left.id}/{way}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")


def test_who_may_and_to_whom(quick: Site) -> None:
    """Anonymous callers are 401, others than admins 403, unknown accounts 404."""
    admin, ann = quick.admin(), quick.person("ann")
    for method, way, body in (
        ("POST", "disable", None),
        ("POST", "enable", None),
        ("POST", "unlock", None),
        ("POST", "revoke-sessions", None),
        ("PUT", "roles", {"roles": ["admin"]}),
    ):
        path = f"/admin/users/{ann.id}/{way}"
        assert quick.client.request(method, path, json=body).status_code == 401, way
        assert ann.request(method, path, json=body).status_code == 403, way
        for unknown in ("999999", "nobody"):
            lost = admin.request(method, f"/admin/users/{unknown}/{way}", json=body)
            assert lost.status_code == 404, (way, unknown)
    assert ann.get("/me").json()["roles"] == ["member"]


def test_no_token_of_a_program_administers(sqlite_url: str) -> None:
    """An admin's API token, whatever its scopes, makes no admins, switches nobody off and creates no account."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, enable=["api_tokens"])
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(User, policy={"*": auth.admin_only()}).register_routes(app)
    with serving(app, auth) as site:
        admin, ann = site.admin(), site.person("ann")
        made = admin.post("/tokens", {"name": "build", "scopes": ["*"]}).json()["token"]
        program = Person(site.client, admin.id, admin.username, made)
        for method, path, body in (
            ("POST", f"/admin/{ann.id}/make-admin", None),
            ("POST", f"/admin/{admin.id}/remove-admin", None),
            ("POST", f"/admin/users/{ann.id}/disable", None),
            ("POST", f"/admin/users/{ann.id}/enable", None),
            ("POST", f"/admin/users/{ann.id}/unlock", None),
            ("POST", f"/admin/users/{ann.id}/revoke-sessions", None),
            ("PUT", f"/admin/users/{ann.id}/roles", {"roles": ["admin"]}),
            ("POST", "/users", {"username": "made", "email": "made@example.com"}),
        ):
            refused = program.request(method, path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "delegated"), path
        assert ann.get("/me").json()["roles"] == ["member"]
        assert admin.post(f"/admin/{ann.id}/make-admin").status_code == 200


@pytest.mark.parametrize(
    "roles", [["editor", "author"], ["two words"], [""], "editor", [7], ["x" * 41], ["x"] * 51]
)
def test_roles_that_are_none(quick: Site, roles: Any) -> None:
    """What the model cannot hold, or would read as something else, is 422 and changes nothing."""
    admin, ann = quick.admin(), quick.person("ann")
    refused = admin.put(f"/admin/users/{ann.id}/roles", {"roles": roles})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/roles")
    assert ann.get("/me").json()["roles"] == ["member"]


class Level(enum.Enum):
    reader = "reader"
    writer = "writer"


@pytest.mark.parametrize(
    ("column", "given", "told", "status"),
    [
        (
            ("roles", Mapped[list[str]], lambda: mapped_column(JSON, default=list)),
            ["b", "a"],
            ["a", "b"],
            200,
        ),
        (("roles", Mapped[str], lambda: mapped_column(String(9), default="")), ["b", "a"], ["a", "b"], 200),
        (("roles", Mapped[str], lambda: mapped_column(String(9), default="")), ["long-name", "b"], [], 422),
        (("role", Mapped[Level], lambda: mapped_column(default=Level.reader)), ["writer"], ["writer"], 200),
        (("role", Mapped[Level], lambda: mapped_column(default=Level.reader)), ["king"], ["reader"], 422),
        (("city", Mapped[str | None], mapped_column), ["writer"], [], 422),
        (("city", Mapped[str | None], mapped_column), ["admin"], ["admin"], 200),
    ],
)
def test_roles_as_models_hold_them(
    sqlite_url: str, column: Any, given: list[str], told: list[str], status: int
) -> None:
    """A list, text, a word of an enumeration; a model without a column knows `admin` alone."""
    name, annotation, value = column
    base: Any = new_base()
    members = {
        "__annotations__": {"username": Mapped[str], "email": Mapped[str | None], name: annotation},
        "username": mapped_column(String(80), unique=True),
        "email": mapped_column(unique=True),
        name: value(),
    }
    model = type("Member", (base, JetioAuthMixin), members)
    with _forum(sqlite_url, model) as site:
        admin, ann = site.admin(), site.person("ann")
        assert admin.put(f"/admin/users/{ann.id}/roles", {"roles": given}).status_code == status
        assert ann.get("/me").json()["roles"] == told
        assert admin.post(f"/admin/users/{ann.id}/disable").status_code == 404  # there is no column for it


def test_without_sessions_there_are_none_to_end(sqlite_url: str) -> None:
    """The route is there where sessions are; switching off, and an admin no more, work without them."""
    with _forum(sqlite_url, disable=["sessions", "refresh"]) as site:
        admin, ann = site.admin(), site.person("ann")
        assert admin.post(f"/admin/users/{ann.id}/revoke-sessions").status_code == 404
        second = site.admin()
        assert admin.put(f"/admin/users/{second.id}/roles", {"roles": []}).status_code == 200
        assert second.get("/admin/auth-events").status_code == 403
        assert admin.post(f"/admin/users/{ann.id}/disable").status_code == 200
        assert ann.get("/me").status_code == 401
