"""What a refused write is called: a constraint of the database as a problem that names fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..dialects import Violation
from ..errors import FieldError, Problem, ValidationError
from ..relations import ForeignKey
from ..resource import Field, Resource

__all__ = ["NO_VALUE", "invalid_reference", "refused_value", "still_referenced", "violation_problem"]

_log = logging.getLogger("jetio")


def violation_problem(resource: Resource, violation: Violation, *, deleting: bool) -> Problem:
    """409 for what clashes with other rows, 422 for what the row itself is not allowed to be."""
    kind = violation.kind
    if kind == "foreign_key":
        keys = [] if deleting else _referring(resource, violation)
        return invalid_reference(keys) if keys else still_referenced()
    fields = _fields(resource, violation)
    errors = [FieldError(_FIELD_CODES[kind], _MESSAGES[kind], pointer=f"/{name}") for name in fields]
    if kind == "unique":
        detail = f"Another row has the same {' and '.join(fields) or 'values'} already"
        return Problem(409, "conflict", detail, errors=errors)
    return ValidationError(errors, None if errors else "The database refuses the row")


_FIELD_CODES = {"unique": "conflict", "not_null": "missing", "check": "check", "value": "value"}
_MESSAGES = {
    "unique": "Another row has this value already",
    "not_null": "This is required",
    "check": "The value breaks a rule of the table",
    "value": "The database cannot hold this value",
}


NO_VALUE = (ValueError, AssertionError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What code that is handed a value raises when it cannot do with it; of `None`, say, or of a missing key."""


def refused_value(item: Field, error: Exception) -> FieldError:
    """What the model's own code refuses. Its message is for clients where it was raised to say so."""
    meant = isinstance(error, ValueError | AssertionError)
    if not meant:
        _log.warning("%s was refused by an error of the code that checks it", item.name, exc_info=error)
    message = (str(error) if meant else "") or "This value is not accepted"
    seen = item.readable or item.creatable or item.updatable
    return FieldError("value_error", message, pointer=f"/{item.name}" if seen else "")


def still_referenced() -> Problem:
    """409: the row, or a value of it, is what others refer to."""
    return Problem(409, "still_referenced", "Other rows still refer to this one")


def invalid_reference(keys: Sequence[ForeignKey]) -> Problem:
    """422: a foreign key to nothing, or to a row that the caller may not read; the two are not told apart."""
    names = sorted({name for key in keys for name in key.fields})
    errors = [FieldError("invalid_reference", "There is no such row", pointer=f"/{name}") for name in names]
    return ValidationError(errors, "A reference leads nowhere", code="invalid_reference")


def _referring(resource: Resource, violation: Violation) -> list[ForeignKey]:
    named = [key for key in resource.foreign_keys if key.name and key.name == violation.constraint]
    columns = tuple(resource.by_column.get(name) for name in violation.columns)
    return named or [key for key in resource.foreign_keys if key.fields == columns]


def _fields(resource: Resource, violation: Violation) -> tuple[str, ...]:
    """The fields of the constraint, by its name or by the columns that the database told."""
    name = violation.constraint or ""
    known = resource.uniques.get(name) or resource.checks.get(name)
    if known is not None:
        return known
    return tuple(resource.by_column[column] for column in violation.columns if column in resource.by_column)
