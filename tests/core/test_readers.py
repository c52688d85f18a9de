"""Who reads the body of a request: everybody the same bytes, within the limit, and nobody waits for ever."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import BaseModel
from sqlalchemy.orm import Mapped
from starlette.requests import ClientDisconnect
from starlette.types import Message

from jetio import (
    Access,
    Allow,
    BaseMiddleware,
    CrudRouter,
    Decision,
    Depends,
    Jetio,
    JetioModel,
    JsonResponse,
    Request,
    Response,
    UploadFile,
    policy,
)
from jetio.body import RequestBody
from jetio.testing import TestClient
from tests.core.apps import make_app
from tests.live import LiveServer
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Twig(Own):
    text: Mapped[str]


class Text(BaseModel):
    text: str


SEEN: list[tuple[str, bytes]] = []


class Watching(BaseMiddleware):
    async def before(self, request: Request) -> Response | None:
        SEEN.append(("before", await request.body()))
        return None

    async def after(self, request: Request, message: Message) -> None:
        SEEN.append(("after", await request.body()))


class LookingBack(BaseMiddleware):
    async def after(self, request: Request, message: Message) -> None:
        SEEN.append(("after", await request.body()))


@policy
async def reading(access: Access) -> Decision:
    assert isinstance(access.request, Request)
    SEEN.append(("policy", await access.request.body()))
    return Allow()


@policy
async def streaming(access: Access) -> Decision:
    assert isinstance(access.request, Request)
    SEEN.append(("policy", b"".join([part async for part in access.request.stream()])))
    return Allow()


async def of_old(request, item_id):  # type: ignore[no-untyped-def]  # as they were written
    SEEN.append(("policy", await request.body()))
    return "ann"


async def hook(change: Any) -> None:
    SEEN.append(("hook", await change.access.request.body()))


async def dependency(request: Request) -> None:
    SEEN.append(("dependency", await request.body()))


async def streaming_dependency(request: Request) -> None:
    SEEN.append(("dependency", b"".join([part async for part in request.stream()])))


async def refused(request: Request, error: Any) -> Response:
    SEEN.append(("handler of errors", await request.body()))
    return JsonResponse({"refused": error.status}, status_code=error.status)


def chunks(body: bytes, size: int = 7) -> Iterator[bytes]:
    """A body without a Content-Length."""
    return (body[start : start + size] for start in range(0, len(body), size))


def handlers(**options: Any) -> Jetio:
    app = make_app(**options)

    @app.post("/plain")
    async def plain(body: Text) -> str:
        return body.text

    @app.post("/ruled", policy=reading)
    async def ruled(body: Text) -> str:
        return body.text

    @app.post("/streamed", policy=streaming)
    async def streamed(body: Text) -> str:
        return body.text

    @app.post("/depending")
    async def depending(body: Text, seen: None = Depends(dependency)) -> str:
        return body.text

    @app.post("/flowing")
    async def flowing(body: Text, seen: None = Depends(streaming_dependency)) -> str:
        return body.text

    @app.post("/own", policy=reading)
    async def own(request: Request) -> str:
        return json.loads(await request.body())["text"]

    return app


PATHS = ("/plain", "/ruled", "/streamed", "/depending", "/flowing", "/own")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("middleware", [None, Watching, LookingBack])
@pytest.mark.parametrize("chunked", [False, True])
def test_readers_of_handlers_see_the_same_bytes(path: str, middleware: Any, chunked: bool) -> None:
    """Middleware, a policy, a dependency and the handler each read the whole body of one request."""
    SEEN.clear()
    app = handlers()
    if middleware is not None:
        app.add_middleware(middleware)
    body = b'{"text": "to be read by all"}'
    with TestClient(app) as client:
        headers = {"content-type": "application/json"}
        response = client.post(path, content=chunks(body) if chunked else body, headers=headers)
    assert (response.status_code, response.json()) == (200, "to be read by all")
    readers = {"/plain": [], "/ruled": ["policy"], "/streamed": ["policy"], "/own": ["policy"]}
    expected = readers.get(path, ["dependency"])
    if middleware is Watching:
        expected = ["before", *expected]
    if middleware is not None:
        expected = [*expected, "after"]
    assert [(name, body) for name in expected] == SEEN


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("middleware", [None, Watching])
@pytest.mark.parametrize("chunked", [False, True])
def test_each_reader_of_a_handler_is_bounded(path: str, middleware: Any, chunked: bool) -> None:
    """A body beyond the limit is 413 whoever reads it first, also without a Content-Length."""
    SEEN.clear()
    app = handlers()
    if middleware is not None:
        app.add_middleware(middleware)
    body = json.dumps({"text": "x" * 1024 * 1024}).encode()
    with TestClient(app, raise_server_exceptions=False) as client:
        headers = {"content-type": "application/json"}
        response = client.post(path, content=chunks(body, 65536) if chunked else body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "content_too_large")
    assert not SEEN


def twigs(database_url: str, rule: Any, *middleware: Any, hooks: Any = None) -> Jetio:
    app = Jetio(database=database_url, metadata=Own.metadata)
    for kind in middleware:
        app.add_middleware(kind)
    CrudRouter(Twig, policy={"*": rule} if rule else None, hooks=hooks).register_routes(app)
    return app


@pytest.mark.parametrize("rule", [None, reading, streaming, of_old])
@pytest.mark.parametrize("middleware", [(), (Watching,), (LookingBack, Watching)])
def test_readers_of_rows_see_the_same_bytes(database_url: str, rule: Any, middleware: Any) -> None:
    """Middleware, a policy of either kind and a hook may read the body of a write, which is then done."""
    SEEN.clear()
    app = twigs(database_url, rule, *middleware, hooks={"before_create": hook, "on_commit": hook})
    body = b'{"text": "green"}'
    with TestClient(app) as client:
        headers = {"content-type": "application/json"}
        for content in (body, chunks(body)):
            response = client.post("/twigs", content=content, headers=headers)
            assert (response.status_code, response.json()["text"]) == (201, "green")
        assert {seen for _, seen in SEEN} == {body}
        assert [name for name, _ in SEEN].count("hook") == 4
        assert ("policy" in dict(SEEN)) == (rule is not None)
        assert client.patch("/twigs/1", json={"text": "red"}).json()["text"] == "red"
        assert client.delete("/twigs/2").status_code == 204
        assert [row["text"] for row in client.get("/twigs").json()] == ["red"]


@pytest.mark.parametrize("rule", [None, reading, of_old])
@pytest.mark.parametrize("middleware", [(), (Watching,)])
@pytest.mark.parametrize("method", ["POST", "PATCH", "GET"])
def test_each_reader_of_rows_is_bounded(sqlite_url: str, rule: Any, middleware: Any, method: str) -> None:
    """A body beyond the limit is 413 from whoever reads it: a rule of a GET as well; nothing is written."""
    SEEN.clear()
    app = twigs(sqlite_url, rule, *middleware)
    body = json.dumps({"text": "x" * 1024 * 1024}).encode()
    with TestClient(app) as client:
        path = "/twigs/1" if method == "PATCH" else "/twigs"
        headers = {"content-type": "application/json"}
        for content in (body, chunks(body, 65536)):
            response = client.request(method, path, content=content, headers=headers)
            unread = method == "GET" and rule is None and not middleware
            assert response.status_code == (200 if unread else 413)
        assert not SEEN
        assert client.request("GET", "/twigs", content=b"").json() == []


def test_a_handler_of_errors_reads_what_was_sent() -> None:
    """An exception handler gets the body although it has been read, and 413 where it was too large."""
    SEEN.clear()
    app = handlers()
    app.add_exception_handler(422, refused)
    app.add_exception_handler(413, refused)
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in PATHS[:-1]:
            assert client.post(path, json={"word": 1}).json() == {"refused": 422}
        assert [seen for name, seen in SEEN if name == "handler of errors"] == [b'{"word":1}'] * 5
        SEEN.clear()
        response = client.post("/plain", content=chunks(b" " * 2_000_000, 65536))
        assert response.status_code == 413
        assert response.json()["code"] == "content_too_large"
        assert not SEEN


def test_middleware_takes_what_the_route_takes() -> None:
    """Middleware that reads is bounded by the route: an upload passes that another route refuses."""
    SEEN.clear()
    app = make_app()
    app.add_middleware(Watching)

    @app.post("/files/{name}")
    async def upload(name: str, file: UploadFile) -> int:
        return len(await file.read())

    @app.post("/words")
    async def words(text: Text) -> int:
        return len(text.text)

    @app.get("/pictures/{name}")
    async def picture(name: str) -> str:
        return name

    @app.post("/pictures/{number:int}")
    async def paint(number: int, file: UploadFile) -> int:
        return len(await file.read())

    with TestClient(app) as client:
        files = {"file": ("big", b"x" * 2_000_000)}
        assert client.post("/files/a", files=files).json() == 2_000_000
        assert client.post("/pictures/7", files=files).json() == 2_000_000
        assert client.post("/words", json={"text": "x" * 2_000_000}).status_code == 413
        assert client.post("/nowhere", content=b"x" * 2_000_000).status_code == 413
        assert client.post("/nowhere", content=b"x").status_code == 404


def test_a_long_stream_is_not_kept() -> None:
    """What a handler streams beyond the usual limit stays with nobody; whoever looks afterwards is refused."""
    app = make_app()
    bodies: list[Any] = []

    @app.post("/stream", max_body=8_000_000)
    async def stream(request: Request) -> int:
        size = sum([len(part) async for part in request.stream()])
        sent = RequestBody(request.scope, request.receive, 8_000_000)
        with pytest.raises(Exception, match="content_too_large"):
            await sent.read()
        with pytest.raises(Exception, match="content_too_large"):
            [part async for part in request.stream()]
        bodies.append(request.receive._tape.parts)  # type: ignore[attr-defined]  # what is still held
        return size

    with TestClient(app) as client:
        assert client.post("/stream", content=chunks(b"x" * 4_000_000, 65536)).json() == 4_000_000
    assert bodies == [[]]


async def test_who_has_seen_the_beginning_may_still_read_all() -> None:
    """A handler that looks at the first part of a stream gets the whole body after it, up to its own limit."""
    app = make_app()

    @app.post("/look", max_body=8_000_000)
    async def look(request: Request) -> list[int]:
        stream = request.stream()
        first = await anext(stream)
        await stream.aclose()
        return [len(first), len(await request.body())]

    app.build()
    parts: list[Message] = [
        {"type": "http.request", "body": b"x" * size, "more_body": bool(size)}
        for size in (1000, 1_000_000, 1_000_000, 0)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return parts.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/look", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[1]["body"] == b"[1000,2001000]"


async def test_a_client_that_goes_ends_the_handler_that_streams() -> None:
    """Part of a body is never taken for the whole of it, and nobody is answered."""
    app = make_app()
    seen: list[Any] = []

    @app.post("/stream")
    async def stream(request: Request) -> None:
        try:
            async for part in request.stream():
                seen.append(part)
        except ClientDisconnect:
            seen.append("gone")
            raise

    app.build()
    messages: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        seen.append(message)

    scope = {"type": "http", "method": "POST", "path": "/stream", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert seen == [b"a", "gone"]


def test_a_client_that_goes_is_noticed_by_every_reader() -> None:
    """A disconnect in the middle of a body ends the first reader, and those that come after it."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def main() -> None:
        scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
        sent = RequestBody(scope, receive, 100)
        with pytest.raises(ClientDisconnect):
            await Request(scope, sent).body()
        with pytest.raises(ClientDisconnect):
            await sent.read()
        with pytest.raises(ClientDisconnect):
            await Request(scope, RequestBody(scope, sent, 100)).body()

    anyio.run(main)


LIVE = """
from sqlalchemy.orm import Mapped

from jetio import Allow, BaseMiddleware, CrudRouter, Jetio, JetioModel, Request, policy


class Twig(JetioModel):
    text: Mapped[str]


class Watching(BaseMiddleware):
    async def before(self, request):
        await request.body()


@policy
async def reading(access):
    await access.request.json()
    return Allow()


async def hook(change):
    assert (await change.access.request.json())["text"]


app = Jetio(database="sqlite+aiosqlite:///./twigs.db")
app.add_middleware(Watching)
rules = {"*": lambda access: Allow(), "POST": reading}
CrudRouter(Twig, policy=rules, hooks={"before_create": hook}).register_routes(app)
"""


def test_readers_over_a_real_server(live_server: Callable[..., LiveServer]) -> None:
    """Behind uvicorn nothing hangs, an endless body is 413, and a client that goes leaves a working server."""
    client = live_server(source=LIVE).client
    body = b'{"text": "green"}'
    headers = {"content-type": "application/json"}
    for content in (body, chunks(body)):
        assert client.post("/twigs", content=content, headers=headers, timeout=5).status_code == 201
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as gone:
        head = "POST /twigs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50"
        gone.sendall(f"{head}\r\n\r\n{{".encode())
    endless = chunks(b"x" * 3_000_000, 65536)
    with suppress(httpx2.WriteError):  # the server may have answered and gone before all was sent
        assert client.post("/twigs", content=endless, headers=headers, timeout=5).status_code == 413
    assert client.post("/twigs", content=body, headers=headers, timeout=5).status_code == 201
    assert len(client.get("/twigs").json()) == 3


@pytest.mark.parametrize("body", [b"{bad", b"\xff", b"", b"[" * 100_000])
def test_json_that_cannot_be_read_is_the_client_s(body: bytes) -> None:
    """`request.json()` in a handler or a middleware is a 400 for whoever sent it, never a fault of the server."""
    app = make_app()

    @app.post("/read")
    async def read(request: Request) -> Any:
        return await request.json()

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/read", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")
