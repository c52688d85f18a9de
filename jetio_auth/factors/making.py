"""Parts that need packages of an extra, imported when they are on and never else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column

from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..events import Events
from ..further_keys import FurtherKeys
from ..sessions import Sessions
from ..settings import Lockout
from ..tables import factor_tables, passkey_tables
from ..throttle import Throttle
from .passkey_settings import PasskeySettings
from .recovery import RecoveryCodes
from .sealing import Seal

if TYPE_CHECKING:
    from .passkeys import Passkeys
    from .second import SecondFactors

__all__ = ["make_factors", "make_passkeys"]


def make_factors(
    context: AuthContext,
    authenticator: JWTAuthenticator,
    key: Column[Any],
    throttle: Throttle,
    lockout: Lockout,
    events: Events,
    sessions: Sessions,
) -> SecondFactors:
    """Codes of authenticator apps, for accounts with this key; the extra `mfa`."""
    from .second import SecondFactors
    from .totp import Totp

    tables = factor_tables(key)
    totp = Totp(context, tables.totp, Seal(partial(authenticator.derived_keys, "totp")))
    recovery = RecoveryCodes(context, tables.recovery)
    return SecondFactors(context, authenticator, totp, recovery, throttle, lockout, events, sessions)


def make_passkeys(
    context: AuthContext,
    settings: PasskeySettings | None,
    key: Column[Any],
    throttle: Throttle,
    lockout: Lockout,
    events: Events,
    sessions: Sessions | None,
    further: FurtherKeys,
) -> Passkeys:
    """Passkeys, for accounts with this key; the extra `passkeys`."""
    from .passkeys import Passkeys

    return Passkeys(context, passkey_tables(key), settings, throttle, lockout, events, sessions, further)
