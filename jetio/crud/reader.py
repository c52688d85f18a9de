"""Reads the rows of a view, and all that is embedded in them: one statement for each to-many relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..database import Database, UnitOfWork
from ..dialects import Query, Result, Steps, followed
from ..dialects.values import dump
from ..policy import Decision
from ..principal import Recalled
from . import statements as sql
from .clauses import Scopes, Shapes, bound, clause_of, scopes_of, shaped
from .documents import Documents
from .query import ListQuery
from .render import Children, Document, Renderer, attach, key_reader
from .views import Embed, Layout, View, layout_of

__all__ = ["Page", "Reader"]


class Page(NamedTuple):
    """A page of a list as JSON, whether more rows follow, and the total where it is known."""

    body: bytes
    more: bool
    total: int | None


class Reader:
    """Reads one view; holds the renderers of the view and of everything embedded in it."""

    def __init__(self, view: View, documents: Documents | None = None) -> None:
        self.view = view
        self.documents = documents
        self.renderer = Renderer(layout_of(view))
        self._prepare = Shapes(view, ("", *view.paths)).prepare
        joined = [((), view), *((names, embed.view) for embed, names in view.walk_joined())]
        self.branches = [
            _Branch(names, embed, Reader(embed.view), self.renderer.layout.at(names))
            for names, inner in joined
            for embed in inner.separate
        ]
        # Without arrays in it a document is made of a row as fast.
        self.single = documents if self.branches else None

    async def page(self, work: UnitOfWork, scopes: Scopes, query: ListQuery) -> Page:
        """A page; the total is told when this page reaches the end, or when it was asked for."""
        documents = None if work.has_session else self.documents
        several = query.count or bool(self.branches) or documents is not None
        return await work.follow(self._page(work.database, scopes, query, documents), several=several)

    def _page(
        self, database: Database, scopes: Scopes, query: ListQuery, documents: Documents | None
    ) -> Steps[Page]:
        if query.limit == 0:
            return Page(b"[]", False, (yield from self._count(database, scopes)))
        made = None if documents is None else (yield from documents.page(database, scopes, query))
        body, found = made or (yield from self._page_of_rows(database, scopes, query))
        more = found > query.limit
        total = None if more or (query.offset and not found) else query.offset + found
        if total is None and query.count:
            total = yield from self._count(database, scopes)
        return Page(body, more, total)

    def _page_of_rows(self, database: Database, scopes: Scopes, query: ListQuery) -> Steps[tuple[bytes, int]]:
        """The array, and how many rows were found: one more than fit where more follow."""
        order = query.order
        prepared, values = self._prepare(
            database, ("page", order), scopes, lambda own: sql.select_page(self.view, own, order)
        )
        values["limit"], values["offset"] = query.limit + 1, query.offset
        result = yield prepared, values
        found = len(result.rows)
        if found > query.limit:
            result = Result(result.rows[: query.limit], query.limit, result.decoded)
        return dump((yield from self._documents(database, prepared, result, scopes))), found

    def _count(self, database: Database, scopes: Scopes) -> Steps[int]:
        """The number of rows that the rule lets through."""
        resource, rule = self.view.resource, scopes.get("")
        query, binds = shaped(
            database,
            ("count", resource),
            [clause_of(rule)],
            lambda own: sql.count_rows(resource, scopes_of([""], own)[""]),
        )
        result = yield query, bound(query, binds, {})
        total: int = query.decode(result)[0][0]
        return total

    async def one(
        self, work: UnitOfWork, scopes: Scopes, key: Sequence[Any], *, alone: bool = True
    ) -> bytes | None:
        """The row with the key as JSON, None when there is none that the rule lets through.

        `alone` False reads it as part of a transaction.
        """
        if alone and not self.branches:  # most rows are read so, and steps have their price
            query, values = self._select_one(work.database, scopes, key)
            return _first(self.renderer.documents(query, await work.run_alone(query, values)))
        steps = self._one(work.database, scopes, key, None if work.has_session else self.single)
        return await (work.follow(steps) if alone else followed(steps, work.run))

    async def one_for(
        self, recalled: Recalled, work: UnitOfWork, scopes: Scopes, key: Sequence[Any]
    ) -> tuple[bytes | None] | None:
        """What `one` gives, by the statement that confirms the caller; None when it does not confirm him.

        For views without arrays.
        """
        who = recalled.query
        query, values = self._prepare(
            work.database,
            ("one for", who),
            scopes,
            lambda own: sql.select_one_for(who.core, self.view, own),
        )
        values |= sql.key_values(self.view.resource, key)
        for name, value in recalled.values.items():
            values[f"who_{name}"] = value
        result = await work.run_alone(query, values)
        place = len(query.codecs) - len(recalled.row)
        if not result.rows or result.rows[0][place:] != recalled.row:
            return None
        there = result.rows[0][place - 1] is not None
        return (_first(self.renderer.documents(query, result)) if there else None,)

    def _one(
        self, database: Database, scopes: Scopes, key: Sequence[Any], documents: Documents | None
    ) -> Steps[bytes | None]:
        if documents is not None:
            made = yield from documents.one(database, scopes, key)
            if made is not None:
                return made.rows[0][0] if made.rows else None
        query, values = self._select_one(database, scopes, key)
        result = yield query, values
        return _first((yield from self._documents(database, query, result, scopes)))

    def _select_one(
        self, database: Database, scopes: Scopes, key: Sequence[Any]
    ) -> tuple[Query, dict[str, Any]]:
        query, values = self._prepare(database, "one", scopes, lambda own: sql.select_one(self.view, own))
        values |= sql.key_values(self.view.resource, key)
        return query, values

    async def current(self, work: UnitOfWork, rule: Decision, key: Sequence[Any]) -> dict[str, Any] | None:
        """The row as Python values, locked until the transaction ends."""
        view, scopes = self.view, {"": rule}
        lock = work.database.dialect.row_lock
        prepared, values = self._prepare(
            work.database, "current", scopes, lambda own: sql.select_one(view, own, lock=lock)
        )
        result = await work.run(prepared, values | sql.key_values(view.resource, key))
        rows = prepared.decode(result)
        return dict(zip((item.name for item in view.fields), rows[0], strict=False)) if rows else None

    def _documents(
        self, database: Database, query: Query, result: Result, scopes: Scopes
    ) -> Steps[list[Document]]:
        documents = self.renderer.documents(query, result)
        for branch in self.branches:
            yield from branch.grow(documents, database, query, result, scopes)
        return documents


def _first(documents: list[Document]) -> bytes | None:
    return dump(documents[0]) if documents else None


@dataclass(frozen=True)
class _Branch:
    """A to-many relation of the rows, or of what is joined to them at `names`."""

    names: tuple[str, ...]
    embed: Embed
    reader: Reader
    layout: Layout

    def grow(
        self, documents: list[Document], database: Database, query: Query, result: Result, scopes: Scopes
    ) -> Steps[None]:
        """Give the documents their children."""
        name = self.embed.relation.name
        places = self.layout.parents[name]
        owners = list[Document | None](documents)
        for part in self.names:
            owners = [None if owner is None else owner[part] for owner in owners]
        keys = list(map(key_reader(places), result.rows))
        children = yield from self._children(database, scopes, _distinct(keys), _parts(query, result, places))
        attach(owners, name, keys, children)

    def _children(self, database: Database, scopes: Scopes, keys: list[Any], parts: Parts) -> Steps[Children]:
        """The children of all these parents, in one statement; where there are very many of them, in two."""
        children = Children()
        if not keys:
            return children
        size = 1 << (len(keys) - 1).bit_length()  # few shapes: the last key fills up to a power of two
        width = len(self.embed.relation.pairs)
        values = dict(zip(sql.parent_names(size, width), parts(keys, size), strict=True))
        query, result = yield from self._run(database, scopes, values, sql.select_few_children, size)
        numbered = len(result.rows) > sql.FEW
        if numbered:
            query, result = yield from self._run(database, scopes, values, sql.select_children, size)
        documents = yield from self.reader._documents(database, query, result, scopes)
        read_link = key_reader([place - numbered for place in range(-width, 0)])
        links = list(map(read_link, result.rows))
        children.add(links, documents, [row[-1] for row in result.rows] if numbered else None)
        return children

    def _run(
        self,
        database: Database,
        scopes: Scopes,
        values: Mapping[str, Any],
        select: Callable[..., Any],
        size: int,
    ) -> Steps[tuple[Query, Result]]:
        paths = (self.embed.path, *self.reader.view.paths)
        clauses = [clause_of(scopes.get(path)) for path in paths]
        query, binds = shaped(
            database,
            (select, self.embed, size),
            clauses,
            lambda own: select(self.embed, scopes_of(paths, own), size),
        )
        return query, (yield query, bound(query, binds, values))


def _distinct(keys: list[Any]) -> list[Any]:
    found = list(dict.fromkeys(keys))
    if found and type(found[0]) is tuple:
        return [key for key in found if None not in key]
    return [key for key in found if key is not None]


Parts = Callable[[list[Any], int], Sequence[Any]]


def _parts(query: Query, result: Result, places: Sequence[int]) -> Parts:
    """How so many keys of these rows become the Python values that a statement is given, one after the other."""
    processors = [None if result.decoded else query.processors[place] for place in places]

    def parts(keys: list[Any], size: int) -> Sequence[Any]:
        filled = keys + [keys[-1]] * (size - len(keys))
        if len(places) == 1:
            convert = processors[0]
            return filled if convert is None else list(map(convert, filled))
        return [
            part if convert is None else convert(part)
            for key in filled
            for part, convert in zip(key, processors, strict=True)
        ]

    return parts
