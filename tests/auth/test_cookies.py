"""Tokens in cookies: how they are set, and that no other site can use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from jetio import ConfigError, CrudRouter, Jetio, Principal, Settings, add_swagger_ui
from jetio_auth import AuthRouter, JWTConfig
from tests.auth.forum import PASSWORD, Post, User, bearer, new_app

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"
BOTH = ("header", "cookie")


@contextmanager
def browser(
    url: str, app: Jetio | None = None, prefix: str = "", disable: Sequence[str] = (), **options: Any
) -> Iterator[TestClient]:
    """A client that keeps cookies, of an application that gives them; ann has an account."""
    app = app or new_app(url)
    config = {"secret_key": SECRET, "token_location": BOTH, **options}
    auth = AuthRouter(User, prefix=prefix, jwt=JWTConfig(**config), disable=disable)
    auth.register_routes(app)
    CrudRouter(Post, policy={"*": auth.owner_or_admin(Post)}).register_routes(app)

    add_swagger_ui(app)

    @app.websocket("/talk")
    async def talk(socket: WebSocket, principal: Principal) -> None:
        await socket.accept()
        await socket.send_text(principal.username or "")
        await socket.close()

    with TestClient(app, base_url="http://site.example", raise_server_exceptions=False) as client:
        account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        assert client.post(f"{prefix}/register", json=account).status_code == 201
        yield client


def login(client: TestClient, prefix: str = "", **options: Any) -> Any:
    return client.post(f"{prefix}/login", json={"username": "ann", "password": PASSWORD}, **options)


def cookies_of(answer: Any) -> dict[str, Any]:
    """What an answer sets, by name."""
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        (morsel,) = SimpleCookie(line).values()
        found[morsel.key] = morsel
    return found


def write(client: TestClient, **headers: Any) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/posts", json={"title": "tea"}, headers=named)


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    found: str = answer.json()["code"]
    return found


def test_what_a_login_sets(sqlite_url: str) -> None:
    """Scripts read neither token; the refresh token goes to its own route; what the header repeats is readable."""
    with browser(sqlite_url, prefix="/auth") as client:
        answer = login(client, "/auth")
        found = cookies_of(answer)
        assert found.keys() == {"access_token", "refresh_token", "csrf_token"}
        assert {name: bool(item["httponly"]) for name, item in found.items()} == {
            "access_token": True,
            "refresh_token": True,
            "csrf_token": False,
        }
        assert {item["samesite"] for item in found.values()} == {"lax"}
        assert [found[name]["path"] for name in found] == ["/", "/auth/refresh", "/"]
        assert [found[name]["max-age"] for name in found] == ["3600", "86400", "86400"]
        assert found["access_token"].value == answer.json()["access_token"]
        assert not any(item["secure"] or item["domain"] for item in found.values())


def test_cookies_are_secure_in_production(sqlite_url: str) -> None:
    """Without a word in the configuration; `cookie_secure` and `cookie_samesite` say otherwise."""
    settings = Settings(env="production", secret_key=SECRET * 2)
    app = new_app(sqlite_url, settings=settings)

    async def tables() -> None:
        await app.database.create_tables(User.metadata)

    app.on_event("startup")(tables)
    with browser(sqlite_url, app) as client:
        client.base_url = client.base_url.copy_with(scheme="https")
        assert all(item["secure"] for item in cookies_of(login(client)).values())


def test_flags_are_chosen(sqlite_url: str) -> None:
    """The name and every flag follow JWTConfig."""
    options: dict[str, Any] = {
        "cookie_secure": True,
        "cookie_samesite": "strict",
        "cookie_httponly": False,
        "cookie_name": "at",
    }
    with browser(sqlite_url, **options) as client:
        found = cookies_of(login(client))
        assert found.keys() == {"at", "refresh_token", "csrf_token"}
        assert {item["samesite"] for item in found.values()} == {"strict"}
        assert all(item["secure"] and not item["httponly"] for item in found.values())


def test_reading_needs_the_cookie_alone(sqlite_url: str) -> None:
    """A safe request is the account's without further proof."""
    with browser(sqlite_url) as client:
        assert client.get("/me").status_code == 401
        login(client)
        assert client.get("/me").json()["username"] == "ann"


def test_writing_needs_the_header_too(sqlite_url: str) -> None:
    """Without the readable cookie's value in X-CSRF-Token nothing is written."""
    with browser(sqlite_url) as client:
        token = login(client).json()["access_token"]
        csrf = client.cookies["csrf_token"]
        assert code(write(client), 403) == "csrf_failed"
        assert code(write(client, x_csrf_token="0" * 64), 403) == "csrf_failed"
        assert code(write(client, x_csrf_token="\u00e9".encode()), 403) == "csrf_failed"
        assert client.get("/posts").json() == []
        assert write(client, x_csrf_token=csrf).status_code == 201
        assert write(client, **bearer(token)).status_code == 201


def test_a_planted_cookie_is_of_no_use(sqlite_url: str) -> None:
    """Whoever can set a cookie of the site still does not know what belongs to this session."""
    with browser(sqlite_url) as client:
        login(client)
        other = client.cookies["csrf_token"]
        login(client)
        assert client.cookies["csrf_token"] != other
        client.cookies.set("csrf_token", other, domain="site.example.local")
        assert code(write(client, x_csrf_token=other), 403) == "csrf_failed"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": ""},
        {"origin": "http://evil.example", "sec_fetch_site": "same-origin"},
        {"origin": "http://site.example.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_other_sites_write_nothing(sqlite_url: str, headers: dict[str, str]) -> None:
    """A request that the browser says comes from elsewhere is refused, whatever else it holds."""
    with browser(sqlite_url) as client:
        login(client)
        csrf = client.cookies["csrf_token"]
        assert code(write(client, x_csrf_token=csrf, **headers), 403) == "csrf_failed"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        assert code(login(client, headers=named), 403) == "csrf_failed"
        assert code(client.post("/refresh", headers=named), 403) == "csrf_failed"
        own = {"origin": "http://site.example", "sec_fetch_site": "same-origin"}
        assert write(client, x_csrf_token=csrf, **own).status_code == 201


def test_a_header_wins(sqlite_url: str) -> None:
    """With both, the header is the credential, and a bad one is a 401 beside a good cookie."""
    with browser(sqlite_url) as client:
        login(client)
        assert client.get("/me", headers=bearer("nonsense")).status_code == 401
        assert client.get("/me").status_code == 200


def test_refreshing_by_cookie(sqlite_url: str) -> None:
    """The browser gives what scripts may read, and gets the next cookies; no token is shown to its scripts."""
    with browser(sqlite_url) as client:
        login(client)
        before = client.cookies["access_token"], client.cookies["refresh_token"]
        assert code(client.post("/refresh"), 403) == "csrf_failed"
        answer = client.post("/refresh", headers={"X-CSRF-Token": client.cookies["csrf_token"]})
        assert answer.status_code == 200
        assert answer.json().keys() == {"token_type", "expires_in", "refresh_expires_in"}
        assert cookies_of(answer).keys() == {"access_token", "refresh_token", "csrf_token"}
        assert (client.cookies["access_token"], client.cookies["refresh_token"]) != before
        assert write(client, x_csrf_token=client.cookies["csrf_token"]).status_code == 201
        client.cookies.clear()
        assert code(client.post("/refresh"), 422) == "validation"


def test_a_logout_takes_the_cookies_away(sqlite_url: str) -> None:
    """And the session is over for whoever kept them."""
    with browser(sqlite_url) as client:
        token = login(client).json()["access_token"]
        csrf = client.cookies["csrf_token"]
        assert code(client.post("/logout"), 403) == "csrf_failed"
        answer = client.post("/logout", headers={"X-CSRF-Token": csrf})
        assert answer.status_code == 200
        assert {item["max-age"] for item in cookies_of(answer).values()} == {"0"}
        assert not dict(client.cookies)
        client.cookies.set("access_token", token)
        assert client.get("/me").status_code == 401


def test_a_changed_password_sets_new_cookies(sqlite_url: str) -> None:
    """The browser stays logged in."""
    with browser(sqlite_url) as client:
        login(client)
        body = {"current_password": PASSWORD, "new_password": "another long password"}
        headers = {"X-CSRF-Token": client.cookies["csrf_token"]}
        assert client.post("/change-password", json=body, headers=headers).status_code == 200
        assert client.get("/me").status_code == 200


def test_cookies_alone(sqlite_url: str) -> None:
    """With `token_location="cookie"` a header is no credential, and no answer shows a token."""
    with browser(sqlite_url, token_location="cookie") as client:
        answer = login(client)
        assert answer.json().keys() == {"token_type", "expires_in", "refresh_expires_in"}
        token = client.cookies["access_token"]
        assert client.get("/me").status_code == 200
        client.cookies.clear()
        assert client.get("/me", headers=bearer(token)).status_code == 401
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes == {"TokenCookie": {"type": "apiKey", "in": "cookie", "name": "access_token"}}


def test_no_refresh_cookie_without_refreshing(sqlite_url: str) -> None:
    """With refreshing switched off a login sets the access token and what guards it, which end together."""
    with browser(sqlite_url, disable=["refresh"]) as client:
        set_now = cookies_of(login(client))
        assert sorted(set_now) == ["access_token", "csrf_token"]
        assert len({morsel["max-age"] for morsel in set_now.values()}) == 1
        assert client.get("/me").status_code == 200


def test_no_cookies_unless_asked_for(sqlite_url: str) -> None:
    """By default a login sets none, and one that comes along means nothing."""
    with browser(sqlite_url, token_location="header") as client:
        answer = login(client)
        assert "set-cookie" not in answer.headers
        client.cookies.set("access_token", answer.json()["access_token"])
        assert client.get("/me").status_code == 401


def test_a_socket_is_opened_by_our_own_pages(sqlite_url: str) -> None:
    """A handshake with the cookie needs our origin: a browser always tells it."""
    with browser(sqlite_url) as client:
        login(client)
        with client.websocket_connect(
            "ws://site.example/talk", headers={"origin": "http://site.example"}
        ) as socket:
            assert socket.receive_text() == "ann"
        for headers in ({"origin": "http://evil.example"}, {}):
            with client.websocket_connect("ws://site.example/talk", headers=headers) as socket:  # noqa: SIM117
                with pytest.raises(WebSocketDisconnect) as told:
                    socket.receive_text()
            assert (told.value.code, told.value.reason) == (4403, "csrf_failed")


def test_the_documentation_names_the_ways(sqlite_url: str) -> None:
    """Header, cookie, and a header of one's own are different security schemes."""
    with browser(sqlite_url) as client:
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes["TokenCookie"] == {"type": "apiKey", "in": "cookie", "name": "access_token"}
        assert schemes["OAuth2PasswordBearer"]["type"] == "oauth2"


def test_a_header_of_ones_own(sqlite_url: str) -> None:
    """`token_header` and an empty `token_prefix` take the bare token, and say so."""
    with browser(
        sqlite_url, token_location="header", token_header="X-Admin-Token", token_prefix=""
    ) as client:
        token = login(client).json()["access_token"]
        assert client.get("/me", headers={"X-Admin-Token": token}).status_code == 200
        assert client.get("/me", headers=bearer(token)).status_code == 401
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes == {"TokenHeader": {"type": "apiKey", "in": "header", "name": "X-Admin-Token"}}


def test_cookies_for_other_sites_are_secure(sqlite_url: str) -> None:
    """Browsers drop a cookie for other sites that may travel in the clear: that stops a start in production."""
    app = new_app(sqlite_url, settings=Settings(env="production", secret_key=SECRET * 2))
    options: dict[str, Any] = {"cookie_samesite": "none", "cookie_secure": False}
    with pytest.raises(ConfigError, match="needs Secure cookies"), browser(sqlite_url, app, **options):
        pass


def test_https_is_not_left(sqlite_url: str) -> None:
    """A page of the same host over plain HTTP is another site."""
    with browser(sqlite_url) as client:
        client.base_url = client.base_url.copy_with(scheme="https")
        login(client)
        csrf = client.cookies["csrf_token"]
        refused = write(client, x_csrf_token=csrf, origin="http://site.example")
        assert code(refused, 403) == "csrf_failed"
        assert write(client, x_csrf_token=csrf, origin="https://site.example").status_code == 201


def test_another_site_plants_no_session(sqlite_url: str) -> None:
    """A refresh token of its own, in the body or the header, does not become the browser's cookie."""
    with browser(sqlite_url) as client:
        token = login(client).json()["refresh_token"]
        evil = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        for sent in ({"json": {"refresh_token": token}}, {"headers": {"X-Refresh-Token": token}}):
            headers = {**evil, **sent.get("headers", {})}
            answer = client.post("/refresh", headers=headers, json=sent.get("json"))
            assert code(answer, 403) == "csrf_failed"


def test_below_another_path(sqlite_url: str) -> None:
    """The refresh cookie goes where the route is, also behind a proxy that adds a path."""
    with browser(sqlite_url, prefix="/auth") as client:
        below = TestClient(client.app, base_url="http://site.example", root_path="/api")
        found = cookies_of(below.post("/api/auth/login", json={"username": "ann", "password": PASSWORD}))
        assert found["refresh_token"]["path"] == "/api/auth/refresh"
        below.cookies.clear()


def test_dead_cookies_are_taken_away(sqlite_url: str) -> None:
    """Scripts cannot drop what they do not see: the refusal does it."""
    with browser(sqlite_url) as client:
        login(client)
        csrf = {"X-CSRF-Token": client.cookies["csrf_token"]}
        token = client.cookies["access_token"]
        assert client.delete("/sessions?all=true", headers={**csrf}).status_code == 204
        refused = client.get("/me")
        assert code(refused, 401) == "token_revoked"
        assert cookies_of(refused)["access_token"]["max-age"] == "0"
        refused = client.post("/refresh", headers=csrf)
        assert code(refused, 401) == "token_revoked"
        assert cookies_of(refused)["refresh_token"]["max-age"] == "0"
        assert token not in str(client.cookies)
        assert client.get("/me").json()["code"] == "not_authenticated"


def test_cookies_need_sessions(sqlite_url: str) -> None:
    """Without them no logout could end what a browser keeps."""
    with pytest.raises(ConfigError, match="cookies need sessions"):
        AuthRouter(User, jwt=JWTConfig(token_location="cookie"), disable=["sessions", "refresh"])


@pytest.mark.parametrize(
    "options",
    [
        {"token_location": "query"},
        {"token_location": ()},
        {"cookie_samesite": "Lax"},
        {"cookie_name": "csrf_token"},
        {"cookie_name": "a b"},
        {"cookie_name": "\u00e9"},
        {"cookie_name": ""},
    ],
)
def test_places_that_are_none(options: dict[str, Any]) -> None:
    """A place or a flag that does not exist is a mistake that says what to write."""
    with pytest.raises(ConfigError, match="write"):
        JWTConfig(**options)


def test_plain_cookies_stop_a_start_in_production(sqlite_url: str) -> None:
    """Tokens over plain HTTP are refused there, and a warning here."""
    app = new_app(sqlite_url, settings=Settings(env="production", secret_key=SECRET * 2))
    with pytest.raises(ConfigError, match="plain HTTP"), browser(sqlite_url, app, cookie_secure=False):
        pass
