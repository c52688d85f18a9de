"""How fresh a login is, and whose: what manages accounts asks for more than a token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from jetio import Access, Allow, ConfigError, Principal, Problem
from jetio_auth import AuthRouter
from jetio_auth.policies import OwnAccount
from tests.auth.forum import PASSWORD, Site, User, bearer, new_app, serving


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A forum with one route that wants a fresh login."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)

    @app.get("/vault", policy=auth.fresh())
    async def vault(principal: Principal) -> dict[str, Any]:
        return {"auth_time": principal.claims["auth_time"], "amr": principal.claims["amr"]}

    with serving(app, auth) as site:
        site.register("ann")
        yield site


def test_a_login_is_fresh_for_a_quarter_of_an_hour(site: Site) -> None:
    """A refresh makes new tokens and no fresh login: the session began when it began (RFC 9470)."""
    with time_machine.travel(time.time(), tick=False) as clock:
        pair = site.login("ann").json()
        first = site.client.get("/vault", headers=bearer(pair["access_token"]))
        assert first.json() == {"auth_time": int(time.time()), "amr": ["pwd"]}
        clock.shift(timedelta(minutes=15))
        later = site.client.post("/refresh", json={"refresh_token": pair["refresh_token"]}).json()
        for token in (pair["access_token"], later["access_token"]):
            refused = site.client.get("/vault", headers=bearer(token))
            assert (refused.status_code, refused.json()["code"]) == (401, "fresh_login_required")
            challenge = refused.headers["www-authenticate"]
            assert 'error="insufficient_user_authentication"' in challenge
            assert 'max_age="900"' in challenge
            assert site.client.get("/me", headers=bearer(token)).status_code == 200
        again = site.login("ann").json()["access_token"]
        assert site.client.get("/vault", headers=bearer(again)).status_code == 200


def test_a_new_password_is_no_fresh_login(site: Site) -> None:
    """The session that goes on through a change of the password is as old as it was."""
    with time_machine.travel(time.time(), tick=False) as clock:
        pair = site.login("ann").json()
        clock.shift(timedelta(minutes=15))
        body = {"current_password": PASSWORD, "new_password": "another long password"}
        changed = site.client.post("/change-password", json=body, headers=bearer(pair["access_token"]))
        assert changed.status_code == 200
        refused = site.client.get("/vault", headers=bearer(changed.json()["access_token"]))
        assert refused.json()["code"] == "fresh_login_required"


def test_nobody_has_logged_in_for_a_made_token(site: Site) -> None:
    """A token of `create_token` is no login, and nobody at all is asked to log in."""
    made = site.auth.create_token(site.run(_account, site))
    assert site.client.get("/vault", headers=bearer(made)).json()["code"] == "fresh_login_required"
    assert site.client.get("/vault").json()["code"] == "not_authenticated"


async def _account(site: Site) -> Any:
    async with site.auth.database.sessions() as session:
        return await session.get(User, 1)


def test_without_sessions_a_login_is_as_old_as_its_token(sqlite_url: str) -> None:
    """Tokens say when and how somebody logged in, whether or not there are sessions."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, disable=["sessions", "refresh"])
    auth.register_routes(app)

    @app.get("/vault", policy=auth.fresh(1))
    async def vault() -> str:
        return "open"

    with serving(app, auth) as site, time_machine.travel(time.time(), tick=False) as clock:
        site.register("ann")
        token = site.login("ann").json()["access_token"]
        assert site.client.get("/vault", headers=bearer(token)).status_code == 200
        clock.shift(timedelta(minutes=1))
        assert site.client.get("/vault", headers=bearer(token)).status_code == 401


def test_no_time_lets_nobody_through() -> None:
    """`fresh(0)` is a mistake, told when it is written."""
    with pytest.raises(ConfigError, match=r"write fresh\(minutes=15\)"):
        AuthRouter(User).fresh(0)


@pytest.mark.parametrize(
    ("principal", "code"),
    [
        (Principal(id=1, sub="1", impersonated_by="2"), "impersonated"),
        (Principal(id=1, sub="1", method="api_token"), "delegated"),
        (Principal(id=None, sub="far"), "forbidden"),
    ],
)
async def test_what_only_the_owner_does(principal: Principal, code: str) -> None:
    """Managing an account is for its owner: not in his name, not by a program, not from elsewhere."""
    policy: Any = OwnAccount()
    nowhere: Any = None
    access = Access(nowhere, principal, nowhere)
    with pytest.raises(Problem) as refusal:
        (await policy(access)).raise_for(principal)
    assert (refusal.value.status, refusal.value.code) == (403, code)
    own = Principal(id=1, sub="1", method="jwt")
    assert isinstance(await policy(Access(nowhere, own, nowhere)), Allow)


def test_conditions_are_asked_at_every_login(site: Site) -> None:
    """What refuses an account after its password refuses the login, and opens no session."""

    async def closed(account: Any, device: Any) -> None:
        if account["username"] == "ann":
            raise Problem(403, "closed_today", "Not today")

    site.auth.logins.conditions.append(closed)
    assert (site.login("ann").status_code, site.login("ann").json()["code"]) == (403, "closed_today")
    wrong = site.client.post("/login", json={"username": "ann", "password": "wrong password"})
    assert wrong.json()["code"] == "invalid_credentials"
