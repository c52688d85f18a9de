"""setup_auth: accounts in one call, with a user model, a database and a first admin of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import MetaData, String
from sqlalchemy.orm import Mapped, mapped_column, registry

from jetio import Base, ConfigError, Database, Jetio, JetioModel, Problem

from .mixins import JetioApprovalMixin, JetioAuthMixin
from .model import PASSWORD, Account
from .names import canonical_or_typed
from .router import AuthRouter
from .sessions import Device
from .settings import JWTConfig, environment
from .throttle import is_local

__all__ = ["setup_auth"]

_log = logging.getLogger("jetio.auth")
_SAMPLE = "changeme"
_VARIABLE = "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD"


def setup_auth(
    app: Jetio,
    secret_key: str | None = None,
    algorithm: str = "HS256",
    expire_minutes: int = 30,
    db_url: str = "sqlite+aiosqlite:///./users.db",
    prefix: str = "/auth",
    approval: str | None = "admin",
    default_admin: str | None = "admin@admin.com",
    create_tables: bool = True,
    **options: Any,
) -> AuthRouter:
    """Accounts for an application that has none: a user model with an email, its database, all routes, an admin.

    `approval` None: whoever registers may log in. `default_admin` is the email of the first admin, None: there is
    none. Its password is JETIO_AUTH_DEFAULT_ADMIN_PASSWORD; outside of production, where that is not set,
    `changeme`, which works from this machine only. `create_tables=False` leaves the tables to migrations.
    Further options are those of AuthRouter.
    """
    options = _checked(options)
    if approval is None and "store" not in options:
        options["disable"] = [*options.get("disable", ()), "approval"]
    if (
        "store" not in options
    ):  # a store keeps the accounts, so that there is nothing for a database of theirs
        options |= {"user_model": _user_model(), "create_tables": create_tables}
        options["database"] = options.get("database") or Database(db_url)
    config = _config(options.pop("jwt", None), secret_key, algorithm, expire_minutes)
    auth = AuthRouter(prefix=prefix, approval=approval, jwt=config, **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    if default_admin is not None:
        _SeededAdmin(app, auth, default_admin).install()
    return auth


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    if "user_model" in options:
        raise ConfigError(
            "setup_auth brings its own user model; with yours write AuthRouter(User, approval=...)"
        )
    return options


def _config(given: JWTConfig | None, secret_key: str | None, algorithm: str, minutes: int) -> JWTConfig:
    """`sub` is the email."""
    if given is None:
        return replace(
            environment().jwt,
            secret_key=secret_key,
            algorithm=algorithm,
            token_expiry=minutes * 60,
            subject="email",
        )
    if secret_key is not None:
        raise ConfigError("setup_auth takes secret_key=... or jwt=JWTConfig(...), not both")
    return given


def _user_model() -> type[Any]:
    """A model in a registry of its own: an application may have a User of another kind."""

    class Model(JetioModel):
        __abstract__ = True
        registry = _sa_registry = registry(
            metadata=MetaData(naming_convention=Base.metadata.naming_convention), type_annotation_map={}
        )
        metadata = registry.metadata

    class User(Model, JetioApprovalMixin, JetioAuthMixin):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(320), unique=True)

    return User


class _SeededAdmin:
    """The first admin, and the guard around a password that everybody knows."""

    def __init__(self, app: Jetio, auth: AuthRouter, email: str) -> None:
        self._app, self._auth = app, auth
        _, given, self._password = environment().default_admin
        self._email = canonical_or_typed(given or email)

    def install(self) -> None:
        """Make it at the start, and judge its logins."""
        self._app.start_checks.append(self._check)
        self._app.start_tasks.append(self._start)
        self._auth.logins.conditions.append(self._admit)

    def _check(self, app: Jetio) -> Sequence[str]:
        if app.settings.production and self._password is None:
            return [f"setup_auth: set {_VARIABLE} for the admin {self._email}, or write default_admin=None"]
        return ()

    async def _start(self) -> None:
        try:
            await self._seed()
            await self._judge()
        except BaseException:
            await self._auth.database.close()
            raise

    async def _seed(self) -> None:
        if self._password is not None:
            await self._auth.ensure_admin(email=self._email, password=self._password)
        elif not await self._auth.accounts.has_admin(
            self._email
        ):  # whoever deleted the first one has another
            await self._auth.ensure_admin(email=self._email, password=_SAMPLE)

    async def _judge(self) -> None:
        """Production does not start with the sample password, wherever the row comes from."""
        stored = await self._auth.accounts.hash_of(self._email)
        if stored is None or not await self._is_sample(stored):
            return
        route = f"POST {self._auth.prefix}/change-password"
        told = f"the admin {self._email} has the sample password {_SAMPLE!r}; change it with {route}"
        if self._app.settings.production:
            raise ConfigError(f"setup_auth: {told} while JETIO_ENV is development")
        _log.warning("%s; until then it works from this machine only", told)

    async def _admit(self, account: Account, device: Device) -> None:
        """The sample password is for whoever sits at this machine, never for the network."""
        if account["email"] != self._email or not _is_away(device):
            return
        if await self._is_sample(account[PASSWORD]):
            detail = f"The sample password works on the server's own machine only; change it there, or set {_VARIABLE}"
            raise Problem(403, "password_change_required", detail)

    async def _is_sample(self, stored: str) -> bool:
        right, _ = await self._auth.accounts.passwords.verify_and_upgrade(_SAMPLE, stored)
        return right


def _is_away(device: Device) -> bool:
    """Whether a login may come from elsewhere; a call of the program itself has no address and no relay."""
    return device.relayed or (device.address is not None and not is_local(device.address))
