"""The services that people log in by: what is known of each before it is asked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jetio import ConfigError

from ..fetching import is_safe_url
from ..jwt import READABLE_ALGORITHMS

__all__ = ["Fetch", "OAuthProfile", "OAuthProvider", "github", "google", "microsoft"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}").fullmatch
_MANY_TENANTS = frozenset({"common", "organizations", "consumers"})

Fetch = Callable[[str], Awaitable[Any]]
"""What gives the JSON at an address, asked for with the access token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthProfile:
    """Who has logged in at a provider. `subject` never changes there; an address is proven only if it says so."""

    subject: str
    email: str | None = None
    email_verified: bool = False
    username: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


ReadProfile = Callable[[Fetch], Awaitable[OAuthProfile]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthProvider:
    """A service to log in by, for `AuthRouter(oauth=[...])`; `name` stands in the addresses.

    With an `issuer` it is an OpenID provider, which says by itself where everything is and signs who logged in.
    Without, give both addresses and `read_profile`, which asks the service. `trusts_email` believes addresses that
    the provider does not call verified: for one that gives them out itself. `client_secret` None: a public client.
    """

    name: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    issuer: str | None = None
    scopes: Sequence[str] = ("openid", "email", "profile")
    algorithms: Sequence[str] = ("RS256",)
    authorize_url: str | None = None
    token_url: str | None = None
    read_profile: ReadProfile | None = None
    client_auth: Literal["basic", "post"] = "basic"
    trusts_email: bool = False

    def __post_init__(self) -> None:
        mistakes = [*self._mistakes()]
        if mistakes:
            raise ConfigError.of([f"OAuthProvider({self.name!r}): {mistake}" for mistake in mistakes])

    def _mistakes(self) -> list[str]:
        found = []
        if not _NAME(self.name):
            found.append('the name stands in addresses; write small letters, digits, - and _: "google"')
        if not self.client_id:
            found.append("client_id is missing; write what the provider calls this application")
        if self.client_auth not in ("basic", "post"):
            found.append(f'client_auth={self.client_auth!r} is not known; write "basic" or "post"')
        if isinstance(self.scopes, str):
            found.append(f"scopes={self.scopes!r} is no list; write {self.scopes.split()!r}")
        given = {"authorize_url": self.authorize_url, "token_url": self.token_url}
        if self.issuer is None:
            missing = [name for name in given if given[name] is None]
            missing += ["read_profile"] if self.read_profile is None else []
            if missing:
                found.append(f"give an issuer, or {', '.join(missing)}")
        else:
            found += self._mistakes_of_issuers()
        addresses = {"issuer": self.issuer, **given}
        found += [
            f"{name}={url!r} is no https address; write https://..., or http:// for this machine alone"
            for name, url in addresses.items()
            if url is not None and not is_safe_url(url)
        ]
        return found

    def _mistakes_of_issuers(self) -> list[str]:
        found = []
        if (self.authorize_url, self.token_url, self.read_profile) != (None, None, None):
            found.append("an issuer says itself where everything is; leave the other addresses out")
        if "openid" not in self.scopes:
            found.append('an issuer is asked for the scope "openid"; add it, or leave scopes out')
        unknown = set(self.algorithms) - READABLE_ALGORITHMS
        if isinstance(self.algorithms, str) or not self.algorithms or unknown:
            known = ", ".join(sorted(READABLE_ALGORITHMS))
            found.append(f"algorithms={self.algorithms!r}: write a list of some of {known}")
        return found


def google(client_id: str, client_secret: str) -> OAuthProvider:
    """Google accounts."""
    return OAuthProvider(
        name="google",
        client_id=client_id,
        client_secret=client_secret,
        issuer="https://accounts.google.com",
    )


def microsoft(
    client_id: str, client_secret: str, *, tenant: str, trusts_email: bool = False
) -> OAuthProvider:
    """The accounts of one Microsoft Entra tenant, by its id.

    Microsoft does not say whether an address is verified, and administrators of a tenant write what they like:
    `trusts_email=True` believes those of yours.
    """
    if tenant in _MANY_TENANTS:
        raise ConfigError(
            f"microsoft(tenant={tenant!r}) is many issuers in one; write the id of your tenant, "
            "such as 72f988bf-86f1-41af-91ab-2d7cd011db47"
        )
    return OAuthProvider(
        name="microsoft",
        client_id=client_id,
        client_secret=client_secret,
        issuer=f"https://login.microsoftonline.com/{tenant}/v2.0",
        trusts_email=trusts_email,
    )


def github(
    client_id: str, client_secret: str, *, url: str = "https://github.com", api_url: str | None = None
) -> OAuthProvider:
    """GitHub accounts, or those of a GitHub Enterprise Server at `url`."""
    own = url.rstrip("/")
    api = api_url or ("https://api.github.com" if own == "https://github.com" else f"{own}/api/v3")

    async def read_profile(fetch: Fetch) -> OAuthProfile:
        user = await fetch(f"{api}/user")
        emails = await fetch(f"{api}/user/emails")
        nothing: Any = {"email": None, "verified": False}
        primary = next((entry for entry in emails if entry["primary"]), nothing)
        return OAuthProfile(
            subject=str(int(user["id"])),
            email=primary["email"],
            email_verified=primary["verified"] is True,
            username=user["login"],
            claims=user,
        )

    return OAuthProvider(
        name="github",
        client_id=client_id,
        client_secret=client_secret,
        authorize_url=f"{own}/login/oauth/authorize",
        token_url=f"{own}/login/oauth/access_token",
        scopes=("read:user", "user:email"),
        read_profile=read_profile,
        client_auth="post",
    )
