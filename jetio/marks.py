"""Rules that stand on a handler: decorators leave them there, the build finds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .callables import target_of
from .errors import ConfigError
from .policy import ALLOW, Access, Decision, Policy, PolicyLike, as_policy

__all__ = ["allow_anonymous", "guard", "is_open", "marks_of"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

_PLACE = "__jetio_rules__"


class _Anonymous(Policy):
    admits_anonymous = True
    needs_caller = True  # whoever opens one route believes the others closed

    async def __call__(self, access: Access) -> Decision:
        return ALLOW


_ANONYMOUS = _Anonymous()


def guard(rule: PolicyLike) -> Callable[[Handler], Handler]:
    """Put a rule on a handler or a dependency: `@guard(auth.admin_only())`, above or below `@app.get`.

    Several are asked one after the other, together with the route's `policy`; all must agree.
    """
    found = as_policy(rule)

    def mark(handler: Handler) -> Handler:
        return _marked(handler, found)

    return mark


def allow_anonymous(handler: Handler) -> Handler:
    """Open a handler of a protected application to everybody; a credential that is no good is still a 401."""
    return _marked(handler, _ANONYMOUS)


def _marked(handler: Handler, rule: Policy) -> Handler:
    # What lies in a class body as a staticmethod is reached without it.
    target = handler.__func__ if isinstance(handler, staticmethod | classmethod) else handler
    known: tuple[Policy, ...] = getattr(target, _PLACE, ())
    try:
        if isinstance(target, type):
            raise AttributeError
        setattr(target, _PLACE, (rule, *known))
    except AttributeError:
        raise ConfigError(f"{handler!r} cannot carry a rule; decorate the function that answers") from None
    return handler


def marks_of(function: Any) -> tuple[Policy, ...]:
    """The rules that decorators left on a callable, also below a `partial`."""
    found: list[Policy] = []
    while isinstance(function, partial):
        found += getattr(function, _PLACE, ())
        function = function.func
    if not isinstance(function, type):
        found += getattr(function, _PLACE, ())
        found += getattr(target_of(function), _PLACE, ())
    return tuple(dict.fromkeys(found))


def is_open(function: Any) -> bool:
    """Whether `allow_anonymous` stands on a callable."""
    return _ANONYMOUS in marks_of(function)
