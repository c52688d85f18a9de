"""Callers whose accounts are in a database of their own: requests run in another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import HTTPConnection

from jetio import Principal, SecurityScheme, UnitOfWork

from ..context import AuthContext

__all__ = ["ApartAuthenticator"]


class ApartAuthenticator:
    """Asks `base` in the database of the accounts, whatever the request's own is."""

    def __init__(self, base: Any, context: AuthContext) -> None:
        self._base, self._context = base, context

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts."""
        model: type[Any] | None = self._base.user_model
        return model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """Those of `base`."""
        schemes: Sequence[SecurityScheme] = self._base.schemes
        return schemes

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None without a credential; raises 401 for one that is not accepted."""
        found: Principal | None
        if work.database is self._context.database:
            found = await self._base.identify(connection, work)
            return found
        async with self._context.database.transaction(writes=False) as own:
            found = await self._base.identify(connection, own)
        return found

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be."""
        principal: Principal = self._base.principal_of(user)
        return principal

    async def load_user(self, principal: Principal | None, work: UnitOfWork) -> Any:
        """The caller's row; where the request's database is another one, it belongs to no session."""
        if work.database is self._context.database:
            return await self._base.load_user(principal, work)
        async with self._context.database.transaction(writes=False) as own:
            return await self._base.load_user(principal, own)
