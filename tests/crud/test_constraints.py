"""What the databases refuse, told by field: named and unnamed constraints, of one column and of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio
from tests.crud.library import SETTINGS, serving


class Bare(DeclarativeBase):
    """A base of the application's own: no naming convention, so the databases name constraints themselves."""


class Region(Bare):
    __tablename__ = "regions"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(sa.String(9), unique=True)


class City(Bare):
    __tablename__ = "cities"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column("city name", sa.String(20))
    zip: Mapped[str] = mapped_column(sa.String(9))
    mayor: Mapped[str | None] = mapped_column(sa.String(20), unique=True)
    people: Mapped[int] = mapped_column(default=1)
    streets: Mapped[int] = mapped_column(default=1)
    region_id: Mapped[int | None] = mapped_column(sa.ForeignKey("regions.id"))
    region_code: Mapped[str | None] = mapped_column(sa.ForeignKey("regions.code"))
    twin_name: Mapped[str | None] = mapped_column(sa.String(20))
    twin_zip: Mapped[str | None] = mapped_column(sa.String(9))

    __table_args__ = (
        sa.UniqueConstraint("city name", "zip"),
        sa.Index("one_zip_and_mayor", "zip", "mayor", unique=True),
        sa.CheckConstraint("people > 0", name="some_people"),
        sa.CheckConstraint(streets.column > 0, name="some_streets"),
        sa.ForeignKeyConstraint(["twin_name", "twin_zip"], ["cities.city name", "cities.zip"]),
    )


class Deferred(Bare):
    __tablename__ = "deferred"
    id: Mapped[int] = mapped_column(primary_key=True)
    region_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("regions.id", deferrable=True, initially="DEFERRED")
    )


class Drifted(DeclarativeBase):
    """A base whose table somebody else has made, and made stricter."""


class Loose(Drifted):
    __tablename__ = "regions"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str | None] = mapped_column(sa.String(9))


@pytest.fixture
def client(database_url: str, writers: str) -> Iterator[TestClient]:
    tables: list[Any] = [Region.__table__, City.__table__]
    app = Jetio(database=database_url, settings=SETTINGS, metadata=sa.MetaData())
    for model in (Region, City):
        CrudRouter(model).register_routes(app)

    def listener(mapper: Any, connection: Any, target: Any) -> None: ...

    @app.on_event("startup")
    async def create() -> None:
        async with app.database.engine.begin() as connection:
            await connection.run_sync(Bare.metadata.create_all, tables=tables)

    if writers == "objects":
        for model in (Region, City):
            sa.event.listen(model, "before_insert", listener)
    with serving(app) as client:
        yield client
    if writers == "objects":
        for model in (Region, City):
            sa.event.remove(model, "before_insert", listener)


def told(answer: Any) -> tuple[int, str, set[str]]:
    problem = answer.json()
    return answer.status_code, problem["code"], {item["pointer"] for item in problem.get("errors", [])}


def test_constraints_that_nobody_named(client: TestClient) -> None:
    """Fields are named for unnamed constraints too, and for columns that are called otherwise."""
    client.post("/regions", json={"code": "north"})
    first = client.post("/cities", json={"name": "Bergen", "zip": "5003", "mayor": "Ann", "region_id": 1})
    assert first.status_code == 201
    address = first.headers["location"]
    assert told(client.post("/cities", json={"name": "Bergen", "zip": "5003"})) == (
        409,
        "conflict",
        {"/name", "/zip"},
    )
    assert told(client.post("/cities", json={"name": "x", "zip": "1", "mayor": "Ann"})) == (
        409,
        "conflict",
        {"/mayor"},
    )
    for field, value in {"region_id": 9, "region_code": "south"}.items():
        expected = (422, "invalid_reference", {f"/{field}"})
        assert told(client.post("/cities", json={"name": "y", "zip": "2", field: value})) == expected
        assert told(client.patch(address, json={field: value})) == expected
    twin = {"twin_name": "Nowhere", "twin_zip": "0"}
    expected = (422, "invalid_reference", {"/twin_name", "/twin_zip"})
    assert told(client.post("/cities", json={"name": "z", "zip": "3", **twin})) == expected
    assert client.patch(address, json={"twin_name": "Bergen", "twin_zip": "5003"}).status_code == 200
    assert told(client.patch(address, json={"twin_zip": "0"})) == expected
    for field in ("people", "streets"):
        assert told(client.patch(address, json={field: 0})) == (422, "validation", {f"/{field}"})
    assert len(client.get("/cities").json()) == 1


def test_a_value_that_others_refer_to_stays(client: TestClient) -> None:
    """Changing a value that other rows refer to is 409, as deleting their row is."""
    client.post("/regions", json={"code": "north"})
    client.post("/cities", json={"name": "a", "zip": "1", "region_code": "north"})
    for answer in (client.patch("/regions/1", json={"code": "south"}), client.delete("/regions/1")):
        assert told(answer) == (409, "still_referenced", set())
    assert client.get("/regions").json() == [{"id": 1, "code": "north"}]


def test_a_table_that_requires_more_than_its_model(database_url: str) -> None:
    """A column that only the database requires is told as missing, by its field, on every verb."""
    table = sa.Table(
        "regions",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(9), nullable=False),
    )
    app = Jetio(database=database_url, settings=SETTINGS, metadata=table.metadata)
    CrudRouter(Loose).register_routes(app)
    with serving(app) as client:
        missing = (422, "validation", {"/code"})
        assert told(client.post("/regions", json={})) == missing
        address = client.post("/regions", json={"code": "north"}).headers["location"]
        assert told(client.patch(address, json={"code": None})) == missing
        assert client.get(address).json()["code"] == "north"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_constraints_that_are_checked_at_the_end(database: str, request: pytest.FixtureRequest) -> None:
    """A deferred constraint is told like any other; what the commit refuses is undone, and nothing stays open."""
    url = request.getfixturevalue(f"{database}_url")
    tables: list[Any] = [Region.__table__, Deferred.__table__]
    app = Jetio(database=url, settings=SETTINGS, metadata=sa.MetaData())
    CrudRouter(Deferred).register_routes(app)
    CrudRouter(Deferred, hooks={"before_create": lambda change: None}).register_routes(app, prefix="/hooked")

    @app.on_event("startup")
    async def create() -> None:
        async with app.database.engine.begin() as connection:
            await connection.run_sync(Bare.metadata.create_all, tables=tables)

    with serving(app) as client:
        for prefix in ("", "/hooked"):
            for _ in range(3):
                answer = client.post(f"{prefix}/deferred", json={"region_id": 77})
                assert answer.status_code in (409, 422), answer.text
                assert answer.json()["code"] in ("invalid_reference", "still_referenced")
            assert client.post(f"{prefix}/deferred", json={}).status_code == 201
        assert len(client.get("/deferred").json()) == 2
