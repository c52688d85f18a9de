"""Rules about accounts: decisions over the Principal and the columns of a row."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from time import time
from typing import Any

from starlette.requests import HTTPConnection

from jetio import (
    Access,
    Allow,
    Authenticator,
    ConfigError,
    Decision,
    Deny,
    Policy,
    PolicyContext,
    Principal,
    Problem,
    SecurityScheme,
    UnitOfWork,
    as_if_absent,
)

__all__ = [
    "AccountPolicy",
    "AccountRequired",
    "AdminOnly",
    "Fresh",
    "Hidden",
    "InPerson",
    "LoginRequired",
    "Mfa",
    "OwnAccount",
    "RequiresPermission",
    "RequiresRole",
    "RequiresScope",
    "has_two_factors",
]

_ALLOW = Allow()
_ANONYMOUS = Deny()
_NO_ACCOUNT = Deny(detail="Only callers with an account here may do this")
_NO_ADMIN = Deny(detail="Only admins may do this")
_BORROWED = Deny("impersonated", "Only the owner may do this to the account, not somebody in his name")
_DELEGATED = Deny("delegated", "This needs a login; a token that was made for a program cannot do it")


class AccountPolicy(Policy):
    """A rule that finds the caller by its own authenticator; None: by the application's."""

    name: str

    def __init__(self, authenticator: Authenticator | None = None) -> None:
        self.authenticator = authenticator

    def __repr__(self) -> str:
        return self.name


class LoginRequired(AccountPolicy):
    """Everybody who is signed in. In `Depends` it gives the caller's row."""

    name = "authenticated"
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        return _ANONYMOUS if access.principal is None else _ALLOW


class AccountRequired(AccountPolicy):
    """Everybody who is signed in and has an account here; callers of remote issuers may have none."""

    name = "account_required"
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        if access.principal is None:
            return _ANONYMOUS
        return _NO_ACCOUNT if access.principal.id is None else _ALLOW


class InPerson(AccountPolicy):
    """Nobody in the name of another, and no program's token: what manages accounts is never without it."""

    name = "in_person"
    refused_schemes = frozenset({"ApiToken"})

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        if principal is not None and principal.impersonated_by is not None:
            return _BORROWED
        return _DELEGATED if principal is not None and _is_delegated(principal) else _ALLOW


_IN_PERSON = InPerson()


class OwnAccount(AccountRequired):
    """The owner of an account, logged in himself: what manages accounts.

    Neither an admin in his name, nor a token that he made for a program.
    """

    name = "own_account"
    refused_schemes = InPerson.refused_schemes

    async def __call__(self, access: Access) -> Decision:
        refusal = await _IN_PERSON(access)
        return refusal if isinstance(refusal, Deny) else await super().__call__(access)


class Fresh(AccountPolicy):
    """Whoever has proved who he is within these seconds, by a login and not by a refresh (RFC 9470)."""

    def __init__(self, seconds: int, authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        self._seconds = seconds
        self.name = f"fresh({seconds // 60} min)"
        told = "This needs a fresh login"
        header = f'Bearer error="insufficient_user_authentication", error_description="{told}", max_age="{seconds}"'
        problem = Problem(401, "fresh_login_required", told, headers={"WWW-Authenticate": header})
        self._refusal = Deny("fresh_login_required", told, problem=problem)

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        if principal is None:
            return _ANONYMOUS
        proved = principal.claims.get("auth_time")
        return _ALLOW if isinstance(proved, int) and time() - proved < self._seconds else self._refusal


class Mfa(AccountPolicy):
    """Whoever has logged in with two factors (RFC 9470; `amr` of RFC 8176)."""

    name = "mfa"

    def __init__(self, authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        told = "This needs a login with a second factor"
        header = (
            f'Bearer error="insufficient_user_authentication", error_description="{told}", acr_values="mfa"'
        )
        problem = Problem(401, "mfa_login_required", told, headers={"WWW-Authenticate": header})
        self._refusal = Deny("mfa_login_required", told, problem=problem)

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        if principal is None:
            return _ANONYMOUS
        return _ALLOW if has_two_factors(principal) else self._refusal


def has_two_factors(principal: Principal) -> bool:
    """Whether the login behind this caller proved two factors."""
    used = principal.claims.get("amr")
    return isinstance(used, list | tuple) and "mfa" in used


class AdminOnly(AccountPolicy):
    """Admins."""

    name = "admin_only"
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        return _ALLOW if access.principal is not None and access.principal.is_admin else _NO_ADMIN


class RequiresRole(AccountPolicy):
    """Whoever has one of the roles; admins have the role `admin`."""

    is_pure = True

    def __init__(self, roles: Sequence[str], authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        self._roles = frozenset(_named("requires_role", roles))
        self.name = f"requires_role({', '.join(roles)})"
        self._refusal = Deny("role_required", f"Requires one of roles: {list(roles)}")

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        return _ALLOW if principal is not None and self._roles & principal.roles else self._refusal


class RequiresPermission(AccountPolicy):
    """Whoever has all of the permissions."""

    is_pure = True

    def __init__(self, permissions: Sequence[str], authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        self._permissions = frozenset(_named("requires_permission", permissions))
        self.name = f"requires_permission({', '.join(permissions)})"
        self._refusal = Deny(detail=f"Requires the permissions: {list(permissions)}")

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        return (
            _ALLOW if principal is not None and self._permissions <= principal.permissions else self._refusal
        )


class RequiresScope(AccountPolicy):
    """Whoever has all of the scopes: a login has every one, an API token its own, where `posts:*` is a pattern."""

    is_pure = True

    def __init__(self, scopes: Sequence[str], authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        self._scopes = tuple(_named("requires_scope", scopes))
        self.name = f"requires_scope({', '.join(scopes)})"
        told = f"The token needs the scopes: {list(scopes)}"
        header = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
        problem = Problem(403, "insufficient_scope", told, headers={"WWW-Authenticate": header})
        self._refusal = Deny("insufficient_scope", told, problem=problem)

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        if principal is None:
            return _ANONYMOUS
        return _ALLOW if all(_has_scope(principal, scope) for scope in self._scopes) else self._refusal


def _has_scope(principal: Principal, scope: str) -> bool:
    """Whether a caller has a scope; what another issuer wrote is a word and no pattern."""
    if principal.method == "remote":
        return scope in principal.scopes
    return any(fnmatchcase(scope, pattern) for pattern in principal.scopes)


def _is_delegated(principal: Principal) -> bool:
    """Whether a program calls with a token of its own, which has less than a login has."""
    return principal.method == "api_token" or (principal.method == "jwt" and "scope" in principal.claims)


class Hidden(AccountPolicy):
    """A rule whose refusals are 404: whoever may not come in does not learn that there is anything.

    A credential that is not accepted is a 404, too. Where the path has other methods, a refusal is the 405 of a
    method that is not there.
    """

    hides = True

    def __init__(self, inner: Policy, authenticator: Authenticator) -> None:
        super().__init__(_Hiding(authenticator))
        self.inner, self.name = inner, f"hidden({inner!r})"
        self.needs_caller = True

    def bind(self, context: PolicyContext) -> Policy:
        assert isinstance(self.authenticator, _Hiding)  # noqa: S101 - made above
        return Hidden(self.inner.bind(context), self.authenticator.base)

    async def __call__(self, access: Access) -> Decision:
        try:
            decision = await self.inner(access)
        except Problem as problem:
            raise _unseen(problem, access.request) from None
        return Deny(problem=as_if_absent(access.request.scope)) if isinstance(decision, Deny) else decision


class _Hiding:
    """Finds the caller as `base` does, and refuses as if there were nothing."""

    def __init__(self, base: Authenticator) -> None:
        self.base = base
        if hasattr(base, "load_user"):
            self.load_user = base.load_user

    @property
    def user_model(self) -> type[Any] | None:
        return self.base.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        return self.base.schemes

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        try:
            return await self.base.identify(connection, work)
        except Problem as problem:
            raise _unseen(problem, connection) from None

    def principal_of(self, user: Any) -> Principal:
        return self.base.principal_of(user)


def _unseen(problem: Problem, connection: HTTPConnection) -> Problem:
    return as_if_absent(connection.scope) if problem.status in (401, 403) else problem


def _named(name: str, given: Sequence[object]) -> list[str]:
    """The names; none at all would let nobody through, or everybody."""
    names = [item for item in given if isinstance(item, str)]
    if not names or len(names) < len(given):
        raise ConfigError(f'{name} takes names; write {name}("editor", "reviewer")')
    return names
