"""Named moments of a write, and what a hook is given."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..callables import runner
from ..errors import ConfigError
from ..policy import Access
from ..principal import Principal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Change", "Hook", "Hooks", "Moment", "add_hooks"]

Moment = Literal[
    "before_create",
    "after_create",
    "before_update",
    "after_update",
    "before_delete",
    "after_delete",
    "on_commit",
]


class Change:
    """A write on its way. `values` may be altered before it; `row` is the row as it stands after it.

    `row` is None before a create; before an update or delete it is the row as it was.
    """

    __slots__ = ("access", "action", "key", "row", "values")

    def __init__(
        self, access: Access, action: str, key: tuple[Any, ...] | None, values: dict[str, Any]
    ) -> None:
        self.access = access
        self.action = action
        self.key = key
        self.values = values
        self.row: Mapping[str, Any] | None = None

    @property
    def principal(self) -> Principal | None:
        """The caller."""
        return self.access.principal

    @property
    def session(self) -> AsyncSession:
        """A session in the write's own transaction."""
        return self.access.session


_ADDED = "__api_hooks__"

Hook = Callable[[Change], Awaitable[None] | None]


def add_hooks(model: type[Any], hooks: Mapping[str, Hook]) -> None:
    """Hooks that every router of the model runs, after its own; each call replaces those of the one before."""
    setattr(model, _ADDED, {moment: [hook] for moment, hook in hooks.items()})


class Hooks:
    """Hooks by moment, in the order of registration."""

    def __init__(self, given: Mapping[str, Hook | list[Hook]] | None = None) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._runners: dict[str, list[Callable[[Change], Awaitable[Any]]]] = {}
        for moment, hooks in (given or {}).items():
            for hook in hooks if isinstance(hooks, list) else [hooks]:
                self.add(moment, hook)

    def add(self, moment: str, hook: Hook) -> None:
        """Raises ConfigError for a moment that does not exist."""
        known = get_args(Moment)
        if moment not in known:
            raise ConfigError(f"there is no moment {moment!r}; write one of: {', '.join(known)}")
        if not callable(hook):
            raise ConfigError(f"the hook for {moment!r} is no function: {hook!r}")
        _check_parameters(hook, moment)
        self._hooks.setdefault(moment, []).append(hook)
        self._runners.setdefault(moment, []).append(runner(hook))

    def waiting(self, *moments: str) -> list[str]:
        """Those of the moments that hooks wait for."""
        return [moment for moment in moments if moment in self._hooks]

    def before(self, model: type[Any]) -> Hooks:
        """These hooks, and after them those that `add_hooks` has given to the model."""
        joined = Hooks()
        for given in (self._hooks, getattr(model, _ADDED, {})):
            for moment, hooks in given.items():
                for hook in hooks:
                    joined.add(moment, hook)
        return joined

    async def run(self, moment: str, change: Change) -> None:
        """Call the hooks of the moment, plain ones in a thread; what one raises stops the write."""
        for run in self._runners.get(moment, ()):
            await run(change)


def _check_parameters(hook: Hook, moment: str) -> None:
    """Raises ConfigError for a hook that cannot be called with the change alone."""
    try:
        inspect.signature(hook).bind(None)
    except TypeError:
        name = getattr(hook, "__name__", None) or type(hook).__name__
        taken = ", ".join(inspect.signature(hook).parameters)
        raise ConfigError(
            f"the hook {name} for {moment!r} takes ({taken}); write `async def {name}(change: Change)`"
        ) from None
    except ValueError:  # one that is not written in Python tells nothing
        return
