"""`python -m benchmarks.scale`: requests a second and waiting times, with more workers and more clients."""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crowd import LOGIN, Crowd, Seen, Waits, cpu_seconds
from benchmarks.databases import open_store
from benchmarks.errors import BenchmarkError
from benchmarks.server import HOST, ROOT

DATABASES = ("sqlite", "postgresql")
KINDS = ("retrieve", "list", "create")
WORKERS, CLIENTS = (1, 2), (1, 10, 100)
USUAL = (1, 10)
MIXED = {"retrieve": 64, "list": 20, "create": 10, "update": 5, LOGIN: 1}
MIXED_CLIENTS = 32
_START_SECONDS = 60
_IDLE = 0.01


class Workers:
    """`jetio run --workers N` over the benchmark's application."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process, self.port, self._log = process, port, log

    def wait_until_ready(self, count: int) -> None:
        """Until it answers, and all workers are there and rest; raises, with the log, if that does not happen."""
        deadline = time.monotonic() + _START_SECONDS
        before: list[float] = []
        while not (len(before) >= count and before == self._used() and self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"jetio did not start:\n{self._log.read_text()}")
            before = self._used()
            time.sleep(0.5)

    def _used(self) -> list[float]:
        return [cpu_seconds(pid) for pid in self.pids()]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/hello", timeout=10) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def pids(self) -> list[int]:
        """The process that was started, and its own."""
        family = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, family)]


@contextmanager
def served(url: str, workers: int, folder: Path) -> Iterator[Workers]:
    """The application on a free port, with every core; stopped at the end."""
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / f"workers-{workers}-{time.monotonic_ns()}.log"
    settings = {"DATABASE_URL": url, "SECRET_KEY": secrets.token_hex(32), "JETIO_ENV": "production"}
    settings["JETIO_LOG_LEVEL"] = "warning"  # no line for each request
    flags = [f"--workers={workers}", f"--port={port}"]
    command = [sys.executable, "-m", "jetio.cli", "run", "benchmarks.apps.jetio:app", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=out, stderr=out)
    try:
        found = Workers(process, port, log)
        found.wait_until_ready(workers)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def asked(crowd: Crowd) -> Seen:
    """What a crowd of clients sees, which is a process of its own."""
    given = json.dumps(asdict(crowd)).encode()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.crowd"], cwd=ROOT, input=given, capture_output=True, check=False
    )
    if ended.returncode:
        raise BenchmarkError(ended.stderr.decode(errors="replace"))
    told = json.loads(ended.stdout)
    return Seen(**told | {"kinds": {kind: Waits(**waits) for kind, waits in told["kinds"].items()}})


def throughput(url: str, seconds: float, folder: Path) -> list[str]:
    """Rows of the first table: each kind of request by itself."""
    found: dict[tuple[str, int, int], Seen] = {}
    for workers in WORKERS:
        with served(url, workers, folder) as server:
            for kind in KINDS:
                for clients in CLIENTS:
                    _say(f"{kind}, {workers} workers, {clients} clients")
                    crowd = Crowd(server.port, server.pids(), clients, seconds, {kind: 1})
                    found[kind, workers, clients] = asked(crowd)
    rows = []
    for (kind, workers, clients), seen in sorted(found.items(), key=lambda item: KINDS.index(item[0][0])):
        ratio = seen.rate / found[kind, *USUAL].rate
        waits = seen.kinds[kind]
        told = [f"{seen.rate:,.0f}", f"{ratio:.2f}", f"{waits.p50:.2f}", f"{waits.p99:.2f}"]
        told += [f"{seen.rate / sum(seen.server_cores):,.0f}", _cores(seen), f"{seen.client_cores:.2f}"]
        rows.append(_row(kind, workers, clients, *told))
    return rows


def mixture(url: str, seconds: float, folder: Path) -> list[str]:
    """Rows of the second table: all kinds together."""
    rows = []
    for workers in WORKERS:
        with served(url, workers, folder) as server:
            _say(f"mixed, {workers} workers, {MIXED_CLIENTS} clients")
            seen = asked(Crowd(server.port, server.pids(), MIXED_CLIENTS, seconds * 4, MIXED))
        for kind, share in MIXED.items():
            waits = seen.kinds.get(kind, Waits(0, 0, 0))
            told = f"{waits.count / seen.seconds:,.1f}", f"{waits.p50:.1f}", f"{waits.p99:.1f}"
            rows.append(_row(workers, kind, f"{share} %", *told))
        rows.append(_row(workers, f"all, on {_cores(seen)} cores", "100 %", f"{seen.rate:,.1f}", "", ""))
    return rows


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cores(seen: Seen) -> str:
    """Those of each process that has served anything."""
    return " + ".join(f"{cores:.2f}" for cores in seen.server_cores if cores > _IDLE) or "0"


def _say(what: str) -> None:
    print(what, file=sys.stderr)


FIRST = """
| request | workers | clients | requests/s | ratio | p50 ms | p99 ms | a core | server cores | client cores |
| --- | --: | --: | --: | --: | --: | --: | --: | --- | --: |"""
SECOND = """
| workers | kind | share | requests/s | p50 ms | p99 ms |
| --: | --- | --: | --: | --: | --: |"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints two tables for each database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--database", action="append", choices=DATABASES)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: 4)")
    parser.add_argument("--postgresql-url", default="postgresql://postgres@127.0.0.1:5432/postgres")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that databases are dropped
    print(f"{len(os.sched_getaffinity(0))} cores, for workers, clients and database together")
    for database in options.database or DATABASES:
        with TemporaryDirectory(prefix="jetio-bench-") as name:
            folder = Path(name)
            with open_store(database, folder, options.postgresql_url) as store:
                print(
                    f"\n## {database}\n{FIRST}",
                    *throughput(store.copy("single"), options.seconds, folder),
                    sep="\n",
                )
                print(SECOND, *mixture(store.copy("mixed"), options.seconds, folder), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
