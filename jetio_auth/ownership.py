"""Rules about whose row it is: the owner's, or the account's own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from sqlalchemy import ColumnElement

from jetio import (
    Access,
    Allow,
    AllowWhere,
    Authenticator,
    ConfigError,
    Decision,
    Deny,
    Policy,
    PolicyContext,
    resource_of,
)

from .policies import AccountPolicy

__all__ = ["Owner", "OwnerOrAdmin", "SelfOrAdmin"]

_REMEMBERED = 1000
_ALLOW = Allow()
_ANONYMOUS = Deny()


class _Owned(AccountPolicy):
    """The rows of one model whose column holds the caller's id; admins all."""

    admins = True
    is_pure = True

    def __init__(self, model: type[Any], authenticator: Authenticator | None = None) -> None:
        super().__init__(authenticator)
        self.model = model
        self._column: ColumnElement[Any] | None = None
        self._decisions: dict[Any, Decision] = {}

    def bind(self, context: PolicyContext) -> Policy:
        if context.model is not self.model:
            place = "a handler" if context.model is None else f"the rows of {context.model.__name__}"
            raise ConfigError(
                f"{self.name} of {self.model.__name__} cannot guard {place}; "
                f"use it on CrudRouter({self.model.__name__})"
            )
        bound = self._copy()
        bound._column = self._owner(context)
        return bound

    def _copy(self) -> _Owned:
        return type(self)(self.model, self.authenticator)

    @abstractmethod
    def _owner(self, context: PolicyContext) -> ColumnElement[Any]:
        """The column, found at build."""

    async def __call__(self, access: Access) -> Decision:
        principal = access.principal
        if principal is None:
            return _ANONYMOUS
        if self.admins and principal.is_admin:
            return _ALLOW
        if principal.id is None:
            return Deny(detail="Only an account can own rows")  # NULL would own all that have no owner
        return self._decisions.get(principal.id) or self._decided(principal.id)

    def _decided(self, key: Any) -> Decision:
        """Kept for the next request: making a clause and telling its shape is not cheap."""
        assert self._column is not None  # noqa: S101 - bound at build, or the build failed
        if len(self._decisions) >= _REMEMBERED:
            del self._decisions[next(iter(self._decisions))]
        self._decisions[key] = decision = AllowWhere(self._column == key, lasting=True)
        return decision


class OwnerOrAdmin(_Owned):
    """The rows that the caller owns; admins all. For a creation: everybody who is signed in."""

    name = "owner_or_admin"
    is_pure = True

    def __init__(
        self,
        model: type[Any],
        authenticator: Authenticator | None = None,
        candidates: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(model, authenticator)
        self.candidates = candidates
        self._stamped = False

    def bind(self, context: PolicyContext) -> Policy:
        bound = super().bind(context)
        assert isinstance(bound, OwnerOrAdmin)  # noqa: S101 - a copy of this
        bound._stamped = self.candidates is None or bound._column is _router_owner(context, self.model)
        return bound

    def _copy(self) -> OwnerOrAdmin:
        return type(self)(self.model, self.authenticator, self.candidates)

    def _owner(self, context: PolicyContext) -> ColumnElement[Any]:
        return context.owner_column(self.model, self.candidates)

    async def __call__(self, access: Access) -> Decision:
        if access.action == "create" and self._stamped and access.principal is not None:
            return _ALLOW  # the router writes the caller into the column: there is nothing to check
        return await super().__call__(access)


class Owner(OwnerOrAdmin):
    """The rows that the caller owns, for admins too. For a creation: everybody who is signed in."""

    name = "owner"
    admins = False


class SelfOrAdmin(_Owned):
    """The caller's own account; admins all."""

    name = "self_or_admin"

    def _owner(self, context: PolicyContext) -> ColumnElement[Any]:
        return resource_of(self.model).key[0].column


def _router_owner(context: PolicyContext, model: type[Any]) -> ColumnElement[Any] | None:
    """The column that the router fills from the caller."""
    try:
        return context.owner_column(model)
    except ConfigError:
        return None
