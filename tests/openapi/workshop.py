"""An application that has one of everything which a document can tell."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, IPvAnyAddress, SecretStr
from sqlalchemy import BigInteger, ForeignKey, LargeBinary, Numeric, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.websockets import WebSocket

from jetio import (
    Access,
    Cookie,
    CrudRouter,
    Decision,
    Deny,
    Depends,
    Form,
    Header,
    HTMLResponse,
    Jetio,
    JetioModel,
    Principal,
    Problem,
    Query,
    Request,
    Response,
    SecurityScheme,
    Settings,
    UnitOfWork,
    UploadFile,
    add_swagger_ui,
    authenticated,
    policy,
    public,
    rows,
)
from tests.registries import own_registry

SETTINGS = Settings(env="test")


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Mood(enum.Enum):
    """How it goes."""

    good = "good"
    bad = "bad"


class Level(enum.Enum):
    low = 1
    high = 2


class Frame(BaseModel):
    """A part of a document, as strict as a column is."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    scale: float = 1.0


class Member(Model):
    name: Mapped[str] = mapped_column(String(20), unique=True)
    admin: Mapped[bool] = mapped_column(default=False)

    class API:
        admin_only = ("admin",)


class Number(Model):
    age: Mapped[Annotated[int, Field(ge=0, le=150)]] = mapped_column(default=18)
    big: Mapped[int] = mapped_column(BigInteger)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    ratio: Mapped[float]
    price: Mapped[Decimal] = mapped_column(Numeric(8, 2))
    cost: Mapped[Annotated[Decimal, Field(ge=0)] | None] = mapped_column(Numeric(8, 2))
    total: Mapped[Decimal] = mapped_column(Numeric(20, 2))
    gwei: Mapped[Decimal | None] = mapped_column(Numeric(30, 18))
    share: Mapped[Decimal | None] = mapped_column(Numeric(4, 4))
    count: Mapped[Decimal | None] = mapped_column(Numeric(5, 0))
    active: Mapped[bool] = mapped_column(default=True)


class Moment(Model):
    day: Mapped[dt.date]
    at: Mapped[dt.datetime]
    due: Mapped[dt.time]
    lasts: Mapped[dt.timedelta]
    token: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    mood: Mapped[Mood] = mapped_column(default=Mood.good)
    level: Mapped[Level | None]


class Text(Model):
    title: Mapped[Annotated[str, Field(min_length=1)]] = mapped_column(String(20), comment="Its name")
    body: Mapped[str]
    code: Mapped[Annotated[str, Field(pattern="^[a-z]{2}$")] | None]
    email: Mapped[str | None]
    site: Mapped[HttpUrl | None]
    host: Mapped[IPvAnyAddress | None]
    pin: Mapped[SecretStr | None]
    blob: Mapped[bytes | None]
    short: Mapped[bytes | None] = mapped_column(LargeBinary(5))


class Document(Model):
    __tablename__ = "papers"

    tags: Mapped[list[str]]
    numbers: Mapped[dict[str, list[int]] | None]
    extra: Mapped[dict[str, Any] | None]
    anything: Mapped[Any]
    maybe: Mapped[Any | None]
    frame: Mapped[Frame | None]
    words: Mapped[set[str] | None]
    plain: Mapped[dict | None]  # type: ignore[type-arg]  # as people write it
    many: Mapped[list | None]  # type: ignore[type-arg]
    either: Mapped[list[int | str] | None]
    few: Mapped[list[Annotated[int, Field(ge=0)]] | None]


class Seat(Model):
    row: Mapped[str] = mapped_column(String(10), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Label(Model):
    code: Mapped[Annotated[str, Field(pattern=r"^[a-z.]{1,3}$")]] = mapped_column(String(3), primary_key=True)
    note: Mapped[str | None]


class Note(Model):
    text: Mapped[str] = mapped_column(String(50))
    shown: Mapped[bool] = mapped_column(default=False)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    member: Mapped[Member] = relationship()
    mood: Mapped[Mood | None]


class Card(Model):
    """Everybody may write one; who reads it is another matter."""

    text: Mapped[str]


CRUD = (Number, Moment, Text, Document, Seat, Label)


class Tokens:
    """`Authorization: Bearer 7` is the member 7, `admin` an admin."""

    user_model = Member

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        flows = {"password": {"tokenUrl": "/token", "scopes": {}}}
        return [SecurityScheme("Password", {"type": "oauth2", "flows": flows})]

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or not (token == "admin" or token.isdecimal()):
            raise Problem(401, "not_authenticated", headers={"WWW-Authenticate": "Bearer"})
        admin = token == "admin"
        return self.principal_of(SimpleNamespace(id=1 if admin else int(token), admin=admin))

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user.id, sub=str(user.id), is_admin=user.admin)


@policy
async def nobody(access: Access) -> Decision:
    """A rule of the application's own: nobody knows whom it admits."""
    return Deny()


class Token(BaseModel):
    access_token: str
    token_type: str = "bearer"


class Branch(BaseModel):
    """A model that holds itself."""

    name: str
    branches: list[Branch] = []


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=1, description="From 1")
    labels: dict[str, str] = {}
    frame: Frame | None = None


def common(trace: str | None = Header(None, description="For the log"), page: int = Query(1, ge=1)) -> None:
    """What several handlers ask for."""


def make_app(database: str | None = None) -> Jetio:
    """A new one; nothing is opened before it starts."""
    app = Jetio(
        title="Workshop", version="2.1", description="One of *everything*.", settings=SETTINGS,
        database=database or "sqlite+aiosqlite://", metadata=Model.metadata,
    )  # fmt: skip
    add_swagger_ui(app)
    app.use_authenticator(Tokens())
    for model in CRUD:
        CrudRouter(model).register_routes(app)
    members = CrudRouter(Member, policy={"*": authenticated()}, exclude_methods=["DELETE"])
    members.register_routes(app, prefix="/v1")
    owned = rows(lambda _: Note.member_id > 0)  # all of them, but nobody knows before asking
    CrudRouter(
        Note, load_relationships=["member"], policy={"GET": owned, "*": authenticated()}
    ).register_routes(app)
    rules = {"GET": authenticated(), "POST": public(), "*": nobody}
    CrudRouter(Card, policy=rules, tags=["mail"]).register_routes(app)
    _add_handlers(app)
    return app


def _add_handlers(app: Jetio) -> None:
    @app.post("/token", tags=["mail"])
    async def token(username: str = Form(), password: str = Form(min_length=2)) -> Token:
        """Log in.

        The name is the number
        of a member.
        """
        return Token(access_token=username)

    @app.get("/search")
    def search(
        q: Annotated[str, Query(min_length=2, description="Words")],
        day: dt.date | None = None,
        mood: Mood = Mood.good,
        tag: Annotated[list[str], Query()] = [],  # noqa: B006 - each request gets its own
        x_request_kind: str | None = Header(None),
        session: str | None = Cookie(None),
        shared: None = Depends(common),
        page: int = Query(1, ge=1),
    ) -> list[Branch]:
        return [Branch(name=q)]

    @app.route("/branches", methods=["GET", "OPTIONS", "HEAD"])
    async def branches() -> Branch:
        return Branch(name="first")

    @app.post("/branches", name="branches")
    async def add_branch(body: Branch | None = None) -> Branch:
        return body or Branch(name="second")

    @app.put("/pages/{number:int}", status_code=201, summary="Write a page", problems=[409, 429])
    async def put_page(number: int, page: Page) -> Page:
        return page

    @app.delete("/pages/{name:int}")
    async def drop_page(name: int, caller: Principal) -> None:
        return None

    @app.get("/pages/{shadow}", name="shadowed")
    async def page_of(shadow: str) -> str:
        return shadow

    @app.get("/pages/{again:int}", name="never_served")
    async def page_again(again: int) -> int:
        return again

    @app.post("/pictures/{album}")
    async def upload(
        album: str, picture: UploadFile, more: list[UploadFile] | None = None, title: str = Form("")
    ) -> int:
        return 1

    @app.get("/me")
    async def me(caller: Principal | None) -> str | None:
        return None if caller is None else caller.sub

    @app.get("/mine", policy=authenticated())
    async def mine() -> dict[str, int]:
        return {"one": 1}

    @app.get("/raw/{rest:path}")
    async def raw(request: Request) -> Response:
        return Response(b"raw", media_type="text/plain")

    @app.get("/plain/{ident:uuid}/{width:float}")
    async def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse("plain")

    @app.get("/page")
    async def html() -> HTMLResponse:
        return HTMLResponse("<p>page</p>")

    @app.get("/away")
    async def away() -> RedirectResponse:
        return RedirectResponse("/page")

    @app.get("/untold")
    async def untold():  # type: ignore[no-untyped-def]  # that is what it is for
        return {"any": "thing"}

    @app.get("/secret", include_in_schema=False)
    async def secret() -> int:
        return 1

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()
