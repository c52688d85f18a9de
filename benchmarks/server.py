"""A contestant's server: started on a free port, asked for the CPU time it used, stopped."""

import ctypes
import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.errors import BenchmarkError

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 30
_STOP_SECONDS = 10
_LOG_LINES = 40
_LOG_SECONDS = 0.3


class Memory(NamedTuple):
    """Megabytes: all that is resident, and the same with what is shared divided among those who share it."""

    resident: float
    proportional: float


class Server:
    """One contestant in a process of its own; a context manager that starts and stops it."""

    def __init__(
        self,
        contestant: str,
        database_url: str,
        folder: Path,
        *,
        every_core: bool = False,
        other_routes: int = 0,
    ) -> None:
        self.contestant = contestant
        self.other_routes = other_routes
        self.port = 0
        self._url = database_url
        self._cores = "every" if every_core else "one"
        self._log = folder / f"{contestant}-{other_routes}.log"

    def __enter__(self) -> Self:
        listener = socket.create_server((HOST, 0))
        self.port = listener.getsockname()[1]
        descriptor = listener.fileno()
        with listener, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.serve",
                    f"benchmarks.apps.{self.contestant}",
                    str(descriptor),
                    self._cores,
                ],
                env=self._environment(),
                cwd=ROOT,
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
            self._clock = _cpu_clock(self._process.pid)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, of all its threads, those that ended included."""
        self.require_alive()
        return time.clock_gettime(self._clock)

    def memory(self) -> Memory:
        """What the process holds now."""
        self.require_alive()
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
        return Memory(sizes["Rss"] / 1024, sizes["Pss"] / 1024)

    def require_alive(self) -> None:
        """Raises, with the server's log, if the process has ended."""
        if self._process.poll() is not None:
            raise self.failure(f"ended with code {self._process.returncode}")

    def failure(self, what: str) -> BenchmarkError:
        """An error about this contestant, with the end of its log."""
        time.sleep(_LOG_SECONDS)  # a server writes the cause of a 500 when it has sent it
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        log = "\n".join(f"  | {line}" for line in lines) or "  | (the server's log is empty)"
        return BenchmarkError(f"{self.contestant} {what}\n{log}")

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "DATABASE_URL": self._url,
            "SECRET_KEY": secrets.token_hex(32),
            "JETIO_ENV": "production",
            "OTHER_ROUTES": str(self.other_routes),
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            if self._answers():
                return
            time.sleep(0.05)
        raise self.failure(f"did not answer GET /hello within {_START_SECONDS} seconds")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/hello", headers={"Connection": "close"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cpu_clock(pid: int) -> int:
    """The CPU-time clock of a process: what /proc/<pid>/stat counts in ticks of 10 ms, in nanoseconds."""
    clock = ctypes.c_int()
    code = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if code:
        raise BenchmarkError(f"no CPU clock for process {pid}: {os.strerror(code)}")
    return clock.value
