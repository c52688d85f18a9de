"""Classes that inherit from each other: which share a table, and what tells their rows apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, false, or_
from sqlalchemy.orm import Mapper

from .errors import ConfigError

__all__ = ["below", "criterion_of", "kind_mistakes", "table_of"]


def table_of(mapper: Mapper[Any]) -> Table:
    """The one table that a class is kept in; raises ConfigError."""
    name, parent = mapper.class_.__name__, mapper.inherits
    if parent is not None and mapper.concrete:
        raise ConfigError(
            f"{name} has a table of its own beside that of {parent.class_.__name__}, whose rules and "
            "references would not reach it; declare what they share in a mixin without a table, "
            "or leave out its __tablename__ to keep both kinds in one"
        )
    if parent is not None and not isinstance(mapper.persist_selectable, Table):
        raise ConfigError(
            f"{name} is spread over its own table and that of {parent.class_.__name__}; "
            "leave out its __tablename__ to keep both kinds in one, or write a relationship"
        )
    if not isinstance(mapper.local_table, Table):
        raise ConfigError(
            f"{name} is mapped to a {type(mapper.local_table).__name__}, which cannot be written; "
            "map it to a table"
        )
    return mapper.local_table


def criterion_of(mapper: Mapper[Any]) -> ColumnElement[bool] | None:
    """What tells the rows of a class from those of the others in its table; None: all are its own."""
    kind: Any = mapper.polymorphic_on
    if not mapper.single or mapper.inherits is None or kind is None:
        return None
    known = [item.polymorphic_identity for item in mapper.self_and_descendants]
    return or_(false(), *(kind == identity for identity in known if identity is not None))


def kind_mistakes(mapper: Mapper[Any]) -> Iterator[str]:
    """A kind that no INSERT could write."""
    kind: Any = mapper.polymorphic_on
    if kind is not None and not (isinstance(kind, Column) and kind.table is mapper.local_table):
        yield (
            f"the kind of a {mapper.class_.__name__} is an expression, which a new row cannot be given; "
            'write "polymorphic_on": "kind" and a column of that name'
        )


def below(mapper: Mapper[Any]) -> list[type[Any]]:
    """The classes that inherit the table from a class."""
    heirs = [item for item in mapper.self_and_descendants if item is not mapper]
    return [item.class_ for item in heirs if item.local_table is mapper.local_table]
