"""Which policy answers for which action of a router, and which column names the owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any, Protocol

from sqlalchemy import ColumnElement, FromClause, Table
from sqlalchemy.orm import registry as Registry

from ..errors import ConfigError, Mistakes
from ..policy import (
    AUTHENTICATED,
    PUBLIC,
    Access,
    AllowWhere,
    Decision,
    Policy,
    PolicyLike,
    as_policy,
    either,
    negated,
)
from ..resource import Field, Resource, models_of, resource_of
from ..routing import Application

__all__ = ["ACTIONS", "VERBS", "ReadRules", "RuleContext", "Ruled", "find_rules"]

VERBS: Mapping[str, str] = {
    "list": "GET",
    "retrieve": "GET",
    "create": "POST",
    "replace": "PUT",
    "update": "PATCH",
    "delete": "DELETE",
}
ACTIONS = tuple(VERBS)
OWNER_NAMES = ("owner_id", "author_id", "user_id", "creator_id", "created_by_id")
_TWINS = {"PUT": ("replace", "update", "PATCH"), "PATCH": ("update", "replace", "PUT")}
_KEYS = frozenset({*ACTIONS, *VERBS.values(), "*"})


def find_rules(
    given: Mapping[str, PolicyLike] | None,
    fallback: PolicyLike | None,
    secure: bool,
    floors: Sequence[Mapping[str, PolicyLike]],
    *,
    place: str,
) -> dict[str, Policy | None]:
    """The rule of each action, ANDed with the model's floors; None: open to everybody.

    Raises ConfigError for a key that means nothing.
    """
    policies = _checked(given or {}, f"policy of {place}")
    below = [_checked(floor, f"class API of {place}") for floor in floors]
    base = as_policy(fallback) if fallback is not None else AUTHENTICATED if secure else None
    found: dict[str, Policy | None] = {}
    for action, verb in VERBS.items():
        own = _lookup(policies, action, verb) or base
        asked = [own, *(_lookup(floor, action, verb) for floor in below)]
        rules = [rule for rule in asked if rule is not None]
        found[action] = reduce(and_, rules) if rules else None
    return found


def _checked(given: Mapping[str, PolicyLike], place: str) -> dict[str, Policy]:
    if not isinstance(given, Mapping):
        raise ConfigError(f'the {place} is one rule for no action; write {{"*": {_called(given)}}}')
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise ConfigError(f"the {place} names {unknown[0]!r}; write one of: {', '.join(sorted(_KEYS))}")
    rules, mistakes = {}, Mistakes(f"the {place}")
    for key, rule in given.items():
        with mistakes.about(f"the {place}, {key!r}"):
            rules[key] = as_policy(rule)
    mistakes.tell()
    return rules


def _called(rule: Any) -> str:
    return getattr(rule, "__name__", None) or repr(rule)


def _lookup(policies: Mapping[str, Policy], action: str, verb: str) -> Policy | None:
    """The action, its verb, then for PUT the rule of PATCH and the other way round, then `*`."""
    names = [action, verb]
    if verb in _TWINS:
        _, twin, twin_verb = _TWINS[verb]
        names += [twin, twin_verb]
    names.append("*")
    return next((policies[name] for name in names if name in policies), None)


@dataclass
class RuleContext:
    """What the policies of one router may learn at build."""

    app: Application
    resource: Resource
    owner: str | None = None
    candidates: Sequence[str] | None = None
    user_model: type[Any] | None = None

    @property
    def authenticator(self) -> Any:
        return self.app.authenticator

    @property
    def model(self) -> type[Any]:
        return self.resource.model

    def owner_column(self, model: type[Any], candidates: tuple[str, ...] | None = None) -> ColumnElement[Any]:
        """The column that names the owner; raises ConfigError when there is none, or no telling which."""
        resource = resource_of(model)
        owner, named = self.owner, self.candidates
        if candidates is not None or model is not self.resource.model:
            owner, named = None, candidates  # the router's options are about its own column
        name = find_owner(resource, owner, named, self.user_model)
        if name is None:
            raise ConfigError(_no_owner(resource, self.user_model))
        return resource.fields[name].column


def find_owner(
    resource: Resource, owner: str | None, candidates: Sequence[str] | None, user_model: type[Any] | None
) -> str | None:
    """`owner`, else the first candidate, else the only foreign key to the accounts, else the usual names."""
    if owner is not None:
        return _owning(resource, _existing(resource, owner, "owner"), user_model)
    if candidates:
        for name in candidates:
            if name in resource.fields:
                return _owning(resource, resource.fields[name], user_model)
        raise ConfigError(
            f"{resource.title} has none of the owner columns {list(candidates)}; "
            f"write one of: {', '.join(resource.fields)}"
        )
    if user_model is None or user_model is resource.model:
        return None  # an account is nobody's but its own: a key from account to account is data
    table = resource_of(user_model).table
    keys = [key.fields[0] for key in resource.foreign_keys if key.table is table and len(key.fields) == 1]
    if len(keys) == 1:
        return keys[0]
    return next((name for name in OWNER_NAMES if name in keys), None)


def _owning(resource: Resource, field: Field, user_model: type[Any] | None) -> str:
    """The name of a column that can hold the key of an account; raises ConfigError."""
    if user_model is not None:
        accounts = resource_of(user_model)
        refers = any(
            key.table is accounts.table and field.name in key.fields for key in resource.foreign_keys
        )
        if not refers and _kind(field) not in {_kind(item) for item in accounts.key}:
            raise ConfigError(
                f"{resource.title}.{field.name} cannot own: it is no foreign key to {user_model.__name__}, nor "
                f'of the type of its key; write ForeignKey("{accounts.table.name}.{accounts.key[0].name}")'
            )
    return field.name


def _kind(field: Field) -> type[Any] | None:
    try:
        kind: type[Any] = field.column.type.python_type
    except NotImplementedError:
        return None
    return kind


def _existing(resource: Resource, name: str, kind: str) -> Field:
    if name not in resource.fields:
        raise ConfigError(
            f"{resource.title} has no column {name!r} for {kind}=; write one of: {', '.join(resource.fields)}"
        )
    return resource.fields[name]


def _no_owner(resource: Resource, user_model: type[Any] | None) -> str:
    accounts = user_model.__name__ if user_model is not None else "the user model"
    return (
        f"an owner rule needs to know who owns a {resource.title}, and no foreign key to {accounts} tells; "
        f'write CrudRouter({resource.title}, owner="author_id")'
    )


# ---- what rows obey wherever they are reached --------------------------------------------------------------


class Ruled(Protocol):
    """A router whose rules can be asked for."""

    model: type[Any]
    actions: tuple[str, ...]
    rules: dict[str, Policy | None]

    def build_rules(self, app: Any) -> None:
        """Bind the rules; raises ConfigError."""
        ...


class ReadRules:
    """What the routers of an application, and the models themselves, say of reading rows.

    A row obeys the rules of its class and of every class of the same table above it.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self.routers: dict[type[Any], list[Ruled]] = {}
        self.forget()

    def forget(self) -> None:
        """Ask anew which models the tables have: some may have been declared since."""
        self._mapped: dict[Registry, Mapping[FromClause, type[Any]]] = {}
        self._sharing: dict[FromClause, list[type[Any]]] = {}

    def add(self, router: Ruled) -> None:
        """Make the rules of a router those of its model's rows."""
        known = self.routers.setdefault(router.model, [])
        if router not in known:
            known.append(router)
        self.forget()

    def model_of(self, table: Table, resource: Resource) -> type[Any] | None:
        """The model of all rows of a table: of the resource's registry, else of another one's routers."""
        registry = resource.mapper.registry
        if registry not in self._mapped:
            self._mapped[registry] = models_of(registry)
        found = self._mapped[registry].get(table)
        known = [kind for model in self._routed_to(table) for kind in model.__mro__] if found is None else []
        kinds = [kind for kind in known if getattr(kind, "__table__", None) is table]
        return next((kind for kind in kinds if not set(kinds) & set(kind.__mro__[1:])), found)

    def _routed_to(self, table: Table) -> Sequence[type[Any]]:
        """The models of a table that have routers."""
        if not self._sharing:
            for model in self.routers:
                its: Any = getattr(model, "__table__", None)
                self._sharing.setdefault(its, []).append(model)
        return self._sharing.get(table, ())

    def of(self, model: type[Any]) -> list[Policy]:
        """All that rows of the model obey where another model leads to them."""
        return [*self._own(model), *self.beside(model)]

    def beside(self, model: type[Any]) -> list[Policy]:
        """What rows of the model obey beside the model's own rules: those of classes that share its table."""
        resource = resource_of(model)
        others = [other for other in self._routed_to(resource.table) if other is not model]
        over = [other for other in others if issubclass(model, other) or resource_of(other).criterion is None]
        found: list[Policy] = [_About(rule, other) for other in over for rule in self._routed(other)]
        for other in dict.fromkeys([*resource.below, *others]):
            kind = resource_of(other).criterion
            if kind is not None and not issubclass(model, other) and _may_be(other, model):
                found += [_About(rule, other, kind) for rule in self._own(other, above=model)]
        return found

    def _own(self, model: type[Any], *, above: type[Any] | None = None) -> list[Policy]:
        """The rules of the model's routers, else its floor; of the latter what `above` does not say already."""
        if any(map(_reads, self.routers.get(model, ()))):
            return self._routed(model)
        if above is not None and not _says_more(model, above):
            return []
        rule = floor_rule(self.app, model)
        return [] if rule is None else [rule]

    def _routed(self, model: type[Any]) -> list[Policy]:
        """The rules of all routers that show rows; none where one of them is open to everybody by its rule."""
        rules: list[Policy] = []
        for router in filter(_reads, self.routers.get(model, ())):
            router.build_rules(self.app)
            rule = router.rules["retrieve" if "retrieve" in router.actions else "list"]
            if rule is PUBLIC:
                return []
            if rule is not None:
                rules.append(rule)
        return rules


class _About(Policy):
    """A rule asked about another class of the same table; with `kind` it is about rows of that kind alone."""

    def __init__(self, rule: Policy, model: type[Any], kind: ColumnElement[bool] | None = None) -> None:
        self.rule, self.model = rule, model
        self.others = None if kind is None else negated(AllowWhere(kind))
        self.authenticator = rule.authenticator
        self.needs_caller, self.knows_caller = rule.needs_caller, rule.knows_caller
        self.is_pure = rule.is_pure
        self.admits_anonymous = rule.admits_anonymous or kind is not None

    async def __call__(self, access: Access) -> Decision:
        decision = await self.rule(access.towards(self.model, "retrieve"))
        return decision if self.others is None else either(self.others, decision)


def _reads(router: Ruled) -> bool:
    return "list" in router.actions or "retrieve" in router.actions


def _may_be(kind: type[Any], model: type[Any]) -> bool:
    """Whether rows of the model can be of this kind: of two branches of one tree they cannot."""
    return issubclass(kind, model) or resource_of(kind).root is not resource_of(model).root


def _says_more(model: type[Any], above: type[Any]) -> bool:
    """Whether a class says something of its rows that the class above it does not say."""
    new = [vars(cls) for cls in model.__mro__ if cls not in above.__mro__]
    return any(
        "__api_floor__" in own or "__mixin_floor__" in own or hasattr(own.get("API"), "policy") for own in new
    )


def floor_rule(app: Application, model: type[Any]) -> Policy | None:
    """What the model itself says of reading its rows, wherever they are reached; None: nothing."""
    resource = resource_of(model)
    rules = find_rules(None, None, False, resource.floors, place=resource.title)
    rule = rules["retrieve"]
    if rule is None:
        return None
    finder = rule.authenticator or app.authenticator
    return rule.bind(RuleContext(app, resource, user_model=finder.user_model if finder is not None else None))
