"""Serves the workloads inside this process and counts: each number is the least of several requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.work.application import WORKLOADS, Workload, application
from tests.work.counting import Loop, Opcodes, Switches, garbage, peak
from tests.work.wire import Talk, talk_with

__all__ = ["MEASURES", "measure"]

MEASURES = ("opcodes", "peak", "garbage", "trips", "hops", "tasks", "callbacks", "switches")
WARM, TIMES, MANY = 10, 3, 5
SETTLE = 0.001

Figures = dict[str, Any]


def measure(url: str, *, workloads: Mapping[str, Workload] = WORKLOADS, build: Any = application) -> Figures:
    """The figures of each workload on the empty database of the URL. Call it once in a process of its own."""
    talk = talk_with(url)
    talk.install()
    opcodes = Opcodes()
    opcodes.install()
    loop = Loop(talk)
    try:
        return loop.run_until_complete(_Measurement(build(url), talk, opcodes, loop).run(workloads))
    finally:
        loop.close()


class _Measurement:
    def __init__(self, app: Any, talk: Talk, opcodes: Opcodes, loop: Loop) -> None:
        self._app, self._talk, self._opcodes, self._loop = app, talk, opcodes, loop
        self._token = b""
        self._last = ""

    async def run(self, workloads: Mapping[str, Workload]) -> Figures:
        async with _started(self._app):
            await self._log_in()
            return {name: await self._one(name, workload) for name, workload in workloads.items()}

    async def _log_in(self) -> None:
        account = {"username": "ann", "password": "correct horse battery"}
        await self._ask("POST", "/register", {**account, "email": "ann@example.org"})
        _, _, body = await self._ask("POST", "/login", account)
        self._token = body.partition(b'"access_token":"')[2].partition(b'"')[0]
        assert self._token, body

    async def _one(self, name: str, workload: Workload) -> Figures:
        for _ in range(WARM):
            status, _, body = await self._send(workload)
            assert status == workload.status, (name, status, body)
        found = [await self._count(workload) for _ in range(TIMES)]
        figures = {measure: min(figures[measure] for figures in found) for measure in found[0]}
        figures["statements"] = min((figures["statements"] for figures in found), key=len)
        figures["opcodes"] = min([await self._opcodes_of(workload) for _ in range(TIMES)])
        figures["peak"] = min([await self._peak_of(workload) for _ in range(TIMES)])
        figures["garbage"] = min([await self._garbage_of(workload) for _ in range(TIMES)])
        return figures

    async def _count(self, workload: Workload) -> Figures:
        call = await self._prepared(workload)
        self._talk.start()
        self._loop.start_counting()
        with Switches() as switches:
            await call()
            await self._settle()
        return {
            "statements": list(self._talk.statements),
            "trips": self._talk.trips,
            "hops": self._loop.hops,
            "tasks": self._loop.tasks,
            "callbacks": self._loop.callbacks,
            "switches": switches.count,
        }

    async def _opcodes_of(self, workload: Workload) -> int:
        call = await self._prepared(workload)
        with self._opcodes.counting():
            await call()
            await self._settle()
        return self._opcodes.total

    async def _peak_of(self, workload: Workload) -> int:
        call = await self._prepared(workload)
        with peak() as found:
            await call()
        return found[0]

    async def _garbage_of(self, workload: Workload) -> float:
        calls = [await self._prepared(workload) for _ in range(MANY)]
        with garbage() as found:
            while calls:
                await calls.pop()()  # what is kept here would keep its scope from being garbage
        return found[0] / MANY

    async def _settle(self) -> None:
        """What a thread does after its answer belongs to the request too."""
        await asyncio.sleep(SETTLE)

    async def _prepared(self, workload: Workload) -> Callable[[], Any]:
        if workload.before is not None:
            _, headers, _ = await self._ask(*workload.before)
            self._last = dict(headers)[b"location"].decode().rpartition("/")[2]
        scope = self._scope(workload)
        return lambda: _call(self._app, scope, workload.sent)

    async def _send(self, workload: Workload) -> Any:
        return await (await self._prepared(workload))()

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        workload = Workload(method, path, 0, body)
        return await _call(self._app, self._scope(workload), workload.sent)

    def _scope(self, workload: Workload) -> dict[str, Any]:
        path, _, query = workload.path.replace("{last}", self._last).partition("?")
        headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*"), (b"user-agent", b"counter")]
        if workload.body is not None:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(workload.sent)),
            ]
        if workload.signed:
            headers.append((b"authorization", b"Bearer " + self._token))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": workload.method,
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "state": {},
        }


async def _call(app: Any, scope: dict[str, Any], body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """One request, as a server hands it in: the body has arrived, and nobody hangs up."""
    arriving = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if arriving:
            return arriving.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody hangs up")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], list(sent[0]["headers"]), content


@asynccontextmanager
async def _started(app: Any) -> AsyncIterator[None]:
    """The application between its start and its end."""
    asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    living = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    answer = await told.get()
    assert answer["type"] == "lifespan.startup.complete", answer
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await told.get()
        await living
