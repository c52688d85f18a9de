"""Admins: who makes them, that one always stays, and ensure_admin."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, Database, Jetio, Problem, Settings
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.auth.forum import PASSWORD, SETTINGS, Model, Site, User, call, new_app, new_base, serving

ROOT: dict[str, Any] = {"username": "root", "email": "root@example.com", "password": PASSWORD}


def new_site(url: str, **options: Any) -> tuple[Jetio, AuthRouter]:
    """The forum with its admin routes."""
    app = new_app(url, **options)
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    return app, auth


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum, on each database."""
    with serving(*new_site(database_url)) as site:
        yield site


async def admins(site: Site) -> list[str]:
    """The names of all admins."""
    async with site.app.database.sessions() as session:
        names = await session.scalars(select(User.username).where(User.is_admin).order_by(User.id))
        return list(names)


def ensure(site: Site, **named: Any) -> None:
    """ensure_admin on the application's loop."""
    site.run(site.auth.ensure_admin, **named)


# ---- the routes --------------------------------------------------------------------------------------------


def test_admins_make_and_remove_admins(site: Site) -> None:
    """make-admin and remove-admin are for admins, say what they did, and may be repeated."""
    root, bob = site.admin(), site.person("bob")
    for _ in range(2):
        answer = root.post(f"/admin/{bob.id}/make-admin")
        assert answer.json() == {"message": "User promoted to admin", "user_id": bob.id}
    assert bob.post(f"/admin/{root.id}/remove-admin").status_code == 200
    assert root.post(f"/admin/{bob.id}/remove-admin").status_code == 403
    assert bob.post(f"/admin/{root.id}/remove-admin").json() == {
        "message": "User is no longer an admin",
        "user_id": root.id,
    }


@pytest.mark.parametrize("route", ["make-admin", "remove-admin"])
def test_who_may_not(site: Site, route: str) -> None:
    """Nobody without a login, and no plain account, also for an account that does not exist."""
    bob = site.person("bob")
    for key in (bob.id, 999_999, "x"):
        assert site.client.post(f"/admin/{key}/{route}").status_code == 401
        assert bob.post(f"/admin/{key}/{route}").status_code == 403
    root = site.admin()
    for key in ("999999", "x", "0", "-1", "1.0", "99999999999999999999999", "%00"):
        assert root.post(f"/admin/{key}/{route}").status_code == 404
    assert root.get(f"/admin/{bob.id}/{route}").status_code == 405


def test_the_last_admin_stays(site: Site) -> None:
    """409 `last_admin`: nobody can remove the only admin."""
    root, bob = site.admin(), site.person("bob")
    refused = root.post(f"/admin/{root.id}/remove-admin")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    assert root.post(f"/admin/{bob.id}/remove-admin").status_code == 200
    root.post(f"/admin/{bob.id}/make-admin")
    assert root.post(f"/admin/{root.id}/remove-admin").status_code == 200
    assert bob.post(f"/admin/{bob.id}/remove-admin").status_code == 409


def test_two_admins_who_remove_each_other(site: Site) -> None:
    """The second one waits for the first and is told that it is the last."""
    one, two = site.admin(), site.admin()
    accounts, sessions = site.auth.accounts, site.app.database.sessions

    async def race() -> str:
        async with sessions() as first, sessions() as second:
            await accounts.set_admin(first, str(one.id), admin=False)
            late = asyncio.create_task(accounts.set_admin(second, str(two.id), admin=False))
            await asyncio.sleep(0.05)
            assert not late.done()
            await first.commit()
            with pytest.raises(Problem) as refusal:
                await late
            return refusal.value.code

    assert site.run(race) == "last_admin"
    assert site.run(admins, site) == [two.username]


def test_many_admins_who_remove_each_other(site: Site) -> None:
    """Over HTTP, all at once: one stays, and no answer is an error of the server."""
    people = [site.admin() for _ in range(4)]

    async def all_at_once() -> Counter[int]:
        answers = await asyncio.gather(
            *(
                call(site.app, "POST", f"/admin/{other.id}/remove-admin", headers=person.headers)
                for person, other in zip(people, people[1:] + people[:1], strict=True)
            )
        )
        return Counter(answer.status for answer in answers)

    found = site.run(all_at_once)
    assert len(site.run(admins, site)) >= 1
    assert set(found) <= {200, 403, 409}
    assert found[200] == 4 - len(site.run(admins, site))


# ---- ensure_admin ------------------------------------------------------------------------------------------


def test_ensure_admin_makes_one_admin(site: Site) -> None:
    """It creates the account once; afterwards it leaves it alone, whatever password is given."""
    ensure(site, **ROOT)
    ensure(site, **{**ROOT, "password": "another password"})
    ensure(site, username=" ROOT ", password="short")
    ensure(site, email="Root@Example.com", password="x")
    assert site.run(admins, site) == ["root"]
    assert site.login("root").status_code == 200
    assert site.login("root", "another password").status_code == 401


def test_ensure_admin_promotes_with_the_accounts_own_password(site: Site) -> None:
    """A plain account becomes admin only when the password is its own; else it says so and stops."""
    site.register("root")
    with pytest.raises(ConfigError, match="another password"):
        ensure(site, **{**ROOT, "password": "not the password"})
    assert site.run(admins, site) == []
    ensure(site, **ROOT)
    assert site.run(admins, site) == ["root"]


def test_ensure_admin_of_two_accounts(site: Site) -> None:
    """A username of one account with the email of another is a mistake, and changes nothing."""
    site.register("root")
    site.register("other")
    with pytest.raises(ConfigError, match="two accounts"):
        ensure(site, **{**ROOT, "email": "other@example.com"})
    assert site.run(admins, site) == []


def test_ensure_admin_in_parallel(site: Site) -> None:
    """Eight workers that start at once make one admin."""

    async def at_once() -> int:
        await asyncio.gather(*(site.auth.ensure_admin(**ROOT) for _ in range(8)))
        async with site.app.database.sessions() as session:
            return await session.scalar(select(func.count()).select_from(User)) or 0

    assert site.run(at_once) == 1
    assert site.run(admins, site) == ["root"]


SCRIPT = """
import asyncio, sys
from sqlalchemy.orm import Mapped, mapped_column
from jetio import JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin

class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)

sys.stdin.readline()
asyncio.run(AuthRouter(User).ensure_admin(username="root", password="correct horse battery"))
"""


def test_ensure_admin_in_processes_before_the_tables_exist(database_url: str, tmp_path: Path) -> None:
    """Four processes that start at once on an empty database make the tables and one admin."""
    env = {"DATABASE_URL": database_url, "JETIO_ENV": "test", "PYTHONWARNINGS": "error"}
    env |= {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", SCRIPT]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, env=env, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output.decode()

    async def count() -> Any:
        engine = create_async_engine(Database(database_url).dialect.url)
        async with engine.connect() as connection:
            rows = await connection.execute(select(User.__table__.c.username, User.__table__.c.is_admin))
            found = [tuple(row) for row in rows]
        await engine.dispose()
        return found

    assert [(name, bool(flag)) for name, flag in asyncio.run(count())] == [("root", True)]


def test_ensure_admin_in_a_transaction_that_has_begun(database_url: str) -> None:
    """A session that already holds locks makes the missing tables itself, and is committed."""
    app, auth = new_site(database_url)

    @app.on_event("startup")
    async def start() -> None:
        async with AsyncSession(app.database.engine) as session:
            await session.connection()
            await session.execute(insert(User).values(username="first", email="f@example.com"))
            await auth.ensure_admin(db=session, **ROOT)

    with serving(app, auth) as site:
        assert site.run(admins, site) == ["root"]
        assert site.login("root").status_code == 200
        assert site.register("first").status_code == 409


async def test_ensure_admin_before_any_application(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script calls it with a session of its own engine, before anything is built."""
    engine = create_async_engine(sqlite_url)
    monkeypatch.setenv("JETIO_ENV", "test")
    async with AsyncSession(engine) as session:
        await AuthRouter(User).ensure_admin(db=session, **ROOT)
        assert await session.scalar(select(User.is_admin).where(User.username == "root"))
    await engine.dispose()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"username": "root"}, "needs a password"),
        ({"password": PASSWORD}, "give username or email"),
        ({"username": "root", "password": "short", "email": "r@example.com"}, "at least 8 characters"),
        ({"username": "ro\u200bot", "password": PASSWORD, "email": "r@example.com"}, "invisible"),
    ],
)
def test_ensure_admin_with_too_little(sqlite_url: str, given: dict[str, str], told: str) -> None:
    """What is missing or wrong is a ConfigError that says so."""
    with serving(*new_site(sqlite_url)) as site, pytest.raises(ConfigError, match=told):
        ensure(site, **given)


def test_ensure_admin_of_a_model_that_needs_more(sqlite_url: str) -> None:
    """A column that ensure_admin cannot fill is named."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        city: Mapped[str]

    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=Member.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    with serving(app, auth) as site, pytest.raises(ConfigError, match="/city: This is required"):
        ensure(site, username="root", password=PASSWORD)


# ---- the admin of the environment --------------------------------------------------------------------------


def environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Variables of the seeded admin."""
    for name, value in values.items():
        monkeypatch.setenv(f"JETIO_AUTH_DEFAULT_ADMIN_{name.upper()}", value)


@pytest.mark.parametrize("names", [("username", "email"), ("username",), ("email",)])
def test_the_admin_of_the_environment(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """`default_admin=True` makes the admin that the environment names, at start."""
    base: Any = new_base()
    columns = {name: mapped_column(unique=True) for name in names}
    annotations = dict.fromkeys(names, Mapped[str])
    member: Any = type("Member", (base, JetioAuthMixin), {"__annotations__": annotations, **columns})
    environment(monkeypatch, **{name: ROOT[name] for name in ("username", "email", "password")})
    app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=member.metadata)
    auth = AuthRouter(member, default_admin=True)
    auth.register_routes(app)
    with serving(app, auth) as site:
        token = site.login(ROOT[names[0]]).json()["access_token"]
        me = site.client.get("/me", headers={"Authorization": f"Bearer {token}"}).json()
        assert me["roles"] == ["admin"]


def test_no_admin_in_the_environment(sqlite_url: str) -> None:
    """Where nothing is set nothing is made."""
    with serving(*new_site(sqlite_url)) as site:
        ensure(site)
        assert site.run(admins, site) == []


def test_half_an_admin_in_the_environment(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a password stops the start."""
    environment(monkeypatch, email="root@example.com")
    app = new_app(sqlite_url)
    auth = AuthRouter(User, default_admin=True)
    auth.register_routes(app)
    with pytest.raises(ConfigError, match="needs a password"), serving(app, auth):
        pass


def test_production_makes_no_tables(sqlite_url: str) -> None:
    """In production ensure_admin leaves the tables to migrations."""
    settings = Settings(env="production", secret_key="k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA")
    with serving(*new_site(sqlite_url, settings=settings)) as site:
        with pytest.raises(Exception, match="no such table"):
            ensure(site, **ROOT)
        site.run(site.app.database.create_tables, Model.metadata)
        with pytest.raises(ConfigError, match="first that attackers try"):
            ensure(site, **{**ROOT, "password": "securePassword123"})
        ensure(site, **ROOT)
        assert site.run(admins, site) == ["root"]
