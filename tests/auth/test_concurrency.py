"""Hashing never blocks: requests that need no hash pass those that do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import bcrypt
import pytest

from jetio import CrudRouter
from jetio_auth import AuthRouter, Lockout
from tests.auth.forum import PASSWORD, Note, Site, User, call, new_app, serving


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
