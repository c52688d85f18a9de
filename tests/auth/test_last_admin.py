"""One admin who can log in always stays, whichever way an account is changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.auth.forum import SETTINGS, Site, call, new_base, serving

Base: Any = new_base()


class Member(Base, JetioAuthMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(String(120), unique=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    disabled: Mapped[bool | None]


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Members with all routes that can reach an account."""
    app = Jetio(database=database_url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(Member, policy={"*": auth.self_or_admin()}).register_routes(app)
    with serving(app, auth) as site:
        yield site


async def usable_admins(site: Site) -> int:
    """How many admins can log in."""
    on = (Member.is_admin, Member.is_active, func.coalesce(Member.disabled, False).is_(False))
    async with site.app.database.sessions() as session:
        return await session.scalar(select(func.count()).select_from(Member).where(*on)) or 0


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


LAST = (409, "last_admin")


def test_the_last_admin_cannot_be_deleted(site: Site) -> None:
    """DELETE of the only admin is 409 `last_admin`; of one of two, and of plain accounts, it is 204."""
    root, other, bob = site.admin(), site.admin(), site.person("bob")
    assert root.delete(f"/members/{other.id}").status_code == 204
    assert told(root.delete(f"/members/{root.id}")) == LAST
    assert bob.delete(f"/members/{bob.id}").status_code == 204
    assert root.get("/me").json()["id"] == root.id


@pytest.mark.parametrize("change", [{"is_active": False}, {"disabled": True}])
def test_the_last_admin_cannot_be_disabled(site: Site, change: dict[str, bool]) -> None:
    """PATCH and PUT that would disable the only admin are 409 and change nothing; others are disabled."""
    root, other, bob = site.admin(), site.admin(), site.person("bob")
    for person in (other, bob):
        assert root.patch(f"/members/{person.id}", change).status_code == 200
        assert site.login(person.username).status_code == 401
        assert person.get("/me").status_code == 401
    whole = {"username": root.username, "email": f"{root.username}@example.com"}
    assert told(root.patch(f"/members/{root.id}", {**change, "email": "new@example.com"})) == LAST
    assert told(root.put(f"/members/{root.id}", {**whole, **change})) == LAST
    assert root.get("/me").json()["email"] == whole["email"]
    assert root.patch(f"/members/{root.id}", {"email": "new@example.com"}).status_code == 200


def test_a_disabled_admin_is_nobody_to_rely_on(site: Site) -> None:
    """Beside a disabled admin the only other one stays, also on the admin routes."""
    root, asleep = site.admin(), site.admin()
    site.change(asleep, disabled=True)
    assert told(root.delete(f"/members/{root.id}")) == LAST
    assert told(root.post(f"/admin/{root.id}/remove-admin")) == LAST
    assert root.delete(f"/members/{asleep.id}").status_code == 204


@pytest.mark.parametrize("body", [None, {"is_active": False}])
def test_admins_who_end_each_other(site: Site, body: Any) -> None:
    """All at once, each deletes or disables the next one: one stays, and no answer is the server's fault."""
    people = [site.admin() for _ in range(3)]
    method = "DELETE" if body is None else "PATCH"

    async def all_at_once() -> Counter[int]:
        answers = await asyncio.gather(
            *(
                call(site.app, method, f"/members/{other.id}", body, headers=person.headers)
                for person, other in zip(people, people[1:] + people[:1], strict=True)
            )
        )
        return Counter(answer.status for answer in answers)

    found = site.run(all_at_once)
    left = site.run(usable_admins, site)
    assert left >= 1
    assert found[200] + found[204] == 3 - left
    assert set(found) <= {200, 204, 401, 403, 409}


def test_a_hook_of_the_router_cannot_disable_the_last_admin(sqlite_url: str) -> None:
    """What a router's own hook writes into the change is judged too."""

    async def close(change: Any) -> None:
        change.values["is_active"] = False

    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    rules = {"*": auth.self_or_admin()}
    CrudRouter(Member, policy=rules, hooks={"before_update": close}).register_routes(app)
    with serving(app, auth) as site:
        root = site.admin()
        assert told(root.patch(f"/members/{root.id}", {"email": "new@example.com"})) == LAST
