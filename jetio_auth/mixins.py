"""Columns that a user model needs; rules live elsewhere."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import UtcDateTime

__all__ = [
    "RESET_AT",
    "JetioApprovalMixin",
    "JetioAuthMixin",
    "JetioAuthWithResetMixin",
    "JetioEmailConfirmationMixin",
    "JetioFullAuthMixin",
    "JetioPasswordResetMixin",
    "JetioUserMixin",
]

RESET_AT = "password_reset_at"


def _unusable() -> str:
    from .passwords import Passwords

    return Passwords.unusable()


def _hidden() -> dict[str, Any]:
    return {"jetio": {"hidden": True}}


class JetioAuthMixin:
    """`hashed_password` and `is_admin`: neither is ever read or written by a client."""

    hashed_password: Mapped[str] = mapped_column(
        String(255), default=_unusable, info=_hidden(), sort_order=800
    )
    is_admin: Mapped[bool] = mapped_column(default=False, info=_hidden(), sort_order=801)


class JetioApprovalMixin:
    """`approval_status`: `pending` until an admin decides, then `approved` or `rejected`; no client writes it."""

    approval_status: Mapped[str] = mapped_column(
        String(20), default="pending", index=True, info={"jetio": {"read_only": True}}, sort_order=802
    )


class JetioEmailConfirmationMixin:
    """`email_confirmed`: whether the owner has opened a link that was sent there. Turns `verify_email` on."""

    email_confirmed: Mapped[bool] = mapped_column(default=False, sort_order=802)


class JetioPasswordResetMixin:
    """`password_reset_at`: when the password was last reset by a link. Turns `reset_password` on."""

    password_reset_at: Mapped[datetime | None] = mapped_column(UtcDateTime, info=_hidden(), sort_order=803)


class JetioAuthWithResetMixin(JetioAuthMixin, JetioPasswordResetMixin):
    """Accounts whose password can be reset by mail."""


class JetioFullAuthMixin(JetioAuthMixin, JetioEmailConfirmationMixin, JetioPasswordResetMixin):
    """Accounts with confirmed addresses, whose password can be reset by mail."""


class JetioUserMixin:
    """An account by email, whose key is a UUID: whether it is active, verified, a superuser's."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4, sort_order=-100)
    email: Mapped[str] = mapped_column(String(320), unique=True, sort_order=-90)
    hashed_password: Mapped[str] = mapped_column(
        String(255), default=_unusable, info=_hidden(), sort_order=800
    )
    is_active: Mapped[bool] = mapped_column(default=True, sort_order=801)
    is_superuser: Mapped[bool] = mapped_column(default=False, sort_order=802)
    is_verified: Mapped[bool] = mapped_column(default=False, sort_order=803)
