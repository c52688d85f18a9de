"""Backends beside accounts: the row has the last word, and a session lasts no longer than the login behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from jetio import ConfigError, Jetio, Principal, Request
from jetio_auth import (
    APIKeyBackend,
    AuthRouter,
    JWTAuthBackend,
    JWTConfig,
    MemorySessions,
    MultiBackend,
    ServerSessions,
    SessionAuthBackend,
    renew_session,
)
from tests.auth.forum import PASSWORD as FORUM_PASSWORD
from tests.auth.forum import SETTINGS, Site, User, bearer, call, new_app, new_base, serving
from tests.auth.test_backends import CONFIG, PASSWORD, PREFIX, SECRET, Door, Person, Staff, code, login, site

KEY = "k" * 40
CROSS = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def keys(person: Any) -> APIKeyBackend:
    return APIKeyBackend(keys={APIKeyBackend.hash(KEY): person})


class Proxy:
    """Makes its principals itself."""

    method = "proxy"

    async def get_current_user(self, connection: Any) -> Principal | None:
        name = connection.headers.get("x-user")
        admin, roles = "x-admin" in connection.headers, connection.headers.get("x-roles", "").split()
        if name is None:
            return None
        key = int(name) if name.isdecimal() else None
        return Principal(id=key, sub=name, method="proxy", is_admin=admin, roles=frozenset(roles))


def test_a_principal_of_a_backend_names_a_usable_account(sqlite_url: str) -> None:
    """It is refused where the row is gone or disabled; the row says who is an admin; without a key it stays."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, backend=Proxy(), role_permissions={"editor": ["posts:write"]})
    auth.register_routes(app)

    @app.get("/who", policy=auth.authenticated())
    async def who(principal: Principal) -> list[Any]:
        permissions = sorted(principal.permissions)
        return [
            principal.username,
            principal.method,
            principal.is_admin,
            sorted(principal.roles),
            permissions,
        ]

    with serving(app, auth) as running:
        ann = running.person("ann")
        given = {"X-User": str(ann.id), "X-Admin": "yes", "X-Roles": "admin editor"}
        shown = running.client.get("/who", headers=given).json()
        assert shown == [ann.username, "proxy", False, ["editor", "member"], ["posts:write"]]
        assert running.client.get("/who", headers={"X-User": "outside"}).status_code == 200
        assert code(running.client.get("/who", headers={"X-User": "99999"}), 401) == "token_revoked"
        running.change(ann, is_active=False)
        assert code(running.client.get("/who", headers=given), 401) == "token_revoked"


def test_a_role_makes_an_admin_of_a_principal() -> None:
    """`Principal(roles={"admin"})` is an admin where there are no accounts, and an admin has the role."""
    with site(Proxy()) as client:
        assert client.get("/secret", headers={"X-User": "zoe", "X-Roles": "admin"}).json() == "in"
        shown = client.get(f"{PREFIX}/me", headers={"X-User": "zoe", "X-Admin": "yes"}).json()
        assert shown["roles"] == ["admin"]
        assert client.get("/secret", headers={"X-User": "zoe"}).status_code == 404


def test_who_has_no_id_is_told_apart_by_name() -> None:
    """Two callers without a key have two subjects."""
    people = [Person(None, f"{name}@example.com") for name in ("ann", "ben")]  # type: ignore[arg-type]
    given = {APIKeyBackend.hash(person.email): person for person in people}
    with site(APIKeyBackend(keys=given)) as client:
        subjects = [client.get("/open", headers={"X-API-Key": person.email}).json() for person in people]
    assert subjects == ["ann@example.com", "ben@example.com"]


def test_disabled_users_do_not_come_in() -> None:
    """`is_active = False` is 401 by a key and by a session, and no login."""
    staff = Staff()
    door = Door(staff)
    backend = MultiBackend(
        [keys(staff.people[1]), SessionAuthBackend(door.retrieve, "user_id", door.authenticate)]
    )
    with site(backend, middleware=(ServerSessions, {"store": MemorySessions()})) as client:
        by_key = {"X-API-Key": KEY}
        assert client.get(f"{PREFIX}/me", headers=by_key).status_code == 200
        assert login(client).status_code == client.get(f"{PREFIX}/me").status_code == 200
        staff.people[1].is_active = False
        for headers in (by_key, {}):
            assert code(client.get(f"{PREFIX}/me", headers=headers), 401) == "token_revoked"
        assert client.get("/secret", headers=by_key).status_code == 404
        assert code(login(client), 401) == "invalid_credentials"


# ---- sessions of accounts ----------------------------------------------------------------------------------


@contextmanager
def sessions(url: str) -> Iterator[tuple[Site, AuthRouter]]:
    """Accounts, and sessions that a login of the application's own begins."""
    app = new_app(url)
    app.add_middleware(ServerSessions, store=MemorySessions())
    auth = AuthRouter(User, backend=SessionAuthBackend())
    auth.register_routes(app)

    @app.post("/enter/{key:int}")
    async def enter(key: int, request: Request) -> None:
        await auth.enter_session(request, await user(app, key))

    @app.post("/old/{key:int}")
    async def old(key: int, request: Request) -> None:
        request.session["user_id"] = key

    @app.post("/act", policy=auth.account_required())
    async def act() -> str:
        return "done"

    with serving(app, auth) as running:
        yield running, auth


async def user(app: Jetio, key: int) -> Any:
    async with app.database.sessions() as session:
        return await session.get(User, key)


def test_a_session_ends_with_the_login_behind_it(database_url: str) -> None:
    """A changed password, `revoke_sessions` and a logout end it; what no login began is nobody's."""
    with sessions(database_url) as (running, auth):
        client = running.client
        ann = running.person("ann")

        def entered() -> bool:
            answers = client.post(f"/enter/{ann.id}"), client.get("/me")
            return [answer.status_code for answer in answers] == [204, 200]

        assert entered()
        assert client.get("/me").json()["auth"]["method"] == "session"
        body = {"current_password": FORUM_PASSWORD, "new_password": "another long password"}
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/change-password", json=body, headers=csrf).status_code == 200
        assert code(client.get("/me"), 401) == "token_revoked"
        assert entered()
        running.run(revoke, auth, ann.id)
        assert code(client.get("/me"), 401) == "token_revoked"
        assert entered()
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/logout", headers=csrf).status_code == 200
        assert code(client.get("/me"), 401) == "token_revoked"
        client.cookies.clear()
        assert client.post(f"/old/{ann.id}").status_code == 204
        assert code(client.get("/me"), 401) == "token_revoked"


async def revoke(auth: AuthRouter, key: int) -> None:
    await auth.revoke_sessions(await user(auth._context.app, key))  # type: ignore[arg-type]


def test_a_session_of_an_account_may_write(sqlite_url: str) -> None:
    """`GET /me` of accounts sets the readable cookie that a POST by session must repeat; the list of logins ends it."""
    with sessions(sqlite_url) as (running, _):
        ann = running.person("ann")
        running.client.post(f"/enter/{ann.id}")
        assert code(running.client.post("/act"), 403) == "csrf_failed"
        running.client.get("/me")
        csrf = {"X-CSRF-Token": running.client.cookies["csrf_token"]}
        assert running.client.post("/act", headers=csrf).json() == "done"
        [login] = [item for item in running.client.get("/sessions").json() if item["current"]]
        assert running.client.delete(f"/sessions/{login['id']}", headers=csrf).status_code == 204
        assert code(running.client.get("/me"), 401) == "token_revoked"


async def test_a_session_needs_a_backend_to_enter() -> None:
    """`enter_session` without a SessionAuthBackend is a mistake that says so."""
    with pytest.raises(ConfigError, match=r"SessionAuthBackend\(\)"):
        await AuthRouter(User).enter_session(Request({"type": "http"}), object())


# ---- several backends --------------------------------------------------------------------------------------


def several(backend: Any) -> MultiBackend:
    """A backend within one within another."""
    return MultiBackend([keys(Person(2, "ben@example.com")), MultiBackend([backend])])


def test_cookies_of_one_of_several() -> None:
    """In a MultiBackend tokens go into cookies and not into JSON, and no other site logs a browser in."""
    config = JWTConfig(secret_key=SECRET, token_location="cookie")
    with site(several(JWTAuthBackend(config, Staff().load))) as client:
        shown = login(client).json()
        assert {"access_token", "refresh_token"}.isdisjoint(shown)
        assert client.get(f"{PREFIX}/me").status_code == 200
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post(f"{PREFIX}/refresh", headers=csrf).json().keys() == shown.keys()
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert code(client.post(f"{PREFIX}/login", json=body, headers=CROSS), 403) == "csrf_failed"
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert "access_token" not in client.cookies


def test_a_session_of_one_of_several() -> None:
    """The login sets the readable cookie, other sites log nobody in, and a key logs no session out."""
    door = Door(Staff())
    backend = several(SessionAuthBackend(door.retrieve, "user_id", door.authenticate))
    with site(backend, middleware=(ServerSessions, {"store": MemorySessions()})) as client:
        assert login(client).status_code == 200
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/write", headers=csrf).json() == [1, "session"]
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert code(client.post(f"{PREFIX}/login", json=body, headers=CROSS), 403) == "csrf_failed"
        by_key = client.post(f"{PREFIX}/logout", headers={"X-API-Key": KEY, **csrf})
        assert code(by_key, 409) == "no_session"
        assert client.post(f"{PREFIX}/logout", headers=csrf).status_code == 200
        assert client.get(f"{PREFIX}/me").status_code == 401


def test_tokens_in_headers_are_for_pages_of_other_origins() -> None:
    """Where no cookie is written, a login from another origin is as good as one from a program."""
    with site(JWTAuthBackend(CONFIG, Staff().load)) as client:
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert client.post(f"{PREFIX}/login", json=body, headers=CROSS).status_code == 200


def test_two_who_could_not_tell_their_tokens_apart() -> None:
    """One issuer read from one place by two parts is a ConfigError; two issuers live side by side."""
    one, other = (JWTConfig(secret_key=SECRET, issuer=name) for name in ("one", "other"))
    ann, ben = Staff(), Staff()
    del ann.people[2], ben.people[1]
    with pytest.raises(ConfigError, match="issuer"):
        AuthRouter(backend=MultiBackend([JWTAuthBackend(one, ann.load), JWTAuthBackend(one, ben.load)]))
    with pytest.raises(ConfigError, match="issuer"):
        AuthRouter(User, jwt=CONFIG, backend=JWTAuthBackend(CONFIG, ann.load))
    apart = JWTConfig(secret_key=SECRET, token_header="X-Other")
    AuthRouter(User, jwt=CONFIG, backend=JWTAuthBackend(apart, ann.load))
    with site(MultiBackend([JWTAuthBackend(one, ann.load), JWTAuthBackend(other, ben.load)])) as client:
        for number, name in ((1, "ann"), (2, "ben")):
            pair = login(client, f"{name}@example.com").json()
            following = client.post(f"{PREFIX}/refresh", json={"refresh_token": pair["refresh_token"]})
            assert (
                client.get(f"{PREFIX}/me", headers=bearer(following.json()["access_token"])).json()["id"]
                == number
            )
        gone = client.post(f"{PREFIX}/refresh", json={"refresh_token": f"{'a' * 32}.{'b' * 43}"})
        assert code(gone, 401) == "token_revoked"


# ---- what was never ours, and what comes late --------------------------------------------------------------


def test_a_made_up_refresh_token_ends_nothing() -> None:
    """Who knows the name of a session alone does not end it; a token of long ago, which was ours, does."""
    with site(JWTAuthBackend(CONFIG, Staff().load)) as client:
        pair = first = login(client).json()
        name = pair["refresh_token"].partition(".")[0]
        made_up = client.post(f"{PREFIX}/refresh", json={"refresh_token": f"{name}.{'a' * 43}"})
        assert code(made_up, 401) == "token_revoked"
        for _ in range(3):
            pair = client.post(f"{PREFIX}/refresh", json={"refresh_token": pair["refresh_token"]}).json()
        headers = bearer(pair["access_token"])
        assert client.get(f"{PREFIX}/me", headers=headers).status_code == 200
        reused = client.post(f"{PREFIX}/refresh", json={"refresh_token": first["refresh_token"]})
        assert code(reused, 401) == "token_reused"
        assert client.get(f"{PREFIX}/me", headers=headers).status_code == 401


@pytest.mark.parametrize("meanwhile", ["/end", "/renew", "/change"])
def test_a_late_renewal(meanwhile: str) -> None:
    """A session that was ended or renewed meanwhile is not renewed; one that was only changed is."""
    app = Jetio(settings=SETTINGS, metadata=new_base().metadata, database="sqlite+aiosqlite://")
    app.add_middleware(ServerSessions, store=MemorySessions())
    gate, entered = asyncio.Event(), asyncio.Event()

    @app.post("/late")
    async def late(request: Request) -> None:
        request.session["level"] = 2
        renew_session(request)
        entered.set()
        await gate.wait()

    @app.post("/{what}")
    async def do(what: str, request: Request) -> None:
        if what == "end":
            request.session.clear()
        else:
            request.session["word"] = what
        if what == "renew":
            renew_session(request)

    async def race(cookie: str) -> Any:
        headers = {"cookie": f"session={cookie}"}
        under_way = asyncio.create_task(call(app, "POST", "/late", headers=headers))
        await entered.wait()
        await call(app, "POST", meanwhile, headers=headers)
        gate.set()
        return await under_way

    with TestClient(app) as client:
        assert client.portal is not None
        client.post("/begin")
        answer: Any = client.portal.call(race, client.cookies["session"])
    assert answer.status == 204
    assert ("set-cookie" in answer.headers) is (meanwhile == "/change")
