"""`python -m benchmarks.logins`: how long another request waits while 16 people log in."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import httpx2

from benchmarks.databases import open_store
from benchmarks.dataset import PASSWORD, USERNAME
from benchmarks.server import HOST, Server

AT_ONCE = 16
SECONDS = 8.0
PATHS = ("/hello", "/posts/1")
_PAUSE = 0.002


async def _logins(url: str, until: float) -> int:
    """Log in again and again until that moment; how often."""
    body = {"username": USERNAME, "password": PASSWORD}
    done = 0
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        while time.monotonic() < until:
            answer = await client.post("/login", json=body)
            answer.raise_for_status()
            done += 1
    return done


async def _waits(url: str, path: str, seconds: float) -> list[float]:
    """Milliseconds of each of the requests that one client sends for so long."""
    found: list[float] = []
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.perf_counter()
            (await client.get(path)).raise_for_status()
            found.append((time.perf_counter() - before) * 1e3)
            await asyncio.sleep(_PAUSE)
    return found


def _p99(samples: list[float]) -> float:
    return quantiles(samples, n=100)[98]


async def _measure(url: str, say: Callable[[str], object]) -> str:
    """A table of both requests: alone, then beside the logins."""
    rows = []
    for path in PATHS:
        say(f"{path}: {SECONDS:.0f} s alone, {SECONDS:.0f} s beside {AT_ONCE} logins")
        await _waits(url, path, 0.5)
        alone = _p99(await _waits(url, path, SECONDS))
        until = time.monotonic() + SECONDS
        crowd: Awaitable[list[int]] = asyncio.gather(*(_logins(url, until) for _ in range(AT_ONCE)))
        task = asyncio.ensure_future(crowd)
        await asyncio.sleep(0.5)
        beside = _p99(await _waits(url, path, SECONDS - 1))
        done = sum(await task)
        rows.append(f"| {path:9} | {alone:10.2f} | {beside:11.2f} | {beside / alone:5.1f} | {done:6} |")
    head = "| request   | alone (ms) | beside (ms) | ratio | logins |\n| --- | ---: | ---: | ---: | ---: |"
    return "\n".join([head, *rows])


def main() -> int:
    """Prints the 99th percentile of another request's time, without and with logins beside it."""
    with TemporaryDirectory(prefix="jetio-bench-") as name:
        folder = Path(name)
        with (
            open_store("sqlite", folder, "") as store,
            Server("jetio", store.copy("jetio"), folder, every_core=True) as server,
        ):
            print(
                asyncio.run(
                    _measure(f"http://{HOST}:{server.port}", lambda what: print(what, file=sys.stderr))
                )
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
