"""Several backends as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection

from jetio import ConfigError, Problem, SecurityScheme

from ..transports import refused
from .protocol import Binding, bind, chosen_in, members_of, no_session, offers, recognises, tell_chosen

__all__ = ["MultiBackend"]


class MultiBackend:
    """The first backend that recognises the credential decides; none after it is asked, also where it refuses."""

    def __init__(self, backends: Sequence[Any]) -> None:
        if not backends or isinstance(backends, str):
            raise ConfigError("MultiBackend takes backends; write MultiBackend([first, second])")
        self.backends = list(backends)
        self._parts = members_of(self)

    @property
    def offers(self) -> frozenset[str]:
        """The endpoints that any of them offers."""
        return frozenset(
            name for name in ("login", "logout", "refresh") if any(offers(item, name) for item in self._parts)
        )

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """Those of all."""
        return [scheme for item in self._parts for scheme in getattr(item, "schemes", ())]

    def bind(self, binding: Binding) -> None:
        """Tell all of the application."""
        for item in self._parts:
            bind(item, binding)

    async def get_current_user(self, connection: HTTPConnection) -> Any:
        """The user of a request; raises 401 where the backend whose credential it is refuses."""
        found = await self._find(connection)
        return None if found is None else found[1]

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Any:
        """The user that the first backend finds which takes logins."""
        for item in self._parts:
            if offers(item, "login"):
                user = await item.authenticate(connection, credentials)
                if user is not None:
                    tell_chosen(connection, item)
                    return user
        return None

    async def login(self, connection: HTTPConnection, user: Any) -> Mapping[str, Any]:
        """Begin a session with the backend that has found the user."""
        chosen = chosen_in(connection, None) or next(item for item in self._parts if offers(item, "login"))
        told: Mapping[str, Any] = await chosen.login(connection, user)
        return told

    async def logout(self, connection: HTTPConnection) -> None:
        """End the session with the backend whose credential the request carries; raises 409 `no_session`."""
        found = await self._find(connection)
        if found is None or not offers(found[0], "logout"):
            raise no_session()
        tell_chosen(connection, found[0])
        await found[0].logout(connection)

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, Any] | None:
        """The next tokens from the first backend that has any; the refusal of one leaves the others to be asked."""
        refusal: Problem | None = None
        for item in self._parts:
            if offers(item, "refresh"):
                try:
                    told: Mapping[str, Any] | None = await item.refresh(connection)
                except Problem as problem:
                    if problem.code != "token_revoked":
                        raise
                    refusal = refusal or problem
                    continue
                if told is not None:
                    tell_chosen(connection, item)
                    return told
        if refusal is not None:
            raise refusal
        return None

    async def _find(self, connection: HTTPConnection) -> tuple[Any, Any] | None:
        for item in self._parts:
            known = recognises(item, connection)
            if known is False:
                continue
            user = await item.get_current_user(connection)
            if user is not None:
                return item, user
            if known:
                raise refused("The credential is not valid")
        return None
