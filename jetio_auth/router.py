"""AuthRouter: the endpoints, rules and functions of one user model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError
from sqlalchemy import Column, Table
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    Authenticator,
    Change,
    ConfigError,
    Database,
    Endpoint,
    FieldError,
    Jetio,
    Operation,
    ValidationError,
    create_tables,
)

from .access_log import hide_secrets
from .accounts import Accounts, invalid_credentials
from .administration import Administration
from .approval import Approval
from .backed import Backed
from .backends import (
    ApartAuthenticator,
    ApiTokenAuthenticator,
    CallerFinder,
    ChainAuthenticator,
    JWTAuthenticator,
    RemoteAuthenticator,
    RemoteIssuer,
)
from .context import AuthContext
from .endpoints.admin import promotion_routes
from .endpoints.api_tokens import api_token_routes
from .endpoints.approval import approval_routes
from .endpoints.backend import backend_routes
from .endpoints.device import device_routes
from .endpoints.events import event_routes
from .endpoints.impersonation import impersonation_routes
from .endpoints.jwks import key_routes
from .endpoints.login import LoginOperation
from .endpoints.magic_link import magic_link_routes
from .endpoints.me import MeOperation
from .endpoints.mfa import mfa_login_routes, mfa_routes
from .endpoints.oauth import oauth_routes
from .endpoints.passkeys import passkey_routes
from .endpoints.password import password_routes
from .endpoints.refresh import refresh_routes
from .endpoints.register import RegisterOperation
from .endpoints.reset import reset_routes
from .endpoints.sessions import logout_routes, session_routes
from .endpoints.user_admin import user_admin_routes
from .endpoints.users import own_user_routes, user_router
from .endpoints.verification import verification_routes
from .events import AuthEvent, Events
from .extras import make_factors, make_passkeys
from .features import features_of
from .grants.api_tokens import ApiTokens
from .grants.device import DeviceLogins
from .grants.impersonation import Impersonation
from .grants.refresh import RefreshTokens
from .logins import Logins
from .mail import Mailer
from .mail_settings import LINKS, Mail
from .mailing import Mailing
from .model import (
    Account,
    columns_of,
    guard_model,
    has_state,
    key_of,
    read_user_model,
    table_of,
)
from .oauth import OAuth, OAuthProvider
from .oauth.making import make_oauth_logins
from .oauth.settings import oauth_weaknesses
from .panel import PanelAccounts
from .passkey_settings import PasskeySettings
from .password_change import PasswordChange
from .passwords import PasswordPolicy
from .policies import AdminOnly, InPerson, SelfOrAdmin
from .programs import Programs
from .rules import NO_ACCOUNTS, AuthRules
from .schemas import UserSchemas, user_schemas
from .sessions import Device, Sessions
from .settings import JWTConfig, Lockout, environment, weaknesses
from .stores import UserStore
from .tables import (
    SessionTables,
    api_tokens_table,
    attempts_table,
    device_table,
    events_table,
    oauth_tables,
    session_tables,
)
from .throttle import Throttle

if TYPE_CHECKING:
    from .factors import SecondFactors
    from .passkeys import Passkeys

__all__ = ["AuthRouter"]

_log = logging.getLogger("jetio.auth")

Routes = Callable[["AuthRouter"], Iterable[tuple[str, Endpoint]]]
_SESSION_ROUTES: Mapping[str, Routes] = {
    "refresh": refresh_routes,
    "sessions": logout_routes,
    "totp": mfa_login_routes,
}
_ROUTES: Mapping[str, Routes] = {
    "sessions": session_routes,
    "change_password": password_routes,
    "api_tokens": api_token_routes,
    "totp": mfa_routes,
    "passkeys": passkey_routes,
    "device_login": device_routes,
    "verify_email": verification_routes,
    "reset_password": reset_routes,
    "magic_link": magic_link_routes,
    "oauth": oauth_routes,
}
_ADMIN_ROUTES: Mapping[str, Routes] = {
    "events": event_routes,
    "impersonation": impersonation_routes,
}
_REVIEW_ROUTES: Mapping[str, Routes] = {"approval": approval_routes}
_OF_ACCOUNTS = frozenset(
    {"authenticator", "accounts", "approval", "logins", "events", "factors", "passkeys", "mailing"}
)


class AuthRouter(AuthRules):
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
        from .stored_router import StoredAuthRouter

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
        self.user_model = user_model
        if approval not in (None, "admin"):
            raise ConfigError(f'AuthRouter(approval={approval!r}) is not known; write approval="admin"')
        enable = [*enable, "approval"] if approval is not None and user_model is not None else enable
        enable = [*enable, "passkeys"] if passkeys is not None and user_model is not None else enable
        enable = [*enable, "oauth"] if oauth and user_model is not None else enable
        self.features = features_of(enable, disable, columns_of(user_model) if user_model is not None else ())
        self.prefix, self.session_prefix = prefix, session_prefix
        self.login_path, self.accepts_issuers = login_path, bool(issuers)
        self._register_path = f"{prefix}{register_path}"
        self._login_path = f"{prefix}{session_prefix}{login_path}"
        self._me_path, self._admin_prefix = f"{prefix}/me", admin_prefix
        self._extra_claims, self._default_admin = extra_claims, default_admin
        self._users_prefix, self.dev_superusers = users_prefix, dev_superusers
        self._own: list[Endpoint] = []
        self._context = AuthContext(
            lambda: read_user_model(
                self.user_model, admin_field, login_fields, approval=self._has("approval")
            ),
            database,
            create_tables,
        )
        self._remote: RemoteAuthenticator | None = None
        self.backed: Backed | None = None
        self.finder: Authenticator
        if user_model is None:
            _refuse_for_accounts(
                issuers,
                jwt,
                password,
                lockout if backend is None else None,
                extra_claims,
                default_admin,
                approval,
                database,
                passkeys,
                mail,
                require_verified_email,
                dev_superusers,
                oauth,
                enable,
                disable,
                backed=backend is not None,
            )
            if issuers:
                self._remote = RemoteAuthenticator(self._context, issuers, role_permissions or {}, None)
                self.finder = self._remote
            if backend is not None:
                self.events = Events(self._context, None, events_days)
                self._take_backend(backend, None, role_permissions or {}, lockout or Lockout())
            return
        config = jwt or environment().jwt
        if "cookie" in config.locations and not self._has("sessions"):
            raise ConfigError("cookies need sessions, or no logout could end them; leave sessions on")
        tables = (
            session_tables(key) if self._has("sessions") and (key := key_of(user_model)) is not None else None
        )
        self.authenticator = JWTAuthenticator(
            self._context,
            config,
            self._login_path,
            role_permissions or {},
            tables.sessions if tables is not None else None,
            f"{prefix}{session_prefix}/refresh",
        )
        self.finder = self.authenticator
        if issuers:
            self._remote = RemoteAuthenticator(
                self._context, issuers, role_permissions or {}, self.authenticator
            )
            self.finder = self._remote
        managed = InPerson() & SelfOrAdmin(user_model)
        floor = {"POST": AdminOnly(), **dict.fromkeys(("PUT", "PATCH", "DELETE"), managed)}
        hooks = {"before_delete": self._keep_an_admin}
        if has_state(user_model) or self._has("verify_email"):
            hooks["before_update"] = self._before_update
        if self._has("verify_email"):
            hooks["on_commit"] = self._on_commit
        guard_model(user_model, admin_field, login_fields, floor, hooks)
        users = table_of(user_model)
        throttle = Throttle(attempts_table(users))
        log = events_table(users) if self._has("events") else None
        self.events = Events(self._context, log, events_days)
        self.accounts = Accounts(
            self._context, password or PasswordPolicy(), throttle, lockout or Lockout(), self.events
        )
        self.logins = self._make_logins(tables)
        self.factors: SecondFactors | None = None
        self.passkeys: Passkeys | None = None
        if (key := key_of(user_model)) is not None:
            self._make_second_factors(key, passkeys, throttle, lockout or Lockout())
        if self._has("approval"):
            self.approval = Approval(self._context, self.accounts, self.events)
            self.logins.conditions.append(self.approval.admit)
        if self._has("api_tokens") and (key := key_of(user_model)) is not None:
            self._admit_programs(api_tokens_table(key))
        self.mailing = self._make_mailing(mail, throttle, lockout or Lockout())
        if require_verified_email:
            self._require_verified()
        if backend is not None:
            self._take_backend(backend, self.authenticator, role_permissions or {}, lockout or Lockout())
        if database is not None:
            self.finder = ApartAuthenticator(self.finder, self._context)

        self.administration = Administration(self._context, self.accounts, throttle, self.logins.sessions)
        self.impersonation = Impersonation(
            self._context, self.authenticator, self._claims_of, self.logins.sessions, self.events
        )
        if self._has("device_login") and (key := key_of(user_model)) is not None:
            self.devices = DeviceLogins(
                self._context,
                device_table(key),
                throttle,
                self.authenticator,
                self.logins,
                self.events,
                events_days,
            )
        if self._has("oauth") and (key := key_of(user_model)) is not None:
            self.oauth = make_oauth_logins(
                self._context,
                oauth,
                oauth_tables(key),
                self.authenticator,
                self.logins,
                self.events,
                throttle,
                lockout or Lockout(),
                prefix,
            )
            self.accounts.further_keys.append(self.oauth.forget)

    def _take_backend(
        self,
        backend: CallerFinder,
        accounts: JWTAuthenticator | None,
        role_permissions: Mapping[str, Sequence[str]],
        lockout: Lockout,
    ) -> None:
        self.backed = Backed(backend, self._context, accounts, role_permissions, lockout, self.events)
        base = self.finder if accounts is not None or self._remote is not None else None
        self.finder = ChainAuthenticator(self.backed.finders, base)

    def _admit_programs(self, table: Table) -> None:
        tokens = ApiTokens(self._context, table, self.authenticator)
        self.programs = Programs(self._context, tokens, self.events)
        self.finder = ChainAuthenticator([ApiTokenAuthenticator(self.authenticator, tokens)], self.finder)

    if not TYPE_CHECKING:  # pragma: no branch - type checkers go the other way

        def __getattr__(self, name: str) -> Any:
            """Called for what is missing alone: without a user model there are no accounts."""
            if name == "programs":
                raise ConfigError('API tokens are off; write AuthRouter(enable=["api_tokens"])')
            if name in _OF_ACCOUNTS:
                raise ConfigError(NO_ACCOUNTS)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def database(self) -> Database:
        """The application's database; before any application, the default one."""
        return self._context.database

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
        self._add(app, self._admin_prefix, _ADMIN_ROUTES)
        self._add_review_routes(app)

    def _add_routes(self, app: Jetio) -> None:
        self._add(app, self.prefix + self.session_prefix, _SESSION_ROUTES)
        self._add(app, self.prefix, _ROUTES)
        if self.authenticator.config.publishes_keys:
            for path, endpoint in key_routes(self):
                self._serve(app, path, endpoint)

    def _add_review_routes(self, app: Jetio) -> None:
        self._add(app, self.prefix, _REVIEW_ROUTES)

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
        found += oauth_weaknesses(self.oauth.config, app.settings) if self._has("oauth") else []
        if app.settings.production:
            return found
        for weakness in found:
            _log.warning("%s (production would refuse to start)", weakness)
        return ()

    async def _keep_an_admin(self, change: Change) -> None:
        await self.accounts.keep_an_admin(change)

    async def _before_update(self, change: Change) -> None:
        await self.accounts.keep_an_admin(change)
        if self.mailing is not None:
            await self.mailing.before_update(change)

    async def _on_commit(self, change: Change) -> None:
        await self.required_mailing().on_commit(change)

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

    def _has(self, feature: str) -> bool:
        return feature in self.features

    def _make_logins(self, tables: SessionTables | None) -> Logins:
        context, finder = self._context, self.authenticator
        sessions = refresh = None
        if tables is not None:
            config = finder.config
            idle = config.refresh_token_expiry if self._has("refresh") else config.token_expiry
            sessions = Sessions(context, tables, config.session_max, idle)
            if self._has("refresh"):
                key = partial(finder.derived_key, "refresh")
                refresh = RefreshTokens(
                    context, tables, finder.config.refresh_token_expiry, key, finder.same_epoch
                )
        changes = PasswordChange(context, self.accounts)
        return Logins(context, finder, changes, self.events, self._claims_of, sessions, refresh)

    def _make_second_factors(
        self, key: Column[Any], given: PasskeySettings | None, throttle: Throttle, lockout: Lockout
    ) -> None:
        shared = (key, throttle, lockout, self.events, self.logins.sessions)
        if self._has("totp"):
            self.factors = make_factors(self._context, self.authenticator, *shared)
            self.logins.second_factor = self.factors.ask
        if self._has("passkeys"):
            self.passkeys = make_passkeys(self._context, given, *shared)
            self.accounts.further_keys.append(self.passkeys.forget)

    def _make_mailing(
        self, mail: Mail | Mailer | None, throttle: Throttle, lockout: Lockout
    ) -> Mailing | None:
        key = key_of(self.user_model)
        if key is None or self.features.isdisjoint(LINKS):
            return None
        mailing = Mailing(
            self._context, mail, self.features, self.prefix,
            self.accounts, self.logins, self.events, throttle, lockout, key,
        )  # fmt: skip
        mailing.guard(self.user_model)
        return mailing

    def _require_verified(self) -> None:
        if not self._has("verify_email"):
            raise ConfigError(
                "require_verified_email needs the feature verify_email; add JetioEmailConfirmationMixin to the model"
            )
        if self.mailing is not None and self.mailing.addresses is not None:
            self.logins.conditions.append(self.mailing.addresses.require)

    def required_mailing(self) -> Mailing:
        """What stands on mail, for what is there only with it; raises ConfigError."""
        if self.mailing is None:
            _ = self._context.facts  # says what the key lacks
            raise ConfigError(
                f"nothing is sent by mail; write AuthRouter(..., enable=[...]) with some of {LINKS}"
            )
        return self.mailing

    def required_factors(self) -> SecondFactors:
        """The second factors, for what is there only with them; raises ConfigError."""
        if self.factors is None:
            if self._has("totp"):
                _ = self._context.facts  # says what the key lacks
            raise ConfigError('second factors are off; write AuthRouter(..., enable=["totp"])')
        return self.factors

    def required_passkeys(self) -> Passkeys:
        """The passkeys, for what is there only with them; raises ConfigError."""
        if self.passkeys is None:
            if self._has("passkeys"):
                _ = self._context.facts  # says what the key lacks
            raise ConfigError('passkeys are off; write AuthRouter(..., enable=["passkeys"])')
        return self.passkeys

    # ---- functions -----------------------------------------------------------------------------------------

    async def login(
        self,
        identity: str,
        password: str,
        extra_claims: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
        agent: str | None = None,
        field: str | None = None,
        otp: str | None = None,
    ) -> dict[str, Any]:
        """Log in: `{"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}`.

        The last two are there where refreshing is on. Raises 401 `invalid_credentials` and 429 `rate_limited`.
        `address` is counted by the throttle, and shown with `agent` in the list of sessions; `extra_claims`
        stay with the session; `field` None: the name may be in any login field. `otp` is a code of the account's
        authenticator: without it, where one is on, 401 `mfa_required` has the `mfa_token` to go on with. Commits.
        """
        device = Device(address=address, agent=agent)
        return await self.login_from(device, identity, password, extra_claims, field=field, otp=otp)

    async def login_from(
        self,
        device: Device,
        identity: str,
        password: str,
        extra_claims: Mapping[str, Any] | None = None,
        *,
        field: str | None = None,
        otp: str | None = None,
    ) -> dict[str, Any]:
        """`login` for a request, whose device is known."""
        account = await self.accounts.authenticate(identity, password, device, field=field)
        if otp is not None and self.factors is not None:
            device = await self.factors.prove_at_once(account, device, otp)
        return await self.logins.open(account, extra_claims or {}, device)

    async def refresh(self, token: str) -> dict[str, Any]:
        """The next tokens of a session, as `login` gives them; the refresh token is used up. Commits.

        Raises 401: `token_reused`, which ends the session, `token_expired`, `token_revoked`.
        """
        return await self.logins.refresh(token, Device())

    async def register(self, *, password: str, **fields: Any) -> Any:
        """Make an account with these fields; its row. Commits.

        With approval it waits for an admin. Raises 422 for the password, 409 `already_exists` for a taken name.
        """
        async with self.database.sessions() as session:
            try:
                user = await self.accounts.register(session, fields, password)
            except PydanticCustomError as wrong:  # a name that none may have
                raise ValidationError([FieldError(wrong.type, wrong.message())]) from None
            event = AuthEvent(name="user.registered", user_id=str(getattr(user, self.accounts.facts.key)))
            await self.events.write(event, session)
            await session.commit()
        await self.events.announce(event)
        return user

    def on(self, event: str, handler: Callable[[AuthEvent], Any]) -> Callable[[AuthEvent], Any]:
        """Call a function with each event of this name, after it is lasting: `login.ok`, `login.*`, `*`.

        A plain function runs in a thread. One that fails is logged; what has happened stays.
        """
        return self.events.on(event, handler)

    async def revoke_sessions(self, user: Any, db: AsyncSession | None = None) -> None:
        """Log an account's row out everywhere. With `db` you commit, else it is done at once.

        In a handler that has a session, give it: on SQLite another transaction would wait for yours.
        """
        key = getattr(user, self.accounts.facts.key)
        if db is None:
            await self.logins.end_others(key, None, Device())
        else:
            await self.logins.required_sessions().end_all_in(db, key)

    def use_mailer(self, mailer: Mailer) -> None:
        """Send through this one from now on, as tests do that read what was sent."""
        self.required_mailing().letters.mailer = mailer

    async def send_verification(self, user: Any) -> None:
        """Write to an account's address the link that confirms it; the link before it ends. Commits.

        For changes of the address by your own code. What goes wrong with the mail is logged.
        """
        if self.mailing is None or self.mailing.addresses is None:
            raise ConfigError("verify_email is off; add JetioEmailConfirmationMixin to the model")
        await self.mailing.letters.link("verify_email", self.accounts.facts.account_of(user))

    def create_token(
        self,
        user: Any,
        *,
        extra_claims: Mapping[str, Any] | None = None,
        expires_in: int | None = None,
        scopes: Sequence[str] | None = None,
    ) -> str:
        """An access token for an account's row; `expires_in` in seconds, by default as configured.

        `scopes` None: all of them, as after a login. No session ends with it: it lasts until it expires.
        """
        given = self._extra_claims(user) if self._extra_claims is not None else {}
        seconds = expires_in if expires_in is not None else self.authenticator.config.token_expiry
        account = self.accounts.facts.account_of(user)
        return self.authenticator.issue(account, {**given, **(extra_claims or {})}, seconds, scopes=scopes)

    async def _claims_of(self, account: Account) -> Mapping[str, Any]:
        if self._extra_claims is None:
            return {}
        async with self.database.sessions() as session:
            user = await session.get(self.user_model, account[self.accounts.facts.key])
        if user is None:  # it was deleted just now
            raise invalid_credentials()
        return self._extra_claims(user)

    async def ensure_admin(
        self,
        db: AsyncSession | None = None,
        *,
        username: str | None = None,
        email: str | None = None,
        password: str | None = None,
    ) -> None:
        """Make sure that this admin exists; run it at every start. Commits `db`.

        An admin is left as it is, whatever its password; a plain account is promoted only with its own
        password. Without arguments it reads `JETIO_AUTH_DEFAULT_ADMIN_*`, and does nothing where none is set.
        Raises ConfigError.
        """
        if username is None and email is None and password is None:
            username, email, password = environment().default_admin
            if username is None and email is None and password is None:
                return
        names = self._admin_names(username, email)
        if password is None:
            raise ConfigError('ensure_admin needs a password; write password="..."')
        await self._ensure_admin(db, names, password)

    async def _ensure_admin(self, db: AsyncSession | None, names: Mapping[str, str], password: str) -> None:
        if db is not None:
            await self._ensure(db, names, password)
            return
        async with self.database.sessions() as session:
            await self._ensure(session, names, password)

    async def _ensure(self, db: AsyncSession, names: Mapping[str, str], password: str) -> None:
        if self._context.creates_tables:
            # A script, or a start-up handler, may come before the tables.
            await create_tables(await db.connection(), self.user_model.metadata)
        await self.accounts.ensure_admin(db, names, password)

    def _admin_names(self, username: str | None, email: str | None) -> dict[str, str]:
        columns = self.accounts.facts.fetched
        given = {"username": username, "email": email}
        names = {name: value for name, value in given.items() if value is not None and name in columns}
        if not names:
            wanted = " or ".join(self.accounts.facts.login_fields)
            raise ConfigError(f"ensure_admin needs a name to log in with; give {wanted}")
        return names


def _refuse_for_accounts(issuers: Sequence[RemoteIssuer], *given: object, backed: bool) -> None:
    """Without accounts there must be issuers or a backend, and nothing that is about accounts."""
    if not issuers and not backed:
        raise ConfigError("AuthRouter() has no user model, no issuers and no backend; write AuthRouter(User)")
    if any(given):
        raise ConfigError(
            "AuthRouter without a user model takes role_permissions, and nothing about accounts; "
            "write AuthRouter(User, issuers=[...])"
        )
