"""How an operation gets at its rows, and what keeps it from the fastest way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..database import Database

__all__ = ["Way", "way_of"]


@dataclass(frozen=True, slots=True)
class Way:
    """Who runs the statements, what answers are made of, and why not by the driver or of the database's JSON.

    A rule or a hook that asks for a session at the request sends that request's statements there, too.
    """

    executor: Literal["driver", "session"]
    renderer: str
    reasons: tuple[str, ...]


def way_of(database: Database, renderer: str, reasons: Sequence[str], obstacles: Sequence[str]) -> Way:
    """The way of an operation that has these reasons of its own to need a session, these not to read JSON."""
    told = [*reasons, database.why_session]
    found = tuple(reason for reason in told if reason is not None)
    return Way("session" if found else "driver", renderer, (*found, *obstacles))
