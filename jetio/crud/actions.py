"""What all endpoints of a CrudRouter share: who asks, what the rules say, and what is told about them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from operator import and_
from typing import Any, ClassVar, Protocol

from pydantic import TypeAdapter
from starlette.types import Receive, Scope, Send

from ..body import RequestBody
from ..dependencies import Parameter
from ..operation import OperationSpec
from ..policy import ALLOW, PUBLIC, Access, Allow, Decision, Deny, Policy, both
from ..principal import Authenticator, identify
from ..resource import Resource
from ..routing import Application
from ..schemas import Schemas, read_schema
from ..security import CALLER
from .clauses import EVERYTHING, Scopes
from .hooks import Hooks
from .query import Paging, key_parser
from .reader import Reader
from .views import View
from .ways import Way, way_of
from .writer import Writer

__all__ = ["Action", "Parts", "Router"]


@dataclass(frozen=True)
class Parts:
    """What a router is made of once it is built; by whether an admin asks, where that makes a difference."""

    resource: Resource
    rules: Mapping[str, Policy | None]
    authenticator: Authenticator | None
    owner: str | None
    hooks: Hooks
    paging: Paging
    tags: Sequence[str]
    schemas: Mapping[bool, Schemas]
    views: Mapping[bool, View]
    readers: Mapping[bool, Reader]
    obstacles: Mapping[bool, tuple[str, ...]]
    """What keeps a database that can make JSON from making that of the views."""
    writers: Mapping[bool, Writer]
    removers: Mapping[bool, Writer]

    @cached_property
    def document(self) -> TypeAdapter[Any]:
        """What an answer holds, as admins see it."""
        return TypeAdapter(document_type(self.views[True]))


class Router(Protocol):
    """What an action needs of its router."""

    model: type[Any]

    def build(self, app: Application) -> Parts:
        """Everything about the model and its rules, read once for all endpoints; raises ConfigError."""
        ...


class Action(ABC):
    """One operation of a router: identify, decide, then what `_serve` does, in one unit of work."""

    action: ClassVar[str]
    method: str = ""
    whole: ClassVar[bool] = False
    writes: ClassVar[bool] = True
    takes_rules: ClassVar[bool] = True
    renderer: str = "rows"
    reasons: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    serve_recalled: Callable[[Scope, Send, Access], Awaitable[bool]] | None = None
    """Serves a caller who was here before, by a statement that confirms him; False: nothing has happened."""

    def __init__(self, router: Router, base: str) -> None:
        self.router = router
        self.base = base
        self.name = f"{self.action}_{base.strip('/').replace('/', '_')}"
        self.spec = OperationSpec(summary="")

    def build(self, app: Application, path: str) -> None:
        """Bind rules and describe; raises ConfigError."""
        parts = self.parts = self.router.build(app)
        self.app = app
        self.resource = parts.resource
        beside = app.read_rules(self.router.model, own=False)
        self.read_rule = _all_of(parts.rules["list" if self.action == "list" else "retrieve"], *beside)
        self.rule = _all_of(parts.rules[self.action]) if self.writes else self.read_rule
        self.embedded = _embedded_rules(app, parts.views[False])
        self.secured = self.rule is not None
        stamps = self.action == "create" and parts.owner is not None
        self.asks = any((self.rule, self.read_rule, self.embedded, stamps)) or self.resource.has_admin_fields
        self.limit = app.settings.max_body
        self.composite = len(self.resource.key) > 1
        self.read_key = key_parser(self.resource)
        self._describe()

    @property
    def way(self) -> Way:
        """How it gets at its rows."""
        return way_of(self.app.database, self.renderer, self.reasons, self.obstacles)

    # ---- serve ---------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self.app.database.unit_of_work(writes=self.writes)
        sent = scope["jetio.body"] = RequestBody(scope, receive, self.limit)  # exception handlers read it too
        access = Access(
            sent, None, work,
            action=self.action, verb=self.method, model=self.resource.model, finder=self.parts.authenticator,
        )  # fmt: skip
        before = CALLER.set(None) if self.asks else None
        try:
            at_once = self.serve_recalled
            if at_once is None or not (work.database.joins_questions and await at_once(scope, send, access)):
                decision = await self._admit(scope, access) if self.asks else ALLOW
                await self._serve(scope, sent, send, access, decision)
        finally:
            try:
                if work.is_open:
                    await work.rollback()
            finally:
                if before is not None:
                    CALLER.reset(before)

    async def _admit(self, scope: Scope, access: Access) -> Decision:
        """Identify and decide: before anything else of the request is looked at."""
        finder = self.parts.authenticator
        if finder is not None:
            access.principal = await identify(finder, access.request, access.work)
            CALLER.set(access.principal)
        if self.rule is None:
            return ALLOW
        found = access.principal
        if not self.whole:
            access.key_from(partial(self._item_id, scope))
        decision = await self.rule(access)
        if isinstance(decision, Deny):
            decision.raise_for(access.principal)
        if access.principal is not found:  # a dependency of the older kind has found the caller
            CALLER.set(access.principal)
        return decision

    @abstractmethod
    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        """What the caller was let in for."""

    async def _scopes(self, access: Access, rows: Decision) -> Scopes:
        """The rule of the rows and of every embedded relation, by dotted path."""
        if not self.embedded and isinstance(rows, Allow):
            return EVERYTHING
        scopes = {"": rows}
        for path, (model, rules) in self.embedded.items():
            scopes[path] = await read_decision(rules, access, model)
        return scopes

    def _key(self, scope: Scope) -> tuple[Any, ...]:
        raw = scope["path_params"]["id"]
        if self.composite:
            encoded: bytes = scope.get("raw_path") or scope["path"].encode()
            raw = encoded.partition(b"?")[0].rpartition(b"/")[2].decode("latin-1")
        return self.read_key(raw)

    def _item_id(self, scope: Scope) -> Any:
        key = self._key(scope)
        return key if self.composite else key[0]

    def _is_admin(self, access: Access) -> bool:
        return access.principal is not None and access.principal.is_admin

    # ---- documentation -------------------------------------------------------------------------------------

    def _describe(self) -> None:
        spec = self.spec
        named = self.resource.name.replace("_", " ") if self.action == "list" else _noun(self.resource.title)
        spec.summary = f"{self.action.capitalize()} {named}"
        spec.tags = self.parts.tags
        spec.operation_id = self.name
        spec.secured = self.secured or (self.asks and self.parts.authenticator is not None)
        spec.optional_login = self.rule is None or self.rule.admits_anonymous
        spec.rules = [self.rule] if self.rule is not None else []
        spec.action, spec.model = self.action, self.resource.model
        problems = {400, 422, *self._problems()}
        if spec.secured:
            problems |= {401, 403}
        if not self.whole:
            problems.add(404)
            spec.parameters = [
                Parameter("id", "path", _key_type(self.resource), True, description=_key_text(self.resource))
            ]
        spec.problems = sorted(problems)
        spec.types = self._tell_types

    @abstractmethod
    def _tell_types(self) -> None:
        """Add the types of the body and the answers, which the document alone asks for."""

    def _problems(self) -> Sequence[int]:
        return ()


async def read_decision(rules: Sequence[Policy], access: Access, model: type[Any]) -> Decision:
    """The rows of that model which the caller may see, by all of these rules."""
    decision: Decision = ALLOW
    for rule in rules:
        decision = both(decision, await rule(access.towards(model, "retrieve")))
    return decision


def _embedded_rules(app: Application, view: View) -> dict[str, tuple[type[Any], list[Policy]]]:
    """By dotted path, the model of each embedded relation that has read rules, and these rules."""
    found = {}
    for embed in view.walk():
        model = embed.relation.target
        rules = [rule for rule in app.read_rules(model) if rule is not PUBLIC]
        if rules:
            found[embed.path] = model, rules
    return found


def _all_of(*rules: Policy | None) -> Policy | None:
    """The rules as one. An open door is no door: nothing is asked."""
    asked = [rule for rule in rules if rule is not None and rule is not PUBLIC]
    return reduce(and_, asked) if asked else None


def _noun(title: str) -> str:
    """The words of a class name: `CityName` is `city name`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", title).lower()


def document_type(view: View) -> Any:
    """The schema of a view's documents."""
    embedded = {}
    for item in view.embeds:
        inner = document_type(item.view)
        embedded[item.relation.name] = list[inner] if item.relation.many else inner | None  # type: ignore[valid-type]
    return read_schema(view.resource, embedded=embedded)


def _key_type(resource: Resource) -> TypeAdapter[Any]:
    return resource.key_adapters[0] if len(resource.key) == 1 else TypeAdapter(str)


def _key_text(resource: Resource) -> str:
    if len(resource.key) == 1:
        return f"The {resource.key[0].name} of the row"
    names = ", ".join(item.name for item in resource.key)
    return f"The values of {names}, joined by commas, each percent-encoded"
