"""Logins by other services, against a provider that runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyotp
import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import ConfigError, Jetio, Problem, Settings
from jetio_auth import (
    AuthRouter,
    JetioApprovalMixin,
    JetioAuthMixin,
    JWTConfig,
    Lockout,
    Mail,
    OAuth,
    OAuthProfile,
    OAuthProvider,
    RemoteIssuer,
    github,
    google,
    microsoft,
)
from tests.auth.forum import PASSWORD, SETTINGS, Site, bearer, call, new_base
from tests.auth.post import Outbox
from tests.auth.provider import CLIENT_SECRET
from tests.auth.remote import Provider
from tests.auth.soft_key import SoftKey
from tests.live import LiveServer, serve

CLIENT = "forum/ & co"
ANN = {"sub": "ann-1", "email": "Ann@Example.com", "email_verified": True, "preferred_username": "ann"}
DOMAIN = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("provider"), "tests.auth.provider:app") as server:
        yield server


@pytest.fixture
def provider(server: LiveServer) -> Provider:
    found = Provider(server)
    found.change(user=ANN)
    return found


def known(provider: Provider, name: str = "idp", **options: Any) -> OAuthProvider:
    """The issuer as an application knows it."""
    return OAuthProvider(
        **{
            "name": name,
            "client_id": CLIENT,
            "client_secret": CLIENT_SECRET,
            "issuer": provider.issuer,
            **options,
        }
    )


class Forum(Site):
    """An application with these logins, and what a browser does with it."""

    server: LiveServer

    def begin(self, name: str = "idp", **query: str) -> Any:
        """The answer that sends the browser to the provider."""
        path = f"/oauth/{name}/authorize"
        return self.client.get(path, params=query, follow_redirects=False)

    def agree(self, url: str) -> str:
        """What the provider sends the browser back to, as a path of ours."""
        back = self.server.client.get(url, follow_redirects=False)
        assert back.status_code == 303, back.text
        parts = urlsplit(back.headers["location"])
        return f"{parts.path}?{parts.query}"

    def callback(self, name: str = "idp", **query: str) -> Any:
        """The answer to a whole way there and back."""
        begun = self.begin(name, **query)
        assert begun.status_code == 303, begun.text
        return self.back(self.agree(begun.headers["location"]))

    def back(self, path: str) -> Any:
        return self.client.get(path, follow_redirects=False)

    def exchange(self, location: str) -> Any:
        """The answer to the code behind the `#`."""
        return self.client.post("/oauth/token", json={"code": location.partition("#code=")[2]})

    def log_in(self, name: str = "idp") -> Any:
        """The tokens of a whole login."""
        back = self.callback(name)
        assert back.status_code == 303, back.text
        answer = self.exchange(back.headers["location"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, answer: Any) -> tuple[int, str]:
        """Status and code of a problem, which sets no cookie and sends nobody anywhere."""
        assert "location" not in answer.headers
        return answer.status_code, answer.json()["code"]

    def rows(self, name: str) -> list[Any]:
        table = self.app.metadata.tables[f"jetio_auth_users_{name}"]

        async def read() -> list[Any]:
            async with self.app.database.sessions() as session:
                return list(await session.execute(select(table)))

        found: list[Any] = self.run(read)
        return found


def new_user_model(**extra: Any) -> type[Any]:
    """Accounts whose addresses may be proven."""
    Model: Any = new_base()

    class User(Model, JetioAuthMixin):
        username: Mapped[str] = mapped_column(String(80), unique=True)
        email: Mapped[str] = mapped_column(unique=True)
        email_verified: Mapped[bool] = mapped_column(default=False)
        is_active: Mapped[bool] = mapped_column(default=True)

    for name, column in extra.items():
        setattr(User, name, column)
    return User


@contextmanager
def forum(
    server: LiveServer,
    url: str,
    *providers: OAuthProvider,
    base_url: str = "http://testserver",
    settings: Settings = SETTINGS,
    model: Any = None,
    oauth: Any = None,
    **options: Any,
) -> Iterator[Forum]:
    """The running application."""
    user = model or new_user_model()
    app = Jetio(database=url, settings=settings, metadata=user.metadata)
    config = OAuth(providers=providers, **{"paths": ["/", "/app/*"], **(oauth or {})})
    auth = AuthRouter(user, oauth=config, **options)
    auth.register_routes(app)
    with TestClient(app, base_url=base_url, raise_server_exceptions=False) as client:
        site = Forum(app, auth, client)
        site.server = server
        yield site


@pytest.fixture
def site(server: LiveServer, provider: Provider, sqlite_url: str) -> Iterator[Forum]:
    with forum(server, sqlite_url, known(provider)) as site:
        yield site


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


# ---- the way there and back --------------------------------------------------------------------------------


def test_a_login_by_a_provider(server: LiveServer, provider: Provider, database_url: str) -> None:
    """A new account without a password, its address proven; the next login finds it, under another name and address."""
    with forum(server, database_url, known(provider)) as site:
        heard: list[Any] = []
        site.auth.on("*", heard.append)
        pair = site.log_in()
        assert set(pair) == {
            "access_token",
            "token_type",
            "expires_in",
            "refresh_token",
            "refresh_expires_in",
        }
        me = site.client.get("/me", headers=bearer(pair["access_token"])).json()
        assert (me["username"], me["email"], me["email_verified"]) == ("ann", "ann@example.com", True)
        provider.change(user={**ANN, "email": "new@example.com", "preferred_username": "anna"})
        again = site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()
        assert again["id"] == me["id"]
        [session, _] = site.client.get("/sessions", headers=bearer(pair["access_token"])).json()
        assert session["method"] == "oauth"
        assert [event.name for event in heard] == [
            "user.registered",
            "identity.linked",
            "login.ok",
            "login.ok",
        ]
        [row] = site.rows("identities")
        assert (row.provider, row.subject, row.email) == ("idp", "ann-1", "ann@example.com")
        assert site.login("ann", "!").status_code == 401


def test_what_the_provider_is_asked(site: Forum) -> None:
    """Code, PKCE with S256, state and nonce, and the way back from the configuration, whatever the Host says."""
    begun = site.client.get("/oauth/idp/authorize", headers={"Host": "evil.example"}, follow_redirects=False)
    asked = query_of(begun.headers["location"])
    assert asked["redirect_uri"] == f"{DOMAIN}/oauth/idp/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert (asked["client_id"], asked["scope"]) == (CLIENT, "openid email profile")
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) == 43
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=600" in cookie
    assert begun.headers["cache-control"] == "no-store"
    assert begun.headers["referrer-policy"] == "no-referrer"
    told = {asked["state"], asked["nonce"]}
    assert not any(value in cookie for value in told)
    assert site.begin().headers["location"] != begun.headers["location"]


def test_the_flow_of_an_https_site_is_kept_from_neighbours(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """The cookie is Secure, and of a name that no other host can plant."""
    domain = {"domain": "forum.example/api"}
    with forum(server, sqlite_url, known(provider), oauth=domain, base_url="https://forum.example") as site:
        begun = site.begin()
        assert begun.headers["set-cookie"].startswith("__Host-oauth_flow=")
        assert "Path=/; SameSite=lax; Secure" in begun.headers["set-cookie"]
        asked = query_of(begun.headers["location"])
        assert asked["redirect_uri"] == "https://forum.example/api/oauth/idp/callback"
        back = site.back(site.agree(begun.headers["location"]).removeprefix("/api"))
        assert site.exchange(back.headers["location"]).status_code == 200


def test_providers_may_say_more(site: Forum) -> None:
    """Parameters that nobody asked for are no mistake (RFC 6749, 4.1.2)."""
    callback = site.agree(site.begin().headers["location"])
    assert site.back(f"{callback}&session_state=x&authuser=0&scope=openid").status_code == 303


@pytest.mark.parametrize("path", ["/", "/app/start", "/app/a.b/~c"])
def test_the_browser_goes_on_to_a_page_of_ours(site: Forum, path: str) -> None:
    """To the one it asked for; the code stands behind a `#`, which goes to no server."""
    location = site.callback(next=path).headers["location"]
    assert location.partition("#code=")[0] == path


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/app/",
        "//evil.example/app/",
        "/\\evil.example",
        "/app/../admin",
        "/app/%2e%2e/admin",
        "/app//evil",
        "/admin",
        "/app/?to=//evil.example",
        "/app/#x",
        "/app/\tx",
        "app/x",
        "/app/" + "x" * 200,
        "",
    ],
)
def test_the_browser_is_sent_nowhere_else(site: Forum, path: str) -> None:
    """A page that is not listed is refused before anybody is asked."""
    answer = site.begin(next=path)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "next"


def test_tokens_in_cookies_need_no_code(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """The callback sets them and sends the browser on; no token and no code is in any address."""
    with forum(server, sqlite_url, known(provider), jwt=JWTConfig(token_location="cookie")) as site:
        back = site.callback(next="/app/x")
        assert (back.status_code, back.headers["location"]) == (303, "/app/x")
        assert site.client.get("/me").json()["email"] == "ann@example.com"
        assert "oauth_flow" not in site.client.cookies


def test_an_unknown_provider_is_404(site: Forum) -> None:
    """For both addresses, and for adding one."""
    assert site.refusal(site.begin("other")) == (404, "not_found")
    assert site.refusal(site.back("/oauth/other/callback?state=x&code=y")) == (400, "oauth_state")


# ---- what is refused ---------------------------------------------------------------------------------------


def test_a_state_is_good_once(site: Forum) -> None:
    """A callback that comes back is refused, also before its code is exchanged, and its first code stays good."""
    begun = site.begin()
    cookie = begun.cookies["oauth_flow"]
    callback = site.agree(begun.headers["location"])
    first = site.back(callback)
    assert site.refusal(site.back(callback)) == (400, "oauth_state")
    assert site.exchange(first.headers["location"]).status_code == 200
    site.client.cookies.set("oauth_flow", cookie)
    assert site.refusal(site.back(callback)) == (400, "oauth_state")
    assert site.refusal(site.exchange(first.headers["location"])) == (400, "oauth_state")


def test_of_eight_callbacks_one_wins(server: LiveServer, provider: Provider, database_url: str) -> None:
    """And of eight exchanges of its code."""
    with forum(server, database_url, known(provider)) as site:
        callback = site.agree(site.begin().headers["location"])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(site.back, [callback] * 8))
        won = [answer.headers["location"] for answer in answers if answer.status_code == 303]
        assert len(won) == 1
        with ThreadPoolExecutor(8) as pool:
            codes = [answer.status_code for answer in pool.map(site.exchange, won * 8)]
        assert sorted(codes) == [200, *[400] * 7]


def test_a_callback_needs_the_browser_that_began(site: Forum) -> None:
    """Without its cookie, with another browser's, a changed state, or none."""
    begun = site.begin()
    callback = site.agree(begun.headers["location"])
    state = query_of(callback)["state"]
    other = callback.replace(state, state[:-1] + ("A" if state[-1] != "A" else "B"))
    assert site.refusal(site.back(other)) == (400, "oauth_state")
    assert site.refusal(site.back(callback.replace(f"state={state}", ""))) == (400, "oauth_state")
    site.begin()  # as another browser would
    assert site.refusal(site.back(callback)) == (400, "oauth_state")
    site.client.cookies.clear()
    assert site.refusal(site.back(callback)) == (400, "oauth_state")
    site.client.cookies.set("oauth_flow", begun.cookies["oauth_flow"][:-2])
    assert site.refusal(site.back(callback)) == (400, "oauth_state")


def test_a_flow_is_over_after_ten_minutes(site: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cookie is signed with its end, so that no browser can keep it."""
    callback = site.agree(site.begin().headers["location"])
    real = time.time
    monkeypatch.setattr("jetio_auth.jwt.time", lambda: real() + 606)
    assert site.refusal(site.back(callback)) == (400, "oauth_state")


def test_a_code_is_of_one_browser_and_one_minute(site: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the address of the page cannot use it, and nobody can later."""
    location = site.callback().headers["location"]
    cookie = site.client.cookies["oauth_flow"]
    site.client.cookies.clear()
    assert site.refusal(site.exchange(location)) == (400, "oauth_state")
    site.begin()
    assert site.refusal(site.exchange(location)) == (400, "oauth_state")
    site.client.cookies.clear()
    site.client.cookies.set("oauth_flow", cookie)
    assert site.refusal(site.exchange("#code=guess")) == (400, "oauth_state")
    real = time.time
    monkeypatch.setattr("jetio_auth.oauth.identities.time", lambda: real() + 61)
    assert site.refusal(site.exchange(location)) == (400, "oauth_state")


def test_an_answer_for_another_provider_is_refused(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """A mix-up: at another provider's callback, or with another issuer in the answer (RFC 9207)."""
    with forum(server, sqlite_url, known(provider), known(Provider(server), "evil")) as site:
        callback = site.agree(site.begin().headers["location"])
        assert site.refusal(site.back(callback.replace("/idp/", "/evil/"))) == (400, "oauth_state")
        provider.change(mode="mixed")
        assert site.refusal(site.callback()) == (401, "oauth_failed")
        provider.change(mode="good")
        callback = site.agree(site.begin().headers["location"])
        issuer = urlencode({"iss": provider.issuer})
        assert site.refusal(site.back(callback.replace(issuer, ""))) == (401, "oauth_failed")
        assert provider.asked("token") == 0
        provider.change(mode="silent")
        assert site.callback().status_code == 401  # the discovery document is remembered


def test_an_issuer_that_never_names_itself_is_believed(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """Providers from before RFC 9207 are told apart by their addresses."""
    provider.change(mode="silent")
    with forum(server, sqlite_url, known(provider)) as site:
        assert site.log_in()["token_type"] == "bearer"


@pytest.mark.parametrize(
    "token",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another"}},
        {"claims": {"aud": [CLIENT, "another"]}},
        {"claims": {"azp": "another"}},
        {"claims": {"iss": "https://somebody.example"}},
        {"claims": {"exp": 1}},
        {"claims": {"exp": None}},
        {"claims": {"iat": None}},
        {"claims": {"sub": None}},
        {"claims": {"sub": 5}},
        {"claims": {"sub": "x" * 256}},
        {"claims": {"sub": "a\0b"}},
        {"algorithm": "ES256"},
        {"algorithm": "EdDSA"},
        {"header": {"kid": "shared"}},
        {"header": {"kid": 5}},
        {"header": {"crit": ["x"]}},
    ],
)
def test_an_id_token_that_is_odd_is_refused(site: Forum, provider: Provider, token: dict[str, Any]) -> None:
    """Issuer, audience, nonce, dates, subject, and one algorithm; nothing of it is told, and no account is made."""
    provider.change(token=token)
    answer = site.callback()
    assert site.refusal(answer) == (401, "oauth_failed")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "another" not in answer.text
    assert site.rows("identities") == []


@pytest.mark.parametrize(
    ("mode", "refusal"),
    [
        ("tampered", (401, "oauth_failed")),
        ("broken", (503, "provider_unavailable")),
        ("denied", (403, "oauth_denied")),
    ],
)
def test_an_answer_that_proves_nothing_is_refused(
    site: Forum, provider: Provider, mode: str, refusal: tuple[int, str]
) -> None:
    """A changed ID token, a provider that fails, and one where somebody said no."""
    provider.change(mode=mode)
    assert site.refusal(site.callback()) == refusal
    provider.change(mode="good")
    assert site.log_in()


@pytest.mark.parametrize("mode", ["good", "polite"])
def test_a_code_of_somebody_else_is_refused(site: Forum, provider: Provider, mode: str) -> None:
    """A code that was made for another flow cannot be injected: the verifier is of this browser."""
    provider.change(mode=mode)
    stolen = query_of(site.agree(site.begin().headers["location"]))["code"]
    callback = site.agree(site.begin().headers["location"])
    injected = callback.replace(query_of(callback)["code"], stolen)
    assert site.refusal(site.back(injected)) == (401, "oauth_failed")
    replayed = site.agree(site.begin().headers["location"])
    assert site.refusal(site.back(replayed.replace(query_of(replayed)["code"], ""))) == (401, "oauth_failed")


def test_a_provider_that_is_away_is_503(server: LiveServer, sqlite_url: str) -> None:
    """Nothing at the start; a browser is told to come again."""
    away = OAuthProvider(name="idp", client_id="x", issuer="http://127.0.0.1:9/")
    with forum(server, sqlite_url, away) as site:
        answer = site.begin()
        assert site.refusal(answer) == (503, "provider_unavailable")
        assert answer.headers["retry-after"] == "5"


def test_returns_are_counted_by_address(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """Who sends many bad answers waits, and the provider is not asked for them; a good one does not count."""
    with forum(server, sqlite_url, known(provider), lockout=Lockout(address_failures=2)) as site:
        for _ in range(3):
            assert site.log_in()
        provider.change(mode="denied")
        told = [site.callback().status_code for _ in range(3)]
        assert told == [403, 403, 429]


# ---- whose login it is -------------------------------------------------------------------------------------


def register(site: Forum, **values: Any) -> Any:
    """An account with a password and Ann's address, logged in."""
    body = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
    assert site.client.post("/register", json=body).status_code == 201
    token = site.login("ann").json()["access_token"]
    key = site.client.get("/me", headers=bearer(token)).json()["id"]
    person = type("Known", (), {"id": key, "headers": bearer(token)})()
    if values:
        site.change(person, **values)
    return person


def test_an_account_is_linked_if_both_addresses_are_proven(site: Forum, provider: Provider) -> None:
    """By the account's own flag and the provider's word; otherwise it is 409, and a way is told."""
    person = register(site)
    answer = site.callback()
    assert site.refusal(answer) == (409, "account_exists")
    assert "log in to it" in answer.json()["detail"]
    site.change(person, email_verified=True)
    for unproven in ({"email_verified": False}, {"email_verified": None}, {"email_verified": "yes"}):
        provider.change(user={**ANN, **unproven})
        assert site.refusal(site.callback()) == (409, "email_unproven")
    provider.change(user=ANN)
    token = site.log_in()["access_token"]
    assert site.client.get("/me", headers=bearer(token)).json()["id"] == person.id
    assert site.login("ann").status_code == 200


def test_without_a_proven_address_nobody_is_told_whether_an_account_exists(
    site: Forum, provider: Provider
) -> None:
    """The refusal is the same for an address that is free, and for none."""
    provider.change(user={**ANN, "email_verified": False})
    free = site.callback()
    register(site, email_verified=True)
    taken = site.callback()
    provider.change(user={"sub": "ann-1"})
    none = site.callback()
    told = [{**answer.json(), "request_id": ""} for answer in (free, taken, none)]
    assert told[0] == told[1] == told[2]
    assert told[0]["code"] == "email_unproven"
    provider.change(user={**ANN, "email": "a@b@example.com"})
    assert site.refusal(site.callback()) == (409, "email_unproven")
    provider.change(user={**ANN, "email": "\u200bann@example.com"})
    assert site.refusal(site.callback()) == (409, "email_unproven")


def test_a_provider_may_be_trusted_with_addresses(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """One that gives them out itself, and says nothing of verification."""
    provider.change(user={"sub": "x", "email": "worker@example.com"})
    with forum(server, sqlite_url, known(provider, trusts_email=True)) as site:
        token = site.log_in()["access_token"]
        assert site.client.get("/me", headers=bearer(token)).json()["username"] == "worker"


def test_the_user_info_tells_what_the_id_token_leaves_out(site: Forum, provider: Provider) -> None:
    """Of the same subject alone; the ID token wins."""
    info = {"sub": "ann-1", "email": "ann@example.com", "email_verified": True, "preferred_username": "no"}
    provider.change(
        user={"sub": "ann-1", "preferred_username": "ann"}, token={"info": {**info, "sub": "bob"}}
    )
    assert site.refusal(site.callback()) == (401, "oauth_failed")
    provider.change(token={"info": info})
    me = site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()
    assert (me["username"], me["email"]) == ("ann", "ann@example.com")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("victim@example.com", "victim"),
        ("Ann Other", "ann-other"),
        ("<script>", "script"),
        ("a\u0430", "user"),
        (None, "ann"),
        ("@", "user"),
    ],
)
def test_usernames_are_made_of_what_they_are_called_there(
    site: Forum, provider: Provider, told: str | None, name: str
) -> None:
    """Never an address of somebody, nor what no name may hold; one that is taken gets an end of its own."""
    provider.change(user={**ANN, "preferred_username": told})
    first = site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()
    assert first["username"] == name
    other = {"sub": "other", "email": "other@example.com"}
    provider.change(user={**ANN, "preferred_username": told or "ann", **other})
    second = site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()
    assert second["username"].startswith(f"{name}-")
    assert len(second["username"]) == len(name) + 7


def test_of_two_first_logins_at_once_one_makes_the_account(
    server: LiveServer, provider: Provider, database_url: str
) -> None:
    """The other finds it: both are logged in to the same one."""
    with forum(server, database_url, known(provider)) as site:
        ways = []
        for _ in range(4):
            site.client.cookies.clear()
            begun = site.begin()
            cookie = {"Cookie": f"oauth_flow={begun.cookies['oauth_flow']}"}
            ways.append((site.agree(begun.headers["location"]), cookie))
        site.client.cookies.clear()

        def back(way: tuple[str, dict[str, str]]) -> int:
            return site.client.get(way[0], headers=way[1], follow_redirects=False).status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(back, ways)) == [303] * 4
        assert len(site.rows("identities")) == 1


def test_a_disabled_account_is_let_in_by_nobody(site: Forum) -> None:
    """Neither at the callback, nor between it and the exchange."""
    token = site.log_in()["access_token"]
    key = site.client.get("/me", headers=bearer(token)).json()["id"]
    person: Any = type("Known", (), {"id": key})()
    location = site.callback().headers["location"]
    site.change(person, is_active=False)
    assert site.refusal(site.exchange(location)) == (401, "invalid_credentials")
    assert site.refusal(site.callback()) == (401, "invalid_credentials")


def test_what_fails_here_is_told_at_once(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """With cookies a page may learn of a refusal later; of a login that fails by our own fault it has no code."""

    def away(user: Any) -> dict[str, Any]:
        raise Problem(503, "directory_away", "The directory is away")

    jwt = JWTConfig(token_location="cookie")
    with forum(server, sqlite_url, known(provider), jwt=jwt, extra_claims=away) as site:
        assert site.refusal(site.callback()) == (503, "directory_away")
        assert "access_token" not in site.client.cookies


def test_without_an_address_no_return_is_counted(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """Behind a Unix socket all callers are alike: one who fails often keeps nobody else out."""
    with forum(server, sqlite_url, known(provider), lockout=Lockout(address_failures=1)) as site:

        async def back(path: str, cookie: str) -> int:
            way, _, query = path.partition("?")
            headers = {"Cookie": f"oauth_flow={cookie}", "Host": "testserver"}
            answer = await call(site.app, "GET", way, headers=headers, address=None, query=query)
            return answer.status

        told = []
        for mode in ("denied", "denied", "denied", "good"):
            provider.change(mode=mode)
            begun = site.begin()
            path = site.agree(begun.headers["location"])
            told.append(site.run(back, path, begun.cookies["oauth_flow"]))
        assert told == [403, 403, 403, 303]


def test_conditions_judge_these_logins_too(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """An account that waits for approval is made, and is not let in; with cookies the page learns why."""
    for location in ("header", "cookie"):
        Model: Any = new_base()

        class User(Model, JetioAuthMixin, JetioApprovalMixin):
            username: Mapped[str] = mapped_column(String(80), unique=True)
            email: Mapped[str] = mapped_column(unique=True)

        url = sqlite_url.replace(".db", f"{location}.db")
        with forum(server, url, known(provider), model=User, jwt=JWTConfig(token_location=location)) as site:
            back = site.callback()
            assert back.status_code == 303
            assert "access_token" not in site.client.cookies
            assert site.refusal(site.exchange(back.headers["location"])) == (403, "account_pending")


def test_a_second_factor_is_asked_for(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """The exchange answers what a password's login answers; `/login/mfa` goes on from there."""
    with forum(server, sqlite_url, known(provider), enable=["totp"]) as site:
        headers = bearer(site.log_in()["access_token"])
        secret = site.client.post("/mfa/totp", headers=headers).json()["secret"]
        code = pyotp.TOTP(secret).now()
        assert site.client.post("/mfa/totp/confirm", headers=headers, json={"code": code}).status_code == 200
        answer = site.exchange(site.callback().headers["location"])
        assert site.refusal(answer) == (401, "mfa_required")
        later = pyotp.TOTP(secret).at(int(time.time()) + 30)
        body = {"mfa_token": answer.json()["mfa_token"], "code": later}
        done = site.client.post("/login/mfa", json=body)
        assert done.status_code == 200, done.text


def test_a_public_client_has_no_secret(server: LiveServer, provider: Provider, sqlite_url: str) -> None:
    """It says who it is, and proves by the verifier alone that the code is its own."""
    provider.change(mode="public")
    with forum(server, sqlite_url, known(provider, client_secret=None)) as site:
        assert site.log_in()["token_type"] == "bearer"


def test_accounts_without_addresses_are_made_by_subject_alone(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """Where no email is needed, none is looked up, none is believed, and nobody is linked by one."""
    provider.change(user={**ANN, "email_verified": False})
    for column in ({}, {"email": mapped_column(String(320), unique=True, nullable=True)}):
        Model: Any = new_base()

        class Reader(Model, JetioAuthMixin):
            __tablename__ = "users"
            username: Mapped[str] = mapped_column(String(80), unique=True)

        for name, item in column.items():
            setattr(Reader, name, item)
        url = sqlite_url.replace(".db", f"{len(column)}.db")
        with forum(server, url, known(provider), model=Reader) as site:
            me = [
                site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json() for _ in range(2)
            ]
            assert me[0]["id"] == me[1]["id"]
            assert me[0].get("email") is None
            assert site.rows("identities")[0].email is None


def test_accounts_without_usernames_are_made_of_addresses(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """What somebody is called there is no column here."""
    Model: Any = new_base()

    class Reader(Model, JetioAuthMixin):
        __tablename__ = "users"
        email: Mapped[str] = mapped_column(unique=True)

    with forum(server, sqlite_url, known(provider), model=Reader) as site:
        me = site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()
        assert (me["email"], "username" in me) == ("ann@example.com", False)


# ---- the owner's list --------------------------------------------------------------------------------------


def test_logins_are_added_listed_and_taken_away_by_their_owner(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """An address plays no part when the owner adds one; a login belongs to one account."""
    other = Provider(server)
    other.change(user={"sub": "elsewhere"})
    with forum(server, sqlite_url, known(provider), known(other, "other")) as site:
        person = register(site)
        for name in ("idp", "other"):
            begun = site.client.post(f"/oauth/{name}/link?next=/app/logins", headers=person.headers)
            assert begun.headers["cache-control"] == "no-store"
            back = site.back(site.agree(begun.json()["authorize_url"]))
            assert (back.status_code, back.headers["location"]) == (303, "/app/logins")
        listed = site.client.get("/oauth/identities", headers=person.headers).json()
        listed.sort(key=lambda item: item["provider"])
        assert [(item["provider"], item["email"]) for item in listed] == [
            ("idp", "ann@example.com"),
            ("other", None),
        ]
        assert (
            site.client.get("/me", headers=bearer(site.log_in("other")["access_token"])).json()["id"]
            == person.id
        )
        provider.change(user={**ANN, "sub": "bob", "email": "bob@example.com"})
        stranger = bearer(site.log_in()["access_token"])
        begun = site.client.post("/oauth/other/link", headers=stranger)
        taken = site.back(site.agree(begun.json()["authorize_url"]))
        assert site.refusal(taken) == (409, "identity_taken")
        path = f"/oauth/identities/{listed[0]['id']}"
        assert site.client.delete(path, headers=stranger).status_code == 404
        assert site.client.delete(path, headers=person.headers).status_code == 204
        assert site.client.delete(path, headers=person.headers).status_code == 404
        [mine] = site.client.get("/oauth/identities", headers=stranger).json()
        kept = site.client.delete(f"/oauth/identities/{mine['id']}", headers=stranger)
        assert site.refusal(kept) == (409, "last_login")
        last = f"/oauth/identities/{listed[1]['id']}"
        assert site.client.delete(last, headers=person.headers).status_code == 204


def test_what_was_begun_under_another_password_ends_with_it(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """Neither a login that is being added, nor a code that waits, outlives a change of the password."""
    with forum(server, sqlite_url, known(provider)) as site:
        person = register(site)
        change = {"current_password": PASSWORD, "new_password": f"{PASSWORD} again"}
        begun = site.client.post("/oauth/idp/link", headers=person.headers)
        callback = site.agree(begun.json()["authorize_url"])
        changed = site.client.post("/change-password", json=change, headers=person.headers)
        assert changed.status_code == 200
        assert site.refusal(site.back(callback)) == (401, "oauth_failed")
        assert site.rows("identities") == []
        headers = bearer(changed.json()["access_token"])
        begun = site.client.post("/oauth/idp/link", headers=headers)
        assert site.back(site.agree(begun.json()["authorize_url"])).status_code == 303
        location = site.callback().headers["location"]
        change = {"current_password": f"{PASSWORD} again", "new_password": PASSWORD}
        assert site.client.post("/change-password", json=change, headers=headers).status_code == 200
        assert site.refusal(site.exchange(location)) == (401, "oauth_failed")


def test_whoever_registered_with_a_strangers_address_loses_his_logins(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """The owner of the address comes by a mail: what was linked before opens the account no more (pre-hijacking)."""
    outbox = Outbox()
    mail = Mail(mailer=outbox, links={"magic_link": "https://app.example.com/login#{token}"})
    with forum(server, sqlite_url, known(provider), enable=["magic_link"], mail=mail) as site:
        provider.change(user={**ANN, "sub": "mallory", "email": "mallory@example.com"})
        person = register(site)
        begun = site.client.post("/oauth/idp/link", headers=person.headers)
        assert site.back(site.agree(begun.json()["authorize_url"])).status_code == 303
        assert site.client.post("/magic-link", json={"identity": "ann"}).status_code == 200
        token = outbox.token("Log in")
        assert site.client.post("/magic-link/verify", json={"token": token}).status_code == 200
        assert site.rows("identities") == []


def test_of_two_who_take_the_last_logins_away_one_wins(
    server: LiveServer, provider: Provider, database_url: str
) -> None:
    """An account without a password keeps a way in."""
    other = Provider(server)
    other.change(user={"sub": "elsewhere"})
    with forum(server, database_url, known(provider), known(other, "other")) as site:
        headers = bearer(site.log_in()["access_token"])
        begun = site.client.post("/oauth/other/link", headers=headers)
        assert site.back(site.agree(begun.json()["authorize_url"])).status_code == 303
        paths = [
            f"/oauth/identities/{item['id']}"
            for item in site.client.get("/oauth/identities", headers=headers).json()
        ]
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda path: site.client.delete(path, headers=headers), paths))
        assert sorted(answer.status_code for answer in answers) == [204, 409]


def test_a_passkey_and_a_login_elsewhere_are_each_a_way_in(
    server: LiveServer, provider: Provider, database_url: str
) -> None:
    """Without a password either may go while the other is there; of two requests at once one is refused."""
    with forum(server, database_url, known(provider), enable=["passkeys"]) as site:
        for number in range(3):
            provider.change(user={**ANN, "sub": f"s{number}", "email": f"s{number}@example.com"})
            headers = bearer(site.log_in()["access_token"])
            options = site.client.post("/passkeys/register/options", headers=headers).json()
            made = {"credential": SoftKey().make(options)}
            added = site.client.post("/passkeys/register/verify", json=made, headers=headers)
            [mine] = site.client.get("/oauth/identities", headers=headers).json()
            paths = [f"/passkeys/{added.json()['id']}", f"/oauth/identities/{mine['id']}"]
            if number == 2:
                delete = partial(site.client.delete, headers=headers)
                with ThreadPoolExecutor(2) as pool:
                    answers = list(pool.map(delete, paths))
                assert sorted(answer.status_code for answer in answers) == [204, 409]
                continue
            first, last = paths if number else reversed(paths)
            assert site.client.delete(first, headers=headers).status_code == 204
            assert site.refusal(site.client.delete(last, headers=headers)) == (409, "last_login")


def test_a_login_of_a_provider_that_is_gone_is_no_way_in(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """It cannot be asked any more: the other one stays."""
    model, other = new_user_model(), Provider(server)
    other.change(user={"sub": "elsewhere"})
    with forum(server, sqlite_url, known(provider), known(other, "other"), model=model) as site:
        headers = bearer(site.log_in()["access_token"])
        begun = site.client.post("/oauth/other/link", headers=headers)
        assert site.back(site.agree(begun.json()["authorize_url"])).status_code == 303
    with forum(server, sqlite_url, known(provider), model=model) as site:
        headers = bearer(site.log_in()["access_token"])
        listed = site.client.get("/oauth/identities", headers=headers).json()
        paths = {item["provider"]: f"/oauth/identities/{item['id']}" for item in listed}
        kept = site.client.delete(paths["idp"], headers=headers)
        assert site.refusal(kept) == (409, "last_login")
        assert site.client.delete(paths["other"], headers=headers).status_code == 204


def test_adding_and_taking_away_need_a_fresh_login(site: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds an open session cannot leave a door behind; anonymous callers get 401."""
    headers = bearer(site.log_in()["access_token"])
    for method, path in (
        ("POST", "/oauth/idp/link"),
        ("GET", "/oauth/identities"),
        ("DELETE", "/oauth/identities/x"),
    ):
        assert site.client.request(method, path).status_code == 401
    real = time.time
    monkeypatch.setattr("jetio_auth.policies.time", lambda: real() + 1000)
    for method, path in (("POST", "/oauth/idp/link"), ("DELETE", "/oauth/identities/x")):
        answer = site.client.request(method, path, headers=headers)
        assert site.refusal(answer) == (401, "fresh_login_required")


# ---- services that are no OpenID providers -----------------------------------------------------------------


def test_a_login_by_a_service_without_id_tokens(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """GitHub is asked who it was; its primary address counts if it is verified."""
    user = {"id": 583231, "login": "octocat", "name": None}
    emails = [
        {"email": "old@example.com", "primary": False, "verified": True},
        {"email": "octo@example.com", "primary": True, "verified": True},
    ]
    provider.change(user={"user": user, "emails": emails})
    hub = github(CLIENT, CLIENT_SECRET, url=provider.issuer)
    with forum(server, sqlite_url, hub) as site:
        asked = query_of(site.begin("github").headers["location"])
        assert "nonce" not in asked
        me = site.client.get("/me", headers=bearer(site.log_in("github")["access_token"])).json()
        assert (me["username"], me["email"]) == ("octocat", "octo@example.com")
        assert site.rows("identities")[0].subject == "583231"
        provider.change(user={"user": {**user, "id": 5}, "emails": [{**emails[1], "verified": False}]})
        assert site.refusal(site.callback("github")) == (409, "email_unproven")
        wrong: list[Any] = [
            {"user": {}, "emails": []},
            {"user": user, "emails": "x"},
            {"user": [], "emails": []},
        ]
        for odd in wrong:
            provider.change(user=odd)
            assert site.refusal(site.callback("github")) == (401, "oauth_failed")
        provider.change(user={"user": user, "emails": emails})
        for token in (None, "", 5, "\u00e9"):
            provider.change(token={"answer": {"access_token": token}})
            assert site.refusal(site.callback("github")) == (401, "oauth_failed")
        provider.change(token={})
        assert site.log_in("github")


def test_a_profile_without_a_subject_is_nobody(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """Empty, too long, or none that a line could show: a reader of profiles cannot log in whom it cannot name."""
    subjects = iter(["", "x" * 256, "a\nb"])

    async def read_profile(fetch: Any) -> OAuthProfile:
        return OAuthProfile(subject=next(subjects), email="ann@example.com", email_verified=True)

    hub = known(
        provider,
        issuer=None,
        authorize_url=f"{provider.issuer}/login/oauth/authorize",
        token_url=f"{provider.issuer}/login/oauth/access_token",
        read_profile=read_profile,
    )
    with forum(server, sqlite_url, hub) as site:
        for _ in range(3):
            assert site.refusal(site.callback()) == (401, "oauth_failed")
        assert next(subjects, None) is None
        assert site.rows("identities") == []


# ---- configuration -----------------------------------------------------------------------------------------


def test_models_with_other_columns_say_what_newcomers_have(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """A column that nobody fills stops the build; `new_user` fills it from the profile."""
    column: Any = mapped_column(String(20), nullable=False)
    User = new_user_model(city=column)
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=User.metadata)
    AuthRouter(User, oauth=[known(provider)]).register_routes(app)
    with pytest.raises(ConfigError, match=r'User needs city.*new_user=lambda profile: {"city": \.\.\.}'):
        app.build()

    def new_user(profile: OAuthProfile) -> dict[str, Any]:
        return {"city": profile.claims["locality"]}

    provider.change(user={**ANN, "locality": "Ulm"})
    with forum(server, sqlite_url, known(provider), model=User, oauth={"new_user": new_user}) as site:
        assert site.client.get("/me", headers=bearer(site.log_in()["access_token"])).json()["city"] == "Ulm"


def test_a_newcomer_who_clashes_with_somebody_is_told(
    server: LiveServer, provider: Provider, sqlite_url: str
) -> None:
    """What `new_user` gives twice, though it must be unique, is 409 after every try, and leaves no account."""
    badge: Any = mapped_column(String(20), unique=True, nullable=False)
    new_user = {"new_user": lambda profile: {"badge": "same"}}
    model = new_user_model(badge=badge)
    with forum(server, sqlite_url, known(provider), model=model, oauth=new_user) as site:
        site.log_in()
        provider.change(user={"sub": "bob", "email": "bob@example.com", "email_verified": True})
        answer = site.callback()
        assert site.refusal(answer) == (409, "conflict")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/badge"]
        assert len(site.rows("identities")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "My IdP"}, "the name stands in addresses"),
        ({"client_id": ""}, "client_id is missing"),
        ({"issuer": None}, "give an issuer, or authorize_url, token_url, read_profile"),
        ({"issuer": "http://id.example"}, "is no https address"),
        ({"token_url": "https://id.example/token"}, "leave the other addresses out"),
        ({"scopes": "openid email"}, r"no list; write \['openid', 'email'\]"),
        ({"scopes": ["email"]}, 'the scope "openid"'),
        ({"algorithms": ["HS256"]}, "some of ES256"),
        ({"algorithms": "RS256"}, "some of ES256"),
        ({"client_auth": "jwt"}, 'write "basic" or "post"'),
    ],
)
def test_a_provider_that_cannot_be_is_a_mistake(options: dict[str, Any], message: str) -> None:
    """It says what to write, and never the secret."""
    given: dict[str, Any] = {"name": "idp", "client_id": "x", "client_secret": "hush"}
    given["issuer"] = "https://id.example"
    with pytest.raises(ConfigError, match=message) as error:
        OAuthProvider(**{**given, **options})
    assert "hush" not in str(error.value)
    assert "hush" not in repr(OAuthProvider(**given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"providers": []}, "there is no provider"),
        ({"providers": [google("a", "b"), google("c", "d")]}, "two providers are called 'google'"),
        ({"paths": "/app"}, "is no list"),
        ({"paths": []}, "is no list"),
        ({"paths": ["https://app.example"]}, "is none of this application"),
        ({"paths": ["/", "/app*"]}, "is none of this application"),
        ({"paths": ["/app/*"]}, "write one before it"),
    ],
)
def test_options_that_cannot_be_are_mistakes(options: dict[str, Any], message: str) -> None:
    """Before anything is built."""
    with pytest.raises(ConfigError, match=message):
        OAuth(**{"providers": [google("a", "b")], **options})


def test_known_services_are_known() -> None:
    """Google, one tenant of Microsoft, GitHub: where they are; many tenants at once are many issuers."""
    assert google("a", "b").issuer == "https://accounts.google.com"
    tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    assert microsoft("a", "b", tenant=tenant).issuer == f"https://login.microsoftonline.com/{tenant}/v2.0"
    assert github("a", "b").token_url == "https://github.com/login/oauth/access_token"
    with pytest.raises(ConfigError, match="many issuers in one"):
        microsoft("a", "b", tenant="common")


def test_the_address_of_the_application_is_configured(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In production there must be one; a wrong one stops the build."""
    settings = Settings(env="production", secret_key="k" * 20 + "0123456789abcdefXYZ")
    User = new_user_model()

    def app(domain: str | None = None, settings: Settings = settings) -> Jetio:
        app = Jetio(database="sqlite+aiosqlite://", settings=settings, metadata=User.metadata)
        config = OAuth(providers=[known(provider)], domain=domain)
        AuthRouter(User, oauth=config, disable=["verify_email"]).register_routes(app)
        return app

    monkeypatch.delenv("DOMAIN", raising=False)
    with pytest.raises(ConfigError, match="no DOMAIN"):
        app().check()
    app("forum.example").check()
    monkeypatch.setenv("DOMAIN", "https://forum.example")
    app().check()
    with pytest.raises(ConfigError, match="DOMAIN begins with http:"):
        app("HTTP://forum.example").check()
    for wrong in (
        "https://forum.example/?x=1",
        "https://",
        "https://forum.example\n",
        "https://a b",
        "https://a@b",
    ):
        with pytest.raises(ConfigError, match="DOMAIN is no address"):
            app(wrong, SETTINGS).build()


def test_without_providers_nothing_is_there(sqlite_url: str) -> None:
    """No route and no table; the name alone is a mistake, and so is a router without accounts."""
    User = new_user_model()
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=User.metadata)
    AuthRouter(User).register_routes(app)
    assert not [path for path in app.openapi()["paths"] if "oauth" in path]
    assert not [name for name in User.metadata.tables if "identities" in name or "oauth" in name]
    with pytest.raises(ConfigError, match="there is no provider"):
        AuthRouter(new_user_model(), enable=["oauth"])
    with pytest.raises(ConfigError, match="nothing about accounts"):
        AuthRouter(issuers=[RemoteIssuer("https://a.example", "b")], oauth=[google("a", "b")])
