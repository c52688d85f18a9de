"""The keys of an issuer that is somewhere else: fetched, kept, renewed in time, and refused when they are odd."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from time import time
from typing import Any, NamedTuple

from jetio import Problem

from .fetching import FetchError, Web, discovered
from .jwt import TokenError, verifying_key

__all__ = ["KeySet"]

_log = logging.getLogger("jetio.auth")

_MOST_KEYS = 100
_UNKNOWN_SECONDS = 30  # so often at most a name that nobody knows makes us ask
_RETRY_SECONDS = 5
_LONGEST_AWAY = 86400  # keys that cannot be renewed are believed so long


class _Key(NamedTuple):
    kid: str | None
    algorithm: str
    verifying: Any


class KeySet:
    """The key set (RFC 7517) of one issuer. `jwks_url` None: where its discovery document says.

    Keys older than `ttl` seconds are renewed while requests go on with them; at twice that age requests wait.
    """

    def __init__(self, issuer: str, jwks_url: str | None, algorithms: Sequence[str], ttl: int) -> None:
        self._web = Web(jwks_url or issuer)
        self._issuer, self._algorithms, self._ttl = issuer, algorithms, ttl
        self._given_url, self._found_url = jwks_url, jwks_url
        self._keys: tuple[_Key, ...] = ()
        self._fetched_at = float("-inf")
        self._retry_at = self._unknown_at = 0.0
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    # ---- asking --------------------------------------------------------------------------------------------

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """The key of that name; TokenError where the issuer has none, 503 where it cannot be asked."""
        await self._renew()
        found = self._chosen(kid, algorithm)
        if found is None and time() >= self._unknown_at:
            self._unknown_at = time() + _UNKNOWN_SECONDS
            await asyncio.shield(self._task or self._start())
            found = self._chosen(kid, algorithm)
        if found is not None:
            return found
        if self._failed:
            raise self._unavailable()
        raise TokenError("the issuer has no key of that name")

    async def warm_up(self) -> None:
        """Fetch the keys; an issuer that is away is logged, no more."""
        await asyncio.shield(self._task or self._start())

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _chosen(self, kid: str | None, algorithm: str) -> Any:
        """A token that names no key means the only one; a name that stands twice means none."""
        found = [key for key in self._keys if key.algorithm == algorithm and (kid is None or key.kid == kid)]
        return found[0].verifying if len(found) == 1 else None

    async def _renew(self) -> None:
        age = time() - self._fetched_at
        if age < self._ttl:
            return
        task = self._task
        if task is None and time() >= self._retry_at:
            task = self._start()
        if task is not None and (not self._keys or (age >= 2 * self._ttl and not self._failed)):
            await asyncio.shield(task)
        if time() - self._fetched_at >= max(_LONGEST_AWAY, 2 * self._ttl):
            raise self._unavailable()

    def _unavailable(self) -> Problem:
        return Problem(
            503,
            "issuer_unavailable",
            "The issuer of this token cannot be asked for its keys at the moment",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        )

    # ---- fetching ------------------------------------------------------------------------------------------

    def _start(self) -> asyncio.Task[None]:
        """One fetch serves all who wait; the one who asked first may go away."""
        self._task = asyncio.create_task(self._fetch())
        return self._task

    async def _fetch(self) -> None:
        try:
            self._keys = await self._fetched()
            self._fetched_at, self._failed = time(), False
        except FetchError as error:
            self._failed, self._retry_at = True, time() + _RETRY_SECONDS
            self._found_url = self._given_url
            _log.warning("the keys of %s cannot be had: %s", self._issuer, error)
        finally:
            self._task = None

    async def _fetched(self) -> tuple[_Key, ...]:
        async with self._web.visit() as visit:
            if self._found_url is None:
                document = await discovered(visit, self._issuer)
                self._found_url = document.endpoint("jwks_uri")
            return _keys_in(await visit.get(self._found_url), self._algorithms)


def _keys_in(document: Any, algorithms: Sequence[str]) -> tuple[_Key, ...]:
    """The keys that verify; of others, such as for encryption, a set may hold any number."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise FetchError(f"it is no key set of at most {_MOST_KEYS} keys")
    keys = tuple(key for entry in entries for key in _usable(entry, algorithms))
    if not keys:
        raise FetchError(f"it has no key for {', '.join(algorithms)}")
    return keys


def _usable(entry: Any, algorithms: Sequence[str]) -> Iterator[_Key]:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return
    kid, uses = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str | None) or not isinstance(uses, list) or "verify" not in uses:
        return
    for algorithm in algorithms:
        if entry.get("alg", algorithm) == algorithm and (key := verifying_key(entry, algorithm)) is not None:
            yield _Key(kid, algorithm, key)
