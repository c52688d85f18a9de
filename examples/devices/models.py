"""Accounts by email, and the jobs that belong to them."""

from __future__ import annotations

import uuid

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import Base, JetioModel
from jetio_auth import JetioUserMixin


class User(JetioModel, JetioUserMixin):
    __tablename__ = "user"


class Job(Base):
    """A compute job; it goes with its owner."""

    __tablename__ = "job"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(50), default="pending")
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("user.id", ondelete="cascade"))
    user: Mapped[User] = relationship(lazy="selectin")
