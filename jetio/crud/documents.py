"""Documents that the database makes: a page or a row as JSON, with all that is embedded, in one statement."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, FromClause, Select, bindparam

from ..database import Database
from ..dialects import Query, Result, Steps
from ..dialects.json_text import UNSURE, JsonText, Text
from ..dialects.values import dump
from . import statements as sql
from .clauses import Scopes, Shapes
from .query import ListQuery
from .views import Layout, View, layout_of

__all__ = ["Documents", "documents_of"]

_log = logging.getLogger("jetio")


def documents_of(view: View, database: Database) -> tuple[Documents | None, tuple[str, ...]]:
    """What reads the view where the database makes its JSON; else None, and what keeps it from doing so."""
    json = database.json
    if json is None:
        return None, ()
    found = tuple(_obstacles(view, json))
    return (None, found) if found else (Documents(view, json), ())


def _obstacles(view: View, json: JsonText) -> Iterator[str]:
    title = view.resource.title
    for item in view.fields:
        if json.value(item.column) is None:
            yield f"no exact JSON of {type(item.column.type).__name__} {title}.{item.name} in the database"
    for embed in view.embeds:
        if embed.relation.many and not embed.relation.indexed:
            yield f"no index for {title}.{embed.relation.name}"
        yield from _obstacles(embed.view, json)


class Documents:
    """Reads one view. Where the database cannot tell what stands in a document, the answer is None: ask for rows."""

    def __init__(self, view: View, json: JsonText) -> None:
        self.view = view
        self._json = json
        self._layout = layout_of(view)
        self._prepare = Shapes(view, ("", *(embed.path for embed in view.walk()))).prepare
        self._asked: Database | None = None
        self._is_exact = False

    def page(self, database: Database, scopes: Scopes, query: ListQuery) -> Steps[tuple[bytes, int] | None]:
        """The array, and how many rows there are, one more than fit where more follow."""
        if self._asked is not database:
            yield from self._ask(database)
        if not self._is_exact:
            return None
        order = query.order
        prepared, values = self._prepare(
            database, ("documents", order), scopes, lambda own: self._select_page(own, order)
        )
        values["limit"], values["offset"], values["shown"] = query.limit + 1, query.offset, query.limit
        result = yield from self._run(prepared, values)
        body, count = result.rows[0]
        return None if UNSURE in body else (body, count)

    def one(self, database: Database, scopes: Scopes, key: Sequence[Any]) -> Steps[Result | None]:
        """One row with the document, or no row."""
        if self._asked is not database:
            yield from self._ask(database)
        if not self._is_exact:
            return None
        prepared, values = self._prepare(database, "document", scopes, self._select_one)
        result = yield from self._run(prepared, values | sql.key_values(self.view.resource, key))
        return None if any(UNSURE in row[0] for row in result.rows) else result

    def _ask(self, database: Database) -> Steps[None]:
        """Whether the columns are what they were declared as; the server knows, and is asked once.

        A table of another origin may keep numbers as text: what is written of it would be no JSON any more.
        """
        found = []
        for view in (self.view, *(embed.view for embed in self.view.walk())):
            asked = sql.select_types(view, self._json.is_as_declared)
            result = yield database.query(asked), {}
            found += [item for item, fits in zip(view.fields, result.rows[0], strict=True) if not fits]
        if found and self._asked is not database:
            _log.warning(
                "JSON of %s is made of rows: in the database these columns are of other types than declared: %s",
                self.view.resource.title,
                ", ".join(str(item.column) for item in found),
            )
        self._asked, self._is_exact = database, not found

    def _run(self, query: Query, values: Mapping[str, Any]) -> Steps[Result]:
        try:
            return (yield query, values)
        except GeneratorExit:  # it failed, perhaps for a column that has become of another type
            self._asked = None
            raise

    # ---- statements ----------------------------------------------------------------------------------------

    def _select_page(self, scopes: Scopes, order: Sequence[tuple[str, bool]]) -> Select[Any]:
        rows = sql.select_page(self.view, scopes, order).subquery("rows of this")
        document = self._document(self.view, self._layout, rows, scopes)
        return self._json.page(document, rows, bindparam("shown", type_=BigInteger()))

    def _select_one(self, scopes: Scopes) -> Select[Any]:
        row = sql.select_one(self.view, scopes).subquery("rows of this")
        return self._json.one(self._document(self.view, self._layout, row, scopes), row)

    def _document(self, view: View, layout: Layout, rows: FromClause, scopes: Scopes) -> Text:
        """The same members in the same order as `render` gives them."""
        members = [(name, self._json.value(rows.c[f"c{place}"])) for name, place in layout.fields]
        for embed, (name, present, inner) in zip(view.joined, layout.ones, strict=True):
            document = self._document(embed.view, inner, rows, scopes)
            members.append((name, self._json.present(rows.c[f"c{present}"], document)))
        for embed in view.separate:
            name = embed.relation.name
            keys = [rows.c[f"c{place}"] for place in layout.parents[name]]
            own = sql.select_own_children(embed, scopes, rows, keys).subquery(f"rows of {embed.path}")
            document = self._document(embed.view, layout_of(embed.view), own, scopes)
            members.append((name, self._json.array(document, own, sql.CHILDREN)))
        parts: list[Text | str] = ["{"]
        for number, (name, text) in enumerate(members):
            assert text is not None  # noqa: S101 - such a view has obstacles
            parts += [f"{',' if number else ''}{dump(name).decode()}:", text]
        return self._json.joined([*parts, "}"])
