"""Litestar with advanced-alchemy: services over repositories, msgspec structs, as their documentation shows."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import bcrypt
from advanced_alchemy.base import DefaultBase
from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from advanced_alchemy.extensions.litestar.providers import create_service_provider
from advanced_alchemy.filters import LimitOffset, OrderBy
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from jose import JWTError, jwt
from litestar import Controller, Litestar, Request, Response, get, patch, post
from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException, ValidationException
from litestar.params import Parameter
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import DateTime, ForeignKey, String, event
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from benchmarks.apps import other_models

SECRET_KEY = os.environ["SECRET_KEY"]
ALGORITHM = "HS256"


class User(DefaultBase):
    """An account."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    hashed_password: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)


class Author(DefaultBase):
    """Who wrote a post."""

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class Post(DefaultBase):
    """What was written."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


class Writer(DefaultBase):
    """Who wrote essays."""

    __tablename__ = "writers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    essays: Mapped[list["Essay"]] = relationship(order_by="Essay.id")


class Essay(DefaultBase):
    """What is shown inside of its writer."""

    __tablename__ = "essays"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    writer_id: Mapped[int] = mapped_column(ForeignKey("writers.id"))


class Credentials(Struct):
    """The body of a login."""

    username: str
    password: str


class Token(Struct):
    """The answer to a login."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme


class PostCreate(Struct):
    """The body of a create."""

    title: str
    body: str
    author_id: int
    views: int = 0
    published: bool = False


class PostUpdate(Struct):
    """The body of an update: what is left out stays."""

    title: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    views: int | UnsetType = UNSET
    published: bool | UnsetType = UNSET
    author_id: int | UnsetType = UNSET


class PostRead(Struct):
    """A post in an answer."""

    id: int
    title: str
    body: str
    views: int
    published: bool
    created_at: datetime
    author_id: int


class EssayRead(Struct):
    """An essay in an answer."""

    id: int
    title: str
    body: str
    views: int
    published: bool
    created_at: datetime
    writer_id: int


class WriterRead(Struct):
    """A writer in an answer."""

    id: int
    name: str
    email: str
    essays: list[EssayRead]


class PostService(SQLAlchemyAsyncRepositoryService[Post]):
    """What is done with posts."""

    class Repository(SQLAlchemyAsyncRepository[Post]):
        """Where posts are kept."""

        model_type = Post

    repository_type = Repository


class WriterService(SQLAlchemyAsyncRepositoryService[Writer]):
    """What is done with writers."""

    class Repository(SQLAlchemyAsyncRepository[Writer]):
        """Where writers are kept."""

        model_type = Writer

    repository_type = Repository


class UserService(SQLAlchemyAsyncRepositoryService[User]):
    """What is done with accounts."""

    class Repository(SQLAlchemyAsyncRepository[User]):
        """Where accounts are kept."""

        model_type = User

    repository_type = Repository


async def provide_user(request: Request[Any, Any, Any], users: UserService) -> User:
    """The account that a bearer token names."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthorizedException("Not authenticated")
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except JWTError as error:
        raise NotAuthorizedException("Could not validate credentials") from error
    user = await users.get_one_or_none(id=int(claims["sub"]))
    if user is None:
        raise NotAuthorizedException("Could not validate credentials")
    return user


Page = Annotated[int, Parameter(ge=1)]
PageSize = Annotated[int, Parameter(ge=1, le=200)]


def page_of(page: int, page_size: int) -> tuple[LimitOffset, OrderBy]:
    """The filters of a page, in the order of the keys."""
    return LimitOffset(page_size, (page - 1) * page_size), OrderBy("id", "asc")


class PostController(Controller):
    """Posts for everybody."""

    path = "/posts"
    dependencies: ClassVar = {"posts": Provide(create_service_provider(PostService))}

    @get()
    async def list_posts(
        self, posts: PostService, page: Page = 1, page_size: PageSize = 50
    ) -> list[PostRead]:
        """One page of posts."""
        found = await posts.get_many(*page_of(page, page_size))
        return list(posts.to_schema(found, schema_type=PostRead).items)

    @get("/{post_id:int}")
    async def retrieve_post(self, posts: PostService, post_id: int) -> PostRead:
        """One post."""
        return posts.to_schema(await posts.get(post_id), schema_type=PostRead)

    @post()
    async def create_post(self, posts: PostService, data: PostCreate) -> PostRead:
        """Makes a post."""
        return posts.to_schema(await posts.create(data), schema_type=PostRead)

    @patch("/{post_id:int}")
    async def update_post(self, posts: PostService, post_id: int, data: PostUpdate) -> PostRead:
        """Changes what the body names."""
        return posts.to_schema(await posts.update(data, item_id=post_id), schema_type=PostRead)


class SecuredPostController(Controller):
    """Posts for those who have an account."""

    path = "/secure/posts"
    dependencies: ClassVar = {
        "posts": Provide(create_service_provider(PostService)),
        "users": Provide(create_service_provider(UserService)),
        "user": Provide(provide_user),
    }

    @get("/{post_id:int}")
    async def retrieve_post(self, posts: PostService, user: User, post_id: int) -> PostRead:
        """One post."""
        return posts.to_schema(await posts.get(post_id), schema_type=PostRead)


class WriterController(Controller):
    """Writers and their essays."""

    path = "/writers"
    dependencies: ClassVar = {
        "writers": Provide(create_service_provider(WriterService, load=[selectinload(Writer.essays)]))
    }

    @get()
    async def list_writers(
        self, writers: WriterService, page: Page = 1, page_size: PageSize = 50
    ) -> list[WriterRead]:
        """One page of writers with their essays."""
        found = await writers.get_many(*page_of(page, page_size))
        return list(writers.to_schema(found, schema_type=WriterRead).items)


@get("/hello")
async def hello() -> dict[str, str]:
    """Says hello."""
    return {"message": "hello"}


@post("/login", status_code=200, dependencies={"users": Provide(create_service_provider(UserService))})
async def login(users: UserService, data: Credentials) -> Token:
    """Exchanges a name and a password for a token."""
    user = await users.get_one_or_none(username=data.username)
    if user is None:
        raise NotAuthorizedException("Incorrect username or password")
    if not await asyncio.to_thread(bcrypt.checkpw, data.password.encode(), user.hashed_password.encode()):
        raise NotAuthorizedException("Incorrect username or password")
    claims = {"sub": str(user.id), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return Token(access_token=jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM))


async def list_others() -> list[int]:
    """Rows of a model that nobody asks for."""
    return []


async def retrieve_other(other_id: int) -> dict[str, int]:
    """One row of it."""
    return {"id": other_id}


def refuse(request: Request[Any, Any, Any], error: ValidationException) -> Response[dict[str, Any]]:
    """Answers a body that is not what it should be, with the status that the other contestants give."""
    return Response({"detail": error.detail, "extra": error.extra}, status_code=422)


def set_pragmas(connection: Any, _: object) -> None:
    """Foreign keys, the usual durability of a write-ahead log, patience with other writers."""
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=30000")


# A connection for each client, so that none is opened under load.
alchemy = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"],
    before_send_handler="autocommit",
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=16, max_overflow=0),
)
engine = alchemy.get_engine()
if engine.dialect.name == "sqlite":
    event.listen(engine.sync_engine, "connect", set_pragmas)

others = [
    handler
    for name in other_models()
    for handler in (get(f"/{name}")(list_others), get(f"/{name}/{{other_id:int}}")(retrieve_other))
]
app = Litestar(
    [*others, hello, login, PostController, SecuredPostController, WriterController],
    plugins=[SQLAlchemyPlugin(config=alchemy)],
    exception_handlers={ValidationException: refuse},
)
