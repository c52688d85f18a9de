"""What stands on mail, as far as it is on: confirmed addresses, passwords that are reset, logins by a link."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Column

from jetio import Change, ConfigError, Settings

from ..accounts import Accounts
from ..context import AuthContext
from ..events import Events
from ..grants.magic_link import MagicLinks
from ..logins import Logins
from ..model import columns_of, unprove_on_set
from ..settings import Lockout
from ..tables import one_time_table
from ..throttle import Throttle
from .addresses import Addresses
from .letters import Letters
from .mailers import Mailer
from .one_time import OneTimeTokens, end_with_address
from .password_reset import PasswordReset
from .settings import LINKS, Mail, mail_weaknesses

__all__ = ["Mailing"]


class Mailing:
    """The parts, each None where its feature is off. `key` None: the build tells what the model lacks."""

    def __init__(
        self,
        context: AuthContext,
        mail: Mail | Mailer | None,
        features: Collection[str],
        prefix: str,
        accounts: Accounts,
        logins: Logins,
        events: Events,
        throttle: Throttle,
        lockout: Lockout,
        key: Column[Any],
    ) -> None:
        self._context, self._features = context, features
        self._table = one_time_table(key)
        tokens = OneTimeTokens(context, self._table)
        plan = mail if isinstance(mail, Mail) else Mail(mailer=mail)
        self.letters = Letters(context, plan, features, prefix, tokens, throttle, lockout, accounts.find)
        self.pages = self.letters.pages
        addresses = Addresses(context, tokens, self.letters, events)
        self.addresses = addresses if "verify_email" in features else None
        self.resets = PasswordReset(
            context, accounts, tokens, self.letters, events, logins.sessions, self.addresses
        )
        self.magic_links = MagicLinks(context, accounts, tokens, logins, events, self.addresses)

    def guard(self, model: type[Any]) -> None:
        """Another address is another thing to prove, whoever writes it, and ends the links that were sent."""
        if "email" in columns_of(model):
            end_with_address(model, self._table)
        if self.addresses is not None:
            unprove_on_set(model)

    def check(self) -> None:
        """Runs at build; raises ConfigError for what the model or the settings lack."""
        facts = self._context.facts
        if "email" not in facts.columns:
            on = sorted(set(self._features) & set(LINKS))
            raise ConfigError(
                f"{facts.model.__name__} has no email to write to; add one, or write AuthRouter(disable={on})"
            )
        if self.addresses is not None and facts.verified is None:
            raise ConfigError(
                f"{facts.model.__name__} has no Mapped[bool] that says whether the email is confirmed; "
                'add JetioEmailConfirmationMixin, or write AuthRouter(disable=["verify_email"])'
            )
        self.letters.check()

    def weaknesses(self, settings: Settings) -> Iterator[str]:
        """What stops a start in production."""
        return mail_weaknesses(self.letters.mail, settings)

    async def before_update(self, change: Change) -> None:
        """A hook of the user model."""
        if self.addresses is not None:
            await self.addresses.before_update(change)

    async def on_commit(self, change: Change) -> None:
        """A hook of the user model."""
        assert self.addresses is not None  # noqa: S101 - the hook is there where addresses are confirmed
        await self.addresses.on_commit(change)
