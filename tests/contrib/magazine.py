"""A magazine with an admin panel: every kind of column, rows that not everybody sees, and a key of two parts."""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from html import unescape
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import JSON, ForeignKey, Numeric, String, TypeDecorator, update
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import (
    Access,
    Allow,
    AllowWhere,
    Change,
    CrudRouter,
    Decision,
    Deny,
    Jetio,
    JetioModel,
    Problem,
    Settings,
    policy,
    public,
    rows,
)
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig
from tests.registries import own_registry

PASSWORD = "correct horse battery"
KEY = "0123456789abcdefghijklmnopqrstuvwxyz"
SETTINGS = Settings(env="test", secret_key=KEY)
BROWSER = {"accept": "text/html,*/*"}


class Model(JetioModel):
    """Tables of the magazine alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Mood(enum.Enum):
    calm = "calm"
    loud = "loud"


class User(Model, JetioAuthMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(unique=True)


class Section(Model):
    name: Mapped[str] = mapped_column(String(80), unique=True)
    open: Mapped[bool] = mapped_column(default=True)


class Key(Model):
    label: Mapped[str] = mapped_column(String(80))
    api_token: Mapped[str] = mapped_column(String(80))


class Article(Model):
    title: Mapped[Annotated[str, Field(min_length=3)]] = mapped_column(String(80))
    body: Mapped[str] = mapped_column(default="")
    mood: Mapped[Mood | None]
    stars: Mapped[int | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(8, 2))
    weight: Mapped[float | None]
    at: Mapped[dt.datetime | None]
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    shelved: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str | None] = mapped_column(String(80))
    door_pin: Mapped[str | None] = mapped_column(String(80))
    section_id: Mapped[int | None] = mapped_column(ForeignKey("sections.id"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))

    class API:
        hidden = ("note",)
        write_only = ("door_pin",)


class Shouted(TypeDecorator[str]):
    """Text in capitals, of a type that JSON Schema has no word for."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()


class Place:
    """Nothing that pydantic knows."""

    def __init__(self, name: str) -> None:
        self.name = name


class PlaceType(TypeDecorator[Place]):
    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Place | None, dialect: Any) -> str | None:
        return None if value is None else value.name

    def process_result_value(self, value: str | None, dialect: Any) -> Place | None:
        return None if value is None else Place(value)


class Slot(Model):
    code: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    starts: Mapped[dt.time | None]
    word: Mapped[str | None] = mapped_column(Shouted)
    place: Mapped[Place | None] = mapped_column(PlaceType)


@policy
async def not_seat_nine(access: Access) -> Decision:
    """Whoever asks for one certain seat learns that it is being painted."""
    if access.action == "retrieve" and access.item_id == ("Z", 9):
        raise Problem(503, "unavailable", "Fresh paint")
    return Allow()


class Seat(Model):
    line: Mapped[str] = mapped_column(String(20), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(String(40), default="")


@policy
async def on_the_desk(access: Access) -> Decision:
    """Whoever is signed in sees what is not shelved, and gives five stars at most."""
    if access.principal is None:
        return Deny()
    few = Article.stars.is_(None) | (Article.stars < 6)
    return AllowWhere(Article.shelved.is_(False), check=Article.shelved.is_(False) & few)


class Desk:
    """A running magazine, and a browser that keeps its cookies."""

    def __init__(self, app: Jetio, auth: Any, client: TestClient) -> None:
        self.app, self.auth, self.client = app, auth, client
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def account(self, name: str, *, admin: bool = False) -> None:
        """Register somebody."""
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        assert self.client.post("/register", json=body).status_code == 201
        if admin:
            self.write(update(User).where(User.username == name).values(is_admin=True))

    def write(self, statement: Any) -> None:
        """Change the database behind everybody's back."""

        async def run() -> None:
            async with self.app.database.sessions() as session:
                await session.execute(statement)
                await session.commit()

        assert self.client.portal is not None
        self.client.portal.call(run)

    def add(self, *objects: Any) -> None:
        """Put rows into the database."""

        async def run() -> None:
            async with self.app.database.sessions() as session:
                session.add_all(objects)
                await session.commit()

        assert self.client.portal is not None
        self.client.portal.call(run)

    def sign_in(self, name: str, password: str = PASSWORD, **options: Any) -> Any:
        """The panel's answer to a name and a password."""
        body = {"username": name, "password": password}
        return self.client.post("/admin/login", data=body, **{"follow_redirects": False, **options})

    def page(self, path: str) -> str:
        """The words of a page that is there."""
        answer = self.client.get(f"/admin{path}")
        assert answer.status_code == 200, answer.text
        return words(answer.text)

    def token(self) -> str:
        """What forms send along."""
        self.client.get("/admin/")
        return self.client.cookies["starlette_admin_csrftoken"]

    def send(self, path: str, **fields: str) -> Any:
        """Send a form of the panel."""
        data = {"csrftoken": self.token(), **self.opened(path), **fields}
        return self.client.post(f"/admin{path}", data=data, follow_redirects=False)

    def opened(self, path: str) -> dict[str, str]:
        """What the form of a row carries of the moment when it is opened."""
        page = self.client.get(f"/admin{path}").text if "/edit?" in path else ""
        return dict(re.findall(r'name="(_opened)" value="([^"]*)"', page))

    def delete(self, table: str, key: str) -> Any:
        """Press the button that deletes."""
        path = f"/admin/_api/{table}/row-action?name=delete&pk={key}"
        return self.client.post(path, headers={"X-CSRFToken": self.token()})


def words(page: str) -> str:
    """What people read in the content of a page."""
    content = page[
        page.index('<div class="page-wrapper">') : page.index("<script", page.index("page-wrapper"))
    ]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", content)))


def errors_of(page: str) -> dict[str, str]:
    """What stands beside each field."""
    found = re.findall(r'id="(\w+)-error">(.*?)</div>', page, re.DOTALL)
    return {name: unescape(text).strip() for name, text in found}


def new_auth(app: Jetio, **options: Any) -> AuthRouter:
    """Accounts with cookies."""
    auth = AuthRouter(User, **{"jwt": JWTConfig(token_location=["header", "cookie"]), **options})
    auth.register_routes(app)
    return auth


def new_app(url: str, **options: Any) -> Jetio:
    """An application over the magazine's tables."""
    return Jetio(title="Magazine", database=url, settings=SETTINGS, metadata=Model.metadata, **options)


@contextmanager
def magazine(url: str, **panel: Any) -> Iterator[Desk]:
    """The magazine with an admin, `root`, and a plain reader, `ann`."""
    app = new_app(url)
    seen: list[tuple[str, dict[str, Any]]] = []
    auth = new_auth(app)
    Admin(app, title="Desk", auth=auth, **panel)
    auth.register_admin_routes(app)
    people = {"GET": auth.authenticated(), "PUT": auth.self_or_admin(), "DELETE": auth.admin_only()}
    CrudRouter(User, exclude_methods=["POST"], policy=people).register_routes(app)
    CrudRouter(
        Section, policy={"GET": rows(lambda access: Section.open), "*": auth.admin_only()}
    ).register_routes(app)
    articles = CrudRouter(Article, owner="author_id", policy={"*": on_the_desk})
    articles.register_routes(app)
    CrudRouter(Seat, policy={"*": not_seat_nine}, actions=["list", "retrieve", "update"]).register_routes(app)

    CrudRouter(Slot, policy={"*": public()}).register_routes(app)

    @articles.on("before_create")
    @articles.on("before_update")
    async def look(change: Change) -> None:
        seen.append((change.action, dict(change.values)))
        if change.values.get("title") == "Forbidden":
            raise Problem(409, "conflict", "This word is taken")
        if change.values.get("title") == "Too much":
            raise Problem(503, "unavailable", "Not now")

    with TestClient(app, base_url="http://desk.example", raise_server_exceptions=False) as client:
        desk = Desk(app, auth, client)
        desk.seen = seen
        desk.account("root", admin=True)
        desk.account("ann")
        yield desk
