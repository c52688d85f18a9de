"""Who is calling: every credential that is not good is 401, and a good one ends with its account."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from jose import jws
from sqlalchemy import JSON, delete, insert, update
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Depends, Jetio, Principal
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig, create_access_token, decode_access_token
from jetio_auth.backends import jwt as module
from jetio_auth.jwt import TokenError
from jetio_auth.passwords import Passwords
from tests.auth.forum import (
    PASSWORD,
    SETTINGS,
    Note,
    Person,
    Post,
    Site,
    User,
    bearer,
    new_app,
    new_base,
    serving,
)

KEY = "7Gm0nX2rTq9Lw4Zc8Vb1Ys6Kd3Hf5Jp0Qa7We2Ru9"
OTHER = "Pz4Lk8Vn2Xc6Bm0Aq5Sw9Ed3Rf7Tg1Yh6Uj4Ik8Ol"
INVALID = 'Bearer error="invalid_token"'


def new_site(database_url: str, **options: Any) -> tuple[Jetio, AuthRouter]:
    """A forum with a secured router, an open one, and handlers that ask who is calling."""
    app = new_app(database_url)
    auth = AuthRouter(User, jwt=JWTConfig(secret_key=KEY), **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(Post, secure=True).register_routes(app)
    CrudRouter(Note).register_routes(app)

    @app.get("/whoami")
    async def whoami(principal: Principal | None) -> dict[str, Any]:
        return {"name": principal.username if principal is not None else None}

    @app.get("/row")
    async def row(user: User = Depends(auth.get_auth_dependency())) -> dict[str, Any]:  # noqa: B008 - as users do
        return {"name": user.username}

    @app.get("/open-row")
    async def open_row(user: User | None = Depends(auth.public())) -> dict[str, Any]:  # noqa: B008 - as users do
        return {"found": user is not None}

    return app, auth


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The forum on SQLite."""
    with serving(*new_site(f"sqlite:///{tmp_path_factory.mktemp('site')}/forum.db")) as site:
        yield site


@pytest.fixture(scope="module")
def alice(site: Site) -> Person:
    """An account that stays."""
    return site.person("alice")


def claims_of(person: Person) -> dict[str, Any]:
    """The claims of a person's token."""
    claims: dict[str, Any] = json.loads(jws.get_unverified_claims(person.token))
    return claims


def forged(
    person: Person, *, key: str = KEY, algorithm: str = "HS256", header: Any = None, **changed: Any
) -> str:
    """The person's token with other claims (None takes one away), signed again."""
    claims = {name: value for name, value in (claims_of(person) | changed).items() if value is not None}
    token: str = jws.sign(json.dumps(claims).encode(), key, headers=header, algorithm=algorithm)
    return token


def unsigned(person: Person) -> str:
    """The person's claims under `alg: none`."""
    _, claims, _ = person.token.split(".")
    return f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."


def refusal(answer: Any) -> tuple[int, str, str]:
    """The status, the code and the challenge of an answer, which is a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]


# ---- headers -----------------------------------------------------------------------------------------------


def test_no_credential(site: Site) -> None:
    """Without a credential the challenge is plain and the detail says what is missing."""
    answer = site.client.get("/posts")
    assert refusal(answer) == (401, "not_authenticated", "Bearer")
    assert answer.json()["detail"] == "Missing or invalid Authorization header"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer    ",
        b"Basic YWxpY2U6c2VjcmV0",
        b"Token {token}",
        b"{token}",
        b"Bearer{token}",
        b"Bearer {token} {token}",
        b"Bearer {token},{token}",
        b"Bearer \xff\xfe\xe9",
        b"Bearer " + b"a" * 10_000,
        b"Bearer " + b"a.b.c",
        b"Bearer {token}\xa0x",
    ],
)
def test_headers_that_are_no_bearer_token(site: Site, alice: Person, header: bytes) -> None:
    """A header that is something else is 401, also where nobody had to log in."""
    value = header.replace(b"{token}", alice.token.encode())
    for path in ("/posts", "/whoami", "/me", "/row"):
        answer = site.client.get(path, headers={b"Authorization": value})
        assert refusal(answer) == (401, "not_authenticated", INVALID)


def test_two_credentials(site: Site, alice: Person) -> None:
    """A credential that stands twice is refused, also when both are good."""
    headers = [("Authorization", f"Bearer {alice.token}"), ("authorization", f"Bearer {alice.token}")]
    assert refusal(site.client.get("/posts", headers=headers)) == (401, "not_authenticated", INVALID)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_has_no_case(site: Site, alice: Person, scheme: str) -> None:
    """The scheme is compared without case, and more than one space may follow it (RFC 9110, 11.1)."""
    answer = site.client.get("/me", headers={"Authorization": f"{scheme} {alice.token}"})
    assert answer.json()["username"] == alice.username


# ---- tokens ------------------------------------------------------------------------------------------------

HOSTILE: dict[str, Callable[[Person], str]] = {
    "alg none": unsigned,
    "other key": lambda alice: forged(alice, key=OTHER),
    "other algorithm": lambda alice: forged(alice, algorithm="HS512"),
    "refresh token": lambda alice: forged(alice, typ="refresh"),
    "no kind": lambda alice: forged(alice, typ=None),
    "header typ": lambda alice: forged(alice, header={"typ": "rt+jwt"}),
    "critical extension": lambda alice: forged(alice, header={"crit": ["b64"], "b64": True}),
    "unknown key name": lambda alice: forged(alice, header={"kid": "7"}),
    "no subject": lambda alice: forged(alice, sub=None),
    "number as subject": lambda alice: forged(alice, sub=alice.id),
    "no expiry": lambda alice: forged(alice, exp=None),
    "text as expiry": lambda alice: forged(alice, exp="tomorrow"),
    "endless expiry": lambda alice: forged(alice, exp=float("inf")),
    "no number": lambda alice: forged(alice, jti=None),
    "no beginning": lambda alice: forged(alice, iat=None),
    "from the future": lambda alice: forged(alice, iat=int(time.time()) + 600),
    "not yet": lambda alice: forged(alice, nbf=int(time.time()) + 600),
    "other issuer": lambda alice: forged(alice, iss="somebody"),
    "other audience": lambda alice: forged(alice, aud="somebody"),
    "changed claims": lambda alice: alice.token.replace(".", ".e30", 1),
    "cut": lambda alice: alice.token[:-1],
    "lengthened": lambda alice: alice.token + "A",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tokens(site: Site, alice: Person, kind: str) -> None:
    """A token that is not exactly one of ours is 401 `not_authenticated`, and says no more than that."""
    token = HOSTILE[kind](alice)
    for path in ("/posts", "/whoami"):
        answer = site.client.get(path, headers=bearer(token))
        assert refusal(answer) == (401, "not_authenticated", INVALID)
        assert answer.json()["detail"] == "The access token is not valid"


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": "999999"},
        {"sub": "-1"},
        {"sub": "99999999999999999999999999"},
        {"sub": "alice"},
        {"sub": "1 OR 1=1"},
        {"epoch": None},
        {"epoch": "0" * 16},
        {"epoch": 7},
        {"epoch": ["x"]},
        {"epoch": "\ud800"},
    ],
)
def test_tokens_of_no_account(site: Site, alice: Person, changed: dict[str, Any]) -> None:
    """A signed token that names no account, or not in its present state, is 401 `token_revoked`."""
    answer = site.client.get("/posts", headers=bearer(forged(alice, **changed)))
    assert refusal(answer) == (401, "token_revoked", INVALID)


def test_an_expired_token(site: Site) -> None:
    """After its time, and five seconds for clocks that differ, a token is 401 `token_expired`."""
    with time_machine.travel(time.time(), tick=False) as clock:
        bob = site.person("bob")
        clock.shift(timedelta(seconds=3604))
        assert bob.get("/me").status_code == 200
        clock.shift(timedelta(seconds=1))
        for path in ("/me", "/posts", "/whoami"):
            assert refusal(bob.get(path)) == (401, "token_expired", INVALID)


def test_a_remembered_token(site: Site, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was verified before expires all the same; how many are remembered is bounded."""
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    row = site.run(_load, site, alice)
    tokens = [site.auth.create_token(row, extra_claims={"n": n}, expires_in=60) for n in range(5)]
    assert {site.client.get("/me", headers=bearer(token)).status_code for token in tokens * 2} == {200}
    with time_machine.travel(time.time() + 70, tick=False):
        assert {site.client.get("/me", headers=bearer(token)).json()["code"] for token in tokens} == {
            "token_expired"
        }


async def _load(site: Site, person: Person) -> Any:
    async with site.app.database.sessions() as session:
        return await session.get(User, person.id)


async def _execute(site: Site, statement: Any) -> None:
    async with site.app.database.sessions() as session:
        await session.execute(statement)
        await session.commit()


def test_a_token_ends_with_its_account(site: Site) -> None:
    """After deletion a token is revoked; it does not pass to a new account with the same id and name."""
    bob = site.person("bob")
    site.run(_execute, site, delete(User).where(User.id == bob.id))
    assert refusal(bob.get("/me")) == (401, "token_revoked", INVALID)
    hashed = Passwords(4).hash_now(PASSWORD)
    again = {"id": bob.id, "username": bob.username, "email": "b@example.com", "hashed_password": hashed}
    site.run(_execute, site, insert(User).values(again))
    assert refusal(bob.get("/me")) == (401, "token_revoked", INVALID)
    assert site.login(bob.username).status_code == 200


def test_a_token_ends_with_the_password(site: Site) -> None:
    """A changed password revokes every token from before."""
    bob = site.person("bob")
    site.change(bob, hashed_password=Passwords(4).hash_now("another password"))
    assert refusal(bob.get("/me")) == (401, "token_revoked", INVALID)
    assert site.login(bob.username).status_code == 401
    assert site.login(bob.username, "another password").status_code == 200


def test_a_disabled_account(site: Site) -> None:
    """While an account is disabled its tokens are revoked and it cannot log in; afterwards both work."""
    bob = site.person("bob")
    site.change(bob, is_active=False)
    assert refusal(bob.get("/me")) == (401, "token_revoked", INVALID)
    assert site.login(bob.username).json()["code"] == "invalid_credentials"
    site.change(bob, is_active=True)
    assert bob.get("/me").status_code == 200


def test_promotion_and_demotion_count_at_once(site: Site) -> None:
    """Rights are read from the account, not from the token."""
    bob = site.person("bob")
    root = site.admin()
    for flag, status in ((True, 200), (False, 403)):
        site.change(bob, is_admin=flag)
        assert bob.post(f"/admin/{root.id}/make-admin").status_code == status


def test_the_callers_row(site: Site, alice: Person) -> None:
    """Depends on the auth dependency gives the caller's row; an optional principal is None for nobody."""
    assert alice.get("/row").json() == {"name": alice.username}
    assert alice.get("/whoami").json() == {"name": alice.username}
    assert site.client.get("/whoami").json() == {"name": None}
    assert alice.get("/open-row").json() == {"found": True}
    assert site.client.get("/open-row").json() == {"found": False}


def test_an_open_route_asks_nobody(site: Site) -> None:
    """Where no rule asks who is calling, a credential is not looked at."""
    assert site.client.get("/notes", headers=bearer("rubbish")).status_code == 200


# ---- configuration -----------------------------------------------------------------------------------------


def test_keys_are_rotated(sqlite_url: str) -> None:
    """A new first key signs; tokens of the key before it stay valid until it is taken away."""
    old, new = {"kid": "2025", "key": OTHER}, {"kid": "2026", "key": KEY}
    with keyed(sqlite_url, old) as site:
        bob = site.person("bob")
    with keyed(sqlite_url, new, old) as site:
        assert me(site, bob.token).status_code == 200
        later = site.login(bob.username).json()["access_token"]
        assert jws.get_unverified_header(later)["kid"] == "2026"
    with keyed(sqlite_url, new) as site:
        assert me(site, later).status_code == 200
        assert me(site, bob.token).json()["code"] == "not_authenticated"


@contextmanager
def keyed(url: str, *keys: dict[str, str]) -> Iterator[Site]:
    """The forum with these keys."""
    app = new_app(url)
    auth = AuthRouter(User, jwt=JWTConfig(keys=keys))
    auth.register_routes(app)
    with serving(app, auth) as site:
        yield site


def me(site: Site, token: str) -> Any:
    """Whether the site knows the token."""
    return site.client.get("/me", headers=bearer(token))


def test_a_bare_token_in_a_header_of_its_own(sqlite_url: str) -> None:
    """With an empty prefix the header holds the token alone."""
    app = new_app(sqlite_url)
    config = JWTConfig(secret_key=KEY, token_header="X-Token", token_prefix="", issuer="us", audience="api")
    auth = AuthRouter(User, jwt=config)
    auth.register_routes(app)
    with serving(app, auth) as site:
        site.register("bob")
        token = site.login("bob").json()["access_token"]
        assert site.client.get("/me", headers={"X-Token": token}).status_code == 200
        assert site.client.get("/me", headers={"X-Token": ""}).status_code == 401
        assert site.client.get("/me", headers={"X-Token": f"Bearer {token}"}).status_code == 401
        assert site.client.get("/me", headers=bearer(token)).json()["detail"].startswith("Missing")


def test_tokens_of_the_application_itself(site: Site, alice: Person) -> None:
    """create_access_token signs what decode_access_token reads; secured routes do not accept it."""
    token = create_access_token({"sub": str(alice.id), "door": 7}, timedelta(minutes=1))
    claims = decode_access_token(token)
    assert claims["door"] == 7
    assert claims["exp"] - claims["iat"] == 60
    assert site.client.get("/me", headers=bearer(token)).status_code == 401
    with pytest.raises(TokenError):
        decode_access_token(alice.token)
    hour = decode_access_token(create_access_token({"sub": "1"}))
    assert hour["exp"] - hour["iat"] == 3600


@pytest.mark.parametrize("name", ["sub", "epoch", "scope", "iat", "typ"])
def test_further_claims_take_no_name_of_ours(site: Site, alice: Person, name: str) -> None:
    """Further claims may not replace the framework's own."""
    row = site.run(_load, site, alice)
    with pytest.raises(ValueError, match=name):
        site.auth.create_token(row, extra_claims={name: "x"})


def test_further_claims_of_every_token(sqlite_url: str) -> None:
    """`extra_claims(user)` adds to every token; /me shows them."""
    app, auth = new_site(sqlite_url, extra_claims=lambda user: {"age": user.age})
    with serving(app, auth) as site:
        bob = site.person("bob", age=44)
        assert bob.get("/me").json()["claims"] == {"age": 44}
        token = auth.create_token(site.run(_load, site, bob))
        assert site.client.get("/me", headers=bearer(token)).json()["claims"] == {"age": 44}


class Rank(enum.Enum):
    HIGH = "high"


def test_roles_in_columns_of_other_kinds(sqlite_url: str) -> None:
    """Roles and permissions may be JSON lists or an enumeration; none is none."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        role: Mapped[Rank | None]
        roles: Mapped[list[str]] = mapped_column(JSON, default=list)
        permissions: Mapped[list[str] | None] = mapped_column(JSON)

    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Member.metadata)
    auth = AuthRouter(Member, role_permissions={"high": ["all"]})
    auth.register_routes(app)

    async def promote() -> None:
        async with app.database.sessions() as session:
            given = {"role": Rank.HIGH, "roles": ["a", "b"], "permissions": ["read"]}
            await session.execute(update(Member).values(given))
            await session.commit()

    with serving(app, auth) as site:
        assert (
            site.client.post("/register", json={"username": "ann", "password": PASSWORD}).status_code == 201
        )
        token = site.login("ann").json()["access_token"]
        for roles, permissions in (([], []), (["a", "b", "high"], ["all", "read"])):
            found = me(site, token).json()
            assert (found["roles"], found["permissions"]) == (roles, permissions)
            site.run(promote)


def test_roles_and_permissions(sqlite_url: str) -> None:
    """Roles come from the account's columns, `admin` from the flag, permissions from the roles."""
    granted = {"editor": ["posts:write"], "admin": ["all"]}
    app, auth = new_site(sqlite_url, role_permissions=granted)
    with serving(app, auth) as site:
        bob = site.person("bob")
        assert bob.get("/me").json()["roles"] == ["member"]
        site.change(bob, role="editor, writer", is_admin=True)
        me = bob.get("/me").json()
        assert me["roles"] == ["admin", "editor", "writer"]
        assert me["permissions"] == ["all", "posts:write"]
        row = site.run(_load, site, bob)
        principal = auth.authenticator.principal_of(row)
        assert (principal.id, principal.sub, principal.is_admin) == (bob.id, str(bob.id), True)
        assert principal.has_role("editor")
