"""`python -m benchmarks`: server CPU per request of Jetio and its peers, measured in one run."""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.errors import BenchmarkError
from benchmarks.measure import Cell, Plan, measure
from benchmarks.report import as_json, as_markdown, save
from benchmarks.workloads import WORKLOADS

_DATABASES = ("sqlite", "postgresql")
_CONTESTANTS = (
    "jetio",
    "starlette_core",
    "fastapi_sqlalchemy",
    "fastapi_fastcrud",
    "litestar_advanced_alchemy",
    "limit",
)
_RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints Markdown on standard output, and returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that databases are dropped
    plan = _plan(options)
    try:
        cells = _measure(plan)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    text = as_markdown(plan, cells)
    print(text, end="")
    if options.json:
        options.json.write_text(as_json(plan, cells))
    if options.save:
        save(_RESULTS, options.save, text)
    return 0


def _measure(plan: Plan) -> list[Cell]:
    """Measures with a line of progress on standard error, redrawn on a terminal and rare elsewhere."""
    progress = tqdm(
        total=plan.turns,
        bar_format="{desc}: {n_fmt} of {total_fmt}, {elapsed} elapsed, {remaining} remaining",
        mininterval=0.5 if sys.stderr.isatty() else 20,
        leave=False,
    )
    with progress:
        return measure(plan, lambda turn: progress.set_description_str(turn, refresh=False), progress.update)


def _plan(options: argparse.Namespace) -> Plan:
    """The plan that the options describe, in the order of the tables and not of the command line."""

    def chosen(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
        return [name for name in names if not wanted or name in wanted]

    return Plan(
        databases=chosen(_DATABASES, options.database),
        workloads=[WORKLOADS[name] for name in chosen(list(WORKLOADS), options.workload)],
        contestants=chosen(_CONTESTANTS, options.contestant),
        rounds=options.rounds,
        requests=options.requests,
        postgresql_url=options.postgresql_url,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Server CPU per request, of Jetio and of the same application written in other ways.",
        epilog="--database, --workload and --contestant may be repeated; without one, all are measured.",
    )
    add = parser.add_argument
    add("--database", action="append", choices=_DATABASES)
    add("--workload", action="append", choices=list(WORKLOADS))
    add("--contestant", action="append", choices=_CONTESTANTS)
    add("--rounds", type=_positive, default=9, metavar="N", help="measurements of each cell (default: 9)")
    add("--requests", type=_positive, metavar="N", help="requests a measurement (default: the workload's)")
    add("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    add("--save", type=_name, metavar="NAME", help="also write the tables to benchmarks/results/NAME.md")
    add(
        "--postgresql-url",
        default="postgresql://postgres@127.0.0.1:5432/postgres",
        metavar="URL",
        help="a server on which databases may be made (default: %(default)s)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError("may hold letters, digits, '.', '-' and '_'")
    return text


if __name__ == "__main__":
    sys.exit(main())
