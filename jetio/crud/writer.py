"""Writes rows: the write and its rules in one transaction, in one statement where that is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..columns import is_foreign, is_sure
from ..database import UnitOfWork
from ..dialects import ConstraintViolated, Query, Result
from ..dialects.values import dump
from ..errors import Problem, ValidationError, forbidden, not_found
from ..policy import ALLOW, AllowWhere, Decision, Deny, both
from ..relations import ForeignKey
from ..resource import Resource
from . import statements as sql
from .clauses import Scopes, bound, clause_of, shaped
from .plan import WriteRule, refuse_claims, stamp
from .reader import Reader
from .views import View
from .violations import NO_VALUE, invalid_reference, refused_value, still_referenced, violation_problem

__all__ = ["Writer"]

RACES = 3
"""How often a write is tried when the row changes between it and the question why it failed."""


class Writer:
    """Writes rows of one resource by statements; `reader` gives the answer's document.

    `several` says that the write is not the whole transaction.
    """

    renderer = "rows"
    """What it writes."""
    reasons: tuple[str, ...] = ()
    """Why it needs the session of the unit of work, if it does."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.resource: Resource = reader.view.resource
        self.plain = View(self.resource, tuple(self.resource.fields.values()))
        self.own = Reader(self.plain)
        shown = {item.name for item in reader.view.fields}
        self.answers = not reader.view.embeds
        self.shows_key = self.answers and all(item.name in shown for item in self.resource.key)
        # A statement that is its own transaction is lasting before its row is rendered: that must not fail then.
        fields = self.resource.fields
        self._binds = {name: item.bind for name, item in fields.items()}
        view = reader.view if self.shows_key else self.plain
        names = [item.name for item in view.fields]
        self._returned = view, [names.index(item.name) for item in self.resource.key]
        self.foreign = {name: item for name, item in fields.items() if is_foreign(item.column.type)}
        self.sure = all(is_sure(item.column) for item in (*reader.view.fields, *self.resource.key))

    async def create(
        self, work: UnitOfWork, values: dict[str, Any], rule: Decision, scopes: Scopes, *, several: bool
    ) -> tuple[tuple[Any, ...], bytes]:
        """Insert; the key and the document of the new row."""
        if self.foreign:
            self._refuse_unbindable(work, values)
        check = rule.check if isinstance(rule, AllowWhere) else None
        key, document = await self._insert(work, values, alone=self.sure and check is None and not several)
        if check is not None and not await self._satisfies(work, check, key):
            raise _outside()
        return key, document or await self.show(work, scopes, key)

    async def update(
        self,
        work: UnitOfWork,
        key: Sequence[Any],
        values: dict[str, Any],
        rule: WriteRule,
        scopes: Scopes,
        *,
        several: bool,
    ) -> bytes:
        """Change the row; its document. Raises 404, 403 or what the database refuses."""
        if self.foreign:
            self._refuse_unbindable(work, values)
        look = self._must_look(rule, values)
        alone = self.sure and not (look or several)
        check = await self._check_after(work, key, rule) if look else None
        for _ in range(RACES):
            changed, document = await self._change(work, key, values, rule, alone=alone)
            if changed:
                break
            await self.judge(work, key, rule)
        else:
            raise contended()
        if look and not await self._satisfies(work, check, key):
            raise _outside()
        return document or await self.show(work, scopes, key)

    async def delete(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule, *, several: bool) -> None:
        """Remove the row; raises 404, 403 or 409 `still_referenced`."""
        for _ in range(RACES):
            if await self._remove(work, key, rule, alone=not several):
                return
            await self.judge(work, key, rule)
        raise contended()

    async def show(self, work: UnitOfWork, scopes: Scopes, key: Sequence[Any]) -> bytes:
        """The row that was just written, as the answer shows it: its own rule no longer counts."""
        document = await self.reader.one(work, {**scopes, "": ALLOW}, key, alone=False)
        if document is None:
            raise not_found()
        return document

    async def unchanged(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule, scopes: Scopes) -> bytes:
        """The document of a row to which nothing is done, if it may be written."""
        document = await self.reader.one(work, {**scopes, "": both(rule.read, rule.write)}, key, alone=False)
        if document is None:
            await self.judge(work, key, rule)
            raise contended()
        return document

    async def held(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule) -> dict[str, Any]:
        """The row as it is, locked; raises 404 or 403."""
        row = await self.own.current(work, both(rule.read, rule.write), key)
        if row is None:
            await self.judge(work, key, rule)
            raise contended()
        return row

    async def judge(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule) -> None:
        """Say why a row was not touched: 404 or 403. Returns when it might have been: someone was quicker."""
        read, write = clause_of(rule.read), clause_of(rule.write)
        query, values = self._shaped(
            work, "judge", [read, write], lambda r, w: sql.judge_row(self.resource, r, w)
        )
        rows = query.decode(await work.run(query, values | sql.key_values(self.resource, key)))
        if not rows or not rows[0][0]:
            raise not_found()
        if not rows[0][1]:
            refusal = rule.write if isinstance(rule.write, Deny) else Deny()
            raise forbidden(refusal.detail, code=refusal.code)

    async def compare(
        self,
        work: UnitOfWork,
        claimed: Mapping[str, Any],
        key: Sequence[Any],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Compare what the client sent for the server's own fields with what is, and was, stored."""
        after = await self.own.current(work, ALLOW, key)
        refuse_claims(claimed, [row for row in (before, after) if row is not None])

    async def check_references(
        self,
        work: UnitOfWork,
        values: Mapping[str, Any],
        given: Mapping[str, Any],
        scopes: Mapping[ForeignKey, Decision],
    ) -> None:
        """Refuse references that the caller has given, to rows that the caller may not read."""
        for foreign_key, rule in scopes.items():
            if not any(name in given for name in foreign_key.fields):
                continue
            if not await self._refers(work, foreign_key, values, rule):
                raise invalid_reference([foreign_key])

    def _refuse_unbindable(self, work: UnitOfWork, values: Mapping[str, Any]) -> None:
        """Raises 422 for values that a type of the application's own refuses to send."""
        dialect, errors = work.database.engine.sync_engine.dialect, []
        for name in sorted(self.foreign.keys() & values.keys()):
            bind = self.foreign[name].column.type._cached_bind_processor(dialect)
            try:
                _ = bind(values[name]) if bind is not None else None
            except NO_VALUE as error:
                errors.append(refused_value(self.foreign[name], error))
        if errors:
            raise ValidationError(errors)

    # ---- how it is done: by statements ---------------------------------------------------------------------

    def _must_look(self, rule: WriteRule, values: Mapping[str, Any]) -> bool:
        """Whether the written row must be read again to know that it satisfies the rule."""
        if rule.check is None:
            return False
        written = [item for name, item in self.resource.fields.items() if name in values or item.on_update]
        return sql.needs_second_look(rule.check, clause_of(rule.write), written)

    async def _check_after(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule) -> Any:
        """What the row must satisfy once it is changed: the check of a rule that lets the row through as it is."""
        if not rule.ways:
            return rule.check
        lock = work.database.dialect.row_lock
        query, given = self._shaped(
            work,
            "ways",
            [way.clause for way in rule.ways],
            lambda *own: sql.open_ways(self.resource, own, lock=lock),
        )
        rows = query.decode(await work.run(query, given | sql.key_values(self.resource, key)))
        return rule.check_after(map(bool, rows[0])) if rows else rule.check

    async def _insert(
        self, work: UnitOfWork, values: dict[str, Any], *, alone: bool
    ) -> tuple[tuple[Any, ...], bytes | None]:
        names = tuple(sorted(values))
        returning = work.database.dialect.insert_returning
        view, places = self._returned
        query = work.database.shaped(
            ("insert", view, names), lambda: sql.insert_row(view, names, returning=returning)
        )
        ends = returning and self.shows_key
        result = await self._write(work, query, self._bound(values), values, alone=alone and ends)
        if not returning:
            # The driver knows the keys that the database counted up, the plan all others.
            made = zip(self.resource.key, result.rows[0], strict=True)
            return tuple(values.get(item.name, counted) for item, counted in made), None
        key = query.decode_places(result, places)
        return key, dump(self.reader.renderer.documents(query, result)[0]) if ends else None

    async def _change(
        self, work: UnitOfWork, key: Sequence[Any], values: dict[str, Any], rule: WriteRule, *, alone: bool
    ) -> tuple[bool, bytes | None]:
        stamped = dict(values)
        if self.resource.stamped:
            stamp(self.resource, stamped)
        names = tuple(sorted(stamped))
        clause = clause_of(both(rule.read, rule.write))
        returning = work.database.dialect.update_returning and self.answers
        query, given = self._shaped(
            work,
            ("update", names),
            [clause],
            lambda own: sql.update_row(self.reader.view, names, own, returning=returning),
        )
        given |= sql.key_values(self.resource, key) | self._bound(stamped)
        result = await self._write(work, query, given, stamped, alone=alone and returning)
        if not returning:
            return result.count > 0, None
        documents = self.reader.renderer.documents(query, result)
        return bool(documents), dump(documents[0]) if documents else None

    async def _remove(self, work: UnitOfWork, key: Sequence[Any], rule: WriteRule, *, alone: bool) -> bool:
        clause = clause_of(both(rule.read, rule.write))
        query, given = self._shaped(work, "delete", [clause], lambda own: sql.delete_row(self.resource, own))
        given |= sql.key_values(self.resource, key)
        try:
            run = work.run_alone(query, given, writes=True) if alone else work.run(query, given)
            return (await run).count > 0
        except ConstraintViolated as error:
            raise violation_problem(self.resource, error.violation, deleting=True) from error

    def _bound(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(map(self._binds.__getitem__, values), values.values(), strict=True))

    def _shaped(
        self, work: UnitOfWork, name: Any, clauses: Sequence[Any], build: Callable[..., Any]
    ) -> tuple[Query, dict[str, Any]]:
        query, binds = shaped(work.database, (name, self.reader.view), clauses, lambda own: build(*own))
        return query, bound(query, binds, {})

    async def _satisfies(self, work: UnitOfWork, check: Any, key: Sequence[Any]) -> bool:
        query, given = self._shaped(work, "check", [check], lambda own: sql.check_row(self.resource, own))
        return bool((await work.run(query, given | sql.key_values(self.resource, key))).rows)

    async def _refers(
        self, work: UnitOfWork, key: ForeignKey, values: Mapping[str, Any], rule: Decision
    ) -> bool:
        """Whether the values refer to a row that the rule lets through, or to none."""
        held = {f"r{place}": values.get(name) for place, name in enumerate(key.fields)}
        if None in held.values():
            return True
        clause = clause_of(rule)
        query, given = self._shaped(
            work, ("refer", key.fields), [clause], lambda own: sql.refer_row(key.table, key.columns, own)
        )
        return bool((await work.run(query, given | held)).rows)

    async def _write(
        self,
        work: UnitOfWork,
        query: Query,
        given: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        alone: bool,
    ) -> Result:
        try:
            return await (work.run_alone(query, given, writes=True) if alone else work.run(query, given))
        except ConstraintViolated as error:
            raise await self._refusal(work, error, values) from error

    async def _refusal(
        self, work: UnitOfWork, error: ConstraintViolated, values: Mapping[str, Any]
    ) -> Problem:
        """What the database refused, by the names of its fields."""
        violation = error.violation
        if violation.kind != "foreign_key" or violation.constraint is not None:
            return violation_problem(self.resource, violation, deleting=False)
        # SQLite does not tell which reference leads nowhere: ask for each. Of a key that is written in part the
        # rest is not known here.
        await work.rollback()
        held = [key for key in self.resource.foreign_keys if any(name in values for name in key.fields)]
        broken = [key for key in held if not await self._refers(work, key, values, ALLOW)]
        partly = [key for key in held if any(name not in values for name in key.fields)]
        return invalid_reference(broken or partly) if broken or partly else still_referenced()


def contended() -> Problem:
    """The row kept changing between the write and the question why it failed."""
    return Problem(409, "conflict", "The row is being changed by others; try again")


def _outside() -> Problem:
    return forbidden("The row would be outside of what you may write", code="policy_check")
