"""Tokens with which admins act in the name of others."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from jetio_auth import AuthRouter
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, new_app, serving, whole_forum

NEW = "another long password"


def _forum(url: str, **options: Any) -> Any:
    return whole_forum(url, enable=["impersonation", "device_login"], **options)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A forum whose admins may act for others, on every database."""
    with _forum(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite."""
    with _forum(sqlite_url) as site:
        yield site


def minted(admin: Person, person: Person, **body: Any) -> Person:
    """The person, in the hands of the admin."""
    answer = admin.post(f"/admin/users/{person.id}/token", body or None)
    assert answer.status_code == 200, answer.text
    return Person(person.client, person.id, person.username, answer.json()["access_token"])


def test_an_admin_acts_for_somebody(site: Site) -> None:
    """The token is the account's and names the admin; it is told as an event, with its reason, and never refreshed."""
    admin, ann = site.admin(), site.person("ann")
    answer = admin.post(f"/admin/users/{ann.id}/token", {"reason": "ticket 7", "expires_in": 60})
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 60)
    me = site.client.get("/me", headers=bearer(answer.json()["access_token"])).json()
    assert (me["username"], me["auth"]["impersonated_by"]) == (ann.username, str(admin.id))
    [event] = admin.get("/admin/auth-events", params={"name": "token.minted"}).json()
    assert (event["user_id"], event["actor_id"]) == (str(ann.id), str(admin.id))
    assert event["detail"] == {"reason": "ticket 7", "expires_in": 60}
    assert answer.json()["access_token"] not in str(event)
    assert {item["method"] for item in ann.get("/sessions").json()} == {"impersonation", "password"}


@pytest.mark.parametrize(
    "end", ["demoted", "disabled", "admin's password", "promoted", "password", "session"]
)
def test_the_token_ends_with_its_ground(site: Site, end: str) -> None:
    """At once: with the admin's right, with either account's password, and when its owner ends the session."""
    admin, ann = site.admin(), site.person("ann")
    borrowed = minted(admin, ann)
    assert borrowed.get("/me").status_code == 200
    change = {"current_password": PASSWORD, "new_password": NEW}
    if end == "demoted":
        site.change(admin, is_admin=False)
    elif end == "disabled":
        site.change(admin, is_active=False)
    elif end == "promoted":
        site.change(ann, is_admin=True)
    elif end == "session":
        [own] = [item for item in ann.get("/sessions").json() if item["method"] == "impersonation"]
        assert ann.delete(f"/sessions/{own['id']}").status_code == 204
    else:
        person = admin if end == "admin's password" else ann
        assert person.post("/change-password", change).status_code == 200
    refused = borrowed.get("/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")


@pytest.mark.parametrize("end", ["disabled", "updated", "demoted", "roles", "logged out"])
def test_what_has_ended_does_not_begin_again(site: Site, end: str) -> None:
    """An admin who is off or demoted, and on or promoted again, has none of the tokens from before."""
    chief, admin, ann = site.admin(), site.admin(), site.person("ann")
    borrowed = minted(admin, ann)
    ways: dict[str, list[tuple[str, str, Any]]] = {
        "disabled": [(f"users/{admin.id}/disable", "POST", None), (f"users/{admin.id}/enable", "POST", None)],
        "demoted": [(f"{admin.id}/remove-admin", "POST", None), (f"{admin.id}/make-admin", "POST", None)],
        "roles": [(f"users/{admin.id}/roles", "PUT", {"roles": roles}) for roles in ([], ["admin"])],
        "logged out": [(f"users/{admin.id}/revoke-sessions", "POST", None)],
        "updated": [],
    }
    for path, method, body in ways[end]:
        assert chief.request(method, f"/admin/{path}", json=body).status_code == 200
    if end == "updated":
        for value in (False, True):
            assert chief.patch(f"/users/{admin.id}", {"is_active": value}).status_code == 200
    assert ann.get("/me").status_code == 200
    refused = borrowed.get("/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")


def test_who_gets_no_token_and_for_whom(quick: Site) -> None:
    """Unknown accounts are 404, inactive ones 409, admins 403; others than admins with a fresh login get none."""
    admin, other, ann = quick.admin(), quick.admin(), quick.person("ann")

    def code(caller: Person, key: Any) -> tuple[int, str]:
        answer = caller.post(f"/admin/users/{key}/token")
        return answer.status_code, answer.json()["code"]

    assert code(admin, 999999) == (404, "not_found")
    assert code(admin, "nobody") == (404, "not_found")
    assert code(admin, other.id) == (403, "forbidden")
    assert code(admin, admin.id) == (403, "forbidden")
    assert code(ann, admin.id) == (403, "forbidden")
    assert quick.client.post(f"/admin/users/{ann.id}/token").status_code == 401
    quick.change(ann, is_active=False)
    assert code(admin, ann.id) == (409, "account_inactive")
    with time_machine.travel(time.time() + 900, tick=False):
        assert code(admin, ann.id) == (401, "fresh_login_required")


def test_how_long_it_lasts(quick: Site) -> None:
    """An hour unless asked otherwise, a day at most."""
    with time_machine.travel(time.time(), tick=False) as clock:
        admin, ann = quick.admin(), quick.person("ann")
        for seconds in (0, -1, 86401, "60"):
            answer = admin.post(f"/admin/users/{ann.id}/token", {"expires_in": seconds})
            assert answer.status_code == 422, seconds
        assert admin.post(f"/admin/users/{ann.id}/token").json()["expires_in"] == 3600
        usual, long = minted(admin, ann), minted(admin, ann, expires_in=86400)
        clock.shift(timedelta(seconds=3700))
        assert usual.get("/me").json()["code"] == "token_expired"
        assert long.get("/me").status_code == 200
        clock.shift(timedelta(days=1))
        assert long.get("/me").json()["code"] == "token_expired"


def test_what_a_borrowed_token_cannot_do(quick: Site) -> None:
    """It manages nothing: no password, no sessions, no approval of programs, no further token."""
    admin, ann = quick.admin(), quick.person("ann")
    borrowed = minted(admin, ann)
    change = {"current_password": PASSWORD, "new_password": NEW}
    program = quick.client.post("/cli-login").json()
    for method, path, body in (
        ("POST", "/change-password", change),
        ("GET", "/sessions", None),
        ("DELETE", "/sessions", None),
        ("POST", "/logout", None),
        ("PATCH", f"/cli-login/{program['code']}", None),
        ("DELETE", f"/cli-login/{program['code']}", None),
    ):
        refused = borrowed.request(method, path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "impersonated"), path
    assert borrowed.post(f"/admin/users/{ann.id}/token").status_code == 403
    assert borrowed.get("/me").status_code == 200


def test_a_claim_alone_is_no_token(quick: Site) -> None:
    """A token that names an admin and is of no password, or of a strange key, is refused as any other."""
    admin, ann = quick.admin(), quick.person("ann")
    codec = quick.auth.authenticator.codec
    for claims in (
        {"sub": str(ann.id), "impersonated_by": str(admin.id)},
        {"sub": str(ann.id), "impersonated_by": "nobody"},
        {"sub": str(ann.id), "impersonated_by": [1], "epoch": "0" * 32},
    ):
        refused = quick.client.get("/me", headers=bearer(codec.encode(claims, expires_in=60)))
        assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")


def test_without_sessions(sqlite_url: str) -> None:
    """Where tokens stand for themselves, so do these."""
    with _forum(sqlite_url, disable=["sessions", "refresh"]) as site:
        admin, ann = site.admin(), site.person("ann")
        borrowed = minted(admin, ann)
        assert borrowed.get("/me").json()["auth"]["impersonated_by"] == str(admin.id)
        site.change(admin, is_admin=False)
        assert borrowed.get("/me").status_code == 401


def test_off_there_is_no_route(sqlite_url: str) -> None:
    """Nobody acts for others where it is not switched on by name."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        admin, ann = site.admin(), site.person("ann")
        assert admin.post(f"/admin/users/{ann.id}/token").status_code == 404


def test_an_account_that_is_switched_off_meanwhile(tmp_path: Path) -> None:
    """What changes between the judgement and the session is judged again: nothing is minted."""
    path, due = tmp_path / "forum.db", [""]

    def meanwhile(user: Any) -> dict[str, Any]:
        if due[0]:
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(due[0])
        return {}

    with _forum(f"sqlite+aiosqlite:///{path}", extra_claims=meanwhile) as site:
        admin, ann = site.admin(), site.person("ann")
        for due[0], code in (
            (f"UPDATE users SET is_active = 0 WHERE id = {ann.id}", "account_inactive"),  # noqa: S608 - a number
            (f"DELETE FROM users WHERE id = {ann.id}", "not_found"),  # noqa: S608 - a number
        ):
            site.change(ann, is_active=True)
            assert admin.post(f"/admin/users/{ann.id}/token").json()["code"] == code
        assert admin.get("/admin/auth-events", params={"name": "token.minted"}).json() == []
