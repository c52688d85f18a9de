"""`jetio run` with several workers: real processes that start, share, die and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live import LiveServer

SOURCE = """
import asyncio
import os

from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


class Note(JetioModel):
    text: Mapped[str] = mapped_column(unique=True)


app = Jetio(title="Notes")
auth = AuthRouter(User, default_admin=True)
auth.register_routes(app)
CrudRouter(Note).register_routes(app)
CrudRouter(User, exclude_methods=["POST", "PUT", "PATCH", "DELETE"]).register_routes(app)


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.get("/slow")
async def slow() -> int:
    print("slow has begun", flush=True)
    await asyncio.sleep(1)
    return os.getpid()


@app.on_event("shutdown")
async def ended() -> None:
    print("shut down", os.getpid(), flush=True)
"""
PASSWORD = "correct horse battery"
ADMIN = {
    "JETIO_AUTH_DEFAULT_ADMIN_USERNAME": "root",
    "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": PASSWORD,
}
KEY = {"SECRET_KEY": "a key of these tests alone, and long enough"}
SECONDS = 30


@pytest.fixture
def start(live_server: Callable[..., LiveServer], tmp_path: Path) -> Callable[..., LiveServer]:
    """`jetio run` over the application above, with these flags and this environment."""

    def run(*flags: str, source: str = SOURCE, **env: str) -> LiveServer:
        (tmp_path / "app.py").write_text(source)
        command = [sys.executable, "-m", "jetio.cli", "run", "--port=0", *flags]
        return live_server(command=command, env={"JETIO_ENV": "test", **KEY, **ADMIN, **env})

    return run


def ask(server: LiveServer, path: str = "/pid") -> Any:
    """The answer over a connection of its own; workers that still start refuse it."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return httpx2.get(server.base_url + path, timeout=SECONDS, trust_env=False).json()
        except (httpx2.ConnectError, httpx2.ReadError, httpx2.RemoteProtocolError):
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)


def workers_of(server: LiveServer, count: int) -> set[int]:
    """The processes that answer, once there are so many of them."""
    found: set[int] = set()
    deadline = time.monotonic() + SECONDS
    with ThreadPoolExecutor(8) as pool:
        while len(found) < count:
            assert time.monotonic() < deadline, server.log
            found |= set(pool.map(lambda _: ask(server), range(16)))
    return found


def lives(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_workers_serve_and_end_together(
    start: Callable[..., LiveServer], sqlite_url: str, how: signal.Signals
) -> None:
    """One line says where they are; a signal to the parent ends all, after the request that was under way."""
    server = start("--workers=2", DATABASE_URL=sqlite_url)
    pids = workers_of(server, 2)
    assert server.process.pid not in pids
    assert server.log.count("Notes (test) on http://127.0.0.1:0") == 1
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(ask(server, "/slow")))
    asking.start()
    while "slow has begun" not in server.log:
        time.sleep(0.01)
    server.process.send_signal(how)
    asking.join()
    assert server.process.wait(SECONDS) == 0
    assert set(answers) < pids
    assert not any(map(lives, pids))
    assert all(f"shut down {pid}" in server.log for pid in pids)
    assert "Traceback" not in server.log


def test_a_worker_that_dies_is_replaced(start: Callable[..., LiveServer], sqlite_url: str) -> None:
    """The others go on meanwhile."""
    server = start("--workers=2", DATABASE_URL=sqlite_url)
    first, second = workers_of(server, 2)
    os.kill(first, signal.SIGKILL)
    assert ask(server) != first
    found = {second}
    while len(found) < 2:
        found |= workers_of(server, 1)
    assert first not in found
    assert server.stop() == 0


def test_tables_and_the_first_admin_are_made_once(
    start: Callable[..., LiveServer], database_url: str
) -> None:
    """Workers that start at once on an empty database make each table and the admin once, and none fails."""
    server = start("--workers=4", DATABASE_URL=database_url)
    workers_of(server, 4)
    assert [user["username"] for user in ask(server, "/users")] == ["root"]
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_a_token_of_one_worker_is_good_at_the_other(
    start: Callable[..., LiveServer], sqlite_url: str, tmp_path: Path
) -> None:
    """In development too, where the key is made by whoever comes first."""
    server = start("--workers=2", DATABASE_URL=sqlite_url, JETIO_ENV="development", SECRET_KEY="")
    workers_of(server, 2)
    account = {"username": "root", "password": PASSWORD}
    token = server.client.post("/login", json=account).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    assert {server.client.get("/me", headers=headers).status_code for _ in range(30)} == {200}


def test_all_workers_write_to_one_file(start: Callable[..., LiveServer], sqlite_url: str) -> None:
    """SQLite takes the writes of several processes: they wait for each other, and none is lost."""
    server = start("--workers=3", DATABASE_URL=sqlite_url)
    workers_of(server, 3)

    def write(number: int) -> int:
        body = {"text": f"note {number}"}
        return httpx2.post(
            f"{server.base_url}/notes", json=body, timeout=SECONDS, trust_env=False
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(write, range(300))) == {201}
    counted = httpx2.get(f"{server.base_url}/notes?count=exact", trust_env=False)
    assert counted.headers["x-total-count"] == "300"


def test_the_environment_says_how_many(start: Callable[..., LiveServer], sqlite_url: str) -> None:
    """`JETIO_WORKERS` and `WEB_CONCURRENCY`; a flag wins over both."""
    server = start(DATABASE_URL=sqlite_url, JETIO_WORKERS="2")
    workers_of(server, 2)
    assert server.stop() == 0
    server = start("--workers=1", DATABASE_URL=sqlite_url, WEB_CONCURRENCY="2")
    assert {ask(server) for _ in range(10)} == {server.process.pid}


def test_one_process_that_starts_again_is_no_several(
    start: Callable[..., LiveServer], sqlite_url: str
) -> None:
    """Under `--reload` the checks of several workers do not hold, whatever the environment says."""
    kept = SOURCE + MEMORY + KEPT_APART["middleware"][0]
    server = start("--reload", source=kept, DATABASE_URL=sqlite_url, JETIO_WORKERS="2")
    assert isinstance(ask(server), int)


def run(folder: Path, *flags: str, source: str = SOURCE, **env: str) -> subprocess.CompletedProcess[str]:
    """`jetio run` of what does not start, until it ends by itself."""
    (folder / "app.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "jetio.cli", "run", "--port=0", *flags],
        cwd=folder,
        env={**os.environ, "JETIO_ENV": "test", **KEY, **ADMIN, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_mistakes_are_told_once(tmp_path: Path) -> None:
    """The parent builds before it starts anybody."""
    ended = run(tmp_path, "--workers=3", source=SOURCE.replace('"/pid"', '"pid"'))
    assert ended.returncode == 1
    assert ended.stdout.count("the path 'pid' must start with '/'") == 1
    assert "Started" not in ended.stdout


def test_a_worker_that_cannot_start_ends_the_server(tmp_path: Path, unused_port: int) -> None:
    """A database that is away at the start: the log says so, and the status is that of a failed start."""
    ended = run(tmp_path, "--workers=2", DATABASE_URL=f"postgresql://nobody@127.0.0.1:{unused_port}/nothing")
    assert ended.returncode == 3
    assert "no connection to the server" in ended.stdout
    assert "failed to start, stopping the parent process" in ended.stdout


@pytest.mark.parametrize("workers", ["0", "many"])
def test_a_number_that_is_none_is_told(tmp_path: Path, workers: str) -> None:
    """With the flag, or the name in the environment, that was read."""
    ended = run(tmp_path, f"--workers={workers}")
    assert ended.returncode == 1
    assert f"error: --workers={workers} is no number of processes; write 1 or more, or auto" in ended.stdout
    assert "Traceback" not in ended.stdout
    for name in ("JETIO_WORKERS", "WEB_CONCURRENCY"):
        ended = run(tmp_path, **{name: workers})
        assert f"the setting {name}: Input should be" in ended.stdout


MEMORY = "\nfrom jetio_auth import MemorySessions, MemoryUserStore, ServerSessions\n"
KEPT_APART = {
    "middleware": (
        "app.add_middleware(ServerSessions, store=MemorySessions())",
        "ServerSessions has MemorySessions",
    ),
    "backend": (
        "from jetio_auth import JWTAuthBackend, JWTConfig\n"
        "app = Jetio()\n"
        "async def load_user(identifier): return None\n"
        "AuthRouter(backend=JWTAuthBackend(JWTConfig(), load_user, store=MemorySessions())).register_routes(app)",
        "MemorySessions and 2 workers; write DatabaseSessions(app)",
    ),
    "accounts": (
        "app = Jetio()\nAuthRouter(store=MemoryUserStore()).register_routes(app)",
        "MemoryUserStore is known to one process alone, and there are 2 workers",
    ),
    "key": ("", "2 workers need one together"),
}


@pytest.mark.parametrize("what", KEPT_APART)
def test_what_workers_would_not_share_is_refused(tmp_path: Path, what: str, sqlite_url: str) -> None:
    """Sessions, accounts or keys that each process has for itself: a login would hold at one worker alone."""
    code, told = KEPT_APART[what]
    secret = {"SECRET_KEY": ""} if what == "key" else {}
    ended = run(tmp_path, "--workers=2", source=SOURCE + MEMORY + code, DATABASE_URL=sqlite_url, **secret)
    assert ended.returncode in (1, 3)
    assert told in ended.stdout
