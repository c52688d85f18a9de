"""How authentication is configured, and the checks before it serves."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from pydantic import AliasChoices, EmailStr, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from jetio import ConfigError, Settings

from .jwt import ALGORITHMS, PUBLIC_ALGORITHMS, SigningKey, TokenCodec, check_key

__all__ = [
    "AuthSettings",
    "JWTConfig",
    "Lockout",
    "environment",
    "signing_keys",
    "token_codec",
    "weaknesses",
]

_log = logging.getLogger("jetio.auth")
_SECRET_FILE = "dev-secret"  # noqa: S105 - the name of a file
_NO_KEY = "no SECRET_KEY; set one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
_COOKIE_NAME = re.compile(r"[\w-]+", re.ASCII).fullmatch
_SESSION_MAX = 30 * 86400
KEPT_SECONDS = 86400  # how long failures are remembered
_SAMPLE_PASSWORDS = frozenset({"changeme", "securePassword123"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTConfig:
    """How access tokens are signed and read. `secret_key` None: `SECRET_KEY` of the environment.

    `token_location` is "header", "cookie" or both; a header wins. `cookie_secure` None: in production.
    `subject` is what `sub` says: "id", or the account's "email" or "username".
    A refresh token that is not used for `refresh_token_expiry` ends its session, which lasts at most `session_max`.
    `keys` (`[{"kid", "key", "algorithm"}]`) replaces `secret_key` for rotation: the first signs, all verify.
    Times are in seconds.
    """

    secret_key: str | None = field(default=None, repr=False)
    algorithm: str = "HS256"
    token_expiry: int = 3600
    refresh_token_expiry: int = 86400
    session_max: int = _SESSION_MAX
    token_location: str | Sequence[str] = "header"  # noqa: S105 - the name of a place
    token_header: str = "Authorization"  # noqa: S105 - the name of a header
    token_prefix: str = "Bearer"  # noqa: S105 - the name of a scheme
    cookie_name: str = "access_token"
    cookie_secure: bool | None = None
    cookie_httponly: bool = True
    cookie_samesite: Literal["lax", "strict", "none"] = "lax"
    issuer: str | None = None
    audience: str | None = None
    leeway: int = 5
    subject: Literal["id", "email", "username"] = "id"
    keys: Sequence[Mapping[str, str]] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            known = ", ".join(sorted(ALGORITHMS))
            raise ConfigError(f"JWTConfig(algorithm={self.algorithm!r}) is not known; write one of: {known}")
        if self.subject not in ("id", "email", "username"):
            raise ConfigError(
                f'JWTConfig(subject={self.subject!r}) is not known; write "id", "email" or "username"'
            )
        if type(self.token_expiry) is not int or not 0 < self.token_expiry <= 86400:
            raise ConfigError(
                f"JWTConfig(token_expiry={self.token_expiry!r}) must be whole seconds, from 1 second to a day; "
                "write 3600"
            )
        if not self.locations or not self.locations <= {"header", "cookie"}:
            raise ConfigError(
                f'JWTConfig(token_location={self.token_location!r}) is not known; write "header", "cookie" or both'
            )
        if not _COOKIE_NAME(self.cookie_name) or self.cookie_name in ("refresh_token", "csrf_token"):
            raise ConfigError(
                f"JWTConfig(cookie_name={self.cookie_name!r}) is no name for it; write letters, digits, - and _, "
                "and neither refresh_token nor csrf_token, which are others"
            )
        if self.cookie_samesite not in ("lax", "strict", "none"):
            raise ConfigError(
                f'JWTConfig(cookie_samesite={self.cookie_samesite!r}) is not known; write "lax", "strict" or "none"'
            )
        if not 0 < self.refresh_token_expiry <= self.session_max:
            raise ConfigError(
                f"JWTConfig(refresh_token_expiry={self.refresh_token_expiry}, session_max={self.session_max}): "
                "write seconds, and a session that lasts as long as its refresh tokens, or longer"
            )
        if any("key" not in item or not set(item) <= {"kid", "key", "algorithm"} for item in self.keys):
            raise ConfigError('JWTConfig(keys=...) takes [{"kid": ..., "key": ..., "algorithm": ...}, ...]')

    @property
    def publishes_keys(self) -> bool:
        """Whether others can verify the tokens: a key of a public algorithm is among the keys."""
        used = [item.get("algorithm", self.algorithm) for item in self.keys] or [self.algorithm]
        return not PUBLIC_ALGORITHMS.isdisjoint(used)

    @property
    def locations(self) -> frozenset[str]:
        """Where tokens are looked for."""
        given = self.token_location
        return frozenset([given] if isinstance(given, str) else given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockout:
    """When logins, registrations and mails are refused for a while; windows in seconds.

    Failed logins count per account and per address, registrations per address, mails that are asked for per name
    and per address. An account gets no more than `account_mails`; whoever asks for more is not told.
    """

    failures: int = 10
    window: int = 900
    address_failures: int = 20
    address_window: int = 60
    registrations: int = 5
    registration_window: int = 60
    mails: int = 5
    mail_window: int = 60
    account_mails: int = 10
    account_mail_window: int = 3600

    def __post_init__(self) -> None:
        windows = (
            self.window, self.address_window, self.registration_window, self.mail_window, self.account_mail_window,
        )  # fmt: skip
        counts = (self.failures, self.address_failures, self.registrations, self.mails, self.account_mails)
        smallest = min(*counts, *windows)
        if smallest < 1 or max(windows) > KEPT_SECONDS:
            raise ConfigError(f"{self}: write numbers of at least 1, and windows of at most {KEPT_SECONDS} s")


class AuthSettings(BaseSettings):
    """What the environment (`JETIO_AUTH_*`) says about accounts."""

    model_config = SettingsConfigDict(
        env_prefix="JETIO_AUTH_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    token_expiry: int = Field(
        3600,
        validation_alias=AliasChoices("JETIO_AUTH_TOKEN_EXPIRY", "JETIO_AUTH_TOKEN_LIFETIME_SECONDS"),
        gt=0,
        le=86400,
    )
    refresh_token_expiry: int = Field(86400, gt=0)
    default_admin_username: str | None = None
    default_admin_email: EmailStr | None = None
    default_admin_password: SecretStr | None = None

    @property
    def jwt(self) -> JWTConfig:
        """The lives of tokens that the environment gives; all else as JWTConfig has it."""
        longest = max(self.refresh_token_expiry, _SESSION_MAX)
        return JWTConfig(
            token_expiry=self.token_expiry,
            refresh_token_expiry=self.refresh_token_expiry,
            session_max=longest,
        )

    @property
    def default_admin(self) -> tuple[str | None, str | None, str | None]:
        """Username, email and password of the seeded admin."""
        password = self.default_admin_password
        secret = password.get_secret_value() if password is not None else None
        return self.default_admin_username, self.default_admin_email, secret


def environment() -> AuthSettings:
    """Read now: scripts set the environment late. Raises ConfigError for values that cannot be."""
    try:
        return AuthSettings()
    except ValidationError as error:
        raise ConfigError.of([_sentence(entry["loc"][0], entry["msg"]) for entry in error.errors()]) from None


def _sentence(name: object, told: str) -> str:
    variable = str(name).upper()
    return f"{variable if variable.startswith('JETIO_') else f'JETIO_AUTH_{variable}'}: {told}"


def token_codec(config: JWTConfig, settings: Settings) -> TokenCodec:
    """The codec of the configured keys; raises ConfigError where production would be weak."""
    wrong = list(_weak_keys(config, settings))
    if wrong and settings.production:
        raise ConfigError.of(wrong)
    keys = signing_keys(config, settings)
    return TokenCodec(keys, issuer=config.issuer, audience=config.audience, leeway=config.leeway)


# ---- keys --------------------------------------------------------------------------------------------------


def signing_keys(config: JWTConfig, settings: Settings) -> list[SigningKey]:
    """The keys, the signing one first; in development and test one is made where none is given."""
    return _given_keys(config, settings) or [SigningKey(config.algorithm, _made_secret(settings))]


def _given_keys(config: JWTConfig, settings: Settings) -> list[SigningKey]:
    if config.keys:
        return [
            SigningKey(item.get("algorithm", config.algorithm), item["key"], item.get("kid"))
            for item in config.keys
        ]
    secret = config.secret_key
    if not secret and settings.secret_key is not None:
        secret = settings.secret_key.get_secret_value()
    return [SigningKey(config.algorithm, secret)] if secret else []


def _made_secret(settings: Settings) -> str:
    if settings.production:
        raise ConfigError(_NO_KEY)
    return _kept_secret(settings.state_directory) if settings.env == "development" else _process_secret()


@cache
def _process_secret() -> str:
    return secrets.token_urlsafe(48)


def _kept_secret(folder: Path) -> str:
    """A key that outlives a restart, readable by its owner alone; made by whoever comes first."""
    path = folder / _SECRET_FILE
    try:
        if not path.exists():
            _make_secret(path)
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"no SECRET_KEY, and none can be kept in {path}: {error.strerror}; set one"
        ) from error


def _make_secret(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # A file appears under its name only when it is whole; of two processes the first wins.
    with NamedTemporaryFile("w", dir=path.parent) as fresh:
        fresh.write(secrets.token_urlsafe(48))
        fresh.flush()
        with suppress(FileExistsError):
            os.link(fresh.name, path)
            _log.warning("no SECRET_KEY: made one for development in %s", path)


# ---- checks ------------------------------------------------------------------------------------------------


def weaknesses(config: JWTConfig, settings: Settings) -> Iterator[str]:
    """What is too weak for production: each stops its start, each is a warning elsewhere."""
    yield from _weak_keys(config, settings)
    if "cookie" in config.locations and config.cookie_secure is False:
        yield "JWTConfig(cookie_secure=False) sends tokens over plain HTTP; leave it out"
    if config.cookie_samesite == "none" and config.cookie_secure is False:
        yield 'JWTConfig(cookie_samesite="none") needs Secure cookies; leave cookie_secure out'
    *_, password = environment().default_admin
    if password in _SAMPLE_PASSWORDS:
        yield "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD is a well-known sample; choose another"


def unshared_key(config: JWTConfig, settings: Settings) -> Iterator[str]:
    """In tests each process makes a key of its own: one worker would not believe another one's tokens."""
    if settings.env == "test" and settings.workers > 1 and not _given_keys(config, settings):
        yield f"{_NO_KEY}; {settings.workers} workers need one together"


def _weak_keys(config: JWTConfig, settings: Settings) -> Iterator[str]:
    given = _given_keys(config, settings)
    if not given and settings.production:
        yield _NO_KEY
    for item in given:
        wrong = check_key(item.algorithm, item.key)
        if wrong is not None:
            name = f"the key {item.kid!r}" if config.keys else "SECRET_KEY"
            yield f"{name}: {wrong}"
