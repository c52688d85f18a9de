"""The vaults example in Chromium: an authenticator app, recovery codes, and passkeys of a virtual authenticator."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyotp
import pytest

from tests.live import LiveServer, serve

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

COMMAND = [sys.executable, "-m", "examples.factors"]
PASSWORD = "a long password"


@pytest.fixture(scope="module")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The example, on a port that is known before: its pages are part of what passkeys belong to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"JETIO_PORT": str(port), "JETIO_ENV": "test"}
    with serve(tmp_path_factory.mktemp("vaults"), command=COMMAND, env=environment) as server:
        yield server


@pytest.fixture
def page(vaults: LiveServer, chromium: Page) -> Iterator[Page]:
    """The page; whatever the browser complains of, or asks of others, is a failure."""
    loud: list[str] = []
    chromium.on("pageerror", lambda error: loud.append(str(error)))
    chromium.on(
        "console",
        lambda message: loud.append(message.text) if "Failed to load resource" not in message.text else None,
    )
    place = f"http://localhost:{vaults.port}/"
    chromium.on("request", lambda sent: loud.append(sent.url) if not _own(sent.url, place) else None)
    chromium.goto(place)
    yield chromium
    assert loud == []


def _own(url: str, place: str) -> bool:
    return url.startswith((place, "data:"))


class Visitor:
    """Somebody at the page."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    def press(self, button: str, told: str) -> None:
        """Press a button and read what the page says then."""
        self.page.click(f"#{button}")
        self.page.locator("#told", has_text=told).wait_for()

    def join(self) -> None:
        """Register and log in."""
        self.page.fill("#name", self.name)
        self.page.fill("#password", PASSWORD)
        self.press("register", "Registered")
        self.press("login", "with one factor")


def add_authenticator(page: Page, *, verified: bool = True) -> tuple[CDPSession, str]:
    """A device of the browser's that holds passkeys, and unlocks them or does not."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verified,
        "automaticPresenceSimulation": True,
    }
    found: dict[str, Any] = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session, found["authenticatorId"]


def test_an_authenticator_app(page: Page) -> None:
    """Set up by picture or text, switched on by a code; logins take two steps, by code or recovery code."""
    ann = Visitor(page, "ann")
    ann.join()
    ann.press("open", "mfa_login_required")
    ann.press("begin", "Scan the picture")
    assert page.evaluate("document.getElementById('picture').decode().then(() => true)")
    secret = page.inner_text("#secret")
    page.fill("#code", pyotp.TOTP(secret).now())
    ann.press("confirm", "The authenticator is on")
    codes = page.locator("#codes li").all_inner_texts()
    assert len(codes) == 10
    for proof in (pyotp.TOTP(secret).at(int(time.time()) + 30), codes[0]):
        ann.press("logout", "not logged in")
        ann.press("login", "Now the second factor")
        page.fill("#otp", "000000x")
        ann.press("finish", "wrong_code")
        page.fill("#otp", proof)
        ann.press("finish", "with two factors")
        ann.press("open", "the map of the island")
    ann.press("remove", "The authenticator is off")
    ann.press("login", "with one factor")


def test_a_passkey(page: Page) -> None:
    """Made by the browser's authenticator, it logs in without a name; the counter grows; removed it is refused."""
    bob = Visitor(page, "bob")
    session, authenticator = add_authenticator(page)
    bob.join()
    bob.press("add", "The passkey is made")
    held = session.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
    assert [(item["rpId"], item["isResidentCredential"]) for item in held] == [("localhost", True)]
    page.fill("#name", "")
    page.fill("#password", "")
    for _ in range(2):
        bob.press("logout", "not logged in")
        bob.press("passkey-login", "bob is logged in, with two factors")
        bob.press("open", "the map of the island")
    page.click("#passkeys button")
    page.locator("#told", has_text="is removed").wait_for()
    assert page.locator("#passkeys li").count() == 0
    bob.press("logout", "not logged in")
    bob.press("passkey-login", "passkey_refused")


def test_a_device_that_nobody_unlocks(page: Page) -> None:
    """Neither makes a passkey nor logs in with one."""
    dave = Visitor(page, "dave")
    session, authenticator = add_authenticator(page)
    dave.join()
    dave.press("add", "The passkey is made")
    session.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    dave.press("logout", "not logged in")
    dave.press("passkey-login", "NotAllowedError")


def test_the_page_is_on_its_own(vaults: LiveServer) -> None:
    """It allows nothing from elsewhere, nothing inline, and no frame; the vault is closed."""
    answer = vaults.client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert vaults.client.get("/vault").status_code == 401
    assert f"Open http://localhost:{vaults.port}/" in vaults.log
