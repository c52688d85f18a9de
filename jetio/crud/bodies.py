"""From the body of a write to the values that a client gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError

from ..body import RequestBody, problem_of, refuse_ambiguous, require_json
from ..columns import PlainText
from ..dialects.values import dump
from ..errors import FieldError, Problem, ValidationError
from ..resource import Field, Resource
from ..schemas import field_names
from .plan import given_values

__all__ = ["MERGE_PATCH", "Bodies", "Given"]

JSON = ("application/json",)
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Given:
    """What a client sent: values by field, and what it said of fields that are the server's (`claimed`)."""

    values: dict[str, Any]
    claimed: Mapping[str, Any] = field(default_factory=dict)
    media: str = JSON[0]


class Bodies:
    """Reads the bodies of one action for one kind of caller."""

    def __init__(
        self,
        resource: Resource,
        schema: type[BaseModel],
        fields: Mapping[str, Field],
        *,
        admin: bool,
        media: Sequence[str],
    ) -> None:
        self._validate = schema.__pydantic_validator__.validate_json
        self._names = field_names(fields)
        self._readable = {item.name: item for item in resource.readable(admin=admin)}
        self._media = media

    async def read(self, sent: RequestBody) -> Given:
        """Raises 400, 413, 415 or 422."""
        raw = await sent.read()
        media = require_json(sent.scope, self._media)
        try:
            body: Any = self._validate(raw)
        except PydanticError as error:
            return self._read_claims(error, raw, media)
        refuse_ambiguous(raw, len(body.model_fields_set))
        return Given(given_values(body, self._names), media=media)

    def _read_claims(self, error: PydanticError, raw: bytes, media: str) -> Given:
        """Fields of the server's may be sent with the value they have: clients send back what they read."""
        entries = error.errors(include_url=False, include_input=False)
        strange = [
            entry["loc"][0]
            for entry in entries
            if entry["type"] == "extra_forbidden" and len(entry["loc"]) == 1
        ]
        known = [str(name) for name in strange if name in self._readable]
        if not known:
            raise self._problem(error, entries)
        refuse_ambiguous(raw, -1)
        document = json.loads(raw)
        claimed = {name: _claim(self._readable[name], document.pop(name)) for name in known}
        try:
            body: Any = self._validate(dump(document))
        except PydanticError as second:
            raise problem_of(second, self._names.values()) from None
        return Given(given_values(body, self._names), claimed, media)

    def _problem(self, error: PydanticError, entries: Sequence[Any]) -> Problem:
        if any(entry["type"] == "model_type" for entry in entries):
            message = "One object is due here; several go to /bulk where the router has it"
            return ValidationError([FieldError("model_type", message, pointer="")])
        return problem_of(error, self._names.values())


def _claim(item: Field, value: Any) -> Any:
    """The value as the column would hold it; what cannot be one equals nothing."""
    if value is None:
        return None
    try:
        parsed = TypeAdapter(item.annotation).validate_json(dump(value))
    except PydanticError:
        return _Nothing()
    return str(parsed) if isinstance(item.column.type, PlainText) else parsed


class _Nothing:
    """Equal to no stored value."""
