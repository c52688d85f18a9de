"""Hostile clients on the wire, against both parsers of the reference server: never a 5xx, nothing leaked."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import live
from tests.live import LiveServer

SOURCE = """
import asyncio
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import FileResponse, StreamingResponse

from jetio import Body, Cookie, Depends, Form, Header, Jetio, Query, Request, UploadFile

SECRET = "hunter2-do-not-tell"
app = Jetio(database="sqlite+aiosqlite:///:memory:")
open_streams = 0


class Item(BaseModel):
    name: str
    tags: list[str] = []


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}

@app.get("/items/{id}")
async def item(
    id: int, q: str = "", tag: list[int] = Query([]), x_token: str = Header(""), sid: str = Cookie("")
) -> Any:
    return {"id": id, "q": q}

@app.get("/files/{path:path}")
async def file(path: str) -> Any:
    return path

@app.post("/items")
async def create(item: Item, session: AsyncSession) -> Item:
    await session.execute(text("SELECT 1"))
    return item

@app.post("/any")
async def anything(given: Any = Body()) -> Any:
    return given

@app.post("/request")
async def raw(request: Request) -> Any:
    return len(await request.body())

@app.post("/form")
async def form(a: str = Form(""), f: UploadFile | None = None) -> Any:
    return a

@app.get("/source")
async def source() -> FileResponse:
    return FileResponse(Path(__file__))

@app.get("/stream")
async def stream() -> StreamingResponse:
    async def lines():
        global open_streams
        open_streams += 1
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            open_streams -= 1
    return StreamingResponse(lines())

@app.get("/state")
async def state() -> Any:
    return {"streams": open_streams, "connections": app.database.engine.pool.checkedout()}

@app.websocket("/socket")
async def talk(websocket) -> None:
    await websocket.accept()
"""

SECRETS = (b"hunter2-do-not-tell", b"Traceback", b"site-packages", b".py", b"sqlite", b"uvicorn", b"pydantic")


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    options = [f"--http={request.param}", "--no-server-header"]
    with live.serve(folder, "hostile:app", source=SOURCE, options=options) as server:
        yield server


def answers(server: LiveServer, sent: bytes, *, patience: float = 0.5) -> list[bytes]:
    """What a raw client gets: each answer from its status line on."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(patience)
        with suppress(ConnectionError):
            client.sendall(sent)
        with suppress(ConnectionError, TimeoutError):
            while part := client.recv(65536):
                received += part
    return [b"HTTP/" + part for part in received.split(b"HTTP/")[1:]]


def fine(server: LiveServer) -> bool:
    """Whether it still serves."""
    return server.client.get("/hello").json() == {"hello": "world"}


def judge(found: list[bytes]) -> None:
    """Every answer is a refusal or a success of the application, and tells nothing about its inside."""
    for answer in found:
        assert int(answer.split(b" ")[1]) < 500, answer
        assert not [word for word in SECRETS if word in answer], answer


def get(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers, b"", b""])


def upgrade(path: bytes, *headers: bytes) -> bytes:
    opening = [b"GET " + path + b" HTTP/1.1", b"Host: x", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join([*opening, *headers, b"", b""])


def post(path: bytes, body: bytes, *headers: bytes, media: bytes = b"application/json") -> bytes:
    """A request with its length, unless a header says something else about it."""
    told = any(item.startswith((b"Transfer-Encoding:", b"Content-Length:")) for item in headers)
    opening = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Type: " + media]
    length = [] if told else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*opening, *length, *headers, b"", b""]) + body


def part(disposition: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n1\r\n"


CHUNKED = b"Transfer-Encoding: chunked"
PARTS = b"multipart/form-data; boundary=b"

BROKEN: dict[str, bytes] = {
    "nothing": b"\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "no version": b"GET /hello\r\n\r\n",
    "old version": b"GET /hello HTTP/0.9\r\n\r\n",
    "next version": b"GET /hello HTTP/9.9\r\nHost: x\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "no host": b"GET /hello HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bare line feeds": b"GET /hello HTTP/1.1\nHost: x\n\n",
    "folded header": get(b"/hello", b"X-A: a\r\n b"),
    "space in a name": get(b"/hello", b"X A: a"),
    "space before the colon": get(b"/hello", b"X-A : a"),
    "nul in a header": get(b"/hello", b"X-A: a\0b"),
    "no name": get(b"/hello", b": a"),
    "no colon": get(b"/hello", b"nonsense"),
    "a huge header": get(b"/hello", b"X-A: " + b"a" * 200_000),
    "many headers": get(b"/hello", *[b"X-%d: a" % n for n in range(5000)]),
    "a huge cookie": get(b"/items/1", b"Cookie: " + b"a=b; " * 10_000),
    "strange cookies": get(b"/items/1", b'Cookie: sid="\\377\\"; =; ;;; a=\xff; $Version=1'),
    "a strange method": b"BREW /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a method in small letters": b"get /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n",
    "trace": b"TRACE /hello HTTP/1.1\r\nHost: x\r\nCookie: hunter2-do-not-tell\r\nConnection: close\r\n\r\n",
    "an absolute address": get(b"http://evil.example/hello"),
    "no slash": get(b"hello"),
    "only a query": get(b"?a=b"),
    "a fragment": get(b"/hello#x"),
    "raw bytes in the path": get(b"/items/\xff\xfe"),
    "a broken escape": get(b"/items/%zz%"),
    "overlong utf-8": get(b"/files/%c0%ae%c0%ae/x"),
    "nul in the path": get(b"/files/%00"),
    "a path out of the tree": get(b"/files/..%2f..%2f../../etc/passwd"),
    "a long path": get(b"/files/" + b"a/" * 25_000),
    "a long number": get(b"/items/" + b"9" * 20_000),
    "a long query": get(b"/items/1?" + b"tag=x&" * 9_000),
    "nul in the query": get(b"/items/1?q=%00"),
    "raw bytes in the query": get(b"/items/1?q=\xff&\xfe=%ff"),
    "a split header": get(b"/hello/%0d%0aSet-Cookie:%20a=b/"),
    "another host": get(b"//evil.example/hello/"),
    "backslashes": get(b"/\\evil.example/"),
    "strange ranges": get(b"/hello", b"Range: bytes=0-0,-1,9999999999999999999-"),
    "many ranges": get(b"/hello", b"Range: bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(1000))),
    "strange conditions": get(b"/hello", b'If-None-Match: "', b"If-Modified-Since: yesterday"),
    "strange encodings": get(b"/hello", b"Accept-Encoding: gzip;q=x", b"Accept: ;;q=", b"Accept-X: \xff"),
    "another request id": get(b"/nowhere", b"X-Request-ID: <script>"),
    "an upgrade to nothing": get(b"/hello", b"Upgrade: h2c", b"HTTP2-Settings: x"),
    "half a websocket": upgrade(b"/socket"),
    "a websocket for a route": upgrade(b"/hello", b"Sec-WebSocket-Version: 1", b"Sec-WebSocket-Key: x"),
    "garbage after a websocket": (
        upgrade(b"/socket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        + b"\xff" * 100
    ),
    "two lengths": post(b"/any", b"{}", b"Content-Length: 2", b"Content-Length: 3"),
    "a negative length": post(b"/any", b"{}", b"Content-Length: -1"),
    "a strange length": post(b"/any", b"{}", b"Content-Length: 2x"),
    "an endless length": post(b"/any", b"{}", b"Content-Length: " + b"9" * 200),
    "a length and chunks": post(b"/any", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"Content-Length: 4", CHUNKED),
    "a longer body": post(b"/any", b"{}GARBAGE", b"Content-Length: 2"),
    "a strange transfer": post(b"/any", b"{}", b"Transfer-Encoding: gzip, chunked, x"),
    "a broken chunk": post(b"/any", b"zz\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "an endless chunk": post(b"/any", b"FFFFFFFFFFFFFFFFFFFF\r\n{}", CHUNKED),
    "chunks without end": post(b"/any", b"1\r\n{\r\n" * 100, CHUNKED),
    "chunks over the limit": post(b"/any", (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 21, CHUNKED),
    "a body over the limit": post(b"/any", b"x" * 2_000_000),
    "a raw body over the limit": post(b"/request", b"x" * 2_000_000),
    "an expectation": post(b"/any", b"", b"Expect: 100-continue", b"Content-Length: 5000000"),
    "a strange expectation": post(b"/any", b"{}", b"Expect: 200-ok"),
    "a packed body": post(b"/any", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"Content-Encoding: gzip"),
    "no media type": post(b"/items", b"{}", media=b""),
    "a strange media type": post(b"/items", b"{}", media=b";;;charset=\xff"),
    "a deep document": post(b"/any", b"[" * 500_000),
    "a wide document": post(b"/any", b"[" + b"{}," * 200_000 + b"{}]"),
    "a wrong document": post(b"/items", b"[" + b"0," * 300_000 + b"0]"),
    "a long name": post(b"/items", b'{"' + b"a" * 900_000 + b'": 1}'),
    "many names": post(b"/items", b"{" + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}"),
    "a long number in json": post(b"/any", b"1" * 900_000),
    "a long exponent": post(b"/any", b"1e" + b"9" * 10_000),
    "half a character": post(b"/any", b'"\\ud83d"'),
    "form in pieces": post(b"/form", b"a", media=b"multipart/form-data; boundary=" + b"b" * 500),
    "form without boundary": post(b"/form", b"--x\r\n", media=b"multipart/form-data"),
    "form with many parts": post(b"/form", part(b'name="a"') * 5_000, media=PARTS),
    "form with many files": post(b"/form", part(b'name="f"; filename="f"') * 3_000, media=PARTS),
    "form with a long header": post(b"/form", b"--b\r\nX: " + b"a" * 500_000, media=PARTS),
    "form with many fields": post(b"/form", b"a=1&" * 200_000, media=b"application/x-www-form-urlencoded"),
    "form with nul": post(b"/form", b"a=%00", media=b"application/x-www-form-urlencoded"),
    "pipelined": get(b"/hello").replace(b"Connection: close\r\n", b"") * 20 + get(b"/hello"),
}  # fmt: skip


def test_no_request_breaks_the_server(server: LiveServer) -> None:
    """Broken lines, headers, paths, lengths, chunks and bodies are refused or ignored; service goes on."""
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(BROKEN, pool.map(lambda sent: answers(server, sent), BROKEN.values()), strict=True))
    for name, answer in found.items():
        try:
            judge(answer)
        except AssertionError as error:
            raise AssertionError(name) from error
    assert len(found["pipelined"]) == 21
    for name in (
        "a body over the limit",
        "a raw body over the limit",
        "chunks over the limit",
        "an expectation",
    ):
        assert [answer.split(b" ")[1] for answer in found[name]][-1:] == [b"413"], name
    assert b"evil.example" not in b"".join(found["another host"]).split(b"\r\n\r\n")[0]
    assert fine(server)
    assert "Traceback" not in server.log
    assert "hunter2" not in server.log


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.binary(max_size=60).map(
        lambda raw: raw.replace(b" ", b"").replace(b"\r", b"").replace(b"\n", b"")
    ),
    body=st.binary(max_size=200),
    media=st.sampled_from(
        [b"application/json", b"multipart/form-data; boundary=b", b"application/x-www-form-urlencoded", b"x"]
    ),
    target=st.sampled_from([b"/items", b"/any", b"/form", b"/request", None]),
)
def test_noise_is_refused(
    server: LiveServer, path: bytes, body: bytes, media: bytes, target: bytes | None
) -> None:
    """Any bytes in the path, any bytes in the body."""
    judge(answers(server, post(target if target is not None else b"/" + path, body, media=media), patience=5))


# ---- clients that leave --------------------------------------------------------------------------


def reset(client: socket.socket) -> None:
    """Hang up without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


LEAVING: dict[str, tuple[bytes, int]] = {
    # What is sent, and how many bytes of the answer are read.
    "in the line": (b"GET /hel", 0),
    "in the head": (b"POST /items HTTP/1.1\r\nHost: x\r\nContent-", 0),
    "in the body": (post(b"/items", b"{", b"Content-Length: 1000"), 0),
    "in a chunk": (post(b"/items", b"5\r\n{", CHUNKED), 0),
    "in a form": (post(b"/form", b"--b\r\n", b"Content-Length: 9999", media=PARTS), 0),
    "before the answer": (b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    "in the answer": (b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", 100_000),
}  # fmt: skip


def leave(server: LiveServer, sent: bytes, read: int) -> None:
    client = socket.create_connection(("127.0.0.1", server.port))
    client.settimeout(10)
    with suppress(ConnectionError):
        client.sendall(sent)
        while read > 0:
            read -= len(client.recv(65536))
    reset(client)


def test_two_hundred_clients_that_leave_leave_nothing(server: LiveServer) -> None:
    """In the middle of what they send or of what they get: no stream runs on, no connection is held."""
    cases = list(LEAVING.values())
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: leave(server, *cases[number % len(cases)]), range(210)))
    state: Any = None
    deadline = time.monotonic() + 20
    while state != {"streams": 0, "connections": 0}:
        state = server.client.get("/state").json()
        assert time.monotonic() < deadline, state
    assert server.client.post("/items", json={"name": "a"}).json() == {"name": "a", "tags": []}
    assert fine(server)
    assert "Traceback" not in server.log


def test_slow_clients_hold_nobody_up(server: LiveServer) -> None:
    """Forty that send a byte and wait, and one that does not wait."""
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for number, client in enumerate(waiting):
        sent, _ = list(LEAVING.values())[number % 5]
        client.sendall(sent)
    assert server.client.get("/state").json()["connections"] == 0
    assert server.client.post("/items", json={"name": "a"}).status_code == 200
    for client in waiting:
        client.close()
    assert fine(server)


def test_many_at_once_are_served(server: LiveServer) -> None:
    """Two hundred requests on fifty connections, good and bad."""

    def ask(number: int) -> int:
        with httpx2.Client(base_url=server.base_url, timeout=30, trust_env=False) as client:
            return sum(
                client.post("/items", json={"name": "a"} if number % 2 else {}).status_code for _ in range(4)
            )

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(ask, range(50))) == [4 * 200] * 25 + [4 * 422] * 25
