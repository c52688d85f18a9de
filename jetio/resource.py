"""What a model is to the API: its fields, key, relations and constraints, read from the mapper once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, ColumnElement, Enum, FromClause, Numeric, Table
from sqlalchemy import inspect as mapped
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper, RelationshipDirection, Session
from sqlalchemy.orm import registry as Registry

from .columns import inexact_type
from .declared import LISTS, Declared, info_mistakes, no_column, said_of, side_of
from .errors import ConfigError
from .kinds import below, criterion_of, kind_mistakes, table_of
from .limits import INFO_LIMITS, annotations_of, is_secret, limited
from .policy import Policy, PolicyLike
from .relations import ForeignKey, Relation, checks_of, foreign_keys_of, relation_of, uniques_of
from .wire import is_addressable

__all__ = ["Field", "Resource", "add_rules", "models_of", "resource_of"]

_ALWAYS_HIDDEN = re.compile(r"^_|^hashed_password$|^password_hash$|_token_hash$|^totp_secret$")
_WRITES = ("insert", "update", "delete")
_MAPPER_EVENTS = [f"{when}_{write}" for when in ("before", "after") for write in _WRITES]
_FLUSH_EVENTS = ("before_flush", "after_flush", "after_flush_postexec")


@dataclass(frozen=True, slots=True)
class Field:
    """One column as clients see it. `annotation` carries every limit of the column."""

    name: str
    column: Column[Any]
    annotation: Any
    nullable: bool
    primary_key: bool
    hidden: bool
    readable: bool
    creatable: bool
    updatable: bool
    admin_read: bool
    admin_write: bool
    required: bool
    default: Callable[[Any], Any] | None
    shown_default: Any
    on_update: Callable[[Any], Any] | None
    generated: bool
    unsettable: bool

    @property
    def bind(self) -> str:
        """The name of this column's value in a statement; never a column's own, which SQLAlchemy reserves."""
        return f"v_{self.name}"


@dataclass(frozen=True, eq=False)
class Resource:
    """A model, read once: nothing asks the mapper again."""

    model: type[Any]
    mapper: Mapper[Any]
    table: Table
    name: str
    title: str
    fields: Mapping[str, Field]
    key: tuple[Field, ...]
    by_column: Mapping[str, str]
    relations: Mapping[str, Relation]
    foreign_keys: tuple[ForeignKey, ...]
    uniques: Mapping[str, tuple[str, ...]]
    checks: Mapping[str, tuple[str, ...]]
    version: str | None
    floors: tuple[Mapping[str, Policy], ...]
    criterion: ColumnElement[bool] | None
    mistakes: tuple[str, ...]

    @cached_property
    def key_adapters(self) -> tuple[TypeAdapter[Any], ...]:
        """Parsers of the key's values as they stand in a URL."""
        return tuple(TypeAdapter(item.annotation) for item in self.key)

    @cached_property
    def defaulted(self) -> tuple[Field, ...]:
        """The fields that a new row gets a value for where none is given."""
        return tuple(item for item in self.fields.values() if item.default is not None)

    @cached_property
    def stamped(self) -> tuple[Field, ...]:
        """The fields that change with every update."""
        return tuple(item for item in self.fields.values() if item.on_update is not None)

    @cached_property
    def key_binds(self) -> tuple[str, ...]:
        """The names of the key's values in a statement that is about one row."""
        return tuple(f"k_{item.name}" for item in self.key)

    def readable(self, *, admin: bool) -> tuple[Field, ...]:
        """The fields that a caller of this kind may see, in the mapper's order."""
        return tuple(
            item for item in self.fields.values() if item.readable and (admin or not item.admin_read)
        )

    @property
    def has_admin_fields(self) -> bool:
        """Whether admins see more fields than others, or set more."""
        return any(item.admin_read or item.admin_write for item in self.fields.values())

    @property
    def watchers(self) -> tuple[str, ...]:
        """Who waits to see objects, in words: validators, listeners of mapper, attributes or sessions.

        Asked at build: listeners may be registered after the model was read.
        """
        found = [f"validates {name}" for name in self.mapper.validators]
        if self.mapper.version_id_col is not None and self.version is None:
            found.append("versions that only the mapper makes")
        session: Any = Session()
        heard = [(name, getattr(self.mapper.dispatch, name)) for name in _MAPPER_EVENTS]
        heard += [(f"{name} of sessions", getattr(session.dispatch, name)) for name in _FLUSH_EVENTS]
        heard += [
            (f"set of {name}", self.mapper.class_manager[name].dispatch.set)
            for name in self.fields
            if name not in self.mapper.validators
        ]
        return (*found, *(f"listener on {name}" for name, listeners in heard if list(listeners)))

    @property
    def deaf_filters(self) -> list[str]:
        """Listeners that would change what a session selects, by name: statements of no session never meet them."""
        heard: Any = Session().dispatch.do_orm_execute
        return [getattr(listener, "__qualname__", repr(listener)) for listener in heard]

    @property
    def taken_along(self) -> tuple[str, ...]:
        """What goes with a row, in words: other rows by cascades, or links of a many-to-many."""
        return tuple(
            f"deletes {item.key}" if item.cascade.delete else f"deletes links to {item.key}"
            for item in self.mapper.relationships
            if not (item.passive_deletes or item.viewonly)
            and (item.cascade.delete or item.secondary is not None)
        )

    @property
    def referring(self) -> list[Relation]:
        """The relationships to rows that refer to this one and do not go with it."""
        return [
            self.relations[item.key]
            for item in self.mapper.relationships
            if item.direction is RelationshipDirection.ONETOMANY and not item.cascade.delete
        ]

    @property
    def below(self) -> list[type[Any]]:
        """The classes that inherit the table from this one."""
        return below(self.mapper)

    @property
    def root(self) -> type[Any]:
        """The class that all classes of its tree inherit from."""
        return self.mapper.base_mapper.class_

    def inexact(self, digits: int) -> list[str]:
        """The fields that a database loses digits of which keeps so many."""
        kinds = {name: item.column.type for name, item in self.fields.items()}
        return [
            name
            for name, kind in kinds.items()
            if isinstance(kind, Numeric) and (kind.precision or 0) > digits
        ]


_resources: dict[type[Any], Resource] = {}


def resource_of(model: type[Any]) -> Resource:
    """The Resource of a mapped class; raises ConfigError for anything else."""
    found = _resources.get(model)
    if found is None:
        found = _resources[model] = _read(model)
    return found


def add_rules(
    model: type[Any], columns: Mapping[str, Mapping[str, Any]], floor: Mapping[str, PolicyLike]
) -> None:
    """Add to a model's `class API` from elsewhere, before the application is built.

    `columns` maps attributes to what an `info={"jetio": ...}` may say (`hidden`, `read_only`, `admin_only`,
    `normalise` and limits); `floor` is a policy that every router of the model obeys beside its own.
    """
    mapper = _mapper_of(model)
    for name, rules in columns.items():
        if name not in mapper.columns:
            raise no_column(model, name, mapper.columns.keys())
        column = mapper.columns[name]
        column.info["jetio"] = {**column.info.get("jetio", {}), **rules}
    model.__api_floor__ = dict(floor)
    _resources.pop(model, None)


def models_of(registry: Registry) -> Mapping[FromClause, type[Any]]:
    """The model of each table; of classes that share it the one that all its rows belong to."""
    return {
        item.local_table: item.class_
        for item in registry.mappers
        if item.inherits is None or item.inherits.local_table is not item.local_table
    }


# ---- reading the mapper ----------------------------------------------------------------------------------


def _mapper_of(model: type[Any]) -> Mapper[Any]:
    try:
        mapper: Mapper[Any] = mapped(model)
    except NoInspectionAvailable:
        raise ConfigError(
            f"{model!r} is no mapped class; write `class {getattr(model, '__name__', 'Post')}(JetioModel)`"
        ) from None
    return mapper


def _read(model: type[Any]) -> Resource:
    mapper = _mapper_of(model)
    mapper.registry.configure()
    table, declared, annotations = table_of(mapper), Declared(model), annotations_of(model)
    fields: dict[str, Field] = {}
    mistakes = [*declared.mistakes, *kind_mistakes(mapper)]
    for attribute in mapper.column_attrs:
        name, column = attribute.key, attribute.columns[0]
        if isinstance(column, Column):  # what else stands there is an expression, which nobody can write
            fields[name] = _field(model, mapper, name, column, annotations.get(name), declared)
            mistakes += _mistakes_of(model, fields[name])
    by_column = {item.column.name: name for name, item in fields.items()}
    return Resource(
        model=model,
        mapper=mapper,
        table=table,
        name=table.name,
        title=model.__name__,
        fields=fields,
        key=tuple(fields[by_column[column.name]] for column in mapper.primary_key),
        by_column=by_column,
        relations={item.key: relation_of(item) for item in mapper.relationships},
        foreign_keys=foreign_keys_of(table, by_column),
        uniques=uniques_of(table, by_column),
        checks=checks_of(table, by_column),
        version=_version_of(mapper, by_column),
        floors=declared.floors,
        criterion=criterion_of(mapper),
        mistakes=(*mistakes, *declared.unknown({name: item.column.name for name, item in fields.items()})),
    )


def _mistakes_of(model: type[Any], item: Field) -> list[str]:
    place = f"{model.__name__}.{item.name}"
    found = list(info_mistakes(place, item.column.info, INFO_LIMITS))
    kind = item.column.type
    if item.primary_key and isinstance(kind, Enum) and not all(map(is_addressable, kind.enums)):
        found.append(f"{place} is a key, of which '', '.' and '..' cannot stand in an address; rename them")
    why = inexact_type(kind)
    return found if why is None else [*found, f"{place} is {why}"]


def _field(
    model: type[Any],
    mapper: Mapper[Any],
    name: str,
    column: Column[Any],
    annotation: Any,
    declared: Declared,
) -> Field:
    info = said_of(column.info)
    named = {kind for kind in LISTS if name in declared.lists[kind] or info.get(kind)}
    made = _made_by_mapper(mapper, column)
    generated = made is not None or _is_generated(column) or mapper.version_id_col is column
    hidden = "hidden" in named or any(_ALWAYS_HIDDEN.search(known) for known in (name, column.name))
    admin = declared.admin.get(name) or side_of(info.get("admin_only"))
    default, shown = (made, None) if made is not None else _default(column)
    has_default = default is not None or shown is not _ABSENT or column.server_default is not None
    writable = not (hidden or generated or "read_only" in named or column.computed is not None)
    writable = writable and mapper.polymorphic_on is not column
    key = column.primary_key
    return Field(
        name=name,
        column=column,
        annotation=limited(model, name, column, annotation, info),
        nullable=bool(column.nullable),
        primary_key=key,
        hidden=hidden,
        readable=not (hidden or "write_only" in named or is_secret(annotation, column)),
        creatable=writable,
        updatable=writable and not key and "create_only" not in named,
        admin_read=admin in ("both", "read"),
        admin_write=admin in ("both", "write"),
        required=writable and not (column.nullable or has_default or _is_counted(column)),
        default=default,
        shown_default=None if shown is _ABSENT else shown,
        on_update=_on_update(column),
        generated=generated,
        unsettable=not (
            writable or generated or column.nullable or has_default or column.computed is not None
        ),
    )


_ABSENT: Any = object()


def _is_counted(column: Column[Any]) -> bool:
    return column.primary_key and column.table.autoincrement_column is column


def _is_generated(column: Column[Any]) -> bool:
    """A key that the database counts up, or an identity that it insists on: clients never choose it."""
    if column.identity is not None and column.identity.always:
        return True
    return _is_counted(column) and column.default is None and not column.foreign_keys


def _made_by_mapper(mapper: Mapper[Any], column: Column[Any]) -> Callable[[Any], Any] | None:
    """What SQLAlchemy itself would put into a new row: the first version, or the kind of object."""
    if mapper.version_id_col is column and _counts_versions(mapper):
        return lambda context: 1
    if mapper.polymorphic_on is column and mapper.polymorphic_identity is not None:
        return lambda context: mapper.polymorphic_identity
    return None


def _version_of(mapper: Mapper[Any], by_column: Mapping[str, str]) -> str | None:
    """The field that counts the versions of a row, where SQLAlchemy was told to."""
    column: Any = mapper.version_id_col
    return by_column[column.name] if _counts_versions(mapper) else None


def _counts_versions(mapper: Mapper[Any]) -> bool:
    """Whether the versions of the mapper's rows are 1, 2, 3."""
    generator: Any = mapper.version_id_generator
    return mapper.version_id_col is not None and bool(generator) and (generator(None), generator(1)) == (1, 2)


def _default(column: Column[Any]) -> tuple[Callable[[Any], Any] | None, Any]:
    """How the column's Python-side default is made, and the value to show in the docs."""
    default: Any = column.default
    if default is None or default.is_sequence:
        return None, _ABSENT
    if default.is_scalar:
        return (lambda context: default.arg), default.arg
    return (default.arg if default.is_callable else None), None  # an SQL expression stands in the statement


def _on_update(column: Column[Any]) -> Callable[[Any], Any] | None:
    change: Any = column.onupdate
    if change is None or change.is_clause_element:
        return None
    return (lambda context: change.arg) if change.is_scalar else change.arg
