"""Development needs no configuration, test is fast, production refuses what is weak."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jws
from pydantic import SecretStr
from sqlalchemy import text

from jetio import ConfigError, Jetio, Settings
from jetio_auth import AuthRouter, AuthSettings, JWTConfig
from jetio_auth.settings import signing_keys
from tests.auth.forum import PASSWORD, Model, User, bearer, new_app, serving

GOOD = "k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"
SHORT = "k3Jx9Qm2Vw7"


def new_site(url: str, settings: Settings, **options: Any) -> Any:
    """The forum under these settings."""
    app = new_app(url, settings=settings)
    auth = AuthRouter(User, **options)
    auth.register_routes(app)
    return app, auth


def mistakes_of(url: str, settings: Settings, **options: Any) -> tuple[str, ...]:
    """What the start-up check says."""
    app, _ = new_site(url, settings, **options)
    with pytest.raises(ConfigError) as refusal:
        app.check()
    return refusal.value.mistakes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    inside = tmp_path / "work"
    inside.mkdir()
    monkeypatch.chdir(inside)
    return inside


# ---- development -------------------------------------------------------------------------------------------


def test_development_keeps_a_key_of_its_own(
    folder: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without SECRET_KEY one is made with a warning, its owner's alone; tokens outlive a restart."""
    with serving(*new_site(sqlite_url, Settings(env="development"))) as site:
        site.register("ann")
        token = site.login("ann").json()["access_token"]
    secret = folder / ".jetio" / "dev-secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) == 64
    [warning] = [record for record in caplog.records if "SECRET_KEY" in record.getMessage()]
    assert warning.levelno == logging.WARNING
    assert secret.read_text() not in caplog.text
    with serving(*new_site(sqlite_url, Settings(env="development"))) as site:
        assert site.client.get("/me", headers=bearer(token)).status_code == 200


def test_of_many_who_make_the_key_one_wins(folder: Path) -> None:
    """Workers that start at once sign with one key."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: signing_keys(JWTConfig(), Settings(env="development")), range(16)))
    assert len({keys[0].key for keys in made}) == 1
    assert os.listdir(folder / ".jetio") == ["dev-secret"]


def test_a_folder_that_cannot_hold_the_key(folder: Path) -> None:
    """Where the key cannot be kept the error says to set one."""
    (folder / ".jetio").write_text("not a folder")
    with pytest.raises(ConfigError, match="no SECRET_KEY, and none can be kept"):
        signing_keys(JWTConfig(), Settings(env="development"))


def test_an_empty_key_file(folder: Path, sqlite_url: str) -> None:
    """An empty file is no key; the start says so."""
    (folder / ".jetio").mkdir()
    (folder / ".jetio" / "dev-secret").touch()
    with (
        pytest.raises(ConfigError, match="not an empty one"),
        serving(*new_site(sqlite_url, Settings(env="development"))),
    ):
        pass


@pytest.mark.parametrize("key", [SHORT, "changeme" * 8, "your-secret-key-of-many-letters-and-digits-1234"])
def test_development_warns_of_a_weak_key(sqlite_url: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """A weak key works in development, and every start says that production would refuse it."""
    with serving(*new_site(sqlite_url, Settings(env="development", secret_key=key))):
        assert "production would refuse to start" in caplog.text
        assert key not in caplog.text


# ---- test --------------------------------------------------------------------------------------------------


def test_test_mode_keeps_nothing(folder: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """In test mode the key is random and in memory, hashes cost little, and nothing warns."""
    with serving(*new_site(sqlite_url, Settings(env="test"))) as site:
        site.register("ann")
        assert site.login("ann").status_code == 200
        assert site.auth.accounts.passwords.rounds == 4
    assert os.listdir(folder) == []
    assert caplog.records == []


# ---- production --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "no SECRET_KEY"),
        (SHORT, "11 bytes"),
        ("CHANGE-ME-please-this-is-a-sample-key-0123", "well-known sample"),
        ("ab" * 32, "repeats a shorter text"),
    ],
)
def test_production_refuses_weak_keys(sqlite_url: str, key: str | None, told: str) -> None:
    """No key, a short one and a known sample stop the start; the key is not told."""
    settings = Settings(env="production", secret_key=SecretStr(key) if key is not None else None)
    [mistake] = mistakes_of(sqlite_url, settings)
    assert told in mistake
    assert key is None or key not in mistake
    _, auth = new_site(sqlite_url, settings)
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        auth.create_token(User(id=1, username="ann", hashed_password="!"))


def test_production_tells_all_failures_together(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error lists every weakness."""
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", "changeme")
    keys = [{"kid": "new", "key": SHORT}, {"kid": "old", "key": "changeme" * 8}, {"kid": "fine", "key": GOOD}]
    found = mistakes_of(sqlite_url, Settings(env="production"), jwt=JWTConfig(keys=keys))
    assert len(found) == 3
    assert found[0].startswith("the key 'new'")
    assert found[1].startswith("the key 'old'")
    assert "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD" in found[2]


def test_production_serves_with_a_good_key(sqlite_url: str) -> None:
    """Tables are there, the key is good: accounts register with uncommon passwords at cost 12."""
    app, auth = new_site(sqlite_url, Settings(env="production", secret_key=GOOD))
    with serving(app, auth) as site:
        site.run(app.database.create_tables, Model.metadata)
        for password in ("password1", "qwerty123", "wendy1999", "12345678"):
            refused = site.register("wendy", password=password)
            assert [entry["code"] for entry in refused.json()["errors"]] == ["password_common"]
        assert site.register("wendy", password=PASSWORD).status_code == 201
        assert site.login("wendy").status_code == 200
        assert auth.accounts.passwords.rounds == 12


def test_asymmetric_keys(sqlite_url: str) -> None:
    """With RS256 the secret key is a private key as PEM."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    config = JWTConfig(algorithm="RS256", secret_key=pem)
    app, auth = new_site(sqlite_url, Settings(env="test"), jwt=config)
    app.check()
    with serving(app, auth) as site:
        site.register("ann")
        token = site.login("ann").json()["access_token"]
        assert jws.get_unverified_header(token)["alg"] == "RS256"
        assert site.client.get("/me", headers=bearer(token)).status_code == 200


# ---- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"algorithm": "none"}, "not known"),
        ({"algorithm": "EdDSA"}, "not known"),
        ({"token_expiry": 30.5}, "must be whole seconds"),
        ({"token_expiry": 0}, "from 1 second to a day"),
        ({"token_expiry": 86401}, "from 1 second to a day"),
        ({"keys": [{"kid": "a"}]}, "kid"),
        ({"keys": [{"key": GOOD, "secret": "x"}]}, "kid"),
    ],
)
def test_a_configuration_that_cannot_be(options: dict[str, Any], told: str) -> None:
    """Mistakes in JWTConfig are told at once."""
    with pytest.raises(ConfigError, match=told):
        JWTConfig(**options)


@pytest.mark.parametrize("name", ["JETIO_AUTH_TOKEN_EXPIRY", "JETIO_AUTH_TOKEN_LIFETIME_SECONDS"])
def test_the_environment_sets_the_life_of_tokens(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Both names are read; an argument goes first."""
    monkeypatch.setenv(name, "600")
    for options, expected in (({}, 600), ({"jwt": JWTConfig(token_expiry=60)}, 60)):
        with serving(*new_site(sqlite_url, Settings(env="test"), **options)) as site:
            site.register("ann")
            assert site.login("ann").json()["expires_in"] == expected


def test_an_environment_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values that are wrong are told by the names of their variables, and never the values."""
    monkeypatch.setenv("JETIO_AUTH_TOKEN_EXPIRY", "notanumber")
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_EMAIL", "noaddress")
    with pytest.raises(ConfigError) as refusal:
        AuthRouter(User)
    names = [mistake.partition(":")[0] for mistake in refusal.value.mistakes]
    assert names == ["JETIO_AUTH_TOKEN_EXPIRY", "JETIO_AUTH_DEFAULT_ADMIN_EMAIL"]
    assert "notanumber" not in str(refusal.value)
    assert "noaddress" not in str(refusal.value)


def test_a_dotenv_of_the_working_directory(folder: Path, sqlite_url: str) -> None:
    """`.env` where the application is started is read: mode, key, expiry, the seeded admin."""
    (folder / ".env").write_text(
        f"JETIO_ENV=test\nSECRET_KEY={GOOD}\nJETIO_AUTH_TOKEN_EXPIRY=120\n"
        "JETIO_AUTH_DEFAULT_ADMIN_EMAIL=root@example.com\nJETIO_AUTH_DEFAULT_ADMIN_USERNAME=root\n"
        f"JETIO_AUTH_DEFAULT_ADMIN_PASSWORD={PASSWORD}\n"
    )
    app, auth = new_site(sqlite_url, Settings(), default_admin=True)
    with serving(app, auth) as site:
        answer = site.login("root").json()
        assert answer["expires_in"] == 120
        assert jws.verify(answer["access_token"], GOOD, "HS256")
        me = site.client.get("/me", headers=bearer(answer["access_token"])).json()
        assert me["roles"] == ["admin", "member"]


# ---- secrets -----------------------------------------------------------------------------------------------


def test_secrets_are_never_shown(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, password, hash or token stands in a repr, a log or the OpenAPI document."""
    monkeypatch.setenv("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD", PASSWORD)
    config = JWTConfig(secret_key=GOOD, keys=[{"kid": "a", "key": GOOD}])
    settings = Settings(env="test", secret_key=GOOD)
    shown = [repr(item) for item in (config, settings, AuthSettings(), signing_keys(config, settings))]
    caplog.set_level(logging.DEBUG)
    app, auth = new_site(sqlite_url, settings)
    with serving(app, auth) as site:
        site.register("ann")
        site.login("ann", "a wrong password")
        token = site.login("ann").json()["access_token"]
        site.client.get("/me", headers=bearer(token))
        user = User(username="x", hashed_password="$2b$04$abc")
        shown += [caplog.text, str(app.openapi()), repr(user), repr(auth.authenticator)]
    for secret in (GOOD, PASSWORD, "a wrong password", token, "$2b$"):
        assert not any(secret in text for text in shown)
    assert "hashed_password" not in str(app.openapi())


async def drop_users(app: Jetio) -> None:
    """A migration that went wrong."""
    async with app.database.sessions() as session:
        await session.execute(text("DROP TABLE users"))
        await session.commit()


def test_an_error_of_the_database_hides_what_was_written(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a failed statement holds the statement, not the hash."""
    app, auth = new_site(sqlite_url, Settings(env="production", secret_key=GOOD))
    with serving(app, auth) as site:
        site.run(app.database.create_tables, Model.metadata)
        site.run(drop_users, app)
        assert site.register("ann").status_code == 500
    assert "INSERT INTO users" in caplog.text
    assert "$2b$" not in caplog.text
    assert "ann@example.com" not in caplog.text
