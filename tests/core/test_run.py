"""`app.run()`: a real process that starts, serves, and ends in time."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from jetio import ConfigError, Settings, add_swagger_ui
from tests.core.apps import make_app
from tests.live import LiveServer

SOURCE = """
import asyncio, sys
from jetio import Jetio, Problem, Request

app = Jetio(title="Shop", database="sqlite+aiosqlite:///:memory:")

@app.on_event("startup")
async def started():
    print("started up", flush=True)

@app.on_event("shutdown")
async def ended():
    print("shut down", flush=True)

@app.get("/hello")
async def hello():
    return {"hello": "world"}

@app.get("/slow")
async def slow():
    print("slow has begun", flush=True)
    await asyncio.sleep(1)
    return "done"

@app.post("/endless")
async def endless(request: Request):
    print("endless has begun", flush=True)
    try:
        return len(await request.body())
    finally:
        print("endless was cleaned up", flush=True)

@app.websocket("/login")
async def login(websocket):
    raise Problem(401, "not_authenticated")

@app.websocket("/talk")
async def talk(websocket):
    await websocket.accept()
    await websocket.send_text("hello")

if __name__ == "__main__":
    app.run(port=0, timeout_graceful_shutdown=int(sys.argv[1]))
"""


@pytest.fixture
def start(live_server: Callable[..., LiveServer], tmp_path: Path) -> Callable[..., LiveServer]:
    """The application above, run as its author does: `python app.py`, with its patience in seconds."""

    def run(patience: int = 15, **options: Any) -> LiveServer:
        (tmp_path / "app.py").write_text(SOURCE)
        return live_server(command=[sys.executable, "app.py", str(patience)], **options)

    return run


def wait_for(server: LiveServer, words: str) -> None:
    """Until the process has printed them."""
    deadline = time.monotonic() + 20
    while words not in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)


@contextmanager
def stalled(server: LiveServer, sent: bytes) -> Iterator[socket.socket]:
    """A client that sends this and then nothing, and reads nothing."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(sent)
        yield client


def test_an_application_runs_and_ends(start: Callable[..., LiveServer]) -> None:
    """It says where it is, serves, and leaves with its shutdown handlers when it is asked to."""
    server = start()
    assert "Shop (development) on http://127.0.0.1:0\n" in server.log
    response = server.client.get("/hello")
    assert (response.json(), "server" in response.headers) == ({"hello": "world"}, False)
    assert server.stop() in (0, -signal.SIGTERM)
    assert "started up" in server.log
    assert "shut down" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_finished(start: Callable[..., LiveServer], how: signal.Signals) -> None:
    """The signal waits for it; new connections are refused."""
    server = start()
    answers: list[httpx2.Response] = []
    asking = threading.Thread(target=lambda: answers.append(server.client.get("/slow")))
    asking.start()
    wait_for(server, "slow has begun")
    server.process.send_signal(how)
    asking.join()
    server.process.wait(20)
    assert [response.json() for response in answers] == ["done"]
    assert "shut down" in server.log


def test_a_stalled_client_cannot_hold_the_end(start: Callable[..., LiveServer]) -> None:
    """Whether it stalls in the head, in the body, or in reading; what it had begun is cleaned up."""
    server = start(patience=1)
    head = b"POST /endless HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    with (
        stalled(server, head),
        stalled(server, head + b"\r\n{"),
        stalled(server, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n" * 50),
    ):
        wait_for(server, "endless has begun")
        assert server.stop() in (0, -signal.SIGTERM)
    assert "endless was cleaned up" in server.log
    assert "shut down" in server.log


def test_mistakes_stop_the_process(
    start: Callable[..., LiveServer], tmp_path: Path, live_server: Any
) -> None:
    """By `run()`, and under a server started by hand: neither serves what cannot be built."""
    broken = SOURCE.replace('"/hello"', '"hello"')
    for command in (
        [sys.executable, "app.py", "1"],
        [sys.executable, "-m", "uvicorn", "app:app", "--port=0"],
    ):
        (tmp_path / "app.py").write_text(broken)
        with pytest.raises(RuntimeError, match="the path 'hello' must start with '/'") as caught:
            live_server(command=command)
        assert "the server ended with" in str(caught.value)


def test_sockets_close_with_their_code(start: Callable[..., LiveServer]) -> None:
    """What a client on the wire sees: 4000 and the status, 1000 at the end of the handler."""
    server = start()
    ends = {}
    for path in ("/login", "/talk", "/nowhere"):
        with connect(f"ws://127.0.0.1:{server.port}{path}") as client:
            words: list[Any] = []
            with suppress(ConnectionClosed):
                words.extend(client)
            ends[path] = (client.close_code, client.close_reason, words)
    assert ends == {
        "/login": (4401, "not_authenticated", []),
        "/talk": (1000, "", ["hello"]),
        "/nowhere": (4404, "not_found", []),
    }


def test_the_server_gets_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """15 seconds of patience, a lifespan that counts, no name of the server; whatever is given wins."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: asked.append(options))
    app = make_app(title="Shop")
    add_swagger_ui(app)
    app.run()
    app.run("0.0.0.0", 80, timeout_graceful_shutdown=3)  # noqa: S104 - nothing listens
    usual = {
        "workers": 1,
        "lifespan": "on",
        "timeout_graceful_shutdown": 15,
        "server_header": False,
        "log_level": "info",
    }
    assert asked == [
        {**usual, "host": "127.0.0.1", "port": 8000},
        {**usual, "host": "0.0.0.0", "port": 80, "timeout_graceful_shutdown": 3},  # noqa: S104
    ]
    assert (
        "Shop (development) on http://127.0.0.1:8000, docs at http://127.0.0.1:8000/docs\n"
        in capsys.readouterr().out
    )
    wrong = make_app()
    wrong.get("nowhere")(lambda: 1)
    with pytest.raises(ConfigError):
        wrong.run()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("options", "instead"),
    [({"workers": 2}, "jetio run --workers 2"), ({"reload": True}, "jetio run --reload")],
)
def test_what_needs_a_name_to_import_is_told(options: dict[str, Any], instead: str) -> None:
    """Several processes cannot be made of an object: the message says which command can."""
    with pytest.raises(ConfigError, match=f"write: {instead}"):
        make_app().run(**options)


def test_one_process_says_that_more_were_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`JETIO_WORKERS` is for the command; `run()` serves all the same."""
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: None)
    make_app(settings=Settings(env="test", workers=2)).run(workers=1)
    assert "JETIO_WORKERS=2 is for `jetio run`" in caplog.text
