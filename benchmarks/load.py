"""The client: a process of its own, with 16 connections to each server, that sends what it is asked to."""

import asyncio
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Self, cast

import httptools
import uvloop

from benchmarks.cores import leave_server_core
from benchmarks.errors import BenchmarkError
from benchmarks.server import HOST, ROOT
from benchmarks.spelling import spelling_of
from benchmarks.workloads import find_workload

CONNECTIONS = 16
_JOB_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Job:
    """Send `count` requests of a workload, numbered from `start`, to the contestant's server on `port`."""

    contestant: str
    port: int
    workload: str
    start: int
    count: int
    token: str

    def requests(self) -> list[bytes]:
        """The requests as they are sent."""
        make, spell = find_workload(self.workload).request, spelling_of(self.contestant).ask
        numbers = range(self.start, self.start + self.count)
        return [spell(make(number, self.token)).encode(f"{HOST}:{self.port}") for number in numbers]


class LoadClient:
    """The runner's end of the client process; a context manager that starts and ends it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def connect(self, port: int) -> None:
        """Opens the connections to a server, so that no measurement counts their opening."""
        self._ask({"connect": port})

    def run(self, job: Job) -> None:
        """Sends the job's requests; returns when all are answered, raises at the first wrong answer."""
        self._ask({"job": asdict(job)})

    def _ask(self, message: dict[str, object]) -> None:
        channel = cast(IO[bytes], self._process.stdin)
        answers = cast(IO[bytes], self._process.stdout)
        try:
            channel.write(json.dumps(message).encode() + b"\n")
            channel.flush()
        except BrokenPipeError as error:
            raise BenchmarkError("the client process ended") from error
        if not select.select([answers], [], [], _JOB_SECONDS)[0]:
            raise BenchmarkError(f"got no answer within {_JOB_SECONDS} seconds")
        line = answers.readline()
        problem = json.loads(line) if line else "the client process ended"
        if problem is not None:
            raise BenchmarkError(problem)


class _Run:
    """The requests of one job, shared out to the connections as each becomes free."""

    def __init__(self, job: Job) -> None:
        requests = job.requests()
        self.expected = find_workload(job.workload).status
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = len(requests)
        self._requests: Iterator[bytes] = iter(requests)

    def next_request(self) -> bytes | None:
        """A request nobody has sent yet, or None."""
        return next(self._requests, None)

    def answered(self) -> None:
        """Counts one good answer."""
        self._left -= 1
        if not self._left and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, problem: str) -> None:
        """Ends the run with the first problem that is seen."""
        if not self.finished.done():
            self.finished.set_exception(BenchmarkError(problem))


class _Connection(asyncio.Protocol):
    """One keep-alive connection; it has one request under way at most."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._run: _Run | None = None
        self._body = b""

    def start(self, run: _Run) -> None:
        """Takes part in a run until its requests are used up."""
        self._run = run
        if self._transport.is_closing():
            self._fail("closed a connection while nothing was asked of it")
        else:
            self._send_next(run)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, which is none of asyncio's classes but behaves like one."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parses a part of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"sent what is not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the run under way, if any."""
        self._fail(f"closed a connection: {exc or 'end of stream'}")

    def on_body(self, body: bytes) -> None:
        """Keeps the last part of the body, to show it if the status is a wrong one."""
        self._body = body

    def on_message_complete(self) -> None:
        """Counts the answer and sends the next request."""
        run = self._run
        if run is None:
            return
        status = self._parser.get_status_code()
        if status != run.expected:
            self._fail(f"answered {status}, not {run.expected}: {self._body[:400].decode(errors='replace')}")
            return
        run.answered()
        self._send_next(run)

    def _send_next(self, run: _Run) -> None:
        request = run.next_request()
        if request is None:
            self._run = None
        else:
            self._transport.write(request)

    def _fail(self, problem: str) -> None:
        if self._run is not None:
            self._run.fail(problem)
            self._run = None


class _Client:
    """The connections to every server, by port."""

    def __init__(self) -> None:
        self._connections: dict[int, list[_Connection]] = {}

    async def handle(self, message: dict[str, object]) -> None:
        """Does what one line of the runner asks for."""
        if "connect" in message:
            await self._connect(int(str(message["connect"])))
        else:
            await self._send(Job(**message["job"]))  # type: ignore[arg-type]  # what `asdict` made of a Job

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        opened = [await loop.create_connection(_Connection, HOST, port) for _ in range(CONNECTIONS)]
        self._connections[port] = [protocol for _, protocol in opened]

    async def _send(self, job: Job) -> None:
        run = _Run(job)
        for connection in self._connections[job.port]:
            connection.start(run)
        await run.finished


async def _serve() -> None:
    """Reads one JSON message a line, answers each with a line: null, or what went wrong."""
    client = _Client()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        problem = None
        try:
            await client.handle(json.loads(line))
        except (BenchmarkError, OSError) as error:
            problem = str(error)
        print(json.dumps(problem), flush=True)


if __name__ == "__main__":
    leave_server_core()
    uvloop.run(_serve())
