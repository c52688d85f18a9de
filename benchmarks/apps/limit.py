"""The limit: a raw ASGI application on the bare driver, with SQL and JSON by hand.

Not how one would write an application. It does what the others do (it checks bodies, checks a token's
signature and expiry, loads the user's row) with as little work of the server as the driver allows:
PostgreSQL makes the JSON, SQLite runs in the event loop.
"""

import asyncio
import hmac
import os
import sqlite3
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl

import asyncpg
import bcrypt
import orjson

from benchmarks.apps import other_models

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes]

URL = os.environ["DATABASE_URL"]
SECRET_KEY = os.environ["SECRET_KEY"].encode()
POOL_SIZE = 16
MAX_PAGE_SIZE = 200
OTHERS = frozenset(f"/{name}" for name in other_models())

FIELDS = {"title": str, "body": str, "views": int, "published": bool, "author_id": int}
REQUIRED = {"title", "body", "author_id"}
JWT_HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")

HELLO: Answer = 200, b'{"message":"hello"}'
NOT_AUTHENTICATED: Answer = 401, b'{"detail":"Not authenticated"}'
NOT_FOUND: Answer = 404, b'{"detail":"Not found"}'
INVALID: Answer = 422, b'{"detail":"Invalid content"}'


class Database(Protocol):
    """What the application asks of a database; posts come as JSON."""

    async def open(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Disconnects."""

    async def find_login(self, username: str) -> tuple[int, str] | None:
        """Id and password hash of an account."""

    async def find_post(self, post_id: int) -> bytes | None:
        """One post."""

    async def find_user_and_post(self, user_id: int, post_id: int) -> tuple[bool, bytes | None]:
        """Whether there is such an account, and the post."""

    async def list_posts(self, limit: int, offset: int) -> bytes:
        """An array of posts."""

    async def list_writers(self, limit: int, offset: int) -> bytes:
        """An array of writers with their essays."""

    async def create_post(self, values: dict[str, Any]) -> bytes:
        """The post as stored."""

    async def update_post(self, post_id: int, changes: dict[str, Any]) -> bytes | None:
        """The post as stored, if there is one."""


class PostgreSQL:
    """Connections with prepared statements; the server of the database makes the JSON."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: asyncio.LifoQueue[PreparedConnection] = asyncio.LifoQueue()
        self._all: list[asyncpg.Connection[asyncpg.Record]] = []

    async def open(self) -> None:
        for _ in range(POOL_SIZE):
            connection = await asyncpg.connect(self._url, server_settings={"timezone": "UTC"})
            self._all.append(connection)
            self._free.put_nowait(PreparedConnection(connection))

    async def close(self) -> None:
        for connection in self._all:
            await connection.close()

    async def find_login(self, username: str) -> tuple[int, str] | None:
        row = await self._row("SELECT id, hashed_password FROM users WHERE username = $1", username)
        return (row[0], row[1]) if row else None

    async def find_post(self, post_id: int) -> bytes | None:
        return as_bytes(await self._row("SELECT row_to_json(p)::text FROM posts p WHERE id = $1", post_id))

    async def find_user_and_post(self, user_id: int, post_id: int) -> tuple[bool, bytes | None]:
        row = await self._row(
            "SELECT row_to_json(p)::text, u.id, u.username, u.email, u.hashed_password, u.is_admin"
            " FROM users u LEFT JOIN posts p ON p.id = $2 WHERE u.id = $1",
            user_id,
            post_id,
        )
        return row is not None, as_bytes(row)

    async def list_posts(self, limit: int, offset: int) -> bytes:
        row = await self._row(
            "SELECT coalesce(json_agg(p), '[]')::text"
            " FROM (SELECT * FROM posts ORDER BY id LIMIT $1 OFFSET $2) p",
            limit,
            offset,
        )
        return as_bytes(row) or b"[]"

    async def list_writers(self, limit: int, offset: int) -> bytes:
        row = await self._row(
            "SELECT coalesce(json_agg(w), '[]')::text FROM (SELECT *, (SELECT coalesce(json_agg(e ORDER BY id), '[]')"
            " FROM essays e WHERE e.writer_id = writers.id) AS essays FROM writers ORDER BY id LIMIT $1 OFFSET $2) w",
            limit,
            offset,
        )
        return as_bytes(row) or b"[]"

    async def create_post(self, values: dict[str, Any]) -> bytes:
        columns = ", ".join(values)
        marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        sql = (
            f"INSERT INTO posts ({columns}, created_at) VALUES ({marks}, now())"  # noqa: S608 - names from FIELDS
            " RETURNING row_to_json(posts)::text"
        )
        return as_bytes(await self._row(sql, *values.values())) or b""

    async def update_post(self, post_id: int, changes: dict[str, Any]) -> bytes | None:
        settings = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, start=2))
        sql = (
            f"UPDATE posts SET {settings} WHERE id = $1"  # noqa: S608 - names from FIELDS
            " RETURNING row_to_json(posts)::text"
        )
        return as_bytes(await self._row(sql, post_id, *changes.values()))

    async def _row(self, sql: str, *values: object) -> "asyncpg.Record | None":
        connection = await self._free.get()
        try:
            return await connection.row(sql, values)
        finally:
            self._free.put_nowait(connection)


class PreparedConnection:
    """A connection and its prepared statements, by their text."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._prepared: dict[str, asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]] = {}

    async def row(self, sql: str, values: tuple[object, ...]) -> "asyncpg.Record | None":
        """The first row."""
        statement = self._prepared.get(sql)
        if statement is None:
            statement = self._prepared[sql] = await self._connection.prepare(sql)
        return await statement.fetchrow(*values)


def as_bytes(row: "asyncpg.Record | None") -> bytes | None:
    """The JSON in a row's first column."""
    return row[0].encode() if row and row[0] is not None else None


class SQLite:
    """One connection, used in the event loop."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def open(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA synchronous=NORMAL")

    async def close(self) -> None:
        self._connection.close()

    async def find_login(self, username: str) -> tuple[int, str] | None:
        row = self._row("SELECT id, hashed_password FROM users WHERE username = ?", (username,))
        return (row[0], row[1]) if row else None

    async def find_post(self, post_id: int) -> bytes | None:
        return as_json(self._row("SELECT * FROM posts WHERE id = ?", (post_id,)))

    async def find_user_and_post(self, user_id: int, post_id: int) -> tuple[bool, bytes | None]:
        user = self._row("SELECT * FROM users WHERE id = ?", (user_id,))
        return user is not None, await self.find_post(post_id)

    async def list_posts(self, limit: int, offset: int) -> bytes:
        rows = self._connection.execute("SELECT * FROM posts ORDER BY id LIMIT ? OFFSET ?", (limit, offset))
        return orjson.dumps([as_dict(*row) for row in rows])

    async def list_writers(self, limit: int, offset: int) -> bytes:
        rows = self._connection.execute("SELECT * FROM writers ORDER BY id LIMIT ? OFFSET ?", (limit, offset))
        found = {row[0]: {"id": row[0], "name": row[1], "email": row[2], "essays": []} for row in rows}
        marks = ", ".join("?" for _ in found)
        sql = f"SELECT * FROM essays WHERE writer_id IN ({marks}) ORDER BY id"  # noqa: S608 - marks alone
        for row in self._connection.execute(sql, list(found)):
            found[row[-1]]["essays"].append(as_dict(*row, owner="writer_id"))
        return orjson.dumps(list(found.values()))

    async def create_post(self, values: dict[str, Any]) -> bytes:
        columns = ", ".join(values)
        marks = ", ".join("?" for _ in values)
        sql = f"INSERT INTO posts ({columns}, created_at) VALUES ({marks}, ?) RETURNING *"  # noqa: S608 - FIELDS
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return as_json(self._row(sql, (*values.values(), now))) or b""

    async def update_post(self, post_id: int, changes: dict[str, Any]) -> bytes | None:
        settings = ", ".join(f"{name} = ?" for name in changes)
        sql = f"UPDATE posts SET {settings} WHERE id = ? RETURNING *"  # noqa: S608 - names from FIELDS
        return as_json(self._row(sql, (*changes.values(), post_id)))

    def _row(self, sql: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        rows = self._connection.execute(sql, values).fetchall()  # to its end, where a write commits
        return rows[0] if rows else None


def as_json(row: tuple[Any, ...] | None) -> bytes | None:
    """A row of `posts` as JSON."""
    return orjson.dumps(as_dict(*row)) if row else None


def as_dict(
    id_: int,
    title: str,
    body: str,
    views: int,
    published: int,
    created_at: str,
    owner_id: int,
    owner: str = "author_id",
) -> dict[str, Any]:
    """A row of `posts` or `essays`, in the order of the table's columns."""
    return {
        "id": id_,
        "title": title,
        "body": body,
        "views": views,
        "published": published == 1,
        "created_at": f"{created_at[:10]}T{created_at[11:]}Z",
        owner: owner_id,
    }


def choose_database() -> Database:
    """The database that DATABASE_URL names."""
    scheme, _, rest = URL.partition("://")
    return SQLite(rest[1:]) if scheme.startswith("sqlite") else PostgreSQL(f"postgresql://{rest}")


database = choose_database()


def sign(signed: bytes) -> bytes:
    """The signature of a token's first two parts."""
    return urlsafe_b64encode(hmac.digest(SECRET_KEY, signed, "sha256")).rstrip(b"=")


def make_token(user_id: int) -> str:
    """A token that is good for an hour."""
    claims = orjson.dumps({"sub": str(user_id), "exp": int(time.time()) + 3600})
    signed = JWT_HEADER + b"." + urlsafe_b64encode(claims).rstrip(b"=")
    return (signed + b"." + sign(signed)).decode()


def read_token(headers: list[tuple[bytes, bytes]]) -> int | None:
    """The id of the account whose valid token the request carries."""
    for name, value in headers:
        if name == b"authorization" and value.startswith(b"Bearer "):
            signed, _, signature = value[7:].rpartition(b".")
            if not hmac.compare_digest(signature, sign(signed)):
                return None
            claims = orjson.loads(urlsafe_b64decode(signed.partition(b".")[2] + b"=="))
            return int(claims["sub"]) if claims["exp"] > time.time() else None
    return None


async def read_body(receive: Receive) -> dict[str, Any] | None:
    """The JSON object in the body."""
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def is_valid(values: dict[str, Any]) -> bool:
    """Whether each value is of its column's type and there is no other."""
    return all(type(value) is FIELDS.get(name) for name, value in values.items())


def read_number(text: str) -> int | None:
    """A row id; what the column cannot hold is none."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


async def login(receive: Receive) -> Answer:
    """Exchanges a name and a password for a token."""
    body = await read_body(receive)
    if body is None or not isinstance(body.get("username"), str) or not isinstance(body.get("password"), str):
        return INVALID
    found = await database.find_login(body["username"])
    if found is None:
        return NOT_AUTHENTICATED
    user_id, stored = found
    if not await asyncio.to_thread(bcrypt.checkpw, body["password"].encode(), stored.encode()):
        return NOT_AUTHENTICATED
    return 200, orjson.dumps({"access_token": make_token(user_id), "token_type": "bearer"})


async def list_page(query: bytes, rows: Callable[[int, int], Awaitable[bytes]]) -> Answer:
    """One page of rows."""
    parameters = dict(parse_qsl(query.decode()))
    page = read_number(parameters.get("page", "1"))
    size = read_number(parameters.get("page_size", "50"))
    if not page or not size or size > MAX_PAGE_SIZE:
        return INVALID
    return 200, await rows(size, (page - 1) * size)


async def create_post(receive: Receive) -> Answer:
    """Makes a post."""
    body = await read_body(receive)
    if body is None or not is_valid(body) or not body.keys() >= REQUIRED:
        return INVALID
    return 201, await database.create_post({"views": 0, "published": False} | body)


async def update_post(post_id: int, receive: Receive) -> Answer:
    """Changes what the body names."""
    body = await read_body(receive)
    if body is None or not is_valid(body):
        return INVALID
    post = await (database.update_post(post_id, body) if body else database.find_post(post_id))
    return (200, post) if post is not None else NOT_FOUND


async def retrieve_post(post_id: int) -> Answer:
    """One post."""
    post = await database.find_post(post_id)
    return (200, post) if post is not None else NOT_FOUND


async def retrieve_secured_post(post_id: int, headers: list[tuple[bytes, bytes]]) -> Answer:
    """One post, for those who have an account."""
    user_id = read_token(headers)
    if user_id is None:
        return NOT_AUTHENTICATED
    known, post = await database.find_user_and_post(user_id, post_id)
    if not known:
        return NOT_AUTHENTICATED
    return (200, post) if post is not None else NOT_FOUND


async def answer(method: str, path: str, scope: Message, receive: Receive) -> Answer:
    """Finds who answers; a method that a path does not know is taken for one that it does."""
    start, _, last = path.rpartition("/")
    if path in OTHERS:
        return 200, b"[]"
    if start in OTHERS:
        other_id = read_number(last)
        return NOT_FOUND if other_id is None else (200, orjson.dumps({"id": other_id}))
    if start == "/posts" or start == "/secure/posts":
        post_id = read_number(last)
        if post_id is None:
            return NOT_FOUND
        if start == "/secure/posts":
            return await retrieve_secured_post(post_id, scope["headers"])
        return await (retrieve_post(post_id) if method == "GET" else update_post(post_id, receive))
    if path == "/posts":
        if method == "POST":
            return await create_post(receive)
        return await list_page(scope["query_string"], database.list_posts)
    if path == "/writers":
        return await list_page(scope["query_string"], database.list_writers)
    if path == "/hello":
        return HELLO
    if path == "/login":
        return await login(receive)
    return NOT_FOUND


async def lifespan(receive: Receive, send: Send) -> None:
    """Connects at the start, disconnects at the end."""
    await receive()
    await database.open()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await database.close()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    status, body = await answer(scope["method"], scope["path"], scope, receive)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
