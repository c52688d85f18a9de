"""Classes of one table: whatever leads to a row, it obeys the rules of its class and of those above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, case, event
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import AllowWhere, ConfigError, CrudRouter, Decision, Deny, Jetio, JetioModel, policy, public, rows
from tests.crud.library import SETTINGS, serving
from tests.crud.test_rules import ByHeader
from tests.registries import own_registry

ANN = {"x-name": "ann"}


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Person(Model):
    __tablename__ = "people"

    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    owner: Mapped[str | None]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Staff(Person):
    pay: Mapped[int | None]
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))

    __mapper_args__ = {"polymorphic_identity": "staff"}  # noqa: RUF012


class Boss(Staff):
    __mapper_args__ = {"polymorphic_identity": "boss"}  # noqa: RUF012


class Guest(Person):
    __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012


class Team(Model):
    name: Mapped[str]
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    lead: Mapped[Staff | None] = relationship(foreign_keys=[lead_id])
    contact: Mapped[Person | None] = relationship(foreign_keys=[lead_id], viewonly=True)
    members: Mapped[list[Staff]] = relationship(foreign_keys="Staff.team_id")


@policy
async def own_people(access: Any) -> Decision:
    """A caller's own people; nobody else sees any."""
    return Deny() if access.principal is None else AllowWhere(Person.owner == access.principal.sub)


@policy
async def payroll(access: Any) -> Decision:
    """Staff is shown to `boss` alone."""
    return AllowWhere(Staff.pay > 0) if access.principal and access.principal.sub == "boss" else Deny()


@contextmanager
def serve(
    url: str, *routers: tuple[CrudRouter, str], team: dict[str, Any] | None = None
) -> Iterator[TestClient]:
    """Two teams, and four people: 1 and 2 (staff) are ann's, 3 (staff) and 4 (a boss) are bob's."""
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    for router, prefix in routers:
        router.register_routes(app, prefix=prefix)
    CrudRouter(Team, load_relationships=["lead", "contact", "members"], **(team or {})).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for row in (
                Team(name="a"),
                Team(name="b"),
                Person(name="Ann", owner="ann"),
                Staff(name="Al", owner="ann", team_id=1, pay=1),
                Staff(name="Bo", owner="bob", team_id=1, pay=1),
                Boss(name="Bea", owner="bob", team_id=1, pay=0),
            ):
                session.add(row)
                await session.flush()  # the keys count up in this order
            await session.commit()
        async with app.database.sessions() as session:
            (await session.get_one(Team, 1)).lead_id = 2
            (await session.get_one(Team, 2)).lead_id = 3
            await session.commit()

    with serving(app) as client:
        yield client


def ids(client: TestClient, path: str, **headers: str) -> list[int]:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


def teams(client: TestClient, **headers: str) -> list[tuple[Any, Any, list[int]]]:
    """The lead, the contact and the members of each team, as far as the caller sees them."""
    found = client.get("/teams", headers=headers).json()
    return [
        (
            row["lead"] and row["lead"]["id"],
            row["contact"] and row["contact"]["id"],
            [member["id"] for member in row["members"]],
        )
        for row in found
    ]


def refers(client: TestClient, person: int, **headers: str) -> int:
    """The status of a new team that this person leads."""
    answer = client.post("/teams", json={"name": "new", "lead_id": person}, headers=headers)
    if answer.status_code == 422:
        assert answer.json()["code"] == "invalid_reference"
    else:
        client.delete(answer.headers["location"], headers=headers)
    return answer.status_code


OPEN = {"GET": public(), "*": public()}


def test_a_kind_without_a_router_obeys_the_rule_of_its_table(database_url: str) -> None:
    """Embedded staff and references to staff obey the router of people, who staff are."""
    with serve(database_url, (CrudRouter(Person, policy={"*": own_people}), "")) as client:
        assert teams(client) == [(None, None, []), (None, None, [])]
        assert teams(client, **ANN) == [(2, 2, [2]), (None, None, [])]
        assert [refers(client, person, **ANN) for person in (1, 2, 3, 4)] == [201, 201, 422, 422]
        assert refers(client, 2) == 422


@pytest.mark.parametrize("secured", [True, False])
def test_a_router_of_a_kind_is_no_way_around_its_parent_s_rule(database_url: str, secured: bool) -> None:
    """Lists, single rows and writes of /staff reach what /people shows of it, and nothing else."""
    staff = CrudRouter(Staff, policy=OPEN if secured else None)
    with serve(database_url, (CrudRouter(Person, policy={"*": own_people}), ""), (staff, "/staff")) as client:
        assert ids(client, "/staff/people", **ANN) == [2]
        assert client.get("/staff/people?limit=0&count=exact", headers=ANN).headers["x-total-count"] == "1"
        statuses = [client.get(f"/staff/people/{key}", headers=ANN).status_code for key in (1, 2, 3, 4)]
        assert statuses == [404, 200, 404, 404]
        for key, found in ((2, 200), (3, 404), (1, 404)):
            path = f"/staff/people/{key}"
            assert client.patch(path, json={"name": "x"}, headers=ANN).status_code == found
            assert (
                client.put(path, json={"name": "x", "owner": "ann", "team_id": 1}, headers=ANN).status_code
                == found
            )
        assert client.delete("/staff/people/3", headers=ANN).status_code == 404
        assert client.get("/staff/people").status_code == 401
        assert client.get("/staff/people/2").status_code == 401
        assert client.patch("/staff/people/2", json={"name": "x"}).status_code == 404
        assert teams(client, **ANN) == [(2, 2, [2]), (None, None, [])]
        assert refers(client, 3, **ANN) == 422


def test_a_kind_adds_its_own_rule_wherever_its_rows_are_reached(database_url: str) -> None:
    """What /staff hides stays hidden in /people, in embedded people and in references; others are not touched."""
    routers = (CrudRouter(Person, policy=OPEN), ""), (CrudRouter(Staff, policy={"*": payroll}), "/staff")
    with serve(database_url, *routers) as client:
        assert ids(client, "/people") == [1]
        assert ids(client, "/people", **{"x-name": "boss"}) == [1, 2, 3]  # Bea earns nothing
        assert client.get("/people/2").status_code == 404
        assert client.patch("/people/2", json={"name": "x"}).status_code == 404
        assert client.delete("/people/2").status_code == 404
        assert client.patch("/people/1", json={"name": "x"}).status_code == 200
        assert teams(client) == [(None, None, []), (None, None, [])]
        assert teams(client, **{"x-name": "boss"}) == [(2, 2, [2, 3]), (3, 3, [])]
        assert [refers(client, person) for person in (1, 2)] == [201, 422]
        assert refers(client, 2, **{"x-name": "boss"}) == 201
        assert client.get("/staff/people").status_code == 401
        assert ids(client, "/staff/people", **{"x-name": "boss"}) == [2, 3]


def test_branches_of_a_tree_do_not_meet(database_url: str) -> None:
    """The rule of guests says nothing of staff."""
    guests = CrudRouter(Guest, policy={"*": rows(lambda access: Guest.owner == "nobody")})
    with serve(database_url, (CrudRouter(Staff), "/staff"), (guests, "/guests")) as client:
        assert ids(client, "/staff/people") == [2, 3, 4]
        assert teams(client)[0] == (2, 2, [2, 3, 4])
        assert ids(client, "/guests/people") == []


@pytest.mark.parametrize("objects", [False, True])
def test_the_kind_of_a_row_is_the_server_s(database_url: str, objects: bool) -> None:
    """A new row is of its router's kind, clients cannot choose or change it, and other kinds are 404."""

    def listener(mapper: Any, connection: Any, target: Any) -> None:
        assert isinstance(target, Person)

    routers = [(CrudRouter(model), f"/{model.__name__.lower()}") for model in (Person, Staff, Boss)]
    if objects:
        event.listen(Person, "before_insert", listener, propagate=True)
    try:
        with serve(database_url, *routers) as client:
            for name in ("person", "staff", "boss"):
                base = f"/{name}/people"
                made = client.post(base, json={"name": "New"})
                assert (made.status_code, made.json()["kind"]) == (201, name)
                for answer in (
                    client.post(base, json={"name": "New", "kind": "guest"}),
                    client.patch(made.headers["location"], json={"kind": "guest"}),
                    client.put(made.headers["location"], json={"name": "New", "kind": "guest"}),
                ):
                    assert (answer.status_code, answer.json()["code"]) == (422, "read_only_field")
                assert client.put(made.headers["location"], json={"name": "Put"}).json()["kind"] == name
            for path in ("/staff/people/1", "/boss/people/1", "/boss/people/2"):
                assert client.get(path).status_code == 404
                assert client.patch(path, json={"name": "x"}).status_code == 404
                assert client.put(path, json={"name": "x"}).status_code == 404
                assert client.delete(path).status_code == 404
    finally:
        if objects:
            event.remove(Person, "before_insert", listener)


def test_a_kind_may_say_more_of_itself_than_its_table(sqlite_url: str) -> None:
    """`class API: policy` of a kind holds where its rows are reached as what is above it, router or not."""
    alone = type("Alone", (JetioModel,), {"__abstract__": True} | fresh())

    class Paper(alone):  # type: ignore[valid-type, misc]
        kind: Mapped[str]
        text: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}  # noqa: RUF012

    class Letter(Paper):
        class API:
            policy = {"*": rows(lambda access: Letter.text != "private")}  # noqa: RUF012

        __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012

    app = Jetio(database=sqlite_url, metadata=alone.metadata, settings=SETTINGS)
    CrudRouter(Paper).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            session.add_all([Paper(text="private"), Letter(text="private"), Letter(text="open")])
            await session.commit()

    with serving(app) as client:
        found = {(row["kind"], row["text"]) for row in client.get("/papers").json()}
        assert found == {("paper", "private"), ("letter", "open")}


def fresh() -> dict[str, Any]:
    """What a base class needs to know nobody else's models."""
    registry = own_registry()
    return {"registry": registry, "_sa_registry": registry, "metadata": registry.metadata}


def test_kinds_that_cannot_be_served_are_told(sqlite_url: str) -> None:
    """A kind with a second table, and one that is computed, are mistakes that say what to write."""
    alone = type("Alone", (JetioModel,), {"__abstract__": True} | fresh())

    class Car(alone):  # type: ignore[valid-type, misc]
        wheels: Mapped[int]

    class Truck(Car):
        __tablename__ = "trucks"
        id: Mapped[int] = mapped_column(ForeignKey("cars.id"), primary_key=True)

    class Pickup(Truck):
        """One table with trucks: as far from its wheels as these."""

    class Ferry(Car):
        __tablename__ = "ferries"
        __mapper_args__ = {"concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)

    class Fair(alone):  # type: ignore[valid-type, misc]
        __tablename__ = "fairs"
        id: Mapped[int] = mapped_column(primary_key=True)
        size = mapped_column(Integer)
        __mapper_args__ = {  # noqa: RUF012
            "polymorphic_on": case((size > 9, "large"), else_="small"),
            "polymorphic_identity": "small",
        }

    for model, message in (
        (Truck, "Truck is spread over its own table and that of Car; leave out its __tablename__"),
        (Pickup, "Pickup is spread over its own table and that of Truck"),
        (Ferry, "Ferry has a table of its own beside that of Car, whose rules"),
        (Ferry, "declare what they share in a mixin without a table"),
        (
            Fair,
            'the kind of a Fair is an expression, which a new row cannot be given; write "polymorphic_on"',
        ),
    ):
        app = Jetio(database=sqlite_url, metadata=alone.metadata, settings=SETTINGS)
        CrudRouter(model).register_routes(app)
        with pytest.raises(ConfigError) as caught:
            app.build()
        assert message in str(caught.value)
