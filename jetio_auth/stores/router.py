"""AuthRouter over a store: the same routes, as far as a store can carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Authenticator, ConfigError, Jetio

from ..accounts import invalid_credentials
from ..context import AuthContext
from ..endpoints.login import LoginOperation
from ..endpoints.stored import StoredMeOperation, StoredRegisterOperation
from ..events import AuthEvent, Events
from ..logins import Logins
from ..model import Account
from ..options import refuse_odd_paths
from ..passwords import PasswordPolicy
from ..router import AuthRouter
from ..settings import JWTConfig, Lockout, environment
from ..tables import stored_attempts_table
from ..throttle import Throttle
from . import StoredUser, StoreSource, UserStore
from .accounts import (
    StoredAccounts,
    StoredApproval,
    StoredAuthenticator,
    StoredPasswordChange,
    no_such_field,
    stored_model,
)

__all__ = ["StoredAuthRouter"]

_FEATURES = ("change_password", "approval")


class StoredAuthRouter(AuthRouter):
    """What `AuthRouter(store=...)` makes. Sessions, events in a table and what is built on them need a user model."""

    def __init__(
        self,
        user_model: type[Any] | None = None,
        *,
        store: UserStore | Callable[[], Any],
        login_path: str = "/login",
        register_path: str = "/register",
        prefix: str = "",
        session_prefix: str = "",
        jwt: JWTConfig | None = None,
        password: PasswordPolicy | None = None,
        lockout: Lockout | None = None,
        role_permissions: Mapping[str, Sequence[str]] | None = None,
        extra_claims: Callable[[Any], Mapping[str, Any]] | None = None,
        default_admin: bool = False,
        approval: str | None = None,
        disable: Sequence[str] = (),
        **others: Any,
    ) -> None:
        _refuse(user_model, approval, others)
        self.user_model = StoredUser
        chosen = {"change_password", *(["approval"] if approval is not None else [])}
        self.features = frozenset(chosen - set(disable))
        refuse_odd_paths(
            prefix=prefix, session_prefix=session_prefix, login_path=login_path, register_path=register_path
        )
        self.prefix, self.session_prefix = prefix, session_prefix
        self.login_path, self.accepts_issuers = login_path, False
        self._register_path = f"{prefix}{register_path}"
        self._login_path = f"{prefix}{session_prefix}{login_path}"
        self._me_path = f"{prefix}/me"
        self._extra_claims, self._default_admin = extra_claims, default_admin
        self._own, self._remote = [], None
        self.dev_superusers = False
        self.factors = self.passkeys = self.mailing = None
        self._context = AuthContext(lambda: stored_model(approval=self._has("approval")))
        self._source = StoreSource(store)
        self._keep(jwt, role_permissions or {}, password or PasswordPolicy(), lockout or Lockout())

    def _keep(
        self,
        jwt: JWTConfig | None,
        role_permissions: Mapping[str, Sequence[str]],
        password: PasswordPolicy,
        lockout: Lockout,
    ) -> None:
        context, source = self._context, self._source
        config = replace(jwt or environment().jwt, subject="email")
        if "cookie" in config.locations:
            raise ConfigError("cookies need sessions, which a store does not carry; write AuthRouter(User)")
        refresh_path = f"{self.prefix}{self.session_prefix}/refresh"
        self.authenticator = StoredAuthenticator(
            context, config, self._login_path, role_permissions, None, refresh_path
        )
        self.finder: Authenticator = self.authenticator
        self.events = Events(context, None, 0)
        throttle = Throttle(stored_attempts_table())
        self.accounts: StoredAccounts = StoredAccounts(context, password, throttle, lockout, self.events)
        changes = StoredPasswordChange(context, self.accounts)
        changes.accounts = self.accounts
        self.accounts.source = self.authenticator.source = source
        self.logins = Logins(context, self.authenticator, changes, self.events, self._claims_of, None, None)
        if self._has("approval"):
            self.approval = StoredApproval(context, self.accounts, self.events)
            self.approval.source = source
            self.logins.conditions.append(self.approval.admit)

    def use_store(self, store: UserStore | Callable[[], Any]) -> None:
        """Keep accounts here from now on: a store, or a function that returns or yields one."""
        self._source.use(store)

    # ---- register ------------------------------------------------------------------------------------------

    def register_routes(self, app: Jetio) -> None:
        """Add `/register`, `/login`, `/me` and `/change-password`."""
        self._adopt(app)
        table = stored_attempts_table()
        if table.name not in app.metadata.tables:
            table.to_metadata(app.metadata)
        self._serve(app, self._register_path, StoredRegisterOperation(self))
        self._serve(app, self._login_path, LoginOperation(self))
        self._serve(app, self._me_path, StoredMeOperation(self))
        self._add_routes(app)

    def register_admin_routes(self, app: Jetio) -> None:
        """Add `/pending`, `/approve` and `/reject`, where approval is on."""
        self._adopt(app)
        self._add_review_routes(app)

    def register_user_routes(self, app: Jetio) -> None:
        """Accounts of a store are no rows."""
        raise ConfigError("register_user_routes serves rows of a user model; write AuthRouter(User)")

    async def _start(self) -> None:
        await self._source.check(self._context.settings)
        await super()._start()

    # ---- functions -----------------------------------------------------------------------------------------

    async def register(self, *, password: str, **fields: Any) -> StoredUser:
        """Make an account with this email. Raises 422 for the password, 409 `already_exists`."""
        if set(fields) != {"email"}:
            raise no_such_field(sorted(set(fields) - {"email"}) or ["email"])
        user = await self.accounts.add(fields["email"], password)
        key = self.accounts.facts.account_of(user)["id"]
        await self.events.record(AuthEvent(name="user.registered", user_id=key))
        return user

    async def _ensure_admin(self, db: AsyncSession | None, names: Mapping[str, str], password: str) -> None:
        await self.accounts.ensure_stored_admin(names["email"], password)

    async def _claims_of(self, account: Account) -> Mapping[str, Any]:
        if self._extra_claims is None:
            return {}
        user = await self._source.find(account["email"])
        if user is None:  # pragma: no cover - deleted in the moment since its password was judged
            raise invalid_credentials()
        return self._extra_claims(user)


def _refuse(user_model: Any, approval: str | None, others: Mapping[str, Any]) -> None:
    if approval not in (None, "admin"):
        raise ConfigError(f'AuthRouter(approval={approval!r}) is not known; write approval="admin"')
    given = sorted(name for name, value in others.items() if value)
    if user_model is not None:
        given.insert(0, "user_model")
    if given:
        raise ConfigError(
            f"AuthRouter(store=...) takes no {', '.join(given)}: that needs a user model; write AuthRouter(User)"
        )
