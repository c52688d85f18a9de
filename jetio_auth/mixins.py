"""Columns that a user model needs; rules live elsewhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

__all__ = ["JetioApprovalMixin", "JetioAuthMixin"]


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
