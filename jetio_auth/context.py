"""What accounts and tokens work in: facts that are known late, each asked for at its first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from jetio import Database, Jetio, Settings, UnitOfWork, default_database, default_settings

from .model import Account, UserModel

__all__ = ["AuthContext"]


class AuthContext:
    """The user model's facts, and the settings and database of the application.

    Scripts come before any application: then these are the default ones. `own` is a database for accounts alone,
    and `creates_tables` whether its tables are made at the start; None: as in the application's.
    """

    def __init__(
        self,
        read: Callable[[], UserModel],
        own: Database | None = None,
        creates_tables: bool | None = None,
    ) -> None:
        self._read, self.own, self._creates_tables = read, own, creates_tables
        self.app: Jetio | None = None

    @cached_property
    def facts(self) -> UserModel:
        """What the user model is to authentication; raises ConfigError."""
        return self._read()

    @property
    def settings(self) -> Settings:
        """The application's settings."""
        return self.app.settings if self.app is not None else default_settings()

    @property
    def database(self) -> Database:
        """The database of the accounts: their own, else the application's."""
        if self.own is not None:
            return self.own
        return self.app.database if self.app is not None else default_database()

    @property
    def apart(self) -> Database | None:
        """The database that the application does not start, None where there is none."""
        return None if self.app is not None and self.own is self.app.database else self.own

    @property
    def creates_tables(self) -> bool:
        """Whether missing tables are made."""
        return self.settings.create_tables if self._creates_tables is None else self._creates_tables

    async def locked(self, work: UnitOfWork, key: Any) -> Account | None:
        """The account as it is, which nobody else changes before the transaction ends; None where it is gone."""
        facts = self.facts
        query = self.database.shaped((facts, "lock"), lambda: facts.select_by_key().with_for_update())
        rows = query.decode(await work.run(query, {"key": key}))
        return facts.account(rows[0]) if rows else None
