"""Admin: what the panel is told, and its place among the routes of an application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ...app import Jetio
from ...crud import CrudRouter
from ...crud.actions import Action
from ...errors import ConfigError, Mistakes
from ...marks import allow_anonymous
from ...operation import HandlerContext
from ...policy import ALLOW, Access, Decision, Deny, PolicyLike, as_policy, policy
from ...principal import Authenticator
from ...routing import path_of
from .rows import Row, Rows
from .signing import Accounts, Signing

if TYPE_CHECKING:
    from .door import Door
    from .site import Site
    from .view import RowView

__all__ = ["Admin"]

_TAKEN = frozenset({"static", "login", "logout", "_api", "_files"})


@policy
async def admins(access: Access) -> Decision:
    """Accounts with the admin flag."""
    return ALLOW if access.principal is not None and access.principal.is_admin else Deny()


class Admin:
    """Pages over the rows of the application's CRUD routers: `Admin(app, title="Blog", auth=auth)`.

    `auth` is the AuthRouter, or any Authenticator. `allow` says who is admitted, by default admins; all others
    meet 404, apart from the page for signing in, which `hidden=True` takes away too. `routers` chooses among
    several of one model, or fewer. `secret_key` signs the panel's cookies where `auth` has no key.
    Mistakes are raised when the application is built.
    """

    def __init__(
        self,
        app: Jetio,
        *,
        auth: Any,
        title: str | None = None,
        path: str = "/admin",
        allow: PolicyLike | None = None,
        hidden: bool = False,
        routers: Sequence[CrudRouter] | None = None,
        secret_key: str | None = None,
    ) -> None:
        self.app, self.title, self.path = app, title or f"{app.title} admin", path
        self.hidden, self.routers = hidden, routers
        self._allow = as_policy(allow) if allow is not None else admins
        self._secret_key = secret_key
        self._auth = auth
        self.signing: Signing | None = None
        self._site: Site | None = None
        if not path.startswith("/") or path.endswith("/") or "{" in path:
            raise ConfigError(f'Admin(path={path!r}) is no place for pages; write path="/admin"')
        app.on_build.append(self._build)

    @property
    def accounts(self) -> Accounts | None:
        """What knows passwords; None: people come with a credential from elsewhere."""
        found = getattr(self._auth, "panel", None)
        return found if isinstance(found, Accounts) else None

    @property
    def authenticator(self) -> Authenticator:
        """What finds the caller."""
        authenticator: Authenticator = self.accounts.authenticator if self.accounts else self._auth
        return authenticator

    def secret(self) -> bytes:
        """The key behind all that the panel signs."""
        own = self._own_secret()
        if own is not None:
            return own
        key = self.accounts.key() if self.accounts is not None else None
        assert key is not None  # noqa: S101 - asked at build
        return key

    def _own_secret(self) -> bytes | None:
        if self._secret_key is not None:
            return self._secret_key.encode()
        kept = self.app.settings.secret_key
        return kept.get_secret_value().encode() if kept is not None else None

    def person(self, name: str) -> Any:
        """What the pages call somebody."""
        from .site import AdminUser

        return AdminUser(username=name)

    def assemble(self, key: str) -> ASGIApp:
        """The application of the pages."""
        assert self._site is not None  # noqa: S101 - made at build
        return self._site.assemble(key)

    # ---- build -----------------------------------------------------------------------------------

    def _build(self, app: Jetio) -> None:
        if find_spec("starlette_admin") is None:
            raise ConfigError('the admin panel needs its extra; install "jetio[admin]"')
        if self.accounts is None and not isinstance(self._auth, Authenticator):
            raise ConfigError(
                f"Admin(auth={type(self._auth).__name__}) finds nobody; write auth=AuthRouter(user_model=User)"
            )
        mistakes = Mistakes("Admin")
        allow = None
        with mistakes:
            self.signing = self._find_signing(app)
        with mistakes:
            self._check_secret()
        with mistakes:
            allow = self._allow.bind(HandlerContext(app))
        with mistakes:
            app.use_authenticator(self.authenticator)
            door = self._open(app, allow) if allow is not None else None
        mistakes.tell()
        assert door is not None  # noqa: S101 - else a mistake was told
        # The last of all routes: whatever else is registered under this path wins.
        app.router.routes.append(PanelRoute(self.path, door))

    def _check_secret(self) -> None:
        if self._secret_key is not None and len(self._secret_key) < 32:
            raise ConfigError("Admin(secret_key=...) is shorter than 32 characters; write a random one")
        has_accounts = self.accounts is not None and getattr(self._auth, "user_model", None) is not None
        if self._own_secret() is None and not has_accounts:
            raise ConfigError(
                "nothing signs the panel's cookies; write Admin(secret_key=...), or set SECRET_KEY"
            )

    def _find_signing(self, app: Jetio) -> Signing | None:
        if self.hidden:
            return None
        paths = self.accounts.paths if self.accounts is not None else None
        if paths is None:
            raise ConfigError(
                "the page for signing in needs accounts with cookies; write AuthRouter(User, "
                'jwt=JWTConfig(token_location=["header", "cookie"])), or Admin(hidden=True)'
            )
        found = {
            path: endpoint for path, endpoint in app.endpoints if endpoint.method == "POST" and path in paths
        }
        if len(found) < 2:
            raise ConfigError("the accounts have no routes here; write auth.register_routes(app)")
        return Signing(found[paths[0]], found[paths[1]], paths)

    def _open(self, app: Jetio, allow: Any) -> Door:
        from .door import Door
        from .site import Site

        views = self._views(app)
        self._site = Site(self.title, self.path, views, self.signing)
        return Door(self, allow, views)

    def _views(self, app: Jetio) -> list[RowView]:
        """A view of each router that lists; one that has mistakes tells them itself."""
        from .view import RowView

        lists: dict[str, tuple[Rows, dict[str, Action]]] = {}
        for router, actions in self._chosen(app):
            base = actions["list"].base
            rows, row = Rows(router, base), Row(router, base)
            try:
                rows.build(app, base)
                row.build(app, base)
            except ConfigError:
                continue
            own = {"retrieve": row} if "retrieve" in actions else {}
            lists[_key(base, lists)] = rows, {**actions, **own}
        tables = {rows.resource.table: key for key, (rows, _) in lists.items()}
        return [RowView(key, actions, rows, _targets(rows, tables)) for key, (rows, actions) in lists.items()]

    def _chosen(self, app: Jetio) -> Iterable[tuple[CrudRouter, dict[str, Action]]]:
        found: dict[CrudRouter, dict[str, Action]] = {}
        for _, endpoint in app.endpoints:
            if isinstance(endpoint, Action) and isinstance(endpoint.router, CrudRouter):
                found.setdefault(endpoint.router, {})[endpoint.action] = endpoint
        for router in self.routers or ():
            if "list" not in found.get(router, {}):
                raise ConfigError(
                    f"CrudRouter({router.model.__name__}) of Admin(routers=...) has no list here; "
                    "write router.register_routes(app), and leave GET in"
                )
        wanted = list(found) if self.routers is None else list(self.routers)
        listing = [router for router in wanted if "list" in found[router]]
        models = [router.model for router in listing]
        twice = next((model for model in models if models.count(model) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"{twice.__name__} has several routers; write Admin(routers=[...]) with one for each model"
            )
        return [(router, found[router]) for router in listing]


def _key(base: str, taken: Iterable[str]) -> str:
    """The view's part of an address: the table, unless another one has that."""
    short = base.rpartition("/")[2]
    return base.strip("/").replace("/", "-") + "-" if short in _TAKEN or short in taken else short


def _targets(rows: Rows, tables: Mapping[Any, str]) -> dict[str, str]:
    """By field the view of what a foreign key names, where that is its whole key."""
    return {
        key.fields[0]: tables[key.table]
        for key in rows.resource.foreign_keys
        if len(key.fields) == 1
        and key.table in tables
        and list(key.columns) == list(key.table.primary_key.columns)
    }


class PanelRoute(BaseRoute):
    """All that is below one path; whoever may come in is the door's to say, so that no other rule asks."""

    def __init__(self, path: str, door: Door) -> None:
        self.path = path

        @allow_anonymous
        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            await door(scope, receive, send)

        self.endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = path_of(scope)
        inside = path == self.path or path.startswith(f"{self.path}/")
        return (Match.FULL if inside else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.endpoint(scope, receive, send)
