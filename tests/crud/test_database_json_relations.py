"""Relations in JSON that PostgreSQL makes: one statement, and byte for byte what is put together of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
    exists,
    insert,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import Access, AllowWhere, CrudRouter, Database, Decision, JetioModel, policy, public
from jetio.crud.documents import documents_of
from jetio.crud.views import view_of
from jetio.resource import resource_of
from tests.crud.twins import Twins, twins
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Harbour(Model):
    country: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ships: Mapped[list[Ship]] = relationship(order_by="Ship.tons.desc()", back_populates="harbour")
    master: Mapped[Master | None] = relationship(back_populates="harbour")


class Master(Model):
    class API:
        admin_only = ("wage",)

    country: Mapped[str]
    number: Mapped[int]
    wage: Mapped[int | None]
    harbour: Mapped[Harbour] = relationship(back_populates="master")

    __table_args__ = (
        UniqueConstraint("number", "country"),
        ForeignKeyConstraint(["country", "number"], ["harbours.country", "harbours.number"]),
    )


flying = Table(
    "flying",
    Model.metadata,
    Column("ship_id", ForeignKey("ships.id"), index=True),
    Column("flag_name", ForeignKey("flags.name"), index=True),
)


class Flag(Model):
    name: Mapped[str] = mapped_column(primary_key=True)
    ships: Mapped[list[Ship]] = relationship(secondary=flying, back_populates="flags")


class Ship(Model):
    tons: Mapped[int | None]
    owner: Mapped[str | None]
    country: Mapped[str | None]
    number: Mapped[int | None]
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("ships.id"))
    lead: Mapped[Ship | None] = relationship(remote_side="Ship.id", back_populates="followers")
    followers: Mapped[list[Ship]] = relationship(back_populates="lead")
    harbour: Mapped[Harbour | None] = relationship(back_populates="ships")
    flags: Mapped[list[Flag]] = relationship(
        secondary=flying, back_populates="ships", order_by="Flag.name.desc()"
    )

    __table_args__ = (
        ForeignKeyConstraint(["country", "number"], ["harbours.country", "harbours.number"]),
        Index("ix_ships_place", "country", "number", "id"),
        Index("ix_ships_lead", "lead_id"),
    )


class Permit(Model):
    """Who may see which ship."""

    name: Mapped[str]
    ship_id: Mapped[int] = mapped_column(ForeignKey("ships.id"))


SHIP = ["harbour.ships", "harbour.master", "flags", "followers.flags"]


def routers() -> list[CrudRouter]:
    return [
        CrudRouter(Harbour, load_relationships=["ships.flags.ships", "ships.lead", "master"], page_size=3),
        CrudRouter(
            Ship,
            load_relationships=["harbour.ships", "harbour.master", "flags", "followers.flags"],
            page_size=3,
        ),
        CrudRouter(Flag, load_relationships=["ships.harbour"], page_size=3),
        CrudRouter(Master, load_relationships=["harbour.ships"]),
    ]


@pytest.fixture
def port(postgresql_url: str) -> Iterator[Twins]:
    """Harbours, ships and flags, none of them yet."""
    with twins(postgresql_url, Model.metadata, routers) as both:
        yield both


FLAGS = ["red", 'a "blue"', "é\n\x01", "/"]
PLACES = st.sampled_from([("a", 1), ("a", 2), ("b", 1), (None, 1), ("a", None), (None, None)])
SHIPS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 3),
        PLACES,
        st.none() | st.integers(0, 9),
        st.lists(st.sampled_from(FLAGS), max_size=3),
    ),
    max_size=6,
)


def build(port: Twins, ships: list[tuple[Any, ...]]) -> None:
    places = [("a", 1), ("a", 2), ("b", 1), ("c", 1)]
    harbours = [{"country": country, "number": number} for country, number in places]
    rows = []
    for number, (tons, (country, place), lead, _) in enumerate(ships, 1):
        leading = lead % number or None if lead else None
        row = {"id": number, "tons": tons, "country": country, "number": place, "lead_id": leading}
        rows.append(row)
    numbered = list(enumerate(ships, 1))
    flown = [{"ship_id": number, "flag_name": name} for number, ship in numbered for name in ship[3]]
    port.write(
        "TRUNCATE harbours, masters, ships, flags, flying, permits RESTART IDENTITY",
        (insert(Harbour), harbours),
        (insert(Master), [{**harbour, "wage": 5} for harbour in harbours[::2]]),
        (insert(Flag), [{"name": name} for name in FLAGS]),
        (insert(Ship), rows),
        (insert(flying), flown),
    )


PATHS = [
    "/harbours",
    "/harbours?page=2",
    "/ships",
    "/ships?page=2",
    "/flags",
    "/harbours/a,1",
    "/harbours/c,1",
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ships=SHIPS)
def test_whatever_is_embedded_has_the_same_bytes(port: Twins, ships: list[tuple[Any, ...]]) -> None:
    """To-one and to-many below each other, composite and missing keys, link tables, orders: nothing differs."""
    build(port, ships)
    for path in (
        "/harbours",
        "/harbours?page=2",
        "/ships",
        "/ships?page=2",
        "/flags",
        "/harbours/a,1",
        "/harbours/c,1",
    ):
        port.get(path)
        assert port.by_database
    for number in range(1, len(ships) + 1):
        assert port.get(f"/ships/{number}")["id"] == number
    assert port.get("/ships/77", status=404)["code"] == "not_found"
    assert port.by_database


@pytest.mark.parametrize(("count", "made"), [(100, True), (101, False)])
def test_a_relation_that_is_cut_is_read_from_rows(port: Twins, count: int, made: bool) -> None:
    """A hundred children are one array; of more only rows tell how many there are."""
    build(port, [(number % 7, ("a", 1), None, ["red"]) for number in range(count)])
    first = port.get("/harbours")[0]
    assert port.by_database is made
    assert len(first["ships"]) == 100
    assert ("_meta" in first) is not made
    assert port.get("/harbours/a,1") == first
    assert port.by_database is made
    red = port.get("/ships/1")["flags"]
    assert [flag["name"] for flag in red] == ["red"]
    deep = port.get("/flags/red")
    assert len(deep["ships"]) == 100


def test_a_cut_relation_on_the_row_after_the_page_is_none(port: Twins) -> None:
    """The row that only says that more follow has no part in the answer."""
    ships: list[tuple[Any, ...]] = [(1, ("b", 1), None, [])] * 101
    build(port, ships)
    assert len(port.get("/harbours?page_size=2")) == 2
    assert port.by_database


# ---- rules -------------------------------------------------------------------------------------------------


@policy
async def permitted(access: Access) -> Decision:
    """Ships that the caller has a permit for; those of nobody are everybody's."""
    if access.principal is None:
        return AllowWhere(Ship.owner.is_(None))
    permit = exists().where(Permit.ship_id == Ship.id, Permit.name == access.principal.id)
    mine = Ship.id.in_(select(Permit.ship_id).where(Permit.name == access.principal.id))
    return AllowWhere(permit & mine | (Ship.owner == access.principal.id))


@policy
async def short(access: Access) -> Decision:
    return AllowWhere(Flag.name != ("red" if access.principal is None else "/"))


def ruled() -> list[CrudRouter]:
    return [
        CrudRouter(
            Ship, load_relationships=["lead.flags", "followers", "flags.ships"], policy={"*": permitted}
        ),
        CrudRouter(Flag, load_relationships=["ships.lead"], policy={"*": short}),
        CrudRouter(Harbour, load_relationships=["ships", "master"], policy={"*": public()}),
    ]


OWN = {"": [1, 4], "ann": [2, 3, 5], "bob": [1, 3, 6], "admin": []}


def test_rules_stand_around_everything_that_is_embedded(postgresql_url: str) -> None:
    """Each relation shows the rows that its own rule lets through, whoever asks and in whatever order they ask."""
    with twins(postgresql_url, Model.metadata, ruled) as port:
        build(port, [(1, ("a", 1), lead, FLAGS) for lead in (None, 1, 2, 1, 3, 4)])
        port.write(
            "UPDATE ships SET owner = CASE id % 3 WHEN 1 THEN NULL WHEN 2 THEN 'ann' ELSE 'bob' END",
            (insert(Permit), [{"name": "ann", "ship_id": 3}, {"name": "bob", "ship_id": 1}]),
        )
        for name in ("", "ann", "bob", "admin", "", "bob"):
            own = OWN[name]
            for path in ("/ships", "/ships?count=exact"):
                assert [row["id"] for row in port.get(path, name)] == own
            for number in range(1, 7):
                port.get(f"/ships/{number}", name, status=200 if number in own else 404)
            for flag in port.get("/flags", name):
                assert [row["id"] for row in flag["ships"]] == own
                assert flag["name"] != ("/" if name else "red")
            assert [row["id"] for row in port.get("/harbours/a,1", name)["ships"]] == own
        port.get("/harbours", "ann")
        assert port.by_database


def test_admins_see_their_fields_and_nobody_else_does(port: Twins) -> None:
    """A view of admins is JSON of its own."""
    build(port, [(1, ("a", 1), None, [])])
    assert port.get("/masters/1", "admin")["wage"] == 5
    assert "wage" not in port.get("/masters/1", "ann")
    assert list(port.get("/masters")[0]) == ["id", "country", "number", "harbour"]
    assert port.by_database


# ---- who makes it ------------------------------------------------------------------------------------------


class Street(Model):
    houses: Mapped[list[House]] = relationship()
    lamps: Mapped[list[Lamp]] = relationship()


class House(Model):
    street_id: Mapped[int] = mapped_column(ForeignKey("streets.id"))


class Lamp(Model):
    street_id: Mapped[int] = mapped_column(ForeignKey("streets.id"))
    lit: Mapped[bool]

    __table_args__ = (Index("ix_lit", "street_id", postgresql_where=mapped_column("lit").column.is_(True)),)


@pytest.mark.parametrize("name", ["houses", "lamps"])
def test_children_without_an_index_stay_with_rows(name: str) -> None:
    """A search for each parent's children is quick by an index alone; one over part of the rows is none."""
    view = view_of(resource_of(Street), [name], admin=False)
    documents, obstacles = documents_of(view, Database("postgresql://127.0.0.1/any"))
    assert (documents, obstacles) == (None, (f"no index for Street.{name}",))
