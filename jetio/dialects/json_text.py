"""What a database that writes JSON itself must know: its text is byte for byte what Jetio writes of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, FromClause, Select

__all__ = ["UNSURE", "JsonText", "Text"]

UNSURE = b"\x01"
"""Stands where the database cannot tell. In no JSON text does this byte occur: it is escaped in strings."""

Text = ColumnElement[str]


class JsonText(Protocol):
    """Expressions of one kind of database; each gives text."""

    def value(self, column: ColumnElement[Any]) -> Text | None:
        """The value as JSON (`null` for NULL); None where its type has no exact text here."""
        ...

    def is_as_declared(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether the server's type is one of those of which the value's text is true; of no row in particular."""
        ...

    def joined(self, parts: Sequence[Text | str]) -> Text:
        """All of these behind each other; plain strings hold neither quotes nor backslashes of a client's."""
        ...

    def present(self, column: ColumnElement[Any], document: Text) -> Text:
        """The document, `null` where the column is NULL."""
        ...

    def array(self, documents: Text, rows: FromClause, most: int) -> Text:
        """The documents of these ordered rows; UNSURE where there are more than `most`."""
        ...

    def one(self, document: Text, row: FromClause) -> Select[Any]:
        """The document as bytes."""
        ...

    def page(self, document: Text, rows: FromClause, shown: ColumnElement[int]) -> Select[Any]:
        """The array of the first `shown` documents as bytes, and how many rows there are."""
        ...
