"""JSON made by PostgreSQL: an expression for each column type that it spells as Jetio does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
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
    func,
    literal_column,
    select,
    type_coerce,
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
_FIRST, _LAST = "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"


def _literal(text: str) -> Text:
    """Part of the statement's text. Only names and values of declarations come here, none of a request's."""
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return literal_column(f"E'{quoted}'" if "\\" in text else f"'{quoted}'", SQLText())


_NULL = _literal("null")
_UNSURE: Text = func.chr(literal_column(str(ord(UNSURE))), type_=SQLText())


class PostgreSQLJson:
    """`concat` in place of `json_build_object`: that one sets spaces, and costs as much again."""

    def value(self, column: ColumnElement[Any]) -> Text | None:
        kind = column.type._variant_mapping.get("postgresql", column.type)
        if is_foreign(column.type) or not _is_plain(kind):
            return None
        if isinstance(kind, PlainText):
            kind = kind.impl_instance
        found = next((make for own, make in _KINDS.items() if isinstance(kind, own)), None)
        return None if found is None else found(column, kind)

    def joined(self, parts: Sequence[Text | str]) -> Text:
        texts = [_literal(part) if isinstance(part, str) else part for part in _merged(parts)]
        while len(texts) > 1:
            slices = [texts[place : place + _ARGUMENTS] for place in range(0, len(texts), _ARGUMENTS)]
            texts = [func.concat(*some, type_=SQLText()) for some in slices]
        return texts[0]

    def present(self, column: ColumnElement[Any], document: Text) -> Text:
        return case((column.is_(None), _NULL), else_=document)

    def array(self, documents: Text, rows: FromClause, most: int) -> Text:
        listed = self.joined(["[", func.string_agg(documents, _literal(",")), "]"])
        cut = func.count() > literal_column(str(most))
        told: Select[Any] = select(case((cut, _UNSURE), else_=listed)).select_from(rows)
        return told.scalar_subquery()

    def one(self, document: Text, row: FromClause) -> Select[Any]:
        return select(_bytes(document)).select_from(row)

    def page(self, document: Text, rows: FromClause, shown: ColumnElement[int]) -> Select[Any]:
        number = func.row_number().over()
        made = select(document.label("document"), number.label("number")).select_from(rows).subquery("made")
        first = func.string_agg(made.c.document, _literal(",")).filter(made.c.number <= shown)
        wanted: list[ColumnElement[Any]] = [
            _bytes(self.joined(["[", first, "]"])),
            func.count().label("rows"),
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
    return func.convert_to(text, literal_column("'UTF8'"), type_=LargeBinary()).label("body")


# ---- values ------------------------------------------------------------------------------------------------


def _is_plain(kind: TypeEngine[Any]) -> bool:
    """A type of every database, or one of ours: those of PostgreSQL alone have ways of their own."""
    return type(kind).__module__ in ("sqlalchemy.sql.sqltypes", UtcDateTime.__module__)


def _or_null(text: ColumnElement[Any]) -> Text:
    return func.coalesce(text, _NULL, type_=SQLText())


def _string(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(cast(func.to_json(column), SQLText))


def _plain(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(cast(column, SQLText))


def _quoted(column: ColumnElement[Any], kind: Any) -> Text:
    return _or_null(literal_column("'\"'", SQLText()) + cast(column, SQLText) + literal_column("'\"'"))


def _uuid(column: ColumnElement[Any], kind: Any) -> Text | None:
    return _quoted(column, kind) if kind.native_uuid else None


def _decimal(column: ColumnElement[Any], kind: Any) -> Text | None:
    return _quoted(column, kind) if kind.asdecimal else None


def _choice(column: ColumnElement[Any], kind: Any) -> Text | None:
    """What is stored need not be what is shown; another value than these is a mistake, which rows tell."""
    if len(kind.enums) > _CHOICES:
        return None
    shown = [(name, dump(enum_value(kind._object_lookup.get(name, name))).decode()) for name in kind.enums]
    text = cast(column, SQLText) if kind.native_enum else type_coerce(column, SQLText())
    found = [(text == _literal(name), _literal(told)) for name, told in shown]
    return case((column.is_(None), _NULL), *found, else_=_UNSURE)


def _moment(column: ColumnElement[Any], kind: Any) -> Text:
    form = f'{_DAY}"T"{_CLOCK}'
    if isinstance(kind, UtcDateTime) or kind.timezone:
        in_utc = _fraction(func.timezone(_literal("UTC"), column), form)
        return _within(column, "timestamptz", _FIRST + "Z", _LAST + "Z", in_utc + _literal("Z"))
    return _within(column, "timestamp", _FIRST + "Z", _LAST + "Z", _fraction(column, form) + _literal("Z"))


def _date(column: ColumnElement[Any], kind: Any) -> Text:
    text = func.to_char(column, _literal(_DAY), type_=SQLText())
    return _within(column, "date", _FIRST[:10], _LAST[:10], text)


def _time(column: ColumnElement[Any], kind: Any) -> Text:
    return _within(column, "time", _FIRST[11:], _LAST[11:], _fraction(cast(column, Interval), _CLOCK))


def _fraction(moment: ColumnElement[Any], form: str) -> Text:
    """Six decimals of a second, or none."""
    text = func.to_char(moment, _literal(form))
    return func.replace(text, _literal(".000000"), _literal(""), type_=SQLText())


def _within(column: ColumnElement[Any], name: str, first: str, last: str, text: Text) -> Text:
    """The text of what Python has a value for: infinity is its first or last moment.

    A column that is of another type in truth may mean another moment.
    """
    least, most = [literal_column(f"{name} '{bound}'", column.type) for bound in (first, last)]
    as_declared = func.pg_typeof(column) == literal_column(f"'{name}'::regtype")
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

_KINDS: Mapping[type[TypeEngine[Any]], _Value | None] = {
    UtcDateTime: _moment,
    DateTime: _moment,
    Date: _date,
    Time: _time,
    Uuid: _uuid,
    Enum: _choice,
    String: _string,
    Boolean: _plain,
    Integer: _plain,
    Float: None,  # the server spells 1.0 as 1, and how many digits there are is a setting of its sessions
    Numeric: _decimal,
}
