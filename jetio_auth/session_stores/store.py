"""What a session store must do."""

from __future__ import annotations

from typing import Protocol

from ..digests import digest

__all__ = ["SessionStore", "stored_name"]


class SessionStore(Protocol):
    """Texts by name, each with an end. Names are hashes: whoever reads the store can take over no session.

    With `def bind(app)` a store learns of the application that it serves.
    """

    async def read(self, name: str) -> str | None:
        """The text, None where there is none or it is over."""
        ...

    async def write(self, name: str, text: str, seconds: int) -> None:
        """Keep a text under a name that is new."""
        ...

    async def swap(self, name: str, old: str, new: str, seconds: int) -> bool:
        """Replace a text that is still `old`; of several who do it at once one is told True."""
        ...

    async def delete(self, name: str) -> None:
        """Forget a text; no mistake where there is none."""
        ...


def stored_name(kind: str, secret: str) -> str:
    """The name of a session by its id."""
    return digest(f"{kind}\0{secret}")
