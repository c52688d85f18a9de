"""`python -m tests.work`: what each workload costs, counted, on every database; `--write` makes it the budget."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.work import budget
from tests.work.application import WORKLOADS, application
from tests.work.measuring import MEASURES, measure
from tests.work.spoilt import SPOILT, spoilt

DATABASES = ("sqlite", "postgresql", "mariadb")


def counted(url: str, *workloads: str) -> dict[str, dict[str, Any]]:
    """The figures of an empty database, from a process that does nothing else."""
    command = [sys.executable, "-m", "tests.work", "--url", url]
    command += [f"--workload={name}" for name in workloads]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    env |= {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, timeout=110, check=True)
    figures: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Print the table, or count in this process and print JSON."""
    known = {**WORKLOADS, **SPOILT}
    parser = argparse.ArgumentParser(prog="python -m tests.work", description=__doc__)
    parser.add_argument("--database", action="append", choices=DATABASES, help="only this; may be repeated")
    parser.add_argument("--workload", action="append", choices=known, help="only this; may be repeated")
    parser.add_argument("--write", action="store_true", help="take what is counted for the budget")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = options.workload or list(WORKLOADS)
    if options.url:
        workloads = {name: known[name] for name in chosen}
        build = spoilt if workloads.keys() & SPOILT.keys() else application
        print(json.dumps(measure(options.url, workloads=workloads, build=build)))
        return
    if options.write and options.workload:
        parser.error("a budget is of all workloads; leave --workload out")
    found = {}
    for database in options.database or DATABASES:
        with _empty(database) as url:
            found[database] = counted(url, *chosen)
        _print(database, found[database])
    if options.write:
        budget.write(found)


@contextmanager
def _empty(database: str) -> Iterator[str]:
    from anyio.from_thread import start_blocking_portal

    from tests.databases import mariadb_server, postgresql_server

    if database == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite+aiosqlite:///{Path(folder) / 'work.db'}"
        return
    start = {"postgresql": postgresql_server, "mariadb": mariadb_server}[database]
    with start_blocking_portal() as portal, start(portal) as server, server.fresh_database() as url:
        yield url


def _print(database: str, figures: dict[str, dict[str, Any]]) -> None:
    print(f"{database:18}", *(f"{name:>9}" for name in MEASURES), " statements")
    for name, numbers in figures.items():
        cells = (f"{numbers[measure]:>9}" for measure in MEASURES)
        print(f"{name:18}", *cells, "", ", ".join(numbers["statements"]))
    print()


if __name__ == "__main__":
    main()
