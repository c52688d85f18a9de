"""Who must be calling, as a handler declares it: decorators, and types of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Access, Allow, Decision, Depends, Policy, Principal, guard

from .policies import AdminOnly, LoginRequired, RequiresPermission, RequiresRole, RequiresScope

__all__ = [
    "CurrentAdmin",
    "CurrentUser",
    "OptionalUser",
    "RequireLogin",
    "SessionDep",
    "requires_permission",
    "requires_role",
    "requires_scope",
]

Handler = TypeVar("Handler", bound=Callable[..., Any])


def requires_role(*any_of: str) -> Callable[[Handler], Handler]:
    """Let only callers with one of these roles use a handler; 403 `role_required` for the others."""
    return guard(_asking(RequiresRole(any_of)))


def requires_permission(*all_of: str) -> Callable[[Handler], Handler]:
    """Let only callers with all of these permissions use a handler."""
    return guard(_asking(RequiresPermission(all_of)))


def requires_scope(*all_of: str) -> Callable[[Handler], Handler]:
    """Let only callers whose token has all of these scopes use a handler; a login has every scope."""
    return guard(_asking(RequiresScope(all_of)))


def _asking(rule: Policy) -> Policy:
    """A rule that stops the build where nothing finds out who is calling."""
    rule.needs_caller = True
    return rule


class _Anybody(Policy):
    admits_anonymous = True

    async def __call__(self, access: Access) -> Decision:
        return Allow()


RequireLogin = Principal
"""The type of an argument: the caller, who must be logged in."""

CurrentUser = Annotated[Any, Depends(_asking(LoginRequired()))]
"""The type of an argument: the caller's row; the handler needs a login."""

CurrentAdmin = Annotated[Any, Depends(_asking(AdminOnly()))]
"""The type of an argument: the caller's row; the handler is for admins."""

OptionalUser = Annotated[Any, Depends(_asking(_Anybody()))]
"""The type of an argument: the caller's row, None for nobody."""

SessionDep = AsyncSession
"""The type of an argument: the session of the request."""
