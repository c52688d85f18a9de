"""From the body of a write to the values that a client gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError
from pydantic_core import from_json

from ..body import RequestBody, entries_of, problem_of, refuse_ambiguous
from ..columns import PlainText, is_document
from ..dialects.values import dump, json_form
from ..errors import FieldError, Problem, ValidationError
from ..large import LARGE, parse_large
from ..resource import Field, Resource
from ..schemas import adapter_of, field_names
from .plan import given_values, merge_patch

__all__ = ["MERGE_PATCH", "Bodies", "Given"]

JSON = ("application/json",)
MERGE_PATCH = "application/merge-patch+json"


_NONE: Mapping[str, Any] = {}


@dataclass(slots=True)
class Given:
    """What a client sent: values by field, and what it said of fields that are the server's (`claimed`).

    `patches` are changes of documents, which nobody can judge before they are merged.
    """

    values: dict[str, Any]
    claimed: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    patches: Mapping[str, Any] = field(default_factory=lambda: _NONE)


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
        largest: int,
    ) -> None:
        self._validate = schema.__pydantic_validator__.validate_json
        self._names = field_names(fields)
        shown = [item for item in resource.readable(admin=admin) if item.name not in fields]
        self._claims = {item.name: (item, adapter_of(resource, item.name)) for item in shown}
        self._documents = {name: item for name, item in fields.items() if is_document(item.column.type)}
        self._media, self._largest = media, largest

    async def read(self, sent: RequestBody) -> Given:
        """Raises 400, 413, 415 or 422."""
        raw = await sent.read()
        media = sent.media(self._media)
        if len(raw) > LARGE:
            return await parse_large(partial(self._parse, raw, media))
        return self._parse(raw, media)

    def _parse(self, raw: bytes, media: str) -> Given:
        patches = _NONE
        if media == MERGE_PATCH and self._documents:
            raw, patches = self._without_documents(raw)
        try:
            body: Any = self._validate(raw)
        except PydanticError as error:
            return self._read_claims(error, raw, patches)
        refuse_ambiguous(raw, len(body.model_fields_set))
        return Given(given_values(body, self._names), _NONE, patches)

    def _without_documents(self, raw: bytes) -> tuple[bytes, dict[str, Any]]:
        """The body without the objects that are to be merged, and these (RFC 7396)."""
        try:
            document = from_json(raw)
        except ValueError:
            return raw, {}  # which says what is wrong when it is validated
        if not isinstance(document, dict):
            return raw, {}
        patches = {name: document[name] for name in self._documents if isinstance(document.get(name), dict)}
        if not patches:
            return raw, {}
        refuse_ambiguous(raw, -1)
        return dump({name: part for name, part in document.items() if name not in patches}), patches

    def merge(self, given: Given, before: Mapping[str, Any]) -> dict[str, Any]:
        """The documents of a merge patch as they become; raises 422 for what the fields do not take."""
        merged = {}
        for name, patch in given.patches.items():
            form = json_form(self._documents[name].column.type)
            merged[name] = merge_patch(before[name] if form is None else form(before[name]), patch)
        raw = dump(merged)
        if len(raw) > self._largest:
            message = f"The documents would be larger than {self._largest} bytes"
            raise ValidationError([FieldError("too_large", message, pointer=f"/{name}") for name in merged])
        try:
            body: Any = self._validate(raw)
        except PydanticError as error:
            raise problem_of(error, self._names.values()) from None
        return given_values(body, self._names)

    def _read_claims(self, error: PydanticError, raw: bytes, patches: Mapping[str, Any]) -> Given:
        """Fields of the server's may be sent with the value they have: clients send back what they read."""
        entries = entries_of(error)
        strange = [
            entry["loc"][0]
            for entry in entries
            if entry["type"] == "extra_forbidden" and len(entry["loc"]) == 1
        ]
        known = [str(name) for name in strange if name in self._claims]
        if not known:
            raise self._problem(error, entries)
        refuse_ambiguous(raw, -1)
        document = json.loads(raw)
        claimed = {name: _claim(*self._claims[name], document.pop(name)) for name in known}
        try:
            body: Any = self._validate(dump(document))
        except PydanticError as second:
            raise problem_of(second, self._names.values()) from None
        return Given(given_values(body, self._names), claimed, patches)

    def _problem(self, error: PydanticError, entries: Sequence[Any]) -> Problem:
        if any(entry["type"] == "model_type" for entry in entries):
            message = "One object is due here; several go to /bulk where the router has it"
            return ValidationError([FieldError("model_type", message, pointer="")])
        return problem_of(error, self._names.values())


def _claim(item: Field, adapter: TypeAdapter[Any], value: Any) -> Any:
    """The value as the column would hold it; what cannot be one equals nothing."""
    if value is None:
        return None
    try:
        parsed = adapter.validate_json(dump(value))
    except PydanticError:
        return _Nothing()
    return str(parsed) if isinstance(item.column.type, PlainText) else parsed


class _Nothing:
    """Equal to no stored value."""
