"""Declarations: the base class of every model, and the mixins that bring common columns."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_origin

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, declared_attr, mapped_column
from sqlalchemy.orm.decl_api import TypeResolve
from sqlalchemy.types import TypeEngine

from .columns import Duration, column_type, exact_type

__all__ = ["Base", "JetioModel", "TimestampMixin", "table_name"]


def _check_name(constraint: Any, table: Any) -> str:
    words = re.findall(r"\w+", str(constraint.sqltext))
    columns = "_".join(sorted(column.name for column in table.columns if column.name in words))
    digest = hashlib.sha256(str(constraint.sqltext).encode()).hexdigest()[:6]
    return f"{columns}_{digest}"


NAMING: dict[str, Any] = {
    "check_name": _check_name,
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "ck": "ck_%(table_name)s_%(check_name)s",
}

# Equal means equal everywhere: by bytes, and a space at the end is one. The two servers name that differently.
_COLLATIONS = {"mysql": "utf8mb4_0900_bin", "mariadb": "utf8mb4_nopad_bin"}
# Each of the two dialects ignores the other's options.
_TABLE_OPTIONS = {
    f"{dialect}_{option}": value
    for dialect, collation in _COLLATIONS.items()
    for option, value in (("charset", "utf8mb4"), ("collate", collation), ("engine", "InnoDB"))
}


class Base(DeclarativeBase):
    """The declarative base: one MetaData, named constraints, exact column types."""

    metadata = MetaData(naming_convention=NAMING)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        mapper = cls.__dict__.get("__mapper__")
        if mapper is not None and mapper.single:  # its columns have joined a table that was there before
            for column in mapper.local_table.columns:
                column.type = exact_type(column.type, in_key=_is_indexed(column))

    @classmethod
    def __table_cls__(cls, name: str, metadata: MetaData, *parts: Any, **options: Any) -> Table:
        columns = [part for part in parts if isinstance(part, Column)]
        keyed = _indexed_names(parts)
        for column in columns:
            column.type = exact_type(column.type, in_key=_is_indexed(column) or column.name in keyed)
            if isinstance(column.type, Duration):
                column.autoincrement = False  # a number to the database alone
        counted = _counted_key(columns, parts)
        if counted is not None:
            # SQLite counts up nothing but an INTEGER, which holds 64 bits there.
            counted.type = counted.type.with_variant(Integer(), "sqlite")
            options.setdefault("sqlite_autoincrement", True)
        if not event.contains(metadata, "before_create", _compare_alike):
            event.listen(metadata, "before_create", _compare_alike)
        return Table(name, metadata, *parts, *_raised_checks(columns), **{**_TABLE_OPTIONS, **options})


def _compare_alike(metadata: MetaData, connection: Connection, tables: Iterable[Table], **_: Any) -> None:
    """Give the tables that name no collation the one of the server, which `mysql://` does not tell.

    Link tables, too: a foreign key of text and what it refers to must have the same.
    """
    dialect: Any = connection.dialect
    if dialect.name not in _COLLATIONS:
        return
    server = "mariadb" if dialect.is_mariadb else "mysql"
    charset, collate, engine = (f"{dialect.name}_{option}" for option in ("charset", "collate", "engine"))
    for table in tables:
        own = table.kwargs
        ours = own.get(collate, _COLLATIONS[server]) in _COLLATIONS.values()
        if ours and own.setdefault(charset, "utf8mb4") == "utf8mb4":
            own.setdefault(engine, "InnoDB")
            own[collate] = _COLLATIONS[server]


def _raised_checks(columns: list[Column[Any]]) -> list[CheckConstraint]:
    """The checks of single columns as checks of the table: MariaDB takes no name for the former."""
    found = []
    for column in columns:
        for check in [item for item in column.constraints if isinstance(item, CheckConstraint)]:
            column.constraints.discard(check)
            found.append(CheckConstraint(check.sqltext, name=check.name))
    return found


def _indexed_names(parts: tuple[Any, ...]) -> set[str]:
    names: set[str] = set()
    for part in parts:
        if isinstance(part, ForeignKeyConstraint):
            names.update(part.column_keys)
        elif isinstance(part, UniqueConstraint | PrimaryKeyConstraint | Index):
            pending = getattr(part, "_pending_colargs", ())
            names.update(item if isinstance(item, str) else getattr(item, "name", "") for item in pending)
    return names


def _is_indexed(column: Column[Any]) -> bool:
    return bool(column.primary_key or column.unique or column.index or column.foreign_keys)


def _counted_key(columns: list[Column[Any]], parts: tuple[Any, ...]) -> Column[Any] | None:
    """The key that the database counts up, if there is one."""
    key = [column for column in columns if column.primary_key]
    if len(key) != 1 or any(isinstance(part, PrimaryKeyConstraint) for part in parts):
        return None
    [only] = key
    counts = isinstance(only.type, Integer) and only.autoincrement and not only.foreign_keys
    return only if counts and only.default is None else None


@event.listens_for(Base, "resolve_type_annotation")
def _resolve(asked: TypeResolve) -> TypeEngine[Any] | None:
    resolved = asked.resolved_type
    beside = asked.raw_pep_593_type
    # AwareDatetime, EmailStr and IPvAnyAddress are seen by their own name, not by what Annotated hides.
    for annotation in (asked.raw_type, beside, resolved):
        found = column_type(annotation, get_args(beside)[1:] if beside is not None else ())
        if found is not None:
            return found
    return None


class JetioModel(Base):
    """A model that becomes an API: a table named after the class, and an integer `id` unless it has a key.

    An inner `class API` says what clients may see and set: `hidden`, `read_only`, `write_only`,
    `create_only`, `admin_only`, `policy`. Its lists add up along the MRO.
    """

    __abstract__ = True

    exclude_from_read: ClassVar[Any] = ()

    if TYPE_CHECKING:
        id: Mapped[Any]  # a model with another key has none, which a type checker cannot be told

    def __init_subclass__(cls, **options: Any) -> None:
        if not cls.__dict__.get("__abstract__", False) and not _inherits_mapping(cls):
            if not _declares(cls, "__tablename__") and "__table__" not in cls.__dict__:
                cls.__tablename__ = table_name(cls.__name__)
            if not _declares_key(cls):
                cls.id = mapped_column(Integer, primary_key=True, sort_order=-100)
                cls.__annotations__ = {**inspect.get_annotations(cls), "id": Mapped[int]}
        super().__init_subclass__(**options)


def _inherits_mapping(cls: type) -> bool:
    return any("__mapper__" in ancestor.__dict__ for ancestor in cls.__mro__[1:])


def _declares(cls: type, name: str) -> bool:
    return any(name in ancestor.__dict__ for ancestor in cls.__mro__ if ancestor not in JetioModel.__mro__)


def _declares_key(cls: type) -> bool:
    if "__table__" in cls.__dict__:
        return True
    ancestors = [ancestor for ancestor in cls.__mro__ if ancestor not in JetioModel.__mro__]
    declared = [
        (name, _made_for(cls, value)) for ancestor in ancestors for name, value in vars(ancestor).items()
    ]
    return (
        any(_is_key(value) for _, value in declared)
        or any(_lists_key(value) for name, value in declared if name == "__table_args__")
        or any(_annotates_key(ancestor) for ancestor in ancestors)
    )


def _made_for(cls: type, value: Any) -> Any:
    """What a mixin's `@declared_attr` gives to this class; anything else as it is."""
    if not isinstance(value, declared_attr | declared_attr.directive):
        return value
    try:
        return value.fget(cls)
    except Exception:  # it wants what SQLAlchemy gives it later, and then tells itself what is wrong
        return None


def _is_key(value: Any) -> bool:
    if isinstance(value, MappedColumn):
        return bool(value.column.primary_key)
    return isinstance(value, Column) and bool(value.primary_key)


def _lists_key(arguments: Any) -> bool:
    return isinstance(arguments, tuple) and any(isinstance(item, PrimaryKeyConstraint) for item in arguments)


def _annotates_key(cls: type) -> bool:
    """Whether an `Annotated[..., mapped_column(primary_key=True)]` stands in the class's own annotations."""
    namespace = {**vars(sys.modules.get(cls.__module__, object)), **vars(cls)}
    return any(_holds_key(annotation, namespace) for annotation in inspect.get_annotations(cls).values())


def _holds_key(annotation: Any, namespace: dict[str, Any]) -> bool:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, namespace)  # noqa: S307 - the model's own source, as typing.get_type_hints does
        except Exception:  # a name that exists for type checkers only cannot hold a column
            return False
    if get_origin(annotation) is Annotated:
        return any(_is_key(item) for item in get_args(annotation)[1:])
    return any(_holds_key(argument, namespace) for argument in get_args(annotation))


def table_name(class_name: str) -> str:
    """The plural of a class name in snake_case: `Category` is `categories`, `CityName` is `city_names`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()
    if re.search(r"[^aeiou]y$", words):
        return f"{words[:-1]}ies"
    return f"{words}es" if re.search(r"(s|x|z|ch|sh)$", words) else f"{words}s"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _as_created(context: Any) -> dt.datetime:
    """A new row was changed last when it was made."""
    created: dt.datetime | None = context.get_current_parameters().get("created_at")
    return created or _now()


class TimestampMixin:
    """`created_at` and `updated_at`, kept by the server in UTC."""

    created_at: Mapped[dt.datetime] = mapped_column(default=_now, sort_order=900)
    updated_at: Mapped[dt.datetime] = mapped_column(default=_as_created, onupdate=_now, sort_order=901)

    class API:
        read_only = ("created_at", "updated_at")
