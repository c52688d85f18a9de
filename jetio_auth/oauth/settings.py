"""How logins by other services are configured: the providers, the way back, and where a browser may go then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from jetio import ConfigError, Settings

from ..fetching import is_safe_url
from .providers import OAuthProfile, OAuthProvider

__all__ = ["OAuth", "domain_of", "oauth_weaknesses"]

# No backslash, no second slash, no dot segment: browsers would read another host or another path in those.
_OWN_PATH = re.compile(r"(/[\w~!$&'()+,;=:@-][\w~!$&'()+,;=:@.-]*)*/?", re.ASCII).fullmatch
_LONGEST_PATH = 200


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    domain: str | None = Field(None, validation_alias="DOMAIN")


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
    """The address of this application, never what a request calls it; raises ConfigError."""
    given = oauth.domain or _Environment().domain
    if given is None:
        return f"http://{settings.host}:{settings.port}"
    url = given if "://" in given else f"https://{given}"
    if not is_safe_url(url) or urlsplit(url).query:
        raise ConfigError(f"DOMAIN is {given!r}; write an address without query, such as https://example.com")
    return url.rstrip("/")


def oauth_weaknesses(oauth: OAuth, settings: Settings) -> Iterator[str]:
    """What stops a start in production, and is a warning elsewhere."""
    if oauth.domain is None and _Environment().domain is None and settings.production:
        yield "no DOMAIN; set the address to which providers send people back: DOMAIN=https://example.com"
