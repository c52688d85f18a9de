"""Models whose validators and listeners must see objects, and rows that go together."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, String, Table, TypeDecorator, event, insert, inspect
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column, relationship, validates
from starlette.testclient import TestClient

from jetio import Access, AllowWhere, CrudRouter, Decision, Jetio, JetioModel, Problem, policy
from tests.crud.library import SETTINGS, serving
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Shouts:
    """A mixin whose listener is inherited."""

    shout: Mapped[str] = mapped_column(default="")


class Audit(Model):
    text: Mapped[str]


class Person(Model):
    class API:
        read_only = ("slug",)

    name: Mapped[str] = mapped_column(unique=True)
    slug: Mapped[str] = mapped_column(default="none")
    age: Mapped[int | None]
    pets: Mapped[list[Pet]] = relationship(back_populates="owner")

    @validates("name", "age")
    def check(self, key: str, value: Any) -> Any:
        if key == "age":
            assert value is None or value < 200, "Nobody is that old"
            return value
        if value.strip() != value:
            raise ValueError("A name has no blanks around it")
        return value.title()


@event.listens_for(Person, "before_insert")
@event.listens_for(Person, "before_update")
def make_slug(mapper: Any, connection: Any, person: Person) -> None:
    person.slug = person.name.lower().replace(" ", "-")
    if person.slug == "nobody":
        raise Problem(422, "nobody", "Nobody is nobody")


@event.listens_for(Person, "after_insert")
@event.listens_for(Person, "after_update")
@event.listens_for(Person, "after_delete")
def note(mapper: Any, connection: Any, person: Person) -> None:
    changed = inspect(person).attrs.name.history
    was = f" was {changed.deleted[0]}" if changed.deleted else ""
    connection.execute(insert(Audit).values(text=f"{person.name}{was}"))


class Careless(Model):
    """Its validators fail in every way that a value can bring about."""

    class API:
        hidden = ("inner",)

    rank: Mapped[int | None]
    word: Mapped[str | None]
    kind: Mapped[str | None]
    share: Mapped[int | None]
    typed: Mapped[str | None]
    inner: Mapped[str | None] = mapped_column(
        default=lambda context: context.get_current_parameters()["typed"]
    )

    @validates("rank", "word", "kind", "share", "typed", "inner")
    def check(self, key: str, value: Any) -> Any:
        if key == "typed":
            if value == "bad":
                raise TypeError(f"secret inside: {value}")
            return value
        if key == "inner":
            if value == "inner":
                raise ValueError("No")
            return value
        checks: dict[str, Callable[[], Any]] = {
            "rank": lambda: value > 3,
            "word": lambda: value.strip(),
            "kind": lambda: {"a": 1}[value],
            "share": lambda: 100 // value,
        }
        checks[key]()
        return value


class Refusing(TypeDecorator[str]):
    """Sends no text that begins with `x`, and is no good at empty ones."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and value[0] == "x":
            raise ValueError("This begins with an x")
        return value


class Sent(Model):
    text: Mapped[str] = mapped_column(Refusing())
    other: Mapped[str | None] = mapped_column(Refusing())


class SentKey(Model):
    code: Mapped[str] = mapped_column(Refusing(), primary_key=True)


class Pet(Model, Shouts):
    name: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("persons.id"))
    owner: Mapped[Person | None] = relationship(back_populates="pets")


class Album(Model):
    title: Mapped[str]
    songs: Mapped[list[Song]] = relationship(cascade="all, delete-orphan", back_populates="album")
    cover: Mapped[Cover | None] = relationship(back_populates="album")
    genres: Mapped[list[Genre]] = relationship(secondary="album_genres")


class Song(Model):
    title: Mapped[str]
    album_id: Mapped[int] = mapped_column(ForeignKey("albums.id"))
    album: Mapped[Album] = relationship(back_populates="songs")


class Cover(Model):
    colour: Mapped[str]
    album_id: Mapped[int | None] = mapped_column(ForeignKey("albums.id"), unique=True)
    album: Mapped[Album | None] = relationship(back_populates="cover")


class Genre(Model):
    name: Mapped[str]


album_genres = Table(
    "album_genres",
    Model.metadata,
    Column("album_id", ForeignKey("albums.id"), primary_key=True),
    Column("genre_id", ForeignKey("genres.id"), primary_key=True),
)


class Versioned:
    title: Mapped[str]

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.__table__.c.version}  # type: ignore[attr-defined]


class Counted(Model, Versioned):
    version: Mapped[int]


class Stamped(Model):
    title: Mapped[str]
    version: Mapped[str]

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        def make(version: str | None) -> str:
            return uuid.uuid4().hex

        return {"version_id_col": cls.__table__.c.version, "version_id_generator": make}


def application(url: str, *routers: CrudRouter) -> Jetio:
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    for router in routers:
        router.register_routes(app)
    return app


@contextmanager
def heard(target: Any, name: str, listener: Callable[..., Any], **options: Any) -> Iterator[None]:
    """Somebody listens while the block runs."""
    event.listen(target, name, listener, **options)
    try:
        yield
    finally:
        event.remove(target, name, listener)


def codes(answer: Any) -> dict[str, tuple[str, str]]:
    """What is told of each field; of an assertion the first line, pytest adds others."""
    told = answer.json()["errors"]
    return {item["pointer"]: (item["code"], item["message"].partition("\n")[0]) for item in told}


@pytest.fixture
def people(database_url: str) -> Iterator[TestClient]:
    with serving(application(database_url, CrudRouter(Person), CrudRouter(Audit), CrudRouter(Pet))) as client:
        yield client


def test_validators_see_every_write(people: TestClient) -> None:
    """What a validator makes of a value is stored; what it refuses is 422 in its words, all at once."""
    created = people.post("/persons", json={"name": "ann lee"})
    assert (created.status_code, created.json()["name"]) == (201, "Ann Lee")
    for method, address in [("POST", "/persons"), ("PUT", "/persons/1"), ("PATCH", "/persons/1")]:
        refused = people.request(method, address, json={"name": " Bob", "age": 300})
        assert refused.status_code == 422
        assert codes(refused) == {
            "/name": ("value_error", "A name has no blanks around it"),
            "/age": ("value_error", "Nobody is that old"),
        }, method
    assert people.patch("/persons/1", json={"name": "bob"}).json()["name"] == "Bob"
    assert [row["name"] for row in people.get("/persons").json()] == ["Bob"]


def test_a_validator_that_fails_on_a_value_refuses_it(database_url: str) -> None:
    """What a validator raises because of a value is 422 at its field; words that were not for clients stay here."""
    unsaid = ("value_error", "This value is not accepted")
    fine = {"rank": 5, "word": "w", "kind": "a", "share": 5, "typed": "t"}
    bad = {"rank": None, "word": None, "kind": "b", "share": 0, "typed": "bad"}
    with serving(application(database_url, CrudRouter(Careless))) as client:
        created = client.post("/carelesses", json=fine)
        assert created.status_code == 201, created.text
        for method, address in [
            ("POST", "/carelesses"),
            ("PUT", "/carelesses/1"),
            ("PATCH", "/carelesses/1"),
        ]:
            refused = client.request(method, address, json=bad)
            assert refused.status_code == 422
            assert codes(refused) == {f"/{name}": unsaid for name in bad}, method
        hidden = client.post("/carelesses", json={**fine, "typed": "inner"})
        assert (hidden.status_code, codes(hidden)) == (422, {"": ("value_error", "No")})
        assert client.get("/carelesses").json() == [created.json()]


@pytest.mark.parametrize("listened", [False, True], ids=["statements", "objects"])
def test_a_type_that_refuses_a_value(database_url: str, listened: bool) -> None:
    """What a type of the application's own refuses to send is 422 at its field, and nothing is written."""
    with ExitStack() as stack:
        if listened:
            stack.enter_context(heard(Sent, "before_insert", lambda mapper, connection, sent: None))
        client = stack.enter_context(serving(application(database_url, CrudRouter(Sent))))
        created = client.post("/sents", json={"text": "fine"})
        for method, address in [("POST", "/sents"), ("PUT", "/sents/1"), ("PATCH", "/sents/1")]:
            refused = client.request(method, address, json={"text": "x", "other": ""})
            assert refused.status_code == 422
            assert codes(refused) == {
                "/text": ("value_error", "This begins with an x"),
                "/other": ("value_error", "This value is not accepted"),
            }, method
        assert client.get("/sents").json() == [created.json()]


def test_a_key_that_a_type_refuses_is_of_no_row(database_url: str) -> None:
    """An address whose key the column's type does not send is 404."""
    with serving(application(database_url, CrudRouter(SentKey))) as client:
        assert client.post("/sent_keys", json={"code": "a"}).status_code == 201
        assert client.post("/sent_keys", json={"code": "xa"}).status_code == 422
        for method in ("GET", "DELETE"):
            assert client.request(method, "/sent_keys/xa").status_code == 404
        assert client.get("/sent_keys/a").status_code == 200


def test_listeners_join_the_transaction(people: TestClient) -> None:
    """What listeners change and write is committed with the row; what they raise undoes all of it."""
    assert people.post("/persons", json={"name": "ann lee"}).json()["slug"] == "ann-lee"
    assert people.patch("/persons/1", json={"name": "cid"}).json()["slug"] == "cid"
    for method, address in [("POST", "/persons"), ("PATCH", "/persons/1")]:
        refused = people.request(method, address, json={"name": "nobody"})
        assert (refused.status_code, refused.json()["code"]) == (422, "nobody")
    assert people.delete("/persons/1").status_code == 204
    assert [row["text"] for row in people.get("/audits").json()] == ["Ann Lee", "Cid was Ann Lee", "Cid"]


def test_constraints_are_told_as_for_statements(people: TestClient) -> None:
    """A violated constraint of an object names its fields, and leaves nothing."""
    people.post("/persons", json={"name": "ann"})
    taken = people.post("/persons", json={"name": "ANN"})
    assert (taken.status_code, list(codes(taken))) == (409, ["/name"])
    bob = people.post("/persons", json={"name": "bob"}).headers["location"]
    assert people.patch(bob, json={"name": "ann"}).status_code == 409
    people.post("/pets", json={"name": "rex", "owner_id": 1})
    needed = people.delete("/persons/1")
    assert (needed.status_code, needed.json()["code"]) == (409, "still_referenced")
    assert people.get("/pets/1").json()["owner_id"] == 1
    assert len(people.get("/audits").json()) == 2


def test_every_kind_of_listener_is_seen(sqlite_url: str) -> None:
    """Listeners of an attribute, of a mixin and of sessions see writes too, also those registered late."""
    heard_of: list[str] = []
    router = CrudRouter(Pet)

    def renamed(pet: Pet, value: str, old: Any, initiator: Any) -> None:
        heard_of.append(f"set {value}")

    def inherited(mapper: Any, connection: Any, target: Any) -> None:
        target.shout = target.name.upper()
        heard_of.append(f"insert {target.name}")

    def flushing(session: Session, context: Any, instances: Any) -> None:
        heard_of.append(f"flush {[item.name for item in session.new]}")

    for listens, word in [
        (heard(Pet.name, "set", renamed), "set rex"),
        (heard(Shouts, "before_insert", inherited, propagate=True), "insert rex"),
        (heard(Session, "before_flush", flushing), "flush ['rex']"),
    ]:
        heard_of.clear()
        with listens, serving(application(sqlite_url, router)) as client:
            assert client.post("/pets", json={"name": "rex"}).status_code == 201
        assert heard_of == [word]


def test_a_rule_judges_what_listeners_made(database_url: str) -> None:
    """The row must satisfy the rule as the listeners left it, or nothing is written; no row passes unseen."""

    @policy
    async def short(access: Access) -> Decision:
        return AllowWhere(Person.slug != "cid", check=Person.slug != "too-long")

    app = application(database_url, CrudRouter(Person, policy={"*": short}), CrudRouter(Audit))
    with serving(app) as client:
        assert client.post("/persons", json={"name": "too long"}).json()["code"] == "policy_check"
        ann = client.post("/persons", json={"name": "ann"}).headers["location"]
        assert client.patch(ann, json={"name": "too long"}).json()["code"] == "policy_check"
        assert client.get(ann).json()["name"] == "Ann"
        assert client.patch(ann, json={"name": "cid"}).status_code == 200
        for method in ("PATCH", "DELETE"):
            body = {"name": "x"} if method == "PATCH" else None
            assert client.request(method, ann, json=body).status_code == 404
            assert client.request(method, "/persons/77", json=body).status_code == 404
        assert [row["text"] for row in client.get("/audits").json()] == ["Ann", "Cid was Ann"]


def test_cascades_and_links_go_with_the_row(database_url: str) -> None:
    """Deleting a row takes along what its model says belongs to it, and nothing else."""
    routers = [CrudRouter(model) for model in (Album, Song, Cover, Genre)]
    app = application(
        database_url, *routers, CrudRouter(Album, prefix="/full", load_relationships=["genres"])
    )
    with serving(app) as client:
        for title in ("one", "two"):
            client.post("/albums", json={"title": title})
        client.post("/songs", json={"title": "a", "album_id": 1})
        client.post("/songs", json={"title": "b", "album_id": 2})
        client.post("/genres", json={"name": "rock"})

        async def tag() -> None:
            async with app.database.engine.begin() as connection:
                pairs = [{"album_id": 1, "genre_id": 1}, {"album_id": 2, "genre_id": 1}]
                await connection.execute(album_genres.insert(), pairs)

        assert client.portal is not None
        client.portal.call(tag)
        assert [row["genres"] for row in client.get("/full/albums").json()] == [
            [{"id": 1, "name": "rock"}]
        ] * 2
        assert client.delete("/albums/1").status_code == 204
        assert [row["title"] for row in client.get("/songs").json()] == ["b"]
        assert len(client.get("/full/albums/2").json()["genres"]) == 1
        client.post("/covers", json={"colour": "red", "album_id": 2})
        kept = client.delete("/albums/2")
        assert (kept.status_code, kept.json()["code"]) == (409, "still_referenced")
        assert client.get("/covers/1").json()["album_id"] == 2
        assert len(client.get("/songs").json()) == 1


def test_versions_count_every_write(database_url: str) -> None:
    """A version column starts at one, counts with every write, and is not the client's to set."""
    with serving(application(database_url, CrudRouter(Counted), CrudRouter(Stamped))) as client:
        made = client.post("/counteds", json={"title": "a"}).json()
        assert made["version"] == 1
        assert client.patch("/counteds/1", json={"title": "b"}).json()["version"] == 2
        assert client.put("/counteds/1", json={"title": "c", "version": 2}).json()["version"] == 3
        assert client.patch("/counteds/1", json={}).json()["version"] == 3
        assert client.patch("/counteds/1", json={"version": 9}).json()["code"] == "read_only_field"
        stamps = [client.post("/stampeds", json={"title": "a"}).json()["version"]]
        stamps.append(client.patch("/stampeds/1", json={"title": "a"}).json()["version"])
        assert len(set(stamps)) == 2
        assert all(len(stamp) == 32 for stamp in stamps)
