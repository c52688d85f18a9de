"""The results as Markdown and as JSON."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.databases import read_version
from benchmarks.measure import Cell, Plan
from benchmarks.targets import CONTESTANT, TARGETS

_LIMIT = "limit"
_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_PACKAGES = (
    "uvicorn",
    "uvloop",
    "httptools",
    "starlette",
    "fastapi",
    "fastcrud",
    "litestar",
    "advanced-alchemy",
    "msgspec",
    "sqlalchemy",
    "pydantic",
    "asyncpg",
    "aiosqlite",
    "orjson",
)

_Show = Callable[[Cell], str]


def as_markdown(plan: Plan, cells: Sequence[Cell]) -> str:
    """Ratios first, then microseconds, for each database; then what it was measured on."""
    return "\n".join([*(_section(plan, name, cells) for name in plan.databases), _conditions(plan), ""])


def as_json(plan: Plan, cells: Sequence[Cell]) -> str:
    """Every sample of every cell, and what it was measured on."""
    document = {
        "unit": "microseconds of server CPU per request",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(plan),
        "cells": [asdict(cell) | {"least": cell.least, "median": cell.median} for cell in cells],
    }
    return json.dumps(document, indent=2) + "\n"


def save(folder: Path, name: str, text: str) -> Path:
    """Writes the Markdown under a heading that says when, and returns the file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(f"# {name}, {datetime.now(UTC):%d %B %Y}\n\n{text}")
    return path


def _section(plan: Plan, database: str, cells: Sequence[Cell]) -> str:
    """The tables of one database."""
    found = {(cell.workload, cell.contestant): cell for cell in cells if cell.database == database}

    def table(caption: str, contestants: Sequence[str], show: _Show) -> str:
        rows = [
            [workload.title, *(show(found[workload.name, name]) for name in contestants)]
            for workload in plan.workloads
        ]
        return f"{caption}\n\n{as_table(['', *contestants], rows)}\n"

    def multiple_of(other: str) -> _Show:
        return lambda cell: f"{cell.least / found[cell.workload, other].least:.2f}"

    def as_multiple_of(contestant: str) -> _Show:
        return lambda cell: f"{found[cell.workload, contestant].least / cell.least:.2f}"

    everyone = plan.contestants
    first, *others = everyone
    parts = [f"## {_DATABASES[database]}\n"]
    if _LIMIT in everyone:
        parts.append(
            table("Server CPU per request, as a multiple of the limit:", everyone, multiple_of(_LIMIT))
        )
        if CONTESTANT in everyone:
            parts.append(_targets(plan, database, found))
    if peers := [name for name in others if name != _LIMIT]:
        parts.append(table(f"`{first}` as a multiple of each of the others:", peers, as_multiple_of(first)))
    parts.append(table("Microseconds, the least of the rounds (the median):", everyone, _microseconds))
    return "\n".join(parts)


def _targets(plan: Plan, database: str, found: Mapping[tuple[str, str], Cell]) -> str:
    """What was wanted beside what was reached; nothing fails on it."""
    rows = []
    for workload in plan.workloads:
        target = TARGETS[database][workload.name]
        multiple = found[workload.name, CONTESTANT].least / found[workload.name, _LIMIT].least
        rows.append([workload.title, f"{multiple:.2f}", str(target), target.verdict(multiple)])
    caption = f"`{CONTESTANT}` and its targets (in brackets: where the database were to make the JSON):"
    return f"{caption}\n\n{as_table(['', CONTESTANT, 'target', 'met'], rows)}\n"


def _microseconds(cell: Cell) -> str:
    return f"{cell.least:.0f} ({cell.median:.0f})"


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and the others numbers, aligned for the eye as well."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def padded(line: Sequence[str]) -> list[str]:
        numbers = zip(line[1:], widths[1:], strict=True)
        return [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in numbers)]

    return "\n".join(f"| {' | '.join(padded(line))} |" for line in [head, rule, *rows])


def _conditions(plan: Plan) -> str:
    """One paragraph: machine, versions, size of the run."""
    requests = plan.requests or ", ".join(f"{each.count} {each.name}" for each in plan.workloads)
    versions = ", ".join(f"{name} {number}" for name, number in _versions(plan).items())
    return f"Rounds: {plan.rounds}. Requests a measurement: {requests}. {_machine()}. {versions}."


def _versions(plan: Plan) -> dict[str, str]:
    """What the contestants run on."""
    databases = {_DATABASES[name]: read_version(name, plan.postgresql_url) for name in plan.databases}
    return {"Python": platform.python_version()} | databases | {name: version(name) for name in _PACKAGES}


def _machine() -> str:
    """Kind and number of processors: enough to know which numbers cannot be compared."""
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"
