"""setup_auth: accounts in one call, with a user model, a database and a first admin of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, MetaData, String, inspect
from sqlalchemy.orm import Mapped, mapped_column, registry

from jetio import Base, ConfigError, Database, Jetio, JetioModel

from .mixins import JetioApprovalMixin, JetioAuthMixin
from .names import canonical_or_typed
from .router import AuthRouter
from .sample import SAMPLE, SampleGuard
from .settings import JWTConfig, environment

__all__ = ["setup_auth"]

_VARIABLE = "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD"
_FIRST = "admin@admin.com"
_DATABASE = "sqlite+aiosqlite:///./users.db"
_LONGEST = 24 * 60
_is_email = re.compile(r"[^\s@]+@[^\s@]+").fullmatch


def setup_auth(
    app: Jetio,
    secret_key: str | None = None,
    algorithm: str | None = None,
    expire_minutes: int | None = None,
    db_url: str | None = None,
    prefix: str = "/auth",
    approval: str | None = "admin",
    default_admin: str | None = _FIRST,
    create_tables: bool = True,
    **options: Any,
) -> AuthRouter:
    """Accounts for an application that has none: a user model with an email, its database, all routes, an admin.

    Left out, `algorithm` is HS256, `expire_minutes` 30, and `db_url` `sqlite+aiosqlite:///./users.db`.
    `approval` None: whoever registers may log in. `default_admin` is the email of the first admin, None: there is
    none. Its password is JETIO_AUTH_DEFAULT_ADMIN_PASSWORD; outside of production, where that is not set,
    `changeme`, which works from this machine only. `create_tables=False` leaves the tables to migrations.
    Further options are those of AuthRouter. Raises ConfigError.
    """
    _check_options(options, db_url, default_admin)
    if approval is None and "store" not in options:
        options["disable"] = [*options.get("disable", ()), "approval"]
    if "store" not in options:  # a store keeps the accounts: there is nothing for a database of theirs
        options |= {"user_model": _user_model(), "create_tables": create_tables}
        options["database"] = options.get("database") or Database(db_url or _DATABASE)
    config = _config(options.pop("jwt", None), secret_key, algorithm, expire_minutes)
    auth = AuthRouter(prefix=prefix, approval=approval, jwt=config, **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    by_migrations = "store" not in options and not create_tables
    _FirstAdmin(app, auth, default_admin, by_migrations=by_migrations).install()
    return auth


def _check_options(options: dict[str, Any], db_url: str | None, default_admin: str | None) -> None:
    if "user_model" in options:
        raise ConfigError(
            "setup_auth brings its own user model; with yours write AuthRouter(User, approval=...)"
        )
    for other in ("store", "database"):
        if db_url is not None and options.get(other) is not None:
            raise ConfigError(f"setup_auth takes db_url=... or {other}=..., not both")
    if default_admin is not None and not _is_email(default_admin):
        raise ConfigError(
            f'setup_auth(default_admin={default_admin!r}) is no email; write "{_FIRST}", or None for nobody'
        )


def _config(
    given: JWTConfig | None, secret_key: str | None, algorithm: str | None, minutes: int | None
) -> JWTConfig:
    """`sub` is the email."""
    if given is not None:
        return _given_config(given, secret_key=secret_key, algorithm=algorithm, expire_minutes=minutes)
    minutes = 30 if minutes is None else minutes
    if type(minutes) is not int or not 0 < minutes <= _LONGEST:
        raise ConfigError(
            f"setup_auth(expire_minutes={minutes!r}) must be a whole number from 1 to {_LONGEST}; write 30"
        )
    return replace(
        environment().jwt,
        secret_key=secret_key,
        algorithm=algorithm or "HS256",
        token_expiry=minutes * 60,
        subject="email",
    )


def _given_config(given: JWTConfig, **others: Any) -> JWTConfig:
    twice = [name for name, value in others.items() if value is not None]
    if twice:
        raise ConfigError(f"setup_auth takes {twice[0]}=... or jwt=JWTConfig(...), not both")
    if given.subject != "email":
        raise ConfigError(
            'setup_auth names accounts by their email; write jwt=JWTConfig(subject="email", ...)'
        )
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


class _FirstAdmin:
    """What happens at the start: the tables are there, the first admin is made, and no sample is left behind."""

    def __init__(self, app: Jetio, auth: AuthRouter, email: str | None, *, by_migrations: bool) -> None:
        self._app, self._auth, self._by_migrations = app, auth, by_migrations
        _, given, self._password = environment().default_admin
        self._email = None if email is None else canonical_or_typed(given or email)
        # Whoever was first under another setting is still there.
        suspects = dict.fromkeys(name for name in (_FIRST, given, self._email) if name is not None)
        self._guard = SampleGuard(app, auth, list(suspects))

    def install(self) -> None:
        """Make it at the start, and judge the logins of all admins."""
        self._app.start_checks.append(self._check)
        self._app.start_tasks.append(self._start)
        self._auth.logins.conditions.append(self._guard.admit)

    def _check(self, app: Jetio) -> Sequence[str]:
        if self._email is not None and app.settings.production and self._password is None:
            return [f"setup_auth: set {_VARIABLE} for the admin {self._email}, or write default_admin=None"]
        return ()

    async def _start(self) -> None:
        try:
            if self._by_migrations:
                await self._require_tables()
            if self._email is not None:
                await self._seed(self._email)
            await self._guard.judge()
        except BaseException:
            await self._auth.database.close()
            raise

    async def _require_tables(self) -> None:
        async with self._auth.database.sessions() as session:
            there = await (await session.connection()).run_sync(_tables)
        missing = sorted(set(self._auth.user_model.metadata.tables) - there)
        if missing:
            raise ConfigError(
                f"setup_auth(create_tables=False): the database of the accounts has no table {', '.join(missing)}; "
                "run your migrations, or leave create_tables out"
            )

    async def _seed(self, email: str) -> None:
        if self._password is not None:
            await self._auth.ensure_admin(email=email, password=self._password)
        elif not await self._auth.accounts.has_admin(email):  # whoever deleted the first one has another
            await self._auth.ensure_admin(email=email, password=SAMPLE)


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())
