"""`a | b` on changes: the check that a changed row must pass is that of a rule which let it be changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Integer,
    create_engine,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.types import TypeDecorator

from jetio import Allow, AllowWhere
from jetio.policy import negated
from tests.core.test_policy import CLAUSES, VALUES, Own, Row, decide, rule_of, trees


@pytest.fixture(scope="module")
def known() -> Iterator[Connection]:
    """A row for every combination of values."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        Own.metadata.create_all(connection)
        connection.execute(insert(Row), [{"id": number, **row} for number, row in enumerate(VALUES)])
        yield connection
    engine.dispose()


def moves(tree: Any, old: dict[str, Any], new: dict[str, Any], sign: bool = True) -> bool:
    """Whether plain logic lets `old` become `new`; a negation goes down to the single rules."""
    if tree in ("allow", "deny"):
        return (tree == "allow") is sign
    if tree[0] == "~":
        return moves(tree[1], old, new, not sign)
    if tree[0] in ("&", "|"):
        told = [moves(part, old, new, sign) for part in tree[1:]]
        return all(told) if (tree[0] == "&") is sign else any(told)
    return CLAUSES[tree[0]][1](old) is sign and CLAUSES[tree[1]][1](new) is sign


@settings(max_examples=60, deadline=None)
@given(tree=trees)
@example(tree=("&", (0, 0), (3, 3)))
@example(tree=("|", ("&", (0, 0), (3, 3)), (3, 0)))
def test_a_change_is_one_rule_s_from_its_row_to_its_check(known: Connection, tree: Any) -> None:
    """Of combined rules of any depth exactly the changes pass that plain logic lets pass."""
    decision = decide(rule_of(tree))
    everything = set(range(len(VALUES)))
    found: dict[tuple[int, ...], set[int]] = {}
    for number, old in enumerate(VALUES):
        expected = {place for place, new in enumerate(VALUES) if moves(tree, old, new)}
        if not isinstance(decision, AllowWhere):
            assert expected == (everything if isinstance(decision, Allow) else set())
            continue
        ways = [func.coalesce(way.clause, False) for way in decision.ways()]
        passed, *bits = known.execute(
            select(func.coalesce(decision.clause, False), *ways).where(Row.id == number)
        ).one()
        key = tuple(bits)
        if key not in found:
            check = decision.check_after(map(bool, bits))
            found[key] = set(known.scalars(select(Row.id).where(check)))
        assert (found[key] if passed else set()) == expected


class Flags(TypeDecorator[int]):
    impl = Integer
    cache_ok = True


class Switch(TypeDecorator[bool]):
    impl = Boolean
    cache_ok = True


@pytest.mark.parametrize(
    "clause",
    [
        Row.n,
        Row.n + 1,
        ~Row.n,  # type: ignore[operator]
        Row.p & Row.n,  # type: ignore[operator]
        Row.p | (Row.q & Row.n),  # type: ignore[operator]
        func.coalesce(Row.n, 0),
        func.count(),
        literal(1),
        literal("t"),
        Row.n.op("&")(4),
        type_coerce(Row.n, Flags),
        select(Row.n).limit(1).scalar_subquery(),
    ],
    ids=str,
)
def test_a_number_is_no_condition(clause: Any) -> None:
    """What databases disagree on whether it is true is refused, with what to write in place of it."""
    for give in (lambda: AllowWhere(clause), lambda: AllowWhere(Row.p, check=clause)):
        with pytest.raises(TypeError, match=r"(?s)is no condition but .*; write a comparison: .* > 0"):
            give()


@pytest.mark.parametrize(
    ("clause", "rows"),
    [
        (Row.p, {True}),
        (type_coerce(Row.p, Switch), {True}),
        (func.coalesce(Row.p, True), {True, None}),
        (exists().where(Row.p), {True, False, None}),
        (literal_column("2 + 3"), {True, False, None}),
        (literal_column("rows.p IS NULL"), {None}),
        (literal_column("NULL"), set()),
    ],
    ids=str,
)
def test_the_negation_of_a_condition_is_all_other_rows(
    known: Connection, clause: ColumnElement[bool], rows: set[bool | None]
) -> None:
    """Also of one whose type SQLAlchemy does not know: each row is in the rule or in its negation."""
    decision = AllowWhere(clause)
    other = negated(decision)
    assert isinstance(other, AllowWhere)
    within = set(known.scalars(select(Row.id).where(decision.clause)))
    outside = set(known.scalars(select(Row.id).where(other.clause)))
    assert within == {number for number, row in enumerate(VALUES) if row["p"] in rows}
    assert outside == set(range(len(VALUES))) - within
