"""How logins by other services are configured: the providers, the way back, and where a browser may go then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jetio import ConfigError, Settings

from ..domain import local_address, own_address
from .providers import OAuthProfile, OAuthProvider

__all__ = ["OAuth", "domain_of"]

# No backslash, no second slash, no dot segment: browsers would read another host or another path in those.
_OWN_PATH = re.compile(r"(/[\w~!$&'()+,;=:@-][\w~!$&'()+,;=:@.-]*)*/?", re.ASCII).fullmatch
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """More than a list of providers, for `AuthRouter(oauth=OAuth(...))`.

    `paths`: where a browser may go after the login, the first of them if it does not say; `/app/*` is all below.
    `domain` is the address of this application, to which providers send people back; None: `DOMAIN` of the
    environment. A model with other columns that must be given needs `new_user(profile)`, which returns them.
    """

    providers: Sequence[OAuthProvider]
    paths: Sequence[str] = ("/",)
    domain: str | None = None
    new_user: Callable[[OAuthProfile], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        mistakes = [*self._mistakes()]
        if mistakes:
            raise ConfigError.of([f"AuthRouter(oauth=...): {mistake}" for mistake in mistakes])

    def _mistakes(self) -> Iterator[str]:
        names = [provider.name for provider in self.providers]
        if not names:
            yield "there is no provider; write oauth=[google(...)]"
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two providers are called {name!r}; give one another name"
        if isinstance(self.paths, str) or not self.paths:
            yield f'paths={self.paths!r} is no list; write paths=["/"]'
            return
        for path in self.paths:
            if not _OWN_PATH(path.removesuffix("*")) or (path.endswith("*") and not path.endswith("/*")):
                yield f'the path {path!r} is none of this application; write "/app", or "/app/*" for all below'
        if self.paths[0].endswith("*"):
            yield f"the first path is where browsers go, and {self.paths[0]!r} is many; write one before it"

    def allows(self, path: str) -> bool:
        """Whether a browser may be sent there."""
        if len(path) > _LONGEST_PATH or not _OWN_PATH(path):
            return False
        return any(
            path.startswith(known[:-1]) if known.endswith("/*") else path == known for known in self.paths
        )


def domain_of(oauth: OAuth, settings: Settings) -> str:
    """The address of this application; raises ConfigError."""
    return own_address(oauth.domain) or local_address(settings)
