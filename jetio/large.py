"""What makes many objects at once: without the garbage collector, and documents of requests in a thread."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

__all__ = ["LARGE", "parse_document", "parse_large", "without_collections"]

LARGE = 64 * 1024
"""Documents of more bytes are parsed apart: a megabyte of brackets takes longer than others may wait."""

Made = TypeVar("Made")

_collecting = threading.Lock()
_making = 0
_collects = True


async def parse_large(parse: Callable[[], Made]) -> Made:
    """What `parse` returns, without holding the loop."""
    return await run_in_threadpool(without_collections, parse)


def parse_document(text: str | bytes) -> Any:
    """The JSON document that a database gives back."""
    if len(text) <= LARGE:
        return json.loads(text)
    return without_collections(lambda: json.loads(text))


def without_collections(make: Callable[[], Made]) -> Made:
    """What `make` returns.

    Half a million new lists make the collector look at all of them ten times, and none is garbage.
    """
    global _making, _collects
    with _collecting:
        if not _making:
            _collects = gc.isenabled()
        _making += 1
        gc.disable()
    try:
        return make()
    finally:
        with _collecting:
            _making -= 1
            if _collects and not _making:
                gc.enable()
