"""How mail is sent and what its links lead to: the environment's part, and the router's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jetio import ConfigError, Settings

from ..domain import address_of, in_clear, is_here, local_address, own_address
from .mailers import Mailer, is_address

__all__ = ["LINKS", "Mail", "MailSettings", "domain_of", "mail_environment", "mail_weaknesses"]

LINKS = ("verify_email", "reset_password", "magic_link")
"""What a link in a mail is good for: each is a feature too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What an AuthRouter writes to people, and through whom.

    `mailer` None: as the environment says (`MAIL_*`). `templates` is a folder whose files stand in for those of
    the same name here. `domain` None: `DOMAIN`. `links` leads to pages of your own, by feature:
    `{"reset_password": "https://app.example.com/reset#{token}"}`. Lifetimes of links are in seconds.
    """

    mailer: Mailer | None = field(default=None, repr=False)
    templates: str | Path | None = None
    domain: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    verify_seconds: int = 86400
    reset_seconds: int = 1800
    magic_seconds: int = 600

    def __post_init__(self) -> None:
        for name, link in self.links.items():
            if name not in LINKS or "{token}" not in link or not _is_address(link):
                raise ConfigError(
                    f"Mail(links={{{name!r}: ...}}): write one of {', '.join(LINKS)}, and an address with {{token}}"
                )
        lives = (self.verify_seconds, self.reset_seconds, self.magic_seconds)
        if not all(0 < seconds <= 7 * 86400 for seconds in lives):
            raise ConfigError("Mail: a link lives from a second to a week; write verify_seconds=86400")
        if self.templates is not None and not Path(self.templates).is_dir():
            raise ConfigError(f"Mail(templates={str(self.templates)!r}) is no folder")
        if self.domain is not None:
            address_of("Mail(domain=...)", self.domain)

    def seconds_of(self, purpose: str) -> int:
        """How long a link of this purpose lives."""
        lives = (self.verify_seconds, self.reset_seconds, self.magic_seconds)
        return dict(zip(LINKS, lives, strict=True))[purpose]


class MailSettings(BaseSettings):
    """What the environment (`MAIL_*`) says about mail.

    `mode` None: through the server where one is named, else to the log; in tests nowhere.
    """

    model_config = SettingsConfigDict(
        env_prefix="MAIL_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    mode: Literal["console", "smtp"] | None = None
    server: str | None = None
    port: int = Field(587, gt=0, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    sender: str | None = Field(None, validation_alias="MAIL_FROM")
    starttls: bool = True
    ssl_tls: bool = False

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, value: str | None) -> str | None:
        if value is not None and not is_address(value):
            raise ValueError("write one address: accounts@example.com, or Example <accounts@example.com>")
        return value

    @model_validator(mode="after")
    def _fits(self) -> MailSettings:
        if self.ssl_tls and self.starttls and "starttls" in self.model_fields_set:
            raise ValueError("MAIL_SSL_TLS and MAIL_STARTTLS exclude each other; set one of them to false")
        if self.mode == "smtp" and self.server is None:
            raise ValueError("MAIL_MODE=smtp needs MAIL_SERVER")
        if self.server is not None and self.sender is None:
            raise ValueError("MAIL_SERVER needs MAIL_FROM, the address that mails come from")
        return self

    @property
    def by_smtp(self) -> bool:
        """Whether mails go to a server."""
        return self.mode == "smtp" or (self.mode is None and self.server is not None)

    @property
    def in_clear(self) -> bool:
        """Whether mails cross a network unencrypted."""
        return not self.ssl_tls and not self.starttls and not is_here(self.server or "")


def mail_environment() -> MailSettings:
    """Read now: scripts set the environment late. Raises ConfigError for values that cannot be."""
    try:
        return MailSettings()
    except ValidationError as error:
        raise ConfigError.of([_sentence(entry["loc"], entry["msg"]) for entry in error.errors()]) from None


def _sentence(place: tuple[object, ...], told: str) -> str:
    message = told.removeprefix("Value error, ")
    if not place:
        return message
    name = str(place[0])
    return f"{name if name.isupper() else f'MAIL_{name.upper()}'}: {message}"


def domain_of(mail: Mail, settings: Settings) -> str:
    """What links in mails begin with."""
    return own_address(mail.domain) or local_address(settings)


def _is_address(link: str) -> bool:
    try:
        return bool(urlsplit(link).scheme)
    except ValueError:
        return False


def mail_weaknesses(mail: Mail, settings: Settings) -> Iterator[str]:
    """What stops a start in production; each is a warning elsewhere."""
    found = mail_environment()
    for name, link in mail.links.items():
        if in_clear(link):
            yield f"Mail(links={{{name!r}: ...}}) begins with http:, and what goes there is secret; write https"
    if mail.mailer is not None:
        return
    if settings.production and not found.by_smtp:
        yield (
            "mails go nowhere; set MAIL_SERVER and MAIL_FROM, give AuthRouter(mail=Mail(mailer=...)), "
            "or switch verify_email, reset_password and magic_link off with disable="
        )
    if found.by_smtp and found.in_clear:
        yield "MAIL_STARTTLS and MAIL_SSL_TLS are both false, and mails carry secrets; set one of them"
