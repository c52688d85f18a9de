"""What accounts are written: links that prove who reads the mail, and news about the account."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import cached_property
from typing import Any

from jetio import Problem

from ..context import AuthContext
from ..model import Account
from ..settings import Lockout
from ..throttle import Limit, Throttle
from .mailers import ConsoleMailer, Mailer, NoMailer, SmtpMailer
from .one_time import OneTimeTokens
from .pages import Pages
from .rendering import Templates
from .settings import Mail, domain_of, mail_environment

__all__ = ["Letters"]

_log = logging.getLogger("jetio.auth.mail")
_PATHS: Mapping[str, str] = {
    "verify_email": "/activate/",
    "reset_password": "/reset-password/",
    "magic_link": "/magic-link/verify/",
}
_WARNINGS = ("email_changed", "password_was_reset")


class Letters:
    """Writes to the owners of accounts, after the answer to whoever asked for it.

    Nothing here raises: the answer has been sent, and the account is what it is with the letter or without.
    """

    def __init__(
        self,
        context: AuthContext,
        mail: Mail,
        features: Collection[str],
        prefix: str,
        tokens: OneTimeTokens,
        throttle: Throttle,
        lockout: Lockout,
        find: Callable[[str, str | None], Awaitable[Account | None]],
    ) -> None:
        self._context, self.mail, self._features, self._prefix = context, mail, features, prefix
        self._tokens, self._throttle, self._lockout, self._find = tokens, throttle, lockout, find
        self.templates = Templates(mail.templates)
        self.pages = Pages(context, self.templates)

    def check(self) -> None:
        """Raises ConfigError for what could not send or write; sends nothing."""
        _ = self.mailer, self._domain
        self.templates.check(
            [name for name in _PATHS if name in self._features] + ["email_taken", *_WARNINGS]
        )

    @cached_property
    def mailer(self) -> Mailer:
        """What carries letters."""
        if self.mail.mailer is not None:
            return self.mail.mailer
        found = mail_environment()
        if found.by_smtp:
            return SmtpMailer(found)
        return NoMailer() if self._context.settings.env == "test" and found.mode is None else ConsoleMailer()

    @cached_property
    def _domain(self) -> str:
        return domain_of(self.mail, self._context.settings)

    async def asked(self, purpose: str, identity: str, field: str | None) -> None:
        """Send a link to the account of this name, if there is one that has a use for it."""
        account = await self._account(identity, field)
        if account is not None and not (purpose == "verify_email" and self._is_verified(account)):
            await self.link(purpose, account)

    async def link(self, purpose: str, account: Account) -> None:
        """Send a link of this purpose to the account's address; the link before it ends."""
        await self._guarded(purpose, account, account.get("email"), purpose)

    async def taken(self, email: str) -> None:
        """Somebody has registered with the address of an account: its owner hears of it, and nobody else."""
        account = await self._account(email, "email")
        purpose = "reset_password" if "reset_password" in self._features else None
        if account is not None:
            await self._guarded("email_taken", account, account.get("email"), purpose)

    async def _account(self, identity: str, field: str | None) -> Account | None:
        try:
            return await self._find(identity, field)
        except Exception:
            _log.exception("an account could not be looked up for a letter")
            return None

    def _is_verified(self, account: Account) -> bool:
        flag = self._context.facts.verified
        return flag is not None and bool(account[flag])

    async def changed(self, account: Account, former: str) -> None:
        """The address is another one now: the former one hears of it, which may be the owner's."""
        await self._guarded("email_changed", account, former, None)

    async def was_reset(self, account: Account) -> None:
        """The password has been reset."""
        await self._guarded("password_was_reset", account, account.get("email"), None)

    async def _guarded(self, name: str, account: Account, to: str | None, purpose: str | None) -> None:
        if not to or not self._context.facts.may_prove(account):
            return
        try:
            await self._send(name, account, to, purpose)
        except Problem:
            _log.warning("a letter was not written, for the account got too many: %s", name)
        except Exception:
            _log.exception("a letter could not be sent: %s", name)

    async def _send(self, name: str, account: Account, to: str, purpose: str | None) -> None:
        if name not in _WARNINGS:  # nobody can use up what tells the owner of a theft
            rule, key = self._lockout, str(account[self._context.facts.key])
            limit = Limit("mail account", key, rule.account_mails, rule.account_mail_window)
            await self._throttle.attempt(self._context.database, [limit])
        values: dict[str, Any] = {"site": self._title, "link": None, "life": None}
        if purpose is not None:
            seconds = self.mail.seconds_of(purpose)
            token = await self._tokens.make(account, purpose, seconds)
            values |= {"link": self._link(purpose, token), "life": _span(seconds)}
        # No connection is held from here on: servers of mail take their time.
        await self.mailer.send(self.templates.letter(name, to, values))

    @property
    def _title(self) -> str:
        app = self._context.app
        title = app.title if app is not None else "Jetio"
        return " ".join(title.split())  # a line break has no place in a subject

    def _link(self, purpose: str, token: str) -> str:
        own = self.mail.links.get(purpose)
        if own is not None:
            return own.replace("{token}", token)
        return f"{self._domain}{self._prefix}{_PATHS[purpose]}{token}"


def _span(seconds: int) -> str:
    """A time in the largest unit that tells it whole."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds} seconds"
