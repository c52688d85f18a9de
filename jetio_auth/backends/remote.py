"""Access tokens that somebody else issued: read with the issuer's public keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from jetio import ConfigError, Principal, SecurityScheme, UnitOfWork

from ..claims import Claims
from ..context import AuthContext
from ..digests import digest
from ..fetching import is_safe_url
from ..jwks import KeySet
from ..jwt import (
    READABLE_ALGORITHMS,
    TokenError,
    Unverified,
    judge_dates,
    names_audience,
    open_token,
    read_unverified,
)
from ..transports import BearerTransport, refused
from .jwt import JWTAuthenticator, words

__all__ = ["RemoteAuthenticator", "RemoteIssuer"]

_ADMIN = frozenset({"admin"})
_REMEMBERED = 1000
_LEEWAY = 30  # two organisations, two clocks

MapUser = Callable[[Mapping[str, Any], AsyncSession], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class RemoteIssuer:
    """Somebody else whose access tokens are accepted, such as an OpenID provider; for `AuthRouter(issuers=[...])`.

    `audience` is what this API is called in the tokens. `jwks_url` None: the discovery document says where
    the keys are. `roles_claim` may lead into objects: "realm_access.roles". `await map_user(claims, session)`
    gives the account's row, made if need be, or None; it may run twice. `jwks_ttl` is in seconds.
    """

    issuer: str
    audience: str
    jwks_url: str | None = None
    algorithms: Sequence[str] = ("RS256", "ES256")
    roles_claim: str = "roles"
    jwks_ttl: int = 300
    map_user: MapUser | None = None

    def __post_init__(self) -> None:
        mistakes = []
        for name, sample in (("issuer", "https://id.example.com"), ("audience", "my-api")):
            given = getattr(self, name)
            if not isinstance(given, str) or not given:
                mistakes.append(f"RemoteIssuer({name}={given!r}) is missing; write {name}={sample!r}")
        for name in ("issuer", "jwks_url"):
            given = getattr(self, name)
            if given and not is_safe_url(given):
                mistakes.append(
                    f"RemoteIssuer({name}={given!r}) is no https address; "
                    "write https://..., or http:// for this machine alone"
                )
        mistakes += self._other_mistakes()
        if mistakes:
            raise ConfigError.of(mistakes)

    def _other_mistakes(self) -> list[str]:
        mistakes = []
        if (
            isinstance(self.algorithms, str)
            or not self.algorithms
            or set(self.algorithms) - READABLE_ALGORITHMS
        ):
            known = ", ".join(sorted(READABLE_ALGORITHMS))
            mistakes.append(f"RemoteIssuer(algorithms={self.algorithms!r}): write a list of some of {known}")
        if not 1 <= self.jwks_ttl <= 86400:
            mistakes.append(
                f"RemoteIssuer(jwks_ttl={self.jwks_ttl}) must be from 1 second to a day; write 300"
            )
        if not self.roles_claim:
            mistakes.append('RemoteIssuer(roles_claim="") names no claim; write "roles"')
        return mistakes


@dataclass(frozen=True, slots=True, repr=False)
class _Signed:
    """Claims that this very key of the issuer has signed; keys that are fetched anew have signed nothing yet."""

    issuer: RemoteIssuer
    kid: str | None
    algorithm: str
    key: Any
    claims: Mapping[str, Any]


class RemoteAuthenticator:
    """Finds the caller by the issuer that a token names: each reads its own tokens, and nobody else's.

    `local` reads the tokens of this application, and is None where it has no accounts.
    """

    def __init__(
        self,
        context: AuthContext,
        issuers: Sequence[RemoteIssuer],
        role_permissions: Mapping[str, Sequence[str]],
        local: JWTAuthenticator | None,
    ) -> None:
        _check(issuers, local)
        self._context, self._local = context, local
        self._role_permissions = role_permissions
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys: dict[str, KeySet] = {}
        self._signed: dict[str, _Signed] = {}
        own = local.bearer if local is not None else None
        self._local_reads_headers = own is not None
        self._bearer = own or BearerTransport()
        if local is not None:
            self.load_user = self._load_user  # without accounts `Depends` gives the principal

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts."""
        return None if self._local is None else self._local.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """Those of the accounts, and the bearer token."""
        own = list(self._local.schemes) if self._local is not None else []
        if self._bearer.is_standard:
            bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            own.append(SecurityScheme("BearerToken", bearer))
        return own

    def build(self) -> None:
        """Ready to ask for keys; raises ConfigError without an HTTP client."""
        for name, issuer in self._issuers.items():
            self._keys[name] = KeySet(name, issuer.jwks_url, tuple(issuer.algorithms), issuer.jwks_ttl)

    async def start(self) -> None:
        """Fetch all keys; an issuer that is away is logged."""
        await asyncio.gather(*(keys.warm_up() for keys in self._keys.values()))

    async def stop(self) -> None:
        """End what is under way."""
        for keys in self._keys.values():
            await keys.close()

    # ---- from a token to the caller ------------------------------------------------------------------------

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None without a token; raises 401 for one that is not accepted, 503 for one without keys."""
        token = self._bearer.read(connection)
        if token is None:
            return None if self._local is None else await self._local.identify(connection, work)
        signed = self._signed.get(digest(token))
        if signed is not None and await self._stands(signed):
            return await self._caller(signed.issuer, signed.claims)
        try:
            given = read_unverified(token)
        except TokenError:
            raise refused() from None
        name = given.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is not None:
            return await self._caller(issuer, await self._claims(issuer, given))
        if self._local is None or not self._local_reads_headers:
            raise refused()
        return await self._local.identify(connection, work)

    async def _stands(self, signed: _Signed) -> bool:
        """Whether it is in time and the key is still the issuer's; what does not stand is judged from the start."""
        try:
            judge_dates(signed.claims, _LEEWAY, issued=False)
            return await self._keys[signed.issuer.issuer].find(signed.kid, signed.algorithm) is signed.key
        except TokenError:
            return False

    async def _claims(self, issuer: RemoteIssuer, given: Unverified) -> Mapping[str, Any]:
        try:
            return await self._verified(issuer, given)
        except TokenError as error:
            if error.expired:
                raise refused("The access token has expired", code="token_expired") from None
            raise refused() from None

    async def _verified(self, issuer: RemoteIssuer, given: Unverified) -> Mapping[str, Any]:
        algorithm: Any = given.header.get("alg")
        kid = given.header.get("kid")
        if algorithm not in issuer.algorithms or not isinstance(kid, str | None):
            raise TokenError("the algorithm or the name of the key is none of the issuer's")
        if not self._keys:  # no application has registered the routes
            self.build()
        key = await self._keys[issuer.issuer].find(kid, algorithm)
        claims = open_token(given, key, algorithm)
        if claims.get("iss") != issuer.issuer or not names_audience(claims.get("aud"), issuer.audience):
            raise TokenError("`iss` or `aud` is another one")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise TokenError("`sub` is missing or not a text")
        judge_dates(claims, _LEEWAY, issued=False)
        if len(self._signed) >= _REMEMBERED:
            del self._signed[next(iter(self._signed))]
        self._signed[digest(given.token)] = _Signed(issuer, kid, algorithm, key, claims)
        return claims

    # ---- the principal -------------------------------------------------------------------------------------

    async def _caller(self, issuer: RemoteIssuer, claims: Mapping[str, Any]) -> Principal:
        claims = Claims(claims)
        if issuer.map_user is None:
            return self._principal(issuer, claims, None)
        try:
            account = await self._mapped(issuer.map_user, claims)
        except IntegrityError:  # another request of the same caller has made the row
            account = await self._mapped(issuer.map_user, claims)
        return self._principal(issuer, claims, account)

    async def _mapped(self, map_user: MapUser, claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The account that the application has for these claims, or has made; raises 401 for a disabled one."""
        facts = self._context.facts
        async with self._context.database.sessions() as session:
            user = await map_user(claims, session)
            if user is None:
                return None
            await session.flush()
            account = facts.account_of(user)
            await session.commit()
        if not facts.is_active(account):
            raise refused("The access token is no longer valid", code="token_revoked")
        return account

    def _principal(
        self, issuer: RemoteIssuer, claims: Mapping[str, Any], account: Mapping[str, Any] | None
    ) -> Principal:
        facts = self._context.facts if account is not None else None
        admin = facts is not None and account is not None and bool(account[facts.admin_flag])
        roles = words(_claim(claims, issuer.roles_claim)) | (_ADMIN if admin else frozenset())
        granted = [name for role in roles for name in self._role_permissions.get(role, ())]
        return Principal(
            id=account[facts.key] if facts is not None and account is not None else None,
            sub=claims["sub"],
            username=_text(claims.get("preferred_username")),
            # An address that nobody has proven is anybody's.
            email=None if claims.get("email_verified") is False else _text(claims.get("email")),
            is_admin=admin,
            roles=roles,
            permissions=words(claims.get("permissions")).union(granted),
            scopes=words(claims.get("scope")) | words(claims.get("scp")),
            claims=claims,
            method="remote",
        )

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be; raises ConfigError where there are no accounts."""
        if self._local is None:
            raise ConfigError("this AuthRouter has no accounts; let tests make a Principal themselves")
        return self._local.principal_of(user)

    async def _load_user(self, principal: Principal | None, work: UnitOfWork) -> Any:
        """The caller's row as an object of the request's session; None for nobody, and for callers without one."""
        if self._local is None or principal is None or principal.id is None:
            return None
        return await self._local.load_user(principal, work)


def _check(issuers: Sequence[RemoteIssuer], local: JWTAuthenticator | None) -> None:
    """Raises ConfigError where an `iss` would not tell who has issued a token."""
    names = [issuer.issuer for issuer in issuers]
    if local is not None and local.config.issuer is not None:
        names.append(local.config.issuer)
    mistakes = [
        f"two issuers are called {name!r}; give each once" for name in set(names) if names.count(name) > 1
    ]
    if local is None:
        mistakes += [
            f"RemoteIssuer({issuer.issuer!r}, map_user=...) gives accounts, and there is no user model; "
            "write AuthRouter(User, issuers=[...])"
            for issuer in issuers
            if issuer.map_user is not None
        ]
    if mistakes:
        raise ConfigError.of([f"AuthRouter(issuers=...): {mistake}" for mistake in mistakes])


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, which may have dots in it, or by the way to it through objects."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return None if isinstance(found, Mapping) else found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
