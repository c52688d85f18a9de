"""A small forum: accounts, and what they own, under every kind of rule that the tests are about."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ForeignKey, String, update
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import Jetio, JetioModel, Settings
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.registries import own_registry

PASSWORD = "correct horse battery"
SETTINGS = Settings(env="test")
_numbers = itertools.count(1)


def new_base() -> type[JetioModel]:
    """A base class with a registry of its own."""

    class Model(JetioModel):
        __abstract__ = True
        registry = _sa_registry = own_registry()
        metadata = registry.metadata

    return Model


class Model(JetioModel):
    """Tables of the forum alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class User(Model, JetioAuthMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    age: Mapped[int] = mapped_column(default=18)
    role: Mapped[str] = mapped_column(String(40), default="member")
    is_active: Mapped[bool] = mapped_column(default=True)
    sponsor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


class Post(Model):
    title: Mapped[str] = mapped_column(String(80))
    published: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    author: Mapped[User] = relationship()
    comments: Mapped[list[Comment]] = relationship(back_populates="post")


class Comment(Model):
    text: Mapped[str] = mapped_column(String(200))
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"))
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    post: Mapped[Post] = relationship(back_populates="comments")


class Message(Model):
    text: Mapped[str] = mapped_column(String(200))
    sender_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    recipient_id: Mapped[int] = mapped_column(ForeignKey("users.id"))


class Idea(Model):
    text: Mapped[str] = mapped_column(String(200))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


class Note(Model):
    text: Mapped[str] = mapped_column(String(200))
    secret: Mapped[bool | None]


def new_app(database_url: str, **options: Any) -> Jetio:
    """An application over the forum's tables."""
    return Jetio(**{"database": database_url, "settings": SETTINGS, "metadata": Model.metadata, **options})


@dataclass
class Person:
    """Somebody who is logged in."""

    client: TestClient
    id: Any
    username: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """The credential."""
        return bearer(self.token)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """An HTTP request with the credential."""
        return self.client.request(method, path, headers=self.headers | options.pop("headers", {}), **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> Any:
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any) -> Any:
        return self.request("PUT", path, json=json)

    def patch(self, path: str, json: Any) -> Any:
        return self.request("PATCH", path, json=json)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", path)


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Answer:
    """What an application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a problem."""
        code: str = json.loads(self.body)["code"]
        return code


async def call(
    app: Jetio,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    address: str | None = "192.0.2.1",
    receive: Any = None,
    query: str = "",
) -> Answer:
    """A request on the loop that runs already, from any address; `receive` replaces the body."""
    raw = b"" if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": None if address is None else (address, 5000),
        "server": ("testserver", 80),
    }
    sent: list[Any] = []

    async def whole() -> Any:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive or whole, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message["body"] for message in sent[1:]))


class Site:
    """A running application with accounts."""

    def __init__(self, app: Jetio, auth: AuthRouter, client: TestClient) -> None:
        self.app, self.auth, self.client = app, auth, client

    def run(self, function: Any, *arguments: Any, **named: Any) -> Any:
        """Call an async function on the application's loop."""
        assert self.client.portal is not None
        return self.client.portal.call(partial(function, *arguments, **named))

    def register(self, name: str, **fields: Any) -> Any:
        """The answer to a registration of that name."""
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **fields}
        return self.client.post("/register", json=body)

    def login(self, name: str, password: str = PASSWORD) -> Any:
        """The answer to a login."""
        return self.client.post("/login", json={"username": name, "password": password})

    def person(self, name: str = "person", **fields: Any) -> Person:
        """A new account, logged in; its name starts like this."""
        username = f"{name}{next(_numbers)}"
        answer = self.register(username, **fields)
        assert answer.status_code == 201, answer.text
        token = self.login(username).json()["access_token"]
        return Person(self.client, answer.json()["user"]["id"], username, token)

    def admin(self) -> Person:
        """A new admin, logged in."""
        person = self.person("admin")
        self.change(person, **{self.auth.accounts.facts.admin_flag: True})
        return person

    def change(self, person: Person, **values: Any) -> None:
        """Write columns of an account, as a migration or an administrator of the database would."""

        async def write() -> None:
            model = self.auth.user_model
            async with self.app.database.sessions() as session:
                await session.execute(update(model).where(model.id == person.id).values(values))
                await session.commit()

        self.run(write)


@contextmanager
def serving(app: Jetio, auth: AuthRouter) -> Iterator[Site]:
    """The running application; the errors of its handlers are answers."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Site(app, auth, client)


def whole_forum(url: str, model: type[Any] = User, **options: Any) -> Any:
    """A forum with all routes about accounts, as `serving` runs it."""
    app = new_app(url, metadata=model.metadata)
    auth = AuthRouter(model, **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    auth.register_user_routes(app)
    return serving(app, auth)
