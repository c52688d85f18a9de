"""The clauses of decisions: what tells their shapes apart, and the values that each request fills in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Executable, false
from sqlalchemy.sql import visitors

from ..database import Database
from ..dialects import Query
from ..policy import ALLOW, AllowWhere, Decision, Deny
from .views import View

__all__ = [
    "EVERYTHING", "Scopes", "Shapes", "bound", "clause_of", "fingerprint", "scopes_of", "shaped",
]  # fmt: skip

Scopes = Mapping[str, Decision]
"""The rule of the rows (the name is empty) and of everything embedded in them, by dotted name."""

EVERYTHING: Scopes = {}
"""Rules that leave nothing out: then no shape has to be told from another."""


def clause_of(decision: Decision | None) -> ColumnElement[bool] | None:
    """The clause of a decision; None: every row."""
    if isinstance(decision, AllowWhere):
        return decision.clause
    return false() if isinstance(decision, Deny) else None


def fingerprint(
    clauses: Sequence[ColumnElement[Any] | None],
) -> tuple[Hashable | None, list[BindParameter[Any]]]:
    """What tells the shapes of these clauses apart (None: nothing can), and the parameters they hold."""
    keys: list[Hashable] = []
    binds: list[BindParameter[Any]] = []
    for clause in clauses:
        if clause is None:
            keys.append(None)
            continue
        found = clause._generate_cache_key()  # kept with the clause, as rules keep their clauses
        if found is None:
            return None, _all_binds(clauses)
        keys.append(found.key)
        binds.extend(found.bindparams)
    return tuple(keys), binds


def _all_binds(clauses: Sequence[ColumnElement[Any] | None]) -> list[BindParameter[Any]]:
    parts = (item for clause in clauses if clause is not None for item in visitors.iterate(clause))
    return [item for item in parts if isinstance(item, BindParameter)]


def shaped(
    database: Database,
    name: Hashable,
    clauses: Sequence[ColumnElement[Any] | None],
    build: Callable[[Sequence[ColumnElement[Any] | None]], Executable],
) -> tuple[Query, list[BindParameter[Any]]]:
    """The compiled statement with these clauses, and this request's parameters in the statement's order."""
    key, binds = fingerprint(clauses)
    shape = (name, key) if key is not None else None
    known = database.known(shape)
    if known is not None:
        return known, binds
    own: list[ColumnElement[Any] | None] = []

    def make() -> Executable:
        own.extend(map(private, clauses))
        return build(own)

    return database.shaped(shape, make, lambda: fingerprint(own)[1]), binds


def bound(query: Query, binds: Sequence[BindParameter[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and those of the clauses of this request under the names of the compiled shape."""
    filled = dict(values)
    for name, bind in zip(query.clause_names, binds, strict=True):
        filled[name] = bind.effective_value
    return filled


def private(clause: ColumnElement[Any] | None) -> ColumnElement[Any] | None:
    """The clause with parameters of its own.

    One that another clause holds too, or that has a name which the statement uses, would be filled once for
    both.
    """
    if clause is None:
        return None
    made: dict[int, Any] = {}

    def fresh(element: Any, **_: Any) -> Any:
        if not isinstance(element, BindParameter):
            return None
        if id(element) not in made:
            copy: Any = element._clone()
            copy._convert_to_unique()
            made[id(element)] = copy
        return made[id(element)]

    cleared: ColumnElement[Any] = visitors.replacement_traverse(clause, {}, fresh)
    return cleared


def scopes_of(paths: Sequence[str], clauses: Sequence[ColumnElement[bool] | None]) -> dict[str, Decision]:
    """The clauses as decisions again, by the path that each is about."""
    return {
        path: ALLOW if clause is None else AllowWhere(clause)
        for path, clause in zip(paths, clauses, strict=True)
    }


class Shapes:
    """The statements about one view, each compiled once for each shape of the rules that it is under.

    `paths` are the dotted names of what the rules are about: in the order in which a statement holds their clauses.
    """

    def __init__(self, view: View, paths: Sequence[str]) -> None:
        self._view, self._paths = view, paths
        self._open = (None,) * len(paths)  # what `fingerprint` makes of rules that leave nothing out

    def prepare(
        self,
        database: Database,
        name: Hashable,
        scopes: Mapping[str, Decision],
        build: Callable[[Mapping[str, Decision]], Executable],
    ) -> tuple[Query, dict[str, Any]]:
        """The statement of this name under these rules, and the values of their clauses."""
        if not scopes:
            known = database.known(((name, self._view), self._open))
            if known is not None:
                return known, {}
        clauses = [clause_of(scopes.get(path)) for path in self._paths]
        query, binds = shaped(
            database, (name, self._view), clauses, lambda own: build(scopes_of(self._paths, own))
        )
        return query, bound(query, binds, {})
