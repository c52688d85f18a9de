"""`python -m benchmarks.start`: what applications take to their first answer, and how much memory they hold."""

import json
import os
import resource
import secrets
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.databases import SQLiteStore
from benchmarks.load import Job, LoadClient
from benchmarks.report import as_table
from benchmarks.server import ROOT, Memory, Server

ROUNDS = 7
MEMORY_ROUNDS = 3
IMPORTS = {
    "starlette": "import starlette.applications, pydantic, sqlalchemy.ext.asyncio, aiosqlite",
    "fastapi": "import fastapi, sqlalchemy.ext.asyncio, aiosqlite",
    "plain": "import jetio",
    "accounts": "import jetio, jetio_auth",
}
APPLICATIONS = ("starlette", "fastapi", "plain", "accounts", "every_feature")
SERVED = {"starlette": "small_starlette", "fastapi": "small_fastapi", "plain": "small_jetio"}
REQUESTS = {"create": 200, "update": 200, "retrieve": 200, "list": 200, "hello": 200}
_TITLES = {"plain": "jetio"}
_UNIT = "starlette"
_FIRST_ANSWER = """
import asyncio, sys
from benchmarks.apps import starting

async def answer(app):
    received, sent = asyncio.Queue(), asyncio.Queue()
    scope = {{"type": "lifespan", "asgi": {{"version": "3.0"}}, "state": {{}}}}
    lifespan = asyncio.create_task(app(scope, received.get, sent.put))
    await received.put({{"type": "lifespan.startup"}})
    told = await sent.get()
    if told["type"] != "lifespan.startup.complete":
        sys.exit(told["message"])
    request, answers = asyncio.Queue(), asyncio.Queue()
    await request.put({{"type": "http.request", "body": b"", "more_body": False}})
    scope = {{
        "type": "http", "asgi": {{"version": "3.0"}}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/hello", "raw_path": b"/hello", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 80),
        "state": {{}},
    }}
    await app(scope, request.get, answers.put)
    if (await answers.get())["status"] != 200:
        sys.exit("the first answer is not 200")
    await received.put({{"type": "lifespan.shutdown"}})
    await lifespan

asyncio.run(answer(starting.{name}()))
"""
_Samples = Mapping[str, Mapping[str, Sequence[float]]]


def main() -> int:
    """Prints three tables, each of the least of its rounds."""
    with TemporaryDirectory(prefix="jetio-bench-") as name:
        folder = Path(name)
        taken = _measure_starts(folder)
        held = _measure_memory(folder)
        many = _measure_models(folder)
    print(_beside_peers(taken, held))
    print(_with_accounts({name: min(times) for name, times in taken["first answer"].items()}))
    print(many)
    return 0


def _measure_starts(folder: Path) -> _Samples:
    """Milliseconds of processes that import, and of processes that answer once; all take turns."""
    urls = {name: f"sqlite+aiosqlite:///{folder}/{name}.sqlite" for name in APPLICATIONS}
    taken: dict[str, dict[str, list[float]]] = {
        "imports": defaultdict(list),
        "first answer": defaultdict(list),
    }
    for number in range(ROUNDS + 1):
        print(f"start, round {number} of {ROUNDS}", file=sys.stderr)
        for name in APPLICATIONS:
            programs = {"imports": IMPORTS.get(name), "first answer": _FIRST_ANSWER.format(name=name)}
            for kind, program in programs.items():
                spent = _run(program, folder, urls[name]) if program else None
                if spent is not None and number:  # the round before the first makes tables and byte code
                    taken[kind][name].append(spent)
    return taken


def _run(program: str, folder: Path, url: str) -> float:
    """Milliseconds of processor time that a process took, from its start to its end."""
    before = _spent_on_children()
    subprocess.run([sys.executable, "-c", program], check=True, env=_environment(url), cwd=folder)
    return (_spent_on_children() - before) * 1e3


def _spent_on_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _environment(url: str) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "DATABASE_URL": url,
        "SECRET_KEY": secrets.token_hex(32),
        "JETIO_ENV": "development",
        "PYTHONPATH": str(ROOT),
    }


def _measure_memory(folder: Path) -> Mapping[str, Sequence[Memory]]:
    """What a worker holds after 1,000 requests of five kinds."""
    held: dict[str, list[Memory]] = defaultdict(list)
    store = SQLiteStore(folder)
    for number in range(MEMORY_ROUNDS):
        print(f"memory, round {number + 1} of {MEMORY_ROUNDS}", file=sys.stderr)
        for name, module in SERVED.items():
            with (
                Server(module, store.copy(f"{module}_{number}"), folder) as server,
                LoadClient() as load,
            ):
                load.connect(server.port)
                for workload, count in REQUESTS.items():
                    load.run(Job(module, server.port, workload, 0, count, ""))
                held[name].append(server.memory())
    return held


def _measure_models(folder: Path) -> str:
    """A table of what 200 models take, of the round in which building took the least."""
    rounds = []
    for number in range(MEMORY_ROUNDS):
        print(f"200 models, round {number + 1} of {MEMORY_ROUNDS}", file=sys.stderr)
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.apps.many_models"],
            check=True,
            capture_output=True,
            env=_environment(f"sqlite+aiosqlite:///{folder}/many.sqlite"),
            cwd=folder,
        )
        rounds.append(json.loads(run.stdout))
    best = min(rounds, key=lambda one: one["steps"]["building"])
    steps = [[step, f"{seconds:.2f}"] for step, seconds in best["steps"].items()]
    return f"200 models, {best['operations']:,} operations:\n\n{as_table(['', 'seconds'], steps)}"


def _beside_peers(taken: _Samples, held: Mapping[str, Sequence[Memory]]) -> str:
    """Every application as a multiple of the one in Starlette."""
    memory: _Samples = {
        field: {name: [getattr(one, field) for one in found] for name, found in held.items()}
        for field in Memory._fields
    }
    rows = {
        "imports (ms)": taken["imports"],
        "first answer (ms)": taken["first answer"],
        "memory after 1,000 requests (MB)": memory["resident"],
        "the same, shared pages divided (MB)": memory["proportional"],
    }
    names = list(IMPORTS)
    lines = [[title, *map(_multiple(samples), names)] for title, samples in rows.items()]
    head = ["", *(_TITLES.get(name, name) for name in names)]
    return f"Hello and the CRUD of one model, as a multiple of the first:\n\n{as_table(head, lines)}\n"


def _multiple(samples: Mapping[str, Sequence[float]]) -> Callable[[str], str]:
    unit = min(samples[_UNIT])
    least = {name: min(found) for name, found in samples.items()}
    return lambda name: f"{least[name] / unit:.2f} ({least[name]:.0f})" if name in least else ""


def _with_accounts(least: Mapping[str, float]) -> str:
    names = ("plain", "accounts", "every_feature")
    rows = [
        [
            name.replace("_", " "),
            f"{least[name] / least['plain']:.2f}",
            f"{least[name] - least['accounts']:.0f}",
        ]
        for name in names
    ]
    return f"First answer, with accounts:\n\n{as_table(['', 'ratio', 'more than accounts (ms)'], rows)}\n"


if __name__ == "__main__":
    sys.exit(main())
