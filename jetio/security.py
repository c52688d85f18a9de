"""Who is calling, anywhere below a request, without handing it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import forbidden, unauthenticated
from .principal import Principal

__all__ = ["CALLER", "SecurityContext"]

CALLER: ContextVar[Principal | None] = ContextVar("jetio.caller", default=None)


class SecurityContext:
    """The caller of the request in hand, for services and whatever else a handler calls.

    It is set before the handler runs and taken back after its background tasks. Threads and tasks started
    in the request see it; outside of requests there is nobody, unless `run_as` says so. A route without any
    rule asks nobody who is calling, so there is nobody there either.
    """

    @staticmethod
    def get() -> Principal | None:
        """The caller, None when there is none."""
        return CALLER.get()

    @staticmethod
    def require() -> Principal:
        """The caller; raises 401 when there is none."""
        principal = CALLER.get()
        if principal is None:
            raise unauthenticated()
        return principal

    @staticmethod
    def get_roles() -> list[str]:
        """The caller's roles in alphabetical order; none for nobody."""
        principal = CALLER.get()
        return [] if principal is None else sorted(principal.roles)

    @staticmethod
    def has_role(role: str) -> bool:
        """Whether there is a caller with this role; admins have the role `admin`."""
        principal = CALLER.get()
        return principal is not None and role in principal.roles

    @staticmethod
    def require_role(*any_of: str) -> Principal:
        """The caller; raises 401 for nobody, and 403 `role_required` for who has none of the roles."""
        principal = SecurityContext.require()
        if principal.roles.isdisjoint(any_of):
            raise forbidden(f"Requires one of roles: {list(any_of)}", code="role_required")
        return principal

    @staticmethod
    @contextmanager
    def run_as(principal: Principal | None) -> Iterator[Principal | None]:
        """Be this caller inside of the `with`: for jobs and scripts, which nobody has called."""
        before = CALLER.set(principal)
        try:
            yield principal
        finally:
            CALLER.reset(before)
