"""What may differ between two installations of one application, and the checks before it serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import ConfigError

Mode = Literal["development", "production", "test"]

DEFAULT_DATABASE_URL = "sqlite+aiosqlite:///./jetio.db"


def _parted(given: Any) -> Any:
    """The environment has one text for a list."""
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


def _counted(given: Any) -> Any:
    """`auto` is one for each core that this process may use."""
    if given != "auto":
        return given
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Arguments win over the environment (`JETIO_*`), which wins over `.env` in the working directory.

    `DATABASE_URL`, `DATABASE_REPLICAS` and `SECRET_KEY` are read without a prefix too, and `workers` from
    `WEB_CONCURRENCY`. Read once, when the application is made; raises one ConfigError that tells every value
    that cannot be.
    """

    model_config = SettingsConfigDict(
        env_prefix="JETIO_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    env: Mode = "development"
    database_url: str = Field(
        DEFAULT_DATABASE_URL,
        validation_alias=AliasChoices("JETIO_DATABASE_URL", "DATABASE_URL"),
        repr=False,  # it may hold a password
    )
    database_replicas: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parted)] = Field(
        (),
        validation_alias=AliasChoices("JETIO_DATABASE_REPLICAS", "DATABASE_REPLICAS"),
        repr=False,
    )
    secret_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("JETIO_AUTH_SECRET_KEY", "JETIO_SECRET_KEY", "SECRET_KEY")
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: Annotated[int, BeforeValidator(_counted)] = Field(
        1, ge=1, validation_alias=AliasChoices("JETIO_WORKERS", "WEB_CONCURRENCY")
    )
    max_body: int = Field(1024 * 1024, gt=0)
    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = "info"

    if TYPE_CHECKING:
        """Type checkers see the arguments that the fields make."""
    else:

        def __init__(self, **given: Any) -> None:
            unknown = sorted(set(given) - set(type(self).model_fields))
            if unknown:
                known = ", ".join(type(self).model_fields)
                raise ConfigError(f"there is no setting {unknown[0]!r}; write one of: {known}")
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise ConfigError.of([_sentence(entry) for entry in error.errors()]) from None

    @property
    def production(self) -> bool:
        """Weak settings stop the start."""
        return self.env == "production"

    @property
    def create_tables(self) -> bool:
        """Missing tables are made at start; in production migrations do that."""
        return not self.production

    @property
    def state_directory(self) -> Path:
        """Where a development machine keeps what must outlive a restart."""
        return Path(".jetio")


def _sentence(entry: Any) -> str:
    """Which setting, and what it must be; never its value."""
    name = str(entry["loc"][0])
    if name == "JETIO_WORKERS" and not os.environ.get(name) and os.environ.get("WEB_CONCURRENCY"):
        name = "WEB_CONCURRENCY"  # pydantic names the first of a setting's names, whichever it read
    told = f"{name} (JETIO_{name.upper()})" if name in Settings.model_fields else name
    return f"the setting {told}: {entry['msg']}"
