"""How an operation gets at its rows, and what keeps it from the fastest way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..database import Database

__all__ = ["Way", "way_of"]


@dataclass(frozen=True, slots=True)
class Way:
    """Who runs the statements, what they are about, and why that is not the driver with plain rows.

    A rule or a hook that asks for a session at the request sends that request's statements there, too.
    """

    executor: Literal["driver", "session"]
    renderer: str
    reasons: tuple[str, ...]


def way_of(database: Database, renderer: str, reasons: Sequence[str]) -> Way:
    """The way of an operation that has these reasons of its own to need a session."""
    told = [*reasons, database.why_session]
    found = tuple(reason for reason in told if reason is not None)
    return Way("session" if found else "driver", renderer, found)
