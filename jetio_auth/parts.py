"""What an AuthRouter consists of: each part is made of those before it, and one that is off is None."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column

from jetio import Authenticator, Change, ConfigError, Database, Principal

from .accounts import Accounts, invalid_credentials
from .address_change import prove_owner
from .administration import Administration
from .approval import Approval
from .backends import (
    ApartAuthenticator,
    ApiTokenAuthenticator,
    ChainAuthenticator,
    JWTAuthenticator,
    RemoteAuthenticator,
)
from .backends.backed import Backed
from .context import AuthContext
from .events import Events
from .factors.making import make_factors, make_passkeys
from .features import features_of
from .grants.api_tokens import ApiTokens
from .grants.device import DeviceLogins
from .grants.impersonation import Impersonation
from .grants.programs import Programs
from .grants.refresh import RefreshTokens
from .logins import Logins
from .mail.mailing import Mailing
from .mail.settings import LINKS
from .model import Account, columns_of, guard_model, has_state, key_of, read_user_model, table_of
from .oauth.making import make_oauth_logins
from .options import AuthOptions
from .ownership import SelfOrAdmin
from .password_change import PasswordChange
from .passwords import PasswordPolicy
from .policies import AdminOnly, InPerson
from .rules import NO_ACCOUNTS
from .sessions import Sessions
from .settings import environment
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
    from .factors.passkeys import Passkeys
    from .factors.second import SecondFactors
    from .oauth.logins import OAuthLogins

__all__ = ["AuthParts"]

_OF_ACCOUNTS = frozenset(
    {"authenticator", "accounts", "approval", "logins", "events", "factors", "passkeys", "mailing"}
)


class AuthParts:
    """The parts. Without a user model there are none of accounts, and asking for one is a ConfigError."""

    user_model: Any
    finder: Authenticator
    authenticator: JWTAuthenticator
    events: Events
    accounts: Accounts
    logins: Logins
    approval: Approval
    programs: Programs
    devices: DeviceLogins
    oauth: OAuthLogins
    administration: Administration
    impersonation: Impersonation
    factors: SecondFactors | None
    passkeys: Passkeys | None
    mailing: Mailing | None

    def __init__(self, options: AuthOptions) -> None:
        model = options.user_model
        self.user_model = model
        self.features = features_of(
            options.enabled, options.disable, columns_of(model) if model is not None else ()
        )
        self._context = AuthContext(self._read_model(options), options.database, options.create_tables)
        self._extra_claims, self._default_admin = options.extra_claims, options.default_admin
        self._remote: RemoteAuthenticator | None = None
        self.backed: Backed | None = None
        if model is None:
            self._find_callers_elsewhere(options)
        else:
            self._make_accounts(options)

    def _read_model(self, options: AuthOptions) -> Callable[[], Any]:
        """Called at build, when the model is complete."""
        return lambda: read_user_model(
            self.user_model, options.admin_field, options.login_fields, approval=self._has("approval")
        )

    def _has(self, feature: str) -> bool:
        return feature in self.features

    @property
    def database(self) -> Database:
        """The application's database; before any application, the default one."""
        return self._context.database

    if not TYPE_CHECKING:  # pragma: no branch - type checkers go the other way

        def __getattr__(self, name: str) -> Any:
            """Called for what is missing alone: without a user model there are no accounts."""
            if name == "programs":
                raise ConfigError('API tokens are off; write AuthRouter(enable=["api_tokens"])')
            if name in _OF_ACCOUNTS:
                raise ConfigError(NO_ACCOUNTS)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # ---- who calls -----------------------------------------------------------------------------------------

    def _find_callers_elsewhere(self, options: AuthOptions) -> None:
        """Callers of remote issuers and of a backend, who have no accounts here."""
        if options.issuers:
            self._remote = RemoteAuthenticator(self._context, options.issuers, options.roles, None)
            self.finder = self._remote
        if options.backend is not None:
            self.events = Events(self._context, None, options.events_days)
            self._take_backend(options, None)

    def _find_callers(self, options: AuthOptions, tables: SessionTables | None) -> None:
        """Callers by the tokens that are given here, and by those of remote issuers."""
        config = options.jwt or environment().jwt
        if "cookie" in config.locations and not self._has("sessions"):
            raise ConfigError("cookies need sessions, or no logout could end them; leave sessions on")
        handed = self.features & {"device_login", "impersonation"}
        if handed and "header" not in config.locations:
            raise ConfigError(
                f"the tokens of {' and '.join(sorted(handed))} are sent in a header; "
                "write JWTConfig(token_location=['header', 'cookie'])"
            )
        path = f"{options.prefix}{options.session_prefix}"
        held = tables.sessions if tables is not None else None
        self.authenticator = JWTAuthenticator(
            self._context, config, f"{path}{options.login_path}", options.roles, held, f"{path}/refresh"
        )
        self.finder = self.authenticator
        if options.issuers:
            self._remote = RemoteAuthenticator(
                self._context, options.issuers, options.roles, self.authenticator
            )
            self.finder = self._remote

    def _take_backend(self, options: AuthOptions, accounts: JWTAuthenticator | None) -> None:
        backend, lockout = options.backend, options.lockouts
        self.backed = Backed(backend, self._context, accounts, options.roles, lockout, self.events)
        base = self.finder if accounts is not None or self._remote is not None else None
        self.finder = ChainAuthenticator(self.backed.finders, base)

    def _admit_programs(self, key: Column[Any]) -> None:
        tokens = ApiTokens(self._context, api_tokens_table(key), self.authenticator)
        self.programs = Programs(self._context, tokens, self.events)
        self.finder = ChainAuthenticator([ApiTokenAuthenticator(self.authenticator, tokens)], self.finder)

    # ---- accounts ------------------------------------------------------------------------------------------

    def _make_accounts(self, options: AuthOptions) -> None:
        """A model without one key gets no part that needs it: the build tells."""
        model = self.user_model
        key = key_of(model)
        tables = session_tables(key) if self._has("sessions") and key is not None else None
        self._find_callers(options, tables)
        self._guard_model(options)
        users, lockout = table_of(model), options.lockouts
        throttle = self._throttle = Throttle(attempts_table(users))
        self.events = Events(
            self._context, events_table(users) if self._has("events") else None, options.events_days
        )
        policy = options.password or PasswordPolicy()
        self.accounts = Accounts(self._context, policy, throttle, lockout, self.events)
        self.logins = self._make_logins(tables)
        self.factors = self.passkeys = self.mailing = None
        if self._has("approval"):
            self.approval = Approval(self._context, self.accounts, self.events)
            self.logins.conditions.append(self.approval.admit)
        if key is not None:
            self._make_keyed(options, key)
        if options.backend is not None:
            self._take_backend(options, self.authenticator)
        if options.database is not None:
            self.finder = ApartAuthenticator(self.finder, self._context)
        sessions = self.logins.sessions
        self.administration = Administration(self._context, self.accounts, throttle, sessions, self.events)
        if self._has("device_login") and key is not None and sessions is None:
            self.administration.endings.append(self.devices.revoke_in)
        self.impersonation = Impersonation(
            self._context, self.authenticator, self._claims_of, sessions, self.events
        )

    def _guard_model(self, options: AuthOptions) -> None:
        """What holds for rows of the user model on whichever router they are."""
        managed = InPerson() & SelfOrAdmin(self.user_model)
        floor = {"POST": InPerson() & AdminOnly(), **dict.fromkeys(("PUT", "PATCH", "DELETE"), managed)}
        hooks: dict[str, Callable[[Change], Awaitable[None]]] = {"before_delete": self._keep_an_admin}
        self._address_opens = not self.features.isdisjoint({*LINKS, "oauth"}) and "email" in columns_of(
            self.user_model
        )
        if has_state(self.user_model) or self._address_opens:
            hooks["before_update"] = self._before_update
            hooks["on_commit"] = self._on_commit
        guard_model(self.user_model, options.admin_field, options.login_fields, floor, hooks)

    def _make_logins(self, tables: SessionTables | None) -> Logins:
        context, finder = self._context, self.authenticator
        sessions = refresh = None
        if tables is not None:
            config = finder.config
            idle = config.refresh_token_expiry if self._has("refresh") else config.token_expiry
            sessions = Sessions(context, tables, config.session_max, idle)
            if self._has("refresh"):
                key = partial(finder.derived_key, "refresh")
                refresh = RefreshTokens(context, tables, config.refresh_token_expiry, key, finder.same_epoch)
        changes = PasswordChange(context, self.accounts)
        return Logins(context, finder, changes, self.events, self._claims_of, sessions, refresh)

    # ---- what is on ----------------------------------------------------------------------------------------

    def _make_keyed(self, options: AuthOptions, key: Column[Any]) -> None:
        """The features that keep something about accounts in tables of their own."""
        self._make_second_factors(options, key)
        if self._has("api_tokens"):
            self._admit_programs(key)
        if not self.features.isdisjoint(LINKS):
            self._make_mailing(options, key)
        if options.require_verified_email:
            self._require_verified()
        if self._has("device_login"):
            self.devices = DeviceLogins(
                self._context, device_table(key), self._throttle,
                self.authenticator, self.logins, self.events, options.events_days,
            )  # fmt: skip
            if self.logins.sessions is not None:
                self.logins.sessions.endings.append(self.devices.revoke)
        if self._has("oauth"):
            self.oauth = make_oauth_logins(
                self._context, options.oauth, oauth_tables(key), self.authenticator,
                self.logins, self.events, self._throttle, options.lockouts, options.prefix,
                self.accounts.further_keys,
            )  # fmt: skip
            self.accounts.further_keys.add(self.oauth)

    def _make_second_factors(self, options: AuthOptions, key: Column[Any]) -> None:
        shared = (key, self._throttle, options.lockouts, self.events)
        if self._has("totp"):
            sessions = self.logins.required_sessions()
            self.factors = make_factors(self._context, self.authenticator, *shared, sessions)
            self.logins.second_factor = self.factors.ask
            self.accounts.further_keys.add(self.factors)
        if self._has("passkeys"):
            held, further = self.logins.sessions, self.accounts.further_keys
            self.passkeys = make_passkeys(self._context, options.passkeys, *shared, held, further)
            further.add(self.passkeys)

    def _make_mailing(self, options: AuthOptions, key: Column[Any]) -> None:
        self.mailing = Mailing(
            self._context, options.mail, self.features, options.prefix,
            self.accounts, self.logins, self.events, self._throttle, options.lockouts, key,
        )  # fmt: skip
        self.mailing.guard(self.user_model)

    def _require_verified(self) -> None:
        addresses = self.mailing.addresses if self.mailing is not None else None
        if addresses is None:
            raise ConfigError(
                "require_verified_email needs the feature verify_email; add JetioEmailConfirmationMixin to the model"
            )
        self.logins.conditions.append(addresses.require)

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

    async def require_proved_address(self, principal: Principal) -> None:
        """Raises 403 `email_not_verified`: who is no owner of the address leaves nothing that locks its owner out."""
        if self.mailing is not None and self.mailing.addresses is not None:
            await self.mailing.addresses.require_of(principal.id)

    # ---- hooks of the model --------------------------------------------------------------------------------

    async def _keep_an_admin(self, change: Change) -> None:
        await self.accounts.keep_an_admin(change)

    async def _before_update(self, change: Change) -> None:
        await self.accounts.keep_an_admin(change)
        if self._address_opens:
            await prove_owner(self._context.facts.key, change)
        await self.administration.before_update(change)
        if self.mailing is not None:
            await self.mailing.before_update(change)

    async def _on_commit(self, change: Change) -> None:
        await self.administration.on_commit(change)
        if self._has("verify_email"):
            await self.required_mailing().on_commit(change)

    async def _claims_of(self, account: Account) -> Mapping[str, Any]:
        if self._extra_claims is None:
            return {}
        async with self.database.sessions() as session:
            user = await session.get(self.user_model, account[self.accounts.facts.key])
        if user is None:  # it was deleted just now
            raise invalid_credentials()
        return self._extra_claims(user)
