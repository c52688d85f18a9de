"""No request costs more than it did: statements exactly, Python's work within its budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.work import budget
from tests.work.__main__ import DATABASES, counted
from tests.work.application import WORKLOADS
from tests.work.measuring import MEASURES
from tests.work.spoilt import SPOILT

Figures = dict[str, dict[str, Any]]

ALONE: Mapping[str, str] = {
    "hello": "",
    "plain hello": "",
    "no such path": "",
    "list 100": "SELECT posts",
    "retrieve": "SELECT posts",
    "create": "INSERT posts",
    "update": "UPDATE posts",
    "delete": "DELETE posts",
    "no such row": "SELECT posts",
    "refused body": "",
    "to-many": "BEGIN, SELECT authors, SELECT posts, ROLLBACK",
    "to-one": "SELECT posts",
    "secured list 100": "SELECT users, SELECT posts",
    "secured retrieve": "SELECT users, SELECT posts",
    "secured create": "SELECT users, INSERT posts",
    "secured update": "SELECT users, UPDATE posts",
    "secured delete": "SELECT users, DELETE posts",
    "checked create": "BEGIN, INSERT posts, SELECT posts, COMMIT",
    "hooked create": "BEGIN, INSERT posts, COMMIT",
    "hooked update": "BEGIN, SELECT posts, UPDATE posts, COMMIT",
    "secured no caller": "",
    "signed hello": "SELECT users",
}
STATEMENTS: Mapping[str, Mapping[str, str]] = {
    "sqlite": ALONE,
    # The caller of a token that was here before is asked for by the statement for the row.
    "postgresql": {**ALONE, "to-many": "SELECT posts", "secured retrieve": "SELECT users"},
    "mariadb": {
        **ALONE,
        "create": "BEGIN, INSERT posts, SELECT posts, COMMIT",
        "update": "BEGIN, UPDATE posts, SELECT posts, COMMIT",
        "to-many": "START, SELECT authors, SELECT posts, COMMIT",
        "secured create": "SELECT users, BEGIN, INSERT posts, SELECT posts, COMMIT",
        "secured update": "SELECT users, BEGIN, UPDATE posts, SELECT posts, COMMIT",
        "checked create": "BEGIN, INSERT posts, SELECT posts, SELECT posts, COMMIT",
        "hooked create": "INSERT posts, SELECT posts, COMMIT",
        "hooked update": "SELECT posts, UPDATE posts, SELECT posts, COMMIT",
    },
}


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Each database's name."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def figures(
    database: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Figures]:
    """What every workload costs on that database."""
    with ExitStack() as stack:
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('work') / 'work.db'}"
        if database != "sqlite":
            url = stack.enter_context(request.getfixturevalue(f"{database}_server").fresh_database())
        yield counted(url)


def test_a_request_sends_the_statements_it_needs_and_no_other(database: str, figures: Figures) -> None:
    """The words of a transaction count as well: each is a way to the database and back."""
    sent = {name: ", ".join(numbers["statements"]) for name, numbers in figures.items()}
    assert sent == dict(STATEMENTS[database])


def test_a_request_crosses_to_a_thread_at_most_once_for_each_group_of_statements(
    database: str, figures: Figures
) -> None:
    """On SQLite BEGIN goes with the next statement, and nobody waits for a ROLLBACK; elsewhere is no thread."""
    for name, numbers in figures.items():
        if name == "plain hello" or (name.startswith("hooked") and database == "sqlite"):
            continue  # a plain function has a thread of its own, and sessions go through aiosqlite's
        groups = [text for text in numbers["statements"] if text not in ("BEGIN", "ROLLBACK")]
        assert numbers["hops"] <= (len(groups) if database == "sqlite" else 0), name


def test_no_request_costs_more_than_its_budget(database: str, figures: Figures) -> None:
    """`make budget` takes what is counted for the budget; whoever raises one says in the commit what it buys."""
    budgets = budget.read(database)
    assert budgets.keys() == WORKLOADS.keys() == figures.keys()
    assert budget.broken(database, budgets, figures) == []


def test_budgets_are_near_what_requests_cost(database: str, figures: Figures) -> None:
    """A budget that is far too large holds nobody back: after a gain it is written anew, with `make budget`."""
    assert budget.generous(budget.read(database), figures) == []


def test_waste_is_noticed(sqlite_url: str) -> None:
    """One statement more, one crossing, one task, one cycle, one signature read at the request: each is seen."""
    found = counted(sqlite_url, "retrieve", *SPOILT)
    held = {measure: found["retrieve"][measure] for measure in MEASURES}
    assert found["statements"]["statements"] == ["SELECT posts", "SELECT posts"]
    for measure in SPOILT.keys() & held.keys():
        told = budget.broken("sqlite", {measure: held}, found)
        assert any(line.startswith(f"{measure}: {measure} ") for line in told), (measure, told)


def test_a_budget_that_is_too_large_is_noticed() -> None:
    """Half of the work gone is a reason to write the budget anew."""
    assert budget.generous({"x": {"opcodes": 1000}}, {"x": {"opcodes": 499}})
    assert not budget.generous({"x": {"opcodes": 1000, "hops": 0}}, {"x": {"opcodes": 990, "hops": 0}})
