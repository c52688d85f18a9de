"""An application served by a real uvicorn process, for what only a real server shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

START_SECONDS = 20.0
STOP_SECONDS = 20.0
_ADDRESS = re.compile(r"running on (http://[^\s:]+:\d+)")

running: list[LiveServer] = []
"""The servers of this process that have not been stopped: a failing test shows their logs."""


class LiveServer:
    """A server process, its address, what it printed, and a client for it."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        """Wait until the process says where it listens."""
        self.process = process
        self._log_file = log_file
        self.base_url = self._wait_for_address()
        self.client = httpx2.Client(base_url=self.base_url, timeout=30, trust_env=False)

    @property
    def log(self) -> str:
        """Everything the process has printed, to either stream."""
        return self._log_file.read_text(errors="replace")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.base_url.rpartition(":")[2])

    def stop(self) -> int:
        """End it as an operator does, with SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it and its children at once, with SIGKILL. Harmless when it has ended."""
        _kill_group(self.process)

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if match := _ADDRESS.search(self.log):
                return match[1]
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log}")
            time.sleep(0.01)
        raise RuntimeError(f"the server did not listen within {START_SECONDS:.0f} s:\n{self.log}")


@contextmanager
def serve(
    folder: Path,
    app: str = "app:app",
    *,
    source: str | None = None,
    env: Mapping[str, str] | None = None,
    port: int = 0,
    options: Sequence[str] = (),
    command: Sequence[str] | None = None,
) -> Iterator[LiveServer]:
    """Run an application in `folder`, on a free port of 127.0.0.1, until the block ends.

    - `source` is written to the module that `app` names; without it the module is there already.
    - `env` joins the environment, from which every setting of Jetio has been taken out.
    - `options` go to uvicorn.
    - `command` replaces uvicorn; it must print "running on http://host:port", as uvicorn does.
    """
    if source is not None:
        module = app.partition(":")[0]
        (folder / f"{module}.py").write_text(source)
    uvicorn = [sys.executable, "-m", "uvicorn", app, f"--port={port}", *options]
    log_file = folder / f"server-{time.monotonic_ns()}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command or uvicorn,
            cwd=folder,
            env=_environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server = LiveServer(process, log_file)
        running.append(server)
        try:
            with server.client:
                yield server
        finally:
            running.remove(server)
    finally:
        _kill_group(process)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of applications; warnings are errors there too."""
    settings = re.compile(
        r"JETIO_.*|MAIL_.*|DATABASE_URL|DATABASE_REPLICAS|WEB_CONCURRENCY|SECRET_KEY|DOMAIN|PYTHONDONTWRITEBYTECODE"
    )
    inherited = {name: value for name, value in os.environ.items() if not settings.fullmatch(name)}
    root = str(Path(__file__).parent.parent)
    return inherited | {"PYTHONWARNINGS": "error", "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"} | dict(extra)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)
