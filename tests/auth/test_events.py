"""Events: what happened to accounts is logged, stored and told, and nothing secret with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from jetio import ConfigError
from jetio_auth import AuthEvent, AuthRouter, Lockout
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, new_app, serving

NEW = "another long password"


def opened(url: str, **options: Any) -> tuple[Any, AuthRouter]:
    app = new_app(url)
    auth = AuthRouter(User, lockout=Lockout(failures=3), **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    return app, auth


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum with its admin routes, on every database."""
    with serving(*opened(database_url)) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite."""
    with serving(*opened(sqlite_url)) as site:
        yield site


def listed(site: Site, admin: Person, **query: Any) -> list[dict[str, Any]]:
    answer = admin.get("/admin/auth-events", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_a_life_in_events(site: Site) -> None:
    """Each step of an account stands in the table, the latest first, with where it came from."""
    with time_machine.travel(time.time(), tick=False) as clock:
        admin = site.admin()
        ann = site.person("ann")
        site.login(ann.username, "wrong password")
        pair = site.login(ann.username).json()
        body = {"refresh_token": pair["refresh_token"]}
        site.client.post("/refresh", json=body)
        clock.shift(timedelta(seconds=11))
        site.client.post("/refresh", json=body)
        change = {"current_password": PASSWORD, "new_password": NEW}
        assert ann.post("/change-password", change).status_code == 200
        pair = site.login(ann.username, NEW).json()
        site.client.post("/logout", headers=bearer(pair["access_token"]), json={"all": True})
        admin.post(f"/admin/{ann.id}/make-admin")
        admin.post(f"/admin/{ann.id}/remove-admin")
        found = listed(site, admin, user_id=str(ann.id))
    assert [entry["name"] for entry in reversed(found)] == [
        "user.registered",
        "login.ok",
        "login.failed",
        "login.ok",
        "token.refreshed",
        "token.reused",
        "password.changed",
        "login.ok",
        "logout",
        "admin.granted",
        "admin.revoked",
    ]
    assert {entry["actor_id"] for entry in found} == {None, str(admin.id)}
    assert {entry["address"] for entry in found} == {"testclient"}
    assert next(entry for entry in found if entry["name"] == "logout")["detail"] == {"everywhere": True}
    assert [entry["at"] for entry in found] == sorted((entry["at"] for entry in found), reverse=True)


def test_the_list_is_for_admins(quick: Site) -> None:
    """Anonymous callers get 401, others 403; pages are bounded."""
    admin, ann = quick.admin(), quick.person("ann")
    assert quick.client.get("/admin/auth-events").status_code == 401
    assert ann.get("/admin/auth-events").status_code == 403
    whole = listed(quick, admin)
    assert [*listed(quick, admin, page_size=2), *listed(quick, admin, page=2, page_size=2)] == whole[:4]
    assert {entry["name"] for entry in listed(quick, admin, name="login.ok")} == {"login.ok"}
    assert listed(quick, admin, name="nothing") == []
    for query in ({"page": 0}, {"page_size": 201}, {"page": 10**9}, {"nmae": "x"}):
        assert admin.get("/admin/auth-events", params=query).status_code == 422, query


def test_guesses_and_ended_devices_are_events(quick: Site) -> None:
    """A wrong current password counts as a failed login, with its device; ending devices is told."""
    admin, ann = quick.admin(), quick.person("ann")
    guess = {"current_password": "wrong password", "new_password": NEW}
    assert ann.post("/change-password", guess).status_code == 403
    quick.login(ann.username)
    [other] = [item for item in ann.get("/sessions").json() if not item["current"]]
    assert ann.delete(f"/sessions/{other['id']}").status_code == 204
    assert ann.delete("/sessions").status_code == 204
    found = listed(quick, admin, user_id=str(ann.id))
    assert [entry["name"] for entry in found][:4] == [
        "session.ended",
        "session.ended",
        "login.ok",
        "login.failed",
    ]
    assert {entry["agent"] for entry in found} == {"testclient"}


def test_handlers_are_told_after_the_commit(quick: Site) -> None:
    """Async ones on the loop, plain ones in a thread; patterns choose; what was written can be read by then."""
    told: list[tuple[str, AuthEvent]] = []
    threads: list[threading.Thread] = []

    async def every(event: AuthEvent) -> None:
        async with quick.app.database.sessions() as session:
            if event.name == "user.registered":
                assert event.user_id is not None
                assert await session.get(User, int(event.user_id)) is not None
        told.append(("every", event))

    def logins(event: AuthEvent) -> None:
        threads.append(threading.current_thread())
        told.append(("logins", event))

    quick.auth.on("*", every)
    quick.auth.on("login.*", logins)
    ann = quick.person("ann")
    assert [(who, event.name) for who, event in told] == [
        ("every", "user.registered"),
        ("every", "login.ok"),
        ("logins", "login.ok"),
    ]
    assert {event.user_id for _, event in told} == {str(ann.id)}
    assert threads[0] is not threading.main_thread()


def test_a_handler_that_fails_undoes_nothing(quick: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The login is done; the failure is logged; other handlers are told."""
    told: list[AuthEvent] = []

    def fails(event: AuthEvent) -> None:
        raise RuntimeError("no")

    quick.auth.on("login.ok", fails)
    quick.auth.on("login.ok", told.append)
    ann = quick.person("ann")
    assert ann.get("/me").status_code == 200
    assert "a handler of login.ok failed" in caplog.text
    assert len(told) == 1


def test_no_event_without_a_name(quick: Site) -> None:
    """Listening to a name that never comes is a mistake that names those that do."""
    for name in ("login.okay", "logins.*", ""):
        with pytest.raises(ConfigError, match=r"write one of: user\.registered"):
            quick.auth.on(name, print)


def test_refused_attempts_do_not_fill_the_table(quick: Site) -> None:
    """What the throttle refuses is told to handlers, and not stored: it may come without end."""
    told: list[str] = []
    quick.auth.on("login.*", lambda event: told.append(event.name))
    admin, ann = quick.admin(), quick.person("ann")
    for _ in range(6):
        quick.login(ann.username, "wrong password")
    assert told[-6:] == ["login.failed"] * 3 + ["login.throttled"] * 3
    assert len(listed(quick, admin, name="login.failed")) == 3
    assert listed(quick, admin, name="login.throttled") == []


def test_nothing_secret_is_in_an_event(quick: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the table nor the log holds a password, a token, or a name that somebody typed."""
    caplog.set_level(logging.DEBUG)
    admin = quick.admin()
    told: list[Any] = []
    quick.auth.on("*", told.append)
    quick.register("ann")
    quick.login("password typed as a name", "secret typed")
    pair = quick.login("ann").json()
    quick.client.post("/refresh", json={"refresh_token": pair["refresh_token"]})
    shown = str(listed(quick, admin)) + str(told) + caplog.text
    for secret in (PASSWORD, "typed", pair["access_token"], pair["refresh_token"]):
        assert secret not in shown


def test_old_events_are_forgotten(sqlite_url: str) -> None:
    """After `events_days`, by the next event that comes an hour later or more."""
    app, auth = opened(sqlite_url, events_days=7)
    with serving(app, auth) as site, time_machine.travel(time.time(), tick=False) as clock:
        admin = site.admin()
        site.login(admin.username, "wrong password")
        clock.shift(timedelta(days=6, hours=23))
        site.login(admin.username, "wrong password")
        admin.token = site.login(admin.username).json()["access_token"]
        before = len(listed(site, admin))
        clock.shift(timedelta(hours=2))
        site.login(admin.username, "wrong password")
        admin.token = site.login(admin.username).json()["access_token"]
        names = [entry["name"] for entry in listed(site, admin)]
        assert before > len(names)
        assert names == ["login.ok", "login.failed", "login.ok", "login.failed"]


def test_without_events(sqlite_url: str) -> None:
    """Switched off there is no table and no route; handlers are told all the same."""
    app, auth = opened(sqlite_url, disable=["events"])
    told: list[str] = []
    auth.on("*", lambda event: told.append(event.name))
    with serving(app, auth) as site:
        admin = site.admin()
        assert admin.get("/admin/auth-events").status_code == 404
        assert told == ["user.registered", "login.ok"]
        site.login(admin.username, "wrong password")
        assert told[2:] == ["login.failed"]
