"""Whoever registers waits for an admin; nobody is let in by a race, a token from before, or himself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, CrudRouter, Jetio, Problem
from jetio_auth import AuthEvent, AuthRouter, JetioApprovalMixin, JetioAuthMixin, JetioFullAuthMixin, Mail
from jetio_auth.sessions import Device
from tests.auth.forum import PASSWORD, SETTINGS, Person, Site, User, bearer, call, new_app, new_base, serving
from tests.auth.post import DOMAIN, Outbox

Base: Any = new_base()


class Member(Base, JetioAuthMixin, JetioApprovalMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(String(120), unique=True)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Members with a first admin."""
    app = Jetio(database=database_url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(Member, policy={"*": auth.self_or_admin()}).register_routes(app)
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
        yield site


@pytest.fixture
def lone(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite alone."""
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Member, approval="admin")
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, username="root", email="root@example.com", password=PASSWORD)
        yield site


def admin_of(site: Site) -> Person:
    """The first admin, logged in."""
    answer = site.login("root")
    assert answer.status_code == 200, answer.text
    return Person(site.client, 1, "root", answer.json()["access_token"])


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def test_the_way_of_an_account(site: Site) -> None:
    """Pending after /register, listed, told of it at login by the right password alone, in once approved."""
    answer = site.register("ann")
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert answer.json()["user"]["approval_status"] == "pending"
    assert told(site.login("ann")) == (403, "account_pending")
    assert told(site.login("ann", "a wrong password")) == (401, "invalid_credentials")
    root = admin_of(site)
    assert [item["username"] for item in root.get("/pending").json()] == ["ann"]
    approved = root.post("/approve", {"email": "ANN@example.com"})
    assert approved.status_code == 200
    assert approved.json()["message"] == "User approved"
    assert approved.json()["user"]["approval_status"] == "approved"
    assert root.get("/pending").json() == []
    token = site.login("ann").json()["access_token"]
    assert site.client.get("/me", headers=bearer(token)).json()["approval_status"] == "approved"
    assert told(root.post("/approve", {"username": "ann"})) == (409, "not_pending")
    assert told(root.post("/reject", {"username": "ann"})) == (409, "not_pending")
    events = [item["name"] for item in root.get("/admin/auth-events").json()]
    assert "user.approved" in events


@pytest.mark.parametrize(("model", "waits"), [(Member, True), (User, False)])
def test_the_document_says_that_a_login_may_have_to_wait(sqlite_url: str, model: Any, waits: bool) -> None:
    """403 stands at every way of logging in where an admin decides, and nowhere else."""
    app = new_app(sqlite_url, metadata=model.metadata)
    auth = AuthRouter(model, enable=["totp", "passkeys"])
    auth.register_routes(app)
    with serving(app, auth) as site:
        paths = site.app.openapi()["paths"]
    for path in ("/login", "/login/mfa", "/passkeys/login/verify"):
        assert ("403" in paths[path]["post"]["responses"]) is waits, path


def test_a_rejected_account_is_like_a_wrong_password(site: Site) -> None:
    """401 with the same words; its row stays, so that the name cannot register again, or is deleted on request."""
    site.register("bob")
    root = admin_of(site)
    rejected = root.post("/reject", {"username": "bob"})
    assert rejected.json()["user"]["approval_status"] == "rejected"
    refused, wrong = site.login("bob"), site.login("bob", "a wrong password")
    assert told(refused) == told(wrong) == (401, "invalid_credentials")
    assert refused.json()["detail"] == wrong.json()["detail"]
    assert told(site.register("bob")) == (409, "already_exists")
    assert told(root.post("/approve", {"username": "bob"})) == (409, "not_pending")
    key = site.register("eve").json()["user"]["id"]
    assert root.post("/reject", {"id": key, "delete": True}).status_code == 200
    assert told(root.post("/approve", {"id": key})) == (404, "not_found")
    assert site.register("eve").status_code == 201


def test_of_two_decisions_at_once_one_is_made(site: Site) -> None:
    """Eight admins at once: one 200, the others 409; the state is the one of the 200."""
    site.register("ann")
    headers = admin_of(site).headers

    async def race() -> list[tuple[int, str]]:
        ways = ["/approve", "/reject"] * 4
        sent = [call(site.app, "POST", way, {"username": "ann"}, headers=headers) for way in ways]
        answers = await asyncio.gather(*sent)
        return [(item.status, way) for item, way in zip(answers, ways, strict=True)]

    results = site.run(race)
    won = [way for status, way in results if status == 200]
    assert len(won) == 1
    assert [status for status, _ in results if status != 200] == [409] * 7

    async def state() -> Any:
        async with site.app.database.sessions() as session:
            return await session.scalar(select(Member.approval_status).where(Member.username == "ann"))

    assert site.run(state) == {"/approve": "approved", "/reject": "rejected"}[won[0]]


@pytest.mark.parametrize("state", ["pending", "rejected"])
def test_who_loses_approval_is_out_at_once(lone: Site, state: str) -> None:
    """Access tokens, refresh tokens and tokens of programs count no more than the row says."""
    lone.register("ann")
    admin_of(lone).post("/approve", {"username": "ann"})
    pair = lone.login("ann").json()
    person = Person(lone.client, 2, "ann", pair["access_token"])
    assert person.get("/me").status_code == 200
    lone.change(person, approval_status=state)
    assert told(person.get("/me")) == (401, "token_revoked")
    refreshed = lone.client.post("/refresh", json={"refresh_token": pair["refresh_token"]})
    assert told(refreshed) == (401, "token_revoked")


def test_a_rejection_in_the_moment_of_a_login_counts(lone: Site) -> None:
    """What was pending when its password was judged, and is not any more, is like a wrong password."""
    approval, facts = lone.auth.approval, lone.auth.accounts.facts
    account = dict.fromkeys(facts.fetched) | {"id": 2, "approval_status": "rejected"}
    with pytest.raises(Problem) as refusal:
        lone.run(approval.admit, account, Device())
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_credentials")


def test_only_admins_decide(lone: Site) -> None:
    """Nobody, and who is no admin, is refused on each route, and nothing has changed."""
    lone.register("ann")
    lone.register("eve")
    root = admin_of(lone)
    root.post("/approve", {"username": "eve"})
    eve = bearer(lone.login("eve").json()["access_token"])
    for method, path in (("GET", "/pending"), ("POST", "/approve"), ("POST", "/reject")):
        options: dict[str, Any] = {} if method == "GET" else {"json": {"username": "ann"}}
        assert lone.client.request(method, path, **options).status_code == 401
        assert lone.client.request(method, path, headers=eve, **options).status_code == 403
    assert [item["username"] for item in root.get("/pending").json()] == ["ann"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"email": "ann@example.com", "id": 2}, 422),
        ({"email": "ann@example.com", "admin": True}, 422),
        ({"email": 7}, 422),
        ({"id": True}, 422),
        ({"id": 10**30}, 404),
        ({"id": "no key"}, 404),
        ({"id": "1\x00"}, 400),
        ({"username": "nobody"}, 404),
        ({"username": "\x00"}, 400),
    ],
)
def test_what_names_nobody_is_refused(lone: Site, body: dict[str, Any], status: int) -> None:
    """One name, of an account that is there."""
    assert admin_of(lone).post("/approve", body).status_code == status


def test_no_client_writes_the_state(site: Site) -> None:
    """Neither at /register nor on a CrudRouter, the own row included, and not even an admin there."""
    assert site.register("eve", approval_status="approved").status_code == 422
    site.register("ann")
    root = admin_of(site)
    root.post("/approve", {"username": "ann"})
    ann = Person(site.client, 2, "ann", site.login("ann").json()["access_token"])
    site.register("bob")
    key = root.get("/pending").json()[0]["id"]
    for person in (ann, root):
        answer = person.patch(f"/members/{key if person is root else 2}", {"approval_status": "rejected"})
        assert told(answer) == (422, "read_only_field")


def test_pages_of_waiting_accounts(lone: Site) -> None:
    """In the order of registration."""
    for name in ("ann", "bob", "eve"):
        lone.run(lone.auth.register, username=name, email=f"{name}@example.com", password=PASSWORD)
    root = admin_of(lone)
    assert [item["username"] for item in root.get("/pending?page=2&page_size=2").json()] == ["eve"]


def test_a_waiting_admin_is_no_admin_who_stays(site: Site) -> None:
    """The last admin who can log in cannot be demoted, though another waits for approval."""
    site.register("ann")
    root = admin_of(site)
    assert root.post("/admin/2/make-admin").status_code == 200
    assert told(root.post("/admin/1/remove-admin")) == (409, "last_admin")


def test_decisions_are_told(lone: Site) -> None:
    """`user.approved` and `user.rejected` name the account and the admin; a waiting login is a failed one."""
    seen: list[AuthEvent] = []
    lone.auth.on("user.*", seen.append)
    lone.auth.on("login.failed", seen.append)
    for name in ("ann", "bob", "eve"):
        lone.register(name)
    lone.login("ann")
    root = admin_of(lone)
    root.post("/approve", {"username": "ann"})
    root.post("/reject", {"username": "bob"})
    root.post("/reject", {"username": "eve", "delete": True})
    found = [(event.name, event.user_id, event.actor_id, event.detail) for event in seen[3:]]
    assert found == [
        ("login.failed", "2", None, {"reason": "pending"}),
        ("user.approved", "2", "1", {}),
        ("user.rejected", "3", "1", {}),
        ("user.rejected", "4", "1", {"deleted": True}),
    ]


def test_ensure_admin_admits_whom_it_promotes(lone: Site) -> None:
    """An account that waits, with its own password, becomes an admin who can log in."""
    lone.register("ann")
    lone.run(lone.auth.ensure_admin, username="ann", password=PASSWORD)
    assert lone.login("ann").status_code == 200


def test_without_approval_the_column_decides_nothing(sqlite_url: str) -> None:
    """`disable=["approval"]`: no routes, and whoever registers may log in."""
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Member, disable=["approval"])
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        assert site.register("ann").json()["status"] == "active"
        assert site.login("ann").status_code == 200
        assert site.client.get("/pending").status_code == 404

        async def count() -> Any:
            async with app.database.sessions() as session:
                return await session.scalar(select(func.count()).select_from(Member))

        assert site.run(count) == 1


def test_approval_needs_its_column(sqlite_url: str) -> None:
    """And says which mixin brings it; another kind of approval is not known."""
    with pytest.raises(ConfigError, match="JetioApprovalMixin"):
        AuthRouter(User, approval="admin")
    with pytest.raises(ConfigError, match='write approval="admin"'):
        AuthRouter(Member, approval="committee")
    app = new_app(sqlite_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    assert "/pending" not in app.openapi()["paths"]


Guarded: Any = new_base()


def _body(username: str, email: str) -> dict[str, str]:
    return {"username": username, "email": email, "password": PASSWORD}


class Candidate(Guarded, JetioFullAuthMixin, JetioApprovalMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(String(120), unique=True)


def test_who_waits_confirms_an_address_meanwhile(sqlite_url: str) -> None:
    """Both are asked for: the letter comes at once, its link works, and neither opens the door alone."""
    outbox = Outbox()
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Guarded.metadata)
    auth = AuthRouter(
        Candidate,
        mail=Mail(mailer=outbox, domain=DOMAIN, links={"magic_link": DOMAIN + "/login#{token}"}),
        require_verified_email=True,
        enable=["magic_link"],
    )
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        for name in ("ann", "bob"):
            answer = site.register(name).json()
            assert answer["status"] == "pending"
            assert "waits for approval, and a mail to its address" in answer["message"]
        assert site.client.post("/register", json=_body("cat", "ann@example.com")).json() == answer
        assert site.client.post(f"/activate/{outbox.token('Confirm', 'ann@example.com')}").status_code == 200
        assert told(site.login("ann")) == (403, "account_pending")
        site.client.post("/magic-link", json={"email": "ann@example.com"})
        link = {"token": outbox.token("Log in", "ann@example.com")}
        assert told(site.client.post("/magic-link/verify", json=link)) == (403, "account_pending")

        async def decide(name: str, state: str) -> None:
            async with app.database.sessions() as session:
                await auth.approval.decide(session, "username", name, state)
                await session.commit()

        site.run(decide, "ann", "approved")
        assert site.login("ann").status_code == 200
        site.run(decide, "bob", "rejected")
        before = len(outbox.letters)
        link = {"token": outbox.token("Confirm", "bob@example.com")}
        assert told(site.client.post(f"/activate/{link['token']}"))[0] == 404
        site.client.post("/magic-link", json={"email": "bob@example.com"})
        assert len(outbox.letters) == before
