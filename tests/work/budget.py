"""What each request may cost: the numbers in `budget.json`, and how measured ones are held to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.work.measuring import MEASURES

__all__ = ["broken", "generous", "read", "write"]

Figures = Mapping[str, Mapping[str, Any]]

FILE = Path(__file__).with_name("budget.json")
MARGIN = 1.10
SLACK = {"sqlite": 2_000}
"""Bytes by which the peak of one and the same request differs between runs."""
CHUNK = 32_000
"""The same where a server sends the answer, which arrives in more parts or fewer."""
HONEST = 0.70
ROUGH = ("opcodes", "peak")
"""Measures with a margin; all others are small numbers that are exact."""

OF_ONE_PYTHON = ("opcodes", "peak", "garbage")
"""Measures that another minor version of Python counts in another way."""


def read(database: str) -> dict[str, dict[str, Any]]:
    """The budgets of one database, without the measures that this Python has none for."""
    held = json.loads(FILE.read_text())
    away = () if held["python"] == _python() else OF_ONE_PYTHON
    return {
        name: {measure: number for measure, number in numbers.items() if measure not in away}
        for name, numbers in held[database].items()
    }


def write(found: Mapping[str, Figures]) -> None:
    """Take what was measured for the budget; one line for each workload, so that changes are read easily."""
    held = json.loads(FILE.read_text()) if FILE.exists() else {}
    held = {**held, **{database: dict(figures) for database, figures in found.items()}, "python": _python()}
    parts = [f'  "python": "{held.pop("python")}"']
    for database in sorted(held):
        lines = [f'    "{name}": {json.dumps(_kept(held[database][name]))}' for name in held[database]]
        parts.append(f'  "{database}": {{\n' + ",\n".join(lines) + "\n  }")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def broken(database: str, budgets: Figures, figures: Figures) -> list[str]:
    """The figures beyond their budget, each with what to compare."""
    return [
        f"{name}: {measure} {found}, the budget is {budget}"
        for name, measure, budget, found in _pairs(budgets, figures)
        if found > _most(database, measure, budget)
    ]


def generous(budgets: Figures, figures: Figures) -> list[str]:
    """The budgets that are so far above the figures that they hold nobody back."""
    return [
        f"{name}: {measure} {found}, the budget is {budget}"
        for name, measure, budget, found in _pairs(budgets, figures)
        if found < budget * HONEST
    ]


def _most(database: str, measure: str, budget: float) -> float:
    if measure not in ROUGH:
        return budget
    return budget * MARGIN + (SLACK.get(database, CHUNK) if measure == "peak" else 0)


def _pairs(budgets: Figures, figures: Figures) -> Iterator[tuple[str, str, Any, Any]]:
    for name, numbers in budgets.items():
        for measure, budget in numbers.items():
            yield name, measure, budget, figures[name][measure]


def _kept(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {measure: numbers[measure] for measure in MEASURES}


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
