"""Puts the parts of logins by other services together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..events import Events
from ..further_keys import FurtherKeys
from ..logins import Logins
from ..settings import Lockout
from ..tables import OAuthTables
from ..throttle import Throttle
from .flow import Flows
from .identities import Identities
from .logins import OAuthLogins
from .providers import OAuthProvider
from .settings import OAuth, domain_of

__all__ = ["make_oauth_logins"]


def make_oauth_logins(
    context: AuthContext,
    given: OAuth | Sequence[OAuthProvider],
    tables: OAuthTables,
    authenticator: JWTAuthenticator,
    logins: Logins,
    events: Events,
    throttle: Throttle,
    lockout: Lockout,
    prefix: str,
    further: FurtherKeys,
) -> OAuthLogins:
    """`given` is what AuthRouter got: a list of providers, or more than that."""
    config = given if isinstance(given, OAuth) else OAuth(providers=given)
    domain = cache(lambda: domain_of(config, context.settings))  # the environment is read once, at build
    flows = Flows(
        lambda: authenticator.codec,
        partial(authenticator.derived_key, "oauth"),
        lambda: domain().startswith("https:"),
    )
    identities = Identities(context, tables)
    return OAuthLogins(
        context,
        config,
        domain,
        authenticator,
        flows,
        identities,
        logins,
        events,
        throttle,
        lockout,
        prefix,
        further,
    )
