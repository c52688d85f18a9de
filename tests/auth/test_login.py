"""POST /login: what it reads, whom it knows, and that every refusal is alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from passlib.hash import pbkdf2_sha256
from sqlalchemy import insert, select

from jetio import Settings
from jetio_auth import AuthRouter, Lockout
from jetio_auth.passwords import Passwords
from jetio_auth.sessions import Device
from tests.auth.forum import PASSWORD, Person, Site, User, new_app, serving

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATIENT = Lockout(address_failures=100_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The forum, patient with addresses: all of these tests come from one."""
    app = new_app(f"sqlite:///{tmp_path_factory.mktemp('site')}/forum.db")
    auth = AuthRouter(User, lockout=PATIENT)
    auth.register_routes(app)
    with serving(app, auth) as site:
        yield site


@pytest.fixture(scope="module")
def alice(site: Site) -> Person:
    """An account that stays."""
    return site.person("alice")


async def add(site: Site, name: str, hashed: str, **fields: Any) -> None:
    """An account as another system left it."""
    async with site.app.database.sessions() as session:
        values = {"username": name, "email": f"{name}@old.example.com", "hashed_password": hashed, **fields}
        await session.execute(insert(User).values(values))
        await session.commit()


async def stored(site: Site, name: str) -> str:
    """The stored hash of an account."""
    async with site.app.database.sessions() as session:
        found = await session.scalar(select(User.hashed_password).where(User.username == name))
        return str(found)


def post(site: Site, raw: str | bytes, content_type: str | None = "application/json") -> Any:
    """A login of exactly these bytes."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    return site.client.post("/login", content=raw, headers=headers)


def errors_of(answer: Any) -> set[tuple[str, str]]:
    """The fields of a 422 and what is wrong with them."""
    assert answer.status_code == 422, answer.text
    return {(entry["pointer"], entry["code"]) for entry in answer.json()["errors"]}


# ---- what it reads -----------------------------------------------------------------------------------------

PAIR = {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}


def test_json_and_form_by_username_and_email(site: Site, alice: Person) -> None:
    """One route takes JSON and the OAuth2 form; `username` may be either name, `email` only the email."""
    email = f"{alice.username}@example.com"
    for fields in ({"username": alice.username}, {"username": email}, {"email": email}):
        body = {**fields, "password": PASSWORD}
        for answer in (site.client.post("/login", json=body), site.client.post("/login", data=body)):
            assert answer.status_code == 200
            assert answer.json().keys() == PAIR
            assert answer.headers["cache-control"] == "no-store"
    wrong = site.client.post("/login", json={"email": alice.username, "password": PASSWORD})
    assert wrong.status_code == 401


def test_the_form_of_oauth2_tools(site: Site, alice: Person) -> None:
    """The fields that the password flow adds are accepted; the client's own credential is ignored."""
    body = {"grant_type": "password", "username": alice.username, "password": PASSWORD, "scope": ""}
    headers = {"Authorization": "Basic Og=="}
    answer = site.client.post("/login", data={**body, "client_id": "", "client_secret": ""}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {("/password", "missing")}),
        ({"password": "x"}, {("/username", "missing")}),
        ({"username": "a", "email": "b", "password": "x"}, {("/username", "missing"), ("/email", "missing")}),
        ({"username": 7, "password": "x"}, {("/username", "string_type")}),
        ({"username": "a", "password": None}, {("/password", "string_type")}),
        ({"username": "a", "password": "x", "admin": True}, {("/admin", "unknown_field")}),
        ([], {("", "model_type")}),
        ("a", {("", "model_type")}),
    ],
)
def test_bodies_that_say_too_little_or_too_much(site: Site, body: Any, errors: Any) -> None:
    """Exactly one name and a password, as text; anything else is a 422 that names the field."""
    assert errors_of(site.client.post("/login", json=body)) == errors


def test_a_misspelt_field_is_told(site: Site) -> None:
    """An unknown field is compared with the known ones."""
    answer = site.client.post("/login", json={"usrname": "a", "password": "x"})
    assert "did you mean 'username'?" in answer.text


@pytest.mark.parametrize(
    ("raw", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "bad_json"),
        (b"", "application/json", 400, "bad_json"),
        (b"\xff", "application/json", 400, "bad_json"),
        (b'{"username":"\\ud800","password":"x"}', "application/json", 400, "bad_json"),
        (b'{"username":"a","username":"b","password":"x"}', "application/json", 400, "bad_json"),
        (b'{"username":"a\\u0000","password":"x"}', "application/json", 400, "bad_request"),
        (b'{"username":"a","password":"x\\u0000"}', "application/json", 400, "bad_request"),
        (b"[" * 10_000, "application/json", 400, "bad_json"),
        (b'{"username":"a","password":"%s"}' % (b"x" * 17_000), "application/json", 413, "content_too_large"),
        (b"username=a&password=" + b"x" * 17_000, FORM["Content-Type"], 413, "content_too_large"),
        (b"username=a&username=b&password=x", FORM["Content-Type"], 422, "validation"),
        (b"username=%ff&password=x", FORM["Content-Type"], 422, "validation"),
        (b"username=\xe9&password=x", FORM["Content-Type"], 422, "validation"),
        (b"username=a%00&password=x", FORM["Content-Type"], 400, "bad_request"),
        (b"&".join(b"f%d=1" % number for number in range(30)), FORM["Content-Type"], 422, "validation"),
        (b"username=a", FORM["Content-Type"], 422, "validation"),
        (b"a,b", "text/csv", 415, "unsupported_media_type"),
        (b"{}", None, 415, "unsupported_media_type"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported_media_type"),
        (b"--x--", "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
    ],
)
def test_hostile_bodies(site: Site, raw: bytes, content_type: str | None, status: int, code: str) -> None:
    """A body that is no login is a 4xx with its code; nothing of it is repeated."""
    answer = post(site, raw, content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "xxx" not in answer.text


def test_names_that_no_database_holds(site: Site) -> None:
    """Very long names, and half surrogates that arrive by other ways, are unknown names."""
    assert site.login("x" * 16_000).status_code == 401
    assert site.login("e\u0301" * 3_000).status_code == 401
    found = site.run(site.auth.accounts._find, "\ud800", "\ud800", None)
    assert found is None


# ---- whom it knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["{0}", "{1}", "  {0}\t", "\u3000{1}\u00a0", "{2}"])
def test_a_name_has_one_canonical_form(site: Site, alice: Person, spelling: str) -> None:
    """Case, width and outer spaces of a name do not matter."""
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in alice.username.upper())
    assert site.login(spelling.format(alice.username, alice.username.upper(), wide)).status_code == 200


def test_a_name_from_before(site: Site) -> None:
    """An account whose stored name is not canonical is found as it was typed; a canonical one goes first."""
    hashed = Passwords(4).hash_now
    site.run(add, site, "OldTimer", hashed("the first password"))
    assert site.login("OldTimer", "the first password").status_code == 200
    assert site.login("oldtimer", "the first password").status_code == 401
    site.run(add, site, "oldtimer", hashed("the second password"), email="second@example.com")
    assert site.login("OldTimer", "the first password").status_code == 401
    assert site.login("OldTimer", "the second password").status_code == 200


def test_a_username_that_is_anothers_email(site: Site) -> None:
    """An address is its owner's: a username that imitates it captures no login."""
    hashed = Passwords(4).hash_now
    site.run(add, site, "shared@example.com", hashed("by the username"))
    site.run(add, site, "somebody", hashed("by the email"), email="shared@example.com")
    assert site.login("shared@example.com", "by the email").status_code == 200
    assert site.login("shared@example.com", "by the username").status_code == 401
    answer = site.client.post("/login", json={"email": "shared@example.com", "password": "by the email"})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["pbkdf2", "cheap"])
def test_an_outdated_hash_is_renewed(site: Site, kind: str) -> None:
    """A hash of another kind is replaced by bcrypt at login; the token of that login is good."""
    old = pbkdf2_sha256.using(rounds=1000).hash(PASSWORD)
    name = f"renewed{kind}"
    if kind == "cheap":
        old = Passwords(4).hash_now(PASSWORD)
    site.run(add, site, name, old)
    token = site.login(name).json()["access_token"]
    assert site.client.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    renewed = site.run(stored, site, name)
    assert renewed.startswith("$2b$")
    assert (renewed == old) is (kind == "cheap")  # its cost is what this application uses
    assert site.login(name).status_code == 200
    assert site.run(stored, site, name) == renewed


def test_a_cheap_hash_is_renewed(sqlite_url: str) -> None:
    """Outside of tests a bcrypt hash of less than cost 12 is replaced by one of 12."""
    app = new_app(
        sqlite_url, settings=Settings(env="development", secret_key="k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA")
    )
    auth = AuthRouter(User)
    auth.register_routes(app)
    with serving(app, auth) as site:
        site.run(add, site, "bob", Passwords(4).hash_now(PASSWORD))
        assert site.login("bob").status_code == 200
        assert site.run(stored, site, "bob").startswith("$2b$12$")


def test_a_hash_that_changed_meanwhile_is_left(site: Site) -> None:
    """Renewing a hash never undoes a change of the password that came between."""
    site.run(add, site, "racer", Passwords(4).hash_now(PASSWORD))
    found = site.run(site.auth.accounts.authenticate, "racer", PASSWORD, Device())
    account = {**found, "hashed_password": "earlier"}
    site.run(site.auth.accounts._renew, account, "newer")
    assert account["hashed_password"] == "earlier"
    assert site.login("racer").status_code == 200


# ---- alike -------------------------------------------------------------------------------------------------


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of bcrypt that are done from here on, one entry for each hash."""
    done: list[int] = []
    real = bcrypt.hashpw

    def counted(password: bytes, salt: bytes) -> bytes:
        hashed = real(password, salt)  # raises, at no cost, for what it cannot hash
        done.append(1 << int(salt.split(b"$")[2]))
        return hashed

    monkeypatch.setattr(bcrypt, "hashpw", counted)
    return done


def test_refusals_are_alike(site: Site, alice: Person, work: list[int]) -> None:
    """Unknown name, wrong password and disabled account: one text, one amount of work."""
    off = site.person("off")
    old = "oldoff"
    site.run(add, site, old, pbkdf2_sha256.using(rounds=1000).hash(PASSWORD), is_active=False)
    site.change(off, is_active=False)
    attempts = [
        ("nobody", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("a\u200bb", PASSWORD),
        (alice.username, "wrong password"),
        (alice.username, ""),
        (alice.username, "x" * 100),
        (off.username, PASSWORD),
        (off.username, "wrong password"),
        (old, PASSWORD),
    ]
    texts, amounts = set(), set()
    for name, password in attempts:
        work.clear()
        answer = site.login(name, password)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        document = answer.json()
        document.pop("request_id")
        texts.add(str(document))
        amounts.add(sum(work))
    assert len(texts) == 1
    assert amounts == {1 << 4}


def test_the_name_of_a_disabled_account_costs_no_renewal(site: Site, work: list[int]) -> None:
    """The right password of a disabled account with an outdated hash does not show by a second hash."""
    site.run(add, site, "sleeper", pbkdf2_sha256.using(rounds=1000).hash(PASSWORD), is_active=False)
    work.clear()
    assert site.login("sleeper").status_code == 401
    assert sum(work) == 1 << 4
