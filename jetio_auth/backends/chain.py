"""Several ways to find the caller, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from starlette.requests import HTTPConnection

from jetio import Authenticator, Principal, SecurityScheme, UnitOfWork

from ..transports import refused

__all__ = ["ChainAuthenticator"]


class ChainAuthenticator:
    """The first that knows the credential decides: none after it is asked, also where it refuses.

    `base` is the one whose accounts they are, and is asked last; None: there are no accounts.
    """

    def __init__(self, first: Sequence[Authenticator], base: Authenticator | None) -> None:
        self._members: Sequence[Authenticator] = (*first, base) if base is not None else tuple(first)
        self._base = base
        if base is not None and hasattr(base, "load_user"):
            self.load_user = base.load_user

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts."""
        return None if self._base is None else self._base.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """Those of all, the accounts' own first."""
        ordered = (*self._members[-1:], *self._members[:-1])
        found = {scheme.name: scheme for member in ordered for scheme in member.schemes}
        return list(found.values())

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None where nobody knows a credential; raises 401 for one that is not accepted."""
        for member in self._members:
            principal = await member.identify(connection, work)
            if principal is not None:
                return principal
        if b"authorization" in dict(connection.scope["headers"]) and self._reads_authorization:
            raise refused()  # a credential was given, and it is nobody's
        return None

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be."""
        return (self._base or self._members[0]).principal_of(user)

    @cached_property
    def _reads_authorization(self) -> bool:
        return any(scheme.definition.get("type") in ("http", "oauth2") for scheme in self.schemes)
