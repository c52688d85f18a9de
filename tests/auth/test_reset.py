"""Passwords that were forgotten: asked for by anybody, reset by whoever reads the mail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from sqlalchemy import text

from jetio_auth import Lockout, Mail
from tests.auth.forum import PASSWORD, bearer, call, serving
from tests.auth.post import DOMAIN, ClubSite, Member, Outbox, club, new_club, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

NEW = "another long password"
TOLD = {"message": "If there is such an account, a mail is on its way to its address"}
POLICY = (
    "At least 8 characters, whatever they are. At most 72 bytes: a plain letter or digit is one, "
    "an accented letter two, an emoji four or more."
)


@pytest.fixture
def site(database_url: str) -> Iterator[ClubSite]:
    """The club on every database."""
    with club(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[ClubSite]:
    """The club on SQLite, where the database does not matter."""
    with club(sqlite_url) as site:
        yield site


def asked(site: ClubSite, name: str = "ann") -> str:
    """The token of a new link."""
    assert site.forgot(name).status_code == 200
    return site.outbox.token("new password")


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_forgotten_password_is_replaced(site: ClubSite) -> None:
    """The new password logs in, the old one does not; every session is over, and the event is told."""
    site.member("ann")
    pair = site.login("ann").json()
    events: list[Any] = []
    site.auth.on("password.reset", events.append)
    answer = site.reset(asked(site))
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert site.client.get("/me", headers=bearer(pair["access_token"])).status_code == 401
    assert site.client.post("/refresh", json={"refresh_token": pair["refresh_token"]}).status_code == 401
    assert told(site.login("ann")) == (401, "invalid_credentials")
    assert site.login("ann", NEW).status_code == 200
    assert [event.user_id for event in events] == [str(site.row("ann").id)]
    assert site.row("ann").password_reset_at is not None
    assert site.outbox.subjects("ann@example.com")[-1] == "Your password at The Club is another one"


def test_of_eight_at_once_one_resets(site: ClubSite) -> None:
    """A link is used once, whoever is quicker: the seven others are told that it was used."""
    site.member("ann")
    token = asked(site)

    async def race() -> list[int]:
        bodies = [{"token": token, "new_password": f"{NEW} {number}"} for number in range(8)]
        calls = [call(site.app, "POST", "/reset-password", body) for body in bodies]
        return [answer.status for answer in await asyncio.gather(*calls)]

    found = Counter(site.run(race))
    assert found == {204: 1, 410: 7}
    assert [site.login("ann", f"{NEW} {number}").status_code for number in range(8)].count(200) == 1


def test_asking_at_once_leaves_one_link(site: ClubSite) -> None:
    """Of links that are asked for together the last one counts."""
    site.member("ann")

    async def ask() -> list[int]:
        calls = [call(site.app, "POST", "/forgot-password", {"identity": "ann"}) for _ in range(4)]
        return [answer.status for answer in await asyncio.gather(*calls)]

    assert site.run(ask) == [200] * 4
    tokens = [token_of(letter.text) for letter in site.outbox.letters if "new password" in letter.subject]
    assert len(set(tokens)) == 4
    assert sorted(site.reset(token).status_code for token in tokens) == [204, 404, 404, 404]


@pytest.mark.parametrize("name", ["ann", "ANN", "ann@example.com", "Ann@Example.COM"])
def test_the_mail_goes_to_the_address_that_is_stored(quick: ClubSite, name: str) -> None:
    """Whichever name is given, and however it is written; the link begins with the configured domain."""
    quick.member("ann")
    answer = quick.client.post("/forgot-password", json={"identity": name}, headers={"Host": "evil.example"})
    assert answer.json() == TOLD
    letter = quick.outbox.letters[-1]
    assert letter.to == "ann@example.com"
    link = f"{DOMAIN}/reset-password/{token_of(letter.text)}"
    assert link in letter.text
    assert f'href="{link}"' in (letter.html or "")
    assert "evil" not in letter.text + (letter.html or "")
    assert "within 30 minutes" in letter.text


def test_nobody_learns_who_has_an_account(quick: ClubSite) -> None:
    """One answer for an account, a disabled one and none; those two get no mail."""
    quick.member("ann")
    quick.member("bob")

    async def disable() -> None:
        async with quick.app.database.sessions() as session:
            await session.execute(text("UPDATE members SET is_active = 0 WHERE username = 'bob'"))
            await session.commit()

    quick.run(disable)
    sent = len(quick.outbox.letters)
    answers = [quick.forgot(name) for name in ("ann", "bob", "nobody")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert len(quick.outbox.letters) == sent + 1


def test_the_answer_does_not_wait_for_the_mail(sqlite_url: str) -> None:
    """The account is looked up after the answer: what it takes to write to somebody shows nowhere."""
    order: list[str] = []

    class Slow(Outbox):
        async def send(self, letter: Any) -> None:
            order.append("mail")

    async def ask(app: Any) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if not message.get("more_body"):
                order.append(message["type"])

        body = b'{"identity": "ann"}'
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/forgot-password", "raw_path": b"/forgot-password", "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json")], "client": None, "server": ("testserver", 80),
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, receive, send)

    with club(sqlite_url, mail=Mail(mailer=Slow(), domain=DOMAIN)) as site:
        site.register("ann")
        order.clear()
        site.run(ask, site.app)
        assert order == ["http.response.start", "http.response.body", "mail"]


def test_a_link_ends_when_it_should(quick: ClubSite) -> None:
    """With its use, its half hour, another link, another password, another address, the account's end."""
    with time_machine.travel(time.time(), tick=False) as clock:
        quick.member("ann")
        first = asked(quick)
        second = asked(quick)
        assert told(quick.reset(first)) == (404, "not_found")
        clock.shift(timedelta(minutes=30))
        assert told(quick.reset(second)) == (410, "expired")
        used = asked(quick)
        assert quick.reset(used).status_code == 204
        assert told(quick.reset(used)) == (410, "expired")
        before = asked(quick)
        body = {"current_password": NEW, "new_password": PASSWORD}
        headers = quick.headers("ann", NEW)
        assert quick.client.post("/change-password", json=body, headers=headers).status_code == 200
        assert told(quick.reset(before)) == (404, "not_found")
        former = asked(quick)
        key, headers = quick.row("ann").id, quick.headers("ann")
        moved = quick.client.patch(f"/members/{key}", json={"email": "new@example.com"}, headers=headers)
        assert moved.status_code == 200, moved.text
        assert told(quick.reset(former)) == (404, "not_found")
        last = asked(quick)
        assert quick.client.delete(f"/members/{key}", headers=headers).status_code == 204
        assert told(quick.reset(last)) == (404, "not_found")


def test_a_link_is_good_for_its_purpose_alone(quick: ClubSite) -> None:
    """The one that confirms an address resets no password, and the other way round."""
    quick.member("ann", confirmed=False)
    confirms, resets = quick.outbox.token("Confirm"), asked(quick)
    assert told(quick.reset(confirms)) == (404, "not_found")
    assert told(quick.client.post(f"/activate/{resets}")) == (404, "not_found")
    assert told(quick.reset("x" * 43)) == (404, "not_found")
    assert quick.client.get("/me", headers=bearer(resets)).status_code == 401


def test_a_refused_password_leaves_the_link(quick: ClubSite) -> None:
    """What is too short or too long is told in words, and another try follows with the same link."""
    quick.member("ann")
    token = asked(quick)
    answer = quick.reset(token, "short")
    assert told(answer) == (422, "validation")
    assert [item["pointer"] for item in answer.json()["errors"]] == ["/new_password"]
    long = quick.reset(token, "é" * 37)
    assert long.json()["errors"][0]["code"] == "password_too_long"
    assert quick.reset(token).status_code == 204


def test_a_dead_link_does_not_come_back(sqlite_url: str) -> None:
    """An address that is changed and changed back ends what was sent, whether by a route or by own code."""
    with club(sqlite_url, disable=["verify_email"]) as quick:
        assert quick.register("ann").status_code == 201
        key, headers = quick.row("ann").id, quick.headers("ann")

        async def move(address: str) -> None:
            async with quick.app.database.sessions() as session:
                user = await session.get_one(Member, key)
                user.email = address
                await session.commit()

        for way in ("route", "code"):
            token = asked(quick)
            for address in ("new@example.com", "ann@example.com"):
                if way == "code":
                    quick.run(move, address)
                else:
                    moved = quick.client.patch(f"/members/{key}", json={"email": address}, headers=headers)
                    assert moved.status_code == 200, moved.text
            assert told(quick.reset(token)) == (404, "not_found"), way
        assert quick.reset(asked(quick)).status_code == 204


PATHS = (("PATCH", "/members/{}"), ("PUT", "/members/{}"), ("PATCH", "/users/{}"), ("PATCH", "/users/me"))


@pytest.mark.parametrize("confirmed", [True, False])
def test_another_address_takes_a_fresh_login(sqlite_url: str, *, confirmed: bool) -> None:
    """Whoever finds an open session cannot make the account his own by mail; on no route. Admins change others."""
    off = [] if confirmed else ["verify_email"]
    app, auth, outbox = new_club(sqlite_url, disable=off)
    auth.register_user_routes(app)
    with serving(app, auth) as served, time_machine.travel(time.time(), tick=False) as clock:
        site = ClubSite(served, outbox)
        site.run(site.auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
        site.member("ann", confirmed=confirmed)
        key, headers, root = site.row("ann").id, site.headers("ann"), site.headers("root")
        clock.shift(timedelta(minutes=16))
        same, other = {"username": "ann", "email": "ann@example.com"}, {"email": "thief@example.com"}
        for method, path in PATHS:
            body = {**same, **other, "phone": method}
            answer = site.client.request(method, path.format(key), json=body, headers=headers)
            assert told(answer) == (401, "fresh_login_required"), (method, path)
            answer = site.client.request(method, path.format(key), json=same, headers=headers)
            assert answer.status_code == 200, answer.text
        assert (site.row("ann").email, site.row("ann").phone) == ("ann@example.com", None)
        fresh = site.headers("ann")
        for number, (method, path) in enumerate(PATHS):
            body = {**same, "email": f"ann{number}@example.com"}
            answer = site.client.request(method, path.format(key), json=body, headers=fresh)
            assert answer.status_code == 200, answer.text
        clock.shift(timedelta(minutes=16))
        moved = site.client.patch(f"/members/{key}", json=other, headers=root)
        assert moved.status_code == 200, moved.text
        own = site.client.patch(f"/members/{site.row('root').id}", json={"email": "r@x.org"}, headers=root)
        assert told(own) == (401, "fresh_login_required")


def test_an_error_shows_no_link(
    quick: ClubSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A link is still good when its use has failed: neither the log nor the answer has it."""
    quick.member("ann")
    token = asked(quick)
    caplog.clear()

    def away(*given: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(quick.auth.required_mailing().resets._accounts, "refuse_password", away)
    failed = quick.client.post(f"/reset-password/{token}", json={"new_password": NEW})
    monkeypatch.undo()
    refused = quick.client.post(f"/reset-password/{token}", json={"new_password": "short"})
    assert (failed.status_code, refused.status_code) == (500, 422)
    assert "POST /reset-password/{token} failed" in caplog.text
    assert token not in caplog.text + failed.text + refused.text
    assert quick.reset(token).status_code == 204


def test_a_reset_forgets_failed_logins(sqlite_url: str) -> None:
    """Whoever was locked out by somebody's guesses logs in at once."""
    with club(sqlite_url, lockout=Lockout(failures=2)) as site:
        site.member("ann")
        for _ in range(2):
            site.login("ann", "wrong password")
        assert site.login("ann").status_code == 429
        assert site.reset(asked(site)).status_code == 204
        assert site.login("ann", NEW).status_code == 200


def test_a_reset_needs_neither_sessions_nor_confirmed_addresses(sqlite_url: str) -> None:
    """Tokens end with the password all the same; the mail tells the life of the link."""
    outbox = Outbox()
    off = ["sessions", "refresh", "verify_email"]
    with club(sqlite_url, disable=off, mail=Mail(mailer=outbox, domain=DOMAIN, reset_seconds=90)) as site:
        site.register("ann")
        headers, key = site.headers("ann"), site.row("ann").id
        assert site.client.patch(f"/members/{key}", json={"phone": "1"}, headers=headers).status_code == 200
        site.forgot("ann")
        assert "within 90 seconds" in outbox.letters[-1].text
        assert site.reset(outbox.token("new password")).status_code == 204
        assert site.client.get("/me", headers=headers).status_code == 401
        assert site.login("ann", NEW).status_code == 200


def test_a_database_that_fails_after_the_answer(quick: ClubSite, caplog: pytest.LogCaptureFixture) -> None:
    """The answer was given; the failure is in the log."""

    async def lose() -> None:
        async with quick.app.database.sessions() as session:
            await session.execute(text("ALTER TABLE members RENAME TO lost"))
            await session.commit()

    quick.run(lose)
    assert quick.forgot("ann").json() == TOLD
    assert "an account could not be looked up" in caplog.text


def test_mails_are_limited(sqlite_url: str) -> None:
    """Five a minute for a name and for an address, whether somebody has the name; no flood for one account."""
    with club(sqlite_url, lockout=Lockout(account_mails=3)) as site:
        site.register("ann")  # the first letter

        async def ask(name: str, address: str) -> int:
            return (
                await call(site.app, "POST", "/forgot-password", {"identity": name}, address=address)
            ).status

        for name in ("ann", "nobody"):
            found = [site.run(ask, name, f"192.0.2.{number}") for number in range(6)]
            assert found == [200] * 5 + [429], name
        found = [site.run(ask, f"name{number}", "198.51.100.1") for number in range(6)]
        assert found == [200] * 5 + [429]
        assert len(site.outbox.letters) == 3
        assert site.run(ask, "ann@example.com", "203.0.113.1") == 200
        assert len(site.outbox.letters) == 3


def test_only_a_hash_of_a_token_is_stored(quick: ClubSite) -> None:
    """Nothing in the table opens anything, and logs and reprs show no token."""
    quick.member("ann")
    token = asked(quick)

    async def dump() -> str:
        async with quick.app.database.sessions() as session:
            rows = (await session.execute(text("SELECT * FROM jetio_auth_members_one_time"))).all()
            return repr(rows)

    stored = quick.run(dump)
    assert "reset_password" in stored
    assert token not in stored
    assert token not in repr(quick.outbox.letters)


@pytest.mark.parametrize(
    "body", [{}, {"identity": "a", "email": "b"}, {"identity": 1}, {"identity": "a", "x": 1}, {"identity": "a" * 321}]
)  # fmt: skip
def test_a_question_needs_one_name(quick: ClubSite, body: dict[str, Any]) -> None:
    """Anything else is 422."""
    assert told(quick.client.post("/forgot-password", json=body))[0] == 422


# ---- the page ----------------------------------------------------------------------------------------------


def test_the_page_is_closed(quick: ClubSite) -> None:
    """No script, nothing from elsewhere, no cache, no referrer, no frame; opening it uses nothing up."""
    quick.member("ann")
    token = asked(quick)
    for _ in range(2):
        page = quick.client.get(f"/reset-password/{token}")
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in page.text
        assert "://" not in page.text
        assert POLICY in page.text
        assert token not in page.text
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    short = quick.client.post(f"/reset-password/{token}", content="new_password=short", headers=form)
    assert short.status_code == 422
    assert "at least 8 characters" in short.text
    done = quick.client.post(f"/reset-password/{token}", content="new_password=a+new+password", headers=form)
    assert done.status_code == 200
    assert "Your password is changed" in done.text
    assert quick.login("ann", "a new password").status_code == 200
    again = quick.client.post(f"/reset-password/{token}", content="new_password=a+new+password", headers=form)
    assert (again.status_code, again.headers["content-type"]) == (410, "text/html; charset=utf-8")
    gone = quick.client.get(f"/reset-password/{token}")
    assert gone.status_code == 410
    assert gone.headers["cache-control"] == "no-store"


def test_programs_may_use_the_address_of_the_link(quick: ClubSite) -> None:
    """JSON sent there is answered like JSON sent to /reset-password."""
    quick.member("ann")
    token = asked(quick)
    address = f"/reset-password/{token}"
    assert told(quick.client.post(address, json={"new_password": "short"})) == (422, "validation")
    assert quick.client.post(address, json={"new_password": NEW}).status_code == 204
    assert told(quick.client.post(address, json={"new_password": NEW})) == (410, "expired")
    assert told(quick.client.post(address, content="x", headers={"Content-Type": "text/plain"}))[0] == 415


SOURCE = """
import re
from sqlalchemy.orm import Mapped, mapped_column
from jetio import Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthWithResetMixin

class User(JetioModel, JetioAuthWithResetMixin):
    email: Mapped[str] = mapped_column(unique=True)

app = Jetio(title='Tea & "Cakes" <Ltd>')
auth = AuthRouter(User)
auth.register_routes(app)
"""


def test_a_password_is_reset_in_a_browser(live_server: Callable[..., Any], chromium: Page) -> None:
    """The link of the console's mail opens the page; it fits a phone, loads nothing and takes the password."""
    server = live_server("app:app", source=SOURCE, env={"DOMAIN": "http://localhost"})
    client = server.client
    client.post("/register", json={"email": "ann@example.com", "password": PASSWORD})
    client.post("/forgot-password", json={"email": "ann@example.com"})
    deadline = time.monotonic() + 10
    while "/reset-password/" not in server.log and time.monotonic() < deadline:
        time.sleep(0.05)
    token = token_of(server.log)
    seen: list[str] = []
    mistakes: list[str] = []
    chromium.on("request", lambda request: seen.append(request.url))
    chromium.on("console", lambda message: mistakes.append(message.text))
    chromium.set_viewport_size({"width": 360, "height": 640})
    chromium.goto(f"{server.base_url}/reset-password/{token}")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 360
    assert chromium.title() == 'Choose a new password · Tea & "Cakes" <Ltd>'
    chromium.get_by_label("New password").fill("short")
    chromium.get_by_role("button", name="Set the password").click()
    assert "at least 8 characters" in chromium.get_by_role("alert").inner_text()
    chromium.get_by_label("New password").fill(NEW)
    chromium.get_by_role("button", name="Set the password").click()
    chromium.get_by_role("heading", name="Your password is changed").wait_for()
    assert {address.removeprefix(server.base_url).partition(token)[0] for address in seen} <= {
        "/reset-password/", "/favicon.ico",
    }  # fmt: skip
    assert 'POST /reset-password/... HTTP/1.1" 200' in server.log
    assert server.log.count(token) == 1  # in the mail
    assert not [text for text in mistakes if "Content Security Policy" in text]
    assert client.post("/login", json={"email": "ann@example.com", "password": NEW}).status_code == 200
