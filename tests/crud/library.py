"""A small library whose API the transcripts are about: every kind of relation, several kinds of key."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, JetioModel, Settings, TimestampMixin
from tests.registries import own_registry

SETTINGS = Settings(env="test")


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


tagging = Table(
    "tagging",
    Model.metadata,
    Column("book_id", ForeignKey("books.id"), primary_key=True),
    Column("tag_name", ForeignKey("tags.name"), primary_key=True),
)


class Author(Model):
    name: Mapped[str] = mapped_column(String(40), unique=True)
    country: Mapped[str | None] = mapped_column(String(2))
    mentor_id: Mapped[int | None] = mapped_column(ForeignKey("authors.id"))
    mentor: Mapped[Author | None] = relationship(remote_side="Author.id")
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Tag(Model):
    name: Mapped[str] = mapped_column(String(30), primary_key=True)
    books: Mapped[list[Book]] = relationship(secondary=tagging, back_populates="tags")


class Book(Model, TimestampMixin):
    class API:
        hidden = ("note",)
        read_only = ("sold",)
        create_only = ("isbn",)
        write_only = ("pin",)

    title: Mapped[str] = mapped_column(String(50))
    isbn: Mapped[str | None] = mapped_column(String(13), unique=True)
    pages: Mapped[int] = mapped_column(default=100)
    price: Mapped[Decimal | None] = mapped_column(Numeric(8, 2))
    data: Mapped[dict[str, Any] | None]
    note: Mapped[str | None]
    pin: Mapped[str | None]
    sold: Mapped[int] = mapped_column(default=0)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author | None] = relationship(back_populates="books")
    tags: Mapped[list[Tag]] = relationship(secondary=tagging, back_populates="books")

    __table_args__ = (
        UniqueConstraint("title", "author_id"),
        CheckConstraint("pages > 0", name="pages_positive"),
    )


class Shelf(Model):
    """A composite key of text and a number."""

    __tablename__ = "shelves"

    room: Mapped[str] = mapped_column(String(30), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str | None]
    spots: Mapped[list[Spot]] = relationship(back_populates="shelf")


class Spot(Model):
    """A UUID key, and a composite foreign key."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    room: Mapped[str | None] = mapped_column(String(30))
    number: Mapped[int | None]
    opened: Mapped[dt.date | None]
    shelf: Mapped[Shelf | None] = relationship(back_populates="spots")

    __table_args__ = (
        # The two columns lead to one shelf together.
        ForeignKeyConstraint(["room", "number"], ["shelves.room", "shelves.number"]),
    )


def library(database_url: str, *routers: CrudRouter) -> Jetio:
    """An application of these models; without routers, all of them."""
    app = Jetio(database=database_url, metadata=Model.metadata, settings=SETTINGS)
    for router in routers or [CrudRouter(model) for model in (Author, Tag, Book, Shelf, Spot)]:
        router.register_routes(app)
    return app


@contextmanager
def serving(app: Jetio) -> Iterator[TestClient]:
    """A client of the started application."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening() -> Iterator[None]:
    """Somebody listens for objects of every model: applications that are built meanwhile write objects."""

    def listener(mapper: Any, connection: Any, target: Any) -> None:
        assert isinstance(target, Model)

    mappers = list(Model.registry.mappers)
    for mapper in mappers:
        event.listen(mapper, "before_update", listener)
    try:
        yield
    finally:
        for mapper in mappers:
            event.remove(mapper, "before_update", listener)
