"""One AuthBackend as an Authenticator: its user becomes a Principal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError as PydanticError
from starlette.requests import HTTPConnection

from jetio import ConfigError, Principal, SecurityScheme, UnitOfWork

from ..context import AuthContext
from ..csrf import CsrfGuard
from ..model import Account
from ..transports import refused
from .jwt import EVERY_SCOPE, JWTAuthenticator, revoked, words
from .protocol import claims_in, is_usable, login_in, recognises

__all__ = ["BackendAuthenticator"]

_ADMIN = frozenset({"admin"})


class BackendAuthenticator:
    """Finds the caller by a backend. With accounts the `id` of its user names one of them, which must be usable."""

    def __init__(
        self,
        backend: Any,
        context: AuthContext,
        accounts: JWTAuthenticator | None,
        role_permissions: Mapping[str, Sequence[str]],
        csrf: CsrfGuard,
    ) -> None:
        self._backend, self._context, self._accounts = backend, context, accounts
        self._role_permissions, self._csrf = role_permissions, csrf
        self._method: str = getattr(backend, "method", "custom")
        self._uses_cookies = bool(getattr(backend, "uses_cookies", False))

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts."""
        return None if self._accounts is None else self._accounts.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """As the backend documents itself."""
        return list(getattr(self._backend, "schemes", ()))

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None without this kind of credential; raises 401 for one that is not accepted."""
        user = await self._backend.get_current_user(connection)
        claims, login = claims_in(connection), login_in(connection)
        if user is None:
            if recognises(self._backend, connection):
                raise refused("The credential is not valid")
            return None
        if not is_usable(user):
            raise revoked()
        principal = await self._caller(user, claims, login, work)
        if self._uses_cookies:
            self._csrf.guard(connection, principal.sub)
        return principal

    def principal_of(self, user: Any) -> Principal:
        """The principal that this user would be."""
        if self._accounts is not None and isinstance(user, self._accounts.user_model):
            return self._accounts.principal_of(user)
        return self._as_told(user, {})

    async def _caller(
        self, user: Any, claims: Mapping[str, Any], login: Mapping[str, Any] | None, work: UnitOfWork
    ) -> Principal:
        told = self._as_told(user, claims)
        if self._accounts is None or told.id is None:
            return told
        account = await self._account(told.id, login, work)
        own = self._accounts.caller(account, told.claims, method=told.method, scopes=told.scopes)
        roles = told.roles - _ADMIN  # who is an admin here, the row says alone
        return replace(
            own,
            roles=own.roles | roles,
            permissions=own.permissions | self._permissions(user, roles),
            impersonated_by=told.impersonated_by,
        )

    async def _account(self, key: Any, login: Mapping[str, Any] | None, work: UnitOfWork) -> Account:
        """The account, which must be usable and in the login that the credential stands for; raises 401."""
        facts, accounts = self._context.facts, self._accounts
        assert accounts is not None  # noqa: S101 - asked by _caller
        try:
            known = facts.key_adapter.validate_strings(str(key))
        except PydanticError:
            raise revoked() from None
        account = await accounts.find(known, None if login is None else login.get("sid"), work)
        if account is None or not facts.is_active(account):
            raise revoked()
        if login is not None and not accounts.same_epoch(account, login.get("epoch")):
            raise revoked()
        return account

    def _as_told(self, user: Any, claims: Mapping[str, Any]) -> Principal:
        return self._granted(user) if isinstance(user, Principal) else self._stranger(user, claims)

    def _stranger(self, user: Any, claims: Mapping[str, Any]) -> Principal:
        """The principal of what a backend gave, as it says itself."""
        try:
            identity = user.id
        except AttributeError:
            raise ConfigError(
                f"{type(self._backend).__name__} gives {type(user).__name__}, which has no id; "
                "give objects with id, email, roles and permissions, or a Principal"
            ) from None
        roles = words(getattr(user, "roles", None))
        if getattr(user, "is_admin", False) is True:
            roles |= _ADMIN
        scopes = getattr(user, "scopes", None)
        return Principal(
            id=identity,
            sub=_subject(user, identity),
            username=getattr(user, "username", None),
            email=getattr(user, "email", None),
            is_admin="admin" in roles,
            roles=roles,
            permissions=self._permissions(user, roles),
            scopes=EVERY_SCOPE if scopes is None else words(scopes),
            claims=claims,
            method=self._method,
        )

    def _granted(self, principal: Principal) -> Principal:
        """A Principal that a backend made itself, with what the application gives to its roles."""
        roles = principal.roles | _ADMIN if principal.is_admin else principal.roles
        permissions = principal.permissions | self._permissions(None, roles)
        return replace(principal, is_admin="admin" in roles, roles=roles, permissions=permissions)

    def _permissions(self, user: Any, roles: frozenset[str]) -> frozenset[str]:
        granted = [name for role in roles for name in self._role_permissions.get(role, ())]
        return words(getattr(user, "permissions", None)).union(granted)


def _subject(user: Any, identity: Any) -> str:
    """Who has no id is told apart from others by name."""
    names = (identity, getattr(user, "email", None), getattr(user, "username", None))
    return str(next((name for name in names if name is not None), ""))
