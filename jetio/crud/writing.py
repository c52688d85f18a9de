"""POST, PUT, PATCH and DELETE: one transaction each, run again when the database says that it lost a race."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, TypeAdapter
from starlette.types import Scope, Send

from ..body import RequestBody
from ..dependencies import BodySpec
from ..dialects import Busy, ConstraintViolated
from ..errors import Problem, unavailable
from ..operation import Answer, send_empty, send_json
from ..policy import ALLOW, PUBLIC, Access, Decision, Policy
from ..relations import ForeignKey
from ..resource import Field
from ..routing import Application
from ..schemas import Schemas
from .actions import Action, read_decision
from .bodies import JSON, MERGE_PATCH, Bodies, Given
from .clauses import EVERYTHING, Scopes
from .hooks import Change
from .plan import UNRULED, WriteRule, plan_create, plan_owner, plan_replace
from .query import format_key, refuse_parameters
from .violations import violation_problem
from .writer import Writer

__all__ = ["Create", "Delete", "Replace", "Update"]

ATTEMPTS = 3
T = TypeVar("T")


_NONE: Mapping[Any, Any] = {}


@dataclass(slots=True)
class Task:
    """One write: what is to be done, what the rules say, who does it. `change` is the last attempt's."""

    access: Access
    writer: Writer
    rule: WriteRule
    scopes: Scopes
    key: tuple[Any, ...] | None
    values: Mapping[str, Any]
    given: Given
    references: Mapping[ForeignKey, Decision]
    stale: bool
    admin: bool
    change: Change | None = None


class Write(Action):
    """What creating, replacing, updating and deleting share."""

    media: ClassVar[tuple[str, ...]] = JSON
    moments: ClassVar[tuple[str, str]]

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        writer = self._writer(False)
        hooked = self.parts.hooks.waiting(*self.moments, "on_commit")
        self.hooked, self.renderer = bool(hooked), writer.renderer
        self.told_after = bool(self.parts.hooks.waiting(self.moments[1], "on_commit"))
        self.reasons = (*(f"hook on {moment}" for moment in hooked), *writer.reasons)
        self.referred = self._referred(app)

    def _writer(self, admin: bool) -> Writer:
        return self.parts.writers[admin]

    def _referred(self, app: Application) -> dict[ForeignKey, tuple[type[Any], list[Policy]]]:
        """Foreign keys to models with a read rule; accounts apart, which may be named though not read."""
        finder = self.parts.authenticator
        accounts = getattr(finder.user_model, "__table__", None) if finder is not None else None
        found = {}
        for key in self.resource.foreign_keys:
            target = app.model_of(key.table, self.resource)
            rules = [] if target is None else [rule for rule in app.read_rules(target) if rule is not PUBLIC]
            if (
                target is not None
                and rules
                and key.table is not accounts
                and self.parts.owner not in key.fields
            ):
                found[key] = target, rules
        return found

    async def _write_rule(self, access: Access, write: Decision) -> WriteRule:
        if self.read_rule is None:
            return UNRULED if write is ALLOW else WriteRule(ALLOW, write)
        return WriteRule(await read_decision([self.read_rule], access, self.resource.model), write)

    async def _references(self, access: Access) -> Mapping[ForeignKey, Decision]:
        found = {
            key: await read_decision(rules, access, target) for key, (target, rules) in self.referred.items()
        }
        return {key: decision for key, decision in found.items() if decision is not ALLOW}

    def _open(self, access: Access) -> None:
        """Hooks and listeners get a session: then all statements of this transaction are the session's."""
        if self.reasons:
            access.work.session()

    async def _retried(self, task: Task, attempt: Callable[[Task], Awaitable[T]]) -> T:
        """Run a whole transaction; when the database says that it lost a race, run it again, twice."""
        for _ in range(ATTEMPTS):
            try:
                self._open(task.access)
                result = await attempt(task)
                if task.access.work.is_open:
                    await self._commit(task)
            except Exception as error:
                # A hook's own statement may be the one that lost.
                if not isinstance(self.app.database.dialect.fault(error), Busy):
                    raise
                await task.access.work.rollback()
            else:
                return result
        raise unavailable("The row is being changed by others")

    async def _commit(self, task: Task) -> None:
        try:
            await task.access.work.commit()
        except ConstraintViolated as error:  # one that is checked at the end of the transaction
            deleting = self.action == "delete"
            raise violation_problem(self.resource, error.violation, deleting=deleting) from error

    def _change(self, task: Task) -> Change:
        task.change = Change(task.access, self.action, task.key, dict(task.values))
        return task.change

    async def _hook(self, moment: str, change: Change) -> None:
        await self.parts.hooks.run(moment, change)

    async def _after(self, moment: str, task: Task, change: Change, key: tuple[Any, ...]) -> bytes:
        """Show the hooks the row as it was written, then the caller as they left it."""
        work = task.access.work
        change.key, change.row = key, await task.writer.own.current(work, ALLOW, key)
        await self._hook(moment, change)
        return await task.writer.show(work, task.scopes, key)

    async def _committed(self, task: Task) -> None:
        assert task.change is not None  # noqa: S101 - every attempt makes one
        await self._hook("on_commit", task.change)
        await task.access.work.commit()  # what such a hook writes is a transaction of its own

    def _problems(self) -> Sequence[int]:
        return (409, 413, 415)


class Create(Write):
    """POST on the collection."""

    action, method, whole = "create", "POST", True
    moments = ("before_create", "after_create")

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        name = self.parts.owner
        self.owner = self.resource.fields[name] if name is not None else None
        self.bodies = {
            admin: Bodies(
                self.resource,
                schemas.create,
                schemas.creatable,
                admin=admin,
                media=self.media,
                largest=app.settings.max_body,
            )
            for admin, schemas in self.parts.schemas.items()
        }

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        if access.work.is_open:  # what the rule asked must not hold a connection while the body arrives
            await access.work.commit()
        refuse_parameters(scope["query_string"])
        admin = self._is_admin(access)
        owner = plan_owner(self.owner, access.principal)
        given = await self.bodies[admin].read(sent)
        values = plan_create(self.resource, given.values, owner=owner)
        self._open(access)
        rule = UNRULED if decision is ALLOW else WriteRule(ALLOW, decision)
        scopes = await self._scopes(access, ALLOW)
        references = await self._references(access) if self.referred else _NONE
        task = Task(access, self._writer(admin), rule, scopes, None, values, given, references, False, admin)
        key, document = await self._retried(task, self._attempt)
        location = f"{scope.get('root_path', '')}{self.base}/{key}"
        await _answer(sent, send, 201, document, [(b"location", location.encode())])
        if self.hooked:
            await self._committed(task)

    async def _attempt(self, task: Task) -> tuple[str, bytes]:
        work, writer, claimed = task.access.work, task.writer, task.given.claimed
        change = self._change(task)
        if task.references:
            await writer.check_references(work, task.values, task.given.values, task.references)
        if self.hooked:
            await self._hook("before_create", change)
        several = bool(self.hooked or claimed or task.references)
        key, document = await writer.create(
            work, change.values, task.rule.write, task.scopes, several=several
        )
        if claimed:
            await writer.compare(work, claimed, key)
        if self.told_after:
            document = await self._after("after_create", task, change, key)
        return format_key(self.resource, key), document

    def _tell_types(self) -> None:
        self.spec.body = BodySpec(self.media, TypeAdapter(self.parts.schemas[True].create))
        headers = {"Location": "The address of the new row"}
        self.spec.answers = [Answer(201, "The new row", self.parts.document, headers)]


class _Alter(Write):
    """What replacing and updating share."""

    moments = ("before_update", "after_update")

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.bodies = {
            admin: Bodies(
                self.resource,
                self._judging(schemas),
                schemas.updatable,
                admin=admin,
                media=self.media,
                largest=app.settings.max_body,
            )
            for admin, schemas in self.parts.schemas.items()
        }

    @abstractmethod
    def _judging(self, schemas: Schemas) -> type[BaseModel]:
        """What the body must be."""

    @abstractmethod
    def _told(self, schemas: Schemas) -> BodySpec:
        """What the document says of the body."""

    @abstractmethod
    def _values(self, given: Given, fields: Mapping[str, Field]) -> dict[str, Any]:
        """What is to be written, of these fields."""

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        if access.work.is_open:  # what the rule asked must not hold a connection while the body arrives
            await access.work.commit()
        refuse_parameters(scope["query_string"])
        key, admin = self._key(scope), self._is_admin(access)
        given = await self.bodies[admin].read(sent)
        self._open(access)
        rule = await self._write_rule(access, decision)
        scopes = await self._scopes(access, ALLOW)
        references = await self._references(access) if self.referred else _NONE
        values = self._values(given, self.parts.schemas[admin].updatable)
        task = Task(
            access, self._writer(admin), rule, scopes, key, values, given, references, _is_stale(sent), admin
        )
        document = await self._retried(task, self._attempt)
        await _answer(sent, send, 200, document)
        if self.hooked:
            await self._committed(task)

    async def _attempt(self, task: Task) -> bytes:
        work, writer, claimed, key = task.access.work, task.writer, task.given.claimed, task.key or ()
        change = self._change(task)
        if task.stale:
            await _refuse_stale(task)
        before: Mapping[str, Any] = {}
        careful = self.hooked or claimed or _needs_before(task)
        if careful:
            before = change.row = await writer.held(work, key, task.rule)
            if task.given.patches:
                change.values |= self.bodies[task.admin].merge(task.given, before)
        if task.references:
            await writer.check_references(
                work, {**before, **change.values}, task.given.values, task.references
            )
        if self.hooked:
            await self._hook("before_update", change)
        if change.values:
            several = bool(careful or task.references)
            document = await writer.update(work, key, change.values, task.rule, task.scopes, several=several)
        else:
            document = await writer.unchanged(work, key, task.rule, task.scopes)
        if claimed:
            await writer.compare(work, claimed, key, before)
        if self.told_after:
            document = await self._after("after_update", task, change, key)
        return document

    def _tell_types(self) -> None:
        self.spec.body = self._told(self.parts.schemas[True])
        self.spec.answers = [Answer(200, "The row as it is now", self.parts.document)]

    def _problems(self) -> Sequence[int]:
        return (*super()._problems(), 412)


class Replace(_Alter):
    """PUT of one row: never creates."""

    action, method = "replace", "PUT"

    def _judging(self, schemas: Schemas) -> type[BaseModel]:
        return schemas.whole

    def _told(self, schemas: Schemas) -> BodySpec:
        return BodySpec(self.media, TypeAdapter(schemas.replace))

    def _values(self, given: Given, fields: Mapping[str, Field]) -> dict[str, Any]:
        return plan_replace(fields, given.values)


class Update(_Alter):
    """PATCH of one row."""

    action, method = "update", "PATCH"
    media = (*JSON, MERGE_PATCH)

    def _judging(self, schemas: Schemas) -> type[BaseModel]:
        return schemas.patch

    def _told(self, schemas: Schemas) -> BodySpec:
        patch, merge = schemas.patch, schemas.merge
        others = {MERGE_PATCH: TypeAdapter(merge)} if merge is not patch else {}
        return BodySpec(self.media, TypeAdapter(patch), others=others)

    def _values(self, given: Given, fields: Mapping[str, Field]) -> dict[str, Any]:
        return dict(given.values)


class Delete(Write):
    """DELETE of one row."""

    action, method = "delete", "DELETE"
    moments = ("before_delete", "after_delete")

    def _writer(self, admin: bool) -> Writer:
        return self.parts.removers[admin]

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        if access.work.is_open:  # what the rule asked must not hold a connection while the body arrives
            await access.work.commit()
        refuse_parameters(scope["query_string"])
        key, writer = self._key(scope), self._writer(self._is_admin(access))
        self._open(access)
        rule = await self._write_rule(access, decision)
        task = Task(access, writer, rule, EVERYTHING, key, _NONE, Given({}), _NONE, _is_stale(sent), False)
        await self._retried(task, self._attempt)
        await send_empty(send, 204)
        if self.hooked:
            await self._committed(task)

    async def _attempt(self, task: Task) -> None:
        work, key = task.access.work, task.key or ()
        change = self._change(task)
        if task.stale:
            await _refuse_stale(task)
        if self.hooked:
            change.row = await task.writer.held(work, key, task.rule)
            await self._hook("before_delete", change)
        await task.writer.delete(work, key, task.rule, several=self.hooked)
        await self._hook("after_delete", change)

    def _tell_types(self) -> None:
        self.spec.answers = [Answer(204, "Gone")]

    def _problems(self) -> Sequence[int]:
        return (409, 412)


def _needs_before(task: Task) -> bool:
    """Whether the row must be known: to merge into its documents, or for the rest of a foreign key."""
    if not task.references:
        return bool(task.given.patches)
    held = [[name in task.values for name in key.fields] for key in task.references]
    return bool(task.given.patches) or any(any(parts) and not all(parts) for parts in held)


def _is_stale(sent: RequestBody) -> bool:
    """Whether `If-Match` asks for a version that cannot be: rows carry no ETag."""
    given = sent.headers.get(b"if-match")
    return given is not None and given.strip() != b"*"


async def _refuse_stale(task: Task) -> None:
    await task.writer.judge(task.access.work, task.key or (), task.rule)
    raise Problem(412, "etag_mismatch", "The row is not in the state that If-Match names")


_MINIMAL = b"return=minimal"


async def _answer(
    sent: RequestBody,
    send: Send,
    status: int,
    document: bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """The document, unless the client prefers to be told only that it worked (RFC 7240)."""
    prefer = sent.headers.get(b"prefer")
    if prefer is not None and any(part.strip().lower() == _MINIMAL for part in prefer.split(b",")):
        await send_empty(send, status, [*headers, (b"preference-applied", _MINIMAL)])
    else:
        await send_json(send, status, document, headers)
