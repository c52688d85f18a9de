"""Logins by a link in a mail: once, by whoever reads it, and by no other site's doing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from jetio_auth import JWTConfig, Mail
from tests.auth.forum import PASSWORD, bearer, call
from tests.auth.post import ClubSite, Outbox, club, token_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

APP = "https://app.example.com/login#{token}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def site(database_url: str) -> Iterator[ClubSite]:
    """The club with links that log in, on every database."""
    with opened(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[ClubSite]:
    """The same on SQLite."""
    with opened(sqlite_url) as site:
        yield site


def opened(url: str, **options: Any) -> Any:
    outbox = Outbox()
    mail = Mail(mailer=outbox, links={"magic_link": APP})
    opening = club(url, mail=mail, enable=["magic_link"], **options)

    class Opened:
        def __enter__(self) -> ClubSite:
            site = opening.__enter__()
            site.outbox = outbox
            return site

        def __exit__(self, *error: Any) -> None:
            opening.__exit__(*error)

    return Opened()


def asked(site: ClubSite, name: str = "ann") -> str:
    """The token of a new link."""
    assert site.client.post("/magic-link", json={"identity": name}).status_code == 200
    return site.outbox.token("Log in")


def verify(site: ClubSite, token: str) -> Any:
    return site.client.post("/magic-link/verify", json={"token": token})


def test_a_link_logs_in_once(site: ClubSite) -> None:
    """It answers the tokens of a session that says how it began, and leads to the application's own page."""
    site.member("ann")
    token = asked(site)
    assert APP.replace("{token}", token) in site.outbox.letters[-1].text
    answer = verify(site, token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    pair = answer.json()
    headers = bearer(pair["access_token"])
    assert site.client.get("/me", headers=headers).json()["username"] == "ann"
    assert site.auth.authenticator.codec.decode(pair["access_token"])["amr"] == ["otp"]
    assert [item["method"] for item in site.client.get("/sessions", headers=headers).json()] == ["magic_link"]
    again = verify(site, token)
    assert (again.status_code, again.json()["code"]) == (401, "invalid_credentials")
    assert site.login("ann").status_code == 200


def test_of_eight_at_once_one_logs_in(site: ClubSite) -> None:
    """The others are refused like strangers."""
    site.member("ann")
    token = asked(site)

    async def race() -> list[int]:
        calls = [call(site.app, "POST", "/magic-link/verify", {"token": token}) for _ in range(8)]
        return [answer.status for answer in await asyncio.gather(*calls)]

    assert Counter(site.run(race)) == {200: 1, 401: 7}


def test_refusals_are_alike(quick: ClubSite) -> None:
    """A link that never was, is too old or was followed by another one: 401 in the same words."""
    with time_machine.travel(time.time(), tick=False) as clock:
        quick.member("ann")
        first, second = asked(quick), asked(quick)
        answers = [verify(quick, first), verify(quick, "x" * 43)]
        clock.shift(timedelta(minutes=10))
        answers.append(verify(quick, second))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_who_waited_for_the_owner_is_out(quick: ClubSite) -> None:
    """Somebody registered with a stranger's address: when its owner comes, the password and the sessions end."""
    quick.register("ann")
    thief = quick.headers("ann")
    assert quick.client.get("/me", headers=thief).status_code == 200
    pair = verify(quick, asked(quick)).json()
    assert quick.client.get("/me", headers=bearer(pair["access_token"])).status_code == 200
    assert quick.client.get("/me", headers=thief).status_code == 401
    assert quick.login("ann").status_code == 401
    assert quick.row("ann").email_confirmed is True


def test_who_waited_is_out_without_sessions_too(sqlite_url: str) -> None:
    """The tokens of the former password end with it."""
    with opened(sqlite_url, disable=["sessions", "refresh"]) as site:
        site.register("ann")
        thief = site.headers("ann")
        pair = verify(site, asked(site)).json()
        assert site.client.get("/me", headers=bearer(pair["access_token"])).status_code == 200
        assert site.client.get("/me", headers=thief).status_code == 401


def test_of_many_first_links_one_is_good(site: ClubSite) -> None:
    """Several that are made for an account at once are all sent; the latest logs in."""
    tokens = site.auth.required_mailing().magic_links._tokens

    async def make(account: Any) -> list[str]:
        return await asyncio.gather(*(tokens.make(account, "magic_link", 600) for _ in range(8)))

    for name in ("ann", "bob"):  # for the second the connections are open, and the race is close
        site.member(name)
        made = site.run(make, site.auth.accounts.facts.account_of(site.row(name)))
        assert len(set(made)) == 8
        assert Counter(verify(site, token).status_code for token in made) == {200: 1, 401: 7}


def test_conditions_hold_for_links_too(sqlite_url: str) -> None:
    """What every login is asked is asked here: the link confirms the address first."""
    with opened(sqlite_url, require_verified_email=True) as site:
        site.register("ann")
        assert site.login("ann").status_code == 403
        assert verify(site, asked(site)).status_code == 200


def test_a_browser_is_logged_in_by_a_button(sqlite_url: str) -> None:
    """The page's form sets the cookies; a program that opens the link, and another site's form, get none."""
    with club(sqlite_url, enable=["magic_link"], jwt=JWTConfig(token_location="cookie")) as site:
        site.member("ann")
        path = f"/magic-link/verify/{asked(site)}"
        for _ in range(2):
            page = site.client.get(path)
            assert (page.status_code, page.headers["referrer-policy"]) == (200, "no-referrer")
            assert "set-cookie" not in page.headers
        foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        hidden = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
        for headers in (foreign, hidden, {"Origin": "null"}):
            refused = site.client.post(path, headers=FORM | headers)
            assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        own = {
            "Origin": "null",
            "Sec-Fetch-Site": "same-origin",
        }  # as browsers send it from a page without referrer
        done = site.client.post(path, headers=FORM | own)
        assert done.status_code == 200
        assert "You are logged in" in done.text
        assert site.client.get("/me").json()["username"] == "ann"
        assert site.client.get(path).status_code == 410
        assert site.client.post(path, headers=FORM | own).status_code == 401
        json = site.client.post(f"/magic-link/verify/{'x' * 43}")
        assert (json.status_code, json.json()["code"]) == (401, "invalid_credentials")


SOURCE = """
from sqlalchemy.orm import Mapped, mapped_column
from jetio import Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig

class User(JetioModel, JetioAuthMixin):
    email: Mapped[str] = mapped_column(unique=True)

app = Jetio()
auth = AuthRouter(User, enable=["magic_link"], jwt=JWTConfig(token_location="cookie"))
auth.register_routes(app)
"""


def test_chromium_is_logged_in(live_server: Callable[..., Any], chromium: Page) -> None:
    """A real browser hides the page's address from the form, and is let in all the same."""
    server = live_server("app:app", source=SOURCE)
    email = {"email": "ann@example.com"}
    server.client.post("/register", json={**email, "password": PASSWORD})
    server.client.post("/magic-link", json=email)
    deadline = time.monotonic() + 10
    while "/magic-link/verify/" not in server.log and time.monotonic() < deadline:
        time.sleep(0.05)
    chromium.goto(f"{server.base_url}/magic-link/verify/{token_of(server.log)}")
    chromium.get_by_role("button", name="Log in").click()
    chromium.get_by_role("heading", name="You are logged in").wait_for()
    chromium.goto(f"{server.base_url}/me")
    assert '"email":"ann@example.com"' in chromium.content()


def test_an_account_without_a_password_logs_in(quick: ClubSite) -> None:
    """A link is enough; a login with a password stays refused."""
    quick.run(quick.auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
    made = {"username": "made", "email": "made@example.com"}
    assert quick.client.post("/members", json=made, headers=quick.headers("root")).status_code == 201
    assert verify(quick, asked(quick, "made")).status_code == 200
    assert quick.login("made").status_code == 401
