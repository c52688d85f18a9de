"""Tokens of remote issuers, against a provider that runs in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from jose import jwk
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, CrudRouter, Depends, Jetio, Principal, add_swagger_ui
from jetio.testing import TestClient
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig, RemoteIssuer
from jetio_auth.backends import remote as remembering
from tests.auth.forum import SETTINGS, bearer, call, new_base
from tests.auth.remote import AUDIENCE, Provider
from tests.live import LiveServer, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("provider"), "tests.auth.provider:app") as server:
        yield server


@pytest.fixture
def provider(server: LiveServer) -> Provider:
    return Provider(server)


def new_app(
    *issuers: RemoteIssuer, url: str = "sqlite+aiosqlite://", **options: Any
) -> tuple[Jetio, AuthRouter]:
    """An application without accounts that tells who is calling."""
    app = Jetio(database=url, settings=SETTINGS, metadata=new_base().metadata)
    auth = AuthRouter(issuers=issuers, **options)
    auth.register_routes(app)
    add_whoami(app)
    return app, auth


def add_whoami(app: Jetio) -> None:
    @app.get("/whoami")
    async def whoami(principal: Principal) -> dict[str, Any]:
        names = ("id", "sub", "username", "email", "is_admin", "method")
        words = ("roles", "permissions", "scopes")
        return {name: getattr(principal, name) for name in names} | {
            name: sorted(getattr(principal, name)) for name in words
        }


@contextmanager
def client_of(app: Jetio) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(provider: Provider) -> Iterator[TestClient]:
    """The application of one issuer."""
    with client_of(new_app(RemoteIssuer(provider.issuer, AUDIENCE))[0]) as client:
        yield client


def ask(client: TestClient, token: str, path: str = "/whoami") -> Any:
    return client.get(path, headers=bearer(token))


def refusal(client: TestClient, token: str, status: int = 401) -> str:
    """The code of the problem that a token gets."""
    answer = ask(client, token)
    assert answer.status_code == status, answer.text
    assert (status != 401) or 'error="invalid_token"' in answer.headers["www-authenticate"]
    code: str = answer.json()["code"]
    return code


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# ---- good tokens -------------------------------------------------------------------------------------------


def test_edwards_curves_are_read_where_they_are_named(provider: Provider) -> None:
    """EdDSA is accepted from an issuer that lists it; one changed bit, or a list without it, is a 401."""
    token = provider.token("EdDSA")
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[7] ^= 1
    with client_of(new_app(RemoteIssuer(provider.issuer, AUDIENCE, algorithms=["EdDSA"]))[0]) as client:
        assert ask(client, token).json()["sub"] == "user-123"
        assert refusal(client, f"{head}.{body}.{segment(bytes(raw))}") == "not_authenticated"
        assert refusal(client, provider.token("EdDSA", header={"alg": "Ed25519"})) == "not_authenticated"
        assert refusal(client, provider.token("RS256")) == "not_authenticated"
    with client_of(new_app(RemoteIssuer(provider.issuer, AUDIENCE))[0]) as client:
        assert refusal(client, token) == "not_authenticated"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_good_token_makes_the_caller(client: TestClient, provider: Provider, algorithm: str) -> None:
    """The principal is made of the claims; it has no row and is no admin, whatever its roles are called."""
    claims: dict[str, Any] = {
        "email": "ann@example.com",
        "preferred_username": "ann",
        "roles": ["editor", "admin"],
        "permissions": ["posts:read"],
        "scope": "openid posts",
        "scp": ["more"],
    }
    answer = ask(client, provider.token(algorithm, **claims))
    assert answer.json() == {
        "id": None,
        "sub": "user-123",
        "username": "ann",
        "email": "ann@example.com",
        "is_admin": False,
        "method": "remote",
        "roles": ["admin", "editor"],
        "permissions": ["posts:read"],
        "scopes": ["more", "openid", "posts"],
    }


def test_a_scope_of_another_issuer_is_a_word(provider: Provider) -> None:
    """`posts:*` there is no pattern here: a route asks for the very word."""
    app, auth = new_app(RemoteIssuer(provider.issuer, AUDIENCE))

    @app.get("/posts", policy=auth.requires_scope("posts:read"))
    async def posts() -> str:
        return "in"

    with client_of(app) as client:
        assert ask(client, provider.token(scope="openid posts:read"), "/posts").status_code == 200
        refused = ask(client, provider.token(scope="posts:* *"), "/posts")
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")


def test_an_address_that_is_not_verified_is_not_shown(client: TestClient, provider: Provider) -> None:
    """`email_verified: false` leaves the email out."""
    answer = ask(client, provider.token(email="boss@example.com", email_verified=False))
    assert (answer.status_code, answer.json()["email"]) == (200, None)


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["editor"]}}),
        ("https://forum.example/roles", {"https://forum.example/roles": "editor"}),
        ("roles", {"roles": ["editor"]}),
    ],
)
def test_roles_come_from_the_claim_that_is_named(
    provider: Provider, path: str, claims: dict[str, Any]
) -> None:
    """By its name, or by a way through objects; what roles may do is the application's to say."""
    issuer = RemoteIssuer(provider.issuer, AUDIENCE, roles_claim=path)
    app, auth = new_app(issuer, role_permissions={"editor": ["posts:write"]})

    @app.get("/editors", policy=auth.requires_role("editor"))
    async def editors() -> None: ...

    @app.get("/writers", policy=auth.requires_permission("posts:write"))
    async def writers() -> None: ...

    with client_of(app) as client:
        for place in ("/editors", "/writers"):
            assert ask(client, provider.token(**claims), place).status_code == 204
            assert ask(client, provider.token(), place).status_code == 403
            assert client.get(place).status_code == 401


@pytest.mark.parametrize("roles", [{"editor": True}, 7, None, [["editor"]], True])
def test_roles_of_another_form_are_no_role_that_is_known(
    client: TestClient, provider: Provider, roles: Any
) -> None:
    """An odd claim never fails the request, and gives nobody the role."""
    answer = ask(client, provider.token(roles=roles))
    assert answer.status_code == 200
    assert "editor" not in answer.json()["roles"]


def test_the_audience_may_be_one_of_several(client: TestClient, provider: Provider) -> None:
    """RFC 7519, section 4.1.3."""
    assert ask(client, provider.token(aud=["other", AUDIENCE])).status_code == 200


def test_jwks_url_is_used_as_it_is_given(provider: Provider) -> None:
    """Without any discovery: the issuer of that document could be another one."""
    provider.change(mode="impostor")
    issuer = RemoteIssuer(provider.issuer, AUDIENCE, jwks_url=f"{provider.issuer}/keys")
    with client_of(new_app(issuer)[0]) as client:
        assert ask(client, provider.token()).status_code == 200


# ---- bad tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"},
        {"iss": ...},
        {"iss": ["a"]},
        {"aud": "other"},
        {"aud": ...},
        {"aud": [AUDIENCE, 7]},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"exp": True},
        {"sub": ...},
        {"sub": 7},
        {"sub": ""},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_refuses_the_token(
    client: TestClient, provider: Provider, changed: dict[str, Any]
) -> None:
    """Issuer, audience, end and subject are needed, and must be right, however good the signature."""
    assert ask(client, provider.token()).status_code == 200
    assert refusal(client, provider.token(**changed)) == "not_authenticated"


def test_a_token_that_has_expired(client: TestClient, provider: Provider) -> None:
    """Half a minute is granted to clocks that differ, no more."""
    now = int(time.time())
    assert ask(client, provider.token(exp=now - 10)).status_code == 200
    assert refusal(client, provider.token(exp=now - 40)) == "token_expired"


@pytest.mark.parametrize(
    "header",
    [{"kid": "unknown"}, {"kid": None}, {"kid": 7}, {"kid": ["a"]}, {"crit": ["b64"]}, {"typ": "logout+jwt"},
     {"typ": 7}, {"kid": "ES256-1"}, {"kid": "shared"}],
    ids=str,
)  # fmt: skip
def test_a_header_that_is_wrong_refuses_the_token(
    client: TestClient, provider: Provider, header: dict[str, Any]
) -> None:
    """Another key's name, another kind of token, a demand; no name is enough where one key is for the algorithm."""
    answer = ask(client, provider.token(header=header))
    assert answer.status_code == (200 if header == {"kid": None} else 401)


def test_the_signature_must_be_of_the_key(client: TestClient, server: LiveServer, provider: Provider) -> None:
    """Neither another issuer's key nor changed claims pass."""
    other = Provider(server)
    assert refusal(client, other.token(iss=provider.issuer)) == "not_authenticated"
    head, _, signature = provider.token().split(".")
    changed = f"{head}.{segment(provider.claims(sub='boss'))}.{signature}"
    assert refusal(client, changed) == "not_authenticated"
    assert refusal(client, "a.b.c") == refusal(client, "x") == "not_authenticated"


@pytest.mark.parametrize("encoding", ["PEM", "DER", "JWK"])
def test_a_public_key_is_no_secret(client: TestClient, provider: Provider, encoding: str) -> None:
    """HS256 with the public key as its secret, the classic confusion, in each form that the key has."""
    [key] = [key for key in provider.key_set() if key["kid"] == "RS256-1"]
    public = jwk.construct(key, "RS256").prepared_key
    if encoding == "JWK":
        secret = json.dumps(key).encode()
    else:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        secret = public.public_bytes(getattr(serialization.Encoding, encoding), form)
    for kid in ("RS256-1", "shared", None):
        header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
        signed = f"{segment(header)}.{segment(provider.claims())}"
        token = f"{signed}.{segment(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert refusal(client, token) == "not_authenticated"


@pytest.mark.parametrize("algorithm", ["none", "None", "RS512", "", None, 7, ["RS256"]])
def test_an_algorithm_that_is_not_listed_is_refused(
    client: TestClient, provider: Provider, algorithm: Any
) -> None:
    """A token does not choose how it is verified; without a signature neither."""
    head = segment({"alg": algorithm, "kid": "RS256-1"})
    for end in (provider.token().rpartition(".")[2], ""):
        assert refusal(client, f"{head}.{segment(provider.claims())}.{end}") == "not_authenticated"


def test_only_listed_algorithms_count(provider: Provider) -> None:
    """A good ES256 token of an issuer that is to sign with RS256."""
    issuer = RemoteIssuer(provider.issuer, AUDIENCE, algorithms=["RS256"])
    with client_of(new_app(issuer)[0]) as client:
        assert ask(client, provider.token("RS256")).status_code == 200
        assert refusal(client, provider.token("ES256")) == "not_authenticated"


def test_a_bad_token_is_refused_on_open_routes_too(provider: Provider) -> None:
    """It is never taken for nobody's."""
    app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE))

    @app.get("/open")
    async def open_to_all(principal: Principal | None = None) -> bool:
        return principal is None

    with client_of(app) as client:
        assert client.get("/open").json() is True
        assert ask(client, provider.token(aud="other"), "/open").status_code == 401


# ---- keys come and go --------------------------------------------------------------------------------------


def test_keys_are_fetched_once(client: TestClient, provider: Provider) -> None:
    """At the start; requests find them there."""
    for algorithm in ("RS256", "ES256", "RS256"):
        assert ask(client, provider.token(algorithm)).status_code == 200
    assert provider.asked() == 1


def test_a_new_key_is_found_at_once_and_then_each_half_minute(provider: Provider) -> None:
    """A name that is not known asks the issuer, at most once in 30 seconds, whoever makes up names."""
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE))
        with client_of(app) as client:
            old = provider.token()
            provider.change(rotate=True)
            assert ask(client, provider.token()).status_code == 200
            assert provider.asked() == 2
            assert refusal(client, old) == "not_authenticated"
            for number in range(5):
                assert (
                    refusal(client, provider.token(header={"kid": f"made-up-{number}"}))
                    == "not_authenticated"
                )
            provider.change(rotate=True)
            assert refusal(client, provider.token()) == "not_authenticated"
            assert provider.asked() == 2
            clock.shift(timedelta(seconds=31))
            assert ask(client, provider.token()).status_code == 200
            assert provider.asked() == 3


def test_a_token_that_was_seen_before_stands_by_its_dates_and_its_key(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it came it expires, and is gone with its key; how many are remembered is bounded."""
    monkeypatch.setattr(remembering, "_REMEMBERED", 2)
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE, jwks_ttl=3600))
        with client_of(app) as client:
            tokens = [provider.token(sub=f"user-{number}") for number in range(3)]
            for _ in range(3):
                assert [ask(client, token).json()["sub"] for token in tokens] == [
                    "user-0",
                    "user-1",
                    "user-2",
                ]
            for token in tokens:
                head, claims, signature = token.split(".")
                assert refusal(client, f"{head}.{claims}.{signature[::-1]}") == "not_authenticated"
            clock.shift(timedelta(seconds=631))
            assert {refusal(client, token) for token in tokens} == {"token_expired"}
            lasting = provider.token(exp=int(time.time()) + 90000)
            assert ask(client, lasting).status_code == 200
            clock.shift(timedelta(seconds=7201))
            assert ask(client, lasting).status_code == 200, "the same key, fetched anew"
            provider.change(rotate=True)
            clock.shift(timedelta(seconds=7201))
            assert refusal(client, lasting) == "not_authenticated"


def add_grabber(app: Jetio) -> None:
    """A handler that adds to what it reads of the claims."""

    @app.get("/grab")
    async def grab(principal: Principal) -> Any:
        principal.claims["realm_access"]["roles"].append("admin")
        principal.claims["nested"][0]["a"].append(2)
        again = principal.extra
        again["realm_access"]["more"] = True
        return [
            sorted(principal.roles),
            dict(principal.claims),
            len(principal.claims),
            "iss" in principal.claims,
        ]


def test_what_a_handler_does_with_claims_stays_with_it(provider: Provider) -> None:
    """A token that comes again says what it said: lists and objects in claims are copies."""
    app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE, roles_claim="realm_access.roles"))
    add_grabber(app)
    told: dict[str, Any] = {"realm_access": {"roles": ["reader"]}, "nested": [{"a": [1]}]}
    token = provider.token(**told)
    with client_of(app) as client:
        answers = [ask(client, token, "/grab").json() for _ in range(3)]
        assert ask(client, token).json()["roles"] == ["reader"]
    for roles, claims, number, has_issuer in answers:
        assert (roles, {name: claims[name] for name in told}) == (["reader"], told)
        assert (number, has_issuer) == (len(claims), True)


def test_tokens_of_others_are_not_kept(provider: Provider) -> None:
    """What is remembered of them is a digest and what they said: nobody could log in with it."""
    app, auth = new_app(RemoteIssuer(provider.issuer, AUDIENCE))
    token = provider.token()
    with client_of(app) as client:
        assert [ask(client, token).status_code for _ in range(2)] == [200, 200]
    finder: Any = auth.finder
    kept = finder._signed
    assert len(kept) == 1
    assert token not in f"{kept.keys()}"


def test_what_a_handler_does_with_claims_of_a_local_token_stays_with_it(sqlite_url: str) -> None:
    """So it is with the claims that the application adds to its own tokens."""
    base = new_base()

    class User(base, JetioAuthMixin):  # type: ignore[valid-type, misc]
        username: Mapped[str] = mapped_column(String(100), unique=True)

    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=base.metadata)
    told: dict[str, Any] = {"realm_access": {"roles": ["reader"]}, "nested": [{"a": [1]}]}
    auth = AuthRouter(User, extra_claims=lambda user: told)
    auth.register_routes(app)
    add_grabber(app)
    with client_of(app) as client:
        token = signed_up(client)
        answers = [ask(client, token, "/grab").json() for _ in range(3)]
    for _, claims, _, _ in answers:
        assert {name: claims[name] for name in told} == {
            "realm_access": {"roles": ["reader"]},
            "nested": [{"a": [1]}],
        }


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_old_keys_are_renewed_beside_the_requests(provider: Provider) -> None:
    """After `jwks_ttl` they still verify while new ones are fetched; then a key that is gone is gone."""
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE, jwks_ttl=60))
        with client_of(app) as client:
            old = provider.token()
            provider.change(rotate=True)
            clock.shift(timedelta(seconds=61))
            assert ask(client, old).status_code == 200
            until(lambda: provider.asked() == 2)
            until(lambda: ask(client, old).status_code == 401)
            assert ask(client, provider.token()).status_code == 200
            assert provider.asked() <= 3


def test_very_old_keys_are_renewed_before_the_request(provider: Provider) -> None:
    """At twice `jwks_ttl` a key that is gone verifies nothing any more."""
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE, jwks_ttl=60))
        with client_of(app) as client:
            provider.change(rotate=True)
            old = provider.token(header={"kid": "RS256-1"})
            clock.shift(timedelta(seconds=121))
            assert refusal(client, old) == "not_authenticated"


def test_an_issuer_that_goes_away_takes_nobody_with_it(provider: Provider) -> None:
    """Its last keys are believed for a day; then its tokens wait for new ones. A new name cannot be judged: 503."""
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE))
        with client_of(app) as client:
            provider.change(mode="away")
            clock.shift(timedelta(hours=23))
            assert ask(client, provider.token()).status_code == 200
            assert refusal(client, provider.token(header={"kid": "new"}), 503) == "issuer_unavailable"
            clock.shift(timedelta(hours=2))
            assert refusal(client, provider.token(), 503) == "issuer_unavailable"
            provider.change(mode="good")

            def is_back() -> bool:
                clock.shift(timedelta(seconds=6))
                return bool(ask(client, provider.token()).status_code == 200)

            until(is_back)


def test_an_issuer_that_is_away_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The application starts with a warning; its tokens are 503 with Retry-After until the issuer is back."""
    with serve(tmp_path, "tests.auth.provider:app") as first:
        port = first.port
    issuer = f"http://127.0.0.1:{port}/late"
    with time_machine.travel(time.time(), tick=False) as clock:
        app, _ = new_app(RemoteIssuer(issuer, AUDIENCE))
        with client_of(app) as client:
            assert f"the keys of {issuer} cannot be had" in caplog.text
            token = f"{segment({'alg': 'RS256', 'kid': 'k'})}.{segment({'iss': issuer})}.{segment(b'x')}"
            answer = ask(client, token)
            assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
            assert answer.headers["retry-after"] == "5"
            assert client.get("/whoami").status_code == 401
            with serve(tmp_path, "tests.auth.provider:app", port=port) as second:
                late = Provider(second, "late")
                assert refusal(client, late.token(), 503) == "issuer_unavailable"
                clock.shift(timedelta(seconds=6))
                assert ask(client, late.token()).status_code == 200


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("huge", "more than 262144 bytes"),
        ("html", "no JSON"),
        ("deep", "no JSON"),
        ("list", "no key set"),
        ("crowd", "no key set"),
        ("empty", "no key for RS256, ES256"),
        ("encryption", "no key for"),
        ("signing", "no key for"),
        ("stuffed", "no key for"),
        ("nowhere", "no jwks_uri on https"),
        ("private", "no key for"),
        ("redirect", "answered 307"),
        ("away", "answered 500"),
        ("impostor", "is of another issuer"),
        ("plain", "no jwks_uri on https"),
        ("slow", "no whole answer within"),
    ],
)
def test_an_odd_key_set_is_refused(
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    reason: str,
) -> None:
    """Bounded in size and time, never followed elsewhere; the log says why, the client that it has to wait."""
    provider.change(mode=mode)
    monkeypatch.setattr("jetio_auth.fetching._SECONDS", 0.5 if mode == "slow" else 5.0)
    with client_of(new_app(RemoteIssuer(provider.issuer, AUDIENCE))[0]) as client:
        assert reason in caplog.text
        assert refusal(client, provider.token(), 503) == "issuer_unavailable"


async def test_waiting_for_keys_holds_up_nobody_else(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one request waits for an issuer that is slow, others are answered; those who wait share one fetch."""
    monkeypatch.setattr("jetio_auth.fetching._SECONDS", 1.0)
    provider.change(mode="slow")
    app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE))
    headers = bearer(provider.token())
    waiting = [asyncio.create_task(call(app, "GET", "/whoami", headers=headers)) for _ in range(5)]
    await asyncio.sleep(0.2)
    assert (await asyncio.wait_for(call(app, "GET", "/whoami"), 0.5)).status == 401
    assert not any(task.done() for task in waiting)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [503] * 5
    assert provider.asked() == 1


# ---- several issuers, and accounts -------------------------------------------------------------------------


class Remembered:
    """Models of one test: accounts that remember whom an issuer knows them as."""

    def __init__(self) -> None:
        class Model(new_base()):  # type: ignore[misc]
            __abstract__ = True

        class User(Model, JetioAuthMixin):
            username: Mapped[str] = mapped_column(String(80), unique=True)
            subject: Mapped[str | None] = mapped_column(String(80), unique=True)
            is_active: Mapped[bool] = mapped_column(default=True)

        class Note(Model):
            text: Mapped[str] = mapped_column(String(80))
            author_id: Mapped[int] = mapped_column(ForeignKey(User.id))

        self.user, self.note, self.metadata = User, Note, Model.metadata

    async def map_user(self, claims: Any, session: AsyncSession) -> Any:
        """The row of that subject, made at its first visit; none for guests."""
        if claims["sub"] == "guest":
            return None
        user = await session.scalar(select(self.user).where(self.user.subject == claims["sub"]))
        if user is None:
            user = self.user(username=claims["sub"], subject=claims["sub"], hashed_password="!")
            session.add(user)
        return user

    def app(self, url: str, issuer: RemoteIssuer, **options: Any) -> tuple[Jetio, AuthRouter]:
        app = Jetio(database=url, settings=SETTINGS, metadata=self.metadata)
        auth = AuthRouter(self.user, issuers=[issuer], **options)
        auth.register_routes(app)
        auth.register_admin_routes(app)
        CrudRouter(self.note, policy={"*": auth.owner_or_admin(self.note)}).register_routes(app)
        add_whoami(app)

        @app.get("/row")
        async def row(user: Any = Depends(auth.get_auth_dependency())) -> str | None:  # noqa: B008
            return None if user is None else str(user.username)

        return app, auth


def test_two_issuers_at_once(server: LiveServer) -> None:
    """Each token is verified with the keys of the issuer that it names, and with no other's."""
    one, two = Provider(server), Provider(server)
    app, _ = new_app(RemoteIssuer(one.issuer, AUDIENCE), RemoteIssuer(two.issuer, "second"))
    with client_of(app) as client:
        assert ask(client, one.token()).status_code == 200
        assert ask(client, two.token(aud="second")).status_code == 200
        assert refusal(client, two.token()) == "not_authenticated"
        assert refusal(client, one.token(iss=two.issuer, aud="second")) == "not_authenticated"


def signed_up(client: TestClient) -> str:
    """The token of a local account; empty where the client has it as a cookie."""
    body = {"username": "local", "password": "correct horse battery"}
    assert client.post("/register", json=body).status_code == 201
    token: str = client.post("/login", json=body).json().get("access_token", "")
    return token


@pytest.mark.parametrize("issuer", [None, "https://forum.example"])
def test_local_and_remote_tokens_live_side_by_side(
    sqlite_url: str, provider: Provider, issuer: str | None
) -> None:
    """`iss` decides; a remote caller without an account has none of the routes about the own account."""
    app, _ = Remembered().app(
        sqlite_url, RemoteIssuer(provider.issuer, AUDIENCE), jwt=JWTConfig(issuer=issuer)
    )
    with client_of(app) as client:
        local, remote = signed_up(client), provider.token(roles=["admin"])
        assert ask(client, local).json()["method"] == "jwt"
        assert ask(client, remote).json()["method"] == "remote"
        assert ask(client, local, "/row").json() == "local"
        assert ask(client, remote, "/row").json() is None
        assert ask(client, local, "/me").status_code == 200
        for method, path in [
            ("GET", "/me"),
            ("GET", "/sessions"),
            ("DELETE", "/sessions"),
            ("POST", "/logout"),
        ]:
            assert client.request(method, path, headers=bearer(remote)).status_code == 403
        body = {"current_password": "correct horse battery", "new_password": "another long password"}
        assert client.post("/change-password", json=body, headers=bearer(remote)).status_code == 403
        assert ask(client, remote, "/admin/auth-events").status_code == 403
        assert ask(client, remote, "/note").status_code in (403, 404)
        assert ask(client, remote, "/notes").status_code == 403
        note = {"text": "nobody's"}
        assert client.post("/notes", json=note, headers=bearer(remote)).status_code in (403, 422)
        assert refusal(client, provider.token(iss="https://unknown.example")) == "not_authenticated"


def test_an_unknown_issuer_is_refused_where_local_tokens_are_cookies(
    sqlite_url: str, provider: Provider
) -> None:
    """A header that nobody reads is never taken for no credential."""
    config = JWTConfig(token_location="cookie")
    app, _ = Remembered().app(sqlite_url, RemoteIssuer(provider.issuer, AUDIENCE), jwt=config)
    with client_of(app) as client:
        signed_up(client)
        assert client.get("/whoami").json()["method"] == "jwt"
        assert ask(client, provider.token()).json()["method"] == "remote"
        assert refusal(client, provider.token(iss="https://unknown.example")) == "not_authenticated"


def test_map_user_gives_the_row(database_url: str, provider: Provider) -> None:
    """The principal has the key and the flag of the account; the row is made at the first visit."""
    models = Remembered()
    issuer = RemoteIssuer(provider.issuer, AUDIENCE, map_user=models.map_user)
    app, auth = models.app(database_url, issuer)
    with client_of(app) as client:
        assert client.portal is not None
        token = provider.token(sub="ann")
        first = ask(client, token).json()
        assert first["id"] is not None
        assert first == ask(client, token).json()
        assert ask(client, token, "/me").json()["username"] == "ann"
        assert ask(client, token, "/row").json() == "ann"
        made = client.post("/notes", json={"text": "mine"}, headers=bearer(token))
        assert (made.status_code, made.json()["author_id"]) == (201, first["id"])
        assert ask(client, provider.token(sub="bob"), "/notes").json() == []
        assert ask(client, provider.token(sub="guest")).json()["id"] is None
        assert ask(client, token, "/admin/auth-events").status_code == 403

        async def write(**values: Any) -> None:
            async with app.database.sessions() as session:
                user: Any = await session.get(models.user, first["id"])
                for name, value in values.items():
                    setattr(user, name, value)
                await session.commit()

        client.portal.call(lambda: write(is_admin=True))
        assert ask(client, token, "/admin/auth-events").status_code == 200
        assert ask(client, token).json()["roles"] == ["admin"]
        client.portal.call(lambda: write(is_active=False))
        assert refusal(client, token) == "token_revoked"
        assert auth.user_model is models.user


async def test_map_user_may_meet_itself(database_url: str, provider: Provider) -> None:
    """First visits at the same time make one account."""
    models = Remembered()
    issuer = RemoteIssuer(provider.issuer, AUDIENCE, map_user=models.map_user)
    app, _ = models.app(database_url, issuer)
    async with app.router.lifespan_context(app):
        headers = bearer(provider.token(sub="ann"))
        answers = await asyncio.gather(*(call(app, "GET", "/whoami", headers=headers) for _ in range(4)))
        assert [answer.status for answer in answers] == [200] * 4
        assert len({answer.body for answer in answers}) == 1
        async with app.database.sessions() as session:
            assert await session.scalar(select(func.count()).select_from(models.user)) == 1


# ---- without accounts, and mistakes ------------------------------------------------------------------------


def test_without_a_user_model_there_are_no_accounts(provider: Provider) -> None:
    """No route, no table; the document shows a bearer token."""
    app, _ = new_app(RemoteIssuer(provider.issuer, AUDIENCE))
    document = app.openapi()
    assert list(document["paths"]) == ["/whoami"]
    assert not app.metadata.tables
    bearer_token = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert document["components"]["securitySchemes"] == {"BearerToken": bearer_token}
    assert document["paths"]["/whoami"]["get"]["security"] == [{"BearerToken": []}]


def test_depends_gives_the_principal_without_accounts(provider: Provider) -> None:
    """There is no row that it could give."""
    app, auth = new_app(RemoteIssuer(provider.issuer, AUDIENCE))

    @app.get("/caller")
    async def caller(found: Any = Depends(auth.get_auth_dependency())) -> str:  # noqa: B008
        return str(found.sub)

    with client_of(app) as client:
        assert ask(client, provider.token(), "/caller").json() == "user-123"


@pytest.mark.parametrize(
    "use",
    [
        lambda auth: auth.owner(object),
        lambda auth: auth.owner_or_admin(object),
        lambda auth: auth.self_or_admin(),
        lambda auth: auth.admin_only(),
        lambda auth: auth.account_required(),
        lambda auth: auth.register_admin_routes(None),
        lambda auth: auth.create_token(object()),
        lambda auth: auth.accounts,
        lambda auth: auth.finder.principal_of(object()),
    ],
)
def test_what_needs_accounts_says_so(use: Any) -> None:
    """At the place where it is written."""
    auth = AuthRouter(issuers=[RemoteIssuer("https://id.example", AUDIENCE)])
    with pytest.raises(ConfigError, match="has no accounts"):
        use(auth)
    assert not hasattr(auth, "nothing_of_this_name")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"issuer": None}, "issuer=None"),
        ({"issuer": ""}, "issuer=''"),
        ({"audience": None}, "audience=None"),
        ({"audience": ""}, "audience=''"),
        ({"issuer": "http://id.example"}, "is no https address"),
        ({"issuer": "id.example"}, "is no https address"),
        ({"issuer": "https://[half"}, "is no https address"),
        ({"jwks_url": "http://id.example/keys"}, "is no https address"),
        ({"jwks_url": 7}, "is no https address"),
        ({"jwks_url": "https://user:word@id.example/keys"}, "is no https address"),
        ({"jwks_url": "http://127.0.0.1.example/keys"}, "is no https address"),
        ({"algorithms": ["HS256"]}, "some of ES256"),
        ({"algorithms": ["RS256", "none"]}, "some of ES256"),
        ({"algorithms": ["Ed448"]}, "some of ES256"),
        ({"algorithms": []}, "some of ES256"),
        ({"algorithms": "RS256"}, "write a list"),
        ({"jwks_ttl": 0}, "write 300"),
        ({"roles_claim": ""}, "names no claim"),
    ],
    ids=str,
)
def test_a_wrong_issuer_stops_at_once(options: dict[str, Any], told: str) -> None:
    """Never an application that accepts what it was not told to."""
    with pytest.raises(ConfigError, match=told):
        RemoteIssuer(**{"issuer": "https://id.example", "audience": AUDIENCE, **options})


def test_http_is_for_this_machine_alone() -> None:
    """Where nobody is in between."""
    for host in ("localhost", "127.0.0.1", "[::1]"):
        RemoteIssuer(f"http://{host}:9000", AUDIENCE)


def test_issuers_that_cannot_be_told_apart() -> None:
    """Two of one name, one with our own name, none at all, and rows where there are none."""
    one = RemoteIssuer("https://id.example", AUDIENCE)
    with pytest.raises(ConfigError, match="two issuers are called"):
        AuthRouter(issuers=[one, RemoteIssuer("https://id.example", "other")])
    with pytest.raises(ConfigError, match="two issuers are called"):
        AuthRouter(Remembered().user, issuers=[one], jwt=JWTConfig(issuer="https://id.example"))
    with pytest.raises(ConfigError, match="no user model, no issuers and no backend"):
        AuthRouter()
    with pytest.raises(ConfigError, match="nothing about accounts"):
        AuthRouter(issuers=[one], default_admin=True)
    with pytest.raises(ConfigError, match="there is no user model"):
        AuthRouter(issuers=[RemoteIssuer("https://id.example", AUDIENCE, map_user=Remembered().map_user)])


def test_the_http_client_is_imported_for_issuers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional: without it the build says what to install, and nobody else notices."""
    script = "import sys, jetio_auth; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    app, _ = new_app(RemoteIssuer("https://id.example", AUDIENCE))
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigError, match=r"pip install 'jetio\[oauth\]'"):
        app.build()
    assert httpx2.__name__ == "httpx2"


def test_a_token_whose_claims_are_a_list(client: TestClient) -> None:
    """It has the form of a token, and names nobody."""
    token = f"{segment({'alg': 'RS256', 'kid': 'k'})}.{segment(['iss'])}.{segment(b'x')}"
    assert refusal(client, token) == "not_authenticated"


def test_a_local_header_of_its_own_needs_no_bearer_scheme(sqlite_url: str, provider: Provider) -> None:
    """Where tokens travel in a header of another name, the document tells that one alone."""
    config = JWTConfig(token_header="X-Token", token_prefix="")
    app, _ = Remembered().app(sqlite_url, RemoteIssuer(provider.issuer, AUDIENCE), jwt=config)
    add_swagger_ui(app)
    with client_of(app) as client:
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes.keys() == {"TokenHeader"}
        answer = client.get("/whoami", headers={"X-Token": provider.token()})
        assert answer.json()["method"] == "remote"


def test_tests_log_in_as_local_accounts(sqlite_url: str, provider: Provider) -> None:
    """`client.login_as` takes a row of the accounts where there are any."""
    models = Remembered()
    app, _ = models.app(sqlite_url, RemoteIssuer(provider.issuer, AUDIENCE))
    with client_of(app) as client:
        signed_up(client)

        async def local() -> Any:
            async with app.database.sessions() as session:
                return await session.scalar(select(models.user))

        assert client.portal is not None
        user = client.portal.call(local)
        assert client.login_as(user).get("/whoami").json()["username"] == "local"


def test_a_row_that_another_request_makes_first(sqlite_url: str, provider: Provider) -> None:
    """A `map_user` that loses the race to insert the row is asked again, and finds it."""
    models, calls = Remembered(), []

    async def map_user(claims: Any, session: Any) -> Any:
        calls.append(claims["sub"])
        if len(calls) > 1:
            return await session.scalar(select(models.user))
        session.add(models.user(username="local"))
        await session.flush()
        raise AssertionError("the name is taken")

    issuer = RemoteIssuer(provider.issuer, AUDIENCE, map_user=map_user)
    app, _ = models.app(sqlite_url, issuer)
    with client_of(app) as client:
        signed_up(client)
        answer = ask(client, provider.token())
        assert (answer.status_code, answer.json()["id"]) == (200, 1)
    assert len(calls) == 2


def test_a_fetch_that_is_under_way_ends_with_the_application(provider: Provider) -> None:
    """Nobody waits for a slow issuer when the application stops."""
    with time_machine.travel(time.time(), tick=True) as clock:
        begun = time.monotonic()
        with client_of(new_app(RemoteIssuer(provider.issuer, AUDIENCE))[0]) as client:
            token = provider.token()
            assert ask(client, token).status_code == 200
            provider.change(mode="slow")
            clock.shift(timedelta(seconds=301))
            assert ask(client, token).status_code == 200
        assert time.monotonic() - begun < 60


def test_a_rule_finds_the_caller_by_itself(provider: Provider) -> None:
    """Where the routes are not registered a rule of this AuthRouter knows its issuers all the same."""
    app = Jetio(database="sqlite+aiosqlite://", settings=SETTINGS, metadata=new_base().metadata)
    auth = AuthRouter(issuers=[RemoteIssuer(provider.issuer, AUDIENCE)])

    @app.get("/desk", policy=auth.authenticated())
    async def desk() -> str:
        return "open"

    with client_of(app) as client:
        assert client.get("/desk").status_code == 401
        assert ask(client, provider.token(), "/desk").json() == "open"
