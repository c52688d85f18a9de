"""Swagger UI in a real browser: logging in and asking a secured route, without a word to anybody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.live import serve

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DOCUMENT = Path(__file__).parent.parent / "seeds" / "s000"
ALICE = {"username": "alice", "email": "alice@example.com", "password": "secret123"}
PLACES = """
from app import app as inner
from starlette.applications import Starlette
from starlette.routing import Mount

routes = [Mount("/shop", inner), Mount("", inner)]
app = Starlette(routes=routes, lifespan=inner.router.lifespan_context)
"""


@pytest.fixture(scope="module")
def blog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the main document's application, which has an account; it also stands below `/shop`."""
    folder = tmp_path_factory.mktemp("blog")
    for name in ("models.py", "app.py"):
        shutil.copy(DOCUMENT / name, folder)
    with serve(folder, "places:app", source=PLACES, env={"JETIO_ENV": "test"}) as server:
        assert server.client.post("/register", json=ALICE).status_code == 201
        yield server.base_url


@pytest.mark.parametrize("place", ["", "/shop"])
def test_a_person_logs_in_and_tries_a_secured_route(blog: str, place: str, chromium: Page) -> None:
    """Authorize with name and password, Execute: 200 with the caller's own data; after a reload 401.

    The console stays silent until then, and every request goes to this server.
    """
    loud: list[str] = []
    asked: list[str] = []
    chromium.on("console", lambda message: loud.append(f"{message.type}: {message.text}"))
    chromium.on("pageerror", lambda error: loud.append(str(error)))
    chromium.on("request", lambda sent: asked.append(sent.url))

    chromium.goto(f"{blog}{place}/docs")
    assert chromium.title() == "Jetio Blog"
    _authorize(chromium, "secret123")
    chromium.wait_for_selector(".auth-btn-wrapper >> text=Logout")
    chromium.click(".btn-done")
    chromium.click("#operations-auth-me .opblock-summary-control")
    answer = _execute(chromium)
    assert answer.locator(".response-col_status").first.inner_text().startswith("200")
    assert '"username": "alice"' in answer.locator(".response-col_description").first.inner_text()
    assert [line for line in loud if not line.startswith(("verbose:", "debug:"))] == []

    chromium.reload()
    answer = _execute(chromium)
    assert answer.locator(".response-col_status").first.inner_text().startswith("401")
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith("data:")}
    assert hosts == {urlsplit(blog).netloc}
    assert {f"{blog}{place}/login", f"{blog}{place}/me"} <= set(asked)


def test_a_wrong_password_is_told(blog: str, chromium: Page) -> None:
    """The dialog shows the refusal, and nobody is logged in."""
    chromium.goto(f"{blog}/docs")
    _authorize(chromium, "wrong")
    chromium.wait_for_selector(".auth-container .errors")
    assert chromium.locator(".auth-btn-wrapper >> text=Logout").count() == 0


def test_an_operation_can_be_linked_to_by_day_and_night(blog: str, chromium: Page) -> None:
    """The fragment of the address opens it, ready to be tried; where the system is dark, so is the page."""
    chromium.emulate_media(color_scheme="dark")
    chromium.goto(f"{blog}/docs#/auth/me")
    chromium.wait_for_selector("#operations-auth-me.is-open .execute")
    night = _brightness(chromium)
    chromium.emulate_media(color_scheme="light")
    chromium.wait_for_selector("html:not(.dark-mode)")
    assert night < 200 < 600 < _brightness(chromium)


OPEN_TO_ALL = """
from sqlalchemy.orm import Mapped, mapped_column
from jetio import CrudRouter, Jetio, JetioModel, add_swagger_ui, public
from jetio_auth import AuthRouter, JetioAuthMixin

class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    class API:
        admin_only = {"email": "read"}

app = Jetio(title="People")
auth = AuthRouter(User)
auth.register_routes(app)
CrudRouter(User, policy={"GET": public(), "*": auth.self_or_admin()}).register_routes(app)
add_swagger_ui(app)
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_asks_for_no_more_than_it_needs(tmp_path: Path, width: int, chromium: Page) -> None:
    """Nothing stands beside the screen, the dialog asks for a name and a password, and locks close at login.

    The lock of a route that gives more to whoever is logged in is open before, like all others.
    """
    with serve(tmp_path, source=OPEN_TO_ALL, env={"JETIO_ENV": "test"}) as server:
        assert server.client.post("/register", json=ALICE).status_code == 201
        chromium.set_viewport_size({"width": width, "height": 900})
        chromium.goto(f"{server.base_url}/docs")
        chromium.click("#operations-users-list_users .opblock-summary-control")
        chromium.wait_for_selector("#operations-users-list_users .execute")
        assert chromium.evaluate("document.documentElement.scrollWidth") == width
        open_locks = chromium.locator(".opblock .authorization__btn[aria-label$=unlocked]").count()
        assert open_locks == chromium.locator(".opblock .authorization__btn").count() > 5
        chromium.click(".btn.authorize")
        chromium.wait_for_selector("#oauth_username")
        shown = [field for field in chromium.locator(".modal-ux input, .modal-ux select").all()]
        names = [field.get_attribute("id") for field in shown if field.is_visible()]
        assert names == ["oauth_username", "oauth_password"]
        chromium.fill("#oauth_username", ALICE["username"])
        chromium.fill("#oauth_password", ALICE["password"])
        chromium.click(".auth-btn-wrapper .authorize")
        chromium.wait_for_selector(".auth-btn-wrapper >> text=Logout")
        assert chromium.locator('.opblock .authorization__btn[aria-label$=" locked"]').count() == open_locks


def _authorize(page: Page, password: str) -> None:
    page.click(".btn.authorize")
    page.fill("#oauth_username", ALICE["username"])
    page.fill("#oauth_password", password)
    page.click(".auth-btn-wrapper .authorize")


def _execute(page: Page) -> Locator:
    """Ask /me, which is open; the row of the answer."""
    page.click("#operations-auth-me .execute")
    page.wait_for_selector("#operations-auth-me .live-responses-table tbody tr")
    return page.locator("#operations-auth-me .live-responses-table tbody tr").first


def _brightness(page: Page) -> int:
    """The sum of the background's red, green and blue."""
    colour: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
