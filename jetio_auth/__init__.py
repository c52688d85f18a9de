"""Accounts, tokens and policies for Jetio applications."""

from __future__ import annotations

from .backends import JWTAuthenticator
from .events import AuthEvent
from .jwt import TokenError
from .mixins import JetioAuthMixin
from .passwords import PasswordPolicy, get_password_hash, verify_password
from .router import AuthRouter
from .settings import AuthSettings, JWTConfig, Lockout
from .standalone import create_access_token, decode_access_token, require_audit_field

__all__ = [
    "AuthEvent",
    "AuthRouter",
    "AuthSettings",
    "JWTAuthenticator",
    "JWTConfig",
    "JetioAuthMixin",
    "Lockout",
    "PasswordPolicy",
    "TokenError",
    "create_access_token",
    "decode_access_token",
    "get_password_hash",
    "require_audit_field",
    "verify_password",
]
