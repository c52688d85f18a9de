"""The database and the settings of an application that names none: made on first access."""

from __future__ import annotations

from functools import cache
from typing import Any

from .config import Settings
from .database import Database


@cache
def settings() -> Settings:
    """Read from the environment and `.env`, once."""
    return Settings()


@cache
def database() -> Database:
    """The database of the settings."""
    found = settings()
    return Database(found.database_url, replicas=found.database_replicas)


def lazy(name: str) -> Any:
    """The real object behind `jetio.engine`, `jetio.SessionLocal`, `jetio.settings`; None for other names."""
    if name == "engine":
        return database().engine
    if name == "SessionLocal":
        return database().sessions
    return settings() if name == "settings" else None
