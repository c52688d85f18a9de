"""Several ways to find the caller, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import HTTPConnection

from jetio import Authenticator, Principal, SecurityScheme, UnitOfWork

__all__ = ["ChainAuthenticator"]


class ChainAuthenticator:
    """The first that knows the credential decides: none after it is asked, also where it refuses.

    `base` is the one whose accounts they are, and is asked last.
    """

    def __init__(self, first: Sequence[Authenticator], base: Authenticator) -> None:
        self._members = (*first, base)
        self._base = base
        if hasattr(base, "load_user"):
            self.load_user = base.load_user

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts."""
        return self._base.user_model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """Those of all, the accounts' own first."""
        ordered = (self._base, *self._members[:-1])
        found = {scheme.name: scheme for member in ordered for scheme in member.schemes}
        return list(found.values())

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None where nobody knows a credential; raises 401 for one that is not accepted."""
        for member in self._members:
            principal = await member.identify(connection, work)
            if principal is not None:
                return principal
        return None

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be."""
        return self._base.principal_of(user)
