"""FastAPI with fastcrud: `crud_router` for reading, `FastCRUD` in endpoints where the router answers otherwise."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import bcrypt
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordBearer
from fastcrud import FastCRUD, crud_router
from jose import JWTError, jwt
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, ForeignKey, String, event
from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.apps import other_models

SECRET_KEY = os.environ["SECRET_KEY"]
ALGORITHM = "HS256"


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """An account."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    hashed_password: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)


class Author(Base):
    """Who wrote a post."""

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class Post(Base):
    """What was written."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


class Writer(Base):
    """Who wrote essays."""

    __tablename__ = "writers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class Essay(Base):
    """What is shown inside of its writer."""

    __tablename__ = "essays"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    writer_id: Mapped[int] = mapped_column(ForeignKey("writers.id"))


class Credentials(BaseModel):
    """The body of a login."""

    username: str
    password: str


class Token(BaseModel):
    """The answer to a login."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme


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


class PostRead(PostCreate):
    """A post in an answer."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    created_at: datetime


class UserRead(BaseModel):
    """The columns of an account that are loaded."""

    id: int
    username: str
    email: str
    hashed_password: str
    is_admin: bool


class EssayRead(BaseModel):
    """An essay in an answer."""

    id: int
    title: str
    body: str
    views: int
    published: bool
    created_at: datetime
    writer_id: int


class WriterRead(BaseModel):
    """A writer in an answer; the essays come from a statement of their own."""

    id: int
    name: str
    email: str


class WriterWithEssays(WriterRead):
    """A writer in an answer, with the essays."""

    essays: list[EssayRead]


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
open_session = async_sessionmaker(engine, expire_on_commit=False)
users: Any = FastCRUD(User)
posts: Any = FastCRUD(Post)
writers: Any = FastCRUD(Writer)
essays: Any = FastCRUD(Essay)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Closes the pool at the end."""
    yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session for one request."""
    async with open_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="login")


async def get_current_user(session: Session, token: Annotated[str, Depends(oauth2_scheme)]) -> UserRead:
    """The account that a bearer token names."""
    unauthorized = HTTPException(401, "Could not validate credentials", {"WWW-Authenticate": "Bearer"})
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except JWTError as error:
        raise unauthorized from error
    user = await users.get(
        session, schema_to_select=UserRead, return_as_model=True, one_or_none=True, id=int(claims["sub"])
    )
    if user is None:
        raise unauthorized
    return UserRead.model_validate(user)


app = FastAPI(lifespan=lifespan)


async def list_others() -> list[int]:
    """Rows of a model that nobody asks for."""
    return []


async def retrieve_other(id: int) -> dict[str, int]:
    """One row of it."""
    return {"id": id}


for name in other_models():
    app.get(f"/{name}")(list_others)
    app.get(f"/{name}/{{id}}")(retrieve_other)


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}


@app.post("/login")
async def login(credentials: Credentials, session: Session) -> Token:
    """Exchanges a name and a password for a token."""
    user = await users.get(session, one_or_none=True, username=credentials.username)
    if user is None:
        raise HTTPException(401, "Incorrect username or password")
    stored = user["hashed_password"].encode()
    if not await asyncio.to_thread(bcrypt.checkpw, credentials.password.encode(), stored):
        raise HTTPException(401, "Incorrect username or password")
    claims = {"sub": str(user["id"]), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return Token(access_token=jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM))


app.include_router(
    crud_router(
        session=get_session,
        model=Post,
        crud=posts,
        create_schema=PostCreate,
        update_schema=PostUpdate,
        select_schema=PostRead,
        path="/posts",
        included_methods=["read", "read_multi"],
    )
)
app.include_router(
    crud_router(
        session=get_session,
        model=Post,
        crud=posts,
        create_schema=PostCreate,
        update_schema=PostUpdate,
        select_schema=PostRead,
        path="/secure/posts",
        included_methods=["read"],
        read_deps=[get_current_user],
    )
)


@app.post("/posts", response_model=PostRead, status_code=201)
async def create_post(body: PostCreate, session: Session) -> Any:
    """Makes a post; the router's own create answers with 200."""
    return await posts.create(session, body, schema_to_select=PostRead, return_as_model=True)


@app.patch("/posts/{post_id}", response_model=PostRead)
async def update_post(post_id: int, body: PostUpdate, session: Session) -> Any:
    """Changes what the body names; the router's own update does not answer with the row."""
    try:
        return await posts.update(
            session, body, schema_to_select=PostRead, return_as_model=True, one_or_none=True, id=post_id
        )
    except NoResultFound as error:
        raise HTTPException(404, "Post not found") from error


@app.get("/writers", response_model=list[WriterWithEssays])
async def list_writers(
    session: Session,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """One page of writers with their essays; a page of the router's own joins counts the joined rows."""
    found = await writers.get_multi(
        session,
        offset=(page - 1) * page_size,
        limit=page_size,
        schema_to_select=WriterRead,
        sort_columns="id",
        return_total_count=False,
    )
    chosen = [writer["id"] for writer in found["data"]]
    theirs = await essays.get_multi(
        session,
        limit=None,
        schema_to_select=EssayRead,
        sort_columns="id",
        return_total_count=False,
        writer_id__in=chosen,
    )
    by_writer: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for essay in theirs["data"]:
        by_writer[essay["writer_id"]].append(essay)
    return [writer | {"essays": by_writer[writer["id"]]} for writer in found["data"]]
