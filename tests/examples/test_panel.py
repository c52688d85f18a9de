"""The panel example in a real browser, as a person with a mouse and a phone meets it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.live import LiveServer, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

COMMAND = [sys.executable, "-m", "examples.panel"]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("panel"), command=COMMAND, env={"JETIO_PORT": "0"}) as server:
        yield server


def admin_password(server: LiveServer) -> str:
    """What the server printed at its first start."""
    found = re.search(r"The first admin is `admin`, the password (\S+) \(shown this once\)", server.log)
    assert found is not None, server.log
    return found[1]


class Story:
    """What the page said and asked for, from its first request on."""

    def __init__(self, page: Page) -> None:
        self.loud: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.loud.append(message.text))
        page.on("pageerror", lambda error: self.loud.append(str(error)))
        page.on("request", lambda sent: self.hosts.add(urlsplit(sent.url).netloc))

    def complaints(self) -> list[str]:
        """All but the browser's own note that a form was answered with an error."""
        return [line for line in self.loud if "the server responded with a status of" not in line]


def fits(page: Page) -> bool:
    """Whether nothing stands out of the window's sides, at a desk and on a phone."""
    wide = []
    for width, height in ((390, 844), (1280, 900)):
        page.set_viewport_size({"width": width, "height": height})
        wide.append(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
    return all(wide)


def test_an_admin_works_in_the_browser(panel: LiveServer, chromium: Page) -> None:
    """Sign in, list, create, see what is wrong beside the field, edit, choose a relation, delete, sign out.

    Every page fits a desk and a phone, no script is refused, and no request goes to another host.
    """
    page, story, base = chromium, Story(chromium), panel.base_url
    page.goto(f"{base}/admin")
    assert page.title() == "Sign in - Blog admin"
    assert fits(page)
    page.fill("#username", "admin")
    page.fill("#password", "not this one")
    page.click("button[type=submit]")
    page.wait_for_selector("[role=alert]")
    page.fill("#password", admin_password(panel))
    page.click("button[type=submit]")
    page.wait_for_url(f"{base}/admin/")

    page.click(".card-link:has-text('Posts')")
    page.click("text=New Post")
    page.fill("#title", "Bees in the city")
    page.fill("#body", "They are well.")
    page.evaluate("document.querySelector('#title').maxLength = 9999")
    page.fill("#title", "x" * 300)
    page.click("button:text-is('Save')")
    beside = page.wait_for_selector("#title-error")
    assert beside is not None
    assert beside.inner_text() == "String should have at most 200 characters"
    assert page.input_value("#body") == "They are well."
    assert fits(page)
    page.fill("#title", "Bees in the city")
    page.click("button:text-is('Save')")
    page.wait_for_selector("text=was added successfully")
    assert fits(page)

    page.click("td:has-text('Bees in the city')")
    page.click("a:has-text('Edit')")
    page.fill("#title", "Bees on the roof")
    page.click("button:text-is('Save')")
    page.wait_for_selector("text=was changed successfully")

    page.goto(f"{base}/admin/comments/create")
    page.fill("#body", "How nice <b>")
    page.click(".select2-selection")
    page.fill(".select2-search__field", "roof")
    page.click(".select2-results__option:has-text('Bees on the roof')")
    assert fits(page)
    page.click("button:text-is('Save')")
    page.wait_for_selector("td:has-text('How nice <b>')")
    assert page.locator("td:has-text('Bees on the roof') a").count() == 1

    page.click("tr [data-sa-name=delete]")
    page.click("text=Yes, delete")
    page.wait_for_selector("text=was successfully deleted")
    assert page.locator("tbody tr[data-sa-pk]").count() == 0

    page.click("header [aria-label='Open user menu']")
    page.click("header button:text-is('Sign out')")
    page.wait_for_url(f"{base}/admin/login")
    page.goto(f"{base}/admin/posts/list")
    assert page.title() == "Sign in - Blog admin"
    assert story.complaints() == []
    assert story.hosts == {urlsplit(base).netloc}


def test_a_plain_account_meets_404(panel: LiveServer, chromium: Page) -> None:
    """Signed in or not as a plain user, every page is 404; the REST routes go on as before."""
    account = {"username": "ann", "email": "ann@example.com", "password": "ann reads here"}
    assert panel.client.post("/register", json=account).status_code == 201
    chromium.goto(f"{panel.base_url}/admin/login")
    chromium.fill("#username", "ann")
    chromium.fill("#password", "ann reads here")
    answers: list[Any] = []
    chromium.on("response", lambda answer: answers.append(answer))
    chromium.click("button[type=submit]")
    chromium.wait_for_url(f"{panel.base_url}/admin/")
    assert [answer.status for answer in answers if answer.url == f"{panel.base_url}/admin/"] == [404]
    found = chromium.goto(f"{panel.base_url}/admin/posts/list")
    assert found is not None
    assert found.status == 404
    with httpx2.Client(base_url=panel.base_url, trust_env=False) as client:
        assert client.get("/posts").status_code == 200
        assert client.get("/admin/posts/list").status_code == 404
