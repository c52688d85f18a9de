"""A crowd of clients in one cheap process: `python -m benchmarks.crowd` reads one job as JSON, answers what it saw."""

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import cast

import httptools
import uvloop

from benchmarks.dataset import PASSWORD, USERNAME
from benchmarks.errors import BenchmarkError
from benchmarks.server import HOST
from benchmarks.workloads import Request, find_workload

_MADE = 300  # requests of each kind that are made beforehand, so that the client only sends
_WARM_UP_SECONDS = 1.0
LOGIN = "login"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many clients, each of whom waits for an answer before the next request, for so long.

    `shares` says how often each kind of request comes: the names of workloads, and `login`. `servers` are the
    processes whose time is read at the beginning and at the end.
    """

    port: int
    servers: Sequence[int]
    clients: int
    seconds: float
    shares: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the crowd saw: how long requests of each kind took, and how many cores were busy with them."""

    seconds: float
    client_cores: float
    server_cores: Sequence[float]
    kinds: Mapping[str, "Waits"]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return sum(waits.count for waits in self.kinds.values()) / self.seconds


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests of one kind took, in milliseconds."""

    count: int
    p50: float
    p99: float


def _request(kind: str, number: int) -> tuple[Request, int]:
    if kind == LOGIN:
        body = json.dumps({"username": USERNAME, "password": PASSWORD}).encode()
        return Request("POST", "/login", body), 200
    workload = find_workload(kind)
    return workload.request(number, ""), workload.status


def _spread(shares: Mapping[str, int]) -> list[str]:
    """The kinds in an order in which none comes in a heap: each at even distances."""
    places = [((number + 0.5) / share, kind) for kind, share in shares.items() for number in range(share)]
    return [kind for _, kind in sorted(places)]


class _Run:
    """The requests of all clients, and how long each took."""

    def __init__(self, crowd: Crowd) -> None:
        host = f"{HOST}:{crowd.port}"
        made: dict[str, Iterator[tuple[bytes, int]]] = {}
        for kind in crowd.shares:
            found = [_request(kind, number) for number in range(_MADE)]
            made[kind] = cycle([(request.encode(host), status) for request, status in found])
        self._made, self._order = made, cycle(_spread(crowd.shares))
        self.waits: dict[str, list[float]] = defaultdict(list)
        self.over = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next(self) -> tuple[str, bytes, int]:
        """Kind, bytes, and the status that is due."""
        kind = next(self._order)
        return (kind, *next(self._made[kind]))

    def fail(self, problem: str) -> None:
        """Ends the run."""
        if not self.over and not self.failed.done():
            self.failed.set_exception(BenchmarkError(problem))


class _Client(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    _transport: asyncio.Transport

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, which is none of asyncio's classes but behaves like one."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        """Sends the next request, unless the run is over."""
        if self._run.over:
            self._transport.close()
            return
        self._kind, request, self._due = self._run.next()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Parses a part of an answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Notes how long it took."""
        self._run.waits[self._kind].append(time.perf_counter() - self._sent)
        status = self._parser.get_status_code()
        if status != self._due:
            self._run.fail(f"{self._kind} was answered with {status}, not {self._due}")
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the run, unless it is over."""
        self._run.fail(f"a connection was closed: {exc or 'end of stream'}")


async def _crowd(crowd: Crowd) -> Seen:
    run = _Run(crowd)
    loop = asyncio.get_running_loop()
    clients = [
        cast(_Client, (await loop.create_connection(lambda: _Client(run), HOST, crowd.port))[1])
        for _ in range(crowd.clients)
    ]
    for client in clients:
        client.send()
    await _last(run, _WARM_UP_SECONDS)
    run.waits.clear()
    begun, cpu, before = time.perf_counter(), time.process_time(), list(map(cpu_seconds, crowd.servers))
    await _last(run, crowd.seconds)
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    servers = [(cpu_seconds(pid) - then) / seconds for pid, then in zip(crowd.servers, before, strict=True)]
    run.over = True
    kinds = {kind: _waits(found) for kind, found in run.waits.items() if found}
    return Seen(seconds, used / seconds, servers, kinds)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _last(run: _Run, seconds: float) -> None:
    await asyncio.wait([run.failed], timeout=seconds)
    if run.failed.done():
        run.failed.result()


def _waits(seconds: list[float]) -> Waits:
    cuts = quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 99
    return Waits(len(seconds), cuts[49] * 1e3, cuts[98] * 1e3)


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(uvloop.run(_crowd(Crowd(**json.load(sys.stdin)))))))
    except (BenchmarkError, OSError) as error:
        sys.exit(str(error))
