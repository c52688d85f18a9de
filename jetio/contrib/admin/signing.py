"""Signing in and out on the panel's own page: the routes of the accounts do it, asked as a page would ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from starlette.requests import Request

from ...principal import Authenticator, Principal
from ...routing import Endpoint
from .asking import Answer, ask

__all__ = ["Accounts", "Signing"]


@runtime_checkable
class Accounts(Protocol):
    """What knows passwords. `AuthRouter.panel` is one."""

    @property
    def authenticator(self) -> Authenticator:
        """What finds the caller."""
        ...

    @property
    def paths(self) -> tuple[str, str] | None:
        """Where to log in and out by cookie; None where nobody can."""
        ...

    def key(self) -> bytes | None:
        """A key for the panel's own cookies, None where there is none."""
        ...

    async def tell(
        self, name: str, principal: Principal, request: Request, detail: Mapping[str, Any]
    ) -> None:
        """Write down that somebody has changed a row."""
        ...


@dataclass(frozen=True, slots=True)
class Signing:
    """The two routes. All that holds for them holds here: throttle, one text for every failure, other sites."""

    login: Endpoint
    logout: Endpoint
    paths: tuple[str, str]

    async def enter(self, request: Request, name: str, password: str, code: str) -> Answer:
        """The answer of the login, with its cookies; raises its problems."""
        body = {"username": name, "password": password} | ({"otp": code} if code else {})
        return await ask(self.login, request, self.paths[0], body=body)

    async def leave(self, request: Request) -> Answer:
        """The answer of the logout, which takes the cookies away."""
        return await ask(self.logout, request, self.paths[1])
