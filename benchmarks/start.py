"""`python -m benchmarks.start`: how long an application takes to its first answer, and what accounts add to it."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.server import ROOT

ROUNDS = 7
APPLICATIONS = ("plain", "accounts", "every_feature")
_FIRST_ANSWER = """
import asyncio, sys
from importlib import import_module
from httpx2 import ASGITransport, AsyncClient

async def answer(app):
    received, sent = asyncio.Queue(), asyncio.Queue()
    scope = {{"type": "lifespan", "asgi": {{"version": "3.0"}}, "state": {{}}}}
    lifespan = asyncio.create_task(app(scope, received.get, sent.put))
    await received.put({{"type": "lifespan.startup"}})
    told = await sent.get()
    if told["type"] != "lifespan.startup.complete":
        sys.exit(told["message"])
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        (await client.get("/hello")).raise_for_status()
    await received.put({{"type": "lifespan.shutdown"}})
    await lifespan

asyncio.run(answer(import_module("benchmarks.apps.starting").{name}()))
"""


def _once(name: str, folder: Path) -> float:
    """Milliseconds from the start of a process to the end of its first answer, its end included."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{name}.sqlite",
        "SECRET_KEY": secrets.token_hex(32),
        "JETIO_ENV": "development",
        "PYTHONPATH": str(ROOT),
    }
    before = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", _FIRST_ANSWER.format(name=name)], check=True, env=environment, cwd=folder
    )
    return (time.perf_counter() - before) * 1e3


def _rounds(folder: Path) -> Iterator[dict[str, float]]:
    """A round before the first makes the tables and is not kept."""
    for number in range(ROUNDS + 1):
        taken = {name: _once(name, folder) for name in APPLICATIONS}
        print(f"round {number} of {ROUNDS}", file=sys.stderr)
        if number:
            yield taken


def main() -> int:
    """Prints a table: the least of the rounds, as a multiple of the application without accounts, and apart from it."""
    with TemporaryDirectory(prefix="jetio-bench-") as name:
        rounds = list(_rounds(Path(name)))
    least = {name: min(taken[name] for taken in rounds) for name in APPLICATIONS}
    print("| application | ratio | more than accounts (ms) |\n| --- | ---: | ---: |")
    for name in APPLICATIONS:
        ratio, more = least[name] / least["plain"], least[name] - least["accounts"]
        print(f"| {name.replace('_', ' '):13} | {ratio:5.2f} | {more:23.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
