"""Embedded relations: right rows, bounded, a constant number of statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import ForeignKey, ForeignKeyConstraint, UniqueConstraint, event, insert, update
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import ConfigError, CrudRouter, Database, Jetio, JetioModel
from tests.crud.library import SETTINGS, Author, Book, Model, Shelf, Spot, Tag, library, serving, tagging
from tests.registries import own_registry

PLAIN = ("id", "title")


@contextmanager
def filled(database_url: str, *routers: CrudRouter, **options: Any) -> Iterator[TestClient]:
    """Three authors, one without a book; five books, one without an author; tags on some."""
    app = Jetio(database=Database(database_url, **options), metadata=Model.metadata, settings=SETTINGS)
    for router in routers:
        router.register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for name in ("Ann", "Bob", "Cid"):
                await session.execute(insert(Author).values(name=name))
            await session.execute(update(Author).where(Author.id == 2).values(mentor_id=1))
            for title, author in [("a", 1), ("b", 1), ("c", 2), ("d", None), ("e", 1)]:
                await session.execute(insert(Book).values(title=title, author_id=author))
            await session.execute(insert(Tag), [{"name": "new"}, {"name": "old"}])
            pairs = [(1, "new"), (1, "old"), (3, "new")]
            await session.execute(insert(tagging), [{"book_id": b, "tag_name": t} for b, t in pairs])
            await session.commit()

    with serving(app) as client:
        yield client


@pytest.mark.parametrize("fast_path", [True, False])
def test_to_one_is_embedded(database_url: str, fast_path: bool) -> None:
    """A to-one relation is an object, or null where there is none."""
    with filled(database_url, CrudRouter(Book, load_relationships=["author"]), fast_path=fast_path) as client:
        rows = client.get("/books").json()
        assert [row["author"] and row["author"]["name"] for row in rows] == ["Ann", "Ann", "Bob", None, "Ann"]
        assert client.get("/books/4").json()["author"] is None
        created = client.post("/books", json={"title": "f", "author_id": 3}).json()
        assert created["author"] == {"id": 3, "name": "Cid", "country": None, "mentor_id": None}
        assert client.patch("/books/4", json={"author_id": 2}).json()["author"]["name"] == "Bob"


@pytest.mark.parametrize("fast_path", [True, False])
def test_to_many_is_embedded(database_url: str, fast_path: bool) -> None:
    """A to-many relation is an array in the order of its key, empty where there is none."""
    with filled(
        database_url, CrudRouter(Author, load_relationships=["books"]), fast_path=fast_path
    ) as client:
        rows = client.get("/authors").json()
        assert [[book["title"] for book in row["books"]] for row in rows] == [["a", "b", "e"], ["c"], []]
        assert [book["title"] for book in client.get("/authors/1").json()["books"]] == ["a", "b", "e"]
        assert client.post("/authors", json={"name": "Dee"}).json()["books"] == []


def test_many_to_many_is_embedded(database_url: str) -> None:
    """A relation through a link table works from both sides."""
    routers = [CrudRouter(Book, load_relationships=["tags"]), CrudRouter(Tag, load_relationships=["books"])]
    with filled(database_url, *routers) as client:
        assert [[tag["name"] for tag in row["tags"]] for row in client.get("/books").json()] == [
            ["new", "old"], [], ["new"], [], [],
        ]  # fmt: skip
        assert [book["title"] for book in client.get("/tags/new").json()["books"]] == ["a", "c"]


def test_relations_nest(database_url: str) -> None:
    """A dotted name embeds a relation of a relation: to-many below to-one, the reverse, and to itself."""
    routers = [
        CrudRouter(Book, load_relationships=["author.books", "author.mentor"]),
        CrudRouter(Author, load_relationships=["books.tags", "books.author"]),
    ]
    with filled(database_url, *routers) as client:
        third = client.get("/books/3").json()
        assert third["author"]["mentor"]["name"] == "Ann"
        assert [book["title"] for book in third["author"]["books"]] == ["c"]
        rows = client.get("/books").json()
        assert [row["author"] and len(row["author"]["books"]) for row in rows] == [3, 3, 1, None, 3]
        ann = client.get("/authors/1").json()
        assert [[tag["name"] for tag in book["tags"]] for book in ann["books"]] == [["new", "old"], [], []]
        assert {book["author"]["name"] for book in ann["books"]} == {"Ann"}


def test_composite_foreign_keys_are_joined(database_url: str) -> None:
    """A relation over two columns is embedded from both sides; half a reference is none."""
    routers = [
        CrudRouter(Spot, load_relationships=["shelf"]),
        CrudRouter(Shelf, load_relationships=["spots"]),
    ]
    with serving(library(database_url, *routers)) as client:
        for number in (1, 2):
            client.post("/shelves", json={"room": "attic", "number": number, "label": f"shelf {number}"})
        spots = [client.post("/spots", json={"room": "attic", "number": n}).json() for n in (1, 2, 2)]
        half = client.post("/spots", json={"room": "attic"}).json()
        assert [spot["shelf"]["label"] for spot in spots] == ["shelf 1", "shelf 2", "shelf 2"]
        assert half["shelf"] is None
        rows = client.get("/shelves").json()
        assert [sorted(spot["id"] for spot in row["spots"]) for row in rows] == [
            [spots[0]["id"]],
            sorted(spot["id"] for spot in spots[1:]),
        ]


def test_long_relations_are_cut_and_say_so(sqlite_url: str) -> None:
    """At most 100 children are embedded per parent, and `_meta` tells how many there are."""
    with filled(sqlite_url, CrudRouter(Author, load_relationships=["books"]), CrudRouter(Book)) as client:
        for number in range(101):
            client.post("/books", json={"title": f"n{number}", "author_id": 2})
        ann, bob, cid = client.get("/authors").json()
    assert (len(ann["books"]), len(bob["books"]), len(cid["books"])) == (3, 100, 0)
    assert bob["_meta"] == {"books": {"total": 102, "returned": 100}}
    assert "_meta" not in ann


def test_the_number_of_statements_does_not_grow(sqlite_url: str) -> None:
    """A list with embedded relations costs the same number of statements for one row as for many."""
    router = CrudRouter(Author, load_relationships=["books.tags", "mentor"])
    counts = []
    with filled(sqlite_url, router, fast_path=False) as client:
        database: Database = client.app.database  # type: ignore[attr-defined]
        statements: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        for size in (1, 3):
            statements.clear()
            assert len(client.get(f"/authors?page_size={size}").json()) == size
            counts.append(len([text for text in statements if text.startswith("SELECT")]))
    assert counts == [3, 3]


def test_relations_that_do_not_exist_are_found_at_build(sqlite_url: str) -> None:
    """A name in `load_relationships` that is no relationship is a mistake that names the ones there are."""
    app = library(sqlite_url, CrudRouter(Book, load_relationships=["autor"]))
    with pytest.raises(ConfigError, match=r"no relationship 'autor'; it has: author, tags"):
        app.build()


class Heaven(JetioModel):
    """Tables of the tests below."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Planet(Heaven):
    galaxy: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    moons: Mapped[list[Moon]] = relationship(order_by="Moon.size.desc()", back_populates="planet")
    ring: Mapped[Ring | None] = relationship(back_populates="planet")


class Moon(Heaven):
    size: Mapped[int]
    galaxy: Mapped[str | None]
    number: Mapped[int | None]
    planet: Mapped[Planet | None] = relationship(back_populates="moons")
    craters: Mapped[list[Crater]] = relationship()

    __table_args__ = (ForeignKeyConstraint(["galaxy", "number"], ["planets.galaxy", "planets.number"]),)


class Crater(Heaven):
    moon_id: Mapped[int] = mapped_column(ForeignKey("moons.id"))


class Ring(Heaven):
    class API:
        admin_only = ("price",)

    galaxy: Mapped[str]
    number: Mapped[int]
    price: Mapped[int | None]
    planet: Mapped[Planet] = relationship(back_populates="ring")

    __table_args__ = (
        UniqueConstraint("galaxy", "number"),
        ForeignKeyConstraint(["galaxy", "number"], ["planets.galaxy", "planets.number"]),
    )


@contextmanager
def sky(url: str, planets: int, moons: int, **options: Any) -> Iterator[TestClient]:
    """Planets of which each has so many moons and one of each two a ring; the first moon of each has a crater."""
    app = Jetio(database=Database(url, **options), metadata=Heaven.metadata, settings=SETTINGS)
    CrudRouter(Planet, load_relationships=["moons.craters", "ring"]).register_routes(app)
    CrudRouter(Moon, load_relationships=["planet.ring"]).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.engine.begin() as connection:
            keys = [{"galaxy": f"g{number % 2}", "number": number} for number in range(planets)]
            await connection.execute(insert(Planet), keys)
            await connection.execute(insert(Ring), [{**key, "price": 5} for key in keys[::2]])
            rows = [{**key, "size": size} for size in range(moons) for key in keys]
            await connection.execute(insert(Moon), rows)
            await connection.execute(insert(Crater), [{"moon_id": number + 1} for number in range(planets)])

    with serving(app) as client:
        yield client


@pytest.mark.parametrize("fast_path", [True, False])
def test_composite_keys_find_their_children(database_url: str, fast_path: bool) -> None:
    """Children of rows with composite keys stand in the order that the relationship names, with their own."""
    with sky(database_url, 3, 2, fast_path=fast_path) as client:
        rows = client.get("/planets").json()
        assert [[moon["size"] for moon in row["moons"]] for row in rows] == [[1, 0]] * 3
        assert [[len(moon["craters"]) for moon in row["moons"]] for row in rows] == [[0, 1]] * 3
        assert sorted(row["number"] for row in rows if row["ring"]) == [0, 2]
        assert client.get("/planets/g0,0").json()["ring"] == {"id": 1, "galaxy": "g0", "number": 0}
        assert client.get("/moons/1").json()["planet"]["ring"]["id"] == 1


@pytest.mark.parametrize("fast_path", [True, False])
def test_very_many_children_are_cut_by_the_database(database_url: str, fast_path: bool) -> None:
    """Of more children than are read at once each parent still gets its first hundred, and the true total."""
    with sky(database_url, 10, 110, fast_path=fast_path) as client:
        rows = client.get("/planets").json()
    for row in rows:
        assert [moon["size"] for moon in row["moons"]] == list(range(109, 9, -1))
        assert row["_meta"] == {"moons": {"total": 110, "returned": 100}}


def test_a_reference_that_leads_nowhere_is_null(sqlite_url: str) -> None:
    """A to-one relation whose row is gone, as in a file from elsewhere, is null."""
    with sky(sqlite_url, 1, 1) as client:
        with closing(sqlite3.connect(sqlite_url.partition(":///")[2])) as other, other:
            other.execute("UPDATE moons SET number = 77")
        row = client.get("/moons/1").json()
        assert (row["number"], row["planet"]) == (77, None)
