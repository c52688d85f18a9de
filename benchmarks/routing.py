"""`python -m benchmarks.routing`: what a request costs behind few and many routes, and beside Starlette's router."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.errors import BenchmarkError
from benchmarks.load import LoadClient
from benchmarks.measure import Entrant
from benchmarks.report import as_table
from benchmarks.server import Server
from benchmarks.workloads import ROW_OF_LAST, WORKLOADS, Workload

ROUNDS = 15
REQUESTS = 1_000
_HELLO = WORKLOADS["hello"]
_ALONE, _STARLETTE = ("hello_jetio", 0), ("hello_starlette", 0)
_PLACES = [_ALONE, _STARLETTE, *(("hello_jetio", routes) for routes in ROW_OF_LAST)]
_Key = tuple[str, int, str]


def main() -> int:
    """Prints two tables of ratios, of the least of the rounds."""
    try:
        with TemporaryDirectory(prefix="jetio-bench-") as name, ExitStack() as stack:
            least = _measure(_open(stack, Path(name)))
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(_beside_starlette(least))
    print(_behind_routes(least))
    return 0


def _open(stack: ExitStack, folder: Path) -> list[tuple[Entrant, Workload]]:
    """Every server with each request that it is asked."""
    load = stack.enter_context(LoadClient())
    pairs = []
    for contestant, routes in _PLACES:
        url = f"sqlite+aiosqlite:///{folder}/unused.sqlite"
        server = stack.enter_context(Server(contestant, url, folder, other_routes=routes))
        load.connect(server.port)
        entrant = Entrant(server, load)
        pairs.append((entrant, _HELLO))
        if routes:
            pairs.append((entrant, ROW_OF_LAST[routes]))
    return pairs


def _measure(pairs: list[tuple[Entrant, Workload]]) -> Mapping[_Key, float]:
    """The least server CPU of a request; the pairs take turns, and the round before the first warms up."""
    spent: dict[_Key, list[float]] = defaultdict(list)
    for number in range(ROUNDS + 1):
        print(f"round {number} of {ROUNDS}", file=sys.stderr)
        for entrant, workload in pairs:
            taken = entrant.microseconds(workload, number * REQUESTS, REQUESTS)
            if number:
                spent[entrant.contestant, entrant.server.other_routes, workload.name].append(taken)
    return {key: min(samples) for key, samples in spent.items()}


def _beside_starlette(least: Mapping[_Key, float]) -> str:
    def row(title: str, place: tuple[str, int], target: str) -> list[str]:
        took, unit = least[*place, _HELLO.name], least[*_STARLETTE, _HELLO.name]
        return [title, f"{took / unit:.2f}", target, f"{took:.0f}"]

    rows = [row("Starlette's router", _STARLETTE, ""), row("Jetio", _ALONE, "1.50")]
    return f"Hello with one route:\n\n{as_table(['', 'ratio', 'target', 'microseconds'], rows)}\n"


def _behind_routes(least: Mapping[_Key, float]) -> str:
    few = min(ROW_OF_LAST)

    def cell(routes: int, asked: Mapping[int, str]) -> str:
        took, unit = (least["hello_jetio", count, asked[count]] for count in (routes, few))
        return f"{took / unit:.2f} ({took:.0f})"

    hello = dict.fromkeys(ROW_OF_LAST, _HELLO.name)
    last = {routes: workload.name for routes, workload in ROW_OF_LAST.items()}
    rows = [[f"{routes:,}", cell(routes, hello), cell(routes, last)] for routes in ROW_OF_LAST]
    caption = f"Jetio behind other routes, as a multiple of behind {few} (microseconds):"
    return f"{caption}\n\n{as_table(['routes', 'hello', 'a row of the last model'], rows)}"


if __name__ == "__main__":
    sys.exit(main())
