"""Hello and the CRUD of one model in FastAPI and the SQLAlchemy ORM, for `benchmarks.start`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of the models."""


class Post(Base):
    """What was written."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    author_id: Mapped[int]


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


engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=16, max_overflow=0)
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


async def find_post(post_id: int, session: Annotated[AsyncSession, Depends(get_session)]) -> Post:
    """The post, or a 404."""
    post = await session.get(Post, post_id)
    if post is None:
        raise HTTPException(404, "Post not found")
    return post


Session = Annotated[AsyncSession, Depends(get_session)]
Found = Annotated[Post, Depends(find_post)]
app = FastAPI(lifespan=lifespan)


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}


@app.get("/posts", response_model=list[PostRead])
async def list_posts(
    session: Session,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """One page of posts."""
    chosen = select(Post).order_by(Post.id).limit(page_size).offset((page - 1) * page_size)
    return (await session.scalars(chosen)).all()


@app.get("/posts/{post_id}", response_model=PostRead)
async def retrieve_post(post: Found) -> Any:
    """One post."""
    return post


@app.post("/posts", response_model=PostRead, status_code=201)
async def create_post(body: PostCreate, session: Session) -> Any:
    """Makes a post."""
    post = Post(**body.model_dump())
    session.add(post)
    await session.commit()
    return post


@app.put("/posts/{post_id}", response_model=PostRead)
async def replace_post(post: Found, body: PostCreate, session: Session) -> Any:
    """Writes the whole post anew."""
    for name, value in body.model_dump().items():
        setattr(post, name, value)
    await session.commit()
    return post


@app.patch("/posts/{post_id}", response_model=PostRead)
async def update_post(post: Found, body: PostUpdate, session: Session) -> Any:
    """Changes what the body names."""
    for name, value in body.model_dump(exclude_unset=True).items():
        setattr(post, name, value)
    await session.commit()
    return post


@app.delete("/posts/{post_id}", status_code=204)
async def delete_post(post: Found, session: Session) -> None:
    """Removes a post."""
    await session.delete(post)
    await session.commit()
