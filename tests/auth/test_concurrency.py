"""Hashing never blocks, and what changes while a password is hashed counts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from passlib.hash import pbkdf2_sha256
from sqlalchemy import select

from jetio import CrudRouter
from jetio_auth import AuthRouter, Lockout, get_password_hash
from tests.auth.forum import PASSWORD, Answer, Note, Person, Site, User, bearer, call, new_app, serving


@pytest.fixture
def site(sqlite_url: str) -> Iterator[Site]:
    """The forum with open notes."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, lockout=Lockout(address_failures=100))
    auth.register_routes(app)
    CrudRouter(Note).register_routes(app)
    with serving(app, auth) as site:
        yield site


@pytest.fixture
def slow_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No hash is finished before this event; the thread that waits for it is not the loop's."""
    allowed = threading.Event()
    real = bcrypt.hashpw

    def waiting(password: bytes, salt: bytes) -> bytes:
        assert allowed.wait(30)
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", waiting)
    yield allowed
    allowed.set()


def test_other_requests_pass_logins_and_registrations(site: Site, slow_hashes: threading.Event) -> None:
    """Reads, writes and refused logins are answered while every hashing thread is busy."""
    order: list[str] = []

    async def one(name: str, method: str, path: str, body: object = None) -> None:
        answer = await call(site.app, method, path, body)
        order.append(f"{name} {answer.status}")

    async def all_at_once() -> None:
        hashing = [
            asyncio.create_task(
                one("login", "POST", "/login", {"username": f"u{turn}", "password": PASSWORD})
            )
            for turn in range(6)
        ]
        body = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        hashing.append(asyncio.create_task(one("register", "POST", "/register", body)))
        await asyncio.sleep(0.05)
        await one("write", "POST", "/notes", {"text": "t"})
        await one("read", "GET", "/notes")
        await one("invalid", "POST", "/login", {"username": "u"})
        slow_hashes.set()
        await asyncio.gather(*hashing)

    slow_hashes.set()
    site.run(one, "warm", "POST", "/login", {"username": "x", "password": PASSWORD})
    slow_hashes.clear()
    order.clear()
    site.run(all_at_once)
    assert order[:3] == ["write 201", "read 200", "invalid 422"]
    assert sorted(order[3:]) == ["login 401"] * 6 + ["register 201"]


# ---- accounts that change during a login -------------------------------------------------------------------


async def change_password(site: Site, person: Person) -> None:
    """As another request would, in the middle of a login."""
    async with site.app.database.sessions() as session:
        user = await session.get_one(User, person.id)
        user.hashed_password = NEWER
        await session.commit()


async def delete(site: Site, person: Person) -> None:
    """The account goes."""
    async with site.app.database.sessions() as session:
        await session.delete(await session.get_one(User, person.id))
        await session.commit()


async def disable(site: Site, person: Person) -> None:
    """The account is switched off."""
    async with site.app.database.sessions() as session:
        user = await session.get_one(User, person.id)
        user.is_active = False
        await session.commit()


NEWER = get_password_hash("a newer password")


@pytest.mark.parametrize("change", [change_password, delete, disable])
def test_a_login_that_is_overtaken_opens_nothing(
    database_url: str, slow_hashes: threading.Event, change: Any
) -> None:
    """A login with the old password that ends after a change of the account gives no token that works."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    slow_hashes.set()
    with serving(app, auth) as site:
        ann = site.person("ann")
        slow_hashes.clear()

        async def overtaken() -> Answer:
            body = {"username": ann.username, "password": PASSWORD}
            login = asyncio.create_task(call(app, "POST", "/login", body))
            await asyncio.sleep(0.2)
            assert not login.done()
            await change(site, ann)
            slow_hashes.set()
            return await login

        answer = site.run(overtaken)
        if answer.status == 401:  # an account that is gone has no session
            assert answer.code == "invalid_credentials"
            return
        late = json.loads(answer.body)
        refused = site.client.get("/me", headers=bearer(late["access_token"]))
        assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")
        body = {"refresh_token": late["refresh_token"]}
        assert site.client.post("/refresh", json=body).status_code == 401
        if change is change_password:
            assert site.login(ann.username, "a newer password").status_code == 200


def test_a_renewal_never_undoes_a_new_password(database_url: str, slow_hashes: threading.Event) -> None:
    """A login that renews an outdated hash, overtaken by a new password, leaves the new one."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    slow_hashes.set()
    with serving(app, auth) as site:
        ann = site.person("ann")
        site.change(ann, hashed_password=pbkdf2_sha256.using(rounds=1000).hash(PASSWORD))
        slow_hashes.clear()  # the old hash is verified, the renewal waits

        async def overtaken() -> Answer:
            body = {"username": ann.username, "password": PASSWORD}
            login = asyncio.create_task(call(app, "POST", "/login", body))
            await asyncio.sleep(0.2)
            assert not login.done()
            await change_password(site, ann)
            slow_hashes.set()
            return await login

        answer = site.run(overtaken)
        late = bearer(json.loads(answer.body)["access_token"])
        assert site.client.get("/me", headers=late).status_code == 401
        assert site.login(ann.username).status_code == 401
        assert site.login(ann.username, "a newer password").status_code == 200


def test_a_session_that_ends_while_its_password_changes_stays_ended(
    database_url: str, slow_hashes: threading.Event
) -> None:
    """A logout in the middle of a change wins: 401, no new tokens, and the password is the old one."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    slow_hashes.set()
    with serving(app, auth) as site:
        ann = site.person("ann")
        headers = bearer(ann.token)
        slow_hashes.clear()

        async def overtaken() -> Answer:
            body = {"current_password": PASSWORD, "new_password": "another good password"}
            change = asyncio.create_task(call(app, "POST", "/change-password", body, headers=headers))
            await asyncio.sleep(0.2)
            assert not change.done()
            assert (await call(app, "POST", "/logout", headers=headers)).status == 200
            slow_hashes.set()
            return await change

        answer = site.run(overtaken)
        assert (answer.status, answer.code) == (401, "token_revoked")
        assert site.login(ann.username).status_code == 200


def test_ensure_admin_yields_to_a_quicker_worker(postgresql_url: str, slow_hashes: threading.Event) -> None:
    """An account that another worker makes meanwhile is the admin: no error, no second one."""
    app = new_app(postgresql_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    slow_hashes.set()
    with serving(app, auth) as site:
        slow_hashes.clear()

        async def overtaken() -> int:
            names: dict[str, Any] = {"username": "root", "email": "root@example.com"}
            ensuring = asyncio.create_task(auth.ensure_admin(**names, password=PASSWORD))
            await asyncio.sleep(0.2)
            assert not ensuring.done()
            async with app.database.sessions() as session:
                session.add(User(**names, hashed_password=NEWER, is_admin=True))
                await session.commit()
            slow_hashes.set()
            await ensuring
            async with app.database.sessions() as session:
                return len((await session.scalars(select(User).where(User.is_admin))).all())

        assert site.run(overtaken) == 1
        assert site.login("root", "a newer password").status_code == 200
