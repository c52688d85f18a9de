"""Documents that take long to parse: in a thread, and without the garbage collector."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

__all__ = ["LARGE", "parse_document", "parse_large"]

LARGE = 64 * 1024
"""Documents of more bytes are parsed apart: a megabyte of brackets takes longer than others may wait."""

Parsed = TypeVar("Parsed")

_collecting = threading.Lock()
_parsing = 0


async def parse_large(parse: Callable[[], Parsed]) -> Parsed:
    """What `parse` returns, without holding the loop."""
    return await run_in_threadpool(_without_collections, parse)


def parse_document(text: str | bytes) -> Any:
    """The JSON document that a database gives back."""
    if len(text) <= LARGE:
        return json.loads(text)
    return _without_collections(lambda: json.loads(text))


def _without_collections(parse: Callable[[], Parsed]) -> Parsed:
    """Half a million new lists make the collector look at all of them ten times, and none is garbage."""
    global _parsing
    with _collecting:
        _parsing += 1
        gc.disable()
    try:
        return parse()
    finally:
        with _collecting:
            _parsing -= 1
            if not _parsing:
                gc.enable()
