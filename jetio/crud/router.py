"""CrudRouter: a model and its options, composed to endpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, Never

from ..database import Database
from ..declared import near
from ..errors import ConfigError
from ..policy import Policy, PolicyLike, as_policy
from ..resource import Resource, resource_of
from ..routing import Application
from ..schemas import adapter_of, schemas_for
from .actions import Action, Parts
from .documents import documents_of
from .entities import EntityWriter
from .hooks import Hook, Hooks
from .query import HARD_CAP, Paging
from .reader import Reader
from .reading import List, Retrieve
from .rules import ACTIONS, VERBS, RuleContext, find_owner, find_rules
from .views import View, view_of
from .writer import Writer
from .writing import Create, Delete, Replace, Update

__all__ = ["CrudRouter"]

_log = logging.getLogger("jetio")

ENDPOINTS: Mapping[str, type[Action]] = {
    kind.action: kind for kind in (List, Create, Retrieve, Replace, Update, Delete)
}


class CrudRouter:
    """The CRUD operations of a model: list, create, retrieve, replace, update, delete.

    Any rule secures the router: `policy` (by verb, action or "*"), `auth_dependency`, or `secure=True` for
    everybody who is signed in. `load_relationships` embeds relations, `exclude_methods` and `actions` choose
    operations, `owner` (or the candidates `audit_fields`) names the column that is filled from the caller.
    `pagination=None` lifts paging, never the cap of 1000 rows.
    """

    def __init__(
        self,
        model: type[Any],
        *,
        load_relationships: Sequence[str] = (),
        exclude_methods: Iterable[str] = (),
        secure: bool | None = None,
        auth_dependency: PolicyLike | None = None,
        audit_fields: Sequence[str] | None = None,
        policy: Mapping[str, PolicyLike] | None = None,
        owner: str | None = None,
        actions: Iterable[str] | None = None,
        pagination: str | None = "page",
        page_size: int = 50,
        max_page_size: int = 200,
        hooks: Mapping[str, Hook | list[Hook]] | None = None,
        tags: Sequence[str] | None = None,
        prefix: str = "",
        **unknown: Never,
    ) -> None:
        for option in unknown:
            known = [name for name in signature(CrudRouter).parameters if name not in ("model", "unknown")]
            raise ConfigError(
                f"CrudRouter has no option {option!r}; write some of: {', '.join(known)}{near(option, known)}"
            )
        self.model = model
        self.load_relationships = tuple(load_relationships or ())
        self.actions = _chosen(actions, exclude_methods)
        self.auth_dependency = auth_dependency
        self.audit_fields = tuple(audit_fields) if audit_fields else None
        self.policy = policy
        self.owner_option = owner
        self.hooks = Hooks(hooks)
        self.tags = list(tags) if tags is not None else None
        self.prefix = prefix
        self.secure = _secured(model, secure, policy, auth_dependency)
        self.called_open = secure is False
        self.paging = _paging(pagination, page_size, max_page_size)
        self._ruled: Application | None = None
        self._built: tuple[Application, Parts] | None = None

    def on(self, moment: str) -> Callable[[Hook], Hook]:
        """Register a hook: `@posts.on("before_create")`."""

        def register(hook: Hook) -> Hook:
            self.hooks.add(moment, hook)
            return hook

        return register

    def register_routes(self, app: Application, prefix: str = "", *, path: str | None = None) -> None:
        """Add the endpoints under `prefix` + `/` + the table's name, or under `path`."""
        table = getattr(self.model, "__tablename__", None) or getattr(
            getattr(self.model, "__table__", None), "name", None
        )
        if table is None:
            raise ConfigError(
                f"{self.model!r} is no model; write `class Post(JetioModel)` and CrudRouter(Post)"
            )
        base = path if path is not None else f"{self.prefix or prefix}/{table}"
        for action in self.actions:
            kind = ENDPOINTS[action]
            app.add_endpoint(base if kind.whole else f"{base}/{{id}}", kind(self, base))
        adopt = getattr(self.auth_dependency, "authenticator", None)
        if adopt is not None and app.authenticator is None:
            app.use_authenticator(adopt)

    # ---- build ---------------------------------------------------------------------------------------------

    def build(self, app: Application) -> Parts:
        """Everything about the model and its rules, read once for all endpoints; raises ConfigError."""
        if self._built is None or self._built[0] is not app:
            self.build_rules(app)
            self._check_creatable(self.resource)
            self._check_filters(self.resource)
            self._warn_of_digits(app.database.dialect.significant_digits)
            self._built = app, self._assemble(self.resource, app.database)
        return self._built[1]

    def _warn_of_digits(self, kept: int | None) -> None:
        names = self.resource.inexact(kept) if kept is not None else []
        if names:
            _log.warning(
                "%s: this database keeps %s digits of %s", self.resource.title, kept, ", ".join(names)
            )

    def _assemble(self, resource: Resource, database: Database) -> Parts:
        kinds = (False, True)  # whether an admin asks
        schemas = {admin: schemas_for(resource, owner=self.owner, admin=admin) for admin in kinds}
        views = dict.fromkeys(kinds, view_of(resource, self.load_relationships, admin=False))
        if views[True].for_admins:
            views[True] = view_of(resource, self.load_relationships, admin=True)
        made = {view: documents_of(view, database) for view in views.values()}
        readers = {view: Reader(view, documents) for view, (documents, _) in made.items()}
        _check_types(views[True], schemas[True].creatable if "create" in self.actions else ())
        seen = resource.watchers
        gone = (*seen, *resource.taken_along)
        writers = {view: _writer(reader, seen) for view, reader in readers.items()}
        removers = (
            {view: _writer(reader, gone) for view, reader in readers.items()} if gone != seen else writers
        )
        return Parts(
            resource=resource,
            rules=self.rules,
            authenticator=self.authenticator,
            owner=self.owner,
            hooks=self.hooks.before(self.model),
            paging=self.paging,
            tags=self.tags if self.tags is not None else [resource.name],
            schemas=schemas,
            views=views,
            readers={admin: readers[view] for admin, view in views.items()},
            obstacles={admin: made[view][1] for admin, view in views.items()},
            writers={admin: writers[view] for admin, view in views.items()},
            removers={admin: removers[view] for admin, view in views.items()},
        )

    def build_rules(self, app: Application) -> None:
        """The resource and the bound rules: what other routers that embed this model need too."""
        if self._ruled is app:
            return
        self.resource = resource_of(self.model)
        if self.resource.mistakes:
            raise ConfigError.of(self.resource.mistakes)
        self._find_rules(app, self.resource)
        self._ruled = app

    def _find_rules(self, app: Application, resource: Resource) -> None:
        rules = find_rules(
            self.policy,
            self.auth_dependency or self._default(app, resource),
            self.secure,
            resource.floors,
            place=f"CrudRouter({resource.title})",
        )
        self.authenticator = self._authenticator(app, rules.values())
        user_model = self.authenticator.user_model if self.authenticator is not None else None
        context = RuleContext(app, resource, self.owner_option, self.audit_fields, user_model)
        self.rules = {
            action: rule.bind(context) if rule is not None else None for action, rule in rules.items()
        }
        secured = any(rule is not None for rule in rules.values())
        owner = (
            find_owner(resource, self.owner_option, self.audit_fields, user_model)
            if secured
            else self.owner_option
        )
        self.owner = owner if secured else None
        if self.owner_option is not None and not secured:
            raise ConfigError(
                f"CrudRouter({resource.title}, owner={self.owner_option!r}) is open to everybody, so nobody would "
                "own what is created; write secure=True, or a policy"
            )
        if self.authenticator is None and any(
            rule.needs_caller for rule in rules.values() if rule is not None
        ):
            raise ConfigError(
                f"CrudRouter({resource.title}) is secured, but nothing finds out who is calling; "
                "write auth = AuthRouter(user_model=User); auth.register_routes(app)"
            )

        if self.authenticator is None and self.owner is not None:
            raise ConfigError(
                f"CrudRouter({resource.title}) fills {self.owner!r} from the caller, but nothing finds out who is "
                "calling; write auth = AuthRouter(user_model=User); auth.register_routes(app)"
            )

    def _default(self, app: Application, resource: Resource) -> Policy | None:
        default = app.default_rule(self)
        if default is not None and self.called_open:
            raise ConfigError(
                f"CrudRouter({resource.title}, secure=False) stands in a protected application; to open it, "
                'write policy={"*": public()}'
            )
        return default

    def _authenticator(self, app: Application, rules: Iterable[Policy | None]) -> Any:
        own = next(
            (rule.authenticator for rule in rules if rule is not None and rule.authenticator is not None),
            None,
        )
        return own or app.authenticator

    def _check_creatable(self, resource: Resource) -> None:
        if "create" not in self.actions:
            return
        missing = [
            item.name for item in resource.fields.values() if item.unsettable and item.name != self.owner
        ]
        if missing:
            raise ConfigError(
                f"nobody could create a {resource.title}: {missing[0]!r} is NOT NULL, has no default and may "
                "not be set by clients; give it a default, list it in API.write_only, or write "
                'exclude_methods=["POST"]'
            )

    def _check_filters(self, resource: Resource) -> None:
        """A filter that only sessions apply would be a rule that some ways to a row do not know."""
        for name in resource.deaf_filters:
            raise ConfigError(
                f"{name} listens for do_orm_execute on every Session, and the statements of "
                f"CrudRouter({resource.title}) are not a session's; write what it filters as a rule of the "
                'model, `class API: policy = {"*": rows(...)}`, and listen to a Session class of your own'
            )


def _check_types(view: View, judged: Container[str]) -> None:
    """Find the types that pydantic cannot read, of fields that no request schema will try."""
    for item in view.fields:
        if item.name not in judged:
            adapter_of(view.resource, item.name)
    for embed in view.embeds:
        _check_types(embed.view, ())


def _writer(reader: Reader, reasons: tuple[str, ...]) -> Writer:
    """Of rows, or of objects where there is a reason for them."""
    return EntityWriter(reader, reasons) if reasons else Writer(reader)


def _chosen(actions: Iterable[str] | None, excluded: Iterable[str]) -> tuple[str, ...]:
    wanted = set(actions) if actions is not None else set(ACTIONS)
    unknown = sorted(wanted - set(ACTIONS))
    if unknown:
        raise ConfigError(f"there is no action {unknown[0]!r}; write some of: {', '.join(ACTIONS)}")
    away = {name.upper() for name in excluded or ()}
    strange = sorted(away - set(VERBS.values()) - {"HEAD", "OPTIONS"})
    if strange:
        raise ConfigError(
            f"exclude_methods names {strange[0]!r}; write some of: GET, POST, PUT, PATCH, DELETE"
        )
    if away & {"PUT", "PATCH"}:
        away |= {"PUT", "PATCH"}  # whoever excluded the old verb gets no new hole
    return tuple(action for action in ACTIONS if action in wanted and VERBS[action] not in away)


def _secured(model: type[Any], secure: bool | None, policy: Any, dependency: Any) -> bool:
    if secure is False and (policy is not None or dependency is not None):
        raise ConfigError(
            f"CrudRouter({getattr(model, '__name__', model)}) has rules and secure=False; "
            "take one of them away"
        )
    if dependency is not None:
        as_policy(dependency)
    return bool(secure or policy is not None or dependency is not None)


def _paging(pagination: str | None, size: int, largest: int) -> Paging:
    if pagination not in (None, "page"):
        raise ConfigError(
            f"pagination={pagination!r} is not known; write 'page', "
            f"or None for lists of at most {HARD_CAP} rows"
        )
    if not 1 <= size <= largest <= HARD_CAP:
        raise ConfigError(
            f"page_size={size} and max_page_size={largest} must be "
            f"1 <= page_size <= max_page_size <= {HARD_CAP}"
        )
    return Paging(size if pagination else None, largest)
