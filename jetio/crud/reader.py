"""Reads the rows of a view, and all that is embedded in them: one statement for each to-many relation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BindParameter

from ..database import UnitOfWork
from ..dialects import Query, Result
from ..dialects.values import dump
from ..policy import Decision
from . import statements as sql
from .clauses import clause_of, scopes_of, shaped
from .query import ListQuery
from .render import Children, Document, Renderer, attach, key_reader
from .views import Embed, Layout, View, layout_of

__all__ = ["EVERYTHING", "Page", "Reader"]

Scopes = Mapping[str, Decision]
"""The rule of the rows (the name is empty) and of everything embedded in them, by dotted name."""

EVERYTHING: Scopes = {}
"""Rules that leave nothing out: then no shape has to be told from another."""


class Page(NamedTuple):
    """A page of a list as JSON, whether more rows follow, and the total where it is known."""

    body: bytes
    more: bool
    total: int | None


def bound(query: Query, binds: Sequence[BindParameter[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and those of the clauses of this request under the names of the compiled shape."""
    filled = dict(values)
    for name, bind in zip(query.clause_names, binds, strict=True):
        filled[name] = bind.effective_value
    return filled


class Reader:
    """Reads one view; holds the renderers of the view and of everything embedded in it."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.renderer = Renderer(layout_of(view))
        self.paths = ("", *view.paths)
        self._open = (None,) * len(self.paths)  # what `fingerprint` makes of rules that leave nothing out
        joined = [((), view), *((names, embed.view) for embed, names in view.walk_joined())]
        self.branches = [
            _Branch(names, embed, Reader(embed.view), self.renderer.layout.at(names))
            for names, inner in joined
            for embed in inner.separate
        ]

    async def page(self, work: UnitOfWork, scopes: Scopes, query: ListQuery) -> Page:
        """A page; the total is told when this page reaches the end, or when it was asked for."""
        if query.limit == 0:
            return Page(b"[]", False, await self.count(work, scopes))
        order = query.order
        prepared, values = self._prepare(
            work, ("page", order), scopes, lambda own: sql.select_page(self.view, own, order)
        )
        values["limit"], values["offset"] = query.limit + 1, query.offset
        result = await self._first(work, prepared, values, alone=not query.count)
        more = len(result.rows) > query.limit
        if more:
            result = Result(result.rows[: query.limit], query.limit, result.decoded)
        documents = await self._documents(work, prepared, result, scopes)
        total = None if more or (query.offset and not result.rows) else query.offset + len(result.rows)
        if total is None and query.count:
            total = await self.count(work, scopes)
        return Page(dump(documents), more, total)

    async def count(self, work: UnitOfWork, scopes: Scopes) -> int:
        """The number of rows that the rule lets through."""
        resource, rule = self.view.resource, scopes.get("")
        query, binds = shaped(
            work.database,
            ("count", resource),
            [clause_of(rule)],
            lambda own: sql.count_rows(resource, scopes_of([""], own)[""]),
        )
        result = await work.run_alone(query, bound(query, binds, {}))
        total: int = query.decode(result)[0][0]
        return total

    async def one(
        self, work: UnitOfWork, scopes: Scopes, key: Sequence[Any], *, alone: bool = True
    ) -> bytes | None:
        """The row with the key as JSON, None when there is none that the rule lets through."""
        prepared, values = self._prepare(work, "one", scopes, lambda own: sql.select_one(self.view, own))
        values |= sql.key_values(self.view.resource, key)
        result = await self._first(work, prepared, values, alone=alone)
        documents = await self._documents(work, prepared, result, scopes)
        return dump(documents[0]) if documents else None

    async def current(self, work: UnitOfWork, rule: Decision, key: Sequence[Any]) -> dict[str, Any] | None:
        """The row as Python values, locked until the transaction ends."""
        view, scopes = self.view, {"": rule}
        lock = work.database.dialect.row_lock
        prepared, values = self._prepare(
            work, "current", scopes, lambda own: sql.select_one(view, own, lock=lock)
        )
        result = await work.run(prepared, values | sql.key_values(view.resource, key))
        rows = prepared.decode(result)
        return dict(zip((item.name for item in view.fields), rows[0], strict=False)) if rows else None

    def _first(
        self, work: UnitOfWork, query: Query, values: Mapping[str, Any], *, alone: bool
    ) -> Awaitable[Result]:
        return (work.run_alone if alone and not self.branches else work.run)(query, values)

    def _prepare(
        self, work: UnitOfWork, name: Hashable, scopes: Scopes, build: Callable[[Scopes], Any]
    ) -> tuple[Query, dict[str, Any]]:
        if not scopes:
            known = work.database.known(((name, self.view), self._open))
            if known is not None:
                return known, {}
        clauses = [clause_of(scopes.get(path)) for path in self.paths]
        query, binds = shaped(
            work.database, (name, self.view), clauses, lambda own: build(scopes_of(self.paths, own))
        )
        return query, bound(query, binds, {})

    async def _documents(
        self, work: UnitOfWork, query: Query, result: Result, scopes: Scopes
    ) -> list[Document]:
        documents = self.renderer.documents(query, result)
        for branch in self.branches:
            await branch.grow(documents, work, query, result, scopes)
        return documents


@dataclass(frozen=True)
class _Branch:
    """A to-many relation of the rows, or of what is joined to them at `names`."""

    names: tuple[str, ...]
    embed: Embed
    reader: Reader
    layout: Layout

    async def grow(
        self, documents: list[Document], work: UnitOfWork, query: Query, result: Result, scopes: Scopes
    ) -> None:
        """Give the documents their children."""
        name = self.embed.relation.name
        places = self.layout.parents[name]
        owners = list[Document | None](documents)
        for part in self.names:
            owners = [None if owner is None else owner[part] for owner in owners]
        keys = list(map(key_reader(places), result.rows))
        children = await self._children(work, scopes, _distinct(keys), _parts(query, result, places))
        attach(owners, name, keys, children)

    async def _children(
        self, work: UnitOfWork, scopes: Scopes, keys: list[Any], parts: Callable[[Any], Sequence[Any]]
    ) -> Children:
        """The children of all these parents, in one statement; where there are very many of them, in two."""
        children = Children()
        if not keys:
            return children
        size = 1 << (len(keys) - 1).bit_length()  # few shapes: the last key fills up to a power of two
        values = {
            f"p{number}_{place}": part
            for number, key in enumerate(keys + [keys[-1]] * (size - len(keys)))
            for place, part in enumerate(parts(key))
        }
        query, result = await self._run(work, scopes, values, sql.select_few_children, size)
        numbered = len(result.rows) > sql.FEW
        if numbered:
            query, result = await self._run(work, scopes, values, sql.select_children, size)
        documents = await self.reader._documents(work, query, result, scopes)
        width = len(self.embed.relation.pairs)
        read_link = key_reader([place - numbered for place in range(-width, 0)])
        links = list(map(read_link, result.rows))
        children.add(links, documents, [row[-1] for row in result.rows] if numbered else None)
        return children

    async def _run(
        self,
        work: UnitOfWork,
        scopes: Scopes,
        values: Mapping[str, Any],
        select: Callable[..., Any],
        size: int,
    ) -> tuple[Query, Result]:
        paths = (self.embed.path, *self.reader.view.paths)
        clauses = [clause_of(scopes.get(path)) for path in paths]
        query, binds = shaped(
            work.database,
            (select, self.embed, size),
            clauses,
            lambda own: select(self.embed, scopes_of(paths, own), size),
        )
        return query, await work.run(query, bound(query, binds, values))


def _distinct(keys: list[Any]) -> list[Any]:
    return [
        key for key in dict.fromkeys(keys) if key is not None and not (type(key) is tuple and None in key)
    ]


def _parts(query: Query, result: Result, places: Sequence[int]) -> Callable[[Any], Sequence[Any]]:
    """How a key in these rows becomes the Python values that a statement is given."""
    processors = [None if result.decoded else query.processors[place] for place in places]

    def parts(key: Any) -> Sequence[Any]:
        held = key if len(places) > 1 else (key,)
        return [
            part if convert is None else convert(part) for part, convert in zip(held, processors, strict=True)
        ]

    return parts
