"""API tokens: what a program gets from an account, what it may do with it, and when that ends."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import text
from starlette.websockets import WebSocket

from jetio import Authenticator, ConfigError, Jetio, Principal, SecurityContext
from jetio.dialects import sqlite_driver
from jetio_auth import AuthRouter, JWTConfig, Lockout, requires_scope
from jetio_auth.backends import ApiTokenAuthenticator
from jetio_auth.backends import api_tokens as remembering
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, call, new_app, serving

TABLE = "jetio_auth_users_api_tokens"


def add_routes(app: Jetio, auth: AuthRouter) -> None:
    @app.post("/articles", policy=auth.requires_scope("posts:write"))
    async def write(principal: Principal) -> dict[str, Any]:
        return {"method": principal.method, "who": principal.username}

    @app.get("/articles")
    @requires_scope("posts:read", "posts:list")
    async def read(principal: Principal) -> list[str]:
        found = SecurityContext.require()
        assert found is principal
        return sorted(found.scopes)

    @app.get("/admins", policy=auth.admin_only())
    async def admins() -> str:
        return "in"


@contextmanager
def new_site(url: str, **options: Any) -> Iterator[Site]:
    app = new_app(url)
    auth = AuthRouter(User, lockout=Lockout(address_failures=1000), enable=["api_tokens"], **options)
    auth.register_routes(app)
    add_routes(app, auth)
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


def order(person: Person, *scopes: str, **fields: Any) -> dict[str, Any]:
    """What the answer says of a new token."""
    answer = person.post("/tokens", {"name": "build", "scopes": list(scopes), **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def use(site: Site, token: str, method: str = "GET", path: str = "/me") -> Any:
    return site.client.request(method, path, headers=bearer(token))


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    found: str = answer.json()["code"]
    return found


def stored(site: Site, column: str) -> list[Any]:
    async def read() -> list[Any]:
        async with site.app.database.sessions() as session:
            return list(await session.scalars(text(f"SELECT {column} FROM {TABLE}")))  # noqa: S608 - our own names

    found: list[Any] = site.run(read)
    return found


# ---- a life ------------------------------------------------------------------------------------------------


def test_a_token_from_its_making_to_its_end(site: Site) -> None:
    """The secret is shown once, stored as a hash, listed without itself, and good until it is deleted."""
    ann = site.person("ann")
    answer = ann.post("/tokens", {"name": " build ", "scopes": ["posts:*"]})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    assert made["token"].startswith("jtp_")
    assert len(made["token"]) == 4 + 43 + 6
    assert (made["name"], made["scopes"], made["last_used_at"]) == ("build", ["posts:*"], None)
    assert made["token"] not in str(stored(site, "hash") + stored(site, "name"))
    assert use(site, made["token"]).json()["auth"]["method"] == "api_token"
    [listed] = ann.get("/tokens").json()
    assert "token" not in listed
    assert listed["last_used_at"] is not None
    assert use(site, made["token"], "POST", "/articles").json() == {
        "method": "api_token",
        "who": ann.username,
    }
    assert ann.delete(f"/tokens/{made['id']}").status_code == 204
    assert code(use(site, made["token"]), 401) == "not_authenticated"
    assert ann.get("/tokens").json() == []


def test_of_several_who_take_the_last_place_one_gets_it(site: Site) -> None:
    """An account has fifty tokens at most, also when many are asked for at once."""
    ann = site.person("ann")
    fields = "id, user_id, hash, epoch, name, scopes, created, expires"

    async def fill() -> None:
        async with site.app.database.sessions() as session:
            for number in range(48):
                values = f"'x{number}', user_id, 'h{number}', epoch, 'copy', scopes, created, expires"
                source = f"FROM {TABLE} WHERE name = 'build'"
                await session.execute(text(f"INSERT INTO {TABLE} ({fields}) SELECT {values} {source}"))
            await session.commit()

    async def race() -> list[int]:
        body = {"name": "late", "scopes": []}
        calls = [call(site.app, "POST", "/tokens", body, headers=ann.headers) for _ in range(6)]
        return sorted(answer.status for answer in await asyncio.gather(*calls))

    order(ann)
    site.run(fill)
    assert site.run(race) == [201, 409, 409, 409, 409, 409]
    assert code(ann.post("/tokens", {"name": "more", "scopes": []}), 409) == "too_many_tokens"
    assert len(ann.get("/tokens").json()) == 50


def test_a_token_ends_with_its_account(site: Site) -> None:
    """A disabled account's token is refused and works again with the account; a deleted account leaves none."""
    ann = site.person("ann")
    token = order(ann)["token"]
    site.change(ann, is_active=False)
    assert code(use(site, token), 401) == "token_revoked"
    site.change(ann, is_active=True)
    assert use(site, token).status_code == 200

    async def delete() -> None:
        async with site.app.database.sessions() as session:
            await session.delete(await session.get(User, ann.id))
            await session.commit()

    site.run(delete)
    assert code(use(site, token), 401) == "not_authenticated"
    assert stored(site, "id") == []


def test_a_token_ends_with_the_password(quick: Site) -> None:
    """Whoever has known the old password may have made tokens: they end, and are listed and counted no more."""
    ann = quick.person("ann")
    token = order(ann)["token"]
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    ann.token = ann.post("/change-password", body).json()["access_token"]
    assert code(use(quick, token), 401) == "token_revoked"
    assert ann.get("/tokens").json() == []
    order(ann)
    assert len(stored(quick, "id")) == 1


def test_a_logout_everywhere_leaves_programs_alone(quick: Site) -> None:
    """Sessions are of people; `DELETE /tokens` ends what programs have, and no token of another account."""
    ann, ben = quick.person("ann"), quick.person("ben")
    token, other = order(ann)["token"], order(ben)["token"]
    assert ann.post("/logout", {"all": True}).status_code == 200
    assert use(quick, token).status_code == 200
    ann.token = quick.login(ann.username).json()["access_token"]
    assert ann.delete("/tokens").status_code == 204
    assert use(quick, token).status_code == 401
    assert use(quick, other).status_code == 200


def test_a_token_expires(quick: Site) -> None:
    """By itself, at the second that was said; without a word after ninety days, and never after more than a year."""
    with time_machine.travel(time.time(), tick=False) as clock:
        ann = quick.person("ann")
        short, usual = order(ann, expires_in=3600), order(ann)
        assert usual["expires_at"][:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + 90 * 86400))
        clock.shift(timedelta(seconds=3599))
        assert use(quick, short["token"]).status_code == 200
        clock.shift(timedelta(seconds=1))
        assert code(use(quick, short["token"]), 401) == "token_expired"
        ann.token = quick.login(ann.username).json()["access_token"]
        assert [item["id"] for item in ann.get("/tokens").json()] == [usual["id"]]
        assert code(ann.post("/tokens", {"name": "x", "scopes": [], "expires_in": 367 * 86400}), 422)


def test_the_last_use_is_written_once_a_minute(quick: Site) -> None:
    """Reading with a token does not cost a write each time."""
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        ann = quick.person("ann")
        token = order(ann)["token"]
        seen = []
        for seconds in (0, 30, 31, 30):
            clock.shift(timedelta(seconds=seconds))
            use(quick, token)
            seen += stored(quick, "used")
        assert [second - 1_800_000_000 for second in seen] == [0, 0, 61, 61]


# ---- what a token may do -----------------------------------------------------------------------------------


def test_a_token_has_its_own_scopes_and_a_login_has_all(quick: Site) -> None:
    """All scopes that a route names are needed; `posts:*` is a pattern, other words mean themselves."""
    ann = quick.person("ann")
    assert ann.post("/articles").status_code == 200
    assert ann.get("/articles").json() == ["*"]
    some = order(ann, "posts:write", "posts:read")["token"]
    answer = use(quick, some)
    assert answer.status_code == 200, "a route without scopes judges by the account"
    refusal = use(quick, some, "GET", "/articles")
    assert code(refusal, 403) == "insufficient_scope"
    assert 'scope="posts:read posts:list"' in refusal.headers["www-authenticate"]
    assert use(quick, some, "POST", "/articles").status_code == 200
    every = order(ann, "posts:*")["token"]
    assert use(quick, every, "GET", "/articles").json() == ["posts:*"]
    none = order(ann, "posts", "other:*")["token"]
    assert code(use(quick, none, "POST", "/articles"), 403) == "insufficient_scope"
    assert quick.client.post("/articles").status_code == 401


def test_a_token_has_the_rights_of_its_account(quick: Site) -> None:
    """They are the account's of now: an admin's token ends to be one with the admin's right."""
    admin, ann = quick.admin(), quick.person("ann")
    token = order(admin, "*")["token"]
    assert use(quick, token, "GET", "/admins").status_code == 200
    assert use(quick, order(ann, "*")["token"], "GET", "/admins").status_code == 403
    quick.change(admin, is_admin=False)
    assert use(quick, token, "GET", "/admins").status_code == 403


def test_a_token_that_was_seen_before_is_asked_about_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has the account and the token of now, however often it came; how many are remembered is bounded."""
    monkeypatch.setattr(remembering, "_REMEMBERED", 2)
    ann = site.admin()
    made = [order(ann, "posts:write") for _ in range(4)]
    tokens = [one["token"] for one in made]
    for token in tokens * 3:
        assert use(site, token, "POST", "/articles").json()["who"] == ann.username
        assert use(site, token, "GET", "/admins").status_code == 200
    site.change(ann, is_admin=False)
    assert {use(site, token, "GET", "/admins").status_code for token in tokens * 2} == {403}
    site.change(ann, is_active=False)
    assert {code(use(site, token), 401) for token in tokens * 2} == {"token_revoked"}
    site.change(ann, is_active=True)
    assert {use(site, token).status_code for token in tokens * 2} == {200}
    assert ann.delete(f"/tokens/{made[3]['id']}").status_code == 204
    assert [use(site, token).status_code for token in tokens] == [200, 200, 200, 401]
    with time_machine.travel(time.time() + 91 * 86400, tick=False):
        assert {code(use(site, token), 401) for token in tokens[:3]} == {"token_expired"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/tokens", {"name": "more", "scopes": ["*"]}),
        ("GET", "/tokens", None),
        ("DELETE", "/tokens", None),
        ("DELETE", "/tokens/any", None),
        ("GET", "/sessions", None),
        ("DELETE", "/sessions", None),
        ("POST", "/change-password", {"current_password": PASSWORD, "new_password": "another password"}),
    ],
)
def test_a_token_manages_no_account(quick: Site, method: str, path: str, body: Any) -> None:
    """Neither an API token nor one of `create_token` with scopes makes tokens, ends sessions or changes a password."""
    ann = quick.person("ann")

    async def mint() -> str:
        async with quick.app.database.sessions() as session:
            return quick.auth.create_token(await session.get(User, ann.id), scopes=["*"])

    for token in (order(ann, "*")["token"], quick.run(mint)):
        answer = quick.client.request(method, path, headers=bearer(token), json=body)
        assert code(answer, 403) == "delegated"


def test_a_token_of_the_application_has_its_scopes(quick: Site) -> None:
    """`create_token(scopes=)` writes the claim `scope`; without it a token has what a login has."""
    ann = quick.person("ann")

    async def mint(scopes: list[str] | None) -> str:
        async with quick.app.database.sessions() as session:
            return quick.auth.create_token(await session.get(User, ann.id), scopes=scopes)

    found = [
        use(quick, quick.run(mint, scopes), "POST", "/articles").status_code
        for scopes in (None, ["posts:write"], ["posts:read"], [])
    ]
    assert found == [200, 200, 403, 403]


def test_making_a_token_takes_a_fresh_login(quick: Site) -> None:
    """A quarter of an hour after the login another one is asked for; listing and ending needs none."""
    with time_machine.travel(time.time(), tick=False) as clock:
        ann = quick.person("ann")
        made = order(ann)
        clock.shift(timedelta(minutes=16))
        assert code(ann.post("/tokens", {"name": "late", "scopes": []}), 401) == "fresh_login_required"
        assert ann.delete(f"/tokens/{made['id']}").status_code == 204


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": []},
        {"name": "", "scopes": []},
        {"name": "   ", "scopes": []},
        {"name": "a\0b", "scopes": []},
        {"name": "x" * 101, "scopes": []},
        {"name": "x"},
        {"name": "x", "scopes": ["two words"]},
        {"name": "x", "scopes": ["[a-z]"]},
        {"name": "x", "scopes": ["x"] * 51},
        {"name": "x", "scopes": [], "expires_in": 59},
        {"name": "x", "scopes": [], "expires_in": None},
        {"name": "x", "scopes": [], "user_id": 1},
    ],
)
def test_an_order_that_is_refused(quick: Site, body: dict[str, Any]) -> None:
    """Names are 1 to 100 characters, scopes are words, and every token ends."""
    ann = quick.person("ann")
    assert ann.post("/tokens", body).status_code == 422
    assert ann.get("/tokens").json() == []


def test_tokens_that_are_none(quick: Site) -> None:
    """One letter changed, cut, longer, in other letters, twice: 401, and what fails the checksum asks no database."""
    token = order(quick.person("ann"))["token"]
    changed = token[:10] + ("a" if token[10] != "a" else "b") + token[11:]
    for wrong in (changed, token[:-1], token + "x", token.upper(), "jtp_", "jtp_é", token + " " + token):
        answer = quick.client.get("/me", headers=[(b"Authorization", f"Bearer {wrong}".encode("latin-1"))])
        assert code(answer, 401) == "not_authenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    twice = [("Authorization", f"Bearer {token}")] * 2
    assert quick.client.get("/me", headers=twice).status_code == 401


def test_somebody_elses_token_is_not_there(quick: Site) -> None:
    """Its id is no secret, and of no use to others."""
    ann, ben = quick.person("ann"), quick.person("ben")
    made = order(ann)
    assert code(ben.delete(f"/tokens/{made['id']}"), 404) == "not_found"
    assert use(quick, made["token"]).status_code == 200


def test_what_is_off_is_not_there(sqlite_url: str) -> None:
    """Without `enable=["api_tokens"]` there is no route, no table and no kind of token."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    with serving(app, auth) as site:
        assert site.person("ann").get("/tokens").status_code == 404
        assert use(site, "jtp_abc").status_code == 401
        assert "/tokens" not in app.openapi()["paths"]
        with pytest.raises(ConfigError, match="api_tokens"):
            _ = auth.programs


def test_tokens_beside_cookies(sqlite_url: str) -> None:
    """Where people have cookies, programs have the header; it is exempt from what guards cookies."""
    with new_site(sqlite_url, jwt=JWTConfig(token_location="cookie")) as site:
        site.register("ann")
        site.login("ann")
        csrf = {"X-CSRF-Token": site.client.cookies["csrf_token"]}
        answer = site.client.post("/tokens", json={"name": "x", "scopes": ["posts:*"]}, headers=csrf)
        token = answer.json()["token"]
        site.client.cookies.clear()
        assert use(site, token, "POST", "/articles").json()["method"] == "api_token"
        schemes = site.app.openapi()["components"]["securitySchemes"]
        assert set(schemes) == {"TokenCookie", "ApiToken"}


def test_tokens_in_a_header_of_another_name(sqlite_url: str) -> None:
    """Programs use the header that people use, and the document names it once."""
    with new_site(sqlite_url, jwt=JWTConfig(token_header="X-Token", token_prefix="")) as site:
        site.register("ann")
        login = {"X-Token": site.login("ann").json()["access_token"]}
        answer = site.client.post("/tokens", json={"name": "x", "scopes": ["posts:*"]}, headers=login)
        token = answer.json()["token"]
        assert site.client.post("/articles", headers={"X-Token": token}).json()["method"] == "api_token"
        assert use(site, token, "POST", "/articles").status_code == 401
        assert "ApiToken" not in site.app.openapi()["components"]["securitySchemes"]


def test_the_letters_of_a_token_elsewhere_are_no_credential(quick: Site) -> None:
    """A token in another header logs nobody in, and leaves the credential beside it alone."""
    ann = quick.person("ann")
    elsewhere = {"X-Note": order(ann)["token"]}
    assert code(quick.client.get("/me", headers=elsewhere), 401) == "not_authenticated"
    shown = quick.client.get("/me", headers={**elsewhere, **ann.headers}).json()
    assert shown["auth"]["method"] == "jwt"


def test_a_token_works_while_the_database_takes_no_writes(
    quick: Site, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is answered; only when the token was used stays unknown."""
    monkeypatch.setattr(sqlite_driver, "WAIT_SECONDS", 0.1)
    token = order(quick.person("ann"))["token"]
    with closing(sqlite3.connect(sqlite_url.partition("///")[2], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert use(quick, token).status_code == 200
        other.execute("ROLLBACK")
    assert stored(quick, "used") == [None]
    assert use(quick, token).status_code == 200
    assert stored(quick, "used") != [None]


def test_what_finds_programs_is_an_authenticator(quick: Site) -> None:
    """By itself, too, it knows the accounts' model, and which principal an account would be."""
    ann = quick.person("ann")

    async def row() -> Any:
        async with quick.app.database.sessions() as session:
            return await session.get(User, ann.id)

    finder: Authenticator = ApiTokenAuthenticator(quick.auth.authenticator, quick.auth.programs._tokens)
    assert finder.user_model is User
    assert finder.principal_of(quick.run(row)).username == ann.username


def test_the_document_says_where_tokens_are_of_use(quick: Site) -> None:
    """What only the owner of an account may do takes no API token, and is documented so."""
    paths = quick.app.openapi()["paths"]

    def schemes(path: str, method: str) -> set[str]:
        return {name for way in paths[path][method]["security"] for name in way}

    assert schemes("/me", "get") == {"ApiToken", "OAuth2PasswordBearer"}
    for path, method in (("/tokens", "post"), ("/change-password", "post"), ("/sessions", "delete")):
        assert schemes(path, method) == {"OAuth2PasswordBearer"}


def test_what_happens_to_tokens_is_told(quick: Site) -> None:
    """Making and ending are events with the token's id, and without its secret."""
    told: list[Any] = []
    quick.auth.on("api_token.*", told.append)
    ann = quick.person("ann")
    made = order(ann)
    ann.delete(f"/tokens/{made['id']}")
    assert [(event.name, event.user_id) for event in told] == [
        ("api_token.created", str(ann.id)),
        ("api_token.revoked", str(ann.id)),
    ]
    assert all(event.detail == {"token": made["id"]} for event in told)


def test_a_socket_takes_a_token(quick: Site, sqlite_url: str) -> None:
    """WebSockets find the caller as routes do."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, enable=["api_tokens"])
    auth.register_routes(app)

    @app.websocket("/live", policy=auth.requires_scope("live"))
    async def live(socket: WebSocket, principal: Principal) -> None:
        await socket.accept()
        await socket.send_text(principal.method)
        await socket.close()

    with serving(app, auth) as site:
        token = order(site.person("ann"), "live")["token"]
        with site.client.websocket_connect("/live", headers=bearer(token)) as socket:
            assert socket.receive_text() == "api_token"
