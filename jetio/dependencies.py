"""A handler's signature, read once: what makes each argument, in which order, and what ends with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from starlette.convertors import Convertor, PathConvertor, StringConvertor
from starlette.datastructures import UploadFile

from .bodies import FILES, BodySpec, Wanted, body_steps, is_document
from .call import Call
from .callables import hints_of, target_of, unknown_name
from .errors import ConfigError, Mistakes
from .marks import is_open, marks_of
from .parameters import Parameter, Step, adapter_of, is_list, parameter_step
from .params import MISSING, Marker, Needed
from .policy import Policy, gives_policy
from .signature import BODY, FIRST, HOLDING, LOGINS, Kind, Make, Rule, Signature, invoker
from .special import SPECIAL_NAMES, special_step, usual_type

__all__ = ["BodySpec", "Context", "Parameter", "Rule", "Signature", "read_signature"]

Found = list[tuple[int, str, Step]]
"""Steps with their rank and the argument that they make."""


class Context(NamedTuple):
    """Where a handler stands: the values of its path, its method, and what its rules learn at build."""

    name: str
    path: Mapping[str, Convertor[Any]]
    method: str
    bind: Callable[[Policy], Policy]

    @property
    def has_body(self) -> bool:
        """Whether a body is read (RFC 9110, 9.3: those of GET, HEAD and DELETE mean nothing)."""
        return self.method in ("POST", "PUT", "PATCH")


def read_signature(function: Callable[..., Any], context: Context) -> Signature:
    """Read a handler; raises one ConfigError with each wrong parameter and what to write instead."""
    signature = _Reader(context, function).read()
    if signature.kind != "plain":
        raise ConfigError("a handler returns its answer; write StreamingResponse(...) around a generator")
    return signature


class _Reader:
    """Reads one callable; what it depends on is read by another below it."""

    def __init__(
        self, context: Context, function: Any, above: tuple[Any, ...] = (), place: str | None = None
    ) -> None:
        self.context, self.function, self.above = context, function, above
        self.place = context.name if place is None else place
        target = target_of(function)
        self.signature = Signature(function, inspect.iscoroutinefunction(target), _kind(target))

    def read(self) -> Signature:
        """Everything about the callable; raises ConfigError."""
        signature, found = self.signature, []
        mistakes = Mistakes(self.context.name)
        with mistakes.about(self.place):
            for parameter in _parameters(self.function):
                with mistakes.about(f"{self.place}: parameter {parameter.name!r}"):
                    found += self._argument(parameter)
        with mistakes.about(self.place):
            if signature.wanted and not mistakes.found:
                signature.body, steps = body_steps(signature.wanted, _title(self.function))
                found += [(BODY, name, step) for name, step in steps]
        mistakes.tell()
        found.sort(key=lambda item: item[0])
        made = [(name, step, inspect.iscoroutinefunction(step)) for _, name, step in found]
        first = next((place for place, item in enumerate(made) if item[2]), len(made))
        signature.steps = [(name, step) for name, step, _ in made[:first]]
        signature.waiting = made[first:]
        signature.holds |= signature.kind != "plain"
        return signature

    def _argument(self, parameter: inspect.Parameter) -> Found:
        name, (kind, marker) = parameter.name, _marked(parameter)
        if isinstance(marker, Needed):
            if marker.dependency is not None:
                return [self._dependency(name, _known(marker.dependency), marker)]
            return [self._dependency(name, _known(kind), marker)]
        kind = usual_type(name) if kind is MISSING and name not in self.context.path else _known(kind)
        if marker is None:
            special = special_step(kind, self.signature, socket=self.context.method == "WEBSOCKET")
            if special is not None:
                return [(FIRST, name, special)]
            marker = self._guess(name, kind)
        marker = _with_default(marker, parameter)
        if marker.source in ("body", "form", "file"):
            self._want(name, kind, marker)
            return []
        return [(FIRST, name, self._parameter(name, kind, marker))]

    # ---- what the request carries ----------------------------------------------------------------

    def _guess(self, name: str, kind: Any) -> Marker:
        """Where an unmarked argument comes from: the path, a form's file, the body, else the query."""
        if name in self.context.path:
            return Marker("path")
        if kind in FILES:
            return Marker("file")
        in_body = is_document(kind) and (self.context.has_body or not is_list(kind))
        return Marker("body" if in_body else "query")

    def _parameter(self, name: str, kind: Any, marker: Marker) -> Step:
        alias = marker.alias or (name.replace("_", "-") if marker.source == "header" else name)
        kind = self._in_path(kind, alias) if marker.source == "path" else str if kind is MISSING else kind
        adapter = adapter_of(kind, marker)
        if marker.source != "path" and not _fits_text(kind):
            raise ConfigError(
                f"a model does not fit into one {marker.source} parameter; write Depends(Model)"
            )
        required = marker.default is MISSING
        default = None if required else marker.default
        self._document([Parameter(alias, marker.source, adapter, required, default, marker.description)])
        return parameter_step(alias, kind, marker, adapter)

    def _in_path(self, kind: Any, alias: str) -> Any:
        convertor = self.context.path.get(alias)
        if convertor is None:
            raise ConfigError(f"it is marked Path, and the path has no {{{alias}}}; add it, or write Query()")
        plain = isinstance(convertor, StringConvertor | PathConvertor)
        if kind is str and not plain:
            raise ConfigError(f"the path converts {{{alias}}} to no str; take its type, or write {{{alias}}}")
        return (str if plain else Any) if kind is MISSING else kind

    def _want(self, name: str, kind: Any, marker: Marker) -> None:
        """An argument of the body; they are made together."""
        if not self.context.has_body:
            ways = 'write methods=["POST"], or Depends(Model) to make it of query parameters'
            raise ConfigError(f"it is a body, and {self.context.method} has none; {ways}")
        if self.above:
            raise ConfigError("a body belongs to the handler; take it there and hand it on")
        if kind is MISSING:
            kind = {"body": Any, "form": str, "file": UploadFile}[marker.source]
        if marker.source != "file":
            adapter_of(kind, marker)
        elif kind not in FILES:
            raise ConfigError("it is a file; write UploadFile or list[UploadFile]")
        self.signature.wanted.append(Wanted(name, kind, marker))

    # ---- what other callables give ---------------------------------------------------------------

    def _dependency(self, name: str, dependency: Any, marker: Needed) -> tuple[int, str, Step]:
        if not callable(dependency):
            raise ConfigError(f"{dependency!r} cannot be called; write Depends(function)")
        if gives_policy(dependency):
            told = _name(dependency)
            raise ConfigError(f"{told} makes a rule and is none; write Depends({told}())")
        if _key(dependency) in self.above:
            raise ConfigError(f"{_name(dependency)} needs itself; break the cycle")
        make, holds = self._maker(dependency)
        return HOLDING if holds else FIRST, name, self._cached(dependency, make, marker)

    def _maker(self, dependency: Any) -> tuple[Make, bool]:
        """What makes the value, and whether it holds something; the signature learns what that needs."""
        signature, above = self.signature, (*self.above, _key(dependency))
        if isinstance(dependency, Policy):
            rule = self.context.bind(dependency)
            signature.rules.append(Rule(rule, above))
            return _user_by(rule), True
        plan = _Reader(self.context, dependency, above, f"{self.place} -> {_name(dependency)}").read()
        self._document(plan.parameters)
        signature.rules += [*self._marks(dependency, above), *plan.rules]
        signature.login = max(signature.login, plan.login, key=LOGINS.index)
        signature.takes_connection |= plan.takes_connection
        signature.holds |= plan.holds
        signature.may_write |= plan.may_write
        return invoker(plan), plan.holds

    def _marks(self, dependency: Any, above: tuple[Any, ...]) -> list[Rule]:
        """The rules that decorators left on it."""
        if is_open(dependency):
            raise ConfigError(f"allow_anonymous opens handlers; {_name(dependency)} is a dependency")
        return [Rule(self.context.bind(rule), above) for rule in marks_of(dependency)]

    def _cached(self, dependency: Any, make: Make, marker: Needed) -> Step:
        key = _key(dependency)

        async def step(call: Call) -> Any:
            if marker.use_cache and key in call.values:
                return call.values[key]
            overrides = call.app.dependency_overrides
            chosen = self._replacement(overrides[key]) if overrides and key in overrides else make
            value = await chosen(call)
            if isinstance(value, Policy):  # nobody asked it: the door would stand open
                raise ConfigError(f"{_name(dependency)} gave a rule where its decision is needed")
            if marker.use_cache:
                call.values[key] = value
            return value

        return step

    def _replacement(self, dependency: Any) -> Make:
        """Tests set replacements at any time: theirs are the only signatures that are read while serving."""
        return _Reader(self.context, dependency, self.above)._maker(dependency)[0]

    def _document(self, found: Sequence[Parameter]) -> None:
        known = {(item.name, item.source) for item in self.signature.parameters}
        self.signature.parameters += [item for item in found if (item.name, item.source) not in known]


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters(function: Any) -> list[inspect.Parameter]:
    """The parameters with their types, as far as they have any, without those that a `partial` gives."""
    try:
        found = inspect.signature(function).parameters.values()
        hints = hints_of(function, SPECIAL_NAMES)
    except Exception as error:
        raise ConfigError(f"its parameters cannot be read ({error}); write a function around it") from error
    given = function.keywords if isinstance(function, partial) else {}
    wanted = [item for item in found if item.name not in given and item.kind not in _VARIADIC]
    for item in wanted:
        if item.kind is item.POSITIONAL_ONLY:
            raise ConfigError(f"parameter {item.name!r} is positional-only; arguments are given by name")
    return [item.replace(annotation=hints.get(item.name, item.annotation)) for item in wanted]


def _kind(target: Any) -> Kind:
    if inspect.isasyncgenfunction(target):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(target) else "plain"


def _marked(parameter: inspect.Parameter) -> tuple[Any, Marker | Needed | None]:
    """The type, and the marker that is the default or stands beside the type."""
    kind = MISSING if parameter.annotation is parameter.empty else parameter.annotation
    marker = parameter.default if isinstance(parameter.default, Marker | Needed) else None
    if get_origin(kind) is Annotated:
        inner, *beside = get_args(kind)
        rest = [item for item in beside if not isinstance(item, Marker | Needed)]
        found = [item for item in beside if isinstance(item, Marker | Needed)]
        kind = Annotated[(inner, *rest)] if rest else inner
        marker = marker or next(iter(found), None)
    return kind, marker


def _known(annotation: Any) -> Any:
    unknown = unknown_name(annotation)
    if unknown is None:
        return annotation
    raise ConfigError(f"{unknown} is known to type checkers only; import it where the program runs, too")


def _with_default(marker: Marker, parameter: inspect.Parameter) -> Marker:
    default = parameter.default
    if isinstance(default, FieldInfo):
        raise ConfigError("Field() describes a model's field; write Query(), or Annotated[type, Field(...)]")
    given = default is not parameter.empty and not isinstance(default, Marker)
    return replace(marker, default=default) if given else marker


def _fits_text(kind: Any) -> bool:
    """Whether parameters hold values of this type: a list of them does, a model needs several names."""
    parts = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return all(_fits_text(part) for part in parts) if is_list(kind) else not is_document(kind)


def _title(function: Any) -> str:
    return "".join(word.capitalize() for word in _name(function).rpartition(".")[2].split("_")) + "Body"


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _key(dependency: Any) -> Any:
    """What a dependency is known by; objects that compare by value may have no hash."""
    try:
        hash(dependency)
    except TypeError:
        return id(dependency)
    return dependency


def _user_by(rule: Policy) -> Make:
    """What `Depends(rule)` gives: the caller's row where the authenticator loads it, else the principal."""

    async def make(call: Call) -> Any:
        await call.ask(rule)
        load = getattr(rule.authenticator or call.app.authenticator, "load_user", None)
        if load is None or call.principal is None:
            return call.principal
        return await load(call.principal, call.work)

    return make
