"""Jetio, as its documentation shows."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps import other_models
from jetio import Base, CrudRouter, Jetio, JetioModel, engine, relationship
from jetio_auth import AuthRouter, JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    """An account."""

    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)


class Author(JetioModel):
    """Who wrote a post."""

    name: Mapped[str]
    email: Mapped[str]


class Post(JetioModel):
    """What was written."""

    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


class Writer(JetioModel):
    """Who wrote essays."""

    name: Mapped[str]
    email: Mapped[str]
    essays: Mapped[list[Essay]] = relationship()


class Essay(JetioModel):
    """What is shown inside of its writer."""

    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    writer_id: Mapped[int] = mapped_column(ForeignKey("writers.id"), index=True)


app = Jetio(title="Benchmark")


async def list_others() -> list[int]:
    """Rows of a model that nobody asks for."""
    return []


async def retrieve_other(id: int) -> dict[str, int]:
    """One row of it."""
    return {"id": id}


for name in other_models():
    app.get(f"/{name}")(list_others)
    app.get(f"/{name}/{{id}}")(retrieve_other)

auth = AuthRouter(user_model=User)
auth.register_routes(app)

CrudRouter(model=Post).register_routes(app)
CrudRouter(model=Writer, load_relationships=["essays"]).register_routes(app)
CrudRouter(
    model=Post,
    prefix="/secure",
    secure=True,
    auth_dependency=auth.get_auth_dependency(),
).register_routes(app)


@app.route("/hello", methods=["GET"])
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}


@app.on_event("startup")
async def create_tables() -> None:
    """Makes what the dataset does not bring: the tables of `jetio_auth`."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
