"""One statement shape, compiled once: how to bind values to it and how to read its rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect as SQLDialect
from sqlalchemy.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    from .base import Dialect

Processor = Callable[[Any], Any] | None
Codec = Callable[[Any], Any] | None
"""From the driver's value to one that orjson writes; None: it is one already."""


class Conversion:
    """A codec that leaves NULL as it is, and that can be written where a call would cost more.

    `source` is an expression of a value `{v}` that is not NULL, by the function `{f}` and further names. It
    gives what the function gives.
    """

    __slots__ = ("function", "names", "source")

    def __init__(self, function: Callable[[Any], Any], source: str = "{f}({v})", **names: Any) -> None:
        self.function, self.source, self.names = function, source, {"f": function, **names}

    def __call__(self, value: Any) -> Any:
        return None if value is None else self.function(value)

    def after(self, processor: Callable[[Any], Any]) -> Conversion:
        """Of the driver's value, where a processor is needed that makes no NULL."""
        function, once = self.function, self.source.count("{v}") == 1
        source = (self.source if once else "{f}({v})").replace("{v}", "{p}({v})")
        chained = Conversion(lambda value: function(processor(value)), source)
        chained.names = {**self.names, "p": processor}
        return chained

    def written(self, cell: str, names: dict[str, Any]) -> str:
        """The expression of a cell that is named so; adds what it calls to the names."""
        own = {name: f"{name}_{cell}" for name in self.names}
        names |= {own[name]: value for name, value in self.names.items()}
        return f"(None if {cell} is None else {self.source.format(v=cell, **own)})"


class Result:
    """What a statement gave: rows (as the driver has them unless `decoded`) and how many it touched."""

    __slots__ = ("count", "decoded", "rows")

    def __init__(self, rows: Sequence[Any], count: int, decoded: bool) -> None:
        self.rows, self.count, self.decoded = rows, count, decoded


T = TypeVar("T")
Steps = Generator[tuple["Query", Mapping[str, Any]], Result, T]
"""Statements of which each may depend on what came before: it yields them, is sent their results, returns the end."""


class StepFailed(Exception):
    """Carries what was raised between the statements past those who judge the statements."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def carried(steps: Steps[T]) -> Steps[T]:
    """The same steps; what they raise themselves comes as StepFailed, and is no fault of a database."""
    try:
        return (yield from steps)
    except Exception as error:
        raise StepFailed(error) from error


async def followed(steps: Steps[T], run: Callable[[Query, Mapping[str, Any]], Awaitable[Result]]) -> T:
    """What the steps come to, with `run` for each statement."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(await run(*asked))
    except StopIteration as end:
        value: T = end.value
        return value
    except BaseException:
        steps.close()  # at once: they may want to know that they did not come to their end
        raise


def _arguments(binds: Iterable[tuple[str, Processor, Any]]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """What makes the arguments of a statement, in their order: one expression, as rows have."""
    names: dict[str, Any] = {}
    parts = []
    for place, (name, processor, default) in enumerate(binds):
        names |= {f"d{place}": default, f"p{place}": processor}
        value = f"get({name!r}, d{place})"
        parts.append(value if processor is None else f"p{place}({value})")
    source = f"lambda get: [{', '.join(parts)}]"
    made: Callable[[Any], list[Any]] = eval(source, names)  # noqa: S307 - positions and repr() of names
    return lambda values: made(values.get)


class Query:
    """A compiled statement, with the conversions of its values and of its rows."""

    __slots__ = (
        "_arguments",
        "_compiled",
        "_expands",
        "clause_names",
        "codecs",
        "core",
        "made_key",
        "makers",
        "names",
        "processors",
        "raw_codecs",
        "returns_rows",
        "sql",
    )

    def __init__(self, core: Executable, dialect: Dialect, sql_dialect: SQLDialect) -> None:
        compiled = core.compile(dialect=sql_dialect)  # type: ignore[attr-defined]  # Executables are ClauseElements
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - DDL never comes here
        self.core = core
        self.sql = compiled.string
        self.clause_names: tuple[str, ...] = ()
        self.makers: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        """What renders the rows, by renderer: of the driver's rows, and of decoded ones."""
        self.names: Mapping[Any, str] = compiled.bind_names
        self.returns_rows = bool(compiled._result_columns)
        self.made_key: Callable[[int, Mapping[str, Any]], Sequence[Any]] | None = None
        """Of an INSERT where none returns rows: the key of what was written, by the number counted up for it."""
        if compiled.isinsert and not (self.returns_rows or dialect.insert_returning):
            self.made_key = compiled._inserted_primary_key_from_lastrowid_getter
        self._compiled = compiled
        self._expands = bool(compiled.post_compile_params)
        processors: Mapping[str, Any] = compiled._bind_processors
        self._arguments = _arguments(
            (name, dialect.bind_processor(bind.type, processors.get(name)), bind.effective_value)
            for name, bind in ((name, compiled.binds[name]) for name in compiled.positiontup or ())
        )
        types = [column.type for column in compiled._result_columns]
        self.processors: list[Processor] = [dialect.result_processor(kind, sql_dialect) for kind in types]
        self.raw_codecs: list[Codec] = [
            dialect.codec(kind, processor) for kind, processor in zip(types, self.processors, strict=True)
        ]
        self.codecs: list[Codec] = [dialect.form(kind) for kind in types]

    def prepare(self, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The SQL text and its positional arguments."""
        return self._expand(values) if self._expands else (self.sql, self._arguments(values))

    def _expand(self, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """`IN` lists get one marker per value, known only now."""
        compiled = self._compiled
        parameters = compiled.construct_params(dict(values), escape_names=False)
        expanded = compiled._process_parameters_for_postcompile(parameters)
        everything = {**parameters, **expanded.additional_parameters}
        processors: Mapping[str, Any] = {**compiled._bind_processors, **expanded.processors}
        arguments = []
        for name in expanded.positiontup or ():
            convert = processors.get(name)
            arguments.append(everything[name] if convert is None else convert(everything[name]))
        return expanded.statement, arguments

    def decode_places(self, result: Result, places: Sequence[int]) -> tuple[Any, ...]:
        """The Python values that stand at these places of the first row."""
        row, own = result.rows[0], self.processors
        if result.decoded:
            return tuple([row[place] for place in places])
        return tuple(
            [row[place] if (convert := own[place]) is None else convert(row[place]) for place in places]
        )

    def decode(self, result: Result) -> list[tuple[Any, ...]]:
        """The rows as Python values, whichever executor they came from."""
        if result.decoded:
            return [tuple(row) for row in result.rows]
        return [
            tuple(
                value if processor is None else processor(value)
                for value, processor in zip(row, self.processors, strict=True)
            )
            for row in result.rows
        ]
