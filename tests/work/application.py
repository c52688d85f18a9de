"""The application whose requests are counted, and the requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import (
    Access,
    AllowWhere,
    Change,
    CrudRouter,
    Decision,
    Jetio,
    JetioModel,
    Settings,
    policy,
    public,
)
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.registries import own_registry

ROWS = 120


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class User(Model, JetioAuthMixin):
    """An account."""

    username: Mapped[str] = mapped_column(String(40), unique=True)
    email: Mapped[str] = mapped_column(String(80), unique=True)


class Author(Model):
    """Who wrote a post."""

    name: Mapped[str] = mapped_column(String(40))
    posts: Mapped[list[Post]] = relationship(back_populates="author")


class Post(Model):
    """What was written."""

    title: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(String(400))
    views: Mapped[int] = mapped_column(default=0)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), index=True)
    author: Mapped[Author] = relationship(back_populates="posts")


@policy
async def unseen(access: Access) -> Decision:
    """A check that only the written row can pass: the database has to be asked again."""
    return AllowWhere(Post.id > 0, check=Post.id > 0)


async def look(change: Change) -> None:
    """A hook that wants nothing."""


@dataclass(frozen=True)
class Workload:
    """A request, the status it is answered with, and a request that comes before each: what is to be deleted."""

    method: str
    path: str
    status: int
    body: Mapping[str, Any] | None = None
    signed: bool = False
    before: tuple[str, str, Mapping[str, Any]] | None = None

    @property
    def sent(self) -> bytes:
        """The body on the wire."""
        return b"" if self.body is None else json.dumps(self.body).encode()


NEW = {"title": "new", "body": "x" * 200, "author_id": 1}


def _crud(prefix: str, *, signed: bool) -> Iterator[tuple[str, Workload]]:
    name = f"{prefix.strip('/')} " if prefix else ""
    posts, last = f"{prefix}/posts", f"{prefix}/posts/{{last}}"
    yield f"{name}list 100", Workload("GET", f"{posts}?limit=100", 200, signed=signed)
    yield f"{name}retrieve", Workload("GET", f"{posts}/7", 200, signed=signed)
    yield f"{name}create", Workload("POST", posts, 201, NEW, signed=signed)
    yield f"{name}update", Workload("PATCH", f"{posts}/7", 200, {"title": "changed"}, signed=signed)
    yield f"{name}delete", Workload("DELETE", last, 204, signed=signed, before=("POST", "/posts", NEW))


WORKLOADS: Mapping[str, Workload] = {
    "hello": Workload("GET", "/hello", 200),
    "plain hello": Workload("GET", "/plain", 200),
    "no such path": Workload("GET", "/nowhere", 404),
    **dict(_crud("", signed=False)),
    "no such row": Workload("GET", "/posts/999999", 404),
    "refused body": Workload("POST", "/posts", 422, {"title": 1}),
    "to-many": Workload("GET", "/authors?limit=20", 200),
    "to-one": Workload("GET", "/with/posts?limit=100", 200),
    **dict(_crud("/secured", signed=True)),
    "checked create": Workload("POST", "/checked/posts", 201, NEW),
    "hooked create": Workload("POST", "/hooked/posts", 201, NEW),
    "hooked update": Workload("PATCH", "/hooked/posts/7", 200, {"title": "changed"}),
    "secured no caller": Workload("GET", "/secured/posts/7", 401),
    "signed hello": Workload("GET", "/signed", 200, signed=True),
}


def application(url: str) -> Jetio:
    """The application on this database; its tables are made and filled when it starts."""
    app = Jetio(database=url, metadata=Model.metadata, settings=Settings(env="test"))
    auth = AuthRouter(user_model=User)
    auth.register_routes(app)
    CrudRouter(Author, load_relationships=["posts"]).register_routes(app)
    CrudRouter(Post).register_routes(app)
    CrudRouter(Post, load_relationships=["author"]).register_routes(app, prefix="/with")
    CrudRouter(Post, policy={"*": auth.authenticated()}).register_routes(app, prefix="/secured")

    CrudRouter(Post, policy={"GET": public(), "*": unseen}).register_routes(app, prefix="/checked")
    hooks: dict[str, Any] = {"before_create": look, "before_update": look}
    CrudRouter(Post, hooks=hooks).register_routes(app, prefix="/hooked")

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"message": "hello"}

    @app.get("/plain")
    def plain() -> dict[str, str]:
        return {"message": "hello"}

    @app.get("/signed", policy=auth.authenticated())
    async def signed() -> dict[str, str]:
        return {"message": "hello"}

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            session.add_all(Author(name=f"author {number}") for number in range(20))
            await session.flush()
            for number in range(ROWS):
                session.add(Post(title=f"title {number}", body="x" * 200, author_id=number % 20 + 1))
            await session.commit()

    return app
