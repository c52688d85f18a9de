"""What a rule says of rows: all, none, or those for which a clause is true; and how that combines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NoReturn

from sqlalchemy import (
    Boolean,
    BooleanClauseList,
    ColumnElement,
    SQLColumnExpression,
    UnaryExpression,
    and_,
    case,
    false,
    literal_column,
    or_,
    true,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import NullType

from .errors import Problem, forbidden, unauthenticated
from .principal import Principal

__all__ = [
    "ALLOW",
    "Allow",
    "AllowWhere",
    "Clause",
    "Combinations",
    "Decision",
    "Deny",
    "both",
    "either",
    "negated",
]

_KEPT = 1000

Clause = ColumnElement[bool] | SQLColumnExpression[bool]


class Decision:
    """Allow, Deny or AllowWhere."""

    __slots__ = ()

    lasting: bool = False
    """Whether the rule gives this very object again, so that what is made of it is worth keeping."""


class Allow(Decision):
    """Every row."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Allow()"


class Deny(Decision):
    """No row; an anonymous caller is answered 401, a known one 403 with this code and detail."""

    __slots__ = ("code", "detail", "problem")

    def __init__(
        self, code: str = "forbidden", detail: str = "You may not do this", *, problem: Problem | None = None
    ) -> None:
        self.code = code
        self.detail = detail
        self.problem = problem

    def __repr__(self) -> str:
        return f"Deny({self.code!r})"

    def raise_for(self, principal: Principal | None) -> NoReturn:
        """Raise the problem that the caller sees."""
        if self.problem is not None:
            raise self.problem.with_traceback(None)  # a constant Deny would gather the stack of every request
        if principal is None:
            raise unauthenticated()
        raise forbidden(self.detail, code=self.code)


class AllowWhere(Decision):
    """The rows for which `clause` is true; a row as written must satisfy `check` (by default the clause).

    `lasting` is for a rule that keeps its decisions and gives this one again: what is made of it is kept then, too.
    """

    __slots__ = ("check", "clause", "lasting")

    def __init__(self, clause: Clause, check: Clause | None = None, *, lasting: bool = False) -> None:
        self.clause = _condition(clause)
        self.check = self.clause if check is None else _condition(check)
        self.lasting = lasting

    def __repr__(self) -> str:
        return f"AllowWhere({self.clause})"

    def ways(self) -> list[AllowWhere]:
        """The rules that this one was combined from, where it matters which of them let a row through."""
        return [self]

    def check_after(self, passed: Iterator[bool]) -> ColumnElement[bool]:
        """What a row must satisfy as written that passed these of the `ways` before."""
        return self.check if next(passed) else false()


class _Combined(AllowWhere):
    """Two rules of rows. With `|` a change must pass the check of the one that its row has passed."""

    __slots__ = ("join", "parts", "plain")

    def __init__(self, join: Callable[..., ColumnElement[bool]], *parts: AllowWhere) -> None:
        self.join, self.parts = join, parts
        self.clause = join(*(part.clause for part in parts))
        self.lasting = all(part.lasting for part in parts)
        same = all(part.check is part.clause for part in parts)
        self.check = self.clause if same else join(*(part.check for part in parts))
        self.plain: bool = join is and_ and all(part.plain for part in parts if isinstance(part, _Combined))

    def ways(self) -> list[AllowWhere]:
        if self.plain:  # all of it has let the row through
            return super().ways()
        return [way for part in self.parts for way in part.ways()]

    def check_after(self, passed: Iterator[bool]) -> ColumnElement[bool]:
        if self.plain:
            return super().check_after(passed)
        return self.join(*[part.check_after(passed) for part in self.parts])


def _condition(clause: Clause) -> ColumnElement[bool]:
    """SQLAlchemy's own reading of what may stand in a WHERE: a mapped attribute or a bool may, too.

    Raises TypeError for a number or a text: each database takes another part of them for true.
    """
    found = clause if isinstance(clause, ColumnElement) else and_(true(), clause)
    for part in _parts(found):
        kind = getattr(part, "type", None)
        if not isinstance(getattr(kind, "impl_instance", kind), Boolean | NullType | None):
            raise TypeError(f"the rule's {part} is no condition but {kind!r}; write a comparison: {part} > 0")
    return found


def _parts(clause: Any) -> Iterator[Any]:
    """What stands between AND, OR and NOT."""
    if isinstance(clause, BooleanClauseList):
        for part in clause.clauses:
            yield from _parts(part)
    elif isinstance(clause, Grouping) or (
        isinstance(clause, UnaryExpression) and clause.operator is operators.inv
    ):
        yield from _parts(clause.element)
    else:
        yield clause


ALLOW = Allow()


def both(first: Decision, second: Decision) -> Decision:
    """AND: what either refuses is refused."""
    if isinstance(first, Deny) or isinstance(second, Allow):
        return first
    if isinstance(second, Deny) or isinstance(first, Allow):
        return second
    assert isinstance(first, AllowWhere) and isinstance(second, AllowWhere)  # noqa: S101, PT018 - nothing else is left
    return _Combined(and_, first, second)


def either(first: Decision, second: Decision) -> Decision:
    """OR of whole decisions: neither the permission nor the check of one meets the rows of the other."""
    if isinstance(first, Allow) or isinstance(second, Deny):
        return first
    if isinstance(second, Allow) or isinstance(first, Deny):
        return second
    assert isinstance(first, AllowWhere) and isinstance(second, AllowWhere)  # noqa: S101, PT018 - nothing else is left
    return _Combined(or_, first, second)


def negated(decision: Decision) -> Decision:
    """NOT: what is unknown is not true, so that a NULL in the clause cannot make it lie. A 401 stays one."""
    if isinstance(decision, Deny):
        return decision if decision.problem is not None and decision.problem.status == 401 else ALLOW
    if isinstance(decision, _Combined):
        return reduce(either if decision.join is and_ else both, map(negated, decision.parts))
    if isinstance(decision, AllowWhere):
        same = decision.check is decision.clause
        check = None if same else _untrue(decision.check)
        return AllowWhere(_untrue(decision.clause), check, lasting=decision.lasting)
    return Deny()


class Combinations(dict[tuple[Decision, ...], Decision]):
    """What was made of lasting decisions, by what it was made of: making a clause is not cheap."""

    def keep(self, made_of: tuple[Decision, ...], decision: Decision) -> Decision:
        """The same decision, kept if all of what it was made of will be there again."""
        if all(part.lasting for part in made_of):
            if len(self) >= _KEPT:
                del self[next(iter(self))]
            self[made_of] = decision
        return decision


def _untrue(clause: ColumnElement[bool]) -> ColumnElement[bool]:
    """False or unknown; SQLite's `IS NOT TRUE` would also hold for a condition that is the number 2."""
    return case((clause, literal_column("1")), else_=literal_column("0")) == literal_column("0")
