"""Callables of the application: what runs, what their annotations mean, how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, get_args, get_type_hints

from starlette.concurrency import run_in_threadpool

__all__ = ["called", "hints_of", "runner", "target_of", "unknown_name"]


def target_of(function: Any) -> Any:
    """The function or class that runs when this is called."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__


async def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function returns: an async one runs on the loop, a plain one in a thread."""
    return await runner(function)(*arguments, **named)


def runner(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """`called` of one function that is known before: what kind it is, is found out once."""
    if inspect.iscoroutinefunction(target_of(function)):
        return function

    async def run(*arguments: Any, **named: Any) -> Any:
        result = await run_in_threadpool(function, *arguments, **named)
        return await result if isinstance(result, Awaitable) else result

    return run


def hints_of(function: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """The type of each parameter and of `return`, although some names are there for type checkers only.

    Those become classes that `unknown_name` finds; `known` are types that need no import.
    """
    target = target_of(function)
    if inspect.isclass(target):
        target = target.__init__
    beside: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(target, localns=beside, include_extras=True)
        except NameError as error:
            if not error.name or error.name in beside:
                raise
            beside[error.name] = known.get(error.name) or _Unknown(error.name, (), {})


def unknown_name(annotation: Any) -> str | None:
    """The first name in an annotation that only type checkers know."""
    if isinstance(annotation, _Unknown):
        return annotation.__name__
    return next((name for part in get_args(annotation) if (name := unknown_name(part)) is not None), None)


class _Unknown(type):
    """Stands for a name that is not there when the program runs: `Item`, `models.Item`, `Page[Item]`."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Unknown(f"{cls.__name__}.{name}", (), {})

    def __getitem__(cls, parameters: Any) -> Any:
        return cls
