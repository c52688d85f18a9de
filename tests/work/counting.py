"""Counters of what Python does: opcodes, callbacks, tasks, crossings of threads, greenlets, memory."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import tracemalloc
from asyncio import selector_events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import greenlet  # type: ignore[import-untyped]

from tests.work.wire import Talk

__all__ = ["Loop", "Opcodes", "Switches", "garbage", "peak"]

# The loop's own turns depend on how the network cuts its packets; these modules are not ours.
_UNCOUNTED = (
    "/asyncio/base_events.py",
    "/asyncio/events.py",
    "/asyncio/selector_events.py",
    "/asyncio/transports.py",
    "/asyncio/streams.py",
    "/selectors.py",
    "/threading.py",
    "/tests/work/counting.py",
    "/tests/work/measuring.py",
    "/tests/work/wire.py",
)

Trace = Callable[[FrameType, str, Any], Any]


class Loop(asyncio.SelectorEventLoop):
    """An event loop that counts what it is asked, and shows what is sent."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self._talk = talk
        factory: Any = self._task
        self.set_task_factory(factory)
        self.start_counting()

    def start_counting(self) -> None:
        """Begin at zero."""
        self.tasks = self.callbacks = self.hops = 0

    def _task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        self.tasks += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    def call_soon(self, *arguments: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self.callbacks += 1
        return super().call_soon(*arguments, **options)

    def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self.hops += 1
        return super().call_soon_threadsafe(*arguments, **options)

    def _make_socket_transport(self, sock: Any, protocol: Any, waiter: Any = None, **options: Any) -> Any:
        return _Transport(self, sock, protocol, waiter, **options)


class _Transport(selector_events._SelectorSocketTransport):  # type: ignore[name-defined, misc]
    max_size = 64 * 1024  # what is read at once is allocated first: less of it leaves more to see of the peak

    def write(self, data: Any) -> None:
        self._loop._talk.sent(self, bytes(data))
        super().write(data)


class Opcodes:
    """Opcodes of all threads that were started after `install`, while `counting`."""

    def __init__(self) -> None:
        self._on = False
        self._counts: list[list[int]] = []

    def install(self) -> None:
        """Watch threads that start from now on; each counts for itself, since they take turns anywhere."""
        threading.settrace(lambda *event: self._tracer()(*event))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count here, and in threads, from zero."""
        for count in self._counts:
            count[0] = 0
        self._on = True
        sys.settrace(self._tracer())
        try:
            yield
        finally:
            sys.settrace(None)
            self._on = False

    @property
    def total(self) -> int:
        """What was counted."""
        return sum(count[0] for count in self._counts)

    def _tracer(self) -> Trace:
        count = [0]
        self._counts.append(count)

        def local(frame: FrameType, event: str, argument: Any) -> Trace:
            if event == "opcode" and self._on:
                count[0] += 1
            return local

        def enter(frame: FrameType, event: str, argument: Any) -> Trace | None:
            if frame.f_code.co_filename.endswith(_UNCOUNTED):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return local

        def begin(frame: FrameType, event: str, argument: Any) -> Trace | None:
            sys.settrace(enter)
            return enter(frame, event, argument)

        return begin


class Switches:
    """Switches between greenlets: SQLAlchemy's way from asynchronous to synchronous code and back."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Switches:
        self.count = 0
        greenlet.settrace(self._switched)
        return self

    def __exit__(self, *_: object) -> None:
        greenlet.settrace(None)

    def _switched(self, *_: object) -> None:
        self.count += 1


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most memory that was in use at once, in bytes beyond what was before."""
    found = [0]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield found
        found[0] = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@contextmanager
def garbage() -> Iterator[list[int]]:
    """How many objects only the collector could free."""
    found = [0]
    gc.collect()
    gc.disable()
    try:
        yield found
        found[0] = gc.collect()
    finally:
        gc.enable()
