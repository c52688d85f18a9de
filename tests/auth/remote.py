"""One issuer of `tests.auth.provider`, as tests speak to it."""

from __future__ import annotations

import itertools
import time
from typing import Any

from tests.live import LiveServer

AUDIENCE = "forum-api"
_names = itertools.count(1)


class Provider:
    """One issuer of the process, and a client of its back doors."""

    def __init__(self, server: LiveServer, name: str | None = None, *, audience: str = AUDIENCE) -> None:
        self._server, self._name = server, name or f"tenant{next(_names)}"
        self.audience = audience
        self.issuer = f"{server.base_url}/{self._name}"

    def change(self, **order: Any) -> None:
        """A mode, or `rotate=True`."""
        assert self._server.client.post(f"{self.issuer}/change", json=order).status_code == 200

    def asked(self, what: str = "keys") -> int:
        """How often somebody came for that."""
        count: int = self._server.client.get(f"{self.issuer}/asked").json().get(what, 0)
        return count

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token; `...` leaves one out."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": self.audience, "sub": "user-123", "iat": now, "exp": now + 600}
        return {name: value for name, value in (good | changed).items() if value is not ...}

    def token(self, algorithm: str = "RS256", header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token that the issuer signs."""
        order = {"algorithm": algorithm, "header": header or {}, "claims": self.claims(**changed)}
        return self._server.client.post(f"{self.issuer}/mint", json=order).text

    def key_set(self) -> list[dict[str, Any]]:
        """The public keys."""
        found: list[dict[str, Any]] = self._server.client.get(f"{self.issuer}/keys").json()["keys"]
        return found
