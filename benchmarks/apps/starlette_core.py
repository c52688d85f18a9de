"""Starlette and SQLAlchemy Core by hand."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import bcrypt
from jose import JWTError, jwt
from pydantic import BaseModel, ValidationError
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    Result,
    RowMapping,
    String,
    Table,
    Text,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.apps import other_models

SECRET_KEY = os.environ["SECRET_KEY"]
ALGORITHM = "HS256"
MAX_PAGE_SIZE = 200

metadata = MetaData()
users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(255), unique=True, nullable=False),
    Column("email", String(255), unique=True, nullable=False),
    Column("hashed_password", String(255), nullable=False),
    Column("is_admin", Boolean, nullable=False),
)
authors = Table(
    "authors",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
)
posts = Table(
    "posts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("views", Integer, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("author_id", ForeignKey("authors.id"), nullable=False),
)
writers = Table(
    "writers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
)
essays = Table(
    "essays",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("views", Integer, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("writer_id", ForeignKey("writers.id"), nullable=False),
)


class Credentials(BaseModel):
    """The body of a login."""

    username: str
    password: str


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


def make_engine() -> AsyncEngine:
    """The engine, with a connection for each client, so that none is opened under load."""
    engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=16, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", set_pragmas)
    return engine


def set_pragmas(connection: Any, _: object) -> None:
    """Foreign keys, the usual durability of a write-ahead log, patience with other writers."""
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=30000")


engine = make_engine()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Closes the pool at the end."""
    yield
    await engine.dispose()


async def authenticate(request: Request, connection: AsyncConnection) -> RowMapping:
    """The account that the request's bearer token names, or a 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    unauthorized = HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    if scheme.lower() != "bearer":
        raise unauthorized
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except JWTError as error:
        raise unauthorized from error
    result = await connection.execute(select(users).where(users.c.id == int(claims["sub"])))
    user = result.mappings().one_or_none()
    if user is None:
        raise unauthorized
    return user


async def find_post(request: Request, connection: AsyncConnection) -> dict[str, Any]:
    """The post that the path names, or a 404."""
    result = await connection.execute(select(posts).where(posts.c.id == request.path_params["post_id"]))
    return first_post(result)


def as_dicts(result: Result[Any]) -> list[dict[str, Any]]:
    """Posts or essays as the JSON encoder takes them."""
    keys = tuple(result.keys())
    rows = [dict(zip(keys, row, strict=True)) for row in result]
    for row in rows:
        row["created_at"] = row["created_at"].isoformat()
    return rows


def first_post(result: Result[Any]) -> dict[str, Any]:
    """The one post of a result, or a 404."""
    rows = as_dicts(result)
    if not rows:
        raise HTTPException(404, "Post not found")
    return rows[0]


def page_of(request: Request) -> tuple[int, int]:
    """Limit and offset from the query string, or a 422."""
    try:
        page = int(request.query_params.get("page", 1))
        size = int(request.query_params.get("page_size", 50))
    except ValueError as error:
        raise HTTPException(422, "page and page_size are numbers") from error
    if page < 1 or not 1 <= size <= MAX_PAGE_SIZE:
        raise HTTPException(422, f"page is at least 1, page_size from 1 to {MAX_PAGE_SIZE}")
    return size, (page - 1) * size


async def hello(request: Request) -> JSONResponse:
    """Says hello."""
    return JSONResponse({"message": "hello"})


async def login(request: Request) -> JSONResponse:
    """Exchanges a name and a password for a token."""
    body = Credentials.model_validate_json(await request.body())
    async with engine.connect() as connection:
        result = await connection.execute(select(users).where(users.c.username == body.username))
        user = result.mappings().one_or_none()
    stored = user["hashed_password"] if user else ""
    if user is None or not await asyncio.to_thread(bcrypt.checkpw, body.password.encode(), stored.encode()):
        raise HTTPException(401, "Incorrect username or password")
    claims = {"sub": str(user["id"]), "exp": datetime.now(UTC) + timedelta(hours=1)}
    token = jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM)
    return JSONResponse({"access_token": token, "token_type": "bearer"})


async def list_posts(request: Request) -> JSONResponse:
    """One page of posts."""
    limit, offset = page_of(request)
    async with engine.connect() as connection:
        result = await connection.execute(select(posts).order_by(posts.c.id).limit(limit).offset(offset))
        return JSONResponse(as_dicts(result))


async def retrieve_post(request: Request) -> JSONResponse:
    """One post."""
    async with engine.connect() as connection:
        return JSONResponse(await find_post(request, connection))


async def retrieve_secured_post(request: Request) -> JSONResponse:
    """One post, for those who have an account."""
    async with engine.connect() as connection:
        await authenticate(request, connection)
        return JSONResponse(await find_post(request, connection))


async def create_post(request: Request) -> JSONResponse:
    """Makes a post."""
    body = PostCreate.model_validate_json(await request.body())
    values = {**body.model_dump(), "created_at": datetime.now(UTC)}
    async with engine.begin() as connection:
        result = await connection.execute(insert(posts).values(values).returning(posts))
        post = first_post(result)
    return JSONResponse(post, status_code=201)


async def update_post(request: Request) -> JSONResponse:
    """Changes what the body names."""
    body = PostUpdate.model_validate_json(await request.body())
    changes = body.model_dump(exclude_unset=True)
    async with engine.begin() as connection:
        if not changes:
            return JSONResponse(await find_post(request, connection))
        chosen = posts.c.id == request.path_params["post_id"]
        result = await connection.execute(update(posts).where(chosen).values(changes).returning(posts))
        post = first_post(result)
    return JSONResponse(post)


async def list_writers(request: Request) -> JSONResponse:
    """One page of writers with their essays."""
    limit, offset = page_of(request)
    page = select(writers).order_by(writers.c.id).limit(limit).offset(offset)
    async with engine.connect() as connection:
        found = [dict(row) for row in (await connection.execute(page)).mappings()]
        chosen = essays.c.writer_id.in_([writer["id"] for writer in found])
        result = await connection.execute(select(essays).where(chosen).order_by(essays.c.id))
        by_writer: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for essay in as_dicts(result):
            by_writer[essay["writer_id"]].append(essay)
    return JSONResponse([writer | {"essays": by_writer[writer["id"]]} for writer in found])


async def list_others(request: Request) -> JSONResponse:
    """Rows of a model that nobody asks for."""
    return JSONResponse([])


async def retrieve_other(request: Request) -> JSONResponse:
    """One row of it."""
    return JSONResponse({"id": request.path_params["id"]})


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answers a body that is not what it should be."""
    errors = cast(ValidationError, error).errors(include_url=False, include_context=False)
    return JSONResponse({"detail": errors}, status_code=422)


others = [
    route
    for name in other_models()
    for route in (Route(f"/{name}", list_others), Route(f"/{name}/{{id:int}}", retrieve_other))
]
app = Starlette(
    routes=[
        *others,
        Route("/hello", hello),
        Route("/login", login, methods=["POST"]),
        Route("/posts", list_posts),
        Route("/posts", create_post, methods=["POST"]),
        Route("/posts/{post_id:int}", retrieve_post),
        Route("/posts/{post_id:int}", update_post, methods=["PATCH"]),
        Route("/secure/posts/{post_id:int}", retrieve_secured_post),
        Route("/writers", list_writers),
    ],
    exception_handlers={ValidationError: refuse},
    lifespan=lifespan,
)
