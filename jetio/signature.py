"""What a callable needs, made in order, and the call."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import anyio
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError
from starlette.concurrency import run_in_threadpool

from .bodies import BodySpec, Wanted, holds_files
from .body import message_of
from .call import Call
from .errors import FieldError, ValidationError
from .parameters import Parameter, Step
from .policy import Policy

__all__ = [
    "BODY",
    "FIRST",
    "HOLDING",
    "LOGINS",
    "Kind",
    "Login",
    "Make",
    "Rule",
    "Signature",
    "caller",
    "invoker",
]

Kind = Literal["plain", "generator", "async generator"]
Login = Literal["", "optional", "required"]
LOGINS: tuple[Login, ...] = ("", "optional", "required")
Make = Callable[[Call], Awaitable[Any]]


class Rule(NamedTuple):
    """A rule that decides before anything else is read, and what would replace it: it and all above it."""

    policy: Policy
    above: tuple[Any, ...]


# In this order: nothing is held while the body is awaited.
FIRST, BODY, HOLDING = 0, 1, 2


@dataclass(slots=True)
class Signature:
    """What a callable needs, and how to make it: `steps` in order, `waiting` from the first step that waits."""

    function: Callable[..., Any]
    is_async: bool
    kind: Kind
    steps: list[tuple[str, Step]] = field(default_factory=list)
    waiting: list[tuple[str, Step, bool]] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    body: BodySpec | None = None
    login: Login = ""
    takes_connection: bool = False
    holds: bool = False
    may_write: bool = False

    @property
    def uploads(self) -> bool:
        """Whether files come with the body."""
        return holds_files(self.wanted)

    def ready(self, call: Call, wrong: list[ValidationError]) -> dict[str, Any]:
        """The arguments up to the first that waits."""
        made: dict[str, Any] = {}
        for name, step in self.steps:
            try:
                made[name] = step(call)
            except ValidationError as problem:
                wrong.append(problem)
        return made

    async def arguments(self, call: Call) -> dict[str, Any]:
        """The arguments; raises one 422 that lists everything that is wrong with them."""
        wrong: list[ValidationError] = []
        made = self.ready(call, wrong)
        for name, step, waits in self.waiting:
            try:
                made[name] = await step(call) if waits else step(call)
            except ValidationError as problem:
                wrong.append(problem)
        if wrong:
            raise _together(wrong)
        return made


def _together(wrong: Sequence[ValidationError]) -> ValidationError:
    if len(wrong) == 1:
        return wrong[0]
    return ValidationError(dict.fromkeys(error for problem in wrong for error in problem.errors))


def caller(plan: Signature) -> Make:
    """What makes the arguments and calls: on the loop when it is async, in a thread when it is not."""
    function = plan.function

    def at_once(call: Call) -> Awaitable[Any]:
        wrong: list[ValidationError] = []
        arguments = plan.ready(call, wrong)
        if wrong:
            raise _together(wrong)
        awaited: Awaitable[Any] = function(**arguments)
        return awaited

    async def waiting(call: Call) -> Any:
        return await function(**await plan.arguments(call))

    async def threaded(call: Call) -> Any:
        result = await run_in_threadpool(function, **await plan.arguments(call))
        return await result if isinstance(result, Awaitable) else result

    if not plan.is_async:
        return threaded
    return waiting if plan.waiting else at_once if plan.steps else lambda call: function()


def invoker(plan: Signature) -> Make:
    """What makes a dependency's value: a generator stays open until the call ends."""
    if plan.kind == "async generator":
        opened = asynccontextmanager(plan.function)
        return lambda call: _enter(plan, call, opened)
    if plan.kind == "generator":
        halves = contextmanager(plan.function)
        return lambda call: _enter(plan, call, lambda **arguments: _threaded(halves(**arguments)))
    if inspect.isclass(plan.function) and issubclass(plan.function, BaseModel):
        return lambda call: _model(plan, call)
    return caller(plan)


async def _enter(plan: Signature, call: Call, manager: Callable[..., Any]) -> Any:
    return await call.enter(manager(**await plan.arguments(call)))


async def _model(plan: Signature, call: Call) -> Any:
    """A model made of parameters: what its own validators refuse is told of them."""
    arguments = await plan.arguments(call)
    try:
        return plan.function(**arguments)
    except PydanticError as error:
        entries = error.errors(include_url=False, include_input=False)
        names = ["".join(map(str, entry["loc"][:1])) or None for entry in entries]
        wrong = [
            FieldError(entry["type"], message_of(entry), parameter=name)
            for entry, name in zip(entries, names, strict=True)
        ]
        raise ValidationError(wrong) from None


@asynccontextmanager
async def _threaded(manager: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """A synchronous generator's two halves, each in a thread."""
    value = await run_in_threadpool(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            if not await run_in_threadpool(manager.__exit__, type(error), error, error.__traceback__):
                raise
    else:
        await run_in_threadpool(manager.__exit__, None, None, None)
