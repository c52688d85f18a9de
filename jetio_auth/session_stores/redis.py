"""Sessions in Redis: all workers and machines know them, and it forgets them by itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

from jetio import ConfigError, Jetio, Problem

__all__ = ["RedisSessions"]

_log = logging.getLogger("jetio.auth")
_SWAP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return 0
"""
Reply = TypeVar("Reply")


class RedisSessions:
    """Kept in Redis under `prefix`. Where it is away nobody is logged in: 503, never a guess."""

    def __init__(self, url: str, *, prefix: str = "jetio:session:", app: Jetio | None = None) -> None:
        try:
            from redis import asyncio as client
        except ImportError:
            raise ConfigError("RedisSessions needs the extra: pip install 'jetio[redis]'") from None
        self._client = client.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        self._prefix = prefix
        if app is not None:
            self.bind(app)

    def bind(self, app: Jetio) -> None:
        """Close the connections with the application."""
        app.on_event("shutdown")(self.close)

    async def close(self) -> None:
        """Close the connections; a later use opens new ones."""
        await self._client.aclose()

    async def read(self, name: str) -> str | None:
        """The text, None where there is none or it is over."""
        found = await self._asked(self._client.get(self._prefix + name))
        return found.decode() if isinstance(found, bytes) else found

    async def write(self, name: str, text: str, seconds: int) -> None:
        """Keep a text."""
        await self._asked(self._client.set(self._prefix + name, text, ex=seconds))

    async def swap(self, name: str, old: str, new: str, seconds: int) -> bool:
        """Replace a text that is still `old`."""
        script: Any = self._client.eval(_SWAP, 1, self._prefix + name, old, new, str(seconds))
        return bool(await self._asked(script))

    async def delete(self, name: str) -> None:
        """Forget a text."""
        await self._asked(self._client.delete(self._prefix + name))

    async def _asked(self, command: Awaitable[Reply]) -> Reply:
        from redis.exceptions import RedisError

        try:
            return await command
        except RedisError as error:
            _log.warning("Redis does not answer: %s", type(error).__name__)
            raise Problem(
                503, "unavailable", "Sessions cannot be read right now", headers={"Retry-After": "1"}
            ) from None
