"""AuthRouter: the endpoints, rules and functions of one user model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Change, ConfigError, Database, Jetio, Policy, create_tables, public

from .accounts import Accounts
from .backends import JWTAuthenticator
from .context import AuthContext
from .endpoints.admin import make_admin_operation, remove_admin_operation
from .endpoints.login import LoginOperation
from .endpoints.me import MeOperation
from .endpoints.register import RegisterOperation
from .model import Account, guard_model, read_user_model
from .passwords import PasswordPolicy
from .policies import (
    AdminOnly,
    LoginRequired,
    Owner,
    OwnerOrAdmin,
    RequiresPermission,
    RequiresRole,
    SelfOrAdmin,
)
from .settings import JWTConfig, Lockout, environment, weaknesses
from .tables import attempts_table
from .throttle import Throttle

__all__ = ["AuthRouter"]

_log = logging.getLogger("jetio.auth")


class AuthRouter:
    """Accounts, tokens and rules for a user model. Nothing else is needed in development.

    `admin_field` None: the first of is_admin, is_superuser, is_staff, is_master. `login_fields` None: those
    of username and email that the model has. `extra_claims(user)` gives further claims of every token,
    `role_permissions={"editor": ["posts:write"]}` what roles may do; `default_admin` runs `ensure_admin()`
    at start. Mistakes in the model are raised as ConfigError when the application is built.
    """

    def __init__(
        self,
        user_model: type[Any],
        admin_field: str | None = None,
        login_path: str = "/login",
        register_path: str = "/register",
        *,
        prefix: str = "",
        admin_prefix: str = "/admin",
        jwt: JWTConfig | None = None,
        login_fields: Sequence[str] | None = None,
        password: PasswordPolicy | None = None,
        lockout: Lockout | None = None,
        role_permissions: Mapping[str, Sequence[str]] | None = None,
        extra_claims: Callable[[Any], Mapping[str, Any]] | None = None,
        default_admin: bool = False,
    ) -> None:
        self.user_model = user_model
        self._register_path, self._login_path = f"{prefix}{register_path}", f"{prefix}{login_path}"
        self._me_path, self._admin_prefix = f"{prefix}/me", admin_prefix
        self._extra_claims, self._default_admin = extra_claims, default_admin
        self._context = AuthContext(lambda: read_user_model(user_model, admin_field, login_fields))
        config = jwt or JWTConfig(token_expiry=environment().token_expiry)
        self.authenticator = JWTAuthenticator(self._context, config, self._login_path, role_permissions or {})
        floor = {"POST": AdminOnly(), **dict.fromkeys(("PUT", "PATCH", "DELETE"), SelfOrAdmin(user_model))}
        hooks = dict.fromkeys(("before_update", "before_delete"), self._keep_an_admin)
        guard_model(user_model, admin_field, login_fields, floor, hooks)
        throttle = Throttle(attempts_table(user_model.metadata))
        self.accounts = Accounts(self._context, password or PasswordPolicy(), throttle, lockout or Lockout())

    @property
    def database(self) -> Database:
        """The application's database; before any application, the default one."""
        return self._context.database

    # ---- register ------------------------------------------------------------------------------------------

    def register_routes(self, app: Jetio) -> None:
        """Add `/register`, `/login` and `/me`, and find out callers for the whole application."""
        self._adopt(app)
        app.add_endpoint(self._register_path, RegisterOperation(self))
        app.add_endpoint(self._login_path, LoginOperation(self))
        app.add_endpoint(self._me_path, MeOperation(self))

    def register_admin_routes(self, app: Jetio) -> None:
        """Add `/admin/{id}/make-admin` and `/admin/{id}/remove-admin`."""
        self._adopt(app)
        app.add_endpoint(f"{self._admin_prefix}/{{id}}/make-admin", make_admin_operation(self))
        app.add_endpoint(f"{self._admin_prefix}/{{id}}/remove-admin", remove_admin_operation(self))

    def _adopt(self, app: Jetio) -> None:
        if self._context.app is app:
            return
        if self._context.app is not None:
            raise ConfigError("one AuthRouter serves one application; make another for the other")
        app.use_authenticator(self.authenticator)
        self._context.app = app
        app.on_build.append(self._check_model)
        app.start_checks.append(self._check_settings)
        app.start_tasks.append(self._start)

    def _check_model(self, app: Jetio) -> None:
        _ = self._context.facts

    def _check_settings(self, app: Jetio) -> Sequence[str]:
        """In production weak settings stop the start; elsewhere they are warnings."""
        found = list(weaknesses(self.authenticator.config, app.settings))
        if app.settings.production:
            return found
        for weakness in found:
            _log.warning("%s (production would refuse to start)", weakness)
        return ()

    async def _keep_an_admin(self, change: Change) -> None:
        await self.accounts.keep_an_admin(change)

    async def _start(self) -> None:
        _ = self.authenticator.codec
        await self.accounts.passwords.warm_up()
        if self._default_admin:
            await self.ensure_admin()

    # ---- rules ---------------------------------------------------------------------------------------------

    def get_auth_dependency(self) -> LoginRequired:
        """For `CrudRouter(auth_dependency=...)`: signed in. For `Depends(...)`: the caller's row."""
        return LoginRequired(self.authenticator)

    def authenticated(self) -> Policy:
        """Everybody who is signed in."""
        return LoginRequired(self.authenticator)

    def public(self) -> Policy:
        """Everybody."""
        return public()

    def admin_only(self) -> Policy:
        """Admins."""
        return AdminOnly(self.authenticator)

    def requires_role(self, *any_of: str) -> Policy:
        """Whoever has one of these roles; 403 `role_required` for the others. Admins have `admin`."""
        return RequiresRole(any_of, self.authenticator)

    def requires_permission(self, *all_of: str) -> Policy:
        """Whoever has all of these permissions."""
        return RequiresPermission(all_of, self.authenticator)

    def owner(self, model: type[Any], audit_fields: Sequence[str] | None = None) -> Policy:
        """The rows that the caller owns, also for admins. `audit_fields` as in `owner_or_admin`."""
        return Owner(model, self.authenticator, tuple(audit_fields) if audit_fields else None)

    def owner_or_admin(self, model: type[Any], audit_fields: Sequence[str] | None = None) -> Policy:
        """The rows that the caller owns; admins all. `audit_fields` names candidates for the owner column."""
        return OwnerOrAdmin(model, self.authenticator, tuple(audit_fields) if audit_fields else None)

    def self_or_admin(self) -> Policy:
        """For the user model: the caller's own row; admins all."""
        return SelfOrAdmin(self.user_model, self.authenticator)

    # ---- functions -----------------------------------------------------------------------------------------

    async def login(
        self,
        identity: str,
        password: str,
        extra_claims: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
        field: str | None = None,
    ) -> dict[str, Any]:
        """Log in: `{"access_token", "token_type", "expires_in"}`.

        Raises 401 `invalid_credentials` and 429 `rate_limited`. `address` is counted by the throttle;
        `field` None: the name may be in any login field.
        """
        account = await self.accounts.authenticate(identity, password, address=address, field=field)
        claims = {**await self._claims_of(account), **(extra_claims or {})}
        seconds = self.authenticator.config.token_expiry
        token = self.authenticator.issue(account, claims, seconds)
        return {"access_token": token, "token_type": "bearer", "expires_in": seconds}

    def create_token(
        self, user: Any, *, extra_claims: Mapping[str, Any] | None = None, expires_in: int | None = None
    ) -> str:
        """An access token for an account's row; `expires_in` in seconds, by default as configured."""
        given = self._extra_claims(user) if self._extra_claims is not None else {}
        seconds = expires_in if expires_in is not None else self.authenticator.config.token_expiry
        account = self.accounts.facts.account_of(user)
        return self.authenticator.issue(account, {**given, **(extra_claims or {})}, seconds)

    async def _claims_of(self, account: Account) -> Mapping[str, Any]:
        if self._extra_claims is None:
            return {}
        async with self.database.sessions() as session:
            return self._extra_claims(await session.get(self.user_model, account[self.accounts.facts.key]))

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
        if db is not None:
            await self._ensure(db, names, password)
            return
        async with self.database.sessions() as session:
            await self._ensure(session, names, password)

    async def _ensure(self, db: AsyncSession, names: Mapping[str, str], password: str) -> None:
        if self._context.settings.create_tables:
            # A script, or a start-up handler, may come before the tables.
            await create_tables(await db.connection(), self.user_model.metadata)
        await self.accounts.ensure_admin(db, names, password)

    def _admin_names(self, username: str | None, email: str | None) -> dict[str, str]:
        columns = self.accounts.facts.columns
        given = {"username": username, "email": email}
        names = {name: value for name, value in given.items() if value is not None and name in columns}
        if not names:
            wanted = " or ".join(self.accounts.facts.login_fields)
            raise ConfigError(f"ensure_admin needs a name to log in with; give {wanted}")
        return names
