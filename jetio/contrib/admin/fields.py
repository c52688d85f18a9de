"""Columns as cells and inputs of a page, and back to the JSON that the endpoints take."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from sqlalchemy import Numeric, String, Time
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette_admin.fields import StringField
from starlette_admin.helpers import static_url

from ...resource import Field
from .rows import is_secret

__all__ = ["UNSORTED", "Cell", "Reference", "cell_of", "titled"]

_TITLES = ("title", "name", "username", "email", "label", "slug")
_WHOLE = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?(?:\.\d{1,3})?)\d*(?:Z|[+-]\d\d:?\d\d)?")
_TIME = re.compile(r"(\d\d:\d\d(?::\d\d)?(?:\.\d{1,3})?)\d*(?:Z|[+-]\d\d:?\d\d)?")
_LINE_END = re.compile(r"\r\n?")
_FORMATS = {"date-time": "moment", "date": "date", "email": "email"}
_INPUTS = {
    "integer": "number", "number": "number", "decimal": "number", "moment": "datetime-local", "date": "date",
    "time": "time", "email": "email", "secret": "password",
}  # fmt: skip
UNSORTED = frozenset({"json", "secret"})
"""The kinds that have no place in a list either."""


@dataclass
class Cell(StringField):
    """One column, of a kind: text, long, integer, number, decimal, boolean, choice, moment, date, time and others.

    A form holds text; whether that is a value the endpoint's schema says, so that there is one place for it.
    """

    kind: str = "text"
    nullable: bool = False
    fallback: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)
    multiple: ClassVar[bool] = False
    select2: ClassVar[bool] = False

    def input_params(self) -> str:
        """Attributes of the input; all values are ours or numbers."""
        step = {"integer": "1", "number": "any", "decimal": "any", "moment": "any", "time": "any"}.get(
            self.kind
        )
        more = f' step="{step}"' if step else ""
        if self.kind == "secret":
            more += ' autocomplete="new-password"'
        if self.kind == "long":
            more += f' rows="{self.rows}"'
        return super().input_params() + more

    rows: ClassVar[int] = 6

    async def parse_form_data(self, request: Request, form_data: FormData) -> Any:
        """The text as it was sent, with the line ends of our own; a box that is not ticked sends nothing."""
        raw = form_data.get(self.id)
        if self.kind == "boolean":
            return raw is not None
        if not isinstance(raw, str):
            return ""
        # A charset of the sender's choice may make half letters, which nothing can hold.
        return raw.replace("\r\n", "\n").encode(errors="replace").decode()

    async def parse_obj(self, request: Request, obj: Any) -> Any:
        return obj.values.get(self.name)

    async def serialize_value(self, request: Request, value: Any) -> Any:
        if request.state.action.is_form():
            return self.form_text(value)
        return self.shown(value)

    def form_text(self, value: Any) -> Any:
        """What stands in the input for a value of the document."""
        if self.kind == "boolean":
            return bool(value)
        if value is None or self.kind == "secret":
            return ""
        if self.kind == "json":
            return json.dumps(value, indent=2, ensure_ascii=False)
        if self.kind == "moment":
            return _MOMENT.sub(r"\1T\2", str(value))
        if self.kind == "time":
            return _TIME.sub(r"\1", str(value))
        return _text(value)

    def exact(self, text: Any) -> Any:
        """One form for all texts that mean the same: browsers drop seconds that are zero, and end lines their way."""
        if self.kind in ("moment", "time"):
            return _exact(str(text))
        return _LINE_END.sub("\n", text) if isinstance(text, str) else text

    def shown(self, value: Any) -> Any:
        """What people read."""
        if self.kind == "boolean":
            return bool(value)
        if self.kind == "json":
            return json.dumps(value, ensure_ascii=False)
        if self.kind == "moment":
            return _MOMENT.sub(r"\1 \2 UTC", str(value))
        return _text(value)

    def value_of(self, text: Any) -> Any:
        """The JSON value that a text stands for; raises ValueError with words for the person."""
        if self.kind == "integer" and _WHOLE.fullmatch(text):
            return int(text)
        if self.kind == "number":
            return _number(text)
        if self.kind == "choice":
            return self.choices.get(text, text)
        if self.kind == "json":
            return _json(text)
        return text

    def is_left_out(self, text: Any) -> bool:
        """Whether an empty input means that the server's own default is wanted."""
        return text == "" and (self.nullable or self.fallback or self.kind not in ("text", "long", "email"))

    @property
    def empties(self) -> bool:
        """Whether nothing written means null: an empty text is a text where null is none."""
        return self.nullable or self.kind not in ("text", "long", "secret")

    def _get_choices(self, request: Request) -> list[tuple[str, str]]:
        return [(text, text.replace("_", " ")) for text in self.choices]


@dataclass
class Reference(Cell):
    """A foreign key: the title of the row that it names, where the caller may see that row."""

    target: str = ""

    async def parse_obj(self, request: Request, obj: Any) -> Any:
        value = obj.values.get(self.name)
        return None if value is None else (value, obj.referred.get(self.name))

    async def serialize_value(self, request: Request, value: Any) -> Any:
        key, row = value
        return {"text": f"#{key}" if row is None else row.title, "value": _text(key), "seen": row is not None}

    def form_text(self, value: Any) -> Any:
        return "" if value is None else _text(value)

    def additional_css_links(self, request: Request) -> list[str]:
        form = self._needs_form_assets(request)
        return [static_url(request, "css/vendor/select2.min.css", v="4.1.0")] if form else []

    def additional_js_links(self, request: Request) -> list[str]:
        form = self._needs_form_assets(request)
        return [static_url(request, "js/vendor/select2.min.js", v="4.1.0")] if form else []


def cell_of(item: Field, *, target: str | None = None) -> Cell:
    """The cell of a column; `target` is the view of what a foreign key names."""
    schema = _schema(item)
    kind, choices = _kind(item, schema)
    fallback = item.default is not None or item.column.server_default is not None
    given: dict[str, Any] = {
        "label": _label(item.name, target), "help_text": _help(item, kind), "kind": kind, "choices": choices,
        "nullable": item.nullable, "fallback": fallback, "input_type": _INPUTS.get(kind, "text"),
        "maxlength": schema.get("maxLength"), "minlength": schema.get("minLength"),
    }  # fmt: skip
    if target is not None:
        made: Cell = Reference(item.name, **{**given, "target": target, "kind": _key_kind(kind)})
        made.form_template, made.class_ = "fields/reference_form.html", "form-select"
        made.list_template = made.detail_template = "fields/reference.html"
        made.required = item.required
        return made
    made = Cell(item.name, **given)
    made.required = item.required and kind != "boolean"
    made.default = item.shown_default if isinstance(item.shown_default, str | int | float | bool) else None
    return _dressed(made)


def titled(cells: Mapping[str, Cell]) -> str | None:
    """The field that a row is called by."""
    texts = [name for name, cell in cells.items() if cell.kind in ("text", "email", "long")]
    return next((name for name in _TITLES if name in texts), texts[0] if texts else None)


def _dressed(cell: Cell) -> Cell:
    if cell.kind == "boolean":
        cell.form_template = "fields/form/boolean.html"
        cell.list_template, cell.detail_template = "fields/list/boolean.html", "fields/detail/boolean.html"
    elif cell.kind == "choice":
        cell.form_template, cell.class_ = "fields/form/enum.html", "form-select"
    elif cell.kind in ("long", "json"):
        cell.form_template = "fields/form/textarea.html"
        cell.detail_template = "fields/detail/textarea.html"
        cell.class_ = "form-control" + (" font-monospace" if cell.kind == "json" else "")
    return cell


def _schema(item: Field) -> Mapping[str, Any]:
    """The JSON Schema of the value; of several ways to write it, the first."""
    try:
        schema = TypeAdapter(item.annotation).json_schema()
    except PydanticUserError:  # a type of the application's own that tells nothing about itself
        return {}
    first: Mapping[str, Any] = schema.get("anyOf", [schema])[0]
    return first


def _kind(item: Field, schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if "enum" in schema:
        return "choice", {_text(value): value for value in schema["enum"]}
    word = schema.get("type")
    kind = item.column.type
    if isinstance(kind, Numeric) and kind.asdecimal:
        return "decimal", {}  # its text is exact, as a number it might not be
    if isinstance(kind, Time):
        return "time", {}
    if word in ("integer", "number", "boolean"):
        return word, {}
    if word == "string":
        return _text_kind(item, schema), {}
    return "json", {}


def _text_kind(item: Field, schema: Mapping[str, Any]) -> str:
    if is_secret(item.name):
        return "secret"
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    kind = item.column.type
    return "long" if isinstance(kind, String) and (kind.length is None or kind.length > 300) else "text"


def _key_kind(kind: str) -> str:
    return kind if kind in ("integer", "text") else "text"


def _label(name: str, target: str | None) -> str:
    words = (name.removesuffix("_id") if target is not None else name).replace("_", " ").strip()
    return "ID" if words == "id" else words[:1].upper() + words[1:]


def _help(item: Field, kind: str) -> str | None:
    said = item.column.comment or item.column.doc
    return said or (
        "UTC" if kind == "moment" else "Left empty, it stays as it is" if kind == "secret" else None
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _exact(moment: str) -> str:
    whole, _, fraction = moment.partition(".")
    seconds = whole if whole.count(":") != 1 else f"{whole}:00"
    return f"{seconds}.{fraction.rstrip('0')}"


def _number(text: str) -> Any:
    """A JSON number; text that is none goes on as it is, for the schema to say so."""
    try:
        found = _loads(text)
    except ValueError:
        return text
    return found if isinstance(found, int | float) and not isinstance(found, bool) else text


def _json(text: str) -> Any:
    try:
        return _loads(text)
    except ValueError:
        raise ValueError("This is not JSON") from None


def _loads(text: str) -> Any:
    """What the endpoint would read too: no NaN, no number beyond all bounds, no depth without end, no half letter."""
    try:
        found = json.loads(text, parse_constant=_finite, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError from None
    return found


def _finite(text: str) -> float:
    found = float(text)
    if not isfinite(found):
        raise ValueError
    return found
