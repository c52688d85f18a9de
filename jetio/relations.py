"""How a table is tied to others: relationships, foreign keys, and what its constraints are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.orm import RelationshipProperty
from sqlalchemy.sql import operators

__all__ = ["ForeignKey", "Relation"]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: which fields hold it, and which table and columns it names."""

    name: str | None
    fields: tuple[str, ...]
    table: Table
    columns: tuple[Column[Any], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A relationship: the model on the other side and the columns that are equal on both."""

    name: str
    target: type[Any]
    many: bool
    pairs: tuple[tuple[Column[Any], Column[Any]], ...]
    secondary: Table | None
    secondary_pairs: tuple[tuple[Column[Any], Column[Any]], ...]
    order: tuple[ColumnElement[Any], ...]
    simple: bool

    @property
    def indexed(self) -> bool:
        """Whether the other side's rows are found by an index."""
        found = is_indexed(other for _, other in self.pairs)
        return found and (
            not self.secondary_pairs or is_indexed(target for target, _ in self.secondary_pairs)
        )


def relation_of(item: RelationshipProperty[Any]) -> Relation:
    secondary = item.secondary if isinstance(item.secondary, Table) else None
    pairs: Any = tuple(item.local_remote_pairs or ()) if secondary is None else ()
    own, other = _through(item) if secondary is not None else ((), ())
    expected = len(pairs) if secondary is None else len(own)
    return Relation(
        name=item.key,
        target=item.mapper.class_,
        many=bool(item.uselist),
        pairs=pairs or own,  # local columns on the left in both cases
        secondary=secondary,
        secondary_pairs=other,
        order=tuple(item.order_by or ()),
        simple=_equals(item.primaryjoin) == expected
        and (secondary is None or _equals(item.secondaryjoin) == len(other)),
    )


def _equals(clause: Any) -> int:
    """How many equalities of two columns a join consists of; 0 where it holds anything else."""
    parts = list(clause.clauses) if getattr(clause, "operator", None) is operators.and_ else [clause]
    plain = all(
        getattr(part, "operator", None) is operators.eq
        and isinstance(part.left, Column)
        and isinstance(part.right, Column)
        for part in parts
    )
    return len(parts) if plain else 0


def _through(item: RelationshipProperty[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The two halves of a many-to-many: own column with link column, link column with the target's."""
    own = tuple((local, link) for local, link in item.synchronize_pairs)
    other = tuple((target, link) for target, link in item.secondary_synchronize_pairs or ())
    return own, other


def is_indexed(columns: Iterable[Column[Any]]) -> bool:
    """Whether the table's declaration has an index that finds rows by these columns."""
    wanted = list(columns)
    table: Any = wanted[0].table
    kept = [list(item.columns) for item in table.constraints if isinstance(item, _INDEXED)]
    kept += [list(item.expressions) for item in table.indexes if not _is_partial(item)]
    return any(set(found[: len(wanted)]) == set(wanted) for found in kept)


_INDEXED = (PrimaryKeyConstraint, UniqueConstraint)


def _is_partial(index: Index) -> bool:
    return any(options.get("where") is not None for options in index.dialect_options.values())


def foreign_keys_of(table: Table, by_column: Mapping[str, str]) -> tuple[ForeignKey, ...]:
    found = []
    for constraint in table.foreign_key_constraints:
        names = [column.name for column in constraint.columns]
        if all(name in by_column for name in names):
            fields = tuple(by_column[name] for name in names)
            columns = tuple(element.column for element in constraint.elements)
            found.append(ForeignKey(_text(constraint.name), fields, constraint.referred_table, columns))
    return tuple(sorted(found, key=lambda key: key.fields))


def uniques_of(table: Table, by_column: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The fields that are unique together, by the names that databases know them by."""
    found: dict[str, tuple[str, ...]] = {}

    def note(columns: Iterable[Any], *names: Any) -> None:
        fields = tuple(by_column.get(column.name, column.name) for column in columns)
        found.update((str(name), fields) for name in names if name)

    note(table.primary_key, table.primary_key.name, "PRIMARY", f"{table.name}_pkey")
    for item in table.constraints:
        if isinstance(item, UniqueConstraint):
            columns = list(item.columns)
            # Without a name MariaDB takes that of the first column.
            note(columns, item.name or columns[0].name)
    for index in table.indexes:
        if index.unique:
            note(index.columns, index.name)
    return found


def checks_of(table: Table, by_column: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        str(item.name): tuple(by_column[name] for name in _checked_columns(item) if name in by_column)
        for item in table.constraints
        if isinstance(item, CheckConstraint) and item.name
    }


def _checked_columns(check: CheckConstraint) -> list[str]:
    """The columns of the condition; where that is plain text, the words in it that are columns."""
    if len(check.columns):
        return [column.name for column in check.columns]
    return list(dict.fromkeys(re.findall(r"\w+", str(check.sqltext))))


def _text(name: Any) -> str | None:
    return str(name) if name else None
