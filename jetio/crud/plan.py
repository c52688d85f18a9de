"""What is to be done, as values: no SQL, no HTTP, no database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..errors import FieldError, ValidationError, forbidden, unauthenticated
from ..policy import ALLOW, AllowWhere, Decision
from ..principal import Principal
from ..resource import Field, Resource

__all__ = ["WriteRule", "merge_patch", "plan_create", "plan_owner", "plan_replace"]


@dataclass(frozen=True, slots=True)
class WriteRule:
    """The rows that may be touched: readable ones (else 404) that are writable too (else 403)."""

    read: Decision
    write: Decision

    @property
    def check(self) -> Any:
        """What a row as written must satisfy; None: nothing."""
        return self.write.check if isinstance(self.write, AllowWhere) else None

    @property
    def ways(self) -> list[AllowWhere]:
        """The rules that may let a row be written, where more than one may and each has a check of its own."""
        found = self.write.ways() if isinstance(self.write, AllowWhere) else []
        return found if len(found) > 1 else []

    def check_after(self, passed: Iterable[bool]) -> Any:
        """What the row must satisfy once it is changed, having passed these of the `ways` before."""
        return self.write.check_after(iter(passed)) if isinstance(self.write, AllowWhere) else None


class DefaultContext:
    """What a column default that wants a context is given: the other values of the row."""

    __slots__ = ("current_parameters",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.current_parameters = values

    def get_current_parameters(self, isolate_multiinsert_params: bool = True) -> Mapping[str, Any]:
        return self.current_parameters


def plan_create(resource: Resource, given: Mapping[str, Any], *, owner: Mapping[str, Any]) -> dict[str, Any]:
    """A new row: what was given, the owner where there is one, and the defaults of the rest."""
    values = {**given, **owner}
    context = DefaultContext(values)
    for item in resource.defaulted:
        if item.name not in values and item.default is not None:
            values[item.name] = item.default(context)
    return values


def plan_owner(field: Field | None, principal: Principal | None) -> dict[str, Any]:
    """The caller's id in the owner column; raises 401 or 403 where the row must have an owner and cannot."""
    if field is None:
        return {}
    if principal is not None and principal.id is not None:
        return {field.name: principal.id}
    if field.nullable or field.default is not None or field.column.server_default is not None:
        return {}
    raise unauthenticated() if principal is None else forbidden("Only an account can own this")


def plan_replace(fields: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """All of these fields: what was left out returns to its default, or to null."""
    values = dict(given)
    context = DefaultContext(values)
    for name, item in fields.items():
        if name not in values:
            values[name] = _initial(item, context)
    return {name: value for name, value in values.items() if value is not KEEP}


UNRULED = WriteRule(ALLOW, ALLOW)
"""Every row may be touched."""

KEEP: Any = object()


def _initial(item: Field, context: DefaultContext) -> Any:
    if item.default is not None:
        return item.default(context)
    if item.nullable:
        return None
    return KEEP  # its default is the server's own: only an INSERT makes it


def stamp(resource: Resource, values: dict[str, Any]) -> None:
    """Add what changes with every update."""
    context = DefaultContext(values)
    for item in resource.stamped:
        if item.name not in values and item.on_update is not None:
            values[item.name] = item.on_update(context)


def given_values(body: BaseModel, names: Mapping[str, str]) -> dict[str, Any]:
    """What the client wrote, by field; `names` maps the schema's attributes."""
    given, held = body.model_fields_set, body.__dict__
    return dict(zip(map(names.__getitem__, given), map(held.__getitem__, given), strict=True))


def refuse_claims(claimed: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> None:
    """Values for fields that are the server's are fine when they are what is, or was, stored; else 422.

    `rows` are the row before and after the write, as far as they exist.
    """
    wrong = [name for name, value in claimed.items() if not any(row.get(name) == value for row in rows)]
    if wrong:
        errors = [
            FieldError("read_only_field", "This field is not yours to set", pointer=f"/{name}")
            for name in wrong
        ]
        raise ValidationError(errors, code="read_only_field")


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
