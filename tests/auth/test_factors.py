"""Second factors: codes of an authenticator app and recovery codes, on every database."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyotp
import pytest
import time_machine
from sqlalchemy import String, text
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, Jetio, Principal, Problem
from jetio_auth import AuthRouter, JetioAuthMixin, JetioEmailConfirmationMixin, JWTConfig, Lockout
from jetio_auth.factors.sealing import Seal
from jetio_auth.features import FEATURES, Feature, features_of
from jetio_auth.mail.mailers import NoMailer
from jetio_auth.sessions import Device
from tests.auth.forum import (
    PASSWORD,
    SETTINGS,
    Model,
    Person,
    Site,
    User,
    bearer,
    call,
    new_app,
    new_base,
    serving,
)

LOCKOUT = Lockout(failures=4, address_failures=1000)


@contextmanager
def new_site(url: str, **options: Any) -> Iterator[Site]:
    app = new_app(url)
    auth = AuthRouter(User, **{"enable": ["totp"], "lockout": LOCKOUT, **options})
    auth.register_routes(app)

    @app.get("/vault", policy=auth.mfa())
    async def vault(principal: Principal) -> dict[str, Any]:
        return {"amr": principal.claims["amr"], "kiosk": principal.claims.get("kiosk")}

    with serving(app, auth) as site:
        yield site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum on every database, with second factors."""
    with new_site(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The forum on SQLite, where the database does not matter."""
    with new_site(sqlite_url) as site:
        yield site


def code_of(secret: str, steps: int = 0) -> str:
    """The code that the authenticator shows now, or some steps of half a minute from now."""
    return pyotp.TOTP(secret).at(int(time.time()) + 30 * steps)


def switch_on(person: Person) -> tuple[str, list[str]]:
    """The secret and the recovery codes of an account with an authenticator; the code of now is used up."""
    secret = person.post("/mfa/totp").json()["secret"]
    answer = person.post("/mfa/totp/confirm", {"code": code_of(secret)})
    assert answer.status_code == 200, answer.text
    return secret, answer.json()["recovery_codes"]


def first_step(site: Site, person: Person) -> str:
    """The token between the two steps of a login."""
    answer = site.login(person.username)
    assert refusal(answer) == "mfa_required"
    token: str = answer.json()["mfa_token"]
    return token


def second_step(site: Site, token: str, **proof: str) -> Any:
    return site.client.post("/login/mfa", json={"mfa_token": token, **proof})


def refusal(answer: Any, status: int = 401) -> str:
    assert answer.status_code == status, answer.text
    code: str = answer.json()["code"]
    return code


def events(site: Site, name: str) -> list[Any]:
    return list(site.run(site.auth.events.list, 0, 100, {"name": name}))


# ---- switching it on ---------------------------------------------------------------------------------------


def test_an_authenticator_is_asked_for_once_it_is_confirmed(site: Site) -> None:
    """A secret alone changes nothing; with its first code there are recovery codes, and logins take two steps."""
    person = site.person()
    begun = person.post("/mfa/totp")
    assert begun.headers["cache-control"] == "no-store"
    secret = begun.json()["secret"]
    assert len(secret) == 32
    address = pyotp.parse_uri(begun.json()["otpauth_url"])
    assert (address.secret, address.name, address.issuer) == (secret, person.username, "Jetio")
    assert ElementTree.fromstring(begun.json()["qr_svg"]).tag.endswith("svg")  # noqa: S314 - our own answer
    assert person.get("/mfa/totp").json() == {"enabled": False, "recovery_codes": 0}
    assert site.login(person.username).status_code == 200

    confirmed = person.post("/mfa/totp/confirm", {"code": code_of(secret)})
    assert confirmed.headers["cache-control"] == "no-store"
    codes = confirmed.json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert {len(code.replace("-", "")) for code in codes} == {24}
    assert person.get("/mfa/totp").json() == {"enabled": True, "recovery_codes": 10}
    answer = site.login(person.username)
    assert refusal(answer) == "mfa_required"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in"] == 300
    assert "access_token" not in answer.json()


def test_what_is_begun_can_be_begun_anew(quick: Site) -> None:
    """Each call gives another secret, and the one before is good no more."""
    person = quick.person()
    first = person.post("/mfa/totp").json()["secret"]
    second = person.post("/mfa/totp").json()["secret"]
    assert refusal(person.post("/mfa/totp/confirm", {"code": code_of(first)}), 403) == "wrong_code"
    assert person.post("/mfa/totp/confirm", {"code": code_of(second)}).status_code == 200
    assert refusal(person.post("/mfa/totp"), 409) == "totp_on"
    assert refusal(person.post("/mfa/totp/confirm", {"code": code_of(second, 1)}), 404) == "not_found"


def test_nothing_to_confirm_renew_or_remove(quick: Site) -> None:
    """404 for whoever has no authenticator."""
    person = quick.person()
    assert refusal(person.post("/mfa/totp/confirm", {"code": "123456"}), 404) == "not_found"
    assert refusal(person.post("/mfa/recovery-codes"), 404) == "not_found"
    assert refusal(person.delete("/mfa/totp"), 404) == "not_found"


def test_other_sessions_end_with_the_change(site: Site) -> None:
    """On and off: whoever is logged in elsewhere has to come in under the new rule (ASVS 5, 7.4.3)."""
    person = site.person()
    other = site.login(person.username).json()["access_token"]
    secret, _ = switch_on(person)
    assert site.client.get("/me", headers=bearer(other)).json()["code"] == "token_revoked"
    assert person.get("/me").status_code == 200
    token = first_step(site, person)
    strong = second_step(site, token, code=code_of(secret, 1)).json()["access_token"]
    assert person.delete("/mfa/totp").status_code == 204
    assert site.client.get("/me", headers=bearer(strong)).json()["code"] == "token_revoked"
    assert person.get("/me").status_code == 200
    assert site.login(person.username).status_code == 200
    assert [event.name for event in events(site, "mfa.disabled")] == ["mfa.disabled"]
    assert events(site, "mfa.enabled")[0].user_id == str(person.id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/mfa/totp"),
        ("POST", "/mfa/totp/confirm"),
        ("POST", "/mfa/recovery-codes"),
        ("DELETE", "/mfa/totp"),
    ],
)
def test_changes_take_a_fresh_login_of_the_owner(quick: Site, method: str, path: str) -> None:
    """Nobody, an old login, and a token that was made without a login are refused."""
    with time_machine.travel(time.time(), tick=False) as clock:
        person = quick.person()
        body = {"code": "123456"} if path.endswith("confirm") else None
        assert refusal(quick.client.request(method, path, json=body)) == "not_authenticated"
        clock.shift(timedelta(minutes=15))
        assert refusal(person.request(method, path, json=body)) == "fresh_login_required"


async def test_of_many_that_begin_at_once_each_is_answered(database_url: str) -> None:
    """Every one gets a secret, and the last of them is the one that counts once it is confirmed."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["totp"], lockout=LOCKOUT)
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        headers = await newcomer(app)
        answers = await asyncio.gather(*[call(app, "POST", "/mfa/totp", headers=headers) for _ in range(6)])
        assert [answer.status for answer in answers] == [200] * 6
        codes = [code_of(json_of(answer)["secret"]) for answer in answers]
        confirmed = [
            (await call(app, "POST", "/mfa/totp/confirm", {"code": code}, headers=headers)).status
            for code in codes
        ]
        assert confirmed.count(200) == 1


async def newcomer(app: Jetio) -> dict[str, str]:
    """The credential of somebody new."""
    name = f"r{secrets.token_hex(4)}"
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    assert (await call(app, "POST", "/register", account, address=None)).status == 201
    answer = await call(app, "POST", "/login", {"username": name, "password": PASSWORD})
    return bearer(json_of(answer)["access_token"])


# ---- while somebody logs in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE jetio_auth_users_totp SET confirmed = 1", "mfa_required"),
        ("UPDATE users SET is_active = 0", "invalid_credentials"),
        ("DELETE FROM users", "invalid_credentials"),
    ],
)
def test_a_login_on_its_way_sees_what_has_changed(tmp_path: Path, change: str, code: str) -> None:
    """A second factor that is switched on, and an account that is switched off, after the password was judged."""
    path, due = tmp_path / "forum.db", [""]

    def meanwhile(user: Any) -> dict[str, Any]:
        """Called between the judgement and the session: another process is quicker."""
        if due[0]:
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(due[0])
        return {}

    with new_site(f"sqlite+aiosqlite:///{path}", extra_claims=meanwhile) as site:
        person = site.person()
        person.post("/mfa/totp")
        due[0] = change
        assert refusal(site.login(person.username)) == code
        due[0] = ""
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM jetio_auth_users_sessions").fetchone()[0] <= 1


async def test_no_login_by_one_factor_outlives_the_second(database_url: str) -> None:
    """Of logins and the confirmation at once: what is issued before ends, and what comes after is asked."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["totp"], lockout=Lockout(failures=1000, address_failures=1000))
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        for _ in range(8):
            headers = await newcomer(app)
            me = json_of(await call(app, "GET", "/me", headers=headers))
            login = {"username": me["username"], "password": PASSWORD}
            secret = json_of(await call(app, "POST", "/mfa/totp", headers=headers))["secret"]
            *logins, confirmed = await asyncio.gather(
                *[call(app, "POST", "/login", login) for _ in range(3)],
                call(app, "POST", "/mfa/totp/confirm", {"code": code_of(secret)}, headers=headers),
            )
            assert confirmed.status == 200
            for answer in logins:
                if answer.status == 200:
                    token = json_of(answer)["access_token"]
                    assert (await call(app, "GET", "/me", headers=bearer(token))).status == 401


# ---- logging in --------------------------------------------------------------------------------------------


def test_a_login_in_two_steps(site: Site) -> None:
    """The tokens say that two factors were proved, and so does /me; a refresh keeps that."""
    person = site.person()
    secret, _ = switch_on(person)
    assert refusal(person.get("/vault")) == "mfa_login_required"
    assert person.get("/me").json()["auth"]["mfa"] is False
    answer = second_step(site, first_step(site, person), code=code_of(secret, 1))
    assert answer.headers["cache-control"] == "no-store"
    pair = answer.json()
    again = site.client.post("/refresh", json={"refresh_token": pair["refresh_token"]}).json()
    for token in (pair["access_token"], again["access_token"]):
        assert site.client.get("/me", headers=bearer(token)).json()["auth"]["mfa"] is True
        vault = site.client.get("/vault", headers=bearer(token)).json()
        assert vault == {"amr": ["pwd", "otp", "mfa"], "kiosk": None}
    shown = site.client.get("/sessions", headers=bearer(pair["access_token"])).json()
    assert [item["method"] for item in shown if item["current"]] == ["password+otp"]


def test_a_login_in_one_step(site: Site) -> None:
    """A code may come with the password, as JSON and as the form; an account without authenticator needs none."""
    person = site.person()
    secret, codes = switch_on(person)
    body = {"username": person.username, "password": PASSWORD, "otp": code_of(secret, 1)}
    token = site.client.post("/login", json=body).json()["access_token"]
    assert site.client.get("/vault", headers=bearer(token)).status_code == 200
    assert refusal(site.client.post("/login", data=body)) == "wrong_code"
    recovered = site.client.post("/login", json={**body, "otp": codes[0]}).json()["access_token"]
    assert site.client.get("/vault", headers=bearer(recovered)).status_code == 200
    plain = site.person()
    body = {"username": plain.username, "password": PASSWORD, "otp": "000000"}
    token = site.client.post("/login", json=body).json()["access_token"]
    assert refusal(site.client.get("/vault", headers=bearer(token))) == "mfa_login_required"


def test_a_wrong_password_says_nothing_of_the_second_factor(quick: Site) -> None:
    """The answer is that of any wrong password, and the code that came with it is still good."""
    person = quick.person()
    secret, _ = switch_on(person)
    code = code_of(secret, 1)
    body = {"username": person.username, "password": "another password", "otp": code}
    wrong, nobody = (
        quick.client.post("/login", json={**body, "username": name}) for name in (person.username, "nobody")
    )
    assert refusal(wrong) == refusal(nobody) == "invalid_credentials"
    assert quick.client.post("/login", json={**body, "password": PASSWORD}).status_code == 200


def test_a_code_is_good_once(site: Site) -> None:
    """Neither the code that confirmed nor one that logged in is good again, and no older one after it."""
    with time_machine.travel(time.time(), tick=False):
        person = site.person()
        secret, _ = switch_on(person)
        token = first_step(site, person)
        assert refusal(second_step(site, token, code=code_of(secret))) == "wrong_code"
        assert second_step(site, token, code=code_of(secret, 1)).status_code == 200
        assert refusal(second_step(site, token, code=code_of(secret, 1))) == "wrong_code"
        assert refusal(second_step(site, token, code=code_of(secret, -1))) == "wrong_code"


@pytest.mark.parametrize(("steps", "right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_one_step(quick: Site, steps: int, right: bool) -> None:
    """Half a minute early or late is accepted, a whole one is not."""
    with time_machine.travel(time.time(), tick=False) as clock:
        person = quick.person()
        secret, _ = switch_on(person)
        clock.shift(timedelta(minutes=3))
        answer = second_step(quick, first_step(quick, person), code=code_of(secret, steps))
        assert answer.status_code == (200 if right else 401)


async def test_of_many_at_once_one_code_logs_in_once(database_url: str) -> None:
    """Parallel requests with one code, or one recovery code: one login."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["totp"], lockout=Lockout(failures=1000, address_failures=1000))
    auth.register_routes(app)
    name = f"r{secrets.token_hex(4)}"
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    async with app.router.lifespan_context(app):
        await call(app, "POST", "/register", account)
        login = {"username": name, "password": PASSWORD}
        session = json_of(await call(app, "POST", "/login", login))["access_token"]
        headers = bearer(session)
        secret = json_of(await call(app, "POST", "/mfa/totp", headers=headers))["secret"]
        confirmed = await call(app, "POST", "/mfa/totp/confirm", {"code": code_of(secret)}, headers=headers)
        token = json_of(await call(app, "POST", "/login", login))["mfa_token"]
        for proof in (
            {"code": code_of(secret, 1)},
            {"recovery_code": json_of(confirmed)["recovery_codes"][0]},
        ):
            body = {"mfa_token": token, **proof}
            answers = await asyncio.gather(*[call(app, "POST", "/login/mfa", body) for _ in range(6)])
            assert sorted(answer.status for answer in answers) == [200, *[401] * 5]


async def test_of_many_at_once_one_switches_it_on(database_url: str) -> None:
    """Parallel beginnings leave one secret, and of parallel first codes one has the recovery codes."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["totp"])
    auth.register_routes(app)
    name = f"r{secrets.token_hex(4)}"
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    async with app.router.lifespan_context(app):
        await call(app, "POST", "/register", account)
        login = await call(app, "POST", "/login", {"username": name, "password": PASSWORD})
        headers = bearer(json_of(login)["access_token"])
        begun = await asyncio.gather(*[call(app, "POST", "/mfa/totp", headers=headers) for _ in range(4)])
        assert {answer.status for answer in begun} <= {200, 409, 503}
        secret = json_of(await call(app, "POST", "/mfa/totp", headers=headers))["secret"]
        body = {"code": code_of(secret)}
        answers = await asyncio.gather(
            *[call(app, "POST", "/mfa/totp/confirm", body, headers=headers) for _ in range(5)]
        )
        statuses = sorted(answer.status for answer in answers)
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {404, 409}
        [won] = [answer for answer in answers if answer.status == 200]
        [code, *_] = json_of(won)["recovery_codes"]
        token = json_of(await call(app, "POST", "/login", {"username": name, "password": PASSWORD}))[
            "mfa_token"
        ]
        proof = {"mfa_token": token, "recovery_code": code}
        assert (await call(app, "POST", "/login/mfa", proof, address=None)).status == 200


def json_of(answer: Any) -> Any:
    assert answer.status in (200, 401), answer.body
    return json.loads(answer.body)


def test_recovery_codes(site: Site) -> None:
    """Each logs in once, however it is spelled; ten new ones replace them all."""
    person = site.person()
    _, codes = switch_on(person)
    token = first_step(site, person)
    spelled = codes[0].upper().replace("-", " ")
    strong = second_step(site, token, recovery_code=spelled).json()["access_token"]
    amr = site.client.get("/vault", headers=bearer(strong)).json()["amr"]
    assert amr == ["pwd", "otp", "mfa"]
    assert refusal(second_step(site, token, recovery_code=codes[0])) == "wrong_code"
    assert person.get("/mfa/totp").json() == {"enabled": True, "recovery_codes": 9}
    assert events(site, "mfa.recovery_used")[0].detail == {"left": 9}
    renewed = person.post("/mfa/recovery-codes")
    assert renewed.headers["cache-control"] == "no-store"
    fresh = renewed.json()["recovery_codes"]
    assert len(set(fresh) - set(codes)) == 10
    assert refusal(second_step(site, token, recovery_code=codes[1])) == "wrong_code"
    assert second_step(site, token, recovery_code=fresh[1]).status_code == 200
    assert len(events(site, "mfa.recovery_renewed")) == 1


def test_recovery_codes_are_their_owners(quick: Site) -> None:
    """One account's codes are nothing to another, and none outlives the authenticator."""
    ann, bob = quick.person(), quick.person()
    _, codes = switch_on(ann)
    switch_on(bob)
    assert refusal(second_step(quick, first_step(quick, bob), recovery_code=codes[0])) == "wrong_code"
    token = first_step(quick, ann)
    assert ann.delete("/mfa/totp").status_code == 204
    assert refusal(second_step(quick, token, recovery_code=codes[0])) == "wrong_code"


# ---- the token between the steps ---------------------------------------------------------------------------


def test_the_token_between_is_no_access_token(quick: Site) -> None:
    """It opens nothing, and an access token is none."""
    person = quick.person()
    secret, _ = switch_on(person)
    token = first_step(quick, person)
    assert refusal(quick.client.get("/me", headers=bearer(token))) == "not_authenticated"
    assert refusal(second_step(quick, person.token, code=code_of(secret, 1))) == "mfa_expired"
    assert refusal(second_step(quick, token[:-2], code=code_of(secret, 1))) == "mfa_expired"
    assert second_step(quick, token, code=code_of(secret, 1)).status_code == 200


def test_the_token_between_lives_five_minutes(quick: Site) -> None:
    """Then the password is asked for again."""
    with time_machine.travel(time.time(), tick=False) as clock:
        person = quick.person()
        secret, _ = switch_on(person)
        token = first_step(quick, person)
        clock.shift(timedelta(seconds=306))
        assert refusal(second_step(quick, token, code=code_of(secret))) == "mfa_expired"


def test_the_token_between_ends_with_the_password_and_the_account(quick: Site) -> None:
    """A changed password, a disabled account and a deleted one: what was begun cannot be finished."""
    person, other = quick.person(), quick.person()
    secret, _ = switch_on(person)
    token = first_step(quick, person)
    quick.change(person, is_active=False)
    assert refusal(second_step(quick, token, code=code_of(secret, 1))) == "mfa_expired"
    quick.change(person, is_active=True)
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    assert person.post("/change-password", body).status_code == 200
    assert refusal(second_step(quick, token, code=code_of(secret, 1))) == "mfa_expired"
    switch_on(other)
    token = first_step(quick, other)
    quick.run(_delete, quick, other)
    assert refusal(second_step(quick, token, code="123456")) == "mfa_expired"


async def _delete(site: Site, person: Person) -> None:
    async with site.app.database.sessions() as session:
        await session.delete(await session.get(User, person.id))
        await session.commit()


def test_either_a_code_or_a_recovery_code(quick: Site) -> None:
    """422 for both, and for neither."""
    person = quick.person()
    switch_on(person)
    token = first_step(quick, person)
    assert refusal(second_step(quick, token), 422) == "validation"
    assert refusal(second_step(quick, token, code="1", recovery_code="2"), 422) == "validation"


def test_claims_of_an_own_login_survive_the_second_step(quick: Site) -> None:
    """What `auth.login(extra_claims=...)` adds stands in the tokens that the second step gives."""
    person = quick.person()
    secret, _ = switch_on(person)
    with pytest.raises(Problem) as refused:
        quick.run(quick.auth.login, person.username, PASSWORD, {"kiosk": 7})
    token = refused.value.members["mfa_token"]
    strong = second_step(quick, token, code=code_of(secret, 1)).json()["access_token"]
    assert quick.client.get("/vault", headers=bearer(strong)).json()["kiosk"] == 7


def test_other_ways_in_are_asked_too(quick: Site) -> None:
    """A login by one factor of any kind takes the second; one that proved two is through."""
    person = quick.person()
    switch_on(person)
    ask = quick.auth.required_factors().ask
    account = quick.run(_account, quick, person)
    for method, status in (("password", 401), ("magic", 401), ("passkey", None), ("magic+otp", None)):
        try:
            quick.run(ask, account, {}, Device(method=method))
            found = None
        except Problem as problem:
            found = problem.status
        assert found == status, method


async def _account(site: Site, person: Person) -> Any:
    async with site.app.database.sessions() as session:
        return site.auth.accounts.facts.account_of(await session.get(User, person.id))


# ---- guessing ----------------------------------------------------------------------------------------------


def test_guesses_are_throttled_and_the_password_does_not_help(site: Site) -> None:
    """Four failures, then 429, for right codes too; a right password in between begins nothing anew."""
    person = site.person()
    secret, codes = switch_on(person)
    for place in range(4):
        proof = {"code": "000000x"} if place % 2 else {"recovery_code": "wrong"}
        assert refusal(second_step(site, first_step(site, person), **proof)) == "wrong_code"
    token = first_step(site, person)
    throttled = second_step(site, token, code=code_of(secret, 1))
    assert refusal(throttled, 429) == "rate_limited"
    assert int(throttled.headers["retry-after"]) > 0
    assert refusal(second_step(site, token, recovery_code=codes[0]), 429) == "rate_limited"
    at_once = {"username": person.username, "password": PASSWORD, "otp": code_of(secret, 1)}
    assert refusal(site.client.post("/login", json=at_once), 429) == "rate_limited"
    assert len(events(site, "mfa.failed")) == 4
    assert events(site, "mfa.failed")[0].user_id == str(person.id)


def test_a_right_code_takes_failures_away(quick: Site) -> None:
    """Whoever mistypes and then succeeds begins anew."""
    person = quick.person()
    _, codes = switch_on(person)
    for code in codes[:2]:
        for _ in range(3):
            token = first_step(quick, person)
            assert refusal(second_step(quick, token, code="000000x")) == "wrong_code"
        assert second_step(quick, token, recovery_code=code).status_code == 200


def test_guesses_of_one_address_are_throttled(sqlite_url: str) -> None:
    """Whatever the accounts are that it guesses at."""
    with new_site(sqlite_url, lockout=Lockout(address_failures=3)) as site:
        people = [site.person() for _ in range(4)]
        for person in people:
            switch_on(person)
        tokens = [first_step(site, person) for person in people]
        statuses = [second_step(site, token, code="000000x").status_code for token in tokens]
        assert statuses == [401, 401, 401, 429]


# ---- at rest -----------------------------------------------------------------------------------------------


def test_nothing_secret_is_stored(site: Site) -> None:
    """Neither the secret nor a recovery code stands in any table; events hold none of them."""
    person = site.person()
    secret, codes = switch_on(person)
    second_step(site, first_step(site, person), recovery_code=codes[0])
    stored = str(site.run(_everything, site))
    for hidden in (secret, *codes, *(code.replace("-", "") for code in codes)):
        assert hidden.lower() not in stored.lower()


async def _everything(site: Site) -> list[Any]:
    async with site.app.database.sessions() as session:
        names = [name for name in Model.metadata.tables if name.startswith("jetio_auth_users_")]
        assert {"jetio_auth_users_totp", "jetio_auth_users_recovery_codes"} <= set(names)
        return [(await session.execute(text(f"SELECT * FROM {name}"))).all() for name in names]  # noqa: S608


def test_a_sealed_text_is_its_owners() -> None:
    """Another owner, another key and a changed text open nothing; an earlier key still opens."""
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    sealed = Seal(lambda: [old]).close("hidden", 1)
    assert "hidden" not in sealed
    assert Seal(lambda: [new, old]).open(sealed, 1) == "hidden"
    assert Seal(lambda: [old]).open(sealed, 2) is None
    assert Seal(lambda: [new]).open(sealed, 1) is None
    assert Seal(lambda: [old]).open(("B" if sealed[0] == "A" else "A") + sealed[1:], 1) is None
    assert Seal(lambda: [old]).close("hidden", 1) != sealed


def test_secrets_follow_the_keys(sqlite_url: str) -> None:
    """A login under a new signing key seals the secret anew; without any of its keys no code is right."""
    keys = [{"kid": str(number), "key": secrets.token_urlsafe(48)} for number in range(3)]
    with time_machine.travel(time.time(), tick=False) as clock:
        with new_site(sqlite_url, jwt=JWTConfig(keys=keys[:1])) as site:
            person = site.person()
            secret, codes = switch_on(person)
        clock.shift(timedelta(minutes=1))
        with new_site(sqlite_url, jwt=JWTConfig(keys=[keys[1], keys[0]])) as site:
            token = first_step(site, person)
            assert second_step(site, token, code=code_of(secret)).status_code == 200
        clock.shift(timedelta(minutes=1))
        with new_site(sqlite_url, jwt=JWTConfig(keys=keys[1:2])) as site:
            token = first_step(site, person)
            assert second_step(site, token, code=code_of(secret)).status_code == 200
        clock.shift(timedelta(minutes=1))
        with new_site(sqlite_url, jwt=JWTConfig(keys=keys[2:])) as site:
            token = first_step(site, person)
            assert refusal(second_step(site, token, code=code_of(secret))) == "wrong_code"
            assert second_step(site, token, recovery_code=codes[0]).status_code == 200


def test_nothing_secret_is_logged(quick: Site, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG too: no secret, no code, no recovery code, no token between the steps."""
    caplog.set_level(logging.DEBUG)
    person = quick.person()
    secret, codes = switch_on(person)
    token = first_step(quick, person)
    second_step(quick, token, recovery_code=codes[0])
    second_step(quick, token, code=code_of(secret, 1))
    second_step(quick, token, code="wrong-code-7531")
    factors = quick.auth.required_factors()
    told = f"{caplog.text} {factors!r} {quick.run(factors.pending, token)!r}"
    assert "mfa.recovery_used" in told
    for hidden in (secret, token, *codes, code_of(secret, 1), "wrong-code-7531"):
        assert hidden not in told


# ---- cookies, sessions, features ---------------------------------------------------------------------------


def test_a_browser_logs_in_by_cookies(sqlite_url: str) -> None:
    """The second step sets them; another site can no more take it than the first."""
    jwt = JWTConfig(token_location=["header", "cookie"], cookie_secure=False)
    with new_site(sqlite_url, jwt=jwt) as site:
        person = site.person()
        secret, _ = switch_on(person)
        site.client.cookies.clear()
        token = first_step(site, person)
        assert not site.client.cookies
        body = {"mfa_token": token, "code": code_of(secret, 1)}
        foreign = site.client.post("/login/mfa", json=body, headers={"Origin": "https://evil.example"})
        assert refusal(foreign, 403) == "csrf_failed"
        assert site.client.post("/login/mfa", json=body).status_code == 200
        assert site.client.get("/vault").status_code == 200


def test_without_sessions_there_are_none(sqlite_url: str) -> None:
    """Switching one on must end what came in by one factor, and a token without a session has no end."""
    with pytest.raises(
        ConfigError, match="'totp' needs 'sessions'; take 'sessions' out of disable, or 'totp'"
    ):
        AuthRouter(User, enable=["totp"], disable=["sessions", "refresh"])


def test_without_the_feature_there_is_nothing(sqlite_url: str) -> None:
    """No route, no table, no field, and a rule that would let nobody through is a mistake."""
    base: Any = new_base()

    class Account(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(String(80), unique=True)

    app = new_app(sqlite_url, metadata=base.metadata)
    auth = AuthRouter(Account)
    auth.register_routes(app)
    assert not [name for name in base.metadata.tables if "totp" in name or "recovery" in name]
    with serving(app, auth) as site:
        assert site.client.post("/login/mfa", json={}).status_code == 404
        assert site.client.post("/mfa/totp").status_code == 404
        body = {"username": "ann", "password": PASSWORD, "otp": "123456"}
        answer = site.client.post("/login", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/otp")
    with pytest.raises(ConfigError, match=r"mfa\(\) lets nobody through; write .*enable=\[.totp"):
        auth.mfa()
    with pytest.raises(ConfigError, match="second factors are off"):
        auth.required_factors()


@pytest.mark.parametrize("feature", ["totp", "passkeys", "magic_link"])
def test_a_model_without_a_key_of_its_own(feature: str) -> None:
    """Two columns as a key are the mistake that is told, whatever is switched on."""
    base: Any = new_base()

    class Account(base, JetioAuthMixin):
        shop: Mapped[int] = mapped_column(primary_key=True)
        username: Mapped[str] = mapped_column(String(80), primary_key=True, unique=True)

    auth = AuthRouter(Account, enable=[feature])
    with pytest.raises(ConfigError, match="composite key"):
        auth.register_routes(Jetio(settings=SETTINGS, metadata=base.metadata))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake says which extra to install."""
    feature = Feature(extra="mfa", packages=("a_package_of_no_one",))
    monkeypatch.setitem(FEATURES, "totp", feature)
    with pytest.raises(ConfigError, match=r"'totp' needs packages .* pip install 'jetio\[mfa\]'"):
        features_of(["totp"], [])


def test_the_documentation_tells_of_it(quick: Site) -> None:
    """OpenAPI knows the routes, the code that may come with the password, and no secret."""
    document = quick.app.openapi()
    paths = document["paths"]
    assert {"/login/mfa", "/mfa/totp", "/mfa/totp/confirm", "/mfa/recovery-codes"} <= set(paths)
    assert "otp" in str(paths["/login"]) + str(document["components"]["schemas"].get("LoginWithCode"))


def test_an_account_without_an_address_gets_a_factor(sqlite_url: str) -> None:
    """There is nothing to prove; one that has an address proves it first."""
    base: Any = new_base()
    columns: dict[str, Any] = {
        "username": mapped_column(String(80), unique=True),
        "email": mapped_column(String(80), unique=True),
        "__annotations__": {"username": Mapped[str], "email": Mapped[str | None]},
        "__module__": __name__,
    }
    account = type("Account", (base, JetioAuthMixin, JetioEmailConfirmationMixin), columns)
    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=base.metadata)
    auth = AuthRouter(account, enable=["totp"], mail=NoMailer())
    auth.register_routes(app)
    with serving(app, auth) as site:
        for name, email, status in (("ann", None, 200), ("bob", "bob@example.com", 403)):
            body = {"username": name, "email": email, "password": PASSWORD}
            assert site.client.post("/register", json=body).status_code == 201
            token = site.login(name).json()["access_token"]
            assert site.client.post("/mfa/totp", headers=bearer(token)).status_code == status


def test_nobody_is_asked_twice_for_no_second_factor(quick: Site) -> None:
    """401 with the challenge of RFC 9470 for a login by password, 401 of the usual kind for nobody."""
    answer = quick.person().get("/vault")
    assert refusal(answer) == "mfa_login_required"
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'acr_values="mfa"' in challenge
    assert refusal(quick.client.get("/vault")) == "not_authenticated"
    made = quick.auth.create_token(quick.run(_row, quick))
    assert refusal(quick.client.get("/vault", headers=bearer(made))) == "mfa_login_required"


async def _row(site: Site) -> Any:
    async with site.auth.database.sessions() as session:
        return await session.get(User, 1)
