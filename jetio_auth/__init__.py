"""Accounts, tokens and policies for Jetio applications."""

from __future__ import annotations

from jetio import allow_anonymous, create_engine_for_url

from .backends import (
    AdminUser,
    APIKeyBackend,
    AuthBackend,
    JWTAuthBackend,
    JWTAuthenticator,
    MultiBackend,
    RemoteIssuer,
    RemoteJWTBackend,
    SessionAuthBackend,
)
from .callers import (
    CurrentAdmin,
    CurrentUser,
    OptionalUser,
    RequireLogin,
    SessionDep,
    requires_permission,
    requires_role,
    requires_scope,
)
from .endpoints.tokens import TokenPair
from .events import AuthEvent
from .factors.passkey_settings import PasskeySettings
from .jwt import TokenError
from .mail.mailers import Letter, Mailer
from .mail.settings import Mail, MailSettings
from .mixins import (
    JetioApprovalMixin,
    JetioAuthMixin,
    JetioAuthWithResetMixin,
    JetioEmailConfirmationMixin,
    JetioFullAuthMixin,
    JetioPasswordResetMixin,
    JetioUserMixin,
)
from .oauth import OAuth, OAuthProfile, OAuthProvider, github, google, microsoft
from .passwords import PasswordPolicy, get_password_hash, verify_password
from .router import AuthRouter
from .schemas import UserSchemas
from .session_stores import (
    DatabaseSessions,
    MemorySessions,
    RedisSessions,
    ServerSessions,
    SessionStore,
    renew_session,
)
from .settings import AuthSettings, JWTConfig, Lockout
from .setup import setup_auth
from .standalone import create_access_token, decode_access_token, require_audit_field
from .stores import JSONUserStore, MemoryUserStore, StoredUser, UserStore

__all__ = [
    "APIKeyBackend",
    "AdminUser",
    "AuthBackend",
    "AuthEvent",
    "AuthRouter",
    "AuthSettings",
    "CurrentAdmin",
    "CurrentUser",
    "DatabaseSessions",
    "JSONUserStore",
    "JWTAuthBackend",
    "JWTAuthenticator",
    "JWTConfig",
    "JetioApprovalMixin",
    "JetioAuthMixin",
    "JetioAuthWithResetMixin",
    "JetioEmailConfirmationMixin",
    "JetioFullAuthMixin",
    "JetioPasswordResetMixin",
    "JetioUserMixin",
    "Letter",
    "Lockout",
    "Mail",
    "MailSettings",
    "Mailer",
    "MemorySessions",
    "MemoryUserStore",
    "MultiBackend",
    "OAuth",
    "OAuthProfile",
    "OAuthProvider",
    "OptionalUser",
    "PasskeySettings",
    "PasswordPolicy",
    "RedisSessions",
    "RemoteIssuer",
    "RemoteJWTBackend",
    "RequireLogin",
    "ServerSessions",
    "SessionAuthBackend",
    "SessionDep",
    "SessionStore",
    "StoredUser",
    "TokenError",
    "TokenPair",
    "UserSchemas",
    "UserStore",
    "allow_anonymous",
    "create_access_token",
    "create_engine_for_url",
    "decode_access_token",
    "get_password_hash",
    "github",
    "google",
    "microsoft",
    "renew_session",
    "require_audit_field",
    "requires_permission",
    "requires_role",
    "requires_scope",
    "setup_auth",
    "verify_password",
]
