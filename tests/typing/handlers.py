"""Handlers as they are written: every argument has the type that its annotation says."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, assert_type

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket

import jetio
from jetio import (
    BackgroundTasks,
    Body,
    Cookie,
    CORSMiddleware,
    Depends,
    File,
    Form,
    Header,
    HTMLResponse,
    Jetio,
    JetioModel,
    JsonResponse,
    Path,
    Problem,
    Query,
    Request,
    Response,
    Settings,
    UnitOfWork,
    UploadFile,
    public,
)
from jetio.testing import TestClient, problem_in


class Book(JetioModel):
    title: Mapped[str] = mapped_column(unique=True)
    pages: Mapped[int | None]


class NewBook(BaseModel):
    title: str
    pages: int | None = None


@dataclasses.dataclass
class Page:
    number: int = 1
    size: int = 50


app = Jetio(title="Books", settings=Settings(env="test", database_url="sqlite+aiosqlite:///:memory:", port=0))
app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])


async def connection() -> AsyncIterator[AsyncSession]:
    async with jetio.SessionLocal() as session:
        yield session


def locked(session: AsyncSession = Depends(connection)) -> Iterator[str]:
    yield "locked"


Paging = Annotated[Page, Depends()]
Tag = Annotated[str, Header(alias="X-Tag", min_length=2)]


@app.get("/books", policy=public())
async def books(session: AsyncSession, page: Paging, q: str | None = None) -> list[Book]:
    """All books."""
    assert_type(page, Page)
    found = await session.scalars(select(Book).limit(page.size))
    return list(found)


@app.route("/books", methods=["POST"], status_code=201, tags=["books"])
async def add(book: NewBook, session: AsyncSession, later: BackgroundTasks) -> Book:
    row = Book(title=book.title, pages=book.pages)
    session.add(row)
    later.add_task(print, row.title)
    return row


@app.get("/books/{id}")
async def one(
    id: int = Path(ge=1),
    fields: list[str] = Query([], max_length=5),
    tag: Tag = "none",
    theme: str = Cookie("light"),
    key: str = Depends(locked),
) -> dict[str, Any] | JsonResponse:
    if id == 7:
        raise Problem(404, "not_found", headers={"X-Seven": "1"})
    return {"id": id, "fields": fields, "tag": tag, "theme": theme, "key": key}


@app.put("/books/{id}/cover", max_body=5_000_000)
async def cover(id: int, file: UploadFile, more: list[UploadFile] = File([]), note: str = Form("")) -> None:
    assert_type(await file.read(), bytes)


@app.patch("/books/{id}")
async def change(id: int, title: Annotated[str, Body(embed=True)], work: UnitOfWork) -> Book:
    return await work.session().get_one(Book, id)


@app.delete("/books/{id}", status_code=204)
def remove(id: int, request: Request) -> None:
    assert_type(request.method, str)


@app.get("/page", html=True)
async def page() -> HTMLResponse:
    return HTMLResponse("<p>")


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(iter(["a"]))


@app.websocket("/talk/{room}")
async def talk(websocket: WebSocket, room: str) -> None:
    await websocket.accept()


@app.on_event("startup")
async def started() -> None: ...


@app.exception_handler(KeyError)
async def missing(request: Request, error: KeyError) -> Response:
    return JsonResponse(None, status_code=404)


app.add_error_page(404, "<p>lost")
app.add_error_page(500, FilePath(__file__))
app.add_error_page(401, lambda request, problem: f"<p>{problem.code}")


# A decorator gives back what it was given.
async def called_directly(request: Request) -> None:
    assert_type(remove(1, request=request), None)
    assert_type(await add(NewBook(title="a"), jetio.SessionLocal(), BackgroundTasks()), Book)
    await add(NewBook(title="a"))  # type: ignore[call-arg]
    one(id="x")  # type: ignore[arg-type, unused-coroutine]


# What is misspelt is seen before it runs.
def mistakes() -> None:
    Query(max_lenght=3)  # type: ignore[call-arg]
    Jetio(titel="Books")  # type: ignore[call-arg]


assert_type(jetio.engine, AsyncEngine)
assert_type(jetio.SessionLocal, async_sessionmaker[AsyncSession])
assert_type(jetio.settings, Settings)


def tested() -> None:
    with TestClient(app, database=FilePath("test.db")) as client:
        book = client.add(Book(title="a"))
        assert_type(book, Book)
        assert_type(client.login_as(book), TestClient)
        assert_type(problem_in(client.get("/books/7")), Problem)
