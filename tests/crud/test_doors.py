"""Several routers of one model: what of its rows may be embedded and referred to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import CrudRouter, Deny, Jetio, JetioModel, policy, public, rows
from tests.crud.library import SETTINGS, serving
from tests.crud.test_rules import ByHeader
from tests.registries import own_registry


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Song(Model):
    title: Mapped[str]
    released: Mapped[bool] = mapped_column(default=True)


class Play(Model):
    song_id: Mapped[int] = mapped_column(ForeignKey("songs.id"))
    song: Mapped[Song] = relationship()


class Locked(Model):
    class API:
        policy = {"*": rows(lambda access: Locked.id > 1)}  # noqa: RUF012

    title: Mapped[str]


class Visit(Model):
    locked_id: Mapped[int] = mapped_column(ForeignKey("lockeds.id"))
    locked: Mapped[Locked] = relationship()


@policy
async def nobody(access: Any) -> Deny:
    return Deny()


@contextmanager
def serve(url: str, *routers: CrudRouter) -> Iterator[TestClient]:
    """Song 1 is released, song 2 is not; both were played once. Locked 1 and 2 were visited once."""
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    for number, router in enumerate(routers):
        router.register_routes(app, prefix=f"/{number}")
    CrudRouter(Play, load_relationships=["song"]).register_routes(app)
    CrudRouter(Visit, load_relationships=["locked"]).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            if await session.scalar(select(Song.id).limit(1)) is not None:
                return  # another application of the same test has filled it
            for row in (
                Song(title="a"),
                Song(title="b", released=False),
                Locked(title="c"),
                Locked(title="d"),
            ):
                session.add(row)
                await session.flush()
            session.add_all([Play(song_id=1), Visit(locked_id=1)])
            await session.flush()
            session.add_all([Play(song_id=2), Visit(locked_id=2)])
            await session.commit()

    with serving(app) as client:
        yield client


def reached(client: TestClient) -> list[int]:
    """The songs that plays embed; the same may be referred to."""
    plays = client.get("/plays").json()
    found = sorted({row["song"]["id"] for row in plays if row["song"] is not None})
    for song in (1, 2):
        assert client.post("/plays", json={"song_id": song}).status_code == (201 if song in found else 422)
    return found


released = rows(lambda access: Song.released)


def test_the_rules_of_all_routers_hold_together(database_url: str) -> None:
    """A row is reached from elsewhere where every router of it would show it; one without rules says nothing."""
    with serve(database_url, CrudRouter(Song, policy={"*": released}), CrudRouter(Song)) as client:
        assert len(client.get("/1/songs").json()) == 2  # a router's own door is its own
        assert reached(client) == [1]
    with serve(
        database_url, CrudRouter(Song, policy={"*": released}), CrudRouter(Song, policy={"*": nobody})
    ) as client:
        assert client.get("/0/songs").json() != []
        assert reached(client) == []


def test_rows_that_one_router_declares_public_are_open(database_url: str) -> None:
    """`public()` as a router's rule for reading: what everybody may read anyway is hidden nowhere else."""
    open_to_all = CrudRouter(Song, policy={"GET": public(), "*": nobody})
    with serve(database_url, CrudRouter(Song, policy={"*": nobody}), open_to_all) as client:
        assert reached(client) == [1, 2]
    only_lists = CrudRouter(Song, policy={"list": public(), "*": nobody}, actions=["list"])
    with serve(database_url, CrudRouter(Song, policy={"*": nobody}), only_lists) as client:
        assert reached(client) == [1, 2]
    lists_and_more = CrudRouter(Song, policy={"list": public(), "*": nobody})
    with serve(database_url, lists_and_more) as client:
        assert reached(client) == []


def test_routers_that_show_nothing_say_nothing_of_reading(database_url: str) -> None:
    """The rules of a router without list and retrieve are about writing alone."""
    inbox = CrudRouter(Song, policy={"*": nobody}, actions=["create", "delete"])
    with serve(database_url, inbox) as client:
        assert reached(client) == [1, 2]
    with serve(database_url, inbox, CrudRouter(Song, policy={"*": released})) as client:
        assert reached(client) == [1]


def test_the_model_s_own_rule_is_opened_by_no_router(database_url: str) -> None:
    """Whatever its routers say or leave out, `class API: policy` holds."""
    for routers in (
        [CrudRouter(Locked, policy={"*": public()})],
        [CrudRouter(Locked, actions=["create"])],
        [],
    ):
        with serve(database_url, *routers) as client:
            found = {row["locked"] and row["locked"]["id"] for row in client.get("/visits").json()}
            assert found == {None, 2}
            assert client.post("/visits", json={"locked_id": 1}).status_code == 422


class Elsewhere(JetioModel):
    """Models of another registry, whose tables stand beside the others."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = Model.metadata


class Thing(Elsewhere):
    kind: Mapped[str]
    hidden: Mapped[bool] = mapped_column(default=False)

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}  # noqa: RUF012


class Tool(Thing):
    __mapper_args__ = {"polymorphic_identity": "tool"}  # noqa: RUF012


class Apart(JetioModel):
    """A third registry: nothing in it knows a class of the table that is referred to."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = Model.metadata


class Loan(Apart):
    thing_id: Mapped[int] = mapped_column(ForeignKey(Thing.__table__.c.id))  # type: ignore[attr-defined]


class Lent(Model):
    """The same table as things, known by another class that is no relative of theirs."""

    __table__ = Thing.__table__


@pytest.mark.parametrize("guard", [Thing, Tool, Lent])
def test_a_table_s_rows_are_guarded_whatever_class_leads_to_them(database_url: str, guard: type[Any]) -> None:
    """References find the router of a table by the table; classes that map the same table share their rules."""
    app = Jetio(database=database_url, metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    visible = rows(lambda access: access.model.hidden.is_(False))
    CrudRouter(guard, policy={"*": visible}).register_routes(app)
    CrudRouter(Loan).register_routes(app)
    if guard is not Lent:
        CrudRouter(Lent).register_routes(app, prefix="/lent")

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for row in (Tool(), Tool(hidden=True), Thing(hidden=True)):
                session.add(row)
                await session.flush()
            await session.commit()

    with serving(app) as client:
        found = [client.post("/loans", json={"thing_id": key}).status_code for key in (1, 2, 3)]
        assert found == [201, 422, 201 if guard is Tool else 422]
        if guard is not Lent:
            shown = [row["id"] for row in client.get("/lent/things").json()]
            assert shown == ([1, 3] if guard is Tool else [1])
