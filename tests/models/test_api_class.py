"""`class API`: who may see and set which field."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterator, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, Numeric, func, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Mapped,
    column_property,
    declared_attr,
    mapped_column,
    relationship,
    synonym,
)
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from jetio import (
    ConfigError,
    CrudRouter,
    Jetio,
    JetioModel,
    Principal,
    SecurityScheme,
    Settings,
    UnitOfWork,
    add_rules,
    public,
)
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Counted:
    class API:
        read_only = ("views",)
        hidden = ("trace",)

    views: Mapped[int] = mapped_column(default=0)
    trace: Mapped[str] = mapped_column(default="t")


class Article(Model, Counted):
    class API:
        hidden = ["secret"]  # noqa: RUF012 - as people write it
        write_only = ("pin",)
        create_only = ("slug",)
        admin_only = MappingProxyType({"featured": "write", "salary": "both", "grade": "read"})

    exclude_from_read = ("legacy",)

    title: Mapped[str]
    slug: Mapped[str | None]
    secret: Mapped[str | None]
    legacy: Mapped[str | None]
    pin: Mapped[str | None]
    featured: Mapped[bool] = mapped_column(default=False)
    salary: Mapped[int | None]
    grade: Mapped[int | None]
    fixed: Mapped[str | None] = mapped_column(info={"jetio": {"read_only": True}})
    code: Mapped[str | None] = mapped_column(info={"jetio": {"pattern": "^[A-Z]+$", "normalise": str.lower}})
    _inner: Mapped[str | None]
    hashed_password: Mapped[str | None]
    reset_token_hash: Mapped[str | None]
    totp: Mapped[str | None] = mapped_column("totp_secret")
    shouted: Mapped[str] = column_property(func.upper("x"))
    heading: Mapped[str] = synonym("title")

    @hybrid_property
    def length(self) -> int:
        return len(self.title)


class Named:
    """An authenticator that believes what a header says."""

    user_model = None
    schemes: Sequence[SecurityScheme] = ()

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        name = connection.headers.get("x-name")
        return self.principal_of(name) if name else None

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user), is_admin=user == "admin")


def application(url: str, *routers: CrudRouter, metadata: MetaData = Model.metadata) -> Jetio:
    app = Jetio(database=url, metadata=metadata, settings=Settings(env="test"))
    for router in routers:
        router.register_routes(app)
    return app


ADMIN = {"x-name": "admin"}


@pytest.fixture
def client(sqlite_url: str) -> Iterator[TestClient]:
    app = application(sqlite_url, CrudRouter(Article))
    app.use_authenticator(Named())
    with TestClient(app) as client:
        yield client


def codes(answer: Any) -> dict[str, str]:
    return {item["pointer"]: item["code"] for item in answer.json()["errors"]}


def test_an_answer_holds_what_may_be_read(client: TestClient) -> None:
    """Hidden and write-only fields, whoever declared them, and the usual secrets are in no answer."""
    made = client.post("/articles", json={"title": "One", "pin": "1234", "slug": "one"})
    assert set(made.json()) == {"id", "title", "slug", "views", "featured", "fixed", "code"}
    assert set(client.get("/articles/1", headers=ADMIN).json()) == {*made.json(), "salary", "grade"}


def test_hidden_fields_look_as_if_they_were_not_there(client: TestClient) -> None:
    """A hidden field is an unknown one to whoever sends it, admins included."""
    for name in (
        "secret",
        "legacy",
        "trace",
        "_inner",
        "hashed_password",
        "reset_token_hash",
        "totp",
        "heading",
    ):
        answer = client.post("/articles", json={"title": "x", name: "v"}, headers=ADMIN)
        assert codes(answer) == {f"/{name}": "unknown_field"}, name


def test_fields_of_the_server_cannot_be_set(client: TestClient) -> None:
    """A read-only field is refused with another value than the stored one, and never changes."""
    client.post("/articles", json={"title": "x"})
    for method, address in [("POST", "/articles"), ("PUT", "/articles/1"), ("PATCH", "/articles/1")]:
        body = {"title": "x", "views": 5, "fixed": "f"}
        answer = client.request(method, address, json=body)
        assert codes(answer) == {"/views": "read_only_field", "/fixed": "read_only_field"}, method
        body = {"title": "x", "views": 0, "fixed": None}
        assert client.request(method, address, json=body).is_success, method


def test_create_only_fields_never_change(client: TestClient) -> None:
    """A field that is set at creation keeps its value on PUT and PATCH."""
    address = client.post("/articles", json={"title": "x", "slug": "a"}).headers["location"]
    assert codes(client.patch(address, json={"slug": "b"})) == {"/slug": "read_only_field"}
    assert client.put(address, json={"title": "y"}).json()["slug"] == "a"
    assert client.put(address, json={"title": "y", "slug": "a"}).status_code == 200


def test_fields_of_admins(client: TestClient) -> None:
    """A field may be the admins' to read, to write, or both; others may send back what they read."""
    body = {"title": "x", "featured": True, "salary": 5, "grade": 1}
    made = client.post("/articles", json=body, headers=ADMIN)
    assert made.json() | body == made.json()
    address = made.headers["location"]
    seen = client.get(address).json()
    assert (seen["featured"], "salary" in seen, "grade" in seen) == (True, False, False)
    assert client.put(address, json={**seen, "title": "y"}).status_code == 200
    assert codes(client.patch(address, json={"featured": False})) == {"/featured": "read_only_field"}
    assert codes(client.patch(address, json={"salary": 9})) == {"/salary": "unknown_field"}
    assert client.patch(address, json={"grade": 2}).status_code == 200
    kept = client.get(address, headers=ADMIN).json()
    assert (kept["featured"], kept["salary"], kept["grade"]) == (True, 5, 2)
    assert client.patch(address, json={"featured": False}, headers=ADMIN).json()["featured"] is False


def test_limits_in_info_hold_and_values_are_normalised(client: TestClient) -> None:
    """What `info={"jetio": ...}` says of a column is checked, then its `normalise` is applied."""
    assert codes(client.post("/articles", json={"title": "x", "code": "ab"})) == {
        "/code": "string_pattern_mismatch"
    }
    assert client.post("/articles", json={"title": "x", "code": "AB"}).json()["code"] == "ab"


def mistakes(sqlite_url: str, model: type[Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as told:
        application(sqlite_url, CrudRouter(model, **options)).build()
    return str(told.value)


def drop(*models: Any) -> None:
    """Take models of one test away from the others."""
    for model in models:
        Model.metadata.remove(model.__table__)


def test_what_nobody_reads_is_a_mistake(sqlite_url: str) -> None:
    """A misspelt list, a name that is no column and a side that is none are told, all together."""

    class Odd(Model):
        __tablename__ = "odd"

        class API:
            hiden = ("title",)
            read_only = ("titel",)
            admin_only = MappingProxyType({"title": "wirte"})

        title: Mapped[str]

    told = mistakes(sqlite_url, Odd)
    assert "Odd.API has no 'hiden'; write some of: hidden, read_only, write_only" in told
    assert "Odd.API.read_only names 'titel', which is no column; write one of: id, title" in told
    assert "Odd.API.admin_only says 'wirte' of 'title'; write one of: both, read, write" in told
    assert "did you mean 'hidden'?" in told
    assert "did you mean 'title'?" in told
    assert "did you mean 'write'?" in told
    drop(Odd)


def alone() -> Any:
    """A base of one test's own, for classes that are declared more than once."""
    registry = own_registry()
    body = {
        "__abstract__": True,
        "registry": registry,
        "_sa_registry": registry,
        "metadata": registry.metadata,
    }
    return type("Alone", (JetioModel,), body)


def api(**said: Any) -> dict[str, Any]:
    return {"API": type("API", (), said)}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (api(hidden="code"), "Kept.API.hidden is no list: 'code'; write [\"code\"]"),
        (api(read_only=None), "Kept.API.read_only is no list: None; write the names of fields"),
        (api(write_only={"code": False}), "Kept.API.write_only is no list: {'code': False}"),
        (api(create_only=(3,)), "Kept.API.create_only holds 3, which is no name"),
        (api(admin_only="code"), "Kept.API.admin_only is no list: 'code'"),
        (api(admin_only={"cod": "read"}), "Kept.API.admin_only names 'cod', which is no column"),
        (api(admin_only={"code": "reed"}), "says 'reed' of 'code'; write one of: both, read, write; did you"),
        (api(hidden=("kept_code",)), "Kept.API.hidden names 'kept_code', which is no column"),
        (api(hidden=("kept_code",)), "; did you mean 'code'?"),
        (api(hidden=("twice",)), "Kept.API.hidden names 'twice', which is no column"),
        (api(hidden=("metadata",)), "Kept.API.hidden names 'metadata', which is no column"),
        (api(fields=("code",)), "Kept.API has no 'fields'; write some of: hidden"),
        (api(filterable=("code",)), "Kept.API has no 'filterable'"),
        (api(searchable=("code",)), "Kept.API has no 'searchable'"),
        (api(policy=public()), "Kept.API.policy is no mapping"),
        ({"API": {"hidden": ["code"]}}, "Kept.API is no class; write `class API:` inside Kept"),
        ({"hidden": ("code",)}, "Kept.hidden protects nothing; write it inside `class API:` of Kept"),
        ({"exclude_from_read": "code"}, "Kept.exclude_from_read is no list: 'code'"),
        ({"exclude_from_read": ["cod"]}, "Kept.exclude_from_read names 'cod', which is no column"),
        (
            {"exclude_from_write": ["code"]},
            "Kept.exclude_from_write protects nothing; did you mean 'exclude_fr",
        ),
    ],
)
def test_a_rule_that_protects_nothing_is_a_mistake(
    sqlite_url: str, said: dict[str, Any], message: str
) -> None:
    """A list that is none, a name that no column has and an option that does not exist stop the build."""
    body = {"__tablename__": "kept", "__module__": __name__, "twice": property(lambda self: 2 * self.code)}
    body["__annotations__"] = {"code": Mapped[str]}
    body["code"] = mapped_column("kept_code")
    kept: Any = type("Kept", (alone(),), {**body, **said})
    assert message in mistakes(sqlite_url, kept)


def test_an_api_class_under_another_name_is_a_mistake(sqlite_url: str) -> None:
    """`class Api`, and any inner class that lists fields as `class API` does, is told; other classes are not."""

    class Spelt(Model):
        class Api:
            hidden = ("code",)

        code: Mapped[str]

    class Moved(Model):
        class Meta:
            read_only = ("code",)

        code: Mapped[str]

    class Apart(Model):
        class Visibility(enum.Enum):
            hidden = "hidden"
            shown = "shown"

        class Notes:
            text = "x"

        api: Mapped[Visibility]
        policy: Mapped[str | None]
        exclude_from_index: Mapped[bool] = mapped_column(default=False)

    assert "Spelt.Api protects nothing; write `class API:`" in mistakes(sqlite_url, Spelt)
    assert "Moved.Meta protects nothing; write `class API:`" in mistakes(sqlite_url, Moved)
    application(sqlite_url, CrudRouter(Apart)).build()
    drop(Spelt, Moved, Apart)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"jetio": {"hiden": True}}, "has no 'hiden'; write some of: hidden, read_only"),
        ({"jetio": {"hiden": True}}, "did you mean 'hidden'?"),
        ({"jetio": {"hidden": "yes"}}, "says 'yes' of 'hidden'; write True"),
        ({"jetio": {"admin_only": "reed"}}, "says 'reed' of 'admin_only'; write one of: both, read, write"),
        ({"jetio": {"normalise": "lower"}}, "normalises by 'lower', which is no function"),
        ({"jetio": ["hidden"]}, "is no mapping: ['hidden']"),
        ({"Jetio": {"hidden": True}}, "the info of Told.code has 'Jetio'; did you mean \"jetio\"?"),
    ],
)
def test_what_a_column_says_is_held_to_its_words(sqlite_url: str, info: dict[str, Any], message: str) -> None:
    """An unknown key, or a value that means nothing, in `info={"jetio": ...}` stops the build."""

    class Told(alone()):  # type: ignore[misc]
        code: Mapped[str] = mapped_column(info=info)

    assert message in mistakes(sqlite_url, Told)


def test_a_rule_from_elsewhere_names_a_column() -> None:
    """`add_rules` tells of a name that is none where it is called, with what was meant."""
    base = alone()
    kept = type("Kept", (base,), {"__annotations__": {"code": Mapped[str]}})
    with pytest.raises(ConfigError) as told:
        add_rules(kept, {"cod": {"hidden": True}}, {})
    assert str(told.value) == "Kept has no column 'cod'; write one of: id, code; did you mean 'code'?"


def test_a_column_may_be_the_admins_by_its_info(sqlite_url: str) -> None:
    """`admin_only: True` in a column's info means both sides."""

    class Apart(alone()):  # type: ignore[misc]
        __tablename__ = "told_apart"
        code: Mapped[str | None] = mapped_column(info={"jetio": {"admin_only": True}})

    app = application(sqlite_url, CrudRouter(Apart), metadata=Apart.metadata)
    app.use_authenticator(Named())
    with TestClient(app) as client:
        assert "code" in client.post("/told_apart", json={"code": "x"}, headers=ADMIN).json()
        assert "code" not in client.get("/told_apart/1").json()
        assert codes(client.post("/told_apart", json={"code": "x"})) == {"/code": "unknown_field"}


def test_a_mistake_in_an_embedded_model_is_told(sqlite_url: str) -> None:
    """A model that only stands inside of others is held to its `class API` too."""

    class Inside(Model):
        __tablename__ = "inside"

        class API:
            hidden = ("secrit",)

        secret: Mapped[str]

    class Outside(Model):
        __tablename__ = "outside"
        inside_id: Mapped[int] = mapped_column(ForeignKey("inside.id"))
        inside: Mapped[Inside] = relationship(Inside)

    told = mistakes(sqlite_url, Outside, load_relationships=["inside"])
    assert "Inside.API.hidden names 'secrit'" in told
    drop(Outside, Inside)


def test_a_row_that_nobody_could_create_is_a_mistake(sqlite_url: str) -> None:
    """A NOT NULL column that clients may not set and nothing fills is told, unless nothing is created."""

    class Sealed(Model):
        __tablename__ = "sealed"

        class API:
            read_only = ("stamp",)

        stamp: Mapped[str]

    assert "nobody could create a Sealed: 'stamp' is NOT NULL" in mistakes(sqlite_url, Sealed)
    application(sqlite_url, CrudRouter(Sealed, exclude_methods=["POST"])).build()
    drop(Sealed)


def test_a_decimal_has_a_size(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A Decimal without digits is a mistake; with more than SQLite keeps it is a warning there."""

    class Loose(Model):
        __tablename__ = "loose"
        price: Mapped[Decimal]

    class Long(Model):
        __tablename__ = "long"
        price: Mapped[Decimal] = mapped_column(Numeric(30, 2))
        short: Mapped[Decimal] = mapped_column(Numeric(15, 2))

    assert "Loose.price is a Decimal without a size" in mistakes(sqlite_url, Loose)
    with caplog.at_level(logging.WARNING, "jetio"):
        application("postgresql://host/name", CrudRouter(Long)).build()
        assert caplog.messages == []
        application(sqlite_url, CrudRouter(Long)).build()
    assert caplog.messages == ["Long: this database keeps 15 digits of price"]
    drop(Loose, Long)


def test_what_is_no_table_is_told(sqlite_url: str) -> None:
    """A class that is not mapped, or mapped to a query, is a mistake that says what to write."""

    class Plain:
        __tablename__ = "plain"

    class Recent(Model):
        __table__ = select(Article.id, Article.title).where(Article.views > 3).subquery()
        __tablename__ = "recent"
        __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012

    assert "is no mapped class; write `class Plain(JetioModel)`" in mistakes(sqlite_url, Plain)
    assert "Recent is mapped to a Subquery, which cannot be written" in mistakes(sqlite_url, Recent)
    with pytest.raises(ConfigError, match=r"is no model; write `class Post\(JetioModel\)`"):
        application(sqlite_url, CrudRouter(str))


class Animal(Model):
    name: Mapped[str]
    kind: Mapped[str]

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        if cls.__name__ == "Animal":
            return {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
        return {"polymorphic_identity": cls.__name__.lower()}


class Dog(Animal):
    tricks: Mapped[int | None]


class Puppy(Dog):
    toy: Mapped[str | None]


class Vet(Model):
    name: Mapped[str]
    favourite_id: Mapped[int | None] = mapped_column(ForeignKey("animals.id"))
    favourite: Mapped[Dog | None] = relationship()


def test_kinds_in_one_table(database_url: str) -> None:
    """Single-table inheritance: each router reaches its own kind and those below it, and nothing else."""
    app = Jetio(database=database_url, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Animal).register_routes(app)
    CrudRouter(Dog).register_routes(app, prefix="/dogs")
    CrudRouter(Puppy).register_routes(app, prefix="/puppies")
    CrudRouter(Vet, load_relationships=["favourite"]).register_routes(app)
    with TestClient(app) as client:
        cat = client.post("/animals", json={"name": "Tom"})
        dog = client.post("/dogs/animals", json={"name": "Rex", "tricks": 3})
        puppy = client.post("/puppies/animals", json={"name": "Pip", "toy": "ball"})
        assert [row.json()["kind"] for row in (cat, dog, puppy)] == ["animal", "dog", "puppy"]
        assert [row["name"] for row in client.get("/animals").json()] == ["Tom", "Rex", "Pip"]
        assert [row["name"] for row in client.get("/dogs/animals").json()] == ["Rex", "Pip"]
        assert client.get("/dogs/animals?count=exact&page_size=1").headers["x-total-count"] == "2"
        other = f"/dogs/animals/{cat.json()['id']}"
        assert client.get(other).status_code == 404
        assert client.patch(other, json={"name": "x"}).status_code == 404
        assert client.delete(other).status_code == 404
        assert codes(client.patch(dog.headers["location"], json={"kind": "animal"})) == {
            "/kind": "read_only_field"
        }
        for animal in (cat, dog):
            client.post("/vets", json={"name": "v", "favourite_id": animal.json()["id"]})
        favourites = [row["favourite"] for row in client.get("/vets").json()]
        assert [row and row["name"] for row in favourites] == [None, "Rex"]
        assert client.delete(puppy.headers["location"]).status_code == 204


def test_kinds_in_two_tables_are_told(sqlite_url: str) -> None:
    """Joined and concrete inheritance are mistakes that say what to do; the base is a table like any other."""

    class Vehicle(Model):
        wheels: Mapped[int]

    class Truck(Vehicle):
        __tablename__ = "trucks"
        id: Mapped[int] = mapped_column(ForeignKey("vehicles.id"), primary_key=True)
        load: Mapped[int]

    class Boat(Model):
        __tablename__ = "boats"
        sails: Mapped[int]

    class Ferry(Boat):
        __tablename__ = "ferries"
        __mapper_args__ = {"concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        sails: Mapped[int]
        cars: Mapped[int]

    told = mistakes(sqlite_url, Truck)
    assert "Truck is spread over its own table and that of Vehicle; leave out its __tablename__" in told
    told = mistakes(sqlite_url, Ferry)
    assert "Ferry has a table of its own beside that of Boat" in told
    assert "declare what they share in a mixin without a table" in told
    with TestClient(application(sqlite_url, CrudRouter(Vehicle))) as client:
        assert client.post("/vehicles", json={"wheels": 4}).status_code == 201
    drop(Truck, Vehicle, Ferry, Boat)
