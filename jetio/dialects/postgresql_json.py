"""JSON made by PostgreSQL: an expression for each column type that it spells as Jetio does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Enum,
    Float,
    FromClause,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Select,
    String,
    Time,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy import Text as SQLText
from sqlalchemy.types import TypeEngine

from ..columns import PlainText, UtcDateTime, is_foreign
from .json_text import UNSURE, Text
from .values import dump, enum_value

__all__ = ["PostgreSQLJson"]

_ARGUMENTS = 90  # of one function; the server takes 100
_CHOICES = 50
_DAY = "YYYY-MM-DD"
_CLOCK = "HH24:MI:SS.US"
_MOMENT = f'{_DAY}"T"{_CLOCK}'
_FIRST, _LAST = "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"


def _literal(text: str) -> Text:
    """Part of the statement's text. Only names and values of declarations come here, none of a request's."""
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return literal_column(f"E'{quoted}'" if "\\" in text else f"'{quoted}'", SQLText())


_server = func.pg_catalog  # whatever the search path finds before it
_NULL = _literal("null")
_UNSURE: Text = _server.chr(literal_column(str(ord(UNSURE))), type_=SQLText())


class PostgreSQLJson:
    """`concat` in place of `json_build_object`: that one sets spaces, and costs as much again.

    Nothing but text that is quoted here, or that has been made another type, becomes part of a document: a column
    that is changed while the application runs puts no JSON of its own in.
    """

    def value(self, column: ColumnElement[Any]) -> Text | None:
        form, kind = _form_of(column)
        return None if form is None or form.write is None else form.write(column, kind)

    def is_as_declared(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        form, _ = _form_of(column)
        assert form is not None  # noqa: S101 - such a column has no value
        actual = _server.pg_typeof(column)
        known = actual.in_([_type(name) for name in form.types.split()])
        if form.write is not _choice:
            return known
        of_enums = literal_column("oid") == actual, literal_column("typtype") == _literal("e")
        return or_(known, exists().select_from(text("pg_catalog.pg_type")).where(*of_enums))

    def joined(self, parts: Sequence[Text | str]) -> Text:
        texts = [_literal(part) if isinstance(part, str) else part for part in _merged(parts)]
        while len(texts) > 1:
            slices = [texts[place : place + _ARGUMENTS] for place in range(0, len(texts), _ARGUMENTS)]
            texts = [_server.concat(*some, type_=SQLText()) for some in slices]
        return texts[0]

    def present(self, column: ColumnElement[Any], document: Text) -> Text:
        return case((column.is_(None), _NULL), else_=document)

    def array(self, documents: Text, rows: FromClause, most: int) -> Text:
        listed = self.joined(["[", _server.string_agg(documents, _literal(",")), "]"])
        cut = _server.count(literal_column("*")) > literal_column(str(most))
        told: Select[Any] = select(case((cut, _UNSURE), else_=listed)).select_from(rows)
        return told.scalar_subquery()

    def one(self, document: Text, row: FromClause) -> Select[Any]:
        return select(_bytes(document)).select_from(row)

    def page(self, document: Text, rows: FromClause, shown: ColumnElement[int]) -> Select[Any]:
        number = _server.row_number().over()
        made = select(document.label("document"), number.label("number")).select_from(rows).subquery("made")
        first = _server.string_agg(made.c.document, _literal(",")).filter(made.c.number <= shown)
        wanted: list[ColumnElement[Any]] = [
            _bytes(self.joined(["[", first, "]"])),
            _server.count(literal_column("*")).label("rows"),
        ]
        return select(*wanted).select_from(made)


def _merged(parts: Sequence[Text | str]) -> list[Text | str]:
    """Strings that stand beside each other as one."""
    merged: list[Text | str] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, str) and isinstance(last, str):
            merged[-1] = last + part
        else:
            merged.append(part)
    return merged


def _bytes(text: Text) -> ColumnElement[bytes]:
    """What the driver hands over as it is, while it would make a string of text, to be encoded again."""
    return _server.convert_to(text, literal_column("'UTF8'"), type_=LargeBinary()).label("body")


# ---- values ------------------------------------------------------------------------------------------------


def _is_plain(kind: TypeEngine[Any]) -> bool:
    """A type of every database, or one of ours: those of PostgreSQL alone have ways of their own."""
    return type(kind).__module__ in ("sqlalchemy.sql.sqltypes", UtcDateTime.__module__)


def _or_null(text: ColumnElement[Any]) -> Text:
    return func.coalesce(text, _NULL, type_=SQLText())


def _string(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(cast(_server.to_json(column), SQLText))


def _whole(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(cast(cast(column, BigInteger), SQLText))


def _truth(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(cast(cast(column, Boolean), SQLText))


def _quoted(value: ColumnElement[Any]) -> Text:
    return _or_null(literal_column("'\"'", SQLText()) + cast(value, SQLText) + literal_column("'\"'"))


def _uuid(column: ColumnElement[Any], kind: Any) -> Text | None:
    return _quoted(cast(column, Uuid)) if kind.native_uuid else None


def _decimal(column: ColumnElement[Any], kind: Any) -> Text | None:
    return _quoted(cast(column, Numeric)) if kind.asdecimal else None


def _choice(column: ColumnElement[Any], kind: Any) -> Text | None:
    """What is stored need not be what is shown; another value than these is a mistake, which rows tell."""
    if len(kind.enums) > _CHOICES:
        return None
    shown = [(name, dump(enum_value(kind._object_lookup.get(name, name))).decode()) for name in kind.enums]
    text = cast(column, SQLText)
    found = [(text == _literal(name), _literal(told)) for name, told in shown]
    return case((column.is_(None), _NULL), *found, else_=_UNSURE)


def _moment(column: ColumnElement[Any], kind: Any) -> Text:
    text = _fraction(column, _MOMENT)
    return _within(column, "timestamp", _FIRST + "Z", _LAST + "Z", text + _literal("Z"))


def _moment_of_zone(column: ColumnElement[Any], kind: Any) -> Text:
    text = _fraction(_server.timezone(_literal("UTC"), column), _MOMENT)
    return _within(column, "timestamptz", _FIRST + "Z", _LAST + "Z", text + _literal("Z"))


def _date(column: ColumnElement[Any], kind: Any) -> Text:
    text = _server.to_char(column, _literal(_DAY), type_=SQLText())
    return _within(column, "date", _FIRST[:10], _LAST[:10], text)


def _time(column: ColumnElement[Any], kind: Any) -> Text:
    return _within(column, "time", _FIRST[11:], _LAST[11:], _fraction(cast(column, Interval), _CLOCK))


def _fraction(moment: ColumnElement[Any], form: str) -> Text:
    """Six decimals of a second, or none."""
    text = _server.to_char(moment, _literal(form))
    return _server.replace(text, _literal(".000000"), _literal(""), type_=SQLText())


def _within(column: ColumnElement[Any], name: str, first: str, last: str, text: Text) -> Text:
    """The text of what Python has a value for: infinity is its first or last moment.

    A column that has become another type may mean another moment.
    """
    least, most = [literal_column(f"{name} '{bound}'", column.type) for bound in (first, last)]
    as_declared = _server.pg_typeof(column) == _type(name)
    found = [
        (column.is_(None), _NULL),
        (and_(as_declared, column >= least, column <= most), _literal('"') + text + _literal('"')),
    ]
    if name != "time":
        found += [
            (column == literal_column(f"'{sign}infinity'", column.type), _literal(f'"{bound}"'))
            for sign, bound in (("-", first), ("", last))
        ]
    return case(*found, else_=_UNSURE)


_Value = Callable[[ColumnElement[Any], Any], Text | None]


class _Form(NamedTuple):
    """How values are written, and the types of the server of which that is true."""

    write: _Value | None
    types: str


_OF_ZONE = _Form(_moment_of_zone, "timestamptz")
_KINDS: Mapping[type[TypeEngine[Any]], _Form] = {
    UtcDateTime: _OF_ZONE,
    DateTime: _Form(_moment, "timestamp"),
    Date: _Form(_date, "date"),
    Time: _Form(_time, "time"),
    Uuid: _Form(_uuid, "uuid"),
    Enum: _Form(_choice, "text varchar"),  # or an enum
    String: _Form(_string, "text varchar bpchar"),
    Boolean: _Form(_truth, "bool"),
    Integer: _Form(_whole, "int2 int4 int8"),
    # The server spells 1.0 as 1, and how many digits there are is a setting of its sessions.
    Float: _Form(None, ""),
    Numeric: _Form(_decimal, "numeric"),
}


def _form_of(column: ColumnElement[Any]) -> tuple[_Form | None, TypeEngine[Any]]:
    """The form, and the type that counts on this server."""
    kind = column.type._variant_mapping.get("postgresql", column.type)
    if is_foreign(column.type) or not _is_plain(kind):
        return None, kind
    if isinstance(kind, PlainText):
        kind = kind.impl_instance
    if isinstance(kind, DateTime) and kind.timezone:
        return _OF_ZONE, kind
    return next((form for own, form in _KINDS.items() if isinstance(kind, own)), None), kind


def _type(name: str) -> ColumnElement[Any]:
    return literal_column(f"'pg_catalog.{name}'::regtype")
