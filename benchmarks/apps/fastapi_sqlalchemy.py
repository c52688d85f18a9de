"""FastAPI and the SQLAlchemy ORM by hand, in the way their documentation shows."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import bcrypt
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, ForeignKey, String, event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

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
    essays: Mapped[list["Essay"]] = relationship(order_by="Essay.id")


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


class EssayRead(BaseModel):
    """An essay in an answer."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    body: str
    views: int
    published: bool
    created_at: datetime
    writer_id: int


class WriterRead(BaseModel):
    """A writer in an answer."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    email: str
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


async def get_current_user(session: Session, token: Annotated[str, Depends(oauth2_scheme)]) -> User:
    """The account that a bearer token names."""
    unauthorized = HTTPException(401, "Could not validate credentials", {"WWW-Authenticate": "Bearer"})
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except JWTError as error:
        raise unauthorized from error
    user = await session.get(User, int(claims["sub"]))
    if user is None:
        raise unauthorized
    return user


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
    user = (await session.scalars(select(User).where(User.username == credentials.username))).one_or_none()
    if user is None:
        raise HTTPException(401, "Incorrect username or password")
    if not await asyncio.to_thread(
        bcrypt.checkpw, credentials.password.encode(), user.hashed_password.encode()
    ):
        raise HTTPException(401, "Incorrect username or password")
    claims = {"sub": str(user.id), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return Token(access_token=jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM))


async def find_post(post_id: int, session: AsyncSession) -> Post:
    """The post, or a 404."""
    post = await session.get(Post, post_id)
    if post is None:
        raise HTTPException(404, "Post not found")
    return post


Page = Annotated[int, Query(ge=1)]
PageSize = Annotated[int, Query(ge=1, le=200)]


@app.get("/posts", response_model=list[PostRead])
async def list_posts(session: Session, page: Page = 1, page_size: PageSize = 50) -> Any:
    """One page of posts."""
    offset = (page - 1) * page_size
    return (await session.scalars(select(Post).order_by(Post.id).limit(page_size).offset(offset))).all()


@app.get("/posts/{post_id}", response_model=PostRead)
async def retrieve_post(post_id: int, session: Session) -> Any:
    """One post."""
    return await find_post(post_id, session)


@app.get("/secure/posts/{post_id}", response_model=PostRead)
async def retrieve_secured_post(
    post_id: int, session: Session, user: Annotated[User, Depends(get_current_user)]
) -> Any:
    """One post, for those who have an account."""
    return await find_post(post_id, session)


@app.post("/posts", response_model=PostRead, status_code=201)
async def create_post(body: PostCreate, session: Session) -> Any:
    """Makes a post."""
    post = Post(**body.model_dump())
    session.add(post)
    await session.commit()
    await session.refresh(post)
    return post


@app.patch("/posts/{post_id}", response_model=PostRead)
async def update_post(post_id: int, body: PostUpdate, session: Session) -> Any:
    """Changes what the body names."""
    post = await find_post(post_id, session)
    for name, value in body.model_dump(exclude_unset=True).items():
        setattr(post, name, value)
    await session.commit()
    await session.refresh(post)
    return post


@app.get("/writers", response_model=list[WriterRead])
async def list_writers(session: Session, page: Page = 1, page_size: PageSize = 50) -> Any:
    """One page of writers with their essays."""
    writers = select(Writer).options(selectinload(Writer.essays)).order_by(Writer.id)
    return (await session.scalars(writers.limit(page_size).offset((page - 1) * page_size))).all()
