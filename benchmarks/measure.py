"""The run: servers up, answers compared, then rounds in which the contestants take turns."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.check import check_answers, check_routes, log_in
from benchmarks.databases import open_store
from benchmarks.errors import BenchmarkError
from benchmarks.load import CONNECTIONS, Job, LoadClient
from benchmarks.server import Server
from benchmarks.workloads import Workload

_WARM_UP_SHARE = 4
_WARM_UP_LEAST = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure; `requests` replaces the number that each workload proposes."""

    databases: Sequence[str]
    workloads: Sequence[Workload]
    contestants: Sequence[str]
    rounds: int
    requests: int | None
    postgresql_url: str

    @property
    def turns(self) -> int:
        """How many measurements the run makes, those of the warm-up round included."""
        return len(self.databases) * len(self.workloads) * len(self.contestants) * (self.rounds + 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a contestant needed for a workload on a database: microseconds a request, one number a round."""

    database: str
    workload: str
    contestant: str
    samples: tuple[float, ...]

    @property
    def least(self) -> float:
        """The round that was disturbed least."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The usual round; far above the least where the machine was busy with other things."""
        return median(self.samples)


def measure(plan: Plan, announce: Callable[[str], None], done: Callable[[], object]) -> list[Cell]:
    """Measures everything in the plan, one database after the other.

    `announce` is told what comes next, `done` is called after each of the plan's turns.
    """
    return [cell for name in plan.databases for cell in _measure_database(plan, name, announce, done)]


def _measure_database(
    plan: Plan, database: str, announce: Callable[[str], None], done: Callable[[], object]
) -> list[Cell]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="jetio-bench-")))
        needed = len(plan.contestants) * CONNECTIONS
        opened = open_store(database, folder, plan.postgresql_url, connections=needed)
        store = stack.enter_context(opened)
        load = stack.enter_context(LoadClient())
        entrants: dict[int, list[Entrant]] = defaultdict(list)
        for routes in sorted({workload.other_routes for workload in plan.workloads}):
            for contestant in plan.contestants:
                announce(f"{database}, starting {contestant} with {routes} other routes")
                url = f"sqlite+aiosqlite:///{folder}/unused.sqlite" if routes else store.copy(contestant)
                server = stack.enter_context(Server(contestant, url, folder, other_routes=routes))
                entrants[routes].append(_admit(server, load))
        return _rounds(plan, database, entrants, announce, done)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A server that gives the right answers, and the client that loads it."""

    server: Server
    load: LoadClient
    token: str = ""

    @property
    def contestant(self) -> str:
        """Its name."""
        return self.server.contestant

    def microseconds(self, workload: Workload, start: int, count: int) -> float:
        """CPU time of the server for each of `count` requests."""
        job = Job(self.contestant, self.server.port, workload.name, start, count, self.token)
        before = self.server.cpu_seconds()
        try:
            self.load.run(job)
        except BenchmarkError as error:
            self.server.require_alive()
            raise self.server.failure(f"failed at {workload.title!r}: {error}") from error
        return (self.server.cpu_seconds() - before) / count * 1e6


def _admit(server: Server, load: LoadClient) -> Entrant:
    token = ""
    if server.other_routes:
        check_routes(server)
    else:
        token = log_in(server)
        check_answers(server, token)
    load.connect(server.port)
    return Entrant(server, load, token)


def _rounds(
    plan: Plan,
    database: str,
    entrants: Mapping[int, Sequence[Entrant]],
    announce: Callable[[str], None],
    done: Callable[[], object],
) -> list[Cell]:
    """One cell for each workload and contestant; the round before the first warms up and is not kept.

    `entrants` are found by the number of their other routes.
    """
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(plan.rounds + 1):
        for workload in plan.workloads:
            count = plan.requests or workload.count
            for entrant in entrants[workload.other_routes]:
                contestant = entrant.contestant
                announce(f"{database}, round {number} of {plan.rounds}, {workload.name}, {contestant}")
                if number:
                    spent = entrant.microseconds(workload, number * count, count)
                    samples[workload.name, contestant].append(spent)
                else:
                    entrant.microseconds(workload, 0, max(_WARM_UP_LEAST, count // _WARM_UP_SHARE))
                done()
    return [Cell(database, *key, tuple(spent)) for key, spent in samples.items()]
