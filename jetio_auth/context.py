"""What accounts and tokens work in: facts that are known late, each asked for at its first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from jetio import Database, Jetio, Settings, default_database, default_settings

from .model import UserModel

__all__ = ["AuthContext"]


class AuthContext:
    """The user model's facts, and the settings and database of the application.

    Scripts come before any application: then these are the default ones.
    """

    def __init__(self, read: Callable[[], UserModel]) -> None:
        self._read = read
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
        """The application's database."""
        return self.app.database if self.app is not None else default_database()
