"""Backends at their edges: what they refuse, how they combine, and what they never show."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from starlette.requests import HTTPConnection

from jetio import ConfigError, Jetio, Principal, Request
from jetio_auth import (
    APIKeyBackend,
    AuthRouter,
    JWTAuthBackend,
    JWTConfig,
    MemorySessions,
    MultiBackend,
    RemoteIssuer,
    RemoteJWTBackend,
    ServerSessions,
)
from jetio_auth.settings import token_codec
from tests.auth.forum import SETTINGS, User, bearer, call, new_app, new_base, serving
from tests.auth.test_backends import (
    CONFIG,
    PASSWORD,
    PREFIX,
    SECRET,
    Door,
    Own,
    Person,
    Staff,
    code,
    login,
    site,
)

KEY = "k" * 40


def keys(person: Any) -> APIKeyBackend:
    return APIKeyBackend(keys={APIKeyBackend.hash(KEY): person})


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Tokens, keys and passwords are in no line at DEBUG, of any library, and in no text of a backend."""
    caplog.set_level(logging.DEBUG)
    staff = Staff()
    ours = JWTAuthBackend(CONFIG, staff.load)
    backend = MultiBackend([ours, keys(staff.people[2])])
    with site(backend) as client:
        pair = login(client).json()
        login(client, password="a wrong one")
        following = client.post(f"{PREFIX}/refresh", json={"refresh_token": pair["refresh_token"]}).json()
        client.post("/write", headers={"X-API-Key": KEY})
        client.post("/write", headers={"X-API-Key": "not-the-key"})
        client.post("/write", headers=bearer(pair["access_token"][:-2]))
        client.post(f"{PREFIX}/logout", headers=bearer(following["access_token"]))
    told = caplog.text + repr(backend) + repr(ours) + repr(vars(backend))
    halves = [part for token in (pair, following) for part in token["refresh_token"].split(".")]
    secrets = [PASSWORD, "a wrong one", KEY, "not-the-key", SECRET, pair["access_token"], *halves]
    assert [secret for secret in secrets if secret in told] == []
    assert "DEBUG" in caplog.text


def test_several_as_one_refresh_and_log_out() -> None:
    """Each endpoint goes to the backend whose credential it is; what none offers is not there."""
    staff = Staff()
    backend = MultiBackend([keys(staff.people[2]), JWTAuthBackend(CONFIG, staff.load)])
    with site(backend) as client:
        assert login(client, password="wrong").status_code == 401
        pair = login(client).json()
        following = client.post(
            f"{PREFIX}/refresh", headers={"X-Refresh-Token": pair["refresh_token"]}
        ).json()
        assert client.post(f"{PREFIX}/refresh").status_code == 401
        assert code(client.post(f"{PREFIX}/logout", headers={"X-API-Key": KEY}), 409) == "no_session"
        assert client.get(f"{PREFIX}/me", headers=bearer(following["access_token"])).status_code == 200
    with site(MultiBackend([keys(staff.people[2])])) as client:
        for path in ("login", "logout", "refresh"):
            assert client.post(f"{PREFIX}/{path}", headers={"X-API-Key": KEY}).status_code == 404


async def test_several_as_one_may_be_asked_by_hand() -> None:
    """A MultiBackend is a backend: it finds users by itself, and refuses for the one that knows the credential."""
    backend = MultiBackend([keys("ben"), Own()])

    def request(**headers: str) -> HTTPConnection:
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return HTTPConnection({"type": "http", "headers": lines})

    assert await backend.get_current_user(request(x_api_key=KEY)) == "ben"
    assert (await backend.get_current_user(request(x_name="zoe"))).sub == "zoe"
    assert await backend.get_current_user(request()) is None
    assert [scheme.name for scheme in backend.schemes] == ["ApiKey"]
    with pytest.raises(Exception, match="not_authenticated"):
        await backend.get_current_user(request(x_api_key="bad", x_name="zoe"))
    assert await backend.authenticate(request(), {}) is None
    only = keys("ben")
    assert await only.authenticate(request(), {}) is None
    assert await only.refresh(request()) is None
    with pytest.raises(ConfigError, match="begins no sessions"):
        await only.login(request(), "ben")


def test_users_of_other_kinds() -> None:
    """`is_admin` makes an admin, a UUID travels as text, `scopes` are obeyed, and what has no id is a mistake."""

    @dataclass
    class Machine:
        id: Any
        email: str | None = None
        roles: str = "robot"
        permissions: tuple[str, ...] = ()
        is_admin: bool = True
        scopes: tuple[str, ...] = ("posts:*",)

    number = uuid.uuid4()
    with site(keys(Machine(number))) as client:
        headers = {"X-API-Key": KEY}
        assert client.get("/secret", headers=headers).json() == "in"
        shown = client.get(f"{PREFIX}/me", headers=headers).json()
        assert shown == {"id": str(number), "email": None, "roles": ["admin", "robot"], "permissions": []}
    with site(keys("a text")) as client:
        assert client.get(f"{PREFIX}/me", headers=headers).status_code == 500


def test_a_user_by_uuid_logs_in() -> None:
    """The loader gets the id as text, and its user is found again."""
    person = Person(uuid.uuid4(), "ann@example.com")  # type: ignore[arg-type]

    async def load(identifier: str | int) -> Person | None:
        return person if identifier in (str(person.id), person.email) else None

    with site(JWTAuthBackend(CONFIG, load)) as client:
        token = login(client).json()["access_token"]
        assert client.get(f"{PREFIX}/me", headers=bearer(token)).json()["id"] == str(person.id)


def test_a_backend_and_accounts_name_one_person(sqlite_url: str) -> None:
    """The row decides on admins; further roles of the backend's user are added, with what they may do."""
    app = new_app(sqlite_url)
    user = Person(1, "x@example.com", roles=["admin", "robot"], permissions=["posts:read"])
    auth = AuthRouter(User, backend=keys(user), role_permissions={"robot": ["posts:write"]})
    auth.register_routes(app)

    @app.get("/who", policy=auth.authenticated())
    async def who(principal: Principal) -> list[Any]:
        return [principal.id, principal.is_admin, sorted(principal.roles), sorted(principal.permissions)]

    with serving(app, auth) as running:
        ann = running.person("ann")
        user.id = ann.id
        headers = {"X-API-Key": KEY}
        answer = running.client.get("/who", headers=headers).json()
        assert answer == [ann.id, False, ["member", "robot"], ["posts:read", "posts:write"]]
        assert running.client.get("/me", headers=headers).json()["username"] == ann.username
        finder: Any = auth.finder
        assert finder.principal_of(running.run(read, app, ann.id)).id == ann.id
        assert auth.backed is not None
        assert auth.backed.finders[0].user_model is User
        assert auth.backed.finders[0].principal_of(user).method == "api_key"
        assert auth.backed.finders[0].principal_of(running.run(read, app, ann.id)).method == "jwt"


async def read(app: Jetio, key: Any) -> Any:
    async with app.database.sessions() as session:
        return await session.get(User, key)


def test_tokens_of_another_kind_are_refused() -> None:
    """An access token that is too old says so; one without a session of ours, and a refresh token, are none."""
    staff = Staff()
    with (
        time_machine.travel(1_800_000_000, tick=False) as clock,
        site(JWTAuthBackend(CONFIG, staff.load)) as client,
    ):
        pair = login(client).json()
        for bad in (pair["refresh_token"], "x", "a.b.c"):
            assert code(client.get(f"{PREFIX}/me", headers=bearer(bad)), 401) == "not_authenticated"
        for bad in ("x", ".", f".{'a' * 43}", f"{'a' * 32}.{'a' * 43}", f"{pair['refresh_token']}x"):
            assert client.post(f"{PREFIX}/refresh", json={"refresh_token": bad}).status_code == 401
        nameless = token_codec(CONFIG, SETTINGS).encode({"sub": "1"}, expires_in=60)
        assert code(client.get(f"{PREFIX}/me", headers=bearer(nameless)), 401) == "token_revoked"
        clock.shift(timedelta(seconds=3606))
        assert code(client.get(f"{PREFIX}/me", headers=bearer(pair["access_token"])), 401) == "token_expired"


def test_a_refresh_by_cookie_is_guarded() -> None:
    """Without the header that repeats the readable cookie it is 403, and the token stays good; no cookie is 401."""
    config = JWTConfig(secret_key=SECRET, token_location="cookie")
    with site(JWTAuthBackend(config, Staff().load, store=MemorySessions())) as client:
        assert code(client.post(f"{PREFIX}/refresh"), 401) == "not_authenticated"
        login(client)
        assert code(client.post(f"{PREFIX}/refresh"), 403) == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post(f"{PREFIX}/refresh", headers=csrf).status_code == 200


def test_a_login_without_an_address_is_counted_by_name() -> None:
    """Over a socket of the machine there is no address; the limit of the name holds all the same."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    auth = AuthRouter(backend=JWTAuthBackend(CONFIG, Staff().load))
    auth.register_routes(app)
    told: list[str] = []
    auth.on("login.*", lambda event: told.append(event.name))

    async def guess() -> list[int]:
        body = {"username": "ann@example.com", "password": "wrong"}
        return [(await call(app, "POST", "/login", body, address=None)).status for _ in range(11)]

    with serving(app, auth) as running:
        assert running.run(guess) == [401] * 10 + [429]
        body = {"username": "ben@example.com", "password": PASSWORD}
        assert running.client.post("/login", json=body).status_code == 200
    assert told == ["login.failed"] * 10 + ["login.throttled", "login.ok"]


def test_a_refresh_takes_one_token(sqlite_url: str) -> None:
    """One in the header and one in the body are 422, and both stay good."""
    with site(JWTAuthBackend(CONFIG, Staff().load), url=sqlite_url) as client:
        token = login(client).json()["refresh_token"]
        header, body = {"X-Refresh-Token": token}, {"refresh_token": token}
        answer = client.post(f"{PREFIX}/refresh", headers=header, json=body)
        assert code(answer, 422) == "validation"
        assert answer.json()["errors"][0]["pointer"] == "/refresh_token"
        assert client.post(f"{PREFIX}/refresh", headers=header).status_code == 200


def test_a_copied_token_of_one_of_several_is_told() -> None:
    """Only `the session is over` leaves the others to be asked; a reused token is refused as one."""
    one, other = (JWTConfig(secret_key=SECRET, issuer=name) for name in ("one", "other"))
    load = Staff().load
    with (
        time_machine.travel(1_800_000_000, tick=False) as clock,
        site(MultiBackend([JWTAuthBackend(one, load), JWTAuthBackend(other, load)])) as client,
    ):
        used = {"refresh_token": login(client).json()["refresh_token"]}
        assert client.post(f"{PREFIX}/refresh", json=used).status_code == 200
        clock.shift(timedelta(seconds=11))
        assert code(client.post(f"{PREFIX}/refresh", json=used), 401) == "token_reused"


@pytest.mark.parametrize(
    ("locations", "header", "documented"),
    [
        (["cookie"], "Authorization", {"TokenCookie"}),
        (["header", "cookie"], "Authorization", {"BearerToken", "TokenCookie"}),
        (["header"], "X-Token", {"TokenHeader"}),
    ],
)
def test_the_places_of_tokens_are_documented(locations: Any, header: str, documented: set[str]) -> None:
    """Each place that a token may travel in is a scheme, and no other is."""
    config = JWTConfig(secret_key=SECRET, token_location=locations, token_header=header)
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    AuthRouter(backend=JWTAuthBackend(config, Staff().load)).register_routes(app)
    assert set(app.openapi()["components"]["securitySchemes"]) == documented


async def test_a_name_that_cannot_be_stored_is_nobodys() -> None:
    """The loader is not asked for what no database could hold; the password is judged all the same."""
    asked: list[Any] = []
    judged: list[str] = []

    async def load(name: Any) -> Person:
        asked.append(name)
        return Staff().people[1]

    def verify(stored: str, password: str) -> bool:
        judged.append(password)
        return True

    backend, connection = JWTAuthBackend(CONFIG, load, verify), HTTPConnection({"type": "http"})
    names = ("\ud800", "a\0b", "x" * 321, "")
    found = [await backend.authenticate(connection, {"email": name, "password": name}) for name in names]
    assert (found, asked, judged) == ([None] * 4, [], list(names))


def test_a_token_that_is_no_jwt_is_of_no_issuer() -> None:
    """A backend of issuers leaves such a token alone: alone it is refused, beside it another one may read it."""
    remote = RemoteJWTBackend(RemoteIssuer("http://127.0.0.1:1/issuer", "api"))

    class Opaque(Own):
        async def get_current_user(self, connection: Any) -> Any:
            right = connection.headers.get("authorization") == "Bearer opaque"
            return Principal(id=None, sub="zoe", method="mine") if right else None

    with site(MultiBackend([remote, Opaque()])) as client:
        assert client.get("/open", headers=bearer("opaque")).json() == "zoe"
        assert code(client.get("/open", headers=bearer("other")), 401) == "not_authenticated"


def test_sessions_by_hand() -> None:
    """A route may end a session itself: 409 where there is none. Nothing renews one from outside."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    app.add_middleware(ServerSessions, store=MemorySessions())
    backend = Door(Staff()).backend
    auth = AuthRouter(backend=backend, prefix=PREFIX)
    auth.register_routes(app)

    @app.post("/leave")
    async def leave(request: Request) -> Any:
        told = await backend.refresh(request)
        await backend.logout(request)
        return told

    with serving(app, auth) as running:
        client = running.client
        assert code(client.post("/leave"), 409) == "no_session"
        assert login(client).status_code == client.get(f"{PREFIX}/me").status_code == 200
        answer = client.post("/leave")
        assert (answer.status_code, answer.json()) == (200, None)
        assert client.get(f"{PREFIX}/me").status_code == 401


async def test_sessions_without_their_middleware_say_so() -> None:
    """Other middleware brings no session: the mistake names the one that does."""
    backend = Door(Staff()).backend
    with pytest.raises(ConfigError, match="ServerSessions, store="):
        await backend.get_current_user(HTTPConnection({"type": "http", "headers": []}))


async def test_backends_without_an_application_say_so() -> None:
    """They are given to an AuthRouter, which tells them where they are."""
    token = HTTPConnection({"type": "http", "headers": [(b"authorization", b"Bearer a.b.c")]})
    with pytest.raises(ConfigError, match="AuthRouter"):
        await JWTAuthBackend(CONFIG, Staff().load).login(token, Staff().people[1])
    issuer = RemoteIssuer("https://id.example.com", "api")
    with pytest.raises(ConfigError, match="AuthRouter"):
        await RemoteJWTBackend(issuer).get_current_user(token)


def test_what_is_hidden_hides_in_combination() -> None:
    """`hidden(a) & b` and its documentation work as other rules do; a failure inside stays what it is."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    auth = AuthRouter(backend=Own())
    auth.register_routes(app)

    @app.get("/both", policy=auth.hidden(auth.requires_role("editor") & auth.authenticated()))
    async def both() -> str:
        return "in"

    with serving(app, auth) as running:
        assert running.client.get("/both").status_code == 404
        assert running.client.get("/both", headers={"X-Name": "zoe"}).json() == "in"
        assert json.loads(running.client.get("/both").text)["code"] == "not_found"
    assert "hidden(" in repr(auth.hidden(auth.authenticated()))
