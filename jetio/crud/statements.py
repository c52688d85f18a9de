"""Plans as SQLAlchemy Core: the only file that writes SELECT, INSERT, UPDATE and DELETE for CRUD; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Executable,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.sql.util import ClauseAdapter

from ..errors import ConfigError
from ..policy import Decision
from ..relations import Relation
from ..resource import Field, Resource
from .clauses import clause_of
from .views import Embed, View

__all__ = ["clause_of"]

CHILDREN = 100
"""How many rows of a to-many relation are embedded per parent."""

FEW = 1000
"""How many rows of a to-many relation are read without asking the database to number them."""


def _value(item: Field, *, prefix: str = "v_") -> BindParameter[Any]:
    return bindparam(f"{prefix}{item.name}", type_=item.column.type)


def key_clause(resource: Resource) -> ColumnElement[bool]:
    """The row with the key `k_...`."""
    same = [item.column == _value(item, prefix="k_") for item in resource.key]
    return and_(*same, *_kind(resource))


def _kind(resource: Resource) -> list[ColumnElement[bool]]:
    """What tells the resource's rows from others of one table."""
    return [] if resource.criterion is None else [resource.criterion]


def key_values(resource: Resource, key: Sequence[Any]) -> dict[str, Any]:
    """The parameters of `key_clause`."""
    return dict(zip(resource.key_binds, key, strict=True))


# ---- reading -----------------------------------------------------------------------------------------------


def select_rows(view: View, scopes: Mapping[str, Decision]) -> Select[Any]:
    """The rows of a view without any condition; joined relations are cut to what `scopes` lets through."""
    source, columns = _source(view, view.resource.table, scopes)
    return select(*(column.label(f"c{number}") for number, column in enumerate(columns))).select_from(source)


def _source(
    view: View, table: FromClause, scopes: Mapping[str, Decision]
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    columns: list[ColumnElement[Any]] = [table.c[item.column.key] for item in view.fields]
    source = table
    for embed in view.joined:
        target = _target(embed, scopes)
        condition = and_(*(table.c[own.key] == target.c[other.key] for own, other in embed.relation.pairs))
        below, inner = _source(embed.view, target, scopes)
        # A nested join stays inside the left side: the outer join keeps the parent whatever is missing below.
        source = source.outerjoin(below, condition)
        columns.append(target.c[embed.view.resource.key[0].column.key])
        columns += inner
    for embed in view.separate:
        columns += [table.c[own.key] for own, _ in embed.relation.pairs]
    return source, columns


def _target(embed: Embed, scopes: Mapping[str, Decision]) -> FromClause:
    resource = embed.view.resource
    clauses = [*_kind(resource), *_rule(resource.table, scopes.get(embed.path))]
    name = f"e_{embed.path.replace('.', '_')}"
    # The rule stands inside, on the table itself: no rewriting of columns that could miss one in a subquery.
    table = resource.table
    return select(table).where(*clauses).subquery(name) if clauses else table.alias(name)


def select_page(
    view: View, scopes: Mapping[str, Decision], order: Sequence[tuple[str, bool]] = ()
) -> Select[Any]:
    """A page by these fields, then by the key; parameters `limit` and `offset`."""
    limit, offset = (bindparam(name, type_=BigInteger()) for name in ("limit", "offset"))
    wanted = [part for name, descends in order for part in _ordered(view.resource.fields[name], descends)]
    keys = [item.column for item in view.resource.key]
    rule = _rule(view.resource.table, scopes.get(""))
    rows = select_rows(view, scopes).where(*_kind(view.resource), *rule)
    return rows.order_by(*wanted, *keys).limit(limit).offset(offset)


def _ordered(item: Field, descends: bool) -> list[ColumnElement[Any]]:
    """NULL comes last whichever way and on every database."""
    first: list[ColumnElement[Any]] = [item.column.is_(None)] if item.nullable else []
    return [*first, item.column.desc() if descends else item.column.asc()]


def select_one(view: View, scopes: Mapping[str, Decision], *, lock: bool = False) -> Select[Any]:
    """One row by key."""
    rule = _rule(view.resource.table, scopes.get(""))
    statement = select_rows(view, scopes).where(key_clause(view.resource), *rule)
    return statement.with_for_update() if lock else statement


def select_one_for(caller: Any, view: View, scopes: Mapping[str, Decision]) -> Select[Any]:
    """One row by key, beside the one row about the caller (its parameters named `who_...`); without that, no row.

    Behind the columns of the row stands what is NULL where there is none, then those about the caller.
    """

    def renamed(element: Any, **_: Any) -> Any:
        if not isinstance(element, BindParameter) or element.unique:
            return None  # what has no name of its own gets one that nothing else has
        return bindparam(f"who_{element.key}", type_=element.type, expanding=element.expanding)

    asked: Select[Any] = visitors.replacement_traverse(caller, {}, renamed)
    who = asked.subquery("who")
    row = select_one(view, scopes).add_columns(literal_column("1").label("there")).subquery("found")
    return select(*row.c, *who.c).select_from(who.outerjoin(row, true()))


def select_types(view: View, told: Callable[[ColumnElement[Any]], ColumnElement[Any]]) -> Select[Any]:
    """What the types of the view's own columns tell: one row, whatever the table holds."""
    one = select(literal_column("1")).subquery("one row")
    source = one.outerjoin(view.resource.table, false())
    return select(*(told(item.column) for item in view.fields)).select_from(source)


def count_rows(resource: Resource, rule: Decision | None) -> Select[Any]:
    """How many rows there are."""
    clauses = [*_kind(resource), *_rule(resource.table, rule)]
    return select(func.count()).select_from(resource.table).where(*clauses)


def _rule(table: Table, decision: Decision | None) -> list[ColumnElement[bool]]:
    return _about(table, clause_of(decision))


def _about(table: Table, clause: ColumnElement[bool] | None) -> list[ColumnElement[bool]]:
    """The clause, if it is about rows of the table: another table would be joined, each row with each."""
    if clause is None:
        return []
    read = select(literal_column("1")).select_from(table).where(clause).get_final_froms()
    others = [str(source) for source in read if source is not table]
    if others:
        raise ConfigError(
            f"a rule about {table.name} reads {', '.join(others)} outside of a subquery; "
            "write column.in_(select(...)) or exists()"
        )
    return [clause]


def select_few_children(embed: Embed, scopes: Mapping[str, Decision], parents: int) -> Select[Any]:
    """The children of that many parents (parameters `p<number>_<column>`), and no more than FEW and one.

    The last columns are the parent's key as the child side has it.
    """
    statement, columns, links, order = _children(embed, scopes, partial(_among, parents=parents))
    return statement.with_only_columns(*columns, *links).order_by(*order).limit(literal_column(str(FEW + 1)))


def select_children(embed: Embed, scopes: Mapping[str, Decision], parents: int) -> Select[Any]:
    """The same children where there are many: CHILDREN of each parent, and last how many it has."""
    statement, columns, links, order = _children(embed, scopes, partial(_among, parents=parents))
    number = func.row_number().over(partition_by=links, order_by=order).label("number")
    total = func.count().over(partition_by=links).label("total")
    ranked = statement.with_only_columns(*columns, *links, total, number).subquery("ranked")
    wanted = [column for column in ranked.c if column.key != "number"]
    first = ranked.c.number <= literal_column(str(CHILDREN))
    return select(*wanted).where(first).order_by(ranked.c.number)


def select_own_children(
    embed: Embed, scopes: Mapping[str, Decision], parent: FromClause, keys: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """The children of a row of the statement around this one, CHILDREN and one at most; `keys` is what it holds."""

    def of_parent(links: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return and_(*(link == key for link, key in zip(links, keys, strict=True)))

    statement, columns, _, order = _children(embed, scopes, of_parent)
    wanted = statement.with_only_columns(*columns).order_by(*order)
    return wanted.limit(literal_column(str(CHILDREN + 1))).correlate(parent)


def _children(
    embed: Embed,
    scopes: Mapping[str, Decision],
    among: Callable[[Sequence[ColumnElement[Any]]], ColumnElement[bool]],
) -> tuple[Select[Any], list[ColumnElement[Any]], list[ColumnElement[Any]], list[ColumnElement[Any]]]:
    """The statement without columns; what it may read: the children's columns, their links, their order."""
    view, table = embed.view, embed.view.resource.table
    source, columns = _source(view, table, scopes)
    source, links, order = _linked(source, embed.relation)
    rule = _rule(table, scopes.get(embed.path))
    clauses = [among(links), *_kind(view.resource), *rule]
    named = [column.label(f"c{place}") for place, column in enumerate(columns)]
    keys = [link.label(f"l{place}") for place, link in enumerate(links)]
    order += [item.column for item in view.resource.key]
    return select(*links).select_from(source).where(*clauses), [*named], [*keys], order


def _linked(
    source: FromClause, relation: Relation
) -> tuple[FromClause, list[ColumnElement[Any]], list[ColumnElement[Any]]]:
    """The children beside their links; the links' columns, and the relation's own order."""
    if relation.secondary is None:
        return source, [other for _, other in relation.pairs], [*relation.order]
    # Under a name of its own: a rule's subquery over the link table reads the table, not the row joined here.
    through = relation.secondary.alias(f"l_{relation.name}")
    link = and_(*(target == through.c[column.key] for target, column in relation.secondary_pairs))
    order = [ClauseAdapter(through).traverse(part) for part in relation.order]
    return source.join(through, link), [through.c[column.key] for _, column in relation.pairs], order


@cache
def parent_names(parents: int, width: int) -> list[str]:
    """The names of the parents' keys in a statement about their children."""
    return [f"p{number}_{place}" for number in range(parents) for place in range(width)]


def _among(links: Sequence[ColumnElement[Any]], parents: int) -> ColumnElement[bool]:
    if len(links) == 1:
        (link,) = links
        return link.in_([bindparam(f"p{number}_0", type_=link.type) for number in range(parents)])
    same = [
        and_(*(link == bindparam(f"p{number}_{place}", type_=link.type) for place, link in enumerate(links)))
        for number in range(parents)
    ]
    return or_(*same)


# ---- writing -----------------------------------------------------------------------------------------------


def insert_row(view: View, names: Sequence[str], *, returning: bool) -> Executable:
    """One row with these fields (parameters `v_...`)."""
    resource = view.resource
    statement = insert(resource.table).values(
        {resource.fields[name].column: _value(resource.fields[name]) for name in names}
    )
    return statement.returning(*_returned(view)) if returning else statement


def update_row(
    view: View, names: Sequence[str], rule: ColumnElement[bool] | None, *, returning: bool
) -> Executable:
    """The row with the key, where the rule lets it be touched."""
    resource = view.resource
    values: dict[Any, Any] = {resource.fields[name].column: _value(resource.fields[name]) for name in names}
    if resource.version is not None:
        version = resource.fields[resource.version].column
        values[version] = version + 1
    clauses = [key_clause(resource), *_about(resource.table, rule)]
    statement = update(resource.table).values(values).where(*clauses)
    return statement.returning(*_returned(view)) if returning else statement


def delete_row(resource: Resource, rule: ColumnElement[bool] | None) -> Executable:
    """The row with the key, where the rule lets it be touched."""
    return delete(resource.table).where(key_clause(resource), *_about(resource.table, rule))


def _returned(view: View) -> list[ColumnElement[Any]]:
    return [item.column for item in view.fields]


def judge_row(
    resource: Resource, read: ColumnElement[bool] | None, write: ColumnElement[bool] | None
) -> Select[Any]:
    """Whether the row with the key may be read, and whether it may be written: two numbers."""

    def told(clause: ColumnElement[bool] | None) -> ColumnElement[int]:
        return case((true() if clause is None else clause, 1), else_=0)

    answers: Select[Any] = Select(*(told(clause) for clause in (read, write)))
    return answers.select_from(resource.table).where(key_clause(resource))


def open_ways(
    resource: Resource, clauses: Sequence[ColumnElement[bool] | None], *, lock: bool
) -> Select[Any]:
    """Which of the clauses the row with the key satisfies, a number for each; it stays so while locked."""
    told: Select[Any] = Select(*(case((clause, 1), else_=0) for clause in clauses if clause is not None))
    statement = told.select_from(resource.table).where(key_clause(resource))
    return statement.with_for_update() if lock else statement


def check_row(resource: Resource, check: ColumnElement[bool]) -> Select[Any]:
    """One row where the written row satisfies the check."""
    clauses = [key_clause(resource), *_about(resource.table, check)]
    return select(literal_column("1")).select_from(resource.table).where(*clauses)


def refer_row(table: Table, columns: Sequence[Any], rule: ColumnElement[bool] | None) -> Select[Any]:
    """One row where the referred row (parameters `r0`, `r1` ...) exists and may be read."""
    same = [column == bindparam(f"r{place}", type_=column.type) for place, column in enumerate(columns)]
    return select(literal_column("1")).select_from(table).where(*same, *_about(table, rule)).limit(1)


def needs_second_look(
    check: ColumnElement[bool], clause: ColumnElement[bool] | None, written: Sequence[Field]
) -> bool:
    """Whether the row must be read again after an update to know that it satisfies the check.

    Not when the check is the clause that the row has just passed, reads no written column and holds no
    subquery.
    """
    if check is not clause:
        return True
    touched = {item.column for item in written}
    return any(
        (isinstance(part, SelectBase | FromClause) and not isinstance(part, Table)) or part in touched
        for part in visitors.iterate(check)
    )
