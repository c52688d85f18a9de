"""What an AuthRouter is made with, as plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jetio import ConfigError, Database

from .backends import CallerFinder, RemoteIssuer
from .factors.passkey_settings import PasskeySettings
from .mail.mailers import Mailer
from .mail.settings import Mail
from .oauth import OAuth, OAuthProvider
from .passwords import PasswordPolicy
from .settings import JWTConfig, Lockout

__all__ = ["AuthOptions", "refuse_odd_paths"]

_NEEDS_MODEL = (
    "jwt", "password", "extra_claims", "default_admin", "approval", "database", "passkeys", "mail",
    "require_verified_email", "dev_superusers", "oauth", "enable", "disable",
)  # fmt: skip

_PATHS = {
    "prefix": "",
    "session_prefix": "",
    "admin_prefix": "",
    "users_prefix": "/users",
    "login_path": "/login",
    "register_path": "/register",
}
"""What is a path, and what stands where nothing is given."""
_IS_PATH = re.compile(r"(/[^/]+)+").fullmatch


def refuse_odd_paths(**given: str) -> None:
    """A path begins with a slash and ends without one, for others are put behind it; raises ConfigError."""
    mistakes = []
    for name, path in given.items():
        usual = _PATHS[name]
        if not _IS_PATH(path) and (path or usual):
            meant = "".join(f"/{part}" for part in path.split("/") if part) or usual
            mistakes.append(f"AuthRouter({name}={path!r}) is no path for routes; write {name}={meant!r}")
    if mistakes:
        raise ConfigError.of(mistakes)


@dataclass(frozen=True, kw_only=True)
class AuthOptions:
    """The arguments of AuthRouter, as its docstring tells them; raises ConfigError for what does not go together."""

    user_model: type[Any] | None = None
    admin_field: str | None = None
    login_path: str = "/login"
    register_path: str = "/register"
    prefix: str = ""
    session_prefix: str = ""
    admin_prefix: str = "/admin"
    users_prefix: str = "/users"
    dev_superusers: bool = False
    jwt: JWTConfig | None = None
    issuers: Sequence[RemoteIssuer] = ()
    backend: CallerFinder | None = None
    login_fields: Sequence[str] | None = None
    password: PasswordPolicy | None = None
    lockout: Lockout | None = None
    role_permissions: Mapping[str, Sequence[str]] | None = None
    extra_claims: Callable[[Any], Mapping[str, Any]] | None = None
    default_admin: bool = False
    approval: str | None = None
    database: Database | None = None
    create_tables: bool | None = None
    passkeys: PasskeySettings | None = None
    events_days: int = 90
    mail: Mail | Mailer | None = None
    require_verified_email: bool = False
    oauth: OAuth | Sequence[OAuthProvider] = ()
    enable: Sequence[str] = ()
    disable: Sequence[str] = ()

    def __post_init__(self) -> None:
        refuse_odd_paths(**{name: getattr(self, name) for name in _PATHS})
        if self.approval not in (None, "admin"):
            raise ConfigError(f'AuthRouter(approval={self.approval!r}) is not known; write approval="admin"')
        if self.user_model is None:
            self._refuse_accounts()

    def _refuse_accounts(self) -> None:
        """Without accounts there must be issuers or a backend, and nothing that is about accounts."""
        if not self.issuers and self.backend is None:
            raise ConfigError(
                "AuthRouter() has no user model, no issuers and no backend; write AuthRouter(User)"
            )
        needing = _NEEDS_MODEL if self.backend is not None else (*_NEEDS_MODEL, "lockout")
        if any(getattr(self, name) for name in needing):
            raise ConfigError(
                "AuthRouter without a user model takes role_permissions, and nothing about accounts; "
                "write AuthRouter(User, issuers=[...])"
            )

    @property
    def enabled(self) -> Sequence[str]:
        """What `enable=` names, and what has settings of its own."""
        if isinstance(self.enable, str):  # features_of says what to write
            return self.enable
        given = {"approval": self.approval, "passkeys": self.passkeys, "oauth": self.oauth}
        return [*self.enable, *(name for name, value in given.items() if value)]

    @property
    def lockouts(self) -> Lockout:
        """When something is refused for a while."""
        return self.lockout or Lockout()

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """What roles may do."""
        return self.role_permissions or {}
