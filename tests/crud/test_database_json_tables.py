"""JSON that PostgreSQL makes of tables that others made: types, names and settings that no model tells."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Enum, ForeignKey, Integer, Numeric, String, Table, insert
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import CrudRouter, JetioModel
from tests.crud import twins as settings
from tests.crud.twins import Twins, twins
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Paper(Model):
    """What the model says of its columns; each test makes one of them another type."""

    word: Mapped[str | None]
    whole: Mapped[int | None]
    flag: Mapped[bool | None]
    day: Mapped[dt.date | None]
    clock: Mapped[dt.time | None]
    at: Mapped[dt.datetime | None]
    token: Mapped[uuid.UUID | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    choice: Mapped[str | None] = mapped_column(
        Enum("a", "b", "new", native_enum=False, create_constraint=False)
    )
    native: Mapped[str | None] = mapped_column(Enum("a", "b", "new", name="told"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id"), index=True)


class Box(Model):
    papers: Mapped[list[Paper]] = relationship(order_by="Paper.id")


def routers() -> list[CrudRouter]:
    return [CrudRouter(Paper), CrudRouter(Box, load_relationships=["papers"])]


@pytest.fixture
def papers(postgresql_url: str) -> Iterator[Twins]:
    """Papers and boxes, none of them asked for yet."""
    with twins(postgresql_url, Model.metadata, routers) as both:
        both.write("CREATE TYPE letters AS ENUM ('a', 'b')")
        yield both


def change(papers: Twins, column: str, kind: str, value: str) -> None:
    """One row in one box, with this in a column that is of another type now."""
    papers.write(
        f"ALTER TABLE papers ALTER {column} TYPE {kind} USING NULL",
        "INSERT INTO boxes DEFAULT VALUES",
        f"INSERT INTO papers ({column}, box_id) VALUES ({value}, 1)",  # noqa: S608 - ours
    )


INJECTED = """'5, "admin": true'"""
QUOTED = """'a", "admin": "x'"""
TYPES = [
    ("whole", "text", INJECTED, 200),
    ("whole", "numeric", "5.0", 200),
    ("whole", "boolean", "true", 200),
    ("flag", "text", INJECTED, 200),
    ("flag", "integer", "1", 200),
    ("token", "text", QUOTED, 200),
    ("price", "double precision", "1.5", 200),
    ("price", "integer", "5", 200),
    ("price", "text", QUOTED, 500),
    ("day", "text", "'2020-01-01'", 200),
    ("clock", "text", "'10:00:00'", 500),
    ("clock", "timetz", "'10:00:00+01'", 200),
    ("at", "date", "'2020-01-01'", 500),
    ("word", "jsonb", """'{"a": 1}'""", 200),
    ("word", "numeric", "1.50", 200),
    ("word", "timestamp", "'2020-01-01 00:00:00.5'", 200),
    ("word", "double precision", "1e20", 200),
    ("word", "bytea", "'abc'", 200),
    ("word", "oid", "5", 200),
    ("word", '"char"', "'a'", 200),
    ("choice", "integer", "5", 500),
]


@pytest.mark.parametrize(("column", "kind", "value", "status"), TYPES)
def test_a_column_of_another_type_than_declared_is_read_from_rows(
    papers: Twins, column: str, kind: str, value: str, status: int
) -> None:
    """Whatever a table holds in truth, answers are those made of rows, in lists and in what is embedded."""
    change(papers, column, kind, value)
    for path in ("/papers", "/boxes", "/boxes/1"):
        papers.get(path, status=status)
        assert not papers.by_database


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("word", "varchar(9)", "'a\"b'"),
        ("word", "char(5)", "'ab'"),
        ("whole", "bigint", "9223372036854775807"),
        ("whole", "smallint", "7"),
        ("price", "numeric", "1.5"),
        ("choice", "letters", "'a'"),
        ("native", "letters", "'a'"),
        ("native", "text", "'a'"),
    ],
)
def test_a_type_that_is_written_alike_is_as_good_as_the_declared_one(
    papers: Twins, column: str, kind: str, value: str
) -> None:
    """Sizes may differ, and an enumeration may lack members or be text: the server makes the JSON."""
    change(papers, column, kind, value)
    for path in ("/papers", "/boxes", "/boxes/1"):
        papers.get(path)
        assert papers.by_database


def test_the_log_tells_once_which_columns_are_of_other_types(
    papers: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks for the reason finds the columns; further requests say nothing."""
    change(papers, "whole", "text", "'5'")
    with caplog.at_level(logging.WARNING, logger="jetio"):
        for _ in range(3):
            papers.get("/papers")
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if "other types" in text] == [
        "JSON of Paper is made of rows: in the database these columns are of other types than declared: papers.whole"
    ]


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("whole", "text", INJECTED),
        ("flag", "text", INJECTED),
        ("token", "text", QUOTED),
        ("price", "text", QUOTED),
        ("word", "jsonb", """'{"a": 1}'"""),
        ("day", "text", "'2020-01-01'"),
        ("at", "timestamp", "'2020-01-01'"),
        ("choice", "integer", "5"),
    ],
)
def test_a_column_that_changes_while_the_application_runs_adds_nothing_to_a_document(
    papers: Twins, column: str, kind: str, value: str
) -> None:
    """At worst the first request fails; text of a table never stands in an answer as JSON of its own."""
    papers.write((insert(Paper), [{"word": "first"}]))
    names = set(papers.get("/papers")[0])
    assert papers.by_database
    change(papers, column, kind, value)
    first = papers.made.get("/papers")
    assert first.status_code != 200 or set(first.json()[1]) == names
    if first.status_code != 200:
        again, of_rows = (client.get("/papers") for client in (papers.made, papers.plain))
        assert (again.status_code, of_rows.status_code) in {(200, 200), (500, 500)}
        assert again.status_code != 200 or again.content == of_rows.content


# ---- names -------------------------------------------------------------------------------------------------


class House(Model):
    kids: Mapped[list[Kid]] = relationship(order_by="Kid.id")


class Kid(Model):
    """In tables that are called as an alias might be, with columns that are."""

    __tablename__ = "d"
    house_id: Mapped[int] = mapped_column(ForeignKey("houses.id"), index=True)
    c0: Mapped[int]
    toys: Mapped[list[Toy]] = relationship(order_by="Toy.id")


class Toy(Model):
    __tablename__ = "d_kids"
    kid_id: Mapped[int] = mapped_column(ForeignKey("d.id"), index=True)


def test_no_table_is_called_as_a_part_of_the_statement(postgresql_url: str) -> None:
    """Tables of any name may be embedded: each child stands below its own parent."""
    loads = [
        CrudRouter(House, load_relationships=["kids.toys"]),
        CrudRouter(Kid, load_relationships=["toys"]),
    ]
    with twins(postgresql_url, Model.metadata, lambda: loads) as both:
        both.write(
            (insert(House), [{}, {}]),
            (insert(Kid), [{"house_id": 1, "c0": 2}, {"house_id": 2, "c0": 1}]),
            (insert(Toy), [{"kid_id": 2}, {"kid_id": 1}]),
        )
        for path in ("/houses", "/houses/1", "/d", "/d/1"):
            both.get(path)
            assert both.by_database
        toys: list[Any] = [[toy["id"] for toy in house["kids"][0]["toys"]] for house in both.get("/houses")]
    assert toys == [[2], [1]]


NAMES = ['a"b', "a\\b", "new\nline", "tab\tstop", "it's", "p%q", "ñ é", "\x7f\u2028"]


class Named(Model):
    __table__ = Table(
        "named",
        Model.metadata,
        Column("id", Integer, primary_key=True),
        *(Column(name, String) for name in NAMES),
    )


def test_names_of_columns_are_written_as_json(postgresql_url: str) -> None:
    """Quotes, backslashes and line feeds in a name are escaped as they are in a value."""
    with twins(postgresql_url, Model.metadata, lambda: [CrudRouter(Named)]) as both:
        both.write((insert(Named.__table__), [{}]))
        assert list(both.get("/named")[0]) == ["id", *NAMES]
        assert both.by_database


# ---- the search path ---------------------------------------------------------------------------------------


def test_functions_of_ones_own_change_no_answer(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path may find functions called as the server's are before these."""
    monkeypatch.setitem(settings.STRANGE, "search_path", "public, pg_catalog")
    with twins(postgresql_url, Model.metadata, routers) as both:
        both.write(
            "CREATE FUNCTION public.to_json(varchar) RETURNS json LANGUAGE sql AS $$ SELECT '1'\\:\\:json $$",
            "CREATE FUNCTION public.concat(VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT '2' $$",
            "CREATE FUNCTION public.to_char(date, text) RETURNS text LANGUAGE sql AS $$ SELECT '3' $$",
            "CREATE FUNCTION public.chr(int) RETURNS text LANGUAGE sql AS $$ SELECT '4' $$",
            (insert(Box), [{}]),
            (insert(Paper), [{"word": "own", "day": dt.date(2026, 1, 2), "box_id": 1, "choice": "a"}]),
        )
        assert both.get("/boxes")[0]["papers"][0]["word"] == "own"
        assert both.by_database
