"""Sessions in the memory of one process: for tests and for what may be forgotten at a restart."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from jetio import Jetio

__all__ = ["MemorySessions"]

_SWEPT_EVERY = 1000


class MemorySessions:
    """Kept by this process alone: several workers, who would not know each other's, do not start with it."""

    one_process = True

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, float]] = {}
        self._written = 0

    def bind(self, app: Jetio) -> None:
        """Have the application look how many processes it is."""
        app.start_checks.append(self._check)

    def _check(self, app: Jetio) -> Sequence[str]:
        if app.settings.workers == 1:
            return ()
        return [
            f"MemorySessions and {app.settings.workers} workers; write DatabaseSessions(app), which they share"
        ]

    async def read(self, name: str) -> str | None:
        """The text, None where there is none or it is over."""
        text, until = self._kept.get(name, (None, 0.0))
        return text if until > time() else None

    async def write(self, name: str, text: str, seconds: int) -> None:
        """Keep a text."""
        self._written += 1
        if self._written % _SWEPT_EVERY == 0:
            now = time()
            self._kept = {name: kept for name, kept in self._kept.items() if kept[1] > now}
        self._kept[name] = (text, time() + seconds)

    async def swap(self, name: str, old: str, new: str, seconds: int) -> bool:
        """Replace a text that is still `old`."""
        if await self.read(name) != old:
            return False
        self._kept[name] = (new, time() + seconds)
        return True

    async def delete(self, name: str) -> None:
        """Forget a text."""
        self._kept.pop(name, None)
