"""Who comes into the admin panel: signing in and out, 404 for all others, other sites, mistakes of the developer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pyotp
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from jetio import (
    Access,
    ConfigError,
    CrudRouter,
    Decision,
    Jetio,
    Principal,
    Problem,
    Request,
    SecurityScheme,
    Settings,
    UnitOfWork,
    public,
)
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JWTConfig, Lockout
from tests.contrib.magazine import (
    BROWSER,
    KEY,
    PASSWORD,
    Article,
    Desk,
    Section,
    User,
    magazine,
    new_app,
    new_auth,
    words,
)

PLACES = (
    "",
    "/",
    "/articles/list",
    "/articles/create",
    "/nothing",
    "/logout",
    "/_api/articles/action?name=delete&pks=1",
)


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    with magazine(sqlite_url) as found:
        yield found


def as_problem(answer: Any) -> dict[str, Any]:
    """The document of an answer, without what differs between two requests."""
    return {name: value for name, value in answer.json().items() if name not in ("request_id", "instance")}


def test_nobody_else_finds_the_panel(desk: Desk) -> None:
    """Anonymous callers and plain accounts meet the 404 of an unknown address, whatever they ask."""
    unknown = desk.client.get("/no-such-address")
    ann = desk.client.post("/login", json={"username": "ann", "password": PASSWORD}).json()["access_token"]
    desk.client.cookies.clear()
    for headers in ({}, {"Authorization": f"Bearer {ann}"}, {"Authorization": "Bearer none"}):
        for place in PLACES:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = desk.client.request(
                    method, f"/admin{place}", headers=headers, follow_redirects=False
                )
                assert answer.status_code == 404, (method, place, answer.text)
                assert as_problem(answer) == as_problem(unknown)
                assert "set-cookie" not in answer.headers
    stranger = {"Authorization": f"Bearer {ann}", **BROWSER}
    assert desk.client.get("/admin/", headers=stranger).status_code == 404


def test_a_browser_that_nobody_knows_is_led_to_the_login(desk: Desk) -> None:
    """From any address below the panel, real or not, to the page for signing in, and back after it."""
    for place in ("/", "/articles/list?q=bees", "/no/such/page"):
        answer = desk.client.get(f"/admin{place}", headers=BROWSER, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/admin/login?next=%2Fadmin%2F")
    page = desk.client.get("/admin/articles/list?q=bees", headers=BROWSER)
    assert page.status_code == 200
    assert "Sign in" in page.text
    assert "Articles" not in page.text
    answer = desk.client.post(
        str(page.url), data={"username": "root", "password": PASSWORD}, follow_redirects=False
    )
    assert answer.headers["location"] == "/admin/articles/list?q=bees"
    assert desk.client.get("/admin/login", follow_redirects=False).headers["location"] == "/admin/"


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example/admin/", "/\\evil.example", "/adminx", "/admin/\r\nx: y"],
)
def test_signing_in_leads_nowhere_else(desk: Desk, wanted: str) -> None:
    """An address outside of the panel is not followed after signing in."""
    data = {"username": "root", "password": PASSWORD}
    answer = desk.client.post("/admin/login", params={"next": wanted}, data=data, follow_redirects=False)
    assert answer.headers["location"] == "/admin/"


def test_the_login_page_is_as_strict_as_the_login(desk: Desk) -> None:
    """One text for an unknown name and a wrong password, the throttle of the account, no other sites."""
    wrong, unknown = desk.sign_in("root", "not this one"), desk.sign_in("nobody")
    assert wrong.status_code == unknown.status_code == 401
    texts = [re.search(r'role="alert"[^>]*>(.*?)<', answer.text) for answer in (wrong, unknown)]
    assert texts[0] is not None
    assert texts[1] is not None
    assert texts[0][1] == texts[1][1] != ""
    assert PASSWORD not in wrong.text
    assert "not this one" not in wrong.text
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert desk.sign_in("root", headers=headers).status_code == 403
    assert "access_token" not in desk.client.cookies
    for _ in range(9):
        desk.sign_in("root", "not this one")
    throttled = desk.sign_in("root")
    assert throttled.status_code == 429
    assert int(throttled.headers["retry-after"]) > 0
    assert "access_token" not in desk.client.cookies


def test_a_plain_account_signs_in_and_finds_nothing(desk: Desk) -> None:
    """The right password of somebody who is no admin opens a session, and no page of the panel."""
    assert desk.sign_in("ann").status_code == 303
    assert desk.client.get("/admin/", headers=BROWSER).status_code == 404
    assert desk.client.get("/admin/login").status_code == 200


def test_an_admin_with_a_second_factor(sqlite_url: str) -> None:
    """The page asks for the code too, and again after a wrong one; a recovery code signs in as well."""
    app = new_app(sqlite_url)
    auth = new_auth(app, enable=["totp"])
    Admin(app, auth=auth)
    with TestClient(app, base_url="http://desk.example") as client:
        desk = Desk(app, auth, client)
        desk.account("root", admin=True)
        token = client.post("/login", json={"username": "root", "password": PASSWORD}).json()["access_token"]
        client.cookies.clear()
        headers = {"Authorization": f"Bearer {token}"}
        secret = client.post("/mfa/totp", headers=headers).json()["secret"]
        first = {"code": pyotp.TOTP(secret).now()}
        codes = client.post("/mfa/totp/confirm", json=first, headers=headers).json()["recovery_codes"]
        person = {"username": "root", "password": PASSWORD}
        for wrong in ({}, {"code": "wrong"}, first):
            answer = client.post("/admin/login", data={**person, **wrong})
            assert answer.status_code == 401
            assert 'name="code"' in answer.text
        assert 'name="code"' not in client.post("/admin/login", data={**person, "password": "wrong"}).text
        answer = client.post("/admin/login", data={**person, "code": codes[0]}, follow_redirects=False)
        assert answer.status_code == 303
        assert client.get("/me").json()["auth"]["mfa"] is True


def test_an_admin_who_is_demoted_is_out_at_once(desk: Desk) -> None:
    """The next page is 404."""
    desk.sign_in("root")
    assert "Articles" in desk.page("/")
    desk.write(update(User).where(User.username == "root").values(is_admin=False))
    assert desk.client.get("/admin/").status_code == 404


def test_signing_out_ends_the_session(desk: Desk) -> None:
    """The cookies are taken away, and worth nothing to whoever has kept them."""
    desk.sign_in("root")
    kept = desk.client.cookies["access_token"]
    answer = desk.send("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    assert "access_token" not in desk.client.cookies
    old = desk.client.get("/admin/", headers={"cookie": f"access_token={kept}"})
    assert old.status_code == 404
    assert desk.client.get("/me", headers={"cookie": f"access_token={kept}"}).status_code == 401


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, {}),
        ("", {}),
        ("0" * 64, {}),
        ("other", {}),
        ("own", {"origin": "https://evil.example"}),
        ("own", {"sec-fetch-site": "cross-site"}),
        ("own", {"sec-fetch-site": "same-site"}),
    ],
)
def test_no_other_site_changes_anything(desk: Desk, token: str | None, headers: dict[str, str]) -> None:
    """Without the token of this very session, or from another origin, a form is 403 and does nothing."""
    desk.sign_in("root")
    other = desk.token()
    desk.send("/logout")
    desk.sign_in("root")
    known = {"other": other, "own": desk.token()}
    data = {"title": "Planted"} | ({} if token is None else {"csrftoken": known.get(token, token)})
    answer = desk.client.post("/admin/articles/create", data=data, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert desk.client.post("/admin/logout", headers=headers).status_code == 403
    assert desk.client.get("/articles").json() == []


def test_pages_carry_strict_headers(desk: Desk) -> None:
    """Scripts run by nonce alone, nothing comes from elsewhere, no cache keeps a page, no frame holds it."""
    desk.sign_in("root")
    desk.add(Article(title="</script><script>alert(1)</script>"))
    first, second = (desk.client.get("/admin/articles/list") for _ in range(2))
    policies = [answer.headers["content-security-policy"] for answer in (first, second)]
    nonces = [re.search(r"'nonce-([\w-]+)'", policy) for policy in policies]
    assert nonces[0] is not None
    assert nonces[1] is not None
    assert nonces[0][1] != nonces[1][1]
    assert set(re.findall(r"<script nonce=\"([^\"]*)\"", first.text)) == {nonces[0][1]}
    assert "<script>" not in first.text
    assert "default-src 'none'" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["x-frame-options"] == "DENY"
    assert re.findall(r'\s(?:src|href|action)="(?!/(?!/)|\?|#|data:,)[^"]*"', first.text) == []
    assert "@import" not in first.text


def test_pages_name_no_host(desk: Desk) -> None:
    """Whatever host and scheme a request names, links, forms, redirects and answers of buttons have paths alone."""
    strange = {**BROWSER, "host": "evil.example"}
    assert "evil.example" not in desk.client.get("/admin/login?next=/admin/x", headers=strange).text
    desk.sign_in("root")
    desk.add(Article(title="Alpha"))
    cookies = "; ".join(f"{name}={value}" for name, value in desk.client.cookies.items())
    known = strange | {"cookie": cookies, "x-csrftoken": desk.token()}
    places = (
        "/",
        "/articles/list",
        "/articles/create",
        "/articles/detail?pk=1",
        "/articles/edit?pk=1",
        "/nothing/list",
    )
    for place in (*places, "/_api/articles/relation-lookup"):
        page = desk.client.get(f"/admin{place}", headers=known).text
        assert "evil.example" not in page, place
        assert "/admin/" in page, place
    sent: dict[str, Any] = {"headers": known, "follow_redirects": False}
    origin = "_origin=http://evil.example/admin/articles/list%3Fq%3Da"
    for path, button, target in (
        ("/articles/create", "_add_another", "/admin/articles/create"),
        ("/articles/create", "_continue_editing", "/admin/articles/edit?pk=3"),
        (f"/articles/create?{origin}", "save", "/admin/articles/list?q=a"),
        (
            "/articles/create?_origin=http://evil.example//other.example",
            "save",
            "http://evil.example//other.example",
        ),
    ):
        answer = desk.client.post(f"/admin{path}", data={"title": "Beta", button: "1"}, **sent)
        assert (answer.status_code, answer.headers["location"]) == (303, target)
    answer = desk.client.post("/admin/_api/articles/row-action?name=delete&pk=1", **sent)
    assert answer.json() == {"redirect": "/admin/articles/list"}


@pytest.mark.parametrize("root", ["/api", "/adm", "/a"])
def test_a_path_before_the_panel_may_look_like_it(sqlite_url: str, root: str) -> None:
    """Below a root path, and behind a proxy that takes it away, the page for signing in is found and leads back."""
    app = new_app(sqlite_url)
    auth = new_auth(app)
    CrudRouter(Section, policy={"*": auth.admin_only()}).register_routes(app)
    Admin(app, auth=auth)
    with TestClient(app, base_url="http://desk.example", root_path=root) as client:
        Desk(app, auth, client).account("root", admin=True)
        for before in (root, ""):
            client.cookies.clear()
            asked = client.get(f"{before}/admin/sections/list?q=a", headers=BROWSER, follow_redirects=False)
            place = urlsplit(asked.headers["location"])
            assert place.path == f"{root}/admin/login"
            assert client.get(f"{before}/admin/login").status_code == 200
            person = {"username": "root", "password": PASSWORD}
            address = f"{before}/admin/login?{place.query}"
            answer = client.post(address, data=person, follow_redirects=False)
            assert answer.headers["location"] == f"{root}/admin/sections/list?q=a"


def test_routes_of_accounts_win_over_the_panel(desk: Desk) -> None:
    """What is registered below the same path answers, in whatever order it was registered."""
    desk.sign_in("root")
    csrf = {"X-CSRF-Token": desk.client.cookies["csrf_token"]}
    assert desk.client.get("/admin/auth-events").headers["content-type"] == "application/json"
    answer = desk.client.post("/admin/2/make-admin", headers=csrf)
    assert answer.json() == {"message": "User promoted to admin", "user_id": 2}
    assert desk.client.get("/admin/2/make-admin").status_code == 404


def test_files_of_the_pages_are_kept_by_browsers(desk: Desk) -> None:
    """Scripts and styles are for the login page too; no socket is opened below the panel."""
    answer = desk.client.get("/admin/static/js/list.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, max-age=86400"
    with pytest.raises(WebSocketDisconnect) as ended, desk.client.websocket_connect("/admin/") as socket:
        socket.receive_text()
    assert ended.value.code == 4404


def test_a_hidden_panel_has_no_door(sqlite_url: str) -> None:
    """With `hidden` there is neither a login page nor a file of the panel for others; a session opens it."""
    with magazine(sqlite_url, hidden=True) as desk:
        for place in ("/", "/login", "/static/js/list.js", "/logout"):
            assert desk.client.get(f"/admin{place}", headers=BROWSER).status_code == 404
        assert desk.sign_in("root").status_code == 404
        assert desk.client.post("/login", json={"username": "root", "password": PASSWORD}).status_code == 200
        assert "Articles" in desk.page("/")
        assert 'action="/admin/logout"' not in desk.client.get("/admin/").text


def test_who_is_admitted_is_a_policy(sqlite_url: str) -> None:
    """`allow` lets others in: they see what the rules of the routers let them see, and fields of admins not."""
    app = new_app(sqlite_url)
    auth = new_auth(app)
    CrudRouter(Article, policy={"GET": public(), "*": auth.admin_only()}).register_routes(app)
    CrudRouter(Section, policy={"*": auth.admin_only()}).register_routes(app)
    Admin(app, auth=auth, allow=auth.authenticated())
    with TestClient(app, base_url="http://desk.example") as client:
        desk = Desk(app, auth, client)
        desk.account("ann")
        desk.add(Article(title="Alpha"))
        desk.sign_in("ann")
        start = client.get("/admin/").text
        assert "articles/list" in start
        assert "sections/list" not in start
        assert client.get("/admin/sections/list").status_code == 403
        assert client.get("/admin/articles/create").status_code == 403
        listed = client.get("/admin/articles/list").text
        assert "Alpha" in listed
        assert "articles/edit" not in listed
        assert desk.send("/articles/edit?pk=1", title="Beta").status_code == 403
        assert desk.delete("articles", "1").status_code == 400
        assert client.get("/articles/1").json()["title"] == "Alpha"


class Badges:
    """People with a badge: an Authenticator that knows no passwords."""

    user_model = None
    schemes = (SecurityScheme("Badge", {"type": "apiKey", "in": "header", "name": "x-badge"}),)

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        name = connection.headers.get("x-badge")
        if name == "printer":
            raise Problem(503, "unavailable", "The printer is on strike")
        return None if name is None else Principal(id=None, sub=name, is_admin=name == "chief")

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=None, sub=str(user))


def test_any_authenticator_will_do_below_a_mount_and_in_a_closed_application(sqlite_url: str) -> None:
    """Without accounts there is no login page; addresses keep the mount's path, and `protect` asks nothing more."""
    inner = new_app(sqlite_url)
    CrudRouter(Section, policy={"*": public()}).register_routes(inner)
    Admin(inner, auth=Badges(), hidden=True, path="/back/office")
    outer = Starlette(routes=[Mount("/shop", inner)], lifespan=inner.router.lifespan_context)
    chief = {"x-badge": "chief"}
    with TestClient(outer, base_url="http://desk.example") as client:
        assert client.get("/shop/back/office/", headers={"x-badge": "guest"}).status_code == 404
        assert client.get("/shop/back/office/", headers={"x-badge": "printer"}).status_code == 503
        page = client.get("/shop/back/office", headers=chief)
        assert page.status_code == 200
        assert 'href="/shop/back/office/sections/list"' in page.text
        data = {"name": "Sports", "open": "on", "csrftoken": client.cookies["starlette_admin_csrftoken"]}
        answer = client.post(
            "/shop/back/office/sections/create", data=data, headers=chief, follow_redirects=False
        )
        assert answer.headers["location"] == "/shop/back/office/sections/list"
        assert "Sports" in client.get("/shop/back/office/sections/list", headers=chief).text

    closed = new_app(sqlite_url)
    auth = new_auth(closed)
    Admin(closed, auth=auth)
    CrudRouter(Section).register_routes(closed)
    auth.protect(closed)
    with TestClient(closed) as client:
        assert client.get("/sections").status_code == 401
        assert client.get("/admin/login").status_code == 200
        assert client.get("/admin/").status_code == 404


def test_a_rule_that_needs_a_row_is_asked_with_it(sqlite_url: str) -> None:
    """A rule that fails without a row hides no button; with the row it decides."""

    async def even(request: Request, db: AsyncSession, item_id: int) -> Any:
        if item_id % 2:
            raise HTTPException(503 if item_id == 9 else 403, "Even ones only")
        return "somebody"

    async def nowhere(access: Access) -> Decision:
        raise Problem(404, "not_found", "Which one?")

    app = new_app(sqlite_url)
    policy: dict[str, Any] = {"GET": public(), "PUT": even, "DELETE": nowhere}
    CrudRouter(Section, policy=policy).register_routes(app)
    Admin(app, auth=Badges(), hidden=True)
    chief = {"x-badge": "chief"}
    with TestClient(app, base_url="http://desk.example", headers=chief) as client:
        desk = Desk(app, None, client)
        desk.add(Section(name="One"), Section(name="Two"), Section(id=9, name="Nine"))
        listed = client.get("/admin/sections/list").text
        assert "sections/edit" in listed
        assert 'data-sa-name="delete"' in listed
        refused = desk.send("/sections/edit?pk=1", name="Uno", open="on")
        assert refused.status_code == 422
        assert "Even ones only" in words(refused.text)
        assert desk.send("/sections/edit?pk=9", name="Nove", open="on").status_code == 503
        assert desk.send("/sections/edit?pk=2", name="Due", open="on").status_code == 303
        assert desk.delete("sections", "1").json() == {"msg": "Which one?"}


def test_the_extra_is_named(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without starlette-admin the build says what to install."""
    app = new_app(sqlite_url)
    Admin(app, auth=new_auth(app))
    monkeypatch.setattr("jetio.contrib.admin.panel.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'install "jetio\[admin\]"'):
        app.build()


def accounts(app: Jetio, **options: Any) -> AuthRouter:
    auth = AuthRouter(User, **options)
    auth.register_routes(app)
    return auth


def no_cookies(app: Jetio) -> None:
    Admin(app, auth=accounts(app))


def not_registered(app: Jetio) -> None:
    Admin(app, auth=AuthRouter(User, jwt=JWTConfig(token_location="cookie")))


def no_authenticator(app: Jetio) -> None:
    Admin(app, auth=object())


def no_place(app: Jetio) -> None:
    Admin(app, auth=new_auth(app), path="admin/")


def several_routers(app: Jetio) -> None:
    for prefix in ("/old", "/new"):
        CrudRouter(Section).register_routes(app, prefix=prefix)
    Admin(app, auth=new_auth(app))


def router_without_list(app: Jetio) -> None:
    router = CrudRouter(Section, exclude_methods=["GET"])
    router.register_routes(app)
    Admin(app, auth=new_auth(app), routers=[router])


def strange_router(app: Jetio) -> None:
    Admin(app, auth=new_auth(app), routers=[CrudRouter(Section)])


def short_key(app: Jetio) -> None:
    Admin(app, auth=new_auth(app), secret_key="short")


def no_key(app: Jetio) -> None:
    app.settings = Settings(env="test", secret_key=None)
    Admin(app, auth=Badges(), hidden=True)


def no_policy(app: Jetio) -> None:
    Admin(app, auth=new_auth(app), allow=42)  # type: ignore[arg-type]


def build(app: Jetio, declare: Any) -> None:
    declare(app)
    app.build()


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (no_cookies, 'token_location=["header", "cookie"]'),
        (not_registered, "write auth.register_routes(app)"),
        (no_authenticator, "write auth=AuthRouter(user_model=User)"),
        (no_place, 'write path="/admin"'),
        (several_routers, "write Admin(routers=[...]) with one for each model"),
        (router_without_list, "has no list here"),
        (strange_router, "write router.register_routes(app)"),
        (short_key, "shorter than 32 characters"),
        (no_key, "write Admin(secret_key=...), or set SECRET_KEY"),
        (no_policy, "is no policy"),
    ],
)
def test_mistakes_are_told_at_build(sqlite_url: str, declare: Any, told: str) -> None:
    """Each says what to write instead."""
    app = new_app(sqlite_url)
    with pytest.raises(ConfigError) as error:
        build(app, declare)
    assert told in str(error.value)


def test_a_mistake_of_a_router_is_told_once(sqlite_url: str) -> None:
    """The panel leaves it to the router."""
    app = new_app(sqlite_url)
    CrudRouter(Section, load_relationships=["nothing"]).register_routes(app)
    Admin(app, auth=new_auth(app))
    with pytest.raises(ConfigError) as error:
        app.build()
    assert str(error.value).count("nothing") == 1


def test_one_router_of_several_is_chosen(sqlite_url: str) -> None:
    """`routers` says which, and a table whose name the panel uses itself gets another address."""
    app = new_app(sqlite_url)
    auth = new_auth(app, lockout=Lockout())
    chosen = CrudRouter(Section, policy={"*": auth.admin_only()})
    chosen.register_routes(app, prefix="/new")
    CrudRouter(Section).register_routes(app, prefix="/old")
    Admin(app, auth=auth, routers=[chosen], secret_key=KEY)
    with TestClient(app, base_url="http://desk.example") as client:
        desk = Desk(app, auth, client)
        desk.account("root", admin=True)
        desk.sign_in("root")
        assert desk.send("/sections/create", name="Sports").status_code == 303
        assert [row["name"] for row in client.get("/new/sections").json()] == ["Sports"]
