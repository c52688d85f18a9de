"""Writes rows as objects, through the session: for models whose validators and listeners must see them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import lazyload
from sqlalchemy.orm.attributes import flag_modified, get_history, set_committed_value

from ..database import UnitOfWork
from ..dialects import ConstraintViolated
from ..errors import ValidationError
from ..policy import both
from ..resource import Resource
from . import statements as sql
from .clauses import clause_of
from .plan import WriteRule, stamp
from .reader import Reader
from .violations import NO_VALUE, refused_value, violation_problem
from .writer import Writer

__all__ = ["EntityWriter"]

T = TypeVar("T")


class EntityWriter(Writer):
    """The same writes, rules and answers; SQLAlchemy's unit of work makes the statements.

    Objects are made as loading makes them, without `__init__`.
    """

    renderer = "entities"

    def __init__(self, reader: Reader, reasons: tuple[str, ...]) -> None:
        super().__init__(reader)
        self.reasons = reasons

    def _must_look(self, rule: WriteRule, values: Mapping[str, Any]) -> bool:
        return rule.check is not None  # listeners may have changed any column

    async def _insert(
        self, work: UnitOfWork, values: dict[str, Any], *, alone: bool
    ) -> tuple[tuple[Any, ...], bytes | None]:
        entity: Any = self.resource.mapper.class_manager.new_instance()
        _assign(self.resource, entity, values)
        work.session().add(entity)
        await self._flush(work, values)
        return tuple(getattr(entity, item.name) for item in self.resource.key), None

    async def _change(
        self, work: UnitOfWork, key: Sequence[Any], values: dict[str, Any], rule: WriteRule, *, alone: bool
    ) -> tuple[bool, bytes | None]:
        entity = await self._load(work, key, rule)
        if entity is None:
            return False, None
        stamped = dict(values)
        stamp(self.resource, stamped)
        _assign(self.resource, entity, stamped)
        for name in stamped:
            if not get_history(entity, name).has_changes():
                flag_modified(entity, name)  # written is written, also where nothing differs
        await self._flush(work, stamped)
        return True, None

    async def _remove(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule, *, alone: bool) -> bool:
        entity = await self._load(work, key, rule)
        if entity is None:
            return False
        for relation in self.resource.referring:
            # The database decides whether others may refer to nothing: their keys are not emptied.
            set_committed_value(entity, relation.name, [] if relation.many else None)
        await _told(work, work.session().delete(entity))
        await self._flush(work, {}, deleting=True)
        return True

    async def _load(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule) -> Any:
        """The object, locked, where the rule lets it be touched."""
        resource = self.resource
        clause = clause_of(both(rule.read, rule.write))
        statement = select(resource.model).where(sql.key_clause(resource)).with_for_update()
        if clause is not None:
            statement = statement.where(clause)
        statement = statement.options(lazyload("*")).execution_options(populate_existing=True)
        return await _told(work, work.session().scalar(statement, sql.key_values(resource, key)))

    async def _flush(self, work: UnitOfWork, values: Mapping[str, Any], *, deleting: bool = False) -> None:
        try:
            await _told(work, work.session().flush())
        except ConstraintViolated as error:
            if deleting:
                raise violation_problem(self.resource, error.violation, deleting=True) from error
            raise await self._refusal(work, error, values) from error


async def _told(work: UnitOfWork, step: Awaitable[T]) -> T:
    """What the session's step gives; what the database said as a fault."""
    try:
        return await step
    except DBAPIError as error:
        raise work.database.dialect.statement_fault(error) from error


def _assign(resource: Resource, entity: Any, values: Mapping[str, Any]) -> None:
    """Raises 422 with what the validators say."""
    errors = []
    for name, value in values.items():
        try:
            setattr(entity, name, value)
        except NO_VALUE as error:
            errors.append(refused_value(resource.fields[name], error))
    if errors:
        raise ValidationError(errors)
