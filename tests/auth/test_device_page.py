"""The page on which a person lets a program in, in a browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pyotp
import pytest

from tests.browser import open_page
from tests.live import LiveServer, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSWORD = "correct horse battery"
SOURCE = """
from sqlalchemy.orm import Mapped, mapped_column

from jetio import Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig


class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


app = Jetio(title="Simulations")
AuthRouter(
    User, prefix="/auth", session_prefix="/jwt", enable=["device_login", "totp"], jwt=JWTConfig(token_location=LOCATION)
).register_routes(app)
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture(scope="module", params=["header", ["header", "cookie"]], ids=["header", "cookie"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An application whose tokens travel in headers, and one whose browsers have cookies."""
    source = SOURCE.replace("LOCATION", repr(request.param))
    with serve(tmp_path_factory.mktemp("page"), source=source) as server:
        body = {"username": "ann", "password": PASSWORD}
        assert server.client.post("/auth/register", json=body).status_code == 201
        yield server


def begun(server: LiveServer) -> dict[str, Any]:
    """What a program is told that asks to be let in."""
    told: dict[str, Any] = server.client.post("/auth/cli-login", headers={"User-Agent": "sim-cli/2.1"}).json()
    return told


def collected(server: LiveServer, told: dict[str, Any]) -> Any:
    """What the program gets now."""
    headers = {"X-CLI-Secret": told["secret"]}
    return server.client.get(f"/auth/cli-login/{told['code']}", headers=headers).json()


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("Username or email").fill("ann")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_person_lets_a_program_in(server: LiveServer, page: Page, tmp_path: Path) -> None:
    """Who asks is shown; a wrong password is told; after a login one click approves, and the program has its token."""
    page.context.clear_cookies()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    told = begun(server)
    page.goto(told["approve_url"])
    assert page.locator("#code").inner_text() == told["code"]
    assert "sim-cli/2.1" in page.inner_text("main")
    assert "127.0.0.1" in page.inner_text("main")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=tmp_path / f"login-{width}.png")
    assert not page.get_by_role("button", name="Approve").is_visible()
    log_in(page, "a wrong password")
    page.get_by_text("The name or the password is wrong").wait_for()
    log_in(page)
    page.get_by_text("Logged in as ann").wait_for()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.screenshot(path=tmp_path / f"decide-{width}.png")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    page.screenshot(path=tmp_path / "done-390.png")
    answer = collected(server, told)
    assert answer["status"] == "approved"
    both = {"Authorization": f"Bearer {answer['token']}", "Cookie": f"access_token={answer['token']}"}
    by_cookie = any(cookie["name"] == "access_token" for cookie in page.context.cookies())
    name = "Cookie" if by_cookie else "Authorization"
    me = server.client.get("/auth/me", headers={name: both[name]})
    assert me.json()["username"] == "ann"
    # The refused password is a 401, which browsers write into the console themselves.
    assert [text for text in troubles if "401" not in text] == []


def test_a_person_refuses_a_program(server: LiveServer, page: Page) -> None:
    """One click rejects; the program is told, and the page of the code says so from then on."""
    page.context.clear_cookies()
    told = begun(server)
    page.goto(told["approve_url"])
    log_in(page)
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("heading", name="Rejected").wait_for()
    assert collected(server, told) == {"status": "rejected", "token": None}
    page.goto(told["approve_url"])
    page.get_by_text("This login has been rejected.").wait_for()


def test_a_person_types_the_code(server: LiveServer, page: Page) -> None:
    """The page asks for the code where the address does not tell it, and says when it is none."""
    page.context.clear_cookies()
    told = begun(server)
    page.goto(f"{server.base_url}/auth/cli-login/approve")
    field = page.get_by_label(re.compile("The code"))
    field.fill("nonsense")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("This is no code.").wait_for()
    page.get_by_label(re.compile("The code")).fill(told["code"].lower().replace("-", ""))
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Password").wait_for()
    assert page.locator("#code").inner_text() == told["code"]


def test_a_session_in_a_cookie_is_used(server: LiveServer, page: Page) -> None:
    """A browser that is logged in by cookie is not asked again; one without is, and leaves no session behind."""
    page.context.clear_cookies()
    first, second = begun(server), begun(server)
    page.goto(first["approve_url"])
    log_in(page)
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    page.goto(second["approve_url"])
    by_cookie = any(cookie["name"] == "access_token" for cookie in page.context.cookies())
    if by_cookie:
        page.get_by_text("Logged in as ann").wait_for()
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("heading", name="Approved").wait_for()
        assert collected(server, second)["status"] == "approved"
    else:
        assert page.get_by_label("Password").is_visible()
        token = collected(server, first)["token"]
        sessions = server.client.get("/auth/sessions", headers={"Authorization": f"Bearer {token}"}).json()
        assert {item["method"] for item in sessions} == {"device"}


def test_a_second_factor_is_asked_for(server: LiveServer, page: Page) -> None:
    """Whoever has an authenticator gives its code too."""
    page.context.clear_cookies()
    secret = _with_authenticator(server)
    told = begun(server)
    page.goto(told["approve_url"])
    page.get_by_label("Username or email").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Now the code of your authenticator.").wait_for()
    page.get_by_label("Code of your authenticator").fill(pyotp.TOTP(secret).at(int(time.time()) + 30))
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Logged in as bob").wait_for()
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    assert collected(server, told)["status"] == "approved"


def test_whoever_switches_a_second_factor_on_meanwhile_logs_in_again(server: LiveServer, page: Page) -> None:
    """The login on the page is too weak then, or over: the page asks for another one."""
    page.context.clear_cookies()
    with httpx2.Client(base_url=server.base_url, trust_env=False) as client:
        body = {"username": f"eve{time.time_ns()}", "password": PASSWORD}
        assert client.post("/auth/register", json=body).status_code == 201
        page.goto(begun(server)["approve_url"])
        page.get_by_label("Username or email").fill(body["username"])
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text(f"Logged in as {body['username']}").wait_for()
        for cookie in page.context.cookies():
            client.cookies.set(cookie["name"], cookie["value"])
        token = None if client.cookies else client.post("/auth/jwt/login", json=body).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers["X-CSRF-Token"] = client.cookies.get("csrf_token") or ""
        _switch_on(client, headers)
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Log in again to decide.").wait_for()
    assert page.get_by_label("Password").is_visible()


def _with_authenticator(server: LiveServer) -> str:
    """The secret of a new account's; its code of now is used up."""
    client = httpx2.Client(base_url=server.base_url, trust_env=False)
    body = {"username": "bob", "password": PASSWORD}
    assert client.post("/auth/register", json=body).status_code == 201
    token = client.post("/auth/jwt/login", json=body).json().get("access_token", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers["X-CSRF-Token"] = client.cookies.get("csrf_token") or ""
    secret = _switch_on(client, headers)
    client.close()
    return secret


def _switch_on(client: httpx2.Client, headers: dict[str, str]) -> str:
    secret: str = client.post("/auth/mfa/totp", headers=headers).json()["secret"]
    code = pyotp.TOTP(secret).now()
    assert client.post("/auth/mfa/totp/confirm", headers=headers, json={"code": code}).status_code == 200
    return secret
