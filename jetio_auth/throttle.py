"""Counts failures per window in the database, so that all workers count together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from sqlalchemy import BigInteger, Executable, Table, bindparam, case, delete, insert, select, update

from jetio import ConstraintViolated, Database, Problem, UnitOfWork

from .digests import digest
from .settings import KEPT_SECONDS

__all__ = ["Limit", "Throttle", "is_local", "origin"]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `failures` of one subject within `window` seconds; whatever is counted, not only failures."""

    kind: str
    subject: str
    failures: int
    window: int

    @property
    def key(self) -> str:
        """What is stored: no name and no address stands in the table."""
        return digest(f"{self.kind}\0{self.subject}")


def origin(address: str) -> str:
    """What an address counts as: an IPv6 one as its network of 64 bits, which is one customer's (RFC 6177)."""
    try:
        parsed = ip_address(address)
    except ValueError:  # no address of a network
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
    return address


def is_local(address: str) -> bool:
    """Whether it is this machine's own: a loopback address, or none of a network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return True
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


class Throttle:
    """An attempt counts as a failure until it has succeeded, so that parallel guesses cannot slip through.

    Each statement is a transaction of its own (a count apart, which reads what it has counted): no lock is
    held while a password is judged, and MariaDB's gap locks cannot wait for each other.
    """

    def __init__(self, table: Table) -> None:
        columns = table.c
        subject = columns.subject == bindparam("key")
        now: Any = bindparam("now", type_=BigInteger)
        over = columns.started <= bindparam("cutoff")
        # MariaDB assigns from left to right and reads what it has just assigned: the count goes first.
        count = update(table).where(subject).ordered_values(
            (columns.failures, case((over, 1), else_=columns.failures + 1)),
            (columns.started, case((over, now), else_=columns.started)),
        )  # fmt: skip
        forgive = update(table).where(subject, columns.failures > 0).values(failures=columns.failures - 1)
        self._statements: Mapping[str, Executable] = {
            "count": count,
            "state": select(columns.failures, columns.started).where(subject),
            "begin": insert(table).values(subject=bindparam("key"), started=now, failures=1),
            "forgive": forgive,
            "clear": delete(table).where(subject),
            "expire": delete(table).where(columns.started < bindparam("cutoff")),
        }

    async def attempt(
        self,
        database: Database,
        limits: Sequence[Limit],
        detail: str = "Too many failed attempts; try again later",
    ) -> None:
        """Count one attempt against each limit; raises 429 `rate_limited` when one is used up."""
        now = int(time.time())
        wait = max([await self._count(database, limit, now) for limit in limits])
        if wait:
            raise Problem(429, "rate_limited", detail, headers={"Retry-After": str(wait)})

    async def _count(self, database: Database, limit: Limit, now: int) -> int:
        """The seconds to wait; 0: go on."""
        values = {"key": limit.key, "now": now, "cutoff": now - limit.window}
        failures, started = (
            await self._counted(database, values)
            or await self._begun(database, values)
            or await self._counted(database, values)  # another worker was quicker to begin
            or (1, now)  # and was forgiven at once
        )
        return max(1, started + limit.window - now) if failures > limit.failures else 0

    async def _counted(self, database: Database, values: dict[str, Any]) -> tuple[int, int] | None:
        """Failures and their beginning, this attempt among them; None for a subject without any."""
        state = self._query(database, "state")

        async def steps(work: UnitOfWork) -> tuple[int, int] | None:
            result = await work.run(self._query(database, "count"), values)
            rows = state.decode(await work.run(state, values)) if result.count else [None]
            return rows[0]

        return await database.run_transaction(steps)

    async def _begun(self, database: Database, values: dict[str, Any]) -> tuple[int, int] | None:
        """A subject's first failure, the moment to forget old ones; None when another worker was quicker."""
        await self._alone(database, "expire", {"cutoff": values["now"] - KEPT_SECONDS})
        try:
            await self._alone(database, "begin", values)
        except ConstraintViolated:
            return None
        return 1, values["now"]

    async def forgive(self, database: Database, limits: Sequence[Limit]) -> None:
        """The attempt succeeded: it does not count."""
        for limit in limits:
            await self._alone(database, "forgive", {"key": limit.key})

    async def clear(self, database: Database, limit: Limit) -> None:
        """Forget all failures of a subject."""
        await self._alone(database, "clear", {"key": limit.key})

    async def _alone(self, database: Database, name: str, values: dict[str, Any]) -> None:
        query = self._query(database, name)
        # Of many who begin and clear one subject at once, MariaDB makes some lose: they come again.
        await database.run_transaction(lambda work: work.run_alone(query, values, writes=True))

    def _query(self, database: Database, name: str) -> Any:
        return database.shaped((self, name), lambda: self._statements[name])
