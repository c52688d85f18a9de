"""Passkeys: made, used and taken away, on every database; each thing that may be wrong with one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pyotp
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from jetio import ConfigError, Jetio, Principal, Problem, Settings
from jetio_auth import AuthRouter, JWTConfig, Lockout, Mail, PasskeySettings
from jetio_auth.factors.passkey_settings import place_of
from jetio_auth.mail.mailers import NoMailer
from jetio_auth.passwords import Passwords
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, call, new_app, serving
from tests.auth.post import Outbox, club
from tests.auth.soft_key import PRESENT, VERIFIED, SoftKey, encode
from tests.auth.test_factors import switch_on

OPEN = Lockout(address_failures=1000)
LOGIN, REGISTER = "/passkeys/login", "/passkeys/register"


@contextmanager
def new_site(url: str, **options: Any) -> Iterator[Site]:
    app = new_app(url)
    auth = AuthRouter(User, **{"enable": ["passkeys"], "lockout": OPEN, **options})
    auth.register_routes(app)

    @app.get("/vault", policy=auth.mfa())
    async def vault(principal: Principal) -> dict[str, Any]:
        return {"id": principal.id, "amr": principal.claims["amr"]}

    with serving(app, auth) as site:
        yield site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum on every database, with passkeys."""
    with new_site(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The forum on SQLite, where the database does not matter."""
    with new_site(sqlite_url) as site:
        yield site


def new_key(person: Person, name: str = "phone") -> tuple[SoftKey, str]:
    """A passkey of somebody, and its id in the list."""
    key = SoftKey()
    options = person.post(f"{REGISTER}/options").json()
    answer = person.post(f"{REGISTER}/verify", {"credential": key.make(options), "name": name})
    assert answer.status_code == 201, answer.text
    return key, answer.json()["id"]


def log_in(site: Site, key: SoftKey, **odd: Any) -> Any:
    options = site.client.post(f"{LOGIN}/options").json()
    return site.client.post(f"{LOGIN}/verify", json={"credential": key.answer(options, **odd)})


def refusal(answer: Any, status: int = 401) -> str:
    assert answer.status_code == status, answer.text
    code: str = answer.json()["code"]
    return code


def events(site: Site, name: str) -> list[Any]:
    return list(site.run(site.auth.events.list, 0, 100, {"name": name}))


# ---- making and using one ----------------------------------------------------------------------------------


def test_a_login_without_name_and_password(site: Site) -> None:
    """A passkey says whose it is, and counts as two factors."""
    person = site.person()
    key, number = new_key(person)
    answer = log_in(site, key)
    assert answer.headers["cache-control"] == "no-store"
    headers = bearer(answer.json()["access_token"])
    assert site.client.get("/vault", headers=headers).json() == {
        "id": person.id,
        "amr": ["hwk", "user", "mfa"],
    }
    [shown] = person.get("/passkeys").json()
    assert (shown["id"], shown["name"], shown["backed_up"]) == (number, "phone", False)
    assert shown["last_used_at"] is not None
    current = [item for item in site.client.get("/sessions", headers=headers).json() if item["current"]]
    assert current[0]["method"] == "passkey"
    assert log_in(site, key).status_code == 200
    assert events(site, "passkey.added")[0].user_id == str(person.id)


def test_the_options_ask_for_what_is_needed(quick: Site) -> None:
    """A discoverable credential, unlocked by its owner, on our domain; those for a login name nobody."""
    person = quick.person()
    first, _ = new_key(person)
    options = person.post(f"{REGISTER}/options").json()
    assert options["rp"] == {"name": "Jetio", "id": "localhost"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert options["user"]["name"] == person.username
    assert options["user"]["id"] == first.handle
    assert [item["id"] for item in options["excludeCredentials"]] == [encode(first.credential)]
    assert person.username not in options["user"]["id"]
    login = quick.client.post(f"{LOGIN}/options").json()
    assert login["rpId"] == "localhost"
    assert login["userVerification"] == "required"
    assert not login.get("allowCredentials")
    assert login["challenge"] != quick.client.post(f"{LOGIN}/options").json()["challenge"]


def test_the_host_header_changes_nothing(quick: Site) -> None:
    """Domain and origins are configured: another Host neither asks for nor accepts another place."""
    person = quick.person()
    key, _ = new_key(person)
    host = {"Host": "evil.example:8000"}
    options = quick.client.post(f"{LOGIN}/options", headers=host).json()
    assert options["rpId"] == "localhost"
    answer = key.answer(options, origin="http://evil.example:8000")
    body = {"credential": answer}
    assert refusal(quick.client.post(f"{LOGIN}/verify", json=body, headers=host)) == "passkey_refused"


# ---- what is refused ---------------------------------------------------------------------------------------

ODD: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "http://localhost:8001"},
    "a page below": {"origin": "http://localhost:8000.evil.example"},
    "another domain": {"rp_id": "evil.example"},
    "no verification": {"flags": PRESENT},
    "no presence": {"flags": VERIFIED},
    "another challenge": {"challenge": encode(b"x" * 32)},
    "another ceremony": {"type": "webauthn.other"},
    "a frame of somebody": {"cross": True},
    "no challenge": {"challenge": None},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_makes_no_passkey(quick: Site, odd: dict[str, Any]) -> None:
    """403 for each thing that is wrong, and nothing is kept."""
    person = quick.person()
    options = person.post(f"{REGISTER}/options").json()
    answer = person.post(f"{REGISTER}/verify", {"credential": SoftKey().make(options, **odd)})
    assert refusal(answer, 403) == "passkey_refused"
    assert person.get("/passkeys").json() == []


@pytest.mark.parametrize(
    "odd",
    [
        *ODD.values(),
        {"pair": ec.generate_private_key(ec.SECP256R1())},
        {"handle": encode(b"another")},
        {"handle": None},
        {"counter": 0},
    ],
    ids=[*ODD, "another key", "another account", "no account", "an old counter"],
)
def test_an_odd_answer_logs_nobody_in(quick: Site, odd: dict[str, Any]) -> None:
    """401, the same for each; the failure is an event."""
    person = quick.person()
    key, _ = new_key(person)
    assert log_in(quick, key).status_code == 200
    assert refusal(log_in(quick, key, **odd)) == "passkey_refused"
    assert len(events(quick, "passkey.failed")) == 1
    assert log_in(quick, key, counter=5).status_code == 200


@pytest.mark.parametrize(
    "part", ["clientDataJSON", "authenticatorData", "signature", "userHandle", "id", "rawId"]
)
def test_damaged_answers_are_refused(quick: Site, part: str) -> None:
    """Whatever stands there in the place of base64url, it is a refusal and no failure of ours."""
    key, _ = new_key(quick.person())
    for damage in ("", "!", "AAAA", "\u0000", "ä", encode(b"[]"), encode(b"null"), encode(b"[" * 9000)):
        options = quick.client.post(f"{LOGIN}/options").json()
        credential = key.answer(options)
        place = credential if part in credential else credential["response"]
        place[part] = damage
        answer = quick.client.post(f"{LOGIN}/verify", json={"credential": credential})
        assert answer.status_code in (400, 401, 422), (damage, answer.text)


def test_an_attestation_of_nonsense_is_refused(quick: Site) -> None:
    """So it is where a passkey is made."""
    person = quick.person()
    for damage in ("", "!", "AAAA", encode(b"\xa1"), encode(b"\xff" * 500)):
        credential = SoftKey().make(person.post(f"{REGISTER}/options").json())
        credential["response"]["attestationObject"] = damage
        assert person.post(f"{REGISTER}/verify", {"credential": credential}).status_code == 403


def test_a_challenge_is_good_once(site: Site) -> None:
    """For both ceremonies, and not for the other one, nor for another account."""
    person, other = site.person(), site.person()
    key = SoftKey()
    options = person.post(f"{REGISTER}/options").json()
    made = {"credential": key.make(options)}
    assert refusal(other.post(f"{REGISTER}/verify", made), 403) == "passkey_refused"
    assert person.post(f"{REGISTER}/verify", made).status_code == 201
    assert refusal(person.post(f"{REGISTER}/verify", made), 403) == "passkey_refused"
    login = site.client.post(f"{LOGIN}/options").json()
    body = {"credential": key.answer(login)}
    assert site.client.post(f"{LOGIN}/verify", json=body).status_code == 200
    body = {"credential": key.answer(login)}
    assert refusal(site.client.post(f"{LOGIN}/verify", json=body)) == "passkey_refused"
    crossed = {"rpId": "localhost", "challenge": person.post(f"{REGISTER}/options").json()["challenge"]}
    body = {"credential": key.answer(crossed)}
    assert refusal(site.client.post(f"{LOGIN}/verify", json=body)) == "passkey_refused"


def test_a_challenge_lives_five_minutes(quick: Site) -> None:
    """Then it has to be begun again."""
    with time_machine.travel(time.time(), tick=False) as clock:
        key, _ = new_key(quick.person())
        options = quick.client.post(f"{LOGIN}/options").json()
        clock.shift(timedelta(seconds=300))
        answer = quick.client.post(f"{LOGIN}/verify", json={"credential": key.answer(options)})
        assert refusal(answer) == "passkey_refused"
        quick.client.post(f"{LOGIN}/options")
        assert quick.run(_count, quick, "passkey_challenges") == 1


async def _count(site: Site, table: str) -> Any:
    async with site.app.database.sessions() as session:
        statement = f"SELECT count(*) FROM jetio_auth_users_{table}"  # noqa: S608
        return await session.scalar(text(statement))


async def test_of_many_at_once_one_answer_logs_in(database_url: str) -> None:
    """Parallel requests with one answer: one login. Without a counter, too."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["passkeys"], lockout=OPEN)
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        _, headers, _ = await _racer(app)
        key = SoftKey()
        options = json.loads((await call(app, "POST", f"{REGISTER}/options", headers=headers)).body)
        body = {"credential": key.make(options)}
        answers = await asyncio.gather(
            *[call(app, "POST", f"{REGISTER}/verify", body, headers=headers) for _ in range(5)]
        )
        assert sorted(answer.status for answer in answers) == [201, *[403] * 4]
        for counter in (0, 3):
            options = json.loads((await call(app, "POST", f"{LOGIN}/options")).body)
            body = {"credential": key.answer(options, counter=counter)}
            answers = await asyncio.gather(*[call(app, "POST", f"{LOGIN}/verify", body) for _ in range(5)])
            assert sorted(answer.status for answer in answers) == [200, *[401] * 4]


def test_a_passkey_belongs_to_one_account(quick: Site) -> None:
    """A credential that is known cannot be made again, by nobody."""
    ann, bob = quick.person(), quick.person()
    key, _ = new_key(ann)
    for person in (ann, bob):
        copy = SoftKey()
        copy.credential = key.credential
        body = {"credential": copy.make(person.post(f"{REGISTER}/options").json())}
        assert refusal(person.post(f"{REGISTER}/verify", body), 403) == "passkey_refused"
    assert log_in(quick, key).status_code == 200


def test_an_unknown_and_a_disabled_account_are_alike(quick: Site) -> None:
    """No answer tells which passkeys there are."""
    person = quick.person()
    key, _ = new_key(person)
    quick.change(person, is_active=False)
    stranger = SoftKey()
    stranger.handle = key.handle
    disabled, unknown = log_in(quick, key), log_in(quick, stranger)
    kept = ("type", "title", "status", "detail", "code")
    assert [disabled.json()[name] for name in kept] == [unknown.json()[name] for name in kept]
    assert refusal(disabled) == "passkey_refused"


def test_requests_of_one_address_are_throttled(sqlite_url: str) -> None:
    """Failures as for passwords, and a right passkey is no failure; options sixty in a minute."""
    frozen = time_machine.travel(time.time(), tick=False)
    with new_site(sqlite_url, lockout=Lockout(address_failures=4)) as site, frozen:
        key, _ = new_key(site.person())
        for _ in range(6):
            assert log_in(site, key).status_code == 200
        statuses = [log_in(site, SoftKey()).status_code for _ in range(5)]
        assert statuses == [401] * 4 + [429]
        assert log_in(site, key).status_code == 429
        asked = [site.client.post(f"{LOGIN}/options").status_code for _ in range(60)]
        assert asked.count(429) == 12


async def test_a_counter_that_moved_meanwhile_is_a_copys(database_url: str) -> None:
    """Two answers with one count to two challenges, at once or not: one login."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["passkeys"], disable=["refresh", "sessions"], lockout=OPEN)
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        key, headers, number = await _racer(app)
        asked = [
            json.loads((await call(app, "POST", f"{LOGIN}/options", address=None)).body) for _ in range(6)
        ]
        bodies = [{"credential": key.answer(options, counter=9)} for options in asked]
        answers = await asyncio.gather(
            *[call(app, "POST", f"{LOGIN}/verify", body, address=None) for body in bodies]
        )
        assert sorted(answer.status for answer in answers) == [200, *[401] * 5]
        gone = await call(app, "DELETE", f"/passkeys/{number}", headers=headers)
        assert gone.status == 204


async def _racer(app: Jetio) -> tuple[SoftKey, dict[str, str], str]:
    """An account with a passkey, a header of its login by password, and the passkey's id."""
    account = {"username": "racer", "email": "racer@example.com", "password": PASSWORD}
    await call(app, "POST", "/register", account)
    login = await call(app, "POST", "/login", {"username": "racer", "password": PASSWORD})
    headers, key = bearer(json.loads(login.body)["access_token"]), SoftKey()
    options = json.loads((await call(app, "POST", f"{REGISTER}/options", headers=headers)).body)
    body = {"credential": key.make(options)}
    added = await call(app, "POST", f"{REGISTER}/verify", body, headers=headers)
    return key, headers, json.loads(added.body)["id"]


def test_names_are_text_of_any_kind(site: Site) -> None:
    """What a database cannot hold is refused, what it can comes back; an empty name and a long one are 422."""
    person = site.person()
    for name, status in (("\U0001f511 Schlüssel", 201), ("\0", 400), (" ", 422), ("x" * 81, 422)):
        credential = SoftKey().make(person.post(f"{REGISTER}/options").json())
        answer = person.post(f"{REGISTER}/verify", {"credential": credential, "name": name})
        assert answer.status_code == status, answer.text
    assert [item["name"] for item in person.get("/passkeys").json()] == ["\U0001f511 Schlüssel"]


def test_a_throttled_request_is_told(quick: Site) -> None:
    """To whoever listens, and not to the table."""
    heard: list[str] = []
    quick.auth.on("login.throttled", lambda event: heard.append(event.name))
    quick.auth.required_passkeys()._lockout = Lockout(address_failures=1)
    for status in (401, 429):
        assert log_in(quick, SoftKey()).status_code == status
    assert heard == ["login.throttled"]


# ---- the list ----------------------------------------------------------------------------------------------


def test_a_passkey_is_taken_away(site: Site) -> None:
    """By its owner alone; it logs in no more, and all other sessions end."""
    person, other = site.person(), site.person()
    key, number = new_key(person)
    session = log_in(site, key).json()["access_token"]
    assert refusal(other.delete(f"/passkeys/{number}"), 404) == "not_found"
    assert person.delete(f"/passkeys/{number}").status_code == 204
    assert refusal(person.delete(f"/passkeys/{number}"), 404) == "not_found"
    assert refusal(log_in(site, key)) == "passkey_refused"
    assert refusal(site.client.get("/me", headers=bearer(session))) == "token_revoked"
    assert person.get("/me").status_code == 200
    assert events(site, "passkey.removed")[0].detail == {"passkey": number}


def test_the_last_way_in_stays(site: Site) -> None:
    """An account without a password keeps a passkey; the one before the last may go."""
    person = site.person()
    first, number = new_key(person)
    _, second = new_key(person)
    site.change(person, hashed_password=Passwords.unusable())
    headers = bearer(log_in(site, first).json()["access_token"])
    assert site.client.delete(f"/passkeys/{second}", headers=headers).status_code == 204
    answer = site.client.delete(f"/passkeys/{number}", headers=headers)
    assert refusal(answer, 409) == "last_login"
    assert log_in(site, first).status_code == 200


def test_an_authenticator_is_no_way_in(sqlite_url: str) -> None:
    """An account with codes and no password keeps its last passkey: codes alone log nobody in."""
    with new_site(sqlite_url, enable=["passkeys", "totp"]) as site:
        person = site.person()
        key, number = new_key(person)
        switch_on(person)
        site.change(person, hashed_password=Passwords.unusable())
        headers = bearer(log_in(site, key).json()["access_token"])
        answer = site.client.delete(f"/passkeys/{number}", headers=headers)
        assert refusal(answer, 409) == "last_login"
        assert log_in(site, key).status_code == 200


async def test_of_two_that_remove_the_last_two_one_stays(database_url: str) -> None:
    """The account is locked first: the second sees that it would be the last."""
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["passkeys"], lockout=OPEN)
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        account = {"username": "racer", "email": "racer@example.com", "password": PASSWORD}
        await call(app, "POST", "/register", account)
        login = await call(app, "POST", "/login", {"username": "racer", "password": PASSWORD})
        headers = bearer(json.loads(login.body)["access_token"])
        keys, numbers = [SoftKey(), SoftKey()], []
        for key in keys:
            options = json.loads((await call(app, "POST", f"{REGISTER}/options", headers=headers)).body)
            body = {"credential": key.make(options)}
            added = await call(app, "POST", f"{REGISTER}/verify", body, headers=headers)
            numbers.append(json.loads(added.body)["id"])
        async with app.database.sessions() as session:
            await session.execute(text("UPDATE users SET hashed_password = '!none'"))
            await session.commit()
        options = json.loads((await call(app, "POST", f"{LOGIN}/options")).body)
        answer = await call(app, "POST", f"{LOGIN}/verify", {"credential": keys[0].answer(options)})
        headers = bearer(json.loads(answer.body)["access_token"])
        answers = await asyncio.gather(
            *[call(app, "DELETE", f"/passkeys/{number}", headers=headers) for number in numbers]
        )
        assert sorted(answer.status for answer in answers) == [204, 409]


def test_an_account_has_at_most_twenty(quick: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 for one more."""
    monkeypatch.setattr("jetio_auth.factors.passkeys.MOST", 2)
    person = quick.person()
    for _ in range(2):
        new_key(person)
    assert refusal(person.post(f"{REGISTER}/options"), 409) == "too_many_passkeys"


async def test_of_many_that_are_made_at_once_none_is_one_too_many(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that were got before count for nothing; all passkeys call the account by one handle."""
    monkeypatch.setattr("jetio_auth.factors.passkeys.MOST", 3)
    app = new_app(database_url)
    auth = AuthRouter(User, enable=["passkeys"], lockout=OPEN)
    auth.register_routes(app)
    async with app.router.lifespan_context(app):
        account = {"username": "hoarder", "email": "hoarder@example.com", "password": PASSWORD}
        await call(app, "POST", "/register", account)
        login = await call(app, "POST", "/login", {"username": "hoarder", "password": PASSWORD})
        headers = bearer(json.loads(login.body)["access_token"])
        begun = await asyncio.gather(
            *[call(app, "POST", f"{REGISTER}/options", headers=headers) for _ in range(6)]
        )
        keys = [SoftKey() for _ in begun]
        bodies = [
            {"credential": key.make(json.loads(answer.body))} for key, answer in zip(keys, begun, strict=True)
        ]
        assert len({key.handle for key in keys}) == 1
        answers = await asyncio.gather(
            *[call(app, "POST", f"{REGISTER}/verify", body, headers=headers) for body in bodies]
        )
        assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 3
        assert len(json.loads((await call(app, "GET", "/passkeys", headers=headers)).body)) == 3
        [made, *_] = [key for key, answer in zip(keys, answers, strict=True) if answer.status == 201]
        options = json.loads((await call(app, "POST", f"{LOGIN}/options")).body)
        entered = await call(app, "POST", f"{LOGIN}/verify", {"credential": made.answer(options)})
        assert entered.status == 200


def test_a_second_handle_is_refused(quick: Site) -> None:
    """A challenge that calls the account by another name than its passkeys do makes none."""
    person = quick.person()
    options = person.post(f"{REGISTER}/options").json()
    new_key(person)
    statement = text("UPDATE jetio_auth_users_passkeys SET handle = 'another'")

    async def rename() -> None:
        async with quick.app.database.sessions() as session:
            await session.execute(statement)
            await session.commit()

    quick.run(rename)
    answer = person.post(f"{REGISTER}/verify", {"credential": SoftKey().make(options)})
    assert refusal(answer, 403) == "passkey_refused"


def test_an_account_gets_sixty_options_in_a_minute(quick: Site) -> None:
    """Then it is 429; other accounts go on."""
    with time_machine.travel(time.time(), tick=False) as clock:
        person, other = quick.person(), quick.person()
        statuses = [person.post(f"{REGISTER}/options").status_code for _ in range(60)]
        assert statuses == [200] * 60
        assert refusal(person.post(f"{REGISTER}/options"), 429) == "rate_limited"
        assert other.post(f"{REGISTER}/options").status_code == 200
        clock.shift(timedelta(seconds=61))
        assert person.post(f"{REGISTER}/options").status_code == 200


def test_changes_take_a_fresh_login_of_the_owner(quick: Site) -> None:
    """Nobody, and an old login, neither make nor remove a passkey."""
    with time_machine.travel(time.time(), tick=False) as clock:
        person = quick.person()
        _, number = new_key(person)
        body = {"credential": SoftKey().make(person.post(f"{REGISTER}/options").json())}
        clock.shift(timedelta(minutes=15))
        for method, path, given in (
            ("POST", f"{REGISTER}/options", None),
            ("POST", f"{REGISTER}/verify", body),
            ("DELETE", f"/passkeys/{number}", None),
        ):
            assert refusal(person.request(method, path, json=given)) == "fresh_login_required"
            assert refusal(quick.client.request(method, path, json=given)) == "not_authenticated"
        assert refusal(quick.client.get("/passkeys")) == "not_authenticated"


# ---- with others -------------------------------------------------------------------------------------------


def test_a_passkey_is_not_asked_for_a_code(sqlite_url: str) -> None:
    """With an authenticator on, the password alone is not enough and the passkey is."""
    with new_site(sqlite_url, enable=["passkeys", "totp"]) as site:
        person = site.person()
        key, _ = new_key(person)
        secret = person.post("/mfa/totp").json()["secret"]
        code = pyotp.TOTP(secret).now()
        assert person.post("/mfa/totp/confirm", {"code": code}).status_code == 200
        assert refusal(site.login(person.username)) == "mfa_required"
        assert log_in(site, key).status_code == 200


def test_a_browser_logs_in_by_cookies(sqlite_url: str) -> None:
    """And no other site logs it in."""
    jwt = JWTConfig(token_location=["header", "cookie"], cookie_secure=False)
    with new_site(sqlite_url, jwt=jwt) as site:
        key, _ = new_key(site.person())
        site.client.cookies.clear()
        body = {"credential": key.answer(site.client.post(f"{LOGIN}/options").json())}
        foreign = {"Origin": "https://evil.example"}
        assert refusal(site.client.post(f"{LOGIN}/verify", json=body, headers=foreign), 403) == "csrf_failed"
        assert site.client.post(f"{LOGIN}/verify", json=body).status_code == 200
        assert site.client.get("/vault").status_code == 200


def test_conditions_hold_for_passkeys_too(quick: Site) -> None:
    """What refuses logins refuses this one."""

    async def closed(account: Any, device: Any) -> None:
        raise Problem(403, "forbidden", device.method)

    key, _ = new_key(quick.person())
    quick.auth.logins.conditions.append(closed)
    answer = log_in(quick, key)
    assert (answer.status_code, answer.json()["detail"]) == (403, "passkey")


@pytest.mark.parametrize("way", ["magic link", "reset"])
@pytest.mark.parametrize("moved", [True, False])
def test_who_waited_for_the_owner_is_out(sqlite_url: str, way: str, moved: bool) -> None:
    """Passkey and authenticator of somebody who took a stranger's address end when its owner comes by mail.

    Where the address was proved before, they are the owner's and stay.
    """
    outbox = Outbox()
    mail = Mail(mailer=outbox, links={"magic_link": "https://app.example.com/login#{token}"})
    with club(sqlite_url, mail=mail, enable=["passkeys", "totp", "magic_link"]) as site:
        site.outbox = outbox
        site.member("ann")
        person = Person(site.client, 1, "ann", site.login("ann").json()["access_token"])
        key, _ = new_key(person)
        secret = person.post("/mfa/totp", {}).json()["secret"]
        code = {"code": pyotp.TOTP(secret).now()}
        assert person.post("/mfa/totp/confirm", code).status_code == 200
        if moved:
            body = {"email": "owner@example.com"}
            assert person.patch("/members/1", body).status_code == 200
        if way == "reset":
            site.forgot("ann")
            answer = site.reset(outbox.token("password"))
            assert answer.status_code == 204, answer.text
        else:
            site.client.post("/magic-link", json={"identity": "ann"})
            body = {"token": outbox.token("Log in")}
            answer = site.client.post("/magic-link/verify", json=body)
            assert answer.status_code == (200 if moved else 401), answer.text
        assert log_in(site, key).status_code == (401 if moved else 200)
        left = site.run(site.auth.required_factors().state, 1)
        assert left == ((False, 0) if moved else (True, 10))


def test_an_address_that_is_not_proved_gets_no_factor(sqlite_url: str) -> None:
    """Somebody who registers with a stranger's address cannot lock its owner out: neither begin nor finish."""
    mail = Mail(mailer=NoMailer(), links={"magic_link": "https://app.example.com/login#{token}"})
    with club(sqlite_url, mail=mail, enable=["passkeys", "totp", "magic_link"]) as site:
        site.member("ann", confirmed=False)
        person = Person(site.client, 1, "ann", site.login("ann").json()["access_token"])
        passkey: dict[str, Any] = {"id": "x", "rawId": "x", "type": "public-key"}
        passkey |= {"response": {"clientDataJSON": "x", "attestationObject": "x"}}
        for path, body in (
            ("/mfa/totp", {}),
            ("/mfa/totp/confirm", {"code": "123456"}),
            (f"{REGISTER}/options", {}),
            (f"{REGISTER}/verify", {"credential": passkey}),
        ):
            answer = person.post(path, body)
            assert (answer.status_code, answer.json()["code"]) == (403, "email_not_verified"), path


def test_without_the_feature_there_is_nothing(sqlite_url: str) -> None:
    """No route."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    with serving(app, auth) as site:
        assert site.client.post(f"{LOGIN}/options").status_code == 404
    with pytest.raises(ConfigError, match="passkeys are off"):
        auth.required_passkeys()


# ---- where they belong -------------------------------------------------------------------------------------


def test_the_domain_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an argument, by DOMAIN, and on a developer's machine by the port."""
    given = PasskeySettings(rp_id="example.com", origins=["https://app.example.com", "https://example.com"])
    assert place_of(given, Settings(env="production")) is given
    monkeypatch.delenv("DOMAIN", raising=False)
    place = place_of(None, Settings(env="development", port=8123))
    assert (place.rp_id, list(place.origins)) == ("localhost", ["http://localhost:8123"])
    for told, origin in (
        ("https://app.example.com", "https://app.example.com"),
        ("app.example.com", "https://app.example.com"),
        ("https://app.example.com:8443/", "https://app.example.com:8443"),
    ):
        monkeypatch.setenv("DOMAIN", told)
        place = place_of(None, Settings(env="production"))
        assert (place.rp_id, list(place.origins)) == ("app.example.com", [origin])


def test_production_wants_a_domain(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is refused without one, and with one that is none."""
    settings = Settings(env="production", secret_key="k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA")
    for told, sentence in ((None, "set DOMAIN"), ("ftp://x", "DOMAIN is no address")):
        if told is None:
            monkeypatch.delenv("DOMAIN", raising=False)
        else:
            monkeypatch.setenv("DOMAIN", told)
        app = new_app(sqlite_url, settings=settings)
        AuthRouter(User, enable=["passkeys"]).register_routes(app)
        with pytest.raises(ConfigError, match=sentence):
            app.check()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rp_id": "https://example.com", "origins": ["https://example.com"]}, "is no domain"),
        ({"rp_id": "", "origins": ["https://example.com"]}, "is no domain"),
        ({"rp_id": "example.com", "origins": "https://example.com"}, "takes a list"),
        ({"rp_id": "example.com", "origins": []}, "takes a list"),
        ({"rp_id": "example.com", "origins": ["http://example.com"]}, "is no address of pages"),
        ({"rp_id": "example.com", "origins": ["https://example.com/path"]}, "is no address of pages"),
        ({"rp_id": "example.com", "origins": ["https://[example.com"]}, "is no address of pages"),
        ({"rp_id": "example.com", "origins": ["ftp://example.com"]}, "is no address of pages"),
        ({"rp_id": "example.com", "origins": ["https://ann@example.com"]}, "is no address of pages"),
        ({"rp_id": "example.com", "origins": ["https://badexample.com"]}, "is not on"),
        ({"rp_id": "app.example.com", "origins": ["https://example.com"]}, "is not on"),
    ],
)
def test_mistakes_in_the_domain(given: dict[str, Any], sentence: str) -> None:
    """Each says what to write instead."""
    with pytest.raises(ConfigError, match=sentence):
        PasskeySettings(**given)


def test_settings_switch_passkeys_on(sqlite_url: str) -> None:
    """And are nothing without accounts."""
    settings = PasskeySettings(rp_id="localhost", origins=["http://localhost:8000"], name="Vaults")
    with new_site(sqlite_url, enable=[], passkeys=settings) as site:
        assert site.person().post(f"{REGISTER}/options").json()["rp"]["name"] == "Vaults"
