"""Letters, and what carries them: a server, the log, or whatever an application brings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jetio import ConfigError

if TYPE_CHECKING:
    from .settings import MailSettings

__all__ = ["ConsoleMailer", "Letter", "Mailer", "NoMailer", "SmtpMailer", "is_address", "message_of"]

_log = logging.getLogger("jetio.auth.mail")
_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One mail to one address. Its text carries secrets, and its repr does not."""

    to: str
    subject: str
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)


@runtime_checkable
class Mailer(Protocol):
    """Whatever sends letters: a server, a service with an API, a queue of your own."""

    async def send(self, letter: Letter) -> None:
        """Send it, or raise; what is raised is logged, and what the letter tells of stays as it is."""


class ConsoleMailer:
    """Writes letters to the log, their links too: for development alone."""

    async def send(self, letter: Letter) -> None:
        # A warning, for it is seen where nobody has configured logging: without it no link could be opened.
        _log.warning(
            "not sent, for no MAIL_SERVER is set: to %s: %s\n%s", letter.to, letter.subject, letter.text
        )


class NoMailer:
    """Sends nothing: the mode for tests."""

    async def send(self, letter: Letter) -> None:
        """Nobody is to get mail from tests."""


class SmtpMailer:
    """Hands letters to a server, in a connection each. Certificates are verified, and TLS is never left out."""

    def __init__(self, settings: MailSettings) -> None:
        if find_spec("aiosmtplib") is None:
            raise ConfigError("MAIL_SERVER needs an SMTP client; install it with: pip install 'jetio[mail]'")
        self._settings = settings

    async def send(self, letter: Letter) -> None:
        import aiosmtplib  # only who sends mail pays for it

        found = self._settings
        password = found.password.get_secret_value() if found.password is not None else None
        await aiosmtplib.send(
            message_of(letter, found.sender or ""),
            hostname=found.server,
            port=found.port,
            username=found.username,
            password=password,
            use_tls=found.ssl_tls,
            start_tls=found.starttls and not found.ssl_tls,
            timeout=_SECONDS,
        )


def message_of(letter: Letter, sender: str) -> EmailMessage:
    """A letter as RFC 5322 has it, text beside HTML.

    Raises ValueError for a header with a line break, and for anything but one plain address.
    """
    name, address = parseaddr(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=name, addr_spec=address)
    message["To"] = _address(letter.to)
    message["Subject"] = letter.subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office notes stay away
    message.set_content(letter.text)
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html")
    return message


def is_address(text: str) -> bool:
    """Whether mail can come from it: an address, or a name and an address."""
    name, address = parseaddr(text)
    return bool(address) and "@" in address and _succeeds(lambda: Address(name, addr_spec=address))


def _address(text: str) -> Address:
    """One address and nothing else: a list of them in a column would be several recipients."""
    local, _, domain = text.rpartition("@")
    try:
        return Address(addr_spec=f"{local}@{domain.encode('idna').decode()}")  # RFC 5891: as servers know it
    except (ValueError, HeaderParseError, IndexError):
        raise ValueError("this is no mail address") from None


def _succeeds(function: Callable[[], object]) -> bool:
    try:
        function()
    except (ValueError, HeaderParseError, IndexError):
        return False
    return True
