"""Documents that the database makes: a page or a row as JSON, with all that is embedded, in one statement."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, FromClause, Select, bindparam

from ..database import Database
from ..dialects import Query, Result, Steps
from ..dialects.json_text import UNSURE, JsonText, Text
from ..policy import Decision
from . import statements as sql
from .clauses import bound, clause_of, scopes_of, shaped
from .query import ListQuery
from .views import Layout, View, layout_of

__all__ = ["Documents", "documents_of"]

Scopes = Mapping[str, Decision]


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
        self._paths = ("", *(embed.path for embed in view.walk()))
        self._open = (None,) * len(self._paths)

    def page(self, database: Database, scopes: Scopes, query: ListQuery) -> Steps[tuple[bytes, int] | None]:
        """The array, and how many rows there are, one more than fit where more follow."""
        order = query.order
        prepared, values = self._prepare(
            database, ("documents", order), scopes, lambda own: self._select_page(own, order)
        )
        values["limit"], values["offset"], values["shown"] = query.limit + 1, query.offset, query.limit
        result = yield prepared, values
        body, count = result.rows[0]
        return None if UNSURE in body else (body, count)

    def one(self, database: Database, scopes: Scopes, key: Sequence[Any]) -> Steps[Result | None]:
        """One row with the document, or no row."""
        prepared, values = self._prepare(database, "document", scopes, self._select_one)
        result = yield prepared, values | sql.key_values(self.view.resource, key)
        return None if any(UNSURE in row[0] for row in result.rows) else result

    def _prepare(
        self, database: Database, name: Hashable, scopes: Scopes, build: Callable[[Scopes], Any]
    ) -> tuple[Query, dict[str, Any]]:
        if not scopes:
            known = database.known(((name, self.view), self._open))
            if known is not None:
                return known, {}
        clauses = [clause_of(scopes.get(path)) for path in self._paths]
        query, binds = shaped(
            database, (name, self.view), clauses, lambda own: build(scopes_of(self._paths, own))
        )
        return query, bound(query, binds, {})

    # ---- statements ----------------------------------------------------------------------------------------

    def _select_page(self, scopes: Scopes, order: Sequence[tuple[str, bool]]) -> Select[Any]:
        rows = sql.select_page(self.view, scopes, order).subquery("d")
        document = self._document(self.view, self._layout, rows, scopes)
        return self._json.page(document, rows, bindparam("shown", type_=BigInteger()))

    def _select_one(self, scopes: Scopes) -> Select[Any]:
        row = sql.select_one(self.view, scopes).subquery("d")
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
            own = sql.select_own_children(embed, scopes, rows, keys).subquery(
                f"d_{embed.path.replace('.', '_')}"
            )
            document = self._document(embed.view, layout_of(embed.view), own, scopes)
            members.append((name, self._json.array(document, own, sql.CHILDREN)))
        parts: list[Text | str] = ["{"]
        for number, (name, text) in enumerate(members):
            assert text is not None  # noqa: S101 - such a view has obstacles
            parts += [f'{"," if number else ""}"{name}":', text]
        return self._json.joined([*parts, "}"])
