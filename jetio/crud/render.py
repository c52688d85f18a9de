"""Rows to documents: functions generated once per view, then one pass of orjson."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from ..dialects import Codec, Conversion, Query, Result
from .statements import CHILDREN
from .views import Layout

__all__ = ["Children", "Renderer", "attach", "key_reader"]

Document = dict[str, Any]
Rows = Sequence[Any]


def key_reader(places: Sequence[int]) -> Callable[[Any], Any]:
    """From a row to the key at these places: the value itself where it is one, else a tuple."""
    return itemgetter(*places)


class Children:
    """The documents of one to-many relation, by the parent's key; `totals` only where a list was cut."""

    __slots__ = ("documents", "totals")

    def __init__(self) -> None:
        self.documents: dict[Any, list[Document]] = {}
        self.totals: dict[Any, int] = {}

    def add(self, keys: Sequence[Any], documents: list[Document], totals: Rows | None) -> None:
        """Sort documents to their parents. `totals`: of each document's parent; without, these are all."""
        kept = self.documents
        for key, document in zip(keys, documents, strict=True):
            if key in kept:
                kept[key].append(document)
            else:
                kept[key] = [document]
        if totals is None and len(documents) <= CHILDREN:
            return
        whole = zip(keys, totals, strict=True) if totals else [(key, len(own)) for key, own in kept.items()]
        for key, total in whole:
            if total > CHILDREN:
                self.totals[key] = total
                kept[key] = kept[key][:CHILDREN]


class Renderer:
    """Documents of one layout, from the driver's rows or from decoded ones."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def documents(self, query: Query, result: Result) -> list[Document]:
        """The documents without their to-many relations."""
        makers = query.makers[result.decoded]
        made = makers.get(self)
        if made is None:
            codecs = query.codecs if result.decoded else query.raw_codecs
            made = makers[self] = generate(self.layout, codecs)
        documents: list[Document] = made(result.rows)
        return documents


def generate(layout: Layout, codecs: Sequence[Codec]) -> Callable[[Rows], list[Document]]:
    """A function made of one comprehension: several times faster than a loop over fields."""
    names: dict[str, Any] = {}
    cells = "".join(f"{_cell(place)}, " for place in range(len(codecs)))
    source = f"lambda rows: [{_document(layout, codecs, names)} for {cells} in rows]"
    made: Callable[[Rows], list[Document]] = eval(source, names)  # noqa: S307 - positions, repr() of names, our own codecs
    return made


def _cell(place: int) -> str:
    return f"v{place}"


def _document(layout: Layout, codecs: Sequence[Codec], names: dict[str, Any]) -> str:
    parts = [f"{name!r}: {_member(place, codecs[place], names)}" for name, place in layout.fields]
    parts += [
        f"{name!r}: None if {_cell(present)} is None else {_document(inner, codecs, names)}"
        for name, present, inner in layout.ones
    ]
    return "{" + ", ".join(parts) + "}"


def _member(place: int, codec: Codec, names: dict[str, Any]) -> str:
    cell = _cell(place)
    if codec is None:
        return cell
    if isinstance(codec, Conversion):
        return codec.written(cell, names)
    names[f"f_{cell}"] = codec
    return f"f_{cell}({cell})"


def attach(owners: Sequence[Document | None], name: str, keys: Iterable[Any], children: Children) -> None:
    """Give each document its children; a list that was cut says so in `_meta`."""
    for owner, key in zip(owners, keys, strict=True):
        if owner is None:
            continue
        own = owner[name] = children.documents.get(key, [])
        if key in children.totals:
            owner.setdefault("_meta", {})[name] = {"total": children.totals[key], "returned": len(own)}
