"""Sessions: what a login opens, refreshing continues and a logout ends, on every database."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import String, delete, select, text
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, Jetio, Problem
from jetio_auth import AuthRouter, JetioAuthMixin, JSONUserStore, JWTConfig, Lockout
from jetio_auth.sessions import Device
from tests.auth.forum import PASSWORD, SETTINGS, Model, Site, User, bearer, call, new_app, new_base, serving

NEW = "another long password"


@contextmanager
def new_site(url: str, **options: Any) -> Iterator[Site]:
    app = new_app(url)
    auth = AuthRouter(User, lockout=Lockout(address_failures=1000), **options)
    auth.register_routes(app)
    with serving(app, auth) as site:
        yield site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum on every database."""
    with new_site(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The forum on SQLite, where the database does not matter."""
    with new_site(sqlite_url) as site:
        yield site


def pair_of(site: Site, name: str = "ann") -> dict[str, Any]:
    """The tokens of a new login; the account is made at first."""
    answer = site.login(name)
    if answer.status_code == 401:
        assert site.register(name).status_code == 201
        answer = site.login(name)
    pair: dict[str, Any] = answer.json()
    return pair


def refresh(site: Site, token: str) -> Any:
    return site.client.post("/refresh", json={"refresh_token": token})


def me(site: Site, pair: dict[str, Any]) -> int:
    status: int = site.client.get("/me", headers=bearer(pair["access_token"])).status_code
    return status


def code(answer: Any, status: int = 401) -> str:
    assert answer.status_code == status, answer.text
    found: str = answer.json()["code"]
    return found


# ---- refreshing --------------------------------------------------------------------------------------------


def test_the_tokens_of_a_login(site: Site) -> None:
    """A login answers numbers of seconds and both tokens; no cache keeps them."""
    site.register("ann")
    answer = site.login("ann")
    assert answer.headers["cache-control"] == "no-store"
    pair = answer.json()
    assert pair["token_type"] == "bearer"
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (3600, 86400)
    assert len(pair["refresh_token"]) == 43
    assert me(site, pair) == 200


def test_each_refresh_gives_another_pair(site: Site) -> None:
    """The successor works in its turn; the answer has the form of a login's."""
    first = pair_of(site)
    second = refresh(site, first["refresh_token"])
    assert second.headers["cache-control"] == "no-store"
    third = refresh(site, second.json()["refresh_token"]).json()
    assert {first["refresh_token"], second.json()["refresh_token"]}.isdisjoint({third["refresh_token"]})
    assert me(site, third) == 200
    assert third.keys() == first.keys()


def test_a_used_token_ends_the_session(site: Site) -> None:
    """More than ten seconds after its use a token is a thief's or its owner's: nobody goes on with either."""
    with time_machine.travel(time.time(), tick=False) as clock:
        first = pair_of(site)
        other = pair_of(site)
        second = refresh(site, first["refresh_token"]).json()
        clock.shift(timedelta(seconds=11))
        assert code(refresh(site, first["refresh_token"])) == "token_reused"
        assert code(refresh(site, second["refresh_token"])) == "token_revoked"
        assert [me(site, pair) for pair in (first, second, other)] == [401, 401, 200]
        assert refresh(site, other["refresh_token"]).status_code == 200


def test_an_application_refreshes_by_itself(quick: Site) -> None:
    """`auth.refresh(token)` gives the next tokens as the route does, and uses up the token."""
    first = pair_of(quick)
    second = quick.run(quick.auth.refresh, first["refresh_token"])
    assert set(second) == set(first)
    assert quick.client.get("/me", headers=bearer(second["access_token"])).status_code == 200
    with pytest.raises(Problem, match="not_authenticated"):
        quick.run(quick.auth.refresh, "no token of ours")


def test_a_token_without_a_session_changes_the_password_too(quick: Site) -> None:
    """One that the application made by itself belongs to no session: the change opens the only one."""
    earlier = pair_of(quick)

    async def made() -> str:
        async with quick.app.database.sessions() as session:
            user = (await session.scalars(select(User).where(User.username == "ann"))).one()
            return quick.auth.create_token(user)

    body = {"current_password": PASSWORD, "new_password": "another good password"}
    answer = quick.client.post("/change-password", json=body, headers=bearer(quick.run(made)))
    assert answer.status_code == 200, answer.text
    renewed = answer.json()
    assert quick.client.get("/me", headers=bearer(renewed["access_token"])).status_code == 200
    assert refresh(quick, renewed["refresh_token"]).status_code == 200
    assert quick.client.get("/me", headers=bearer(earlier["access_token"])).status_code == 401


def test_tabs_that_refresh_at_once_get_the_same_successor(site: Site) -> None:
    """Eight at once, and one ten seconds later, get one token; the session goes on."""
    with time_machine.travel(time.time(), tick=False) as clock:
        first = pair_of(site)
        body = {"refresh_token": first["refresh_token"]}

        async def eight() -> Any:
            return await asyncio.gather(*[call(site.app, "POST", "/refresh", body) for _ in range(8)])

        answers = site.run(eight)
        assert Counter(answer.status for answer in answers) == {200: 8}

        successors = {json.loads(answer.body)["refresh_token"] for answer in answers}
        assert len(successors) == 1
        clock.shift(timedelta(seconds=10))
        again = refresh(site, first["refresh_token"]).json()
        assert {again["refresh_token"]} == successors
        assert refresh(site, again["refresh_token"]).status_code == 200


def test_a_refresh_token_is_given_in_one_place(quick: Site) -> None:
    """In the body or in X-Refresh-Token; none, or two that may differ, is a 422."""
    first = pair_of(quick)
    by_header = quick.client.post("/refresh", headers={"X-Refresh-Token": first["refresh_token"]})
    token = by_header.json()["refresh_token"]
    assert code(quick.client.post("/refresh"), 422) == "validation"
    both = quick.client.post("/refresh", headers={"X-Refresh-Token": token}, json={"refresh_token": token})
    assert code(both, 422) == "validation"
    assert refresh(quick, token).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "\u00e9" * 43, "\ud800", "x" * 200])
def test_tokens_that_never_were(quick: Site, token: str) -> None:
    """An unknown refresh token is a 401, or a 422 where it is no text at all."""

    raw = json.dumps({"refresh_token": token}).encode()
    answer = quick.client.post("/refresh", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (401, 400, 422)
    assert token in ("", "x") or token not in answer.text


def test_kinds_of_tokens_are_not_mixed(quick: Site) -> None:
    """An access token refreshes nothing, a refresh token opens nothing."""
    pair = pair_of(quick)
    assert quick.client.get("/me", headers=bearer(pair["refresh_token"])).status_code == 401
    longest = pair["access_token"][:200]
    assert refresh(quick, longest).status_code == 401
    assert refresh(quick, pair["access_token"]).status_code == 422


def test_unused_tokens_expire(quick: Site) -> None:
    """A refresh token lives a day; each refresh begins another one, up to the end of the session."""
    with time_machine.travel(time.time(), tick=False) as clock:
        pair = pair_of(quick)
        for _ in range(29):
            clock.shift(timedelta(hours=24) - timedelta(seconds=1))
            pair = refresh(quick, pair["refresh_token"]).json()
        clock.shift(timedelta(hours=24) - timedelta(seconds=1))
        last = refresh(quick, pair["refresh_token"]).json()
        assert 0 < last["refresh_expires_in"] <= 60
        clock.shift(timedelta(seconds=61))
        assert code(refresh(quick, last["refresh_token"])) == "token_revoked"
        fresh = pair_of(quick)
        clock.shift(timedelta(hours=24))
        assert code(refresh(quick, fresh["refresh_token"])) == "token_expired"


@pytest.mark.parametrize("change", [{"is_active": False}, {"hashed_password": "!"}])
def test_an_account_that_changed_gets_no_more_tokens(site: Site, change: dict[str, Any]) -> None:
    """A disabled account, and one with another password, is out at the next refresh."""
    person = site.person()
    pair = site.login(person.username).json()
    site.change(person, **change)
    assert code(refresh(site, pair["refresh_token"])) == "token_revoked"
    assert me(site, pair) == 401


def test_a_deleted_account_takes_its_sessions_along(site: Site) -> None:
    """No session is left, and no token of it is known."""
    person = site.person()
    pair = site.login(person.username).json()

    async def remove() -> Any:
        async with site.app.database.sessions() as session:
            await session.execute(delete(User).where(User.id == person.id))
            await session.commit()
            return (await session.execute(select(Model.metadata.tables["jetio_auth_users_sessions"]))).all()

    assert site.run(remove) == []
    assert code(refresh(site, pair["refresh_token"])) == "not_authenticated"
    assert me(site, pair) == 401


def test_claims_of_a_login_stay_with_its_session(quick: Site) -> None:
    """What `auth.login(extra_claims=...)` adds is in the tokens of every refresh."""
    quick.register("ann")
    pair = quick.run(quick.auth.login, "ann", PASSWORD, {"company_id": 42})
    for _ in range(2):
        pair = refresh(quick, pair["refresh_token"]).json()
    told = quick.client.get("/me", headers=bearer(pair["access_token"])).json()
    assert told["claims"] == {"company_id": 42}


def test_nothing_secret_is_stored(quick: Site) -> None:
    """The tables hold hashes of the tokens, and nothing that opens anything."""
    first = pair_of(quick)
    second = refresh(quick, first["refresh_token"]).json()

    async def everything() -> str:
        async with quick.app.database.sessions() as session:
            names = (
                "jetio_auth_users_sessions",
                "jetio_auth_users_refresh_tokens",
                "jetio_auth_users_attempts",
            )
            return str([(await session.execute(text(f"SELECT * FROM {name}"))).all() for name in names])  # noqa: S608

    stored = quick.run(everything)
    for pair in (first, second):
        assert pair["refresh_token"] not in stored
        assert pair["access_token"] not in stored


# ---- ending ------------------------------------------------------------------------------------------------


def test_a_logout_ends_this_session_at_once(site: Site) -> None:
    """Its tokens are refused at the next request; another device stays logged in."""
    here, there = pair_of(site), pair_of(site)
    answer = site.client.post("/logout", headers=bearer(here["access_token"]))
    assert (answer.status_code, answer.json()) == (200, {"message": "Logged out successfully"})
    assert (me(site, here), me(site, there)) == (401, 200)
    assert code(refresh(site, here["refresh_token"])) == "token_revoked"
    assert code(site.client.post("/logout", headers=bearer(here["access_token"]))) == "token_revoked"
    assert code(site.client.post("/logout")) == "not_authenticated"


def test_a_logout_everywhere(site: Site) -> None:
    """`all` ends every session of the account, and none of another."""
    mine, stranger = [pair_of(site) for _ in range(3)], pair_of(site, "bob")
    answer = site.client.post("/logout", headers=bearer(mine[0]["access_token"]), json={"all": True})
    assert answer.status_code == 200
    assert [me(site, pair) for pair in mine] == [401] * 3
    assert me(site, stranger) == 200


def test_a_logout_of_another_session_of_ones_own(quick: Site) -> None:
    """A refresh token in the body ends its session too, unless it is somebody else's."""
    here, there, stranger = pair_of(quick), pair_of(quick), pair_of(quick, "bob")
    for other in (stranger["refresh_token"], "x" * 43):
        again = pair_of(quick)
        body = {"refresh_token": other}
        assert (
            quick.client.post("/logout", headers=bearer(again["access_token"]), json=body).status_code == 200
        )
    body = {"refresh_token": there["refresh_token"]}
    assert quick.client.post("/logout", headers=bearer(here["access_token"]), json=body).status_code == 200
    assert [me(quick, pair) for pair in (here, there, stranger)] == [401, 401, 200]


def test_the_list_of_devices(site: Site) -> None:
    """Each login with its time, its address and what its client calls itself; the present one is marked."""
    here = pair_of(site)
    site.client.post(
        "/login", json={"username": "ann", "password": PASSWORD}, headers={"User-Agent": "Phone " + "x" * 300}
    )
    pair_of(site, "bob")
    headers = bearer(here["access_token"])
    found = site.client.get("/sessions", headers=headers).json()
    assert len(found) == 2
    assert sum(item["current"] for item in found) == 1
    assert sorted(item["agent"][:5] for item in found) == ["Phone", "testc"]
    assert all(len(item["agent"]) <= 200 and item["method"] == "password" for item in found)
    assert all(item["created_at"] <= item["last_seen_at"] < item["expires_at"] for item in found)
    other = next(item["id"] for item in found if not item["current"])
    assert site.client.delete(f"/sessions/{other}", headers=headers).status_code == 204
    assert site.client.delete(f"/sessions/{other}", headers=headers).status_code == 404
    assert [item["current"] for item in site.client.get("/sessions", headers=headers).json()] == [True]


def test_nobody_ends_the_session_of_another(site: Site) -> None:
    """It is a 404, as one that never was, and it lasts."""
    mine, other = pair_of(site), pair_of(site, "bob")
    listed = site.client.get("/sessions", headers=bearer(other["access_token"])).json()
    for sid in (listed[0]["id"], "nothing", "\u00e9"):
        answer = site.client.delete(f"/sessions/{sid}", headers=bearer(mine["access_token"]))
        assert answer.status_code == 404
    assert me(site, other) == 200


def test_ending_all_others(quick: Site) -> None:
    """`DELETE /sessions` leaves this one, `?all=true` none."""
    pairs = [pair_of(quick) for _ in range(3)]
    headers = bearer(pairs[0]["access_token"])
    assert quick.client.delete("/sessions", headers=headers).status_code == 204
    assert [me(quick, pair) for pair in pairs] == [200, 401, 401]
    assert quick.client.delete("/sessions?all=true", headers=headers).status_code == 204
    assert me(quick, pairs[0]) == 401


@pytest.mark.parametrize("own", [True, False])
def test_a_program_ends_all_sessions(quick: Site, own: bool) -> None:
    """`auth.revoke_sessions(user)` logs an account out everywhere, in a transaction of its own or in yours."""
    pair = pair_of(quick)

    async def revoke() -> None:
        async with quick.app.database.sessions() as session:
            user = await session.scalar(select(User).where(User.username == "ann"))
            if own:
                await session.commit()
                await quick.auth.revoke_sessions(user)
            else:
                await quick.auth.revoke_sessions(user, db=session)
                await session.commit()

    quick.run(revoke)
    assert me(quick, pair) == 401


def test_old_sessions_are_forgotten(quick: Site) -> None:
    """What is over by its age goes at the next login of its account."""
    with time_machine.travel(time.time(), tick=False) as clock:
        pair_of(quick)
        clock.shift(timedelta(days=31))
        pair_of(quick)

        async def count() -> int:
            async with quick.app.database.sessions() as session:
                return len(
                    (await session.execute(select(Model.metadata.tables["jetio_auth_users_sessions"]))).all()
                )

        assert quick.run(count) == 1


# ---- a new password ----------------------------------------------------------------------------------------


def change(site: Site, pair: dict[str, Any], current: str = PASSWORD, new: str = NEW) -> Any:
    body = {"current_password": current, "new_password": new}
    return site.client.post("/change-password", headers=bearer(pair["access_token"]), json=body)


def test_a_changed_password_ends_all_other_sessions(site: Site) -> None:
    """The answer's tokens go on with this session; older ones of it, and other devices, are out."""
    here, there = pair_of(site), pair_of(site)
    answer = change(site, here)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert [me(site, pair) for pair in (here, there, answer.json())] == [401, 401, 200]
    assert [refresh(site, pair["refresh_token"]).status_code for pair in (here, there)] == [401, 401]
    assert refresh(site, answer.json()["refresh_token"]).status_code == 200
    assert site.login("ann").status_code == 401
    assert site.login("ann", NEW).status_code == 200
    headers = bearer(answer.json()["access_token"])
    assert len(site.client.get("/sessions", headers=headers).json()) == 2


def test_who_may_change_it(quick: Site) -> None:
    """Only whoever knows the current one; a poor new one is refused, and nothing has changed."""
    pair = pair_of(quick)
    assert code(change(quick, pair, current="wrong password"), 403) == "wrong_password"
    for new, wrong in (
        ("short", "password_too_short"),
        ("x" * 73, "password_too_long"),
        (PASSWORD, "password_unchanged"),
    ):
        answer = change(quick, pair, new=new)
        assert code(answer, 422) == "validation"
        assert [(entry["pointer"], entry["code"]) for entry in answer.json()["errors"]] == [
            ("/new_password", wrong)
        ]
    assert quick.client.post("/change-password", json={}).status_code == 401
    assert me(quick, pair) == 200


def test_guesses_at_the_current_password_are_throttled(quick: Site) -> None:
    """They count for the account as failed logins do."""
    pair = pair_of(quick)
    for _ in range(10):
        assert change(quick, pair, current="wrong password").status_code == 403
    assert change(quick, pair, current="wrong password").status_code == 429
    assert quick.login("ann").status_code == 429


def test_of_two_changes_at_once_one_wins(site: Site) -> None:
    """The password is one of the two, and whoever lost was told."""
    pair = pair_of(site)
    headers = {"authorization": f"Bearer {pair['access_token']}"}
    bodies = [{"current_password": PASSWORD, "new_password": f"{NEW} {number}"} for number in range(4)]

    async def all_at_once() -> Any:
        return await asyncio.gather(
            *[call(site.app, "POST", "/change-password", body, headers=headers) for body in bodies]
        )

    answers = site.run(all_at_once)
    assert sorted(answer.status for answer in answers)[0] == 200
    assert {answer.status for answer in answers} <= {200, 401, 403, 409}
    assert [answer.status for answer in answers].count(200) == 1
    won = next(place for place, answer in enumerate(answers) if answer.status == 200)
    assert site.login("ann", f"{NEW} {won}").status_code == 200


def test_refreshing_beside_a_new_password(database_url: str) -> None:
    """Whatever comes first, nothing fails and no old token survives."""
    with new_site(database_url) as site:
        site.register("ann")
        password = PASSWORD
        for number in range(8):
            pair = site.login("ann", password).json()
            body = {"current_password": password, "new_password": f"{NEW} {number}"}
            headers = {"authorization": f"Bearer {pair['access_token']}"}
            refreshing = {"refresh_token": pair["refresh_token"]}

            async def at_once() -> Any:
                return await asyncio.gather(
                    call(site.app, "POST", "/change-password", body, headers=headers),  # noqa: B023
                    *[call(site.app, "POST", "/refresh", refreshing) for _ in range(3)],  # noqa: B023
                )

            changed, *refreshed = site.run(at_once)
            assert changed.status == 200, changed.body
            assert {answer.status for answer in refreshed} <= {200, 401}
            password = f"{NEW} {number}"
            for answer in refreshed:
                if answer.status == 200:
                    late = json.loads(answer.body)
                    assert me(site, late) == 401
                    assert refresh(site, late["refresh_token"]).status_code == 401


def test_two_user_models_on_one_database(database_url: str) -> None:
    """Accounts of equal keys have sessions, failures and events of their own."""
    base: Any = new_base()

    class Customer(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)

    class Staff(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)

    def served(model: Any) -> Any:
        app = Jetio(database=database_url, settings=SETTINGS, metadata=base.metadata)
        auth = AuthRouter(model, lockout=Lockout(failures=2))
        auth.register_routes(app)
        return serving(app, auth)

    with served(Customer) as customers, served(Staff) as staff:
        for site, names in ((customers, ["ann"]), (staff, ["ann", "bob"])):
            for name in names:
                account = {"username": name, "password": PASSWORD}
                assert site.client.post("/register", json=account).status_code == 201
        customer, colleague = customers.login("ann").json(), staff.login("ann").json()
        assert staff.login("bob").status_code == 200
        headers = bearer(colleague["access_token"])
        assert len(staff.client.get("/sessions", headers=headers).json()) == 1
        staff.client.post("/logout", headers=headers, json={"all": True})
        assert (me(customers, customer), me(staff, colleague)) == (200, 401)
        for _ in range(3):
            customers.login("ann", "wrong password")
        assert customers.login("ann").status_code == 429
        assert staff.login("ann").status_code == 200


@pytest.mark.parametrize("claims", [{"a": float("nan")}, {"a": "x" * 9000}, {"sid": "mine"}, {"exp": 1}])
def test_claims_that_no_token_holds_open_nothing(quick: Site, claims: dict[str, Any]) -> None:
    """The mistake is the program's, and no session is left of it."""
    quick.register("ann")
    with pytest.raises(ValueError, match=r"."):
        quick.run(quick.auth.login, "ann", PASSWORD, claims)
    pair = pair_of(quick)
    assert len(quick.client.get("/sessions", headers=bearer(pair["access_token"])).json()) == 1


@pytest.mark.parametrize("odd", ["x" * 300, "a\0b", "\ud800", "\x1b[2J"])
def test_odd_addresses_and_agents(site: Site, odd: str) -> None:
    """What a program hands on is cut and cleaned; right and wrong passwords get the answers they always get."""
    site.register("ann")
    pair = site.run(site.auth.login, "ann", PASSWORD, address=odd, agent=odd)
    assert me(site, pair) == 200
    with pytest.raises(Problem) as told:
        site.run(site.auth.login, "ann", "wrong password", address=odd, agent=odd)
    assert told.value.status == 401


def test_unused_sessions_are_not_listed(sqlite_url: str) -> None:
    """What no token can continue is no device, although it has not been ended."""
    with (
        new_site(sqlite_url, disable=["refresh"]) as site,
        time_machine.travel(time.time(), tick=False) as clock,
    ):
        pair_of(site)
        clock.shift(timedelta(seconds=3601))
        pair = pair_of(site)
        [only] = site.client.get("/sessions", headers=bearer(pair["access_token"])).json()
        assert only["current"]


def test_an_account_that_vanishes_between_two_steps(sqlite_url: str) -> None:
    """A login whose account is deleted before its claims are made is a 401."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, extra_claims=lambda user: {"name": user.username})
    auth.register_routes(app)
    with serving(app, auth) as site:
        ann = site.person("ann")
        account = site.run(auth.accounts.authenticate, ann.username, PASSWORD, Device())

        async def remove() -> None:
            async with app.database.sessions() as session:
                await session.execute(delete(User).where(User.id == ann.id))
                await session.commit()

        site.run(remove)
        with pytest.raises(Problem) as told:
            site.run(auth.logins.open, account, {}, Device())
        assert told.value.code == "invalid_credentials"


# ---- what is on --------------------------------------------------------------------------------------------


def test_without_sessions(sqlite_url: str) -> None:
    """What is taken away has no route and no place in the answer of a login; a token lasts until it expires."""
    with new_site(sqlite_url, disable=["sessions", "refresh"]) as site:
        pair = pair_of(site)
        assert pair.keys() == {"access_token", "token_type", "expires_in"}
        for method, path in (("POST", "/refresh"), ("POST", "/logout"), ("GET", "/sessions")):
            answer = site.client.request(method, path, headers=bearer(pair["access_token"]))
            assert answer.status_code == 404, path
        changed = change(site, pair)
        assert changed.json().keys() == pair.keys()
        assert (me(site, pair), me(site, changed.json())) == (401, 200)


def test_what_is_off_says_so(sqlite_url: str) -> None:
    """A program that asks for it is told what to write."""
    with new_site(sqlite_url, disable=["sessions", "refresh"]) as site:
        ann = site.person("ann")
        with pytest.raises(ConfigError, match="refreshing is switched off"):
            site.run(site.auth.refresh, "x")
        with pytest.raises(ConfigError, match="sessions are switched off"):
            site.run(site.auth.revoke_sessions, ann)


def test_a_session_of_another_time(sqlite_url: str) -> None:
    """A token of a session is refused where sessions have been switched off since: nothing could end it."""
    jwt = JWTConfig(secret_key="k" * 20 + "0123456789abcdef")
    with new_site(sqlite_url, jwt=jwt) as site:
        pair = pair_of(site)
    with new_site(sqlite_url, jwt=jwt, disable=["sessions", "refresh"]) as site:
        assert me(site, pair) == 401


def test_sessions_without_refreshing(sqlite_url: str) -> None:
    """A session then ends with its only token, or by a logout."""
    with new_site(sqlite_url, disable=["refresh", "change_password"]) as site:
        pair = pair_of(site)
        assert "refresh_token" not in pair
        assert refresh(site, "x").status_code == 404
        assert change(site, pair).status_code == 404
        assert site.client.post("/logout", headers=bearer(pair["access_token"])).status_code == 200
        assert me(site, pair) == 401


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"disable": ["sessions"]}, "'refresh' needs 'sessions'"),
        ({"disable": ["refesh"]}, "did you mean 'refresh'"),
        ({"enable": ["zzz"]}, "no feature; write some of"),
        ({"enable": "refresh"}, r"write enable=\['refresh'\]"),
        ({"enable": ["refresh"], "disable": ["refresh"]}, "in one of them"),
    ],
)
def test_features_that_cannot_be(options: dict[str, Any], message: str) -> None:
    """A name that is none, and a feature without its ground, is a mistake that says what to write."""
    with pytest.raises(ConfigError, match=message):
        AuthRouter(User, **options)


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"prefix": "auth"}, "prefix='/auth'"),
        ({"prefix": "/auth/"}, "prefix='/auth'"),
        ({"prefix": "/"}, "prefix=''"),
        ({"session_prefix": "jwt"}, "session_prefix='/jwt'"),
        ({"admin_prefix": "/admin//all"}, "admin_prefix='/admin/all'"),
        ({"users_prefix": "users"}, "users_prefix='/users'"),
        ({"users_prefix": "/people/"}, "users_prefix='/people'"),
        ({"users_prefix": ""}, "users_prefix='/users'"),
        ({"login_path": "login"}, "login_path='/login'"),
        ({"register_path": "/"}, "register_path='/register'"),
    ],
)
def test_paths_that_cannot_be(options: dict[str, Any], meant: str) -> None:
    """One that does not begin with a slash, ends with one, or names nothing where something must stand."""
    with pytest.raises(ConfigError, match=f"is no path for routes; write {meant}$"):
        AuthRouter(User, **options)


def test_paths_of_stores_are_judged_too() -> None:
    """The other router takes no other paths."""
    with pytest.raises(ConfigError, match="write prefix='/auth'"):
        AuthRouter(store=JSONUserStore("users.json"), prefix="auth/")


@pytest.mark.parametrize("feature", ["device_login", "impersonation"])
def test_tokens_that_are_handed_out_are_read(feature: str) -> None:
    """A program has no cookies: where no header is read, what it gets would be good for nothing."""
    with pytest.raises(
        ConfigError, match=rf"{feature} are sent in a header; write JWTConfig\(token_location"
    ):
        AuthRouter(User, enable=[feature], jwt=JWTConfig(token_location="cookie"))
    AuthRouter(User, enable=[feature], jwt=JWTConfig(token_location=["header", "cookie"]))


def test_lives_that_cannot_be() -> None:
    """A session lasts at least as long as one of its refresh tokens."""
    with pytest.raises(ConfigError, match="lasts as long"):
        JWTConfig(refresh_token_expiry=100, session_max=99)


def new_member(kind: str) -> Any:
    """A user model with a key of that kind."""
    base: Any = new_base()
    if kind == "uuid":

        class Member(base, JetioAuthMixin):
            id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
            username: Mapped[str] = mapped_column(unique=True)

        return Member

    class Named(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(String(80), primary_key=True)

    return Named


@pytest.mark.parametrize("kind", ["uuid", "text"])
def test_accounts_with_other_keys(database_url: str, kind: str) -> None:
    """Sessions belong to accounts with a UUID, or their name, for a key just as well."""
    model = new_member(kind)
    app = Jetio(database=database_url, settings=SETTINGS, metadata=model.metadata)
    auth = AuthRouter(model)
    auth.register_routes(app)
    with serving(app, auth) as site:
        account = {"username": "ann", "password": PASSWORD}
        assert site.client.post("/register", json=account).status_code == 201
        pair = refresh(site, site.login("ann").json()["refresh_token"]).json()
        assert me(site, pair) == 200
        assert site.client.post("/logout", headers=bearer(pair["access_token"])).status_code == 200
        assert me(site, pair) == 401
