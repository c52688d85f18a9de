"""AuthRouter: the endpoints, rules and functions of one user model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jetio import ConfigError, Database, Endpoint, Jetio, Operation, Settings

from .access_log import hide_secrets
from .backends import CallerFinder, RemoteAuthenticator, RemoteIssuer
from .domain import domain_weaknesses
from .endpoints.admin import promotion_routes
from .endpoints.backend import backend_routes
from .endpoints.jwks import key_routes
from .endpoints.login import LoginOperation
from .endpoints.me import MeOperation
from .endpoints.register import RegisterOperation
from .endpoints.user_admin import user_admin_routes
from .endpoints.users import own_user_routes, user_router
from .factors.passkey_settings import PasskeySettings
from .functions import AuthFunctions
from .mail.mailers import Mailer
from .mail.settings import Mail
from .oauth import OAuth, OAuthProvider
from .options import AuthOptions
from .panel import PanelAccounts
from .passwords import PasswordPolicy
from .routes import ADMIN_ROUTES, REVIEW_ROUTES, ROUTES, SESSION_ROUTES, Routes
from .rules import AuthRules
from .schemas import UserSchemas, user_schemas
from .settings import JWTConfig, Lockout, unshared_key, weaknesses
from .stores import UserStore

__all__ = ["AuthRouter"]

_log = logging.getLogger("jetio.auth")


class AuthRouter(AuthFunctions, AuthRules):
    """Accounts, tokens and rules for a user model. Nothing else is needed in development.

    `admin_field` None: the first of is_admin, is_superuser, is_staff, is_master. `login_fields` None: those
    of username and email that the model has. `extra_claims(user)` gives further claims of every token,
    `role_permissions={"editor": ["posts:write"]}` what roles may do; `default_admin` runs `ensure_admin()`
    at start. `disable=` takes away some of sessions, refresh, change_password and events, which are kept for
    `events_days`. `issuers=[RemoteIssuer(...)]` accepts tokens of others too; with them the model may be left
    out, and then there are no accounts. `approval="admin"`, or a model with JetioApprovalMixin: whoever registers
    waits for an admin. `enable=["totp"]`: second factors; `passkeys=PasskeySettings(...)`, or `enable=["passkeys"]`
    with `DOMAIN` set: logins with passkeys; `oauth=[google(...)]`: logins by other services.
    `dev_superusers` makes an admin of everybody who registers; production does not start with it. `database` is one
    for accounts alone, `create_tables` whether its tables are made at the start (None: outside of production).
    `store` keeps accounts elsewhere, and takes the place of the model. `backend` finds callers by a credential of its
    own, and without a model logs them in. `mail` says what is written to people, and by whom; with
    `require_verified_email` nobody logs in before the address is confirmed. Mistakes in the model are raised as
    ConfigError when the application is built.
    """

    def __new__(cls, *arguments: Any, store: Any = None, **options: Any) -> AuthRouter:
        """Accounts of a store have another router."""
        if store is None or cls is not AuthRouter:
            return super().__new__(cls)
        from .stores.router import StoredAuthRouter

        return super().__new__(StoredAuthRouter)

    def __init__(
        self,
        user_model: type[Any] | None = None,
        admin_field: str | None = None,
        login_path: str = "/login",
        register_path: str = "/register",
        *,
        prefix: str = "",
        session_prefix: str = "",
        admin_prefix: str = "/admin",
        users_prefix: str = "/users",
        dev_superusers: bool = False,
        jwt: JWTConfig | None = None,
        issuers: Sequence[RemoteIssuer] = (),
        backend: CallerFinder | None = None,
        login_fields: Sequence[str] | None = None,
        password: PasswordPolicy | None = None,
        lockout: Lockout | None = None,
        role_permissions: Mapping[str, Sequence[str]] | None = None,
        extra_claims: Callable[[Any], Mapping[str, Any]] | None = None,
        default_admin: bool = False,
        approval: str | None = None,
        database: Database | None = None,
        create_tables: bool | None = None,
        passkeys: PasskeySettings | None = None,
        store: UserStore | Callable[[], Any] | None = None,
        events_days: int = 90,
        mail: Mail | Mailer | None = None,
        require_verified_email: bool = False,
        oauth: OAuth | Sequence[OAuthProvider] = (),
        enable: Sequence[str] = (),
        disable: Sequence[str] = (),
    ) -> None:
        super().__init__(
            AuthOptions(
                user_model=user_model,
                admin_field=admin_field,
                login_path=login_path,
                register_path=register_path,
                prefix=prefix,
                session_prefix=session_prefix,
                admin_prefix=admin_prefix,
                users_prefix=users_prefix,
                dev_superusers=dev_superusers,
                jwt=jwt,
                issuers=issuers,
                backend=backend,
                login_fields=login_fields,
                password=password,
                lockout=lockout,
                role_permissions=role_permissions,
                extra_claims=extra_claims,
                default_admin=default_admin,
                approval=approval,
                database=database,
                create_tables=create_tables,
                passkeys=passkeys,
                events_days=events_days,
                mail=mail,
                require_verified_email=require_verified_email,
                oauth=oauth,
                enable=enable,
                disable=disable,
            )
        )
        self.prefix, self.session_prefix = prefix, session_prefix
        self.login_path, self.accepts_issuers = login_path, bool(issuers)
        self._register_path = f"{prefix}{register_path}"
        self._login_path = f"{prefix}{session_prefix}{login_path}"
        self._me_path, self._admin_prefix = f"{prefix}/me", admin_prefix
        self._users_prefix, self.dev_superusers = users_prefix, dev_superusers
        self._own: list[Endpoint] = []

    @property
    def schemas(self) -> UserSchemas:
        """Pydantic models of an account: `read`, `create` (as `/register` takes it) and `update`."""
        self._require_accounts()
        return user_schemas(self.accounts.facts, self.accounts.passwords.policy)

    @property
    def title(self) -> str:
        """What people know the application as."""
        return self._context.app.title if self._context.app is not None else ""

    @property
    def places(self) -> Mapping[str, str]:
        """Where pages find the routes that they use."""
        return {
            "login": self._login_path,
            "logout": f"{self.prefix}{self.session_prefix}/logout",
            "me": self._me_path,
            "device": f"{self.prefix}/cli-login",
        }

    @property
    def panel(self) -> PanelAccounts:
        """These accounts, as the admin panel meets them."""
        return PanelAccounts(self)

    # ---- register ------------------------------------------------------------------------------------------

    def register_routes(self, app: Jetio) -> None:
        """Add `/register`, `/login`, `/me` and the routes of what is on; none without a user model.

        From then on callers are found out for the whole application.
        """
        self._adopt(app)
        if self.user_model is None:
            if self.backed is not None:
                for path, endpoint in backend_routes(self, self.backed, self.login_path, self.session_prefix):
                    self._serve(app, self.prefix + path, endpoint)
            return
        self._serve(app, self._register_path, RegisterOperation(self))
        self._serve(app, self._login_path, LoginOperation(self))
        self._serve(app, self._me_path, MeOperation(self))
        self._add_routes(app)

    def register_admin_routes(self, app: Jetio) -> None:
        """Add `/admin/{id}/make-admin`, `/admin/{id}/remove-admin` and the admin routes of what is on.

        With approval these are `/pending`, `/approve` and `/reject`.
        """
        self._require_accounts()
        self._adopt(app)
        for path, endpoint in promotion_routes(self):
            self._serve(app, self._admin_prefix + path, endpoint)
        for path, endpoint in user_admin_routes(self):
            self._serve(app, self._admin_prefix + path, endpoint)
        self._add(app, self._admin_prefix, ADMIN_ROUTES)
        self._add_review_routes(app)

    def _add_routes(self, app: Jetio) -> None:
        self._add(app, self.prefix + self.session_prefix, SESSION_ROUTES)
        self._add(app, self.prefix, ROUTES)
        if self.authenticator.config.publishes_keys:
            for path, endpoint in key_routes(self):
                self._serve(app, path, endpoint)

    def _add_review_routes(self, app: Jetio) -> None:
        self._add(app, self.prefix, REVIEW_ROUTES)

    def use_store(self, store: UserStore | Callable[[], Any]) -> None:
        """Keep accounts here from now on: a store, or a function that returns or yields one."""
        raise ConfigError("these accounts are in a database; write AuthRouter(store=...)")

    def register_user_routes(self, app: Jetio) -> None:
        """Add `/users`, `/users/{id}` and `/users/me`: accounts as rows, under `self_or_admin`.

        They are created by `/register` and deleted by admins.
        """
        self._require_accounts()
        self._adopt(app)
        if self._context.own is not None:
            raise ConfigError(
                "register_user_routes serves rows of the application's database, and these accounts have one of "
                "their own; leave database= out"
            )
        one, me = f"{self._users_prefix}/{{id}}", f"{self._users_prefix}/me"
        user_router(self).register_routes(app, path=self._users_prefix)
        [update] = [item for path, item in app.endpoints if path == one and item.method == "PATCH"]
        for operation in own_user_routes(self, update):
            self._serve(app, me, operation)

    def protect(self, app: Jetio, *, open: Sequence[str] = ()) -> None:
        """Close the application: every route needs a login that does not say otherwise.

        `@allow_anonymous` and `policy=public()` open a route, `open` what is mounted at these paths. Logging in,
        registering and refreshing stay open, and outside of production the documentation.
        """
        self._adopt(app)
        app.protect(
            self.authenticated(),
            open=open,
            spares=lambda endpoint: any(endpoint is own for own in self._own),
        )

    def _serve(self, app: Jetio, path: str, endpoint: Endpoint) -> None:
        """Each route of accounts says itself who may use it: `protect` leaves it as it is."""
        self._own.append(endpoint)
        if self._context.own is not None and isinstance(endpoint, Operation):
            endpoint.database = lambda: self.database
        app.add_endpoint(path, endpoint)

    def _add(self, app: Jetio, prefix: str, routes: Mapping[str, Routes]) -> None:
        for feature, routes_of in routes.items():  # in one order, or workers would document them in several
            if self._has(feature):
                for path, endpoint in routes_of(self):
                    self._serve(app, prefix + path, endpoint)

    def _adopt(self, app: Jetio) -> None:
        if self._context.app is app:
            return
        if self._context.app is not None:
            raise ConfigError("one AuthRouter serves one application; make another for the other")
        app.use_authenticator(self.finder)
        self._context.app = app
        if self._remote is not None:
            self._serve_issuers(app, self._remote)
        if self.backed is not None:
            self.backed.bind(app, f"{self.prefix}{self.session_prefix}/refresh")
        if self.user_model is None:
            return
        app.on_build.append(self._check_model)
        if self._has("oauth"):
            app.on_build.append(lambda built: self.oauth.build())
            app.on_event("shutdown")(self.oauth.stop)
        app.start_checks.append(self._check_settings)
        if self.passkeys is not None:
            app.start_checks.append(self.passkeys.mistakes)
        app.start_tasks.append(self._start)
        if self._context.own is not None:
            app.on_event("shutdown")(self._context.own.close)

    def _serve_issuers(self, app: Jetio, remote: RemoteAuthenticator) -> None:
        app.on_build.append(lambda built: remote.build())
        app.start_tasks.append(remote.start)
        app.on_event("shutdown")(remote.stop)

    def _check_model(self, app: Jetio) -> None:
        _ = self._context.facts, self.authenticator.subject
        if self.mailing is not None:
            self.mailing.check()

    def _check_settings(self, app: Jetio) -> Sequence[str]:
        """In production weak settings stop the start; elsewhere they are warnings."""
        found = list(weaknesses(self.authenticator.config, app.settings))
        if self.mailing is not None:
            found += self.mailing.weaknesses(app.settings)
        if self.dev_superusers:
            found.append("AuthRouter(dev_superusers=True) makes an admin of everybody; leave it out")
        found += dict.fromkeys(self._domain_weaknesses(app.settings))
        if app.settings.production:
            return found
        for weakness in found:
            _log.warning("%s (production would refuse to start)", weakness)
        return list(unshared_key(self.authenticator.config, app.settings))

    def _domain_weaknesses(self, settings: Settings) -> Iterator[str]:
        """Of what sends people to an address of the application."""
        if self.mailing is not None:
            yield from domain_weaknesses(self.mailing.letters.mail.domain, settings)
        if self._has("oauth"):
            yield from domain_weaknesses(self.oauth.config.domain, settings)

    async def _start(self) -> None:
        if (apart := self._context.apart) is not None:
            await apart.start()
            if self._context.creates_tables:
                await apart.create_tables(self.user_model.metadata)
        _ = self.authenticator.codec
        if self._has("device_login") or self.mailing is not None:
            hide_secrets()
        await self.accounts.passwords.warm_up()
        if self._default_admin:
            await self.ensure_admin()
