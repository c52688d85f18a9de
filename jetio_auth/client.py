"""The plugin of the block `auth_client`: callers come from another issuer, and every route needs one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetio import ConfigError, Jetio

from .backends import RemoteIssuer
from .router import AuthRouter

__all__ = ["install"]


class Block(BaseModel):
    """The block, as the file may write it; of `RemoteIssuer`, and of `AuthRouter` and its `protect`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_url: str | None = None
    algorithms: list[str] = Field(default=["RS256", "ES256"])
    roles_claim: str = "roles"
    jwks_ttl: int = 300
    role_permissions: dict[str, list[str]] = Field(default_factory=dict)
    open: list[str] = Field(default_factory=list)


def install(app: Jetio, block: Mapping[str, Any]) -> None:
    """Accept the issuer's tokens, and close every route that is not opened; raises ConfigError."""
    try:
        given = Block.model_validate(block or {})
    except ValidationError as error:
        raise ConfigError.of([_sentence(entry) for entry in error.errors()]) from None
    issuer = RemoteIssuer(**given.model_dump(exclude={"role_permissions", "open"}))
    auth = AuthRouter(issuers=[issuer], role_permissions=given.role_permissions)
    auth.register_routes(app)
    auth.protect(app, open=given.open)


_SAMPLES = {"issuer": "https://id.example.com", "audience": "my-api"}


def _sentence(entry: Any) -> str:
    """What is wrong with one name of the block, and what to write; never its value."""
    name = ".".join(map(str, entry["loc"]))
    if name in _SAMPLES:
        return f"auth_client: {name} is missing or no text; write `{name}: {_SAMPLES[name]}`"
    if entry["type"] == "extra_forbidden":
        return f"auth_client: nobody reads {name!r}; write some of: {', '.join(Block.model_fields)}"
    return f"auth_client: {name or 'the block'}: {entry['msg']}"
