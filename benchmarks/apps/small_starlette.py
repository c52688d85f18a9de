"""Hello and the CRUD of one table in Starlette and SQLAlchemy Core, for `benchmarks.start`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Integer,
    MetaData,
    Result,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

posts = Table(
    "posts",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("views", Integer, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("author_id", Integer, nullable=False),
)


class PostCreate(BaseModel):
    """The body of a create."""

    title: str
    body: str
    views: int = 0
    published: bool = False
    author_id: int


class PostUpdate(BaseModel):
    """The body of an update: what is left out stays."""

    title: str | None = None
    body: str | None = None
    views: int | None = None
    published: bool | None = None
    author_id: int | None = None


engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=16, max_overflow=0)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Closes the pool at the end."""
    yield
    await engine.dispose()


def as_dicts(result: Result[Any]) -> list[dict[str, Any]]:
    """Posts as the JSON encoder takes them."""
    return [{**row, "created_at": row["created_at"].isoformat()} for row in result.mappings()]


def first_post(result: Result[Any]) -> dict[str, Any]:
    """The one post of a result, or a 404."""
    rows = as_dicts(result)
    if not rows:
        raise HTTPException(404, "Post not found")
    return rows[0]


async def hello(request: Request) -> JSONResponse:
    """Says hello."""
    return JSONResponse({"message": "hello"})


async def list_posts(request: Request) -> JSONResponse:
    """One page of posts."""
    page, size = int(request.query_params.get("page", 1)), int(request.query_params.get("page_size", 50))
    chosen = select(posts).order_by(posts.c.id).limit(size).offset((page - 1) * size)
    async with engine.connect() as connection:
        return JSONResponse(as_dicts(await connection.execute(chosen)))


async def retrieve_post(request: Request) -> JSONResponse:
    """One post."""
    chosen = select(posts).where(posts.c.id == request.path_params["post_id"])
    async with engine.connect() as connection:
        return JSONResponse(first_post(await connection.execute(chosen)))


async def create_post(request: Request) -> JSONResponse:
    """Makes a post."""
    values = PostCreate.model_validate_json(await request.body()).model_dump()
    made = insert(posts).values({**values, "created_at": datetime.now(UTC)}).returning(posts)
    async with engine.begin() as connection:
        post = first_post(await connection.execute(made))
    return JSONResponse(post, status_code=201)


async def write_post(request: Request, values: dict[str, Any]) -> JSONResponse:
    """The post with other values."""
    changed = update(posts).where(posts.c.id == request.path_params["post_id"]).values(values)
    async with engine.begin() as connection:
        post = first_post(await connection.execute(changed.returning(posts)))
    return JSONResponse(post)


async def replace_post(request: Request) -> JSONResponse:
    """Writes the whole post anew."""
    return await write_post(request, PostCreate.model_validate_json(await request.body()).model_dump())


async def update_post(request: Request) -> JSONResponse:
    """Changes what the body names."""
    body = PostUpdate.model_validate_json(await request.body())
    return await write_post(request, body.model_dump(exclude_unset=True))


async def delete_post(request: Request) -> Response:
    """Removes a post."""
    removed = delete(posts).where(posts.c.id == request.path_params["post_id"])
    async with engine.begin() as connection:
        if not (await connection.execute(removed)).rowcount:
            raise HTTPException(404, "Post not found")
    return Response(status_code=204)


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answers a body that is not what it should be."""
    errors = cast(ValidationError, error).errors(include_url=False, include_context=False)
    return JSONResponse({"detail": errors}, status_code=422)


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/posts", list_posts),
        Route("/posts", create_post, methods=["POST"]),
        Route("/posts/{post_id:int}", retrieve_post),
        Route("/posts/{post_id:int}", replace_post, methods=["PUT"]),
        Route("/posts/{post_id:int}", update_post, methods=["PATCH"]),
        Route("/posts/{post_id:int}", delete_post, methods=["DELETE"]),
    ],
    exception_handlers={ValidationError: refuse},
    lifespan=lifespan,
)
