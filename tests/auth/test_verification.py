"""Addresses that are confirmed by a link, and what changes while they are not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, Jetio
from jetio_auth import AuthRouter, JetioAuthMixin, JetioFullAuthMixin, Lockout
from tests.auth.forum import PASSWORD, SETTINGS, call, new_base
from tests.auth.post import ClubSite, Member, club

CREATED = {
    "message": "Account created; a mail to its address has the link that confirms it",
    "status": "unverified",
    "user": None,
}


@pytest.fixture
def site(database_url: str) -> Iterator[ClubSite]:
    """The club, where nobody logs in with an address that is not confirmed, on every database."""
    with club(database_url, require_verified_email=True) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[ClubSite]:
    """The same on SQLite."""
    with club(sqlite_url, require_verified_email=True) as site:
        yield site


@pytest.fixture
def lax(sqlite_url: str) -> Iterator[ClubSite]:
    """The club where unconfirmed members log in too."""
    with club(sqlite_url) as site:
        yield site


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_account_begins_unconfirmed(site: ClubSite) -> None:
    """Its owner logs in when the link was used, and not before; the event is told."""
    events: list[Any] = []
    site.auth.on("email.verified", events.append)
    assert site.register("ann").json() == CREATED
    assert told(site.login("ann")) == (403, "email_not_verified")
    assert told(site.login("ann", "wrong password")) == (401, "invalid_credentials")
    token = site.outbox.token("Confirm your address")
    answer = site.client.post(f"/activate/{token}")
    assert (answer.status_code, answer.json()) == (200, {"message": "Your email address is confirmed"})
    assert answer.headers["cache-control"] == "no-store"
    assert site.login("ann").status_code == 200
    assert told(site.client.post(f"/activate/{token}")) == (410, "expired")
    assert len(events) == 1


def test_a_taken_address_is_told_to_its_owner_alone(site: ClubSite) -> None:
    """Another registration gets the same answer and makes no account; the mail offers another password."""
    site.member("ann")
    answer = site.register("thief", email="Ann@Example.com")
    assert (answer.status_code, answer.json()) == (201, CREATED)
    assert site.row("thief") is None
    assert site.outbox.subjects("ann@example.com")[-1] == "You have an account at The Club already"
    assert site.reset(site.outbox.token("already"), "a password of ann").status_code == 204
    assert site.login("ann", "a password of ann").status_code == 200


def test_an_owner_who_is_gone_meanwhile_is_told_nothing(quick: ClubSite) -> None:
    """The letter is written after the answer, when the account may have been deleted."""
    quick.run(quick.auth.required_mailing().letters.taken, "ann@example.com")
    assert quick.outbox.letters == []


def test_other_columns_are_told_as_ever(site: ClubSite) -> None:
    """A taken name is 409 whether the address is free or not: it tells nothing of the address."""
    site.member("ann")
    site.register("bob", phone="123")
    for email in ("ann@example.com", "free@example.com"):
        for fields in ({"username": "bob"}, {"phone": "123"}):
            body = {"username": "new", "email": email, "password": PASSWORD, **fields}
            answer = site.client.post("/register", json=body)
            assert told(answer) == (409, "already_exists")
            assert [item["pointer"] for item in answer.json()["errors"]] == [f"/{next(iter(fields))}"]


def test_of_eight_at_once_one_confirms(site: ClubSite) -> None:
    """A link is used once."""
    site.register("ann")
    path = f"/activate/{site.outbox.token('Confirm')}"

    async def race() -> list[int]:
        return [
            answer.status
            for answer in await asyncio.gather(*(call(site.app, "POST", path) for _ in range(8)))
        ]

    assert Counter(site.run(race)) == {200: 1, 410: 7}


def test_another_address_is_confirmed_anew(site: ClubSite) -> None:
    """A change on the account's own route takes the flag, writes to the new address and warns the former one."""
    site.member("ann")
    events: list[str] = []
    site.auth.on("email.*", lambda event: events.append(event.name))
    headers, key = site.headers("ann"), site.row("ann").id
    sent = len(site.outbox.letters)
    same = site.client.patch(f"/members/{key}", json={"email": "ANN@example.com"}, headers=headers)
    assert (same.status_code, len(site.outbox.letters)) == (200, sent)
    answer = site.client.patch(f"/members/{key}", json={"email": "new@example.com"}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["email_confirmed"] is False
    assert told(site.login("ann")) == (403, "email_not_verified")
    assert site.outbox.subjects("new@example.com") == ["Confirm your address at The Club"]
    assert site.outbox.subjects("ann@example.com")[-1] == "Another address for your account at The Club"
    assert site.client.post(f"/activate/{site.outbox.token('Confirm')}").status_code == 200
    assert site.login("ann").status_code == 200
    assert events == ["email.changed", "email.verified"]


def test_nobody_confirms_by_writing_the_flag(quick: ClubSite) -> None:
    """It is an admin's to write, on every route; with another address it stands only where an admin vouches."""
    assert told(quick.register("ann", email_confirmed=True)) == (422, "read_only_field")
    quick.member("ann")
    headers, key = quick.headers("ann"), quick.row("ann").id
    body = {"email": "new@example.com", "email_confirmed": True}
    quick.client.patch(f"/members/{key}", json=body, headers=headers)
    assert quick.row("ann").email_confirmed is False
    quick.client.patch(f"/members/{key}", json={"email_confirmed": True}, headers=headers)
    assert quick.row("ann").email_confirmed is False
    quick.run(quick.auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
    admin = quick.headers("root")
    body["email"] = "vouched@example.com"
    assert quick.client.patch(f"/members/{key}", json=body, headers=admin).status_code == 200
    assert quick.row("ann").email_confirmed is True
    assert quick.outbox.subjects("vouched@example.com") == []
    made = {"username": "made", "email": "made@example.com"}
    assert quick.client.post("/members", json=made, headers=admin).status_code == 201
    assert quick.outbox.subjects("made@example.com") == ["Confirm your address at The Club"]
    assert quick.client.delete(f"/members/{key}", headers=admin).status_code == 204


def test_code_of_the_application_changes_addresses_too(quick: ClubSite) -> None:
    """An object that gets another address is unconfirmed; `send_verification` writes the link."""
    quick.member("ann")

    async def move() -> None:
        async with quick.app.database.sessions() as session:
            user = (await session.scalars(select(Member).where(Member.username == "ann"))).one()
            user.email = "ann@example.com"
            assert user.email_confirmed is True
            user.email = "new@example.com"
            await session.commit()
            await quick.auth.send_verification(user)

    quick.run(move)
    assert quick.row("ann").email_confirmed is False
    assert (
        quick.client.post(f"/activate/{quick.outbox.token('Confirm', 'new@example.com')}").status_code == 200
    )
    assert quick.row("ann").email_confirmed is True


def test_another_link_may_be_asked_for(quick: ClubSite) -> None:
    """It ends the one before; whoever is confirmed, or nobody, gets none, and the answer tells nothing."""
    quick.register("ann")
    first = quick.outbox.token("Confirm")
    quick.member("bob")
    sent = len(quick.outbox.letters)
    answers = {
        quick.client.post("/resend-verification", json={"identity": name}).text
        for name in ("ann", "bob@example.com", "nobody")
    }
    assert len(answers) == 1
    assert len(quick.outbox.letters) == sent + 1
    assert told(quick.client.post(f"/activate/{first}")) == (404, "not_found")
    assert quick.client.post(f"/activate/{quick.outbox.token('Confirm')}").status_code == 200


def test_a_link_lives_a_day(quick: ClubSite) -> None:
    """And it is for the address that it was sent to."""
    with time_machine.travel(time.time(), tick=False) as clock:
        quick.register("ann")
        token = quick.outbox.token("Confirm")
        assert "within 1 day" in quick.outbox.letters[-1].text
        clock.shift(timedelta(days=1))
        assert told(quick.client.post(f"/activate/{token}")) == (410, "expired")
        assert quick.client.get(f"/activate/{token}").status_code == 410


def test_a_link_ends_with_the_address(lax: ClubSite) -> None:
    """Whoever reads the former address confirms nothing."""
    lax.register("ann")
    token, headers, key = lax.outbox.token("Confirm"), lax.headers("ann"), lax.row("ann").id
    lax.run(lax.auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
    for address in ("new@example.com", "ann@example.com"):
        answer = lax.client.patch(f"/members/{key}", json={"email": address}, headers=headers)
        assert answer.status_code == 200
    assert told(lax.client.post(f"/activate/{token}")) == (404, "not_found")
    assert lax.row("ann").email_confirmed is False


def test_a_reset_confirms_the_address(quick: ClubSite) -> None:
    """Whoever opened its link reads the mail."""
    quick.register("ann")
    quick.forgot("ann")
    assert quick.reset(quick.outbox.token("new password"), "another long password").status_code == 204
    assert quick.login("ann", "another long password").status_code == 200


def test_the_page_confirms_by_its_button(quick: ClubSite) -> None:
    """A program that opens the link confirms nothing; the button's form is answered with a page."""
    quick.register("ann")
    path = f"/activate/{quick.outbox.token('Confirm')}"
    for _ in range(2):
        page = quick.client.get(path)
        assert (page.status_code, page.headers["referrer-policy"]) == (200, "no-referrer")
        assert '<form method="post">' in page.text
    assert quick.row("ann").email_confirmed is False
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    done = quick.client.post(path, headers=form)
    assert done.status_code == 200
    assert "Your email address is confirmed" in done.text
    refused = quick.client.post(path, headers=form)
    assert (refused.status_code, refused.headers["cache-control"]) == (410, "no-store")
    assert "This link was used already" in refused.text
    unknown = quick.client.get("/activate/<b>x</b>")
    assert unknown.status_code == 404
    assert "<b>" not in unknown.text


def test_a_mail_that_fails_loses_nothing(lax: ClubSite, caplog: pytest.LogCaptureFixture) -> None:
    """The account is there, the failure is in the log without the link, and another link can be asked for."""
    lax.outbox.fails = True
    assert lax.register("ann").status_code == 201
    assert "a letter could not be sent: verify_email" in caplog.text
    assert "/activate/" not in caplog.text
    lax.outbox.fails = False
    lax.client.post("/resend-verification", json={"email": "ann@example.com"})
    assert lax.client.post(f"/activate/{lax.outbox.token('Confirm')}").status_code == 200


def test_registrations_of_one_address_flood_nobody(sqlite_url: str) -> None:
    """Its owner gets no more letters in an hour than an account gets."""
    with club(sqlite_url, lockout=Lockout(account_mails=3)) as site:
        for number in range(6):
            assert site.register(f"name{number}", email="ann@example.com").status_code == 201
        assert len(site.outbox.letters) == 3


# ---- the model ---------------------------------------------------------------------------------------------


def refusal(*mixins: Any, columns: dict[str, Any], **options: Any) -> str:
    """What is told when a router over such a model is built."""
    base: Any = new_base()
    values: dict[str, Any] = {
        column: mapped_column(unique=True) for column in ("username", "email") if column in columns
    }
    model = type("User", (base, *mixins), {"__annotations__": columns, "__module__": __name__, **values})
    app = Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", metadata=base.metadata)

    def build() -> None:
        AuthRouter(model, **options).register_routes(app)
        app.build()

    with pytest.raises(ConfigError) as caught:
        build()
    return str(caught.value)


def test_mistakes_are_told_at_build() -> None:
    """No address to write to, a flag that is no flag, features without their columns."""
    name: dict[str, Any] = {"username": Mapped[str]}
    assert "has no email to write to" in refusal(JetioFullAuthMixin, columns=name)
    texts = {**name, "email": Mapped[str], "email_verified": Mapped[str]}
    assert "add JetioEmailConfirmationMixin" in refusal(JetioAuthMixin, columns=texts)
    assert "add JetioPasswordResetMixin" in refusal(JetioAuthMixin, columns=name, enable=["reset_password"])
    needs = refusal(JetioAuthMixin, columns=name, require_verified_email=True)
    assert "require_verified_email needs the feature verify_email" in needs
    assert "token_location" in refusal(
        JetioAuthMixin, columns={**name, "email": Mapped[str]}, enable=["magic_link"]
    )


def test_what_is_off_is_not_there(sqlite_url: str) -> None:
    """No route and no table; the columns alone do nothing."""
    with club(sqlite_url, disable=["verify_email", "reset_password"]) as site:
        assert site.register("ann").json()["user"]["username"] == "ann"
        for path in (
            "/forgot-password",
            "/reset-password",
            "/resend-verification",
            "/activate/x",
            "/magic-link",
        ):
            assert site.client.post(path, json={"identity": "ann"}).status_code == 404, path
        assert site.outbox.letters == []
        with pytest.raises(ConfigError, match="verify_email is off"):
            site.run(site.auth.send_verification, site.row("ann"))
