"""What the benchmarks say of their measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.databases import open_store
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Cell, Plan
from benchmarks.report import as_markdown
from benchmarks.spelling import spelling_of
from benchmarks.targets import TARGETS, Target
from benchmarks.workloads import WORKLOADS, Request


def reading(line: str) -> list[str]:
    """The words of a line of a table, without the blanks that align it."""
    return line.split()


def test_every_workload_has_a_target_on_every_database() -> None:
    """Whoever adds a workload says what is wanted of it."""
    assert {name: set(targets) for name, targets in TARGETS.items()} == {
        "sqlite": set(WORKLOADS),
        "postgresql": set(WORKLOADS),
    }


def test_a_multiple_meets_a_target_that_it_does_not_exceed() -> None:
    """The second word is of the target where the database makes the JSON."""
    assert [Target(1.4).verdict(multiple) for multiple in (1.4, 1.41)] == ["yes", "no"]
    assert (str(Target(3.0, 1.5)), Target(3.0, 1.5).verdict(2.0)) == ("3.00 (1.50)", "yes (no)")


def test_the_report_shows_whether_the_target_is_met() -> None:
    """Multiples are those of the same run."""
    plan = Plan(["sqlite"], [WORKLOADS["hello"], WORKLOADS["list"]], ["jetio", "limit"], 1, 1, "")
    spent = {
        ("hello", "jetio"): 28.0,
        ("hello", "limit"): 20.0,
        ("list", "jetio"): 27.0,
        ("list", "limit"): 20.0,
    }
    text = as_markdown(plan, [Cell("sqlite", *key, (least,)) for key, least in spent.items()])
    lines = [reading(line) for line in text.splitlines()]
    assert reading("| hello, no database | 1.40 | 1.40 | yes |") in lines
    assert reading("| list of 100 posts | 1.35 | 1.30 | no |") in lines


def test_a_contestant_with_words_of_its_own_is_asked_and_read_in_them() -> None:
    """All others get the request as it is, and their answer is taken as it is."""
    request, answer = Request("GET", "/posts?page_size=100"), {"data": [], "total_count": 0}
    own, usual = spelling_of("fastapi_fastcrud"), spelling_of("jetio")
    assert (own.ask(request).path, own.read(answer)) == ("/posts?sort=id&itemsPerPage=100", [])
    assert (usual.ask(request), usual.read(answer)) == (request, answer)
    assert own.ask(Request("GET", "/posts/1")).path == "/posts/1"


def test_a_run_for_which_the_server_has_too_few_connections_does_not_begin(
    postgresql_url: str, tmp_path: Path
) -> None:
    """It would end in the middle, with a contestant that answers 500; the databases it made are gone."""
    server = postgresql_url.replace("+asyncpg", "")
    store = open_store("postgresql", tmp_path, server, connections=1_000_000)
    with pytest.raises(BenchmarkError, match="raise max_connections"), store:
        pass
