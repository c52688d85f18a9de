"""What handlers return, and what is answered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import anyio
import pytest
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from typing_extensions import TypedDict

from jetio import HTMLResponse, Jetio, JetioModel, JsonResponse, Response
from jetio.testing import TestClient
from tests.core.apps import ask, make_app
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Sailor(Own):
    class API:
        hidden = ("code",)
        admin_only = ("note",)

    name: Mapped[str]
    code: Mapped[str] = mapped_column(default="hidden")
    note: Mapped[str] = mapped_column(default="for admins")
    paid: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2), default=decimal.Decimal("1.50"))
    since: Mapped[dt.datetime] = mapped_column(default=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC))


SHOWN = {"id": 1, "name": "ann", "paid": "1.50", "since": "2026-01-31T12:00:00Z"}


class Public(BaseModel):
    name: str
    email: str = Field("none", serialization_alias="mail")


class Private(Public):
    password: str = "hunter2"


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Secret(Point):
    y: int = 7


class Pair(TypedDict):
    left: int


class Colour(enum.Enum):
    RED = "red"


class Tuple(NamedTuple):
    a: object


@pytest.fixture
def app() -> Jetio:
    return make_app(metadata=Own.metadata)


def answer(app: Jetio, value: Any, returns: Any = ..., **options: Any) -> Any:
    """What a handler that returns this value is answered with."""

    async def handler() -> Any:
        return value() if callable(value) else value

    if returns is ...:
        del handler.__annotations__["return"]
    else:
        handler.__annotations__["return"] = returns
    app.get("/", **options)(handler)
    return ask(app, "/")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, 1.5, None, True, "é"]}, {"a": [1, 1.5, None, True, "é"]}),
        (["a"], ["a"]),
        (("a", 1), ["a", 1]),
        ("text", "text"),
        (5, 5),
        (None, None),
        (2**70, 2**70),
        (
            {"n": 2**70, "at": dt.datetime(2026, 1, 31, tzinfo=dt.UTC)},
            {"n": 2**70, "at": "2026-01-31T00:00:00Z"},
        ),
        ({1: "one"}, {"1": "one"}),
        ({"raw": b"\xfb\xff", "view": memoryview(b"ab")}, {"raw": "-_8=", "view": "YWI="}),
        (float("nan"), None),
        (decimal.Decimal("1.20"), "1.20"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.timedelta(hours=1), "PT1H"),
        ({"a", "b"}, ["a", "b"]),
        (Colour.RED, "red"),
        (Point(1), {"x": 1}),
        (Public(name="ann"), {"name": "ann", "mail": "none"}),
        ({"people": [Public(name="ann")]}, {"people": [{"name": "ann", "mail": "none"}]}),
    ],
)
def test_values_are_json(app: Jetio, value: Any, shown: Any) -> None:
    """Without an annotation everything that has one obvious form is written in it; aliases count."""
    response = answer(app, value)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == shown
    assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize(
    "value", [object(), {"a": object()}, SecretStr("x"), {"s": SecretStr("x")}, Tuple(object())]
)
def test_what_has_no_form_is_an_error(app: Jetio, value: Any) -> None:
    """Never `str(value)`: the developer is told in the log, the client nothing."""
    response = answer(app, value)
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "object" not in response.text


@pytest.mark.parametrize(
    ("returns", "value", "shown"),
    [
        (Public, Private(name="ann"), {"name": "ann", "mail": "none"}),
        (Public, {"name": "ann", "password": "x"}, {"name": "ann", "mail": "none"}),
        (Public, Public(name="ann"), {"name": "ann", "mail": "none"}),
        (Public | None, Private(name="ann"), {"name": "ann", "mail": "none"}),
        (Public | None, None, None),
        (
            list[Public],
            [Private(name="ann"), {"name": "bob", "password": "x"}],
            [{"name": "ann", "mail": "none"}, {"name": "bob", "mail": "none"}],
        ),
        (dict[str, Public], {"a": Private(name="ann")}, {"a": {"name": "ann", "mail": "none"}}),
        (Point, Secret(1), {"x": 1}),
        (Point, {"x": 1, "y": 2}, {"x": 1}),
        (Pair, {"left": 1, "right": 2}, {"left": 1}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (str, "a", "a"),
        (int | JsonResponse, 5, 5),
        (Annotated[Public, "documented"], Private(name="ann"), {"name": "ann", "mail": "none"}),
        (Any, Public(name="ann"), {"name": "ann", "mail": "none"}),
    ],
)
def test_a_declared_type_leaves_everything_else_out(app: Jetio, returns: Any, value: Any, shown: Any) -> None:
    """Models, dataclasses and typed dictionaries, alone or inside others; the rest stays here."""
    assert answer(app, value, returns).json() == shown


def test_a_response_model_wins_over_the_annotation(app: Jetio) -> None:
    """And filters in the same way."""
    assert answer(app, Private(name="ann"), Private, response_model=Public).json() == {
        "name": "ann",
        "mail": "none",
    }


def test_a_value_that_is_not_what_was_declared_is_an_error(
    app: Jetio, caplog: pytest.LogCaptureFixture
) -> None:
    """500; the log says which field and why, not which value."""
    assert answer(app, {"name": 5, "email": "secret@example.com"}, Public).status_code == 500
    assert "GET / (handler) returned a dict that is no <class" in caplog.text
    assert "/name: Input should be a valid string" in caplog.text
    assert "secret@example.com" not in caplog.text


# ---- rows ----------------------------------------------------------------------------------------


@pytest.fixture
def members(app: Jetio) -> Iterator[TestClient]:
    @app.post("/new", status_code=201)
    async def new(session: AsyncSession) -> Sailor:
        member = Sailor(name="ann")
        session.add(member)
        return member

    @app.get("/plain/{id}")
    async def plain(id: int, session: AsyncSession):  # type: ignore[no-untyped-def]  # that is the point
        return await session.get(Sailor, id)

    @app.get("/several")
    async def several(session: AsyncSession) -> list[Sailor]:
        return [await session.get_one(Sailor, 1)]

    @app.get("/inside")
    async def inside(session: AsyncSession) -> Any:
        return {"one": await session.get_one(Sailor, 1)}

    @app.get("/public")
    async def public(session: AsyncSession) -> Public:
        return await session.get_one(Sailor, 1)  # type: ignore[return-value]  # read by attributes

    @app.get("/maybe/{id}")
    async def maybe(id: int, session: AsyncSession) -> Sailor | None:
        return await session.get(Sailor, id)

    @app.get("/wrong")
    async def wrong() -> Sailor:
        return {"id": 1, "name": "ann", "code": "x"}  # type: ignore[return-value]  # that is the point

    with TestClient(app, raise_server_exceptions=False) as client:
        client.add(Sailor(name="ann"))
        yield client


def test_rows_are_their_read_documents(members: TestClient) -> None:
    """Declared or not, alone or in lists: hidden and admin-only columns are not answered."""
    assert members.get("/plain/1").json() == SHOWN
    assert members.get("/several").json() == [SHOWN]
    assert members.get("/inside").json() == {"one": SHOWN}
    assert members.get("/maybe/1").json() == SHOWN
    assert members.get("/maybe/2").json() is None
    assert members.get("/public").json() == {"name": "ann", "mail": "none"}
    assert members.get("/wrong").status_code == 500


def test_a_new_row_has_its_key(members: TestClient) -> None:
    """What was added is in the database before it is written out."""
    response = members.post("/new")
    assert (response.status_code, response.json()) == (201, {**SHOWN, "id": 2})
    assert members.get("/plain/2").json()["name"] == "ann"


class Elsewhere(DeclarativeBase):
    pass


class Plain(Elsewhere):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_a_base_of_ones_own_will_do(app: Jetio) -> None:
    """Any mapped class is a row."""
    assert answer(app, Plain(id=3), list[Plain] | Plain).json() == {"id": 3}


# ---- statuses and answers of their own -----------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "options", "value", "status", "content"),
    [
        (None, {}, None, 204, b""),
        (..., {"status_code": 204}, None, 204, b""),
        (..., {"status_code": 205}, None, 205, b""),
        (..., {"status_code": 201}, None, 201, b"null"),
        (None, {"status_code": 202}, None, 202, b"null"),
        (..., {"status_code": 204}, {"a": 1}, 500, None),
        (None, {}, {"a": 1}, 500, None),
        (..., {}, b"\x00\x01", 200, b"\x00\x01"),
        (bytes, {"status_code": 201}, b"", 201, b""),
    ],
)
def test_the_status_is_what_was_declared(
    app: Jetio, returns: Any, options: dict[str, Any], value: Any, status: int, content: bytes | None
) -> None:
    """204 for a handler declared to return None; a status without a body takes none; bytes stay bytes."""
    response = answer(app, value, type(None) if returns is None else returns, **options)
    assert response.status_code == status
    if content is not None:
        assert response.content == content
        media = (
            "application/octet-stream"
            if isinstance(value, bytes)
            else "application/json"
            if content
            else None
        )
        assert response.headers.get("content-type") == media
        assert ("content-length" in response.headers) == (status != 204)


async def parts() -> AsyncIterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    ("value", "status", "media", "content"),
    [
        (
            lambda: JsonResponse({"a": decimal.Decimal(1)}, status_code=418),
            418,
            "application/json",
            b'{"a":"1"}',
        ),
        (lambda: HTMLResponse("<p>"), 200, "text/html; charset=utf-8", b"<p>"),
        (lambda: PlainTextResponse("p"), 200, "text/plain; charset=utf-8", b"p"),
        (lambda: Response(status_code=304), 304, None, b""),
        (lambda: StreamingResponse(parts()), 200, None, b"ab"),
        (
            lambda: FileResponse(Path(__file__).parent / "__init__.py", media_type="text/x-python"),
            200,
            "text/x-python; charset=utf-8",
            b"",
        ),
        (lambda: RedirectResponse("/x"), 307, None, b""),
    ],
)
def test_an_answer_of_its_own_is_sent_as_it_is(
    app: Jetio, value: Any, status: int, media: str | None, content: bytes
) -> None:
    """Any of Starlette's, whatever was declared; nosniff is added."""
    response = answer(app, value, int)
    assert (response.status_code, response.headers.get("content-type"), response.content) == (
        status,
        media,
        content,
    )
    assert response.headers["x-content-type-options"] == "nosniff"


def test_headers_of_the_route_are_on_its_answers(app: Jetio) -> None:
    """On values and on answers of their own, however often one object is returned."""
    shared = PlainTextResponse("p", headers={"x-own": "1"})
    app.get("/value", headers={"Cache-Control": "no-store"})(lambda: {"a": 1})
    app.get("/own", headers={"Cache-Control": "no-store"})(lambda: shared)
    app.delete("/none", headers={"Cache-Control": "no-store"}, status_code=204)(lambda: None)
    client = TestClient(app)
    for response in (client.get("/value"), client.get("/own"), client.get("/own"), client.delete("/none")):
        assert response.headers.get_list("cache-control") == ["no-store"]
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]


def test_html_is_answered_where_it_was_declared(app: Jetio) -> None:
    """`html=True` or an HTMLResponse makes a page's route; its values are text."""

    @app.get("/page", html=True)
    async def page() -> str:
        return "<p>é"

    @app.get("/bytes", html=True)
    async def raw() -> bytes:
        return b"<b>"

    @app.get("/declared")
    async def declared() -> HTMLResponse:
        return "<i>"  # type: ignore[return-value]  # it becomes one

    @app.get("/wrong", html=True)
    async def wrong() -> Any:
        return {"a": 1}

    @app.get("/text")
    async def text() -> str:
        return "<script>"

    for path, content in (("/page", "<p>é"), ("/bytes", "<b>"), ("/declared", "<i>")):
        response = ask(app, path)
        assert (response.headers["content-type"], response.text) == ("text/html; charset=utf-8", content)
    assert ask(app, "/wrong").status_code == 500
    assert ask(app, "/text").headers["content-type"] == "application/json"


def test_head_is_get_without_a_body(app: Jetio) -> None:
    """The same headers, the length included, for values, streams and problems."""
    app.get("/value")(lambda: {"a": 1})
    app.get("/stream")(lambda: StreamingResponse(parts(), media_type="text/plain"))
    app.get("/{n}/problem")(lambda n: int(n))
    client = TestClient(app, raise_server_exceptions=False)
    for path in ("/value", "/stream", "/x/problem", "/nowhere"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        different = {"x-request-id", "content-length"} if got.status_code >= 400 else set()
        assert {**head.headers, **dict.fromkeys(different)} == {**got.headers, **dict.fromkeys(different)}


def test_a_head_of_ones_own_has_no_body_either(app: Jetio) -> None:
    """Whatever the handler returns."""
    app.route("/", methods=["HEAD"], headers={"X-Own": "1"})(lambda: {"a": 1})
    head = ask(app, "/", "HEAD")
    assert (head.status_code, head.headers["x-own"], head.headers["content-length"]) == (200, "1", "7")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/", "query_string": b"", "headers": []}
    anyio.run(app, scope, None, send)
    assert sent[1]["body"] == b""


def test_what_is_documented_is_what_is_answered(app: Jetio) -> None:
    """Status, media type and schema come from the same declaration."""

    async def nothing() -> None: ...
    async def page() -> HTMLResponse: ...  # type: ignore[empty-body]
    async def moved() -> RedirectResponse: ...  # type: ignore[empty-body]
    async def public() -> Public | JsonResponse: ...  # type: ignore[empty-body]
    async def either() -> HTMLResponse | RedirectResponse: ...  # type: ignore[empty-body]
    async def raw() -> bytes: ...  # type: ignore[empty-body]
    async def member() -> Sailor: ...  # type: ignore[empty-body]

    for handler in (nothing, page, moved, public, either, raw, member):
        app.get(f"/{handler.__name__}")(handler)
    app.build()
    told = {path[1:]: endpoint.spec.answers[0] for path, endpoint in app.endpoints}
    assert {name: (item.status, item.media, item.adapter is None) for name, item in told.items()} == {
        "nothing": (204, "application/json", True),
        "page": (200, "text/html", True),
        "moved": (307, None, True),
        "public": (200, "application/json", False),
        "either": (200, "text/html", True),
        "raw": (200, "application/octet-stream", True),
        "member": (200, "application/json", False),
    }
    assert told["public"].adapter is not None
    assert set(told["public"].adapter.json_schema(mode="serialization")["properties"]) == {"name", "mail"}
