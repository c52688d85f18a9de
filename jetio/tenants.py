"""Tenants: rows that belong to one customer, whom a claim of the caller's token names."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import MappedColumn, mapped_column

from .decisions import AllowWhere, Decision, Deny
from .errors import ConfigError
from .policy import Access, Policy, PolicyContext
from .principal import Authenticator, Principal
from .resource import Field, resource_of
from .security import CALLER

__all__ = ["TenantMixin", "same_tenant", "tenant_column"]

_REMEMBERED = 1000
_ANONYMOUS = Deny()
_NOBODYS = Deny(detail="The login belongs to no tenant")


class _Stamp:
    """Fills the column from the caller; nobody's row has no tenant, which the database refuses."""

    adapter: TypeAdapter[Any] | None = None

    def __init__(self, claim: str) -> None:
        self.claim = claim

    def __call__(self, context: Any) -> Any:
        return self.of(CALLER.get())

    def of(self, principal: Principal | None) -> Any:
        """The tenant of a caller in the column's type; None where the token names none that the column could hold."""
        told = principal.claims.get(self.claim) if principal is not None else None
        if told is None or isinstance(told, bool) or self.adapter is None:  # no router has read the model
            return None
        try:
            return self.adapter.validate_python(told)
        except ValidationError:
            return None


def tenant_column(claim: str, *types: Any, **options: Any) -> MappedColumn[Any]:
    """The column that says whose a row is: filled from this claim of the caller's token, written by no client.

    Further arguments are those of `mapped_column`. It belongs in a model with TenantMixin.
    """
    stamp = _Stamp(claim)
    info = {**options.pop("info", {}), "tenant": stamp}
    info["jetio"] = {**info.get("jetio", {}), "read_only": True}
    return mapped_column(*types, default=stamp, info=info, **{"index": True, "nullable": False, **options})


class SameTenant(Policy):
    """The rows of the caller's tenant, for admins too."""

    needs_caller = True
    is_pure = True

    def __init__(self, model: type[Any] | None = None, authenticator: Authenticator | None = None) -> None:
        self.model, self.authenticator = model, authenticator
        self._column: Any = None
        self._stamp = _Stamp("")
        self._decisions: dict[Any, Decision] = {}

    def __repr__(self) -> str:
        return "same_tenant"

    def bind(self, context: PolicyContext) -> Policy:
        if context.model is None or (self.model is not None and not issubclass(context.model, self.model)):
            raise ConfigError("same_tenant chooses rows of its own model; use it on a CrudRouter of that")
        bound = SameTenant(self.model, self.authenticator)
        found = _tenant_field(context.model)
        bound._column, bound._stamp = found.column, found.column.info["tenant"]
        bound._stamp.adapter = TypeAdapter(found.annotation)
        return bound

    async def __call__(self, access: Access) -> Decision:
        if access.principal is None:
            return _ANONYMOUS
        tenant = self._stamp.of(access.principal)
        if tenant is None:
            return _NOBODYS
        return self._decisions.get(tenant) or self._decided(tenant)

    def _decided(self, tenant: Any) -> Decision:
        """Kept for the next request: making a clause and telling its shape is not cheap."""
        if len(self._decisions) >= _REMEMBERED:
            del self._decisions[next(iter(self._decisions))]
        self._decisions[tenant] = decision = AllowWhere(self._column == tenant, lasting=True)
        return decision


def _tenant_field(model: type[Any]) -> Field:
    found = [item for item in resource_of(model).fields.values() if "tenant" in item.column.info]
    if len(found) != 1:
        raise ConfigError(
            f"{model.__name__} needs one column that says whose a row is; "
            'write `company_id: Mapped[int] = tenant_column("company_id")`'
        )
    return found[0]


def same_tenant(model: type[Any] | None = None, authenticator: Authenticator | None = None) -> Policy:
    """The rows of the caller's tenant; what a model with TenantMixin obeys on every way to its rows."""
    return SameTenant(model, authenticator)


class TenantMixin:
    """Rows of one tenant only, whatever else the routers say; the model has a `tenant_column`."""

    __mixin_floor__ = {"*": SameTenant()}  # noqa: RUF012 - a mapping that nobody changes
