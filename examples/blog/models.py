"""The tables of the blog."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import JetioModel, TimestampMixin, relationship
from jetio_auth import JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    """Who writes. The mixin brings the password's hash and the admin flag, which clients never see or set."""

    username: Mapped[Annotated[str, Field(pattern="^[A-Za-z0-9_-]{2,50}$", examples=["alice"])]] = (
        mapped_column(String(50), unique=True)
    )
    email: Mapped[str] = mapped_column(unique=True)
    bio: Mapped[str] = mapped_column(default="")

    class API:
        admin_only = {"email": "read"}  # noqa: RUF012 - a declaration, as short as it can be


class Post(JetioModel, TimestampMixin):
    """What is written."""

    title: Mapped[Annotated[str, Field(min_length=1)]] = mapped_column(String(200))
    body: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)

    author: Mapped[User] = relationship()
    comments: Mapped[list[Comment]] = relationship(back_populates="post")


class Comment(JetioModel, TimestampMixin):
    """What others say to it."""

    body: Mapped[Annotated[str, Field(min_length=1)]] = mapped_column(String(2000))
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)

    post: Mapped[Post] = relationship(back_populates="comments")
    author: Mapped[User] = relationship()
