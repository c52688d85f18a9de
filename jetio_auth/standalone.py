"""Functions for applications that build their own flows: tokens and owner columns without a router."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jetio import ConfigError, default_settings, resource_of

from .jwt import TokenCodec
from .settings import JWTConfig, environment, token_codec

__all__ = ["create_access_token", "decode_access_token", "require_audit_field"]

_OWNERS = ("owner_id", "author_id", "user_id", "creator_id", "created_by_id")


@cache
def _codec() -> TokenCodec:
    return token_codec(JWTConfig(), default_settings())


def create_access_token(data: Mapping[str, Any], expires_delta: dt.timedelta | None = None) -> str:
    """A signed token of these claims; `sub` is the account's id as text. By default it lives an hour.

    It is not tied to a password: routes that an AuthRouter secures take `auth.create_token(user)`, not this.
    """
    seconds = int(expires_delta.total_seconds()) if expires_delta is not None else environment().token_expiry
    return _codec().encode(data, expires_in=seconds)


def decode_access_token(token: str) -> dict[str, Any]:
    """The claims of a token signed here; raises TokenError."""
    return _codec().decode(token)


def require_audit_field(model: type[Any], candidates: Sequence[str] = _OWNERS) -> str:
    """The first of the candidates that the model has as a column; raises ConfigError when it has none."""
    fields = resource_of(model).fields
    found = next((name for name in candidates if name in fields), None)
    if found is None:
        known = ", ".join(fields)
        raise ConfigError(
            f"{model.__name__} has none of the columns {list(candidates)}; write one of: {known}"
        )
    return found
