"""setup_auth: accounts in a database of their own, beside whatever the application has."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import String, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, CrudRouter, Database, Jetio, Settings
from jetio.testing import TestClient as JetioClient
from jetio_auth import AuthRouter, CurrentUser, JWTConfig, MemoryUserStore, RequireLogin, setup_auth
from tests.auth.forum import PASSWORD, Site, bearer, call, new_base, serving

DEVELOPMENT = Settings(env="development", secret_key=SecretStr("k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"))
TEST = Settings(env="test")
PRODUCTION = Settings(env="production", secret_key=SecretStr("k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"))
ADMIN = {"username": "admin@admin.com", "password": "changeme"}
Base: Any = new_base()


class Order(Base):
    text: Mapped[str] = mapped_column(String(80))
    buyer_id: Mapped[int]


def new_app(url: str, users: str, settings: Settings = TEST, **options: Any) -> tuple[Jetio, AuthRouter]:
    """Orders in one database, accounts in another."""
    app = Jetio(database=url, settings=settings, metadata=Base.metadata)
    auth = setup_auth(app, db_url=users, **options)

    @app.get("/who")
    async def who(user: RequireLogin) -> dict[str, Any]:
        return {"sub": user.sub, **user.extra}

    @app.get("/row")
    async def row(user: CurrentUser) -> dict[str, Any]:
        return {"email": user.email}

    CrudRouter(Order, owner="buyer_id", policy={"*": auth.owner_or_admin(Order)}).register_routes(app)
    return app, auth


@pytest.fixture
def users(tmp_path: Path) -> str:
    """A second database."""
    return f"sqlite+aiosqlite:///{tmp_path / 'users.db'}"


@pytest.fixture
def site(database_url: str, users: str) -> Iterator[Site]:
    """The application, whose orders are on each kind of database."""
    with serving(*new_app(database_url, users)) as site:
        yield site


def log_in(site: Site, email: str, password: str = PASSWORD) -> dict[str, str]:
    """The credential of an account."""
    answer = site.client.post("/auth/login", data={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    return bearer(answer.json()["access_token"])


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def join(site: Site, email: str) -> dict[str, str]:
    """Register, be approved, log in."""
    body = {"email": email, "password": PASSWORD}
    assert site.client.post("/auth/register", json=body).status_code == 201
    root = log_in(site, "admin@admin.com", "changeme")
    assert site.client.post("/auth/approve", json={"email": email}, headers=root).status_code == 200
    return log_in(site, email)


def test_accounts_and_rows_live_in_two_databases(site: Site, users: str) -> None:
    """Owners, handlers and the caller's row work across; no table of accounts is in the application's database."""
    ann, bob = join(site, "ann@example.com"), join(site, "bob@example.com")
    order = site.client.post("/orders", json={"text": "tea"}, headers=ann)
    assert order.status_code == 201, order.text
    path = f"/orders/{order.json()['id']}"
    assert site.client.get(path, headers=ann).json()["buyer_id"] == 2
    assert site.client.get(path, headers=bob).status_code == 404
    assert site.client.get("/who", headers=ann).json() == {"sub": "ann@example.com", "is_admin": False}
    assert site.client.get("/row", headers=ann).json() == {"email": "ann@example.com"}
    assert site.client.get("/who").status_code == 401

    async def tables() -> set[str]:
        async with site.app.database.sessions() as session:
            return set(await (await session.connection()).run_sync(_tables))

    assert site.run(tables) == {"orders"}


def _tables(connection: Any) -> list[str]:
    return list(connection.dialect.get_table_names(connection))


def test_every_route_works_under_the_prefix(site: Site) -> None:
    """Sessions, refreshing, a changed password, logout, promotion: all in the database of accounts."""
    ann = join(site, "ann@example.com")
    client = site.client
    me = client.get("/auth/me", headers=ann).json()
    assert (me["email"], me["approval_status"], me["roles"]) == ("ann@example.com", "approved", [])
    pair = client.post("/auth/login", json={"email": "ann@example.com", "password": PASSWORD}).json()
    assert client.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]}).status_code == 200
    assert len(client.get("/auth/sessions", headers=ann).json()) == 2
    body = {"current_password": PASSWORD, "new_password": "another " + PASSWORD}
    changed = client.post("/auth/change-password", json=body, headers=ann)
    assert changed.status_code == 200
    assert client.get("/auth/me", headers=ann).status_code == 401
    ann = bearer(changed.json()["access_token"])
    root = log_in(site, "admin@admin.com", "changeme")
    assert client.post("/admin/2/make-admin", headers=root).status_code == 200
    assert client.get("/who", headers=ann).json()["is_admin"] is True
    assert client.post("/auth/logout", headers=ann).status_code == 200
    assert told(client.get("/who", headers=ann)) == (401, "token_revoked")
    names = {item["name"] for item in client.get("/admin/auth-events", headers=root).json()}
    assert {"user.registered", "user.approved", "password.changed", "admin.granted", "logout"} <= names


def test_an_address_that_is_used_again_takes_no_token_along(site: Site) -> None:
    """`sub` is the email, and the token still belongs to the account that it was given to."""
    ann = join(site, "ann@example.com")

    async def delete() -> None:
        async with site.auth.database.sessions() as session:
            await session.delete(await session.get(site.auth.user_model, 2))
            await session.commit()

    site.run(delete)
    assert told(site.client.get("/who", headers=ann)) == (401, "token_revoked")
    again = join(site, "ann@example.com")
    assert site.client.get("/who", headers=again).status_code == 200
    assert told(site.client.get("/who", headers=ann)) == (401, "token_revoked")


def test_the_tables_are_made_at_the_start_in_production(
    sqlite_url: str, users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database of accounts is its own; the application's tables are left to migrations."""
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    with serving(*new_app(sqlite_url, users, PRODUCTION)) as site:
        log_in(site, "admin@admin.com")
    with serving(*new_app(sqlite_url, users, PRODUCTION, create_tables=False)) as site:
        log_in(site, "admin@admin.com")
    unmade = users.replace("users.db", "unmade.db")
    with (
        pytest.raises(ConfigError, match=r"has no table .*, users; run your migrations"),
        serving(*new_app(sqlite_url, unmade, PRODUCTION, create_tables=False)),
    ):
        pass  # pragma: no cover - it does not start


# ---- the sample password -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"Host": "[::1]:8000"}, 200),
        ("127.0.0.1", {"Host": "127.0.0.1:8000"}, 200),
        ("192.0.2.7", {}, 403),
        ("127.0.0.1", {"Host": "shop.example.com"}, 403),
        ("127.0.0.1", {"Host": "localhost.example.com"}, 403),
        ("127.0.0.1", {"Host": ""}, 403),
        ("127.0.0.1", {"CF-Connecting-IP": "192.0.2.7"}, 403),
        ("127.0.0.1", {"True-Client-IP": "192.0.2.7"}, 403),
        ("127.0.0.1", {"X-Client-IP": "192.0.2.7"}, 403),
        ("127.0.0.1", {"X-Envoy-External-Address": "192.0.2.7"}, 403),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 403),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}, 403),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
        (None, {}, 403),
    ],
)
def test_the_sample_password_works_on_the_machine_alone(
    sqlite_url: str, users: str, address: str | None, headers: dict[str, str], status: int
) -> None:
    """Neither from another address nor under another name, nor through whatever says that it passes something on."""
    given = {"Host": "localhost:8000", **headers}
    with serving(*new_app(sqlite_url, users)) as site:
        answer = site.run(call, site.app, "POST", "/auth/login", ADMIN, headers=given, address=address)
        assert answer.status == status
        if status == 403:
            assert answer.code == "password_change_required"


def test_a_changed_password_works_everywhere(
    sqlite_url: str, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each start warns until then, and no start brings the sample back."""
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING), serving(*new_app(sqlite_url, users)) as site:
            assert "sample password 'changeme'" in caplog.text
            root = log_in(site, "admin@admin.com", "changeme")
    with serving(*new_app(sqlite_url, users)) as site:
        root = log_in(site, "admin@admin.com", "changeme")
        body = {"current_password": "changeme", "new_password": PASSWORD}
        assert site.client.post("/auth/change-password", json=body, headers=root).status_code == 200
    caplog.clear()
    with caplog.at_level(logging.WARNING), serving(*new_app(sqlite_url, users)) as site:
        assert "sample password" not in caplog.text
        body = {"username": "admin@admin.com", "password": PASSWORD}
        answer = site.run(call, site.app, "POST", "/auth/login", body, headers={"Via": "1.1 proxy"})
        assert answer.status == 200
        answer = site.run(call, site.app, "POST", "/auth/login", ADMIN)
        assert answer.code == "invalid_credentials"


def test_the_sample_admin_is_the_first_one_only(sqlite_url: str, users: str) -> None:
    """Whoever has made another admin and deleted this one does not get it back."""
    with serving(*new_app(sqlite_url, users)) as site:
        join(site, "ann@example.com")
        root = log_in(site, "admin@admin.com", "changeme")
        assert site.client.post("/admin/2/make-admin", headers=root).status_code == 200

        async def delete() -> None:
            async with site.auth.database.sessions() as session:
                await session.delete(await session.get(site.auth.user_model, 1))
                await session.commit()

        site.run(delete)
    with serving(*new_app(sqlite_url, users)) as site:
        assert told(site.client.post("/auth/login", data=ADMIN)) == (401, "invalid_credentials")


def test_production_refuses_the_sample_password(
    sqlite_url: str, users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a password in the environment, with the sample there, and with a row that still has it."""
    app, _ = new_app(sqlite_url, users, PRODUCTION)
    with pytest.raises(ConfigError, match="set JETIO_AUTH_DEFAULT_ADMIN_PASSWORD"):
        app.check()
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", "changeme")
    app, _ = new_app(sqlite_url, users, PRODUCTION)
    with pytest.raises(ConfigError, match="well-known sample"):
        app.check()
    monkeypatch.delenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD")
    with serving(*new_app(sqlite_url, users)):
        pass
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    with (
        pytest.raises(ConfigError, match="has the sample password"),
        serving(*new_app(sqlite_url, users, PRODUCTION)),
    ):
        pass  # pragma: no cover - it does not start
    app, _ = new_app(sqlite_url, users, PRODUCTION, default_admin=None)
    app.check()


BOSS = "boss@example.com"


@pytest.mark.parametrize("default_admin", [None, BOSS])
def test_the_sample_password_outlives_no_change_of_the_first_admin(
    sqlite_url: str, users: str, monkeypatch: pytest.MonkeyPatch, default_admin: str | None
) -> None:
    """An admin who was the first one once is watched under every other setting, and stops production."""
    with serving(*new_app(sqlite_url, users)):
        pass
    with serving(*new_app(sqlite_url, users, default_admin=default_admin)) as site:
        answer = site.run(call, site.app, "POST", "/auth/login", ADMIN)
        assert (answer.status, answer.code) == (403, "password_change_required")
        log_in(site, "admin@admin.com", "changeme")  # from this machine
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    with (
        pytest.raises(ConfigError, match=r"admin@admin\.com has the sample password"),
        serving(*new_app(sqlite_url, users, PRODUCTION, default_admin=default_admin)),
    ):
        pass  # pragma: no cover - it does not start


def test_production_accepts_the_sample_password_of_no_admin(
    sqlite_url: str, users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even on this machine, of an admin with an address that nobody names any more; others are left alone."""
    with serving(*new_app(sqlite_url, users, default_admin=BOSS)) as site:
        site.client.post("/auth/register", json={"email": "ann@example.com", "password": "changeme"})
        root = log_in(site, BOSS, "changeme")
        site.client.post("/auth/approve", json={"email": "ann@example.com"}, headers=root)
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    with serving(*new_app(sqlite_url, users, PRODUCTION)) as site:
        body = {"email": BOSS, "password": "changeme"}
        assert told(site.client.post("/auth/login", json=body)) == (403, "password_change_required")
        log_in(site, "ann@example.com", "changeme")
        log_in(site, "admin@admin.com")


def test_the_environment_names_the_admin(
    sqlite_url: str, users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Email and password; nothing is said of samples."""
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_EMAIL", "Boss@Example.com")
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    with serving(*new_app(sqlite_url, users)) as site:
        boss = log_in(site, "boss@example.com")
        assert site.client.get("/who", headers=boss).json()["is_admin"] is True


# ---- options -----------------------------------------------------------------------------------------------


def test_options(sqlite_url: str, users: str) -> None:
    """Those of setup_auth, and those of AuthRouter; without approval people come in at once."""
    key = "an-exact-key-of-more-than-64-bytes-for-hs512-which-nobody-else-has-ever-used"
    app, auth = new_app(
        sqlite_url, users, prefix="/a", approval=None, secret_key=key, algorithm="HS512", expire_minutes=5,
        default_admin=None, disable=["refresh"],
    )  # fmt: skip
    with serving(app, auth) as site:
        body = {"email": "ann@example.com", "password": PASSWORD}
        assert site.client.post("/a/register", json=body).json()["status"] == "active"
        pair = site.client.post("/a/login", json=body).json()
        assert (pair["expires_in"], "refresh_token" in pair) == (300, False)
        assert site.client.get("/a/pending").status_code == 404
        assert auth.authenticator.config.algorithm == "HS512"


def test_a_configuration_of_tokens_is_taken_whole(sqlite_url: str, users: str) -> None:
    """`jwt=` says what secret_key, algorithm and expire_minutes would."""
    jwt = JWTConfig(subject="email", token_expiry=300)
    with serving(*new_app(sqlite_url, users, jwt=jwt)) as site:
        assert site.client.post("/auth/login", json=ADMIN).json()["expires_in"] == 300


def test_claims_of_a_login_are_in_the_token(sqlite_url: str, users: str) -> None:
    """`auth.register` and `auth.login(..., extra_claims=...)` in programs."""
    app, auth = new_app(sqlite_url, users, approval=None)
    with serving(app, auth) as site:
        site.run(auth.register, email="ann@example.com", password=PASSWORD)
        with pytest.raises(Exception, match="already"):
            site.run(auth.register, email="ANN@example.com", password=PASSWORD)
        with pytest.raises(Exception, match="invalid"):
            site.run(auth.register, email=" ", password=PASSWORD)
        pair = site.run(auth.login, "ann@example.com", PASSWORD, extra_claims={"company_id": 42})
        seen = site.client.get("/who", headers=bearer(pair["access_token"])).json()
        assert seen == {"sub": "ann@example.com", "is_admin": False, "company_id": 42}


def test_mistakes_say_what_to_write(sqlite_url: str) -> None:
    """At configure."""
    app = Jetio(database=sqlite_url, settings=TEST)
    with pytest.raises(ConfigError, match=r"AuthRouter\(User"):
        setup_auth(app, user_model=Order)
    with pytest.raises(ConfigError, match="not both"):
        setup_auth(app, secret_key="x" * 40, jwt=JWTConfig(subject="email"))
    for twice in ({"algorithm": "HS256"}, {"expire_minutes": 30}):
        with pytest.raises(ConfigError, match=f"takes {next(iter(twice))}=.* or jwt=.*not both"):
            setup_auth(app, jwt=JWTConfig(subject="email"), **twice)
    for place in ({"store": MemoryUserStore()}, {"database": app.database}):
        with pytest.raises(ConfigError, match=f"db_url=... or {next(iter(place))}=..., not both"):
            setup_auth(app, db_url="sqlite+aiosqlite:///:memory:", **place)
    wrong: tuple[Any, ...] = (0, -1, 0.5, 1441, True)
    for minutes in wrong:
        with pytest.raises(ConfigError, match=r"expire_minutes=.* must be a whole number from 1 to 1440"):
            setup_auth(app, expire_minutes=minutes)
    for name in ("nobody", "", "a b@example.com"):
        with pytest.raises(ConfigError, match="is no email"):
            setup_auth(app, default_admin=name)
    for subject in ("id", "username"):
        with pytest.raises(ConfigError, match=r'write jwt=JWTConfig\(subject="email"'):
            setup_auth(app, jwt=JWTConfig(subject=subject))
    known_by_email = setup_auth(Jetio(database=sqlite_url, settings=TEST)).user_model
    AuthRouter(known_by_email, jwt=JWTConfig(subject="username")).register_routes(app)
    with pytest.raises(ConfigError, match="no login name of the accounts; write id or email"):
        app.build()
    with pytest.raises(ConfigError, match="subject"):
        JWTConfig(subject="phone")  # type: ignore[arg-type]


def test_a_database_of_accounts_with_an_own_model(sqlite_url: str, users: str) -> None:
    """AuthRouter takes one too; in development its tables are made, and its way of logging in is documented."""
    from tests.auth.forum import Model, User

    app = Jetio(database=sqlite_url, settings=TEST, metadata=Base.metadata)
    auth = AuthRouter(User, database=Database(users))
    auth.register_routes(app)
    with serving(app, auth) as site:
        assert site.register("ann").status_code == 201
        assert site.login("ann").status_code == 200

        async def rows() -> Any:
            async with auth.database.sessions() as session:
                await session.execute(text("SELECT 1"))
                return (await session.scalars(select(User.username))).all()

        assert site.run(rows) == ["ann"]
        document = app.openapi()
        assert set(document["components"]["securitySchemes"]) == {"OAuth2PasswordBearer"}
        assert document["paths"]["/me"]["get"]["security"] == [{"OAuth2PasswordBearer": []}]
    assert "users" in Model.metadata.tables


def test_one_database_for_both(sqlite_url: str) -> None:
    """A Database object that the application has too: requests and callers share transactions."""
    from tests.auth.forum import Model, User

    database = Database(sqlite_url)
    app = Jetio(database=database, settings=TEST, metadata=Model.metadata)
    auth = AuthRouter(User, database=database)
    auth.register_routes(app)

    @app.get("/row")
    async def row(user: CurrentUser, session: AsyncSession) -> dict[str, Any]:
        return {"name": user.username, "shared": user in session}

    with serving(app, auth) as site:
        ann = site.person("ann")
        assert ann.get("/row").json() == {"name": ann.username, "shared": True}


def test_rows_log_in_as_callers_in_tests(sqlite_url: str, users: str) -> None:
    """`TestClient.login_as` knows the accounts of the other database."""
    app, auth = new_app(sqlite_url, users)
    with JetioClient(app) as client:
        assert client.portal is not None
        user = client.portal.call(lambda: auth.register(email="ann@example.com", password=PASSWORD))
        client.login_as(user)
        assert client.get("/who").json() == {"sub": "ann@example.com", "is_admin": False}


def test_every_feature_works_in_a_database_of_its_own(sqlite_url: str, users: str) -> None:
    """Tokens of programs, second factors, logins of devices, admins in the name of others."""
    enable = ["api_tokens", "totp", "device_login", "impersonation"]
    with serving(*new_app(sqlite_url, users, enable=enable)) as site:
        ann, client = join(site, "ann@example.com"), site.client
        made = client.post("/auth/tokens", json={"name": "cron", "scopes": []}, headers=ann)
        assert made.status_code == 201, made.text
        program = bearer(made.json()["token"])
        assert client.get("/who", headers=program).json()["sub"] == "ann@example.com"
        assert client.get("/row", headers=program).json() == {"email": "ann@example.com"}
        assert client.post("/auth/mfa/totp", headers=ann).status_code in (200, 201)
        assert client.post("/auth/cli-login").status_code == 201
        root = log_in(site, "admin@admin.com", "changeme")
        borrowed = client.post("/admin/users/2/token", json={}, headers=root)
        assert borrowed.status_code == 200, borrowed.text
        headers = bearer(borrowed.json()["access_token"])
        assert client.get("/who", headers=headers).json()["sub"] == "ann@example.com"
        assert told(client.post("/auth/approve", json={"id": 2}, headers=headers))[0] == 403
