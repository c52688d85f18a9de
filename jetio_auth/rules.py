"""The rules that an AuthRouter hands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jetio import Authenticator, ConfigError, Policy, public, same_tenant

from .ownership import Owner, OwnerOrAdmin, SelfOrAdmin
from .policies import (
    AccountRequired,
    AdminOnly,
    Fresh,
    Hidden,
    LoginRequired,
    Mfa,
    OwnAccount,
    RequiresPermission,
    RequiresRole,
    RequiresScope,
)

__all__ = ["NO_ACCOUNTS", "AuthRules"]

NO_ACCOUNTS = "this AuthRouter has no accounts; write AuthRouter(User, issuers=[...])"


class AuthRules:
    """Policies whose caller is found by one authenticator."""

    user_model: Any
    backed: Any = None
    finder: Authenticator
    features: frozenset[str]
    accepts_issuers: bool

    def get_auth_dependency(self) -> LoginRequired:
        """For `CrudRouter(auth_dependency=...)`: signed in. For `Depends(...)`: the caller's row."""
        return LoginRequired(self.finder)

    def authenticated(self) -> Policy:
        """Everybody who is signed in."""
        return LoginRequired(self.finder)

    def account_required(self) -> Policy:
        """Everybody who is signed in and has an account here, which callers of remote issuers may not have."""
        self._require_accounts()
        return AccountRequired(self.finder)

    def own_account(self) -> Policy:
        """The owner of an account here, logged in himself: neither an admin in his name, nor a program's token."""
        self._require_accounts()
        return OwnAccount(self.finder)

    def fresh(self, minutes: int = 15) -> Policy:
        """Whoever has logged in within these minutes; 401 `fresh_login_required` for the others (RFC 9470)."""
        if minutes < 1:
            raise ConfigError(f"fresh({minutes}) lets nobody through; write fresh(minutes=15)")
        return Fresh(minutes * 60, self.finder)

    def mfa(self) -> Policy:
        """Whoever has logged in with a second factor, or a passkey; 401 `mfa_login_required` (RFC 9470)."""
        if not self.accepts_issuers and not self.features & {"totp", "passkeys"}:
            raise ConfigError('mfa() lets nobody through; write AuthRouter(..., enable=["totp"])')
        return Mfa(self.finder)

    def hidden(self, rule: Policy) -> Policy:
        """A rule that answers 404 where it would answer 401 or 403, as if nothing were there."""
        return Hidden(rule, self.finder)

    def public(self) -> Policy:
        """Everybody."""
        return public()

    def admin_only(self) -> Policy:
        """Admins."""
        if self.backed is None:
            self._require_accounts()
        return AdminOnly(self.finder)

    def requires_role(self, *any_of: str) -> Policy:
        """Whoever has one of these roles; 403 `role_required` for the others. Admins have `admin`."""
        return RequiresRole(any_of, self.finder)

    def requires_permission(self, *all_of: str) -> Policy:
        """Whoever has all of these permissions."""
        return RequiresPermission(all_of, self.finder)

    def requires_scope(self, *all_of: str) -> Policy:
        """Whoever has all of these scopes, which every login has; 403 `insufficient_scope` for other tokens."""
        return RequiresScope(all_of, self.finder)

    def owner(self, model: type[Any], audit_fields: Sequence[str] | None = None) -> Policy:
        """The rows that the caller owns, also for admins. `audit_fields` as in `owner_or_admin`."""
        self._require_accounts()
        return Owner(model, self.finder, tuple(audit_fields) if audit_fields else None)

    def owner_or_admin(self, model: type[Any], audit_fields: Sequence[str] | None = None) -> Policy:
        """The rows that the caller owns; admins all. `audit_fields` names candidates for the owner column."""
        self._require_accounts()
        return OwnerOrAdmin(model, self.finder, tuple(audit_fields) if audit_fields else None)

    def same_tenant(self, model: type[Any]) -> Policy:
        """The rows of the caller's tenant, for a model with a `tenant_column` and without TenantMixin."""
        return same_tenant(model, self.finder)

    def self_or_admin(self) -> Policy:
        """For the user model: the caller's own row; admins all."""
        self._require_accounts()
        return SelfOrAdmin(self.user_model, self.finder)

    def _require_accounts(self) -> None:
        if self.user_model is None:
            raise ConfigError(NO_ACCOUNTS)
