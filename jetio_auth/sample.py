"""The password that everybody knows: it is for whoever sits at this machine, in development."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jetio import ConfigError, Jetio, Problem

from .model import PASSWORD, Account
from .sessions import Device
from .throttle import is_local

if TYPE_CHECKING:
    from .router import AuthRouter

__all__ = ["SAMPLE", "SampleGuard"]

_log = logging.getLogger("jetio.auth")
SAMPLE = "changeme"


class SampleGuard:
    """Watches all admins, and at the start those with `emails`: whoever was given the sample once may have it yet."""

    def __init__(self, app: Jetio, auth: AuthRouter, emails: Sequence[str]) -> None:
        self._app, self._auth, self._emails = app, auth, emails

    async def judge(self) -> None:
        """Production does not start with the sample password, wherever the row comes from. Raises ConfigError."""
        for email in self._emails:
            account = await self._auth.accounts.find(email, "email")
            if account is None or not await self._has_sample(account):
                continue
            route = f"POST {self._auth.prefix}/change-password"
            told = f"the admin {email} has the sample password {SAMPLE!r}; change it with {route}"
            if self._app.settings.production:
                raise ConfigError(f"setup_auth: {told} while JETIO_ENV is development")
            _log.warning("%s; until then it works from this machine only", told)

    async def admit(self, account: Account, device: Device) -> None:
        """The condition of every login: raises 403 `password_change_required`."""
        allowed = not self._app.settings.production and not _is_away(device)
        if not allowed and await self._has_sample(account):
            detail = "The sample password works in development, on the server's own machine; change it there"
            raise Problem(403, "password_change_required", detail)

    async def _has_sample(self, account: Account) -> bool:
        if not account[self._auth.accounts.facts.admin_flag]:
            return False
        right, _ = await self._auth.accounts.passwords.verify_and_upgrade(SAMPLE, account[PASSWORD])
        return right


def _is_away(device: Device) -> bool:
    """Whether a login may come from elsewhere; a call of the program itself has no address and no relay."""
    return device.relayed or (device.address is not None and not is_local(device.address))
