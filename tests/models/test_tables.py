"""Tables: their names, keys, constraints, and what the databases make of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.schema import CreateTable
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, JetioModel, Settings, TimestampMixin
from jetio.dialects import dialect_for
from jetio.models import table_name
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


Code = Annotated[str, mapped_column(sa.String(8), primary_key=True)]


class WithUuid:
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)


class Plain(Model):
    label: Mapped[str]


class Country(Model):
    code: Mapped[Code]


class Tagged(Model, WithUuid):
    label: Mapped[str]


class Pair(Model):
    left: Mapped[str]
    right: Mapped[int]
    note: Mapped[str | None]

    __table_args__ = (sa.PrimaryKeyConstraint("left", "right"),)


class Big(Model):
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    label: Mapped[str | None]


class Small(Model):
    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)


class Chosen(Model):
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Sequenced(Model):
    id: Mapped[int] = mapped_column(primary_key=True, default=lambda: 7)


class Renamed(Model):
    __tablename__ = "other_name"
    key: Mapped[int] = mapped_column("the key", primary_key=True)
    label: Mapped[str] = mapped_column("the label", unique=True)


class Detail(Model, TimestampMixin):
    plain_id: Mapped[int] = mapped_column(sa.ForeignKey("plains.id"), primary_key=True)
    word: Mapped[str] = mapped_column(unique=True)
    indexed: Mapped[str] = mapped_column(index=True)
    first: Mapped[str]
    second: Mapped[str]
    many: Mapped[int] = mapped_column(sa.CheckConstraint("many > 0"))

    __table_args__ = (
        sa.UniqueConstraint("first", "second"),
        sa.CheckConstraint("many < 100", name="few"),
        sa.Index(None, "word", "many", unique=True),
    )


class Exact(Model):
    word: Mapped[str] = mapped_column(unique=True)


class Computed(Model):
    width: Mapped[int]
    area: Mapped[int] = mapped_column(sa.Computed("width * 2", persisted=True))
    made: Mapped[str] = mapped_column(server_default="made")
    counted: Mapped[int] = mapped_column(default=sa.text("1 + 1"))
    touched: Mapped[int] = mapped_column(default=1, onupdate=lambda context: 5)
    moved: Mapped[int] = mapped_column(default=1, onupdate=sa.text("2 + 4"))
    twice: Mapped[int] = mapped_column(default=lambda context: context.get_current_parameters()["width"] * 2)


MODELS = [Plain, Country, Tagged, Pair, Big, Small, Chosen, Sequenced, Renamed, Detail, Exact, Computed]


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    app = Jetio(database=database_url, metadata=Model.metadata, settings=Settings(env="test"))
    for model in MODELS:
        CrudRouter(model).register_routes(app)
    with TestClient(app) as client:
        yield client


def sql(model: type[JetioModel], address: str) -> str:
    """The statement that makes the table."""
    table: Any = model.__table__
    return str(CreateTable(table).compile(dialect=dialect_for(address).url.get_dialect()()))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Post", "posts"),
        ("Category", "categories"),
        ("Day", "days"),
        ("Box", "boxes"),
        ("Bus", "buses"),
        ("Church", "churches"),
        ("CityName", "city_names"),
        ("HTTPServer", "http_servers"),
        ("Area51", "area51s"),
        ("A", "as"),
    ],
)
def test_a_table_is_named_after_its_class(name: str, table: str) -> None:
    """A class without `__tablename__` gives its name in snake_case and plural."""
    assert table_name(name) == table


def test_keys_of_every_kind_work(client: TestClient) -> None:
    """A key declared anywhere replaces the default `id`; the default one counts up."""
    assert client.post("/plains", json={"label": "a"}).json() == {"id": 1, "label": "a"}
    assert client.post("/countries", json={"code": "no"}).json() == {"code": "no"}
    assert client.get("/countries/no").status_code == 200
    tagged = client.post("/taggeds", json={"label": "a"})
    assert client.get(f"/taggeds/{tagged.json()['id']}").json() == tagged.json()
    pair = client.post("/pairs", json={"left": "a,b", "right": 2, "note": None})
    assert pair.headers["location"] == "/pairs/a%2Cb,2"
    assert client.patch(pair.headers["location"], json={"note": "n"}).json()["note"] == "n"
    for counted in ("bigs", "smalls"):
        made = [client.post(f"/{counted}", json={}).json()["id"] for _ in range(2)]
        assert made == [1, 2]
    assert client.post("/chosens", json={"id": 5}).headers["location"] == "/chosens/5"
    assert client.post("/chosens", json={}).status_code == 422
    assert client.post("/sequenceds", json={}).json() == {"id": 7}
    assert client.post("/sequenceds", json={"id": 9}).json() == {"id": 9}
    named = client.post("/other_name", json={"label": "x"})
    assert named.json() == {"key": 1, "label": "x"}
    taken = client.post("/other_name", json={"label": "x"})
    assert [item["pointer"] for item in taken.json()["errors"]] == ["/label"]


def test_a_key_of_another_table(client: TestClient) -> None:
    """A key that is a foreign key is the client's to set, once."""
    body = {"word": "w", "indexed": "i", "first": "f", "second": "s", "many": 1}
    assert client.post("/details", json=body).status_code == 422
    assert client.post("/details", json={**body, "plain_id": 1}).json()["code"] == "invalid_reference"
    client.post("/plains", json={"label": "a"})
    assert client.post("/details", json={**body, "plain_id": 1}).headers["location"] == "/details/1"
    again = client.post("/details", json={**body, "plain_id": 1, "word": "v", "first": "g"})
    assert [item["pointer"] for item in again.json()["errors"]] == ["/plain_id"]


def test_constraints_have_names_that_tell(client: TestClient) -> None:
    """Constraints and indexes are named by one convention; unnamed checks too, each by its own text."""
    table: Any = Detail.__table__
    names = {str(item.name) for item in (*table.constraints, *table.indexes)}
    checks = {name for name in names if name.startswith("ck_details_many_")}
    assert len(checks) == 1
    assert names - checks == {
        "uq_details_word",
        "uq_details_first_second",
        "ix_details_indexed",
        "ix_details_word_many",
        "few",
        "fk_details_plain_id_plains",
        "None",
    }
    body = {"plain_id": 1, "word": "w", "indexed": "i", "first": "f", "second": "s"}
    for many in (0, 100):
        refused = client.post("/details", json={**body, "many": many})
        assert [item["pointer"] for item in refused.json()["errors"]] == ["/many"], refused.text


def test_equal_means_equal_everywhere(client: TestClient) -> None:
    """Text that differs by case, accent or form is different text on every database."""
    words = ["a", "A", "á", "a\u0301", "\uff41", "ß", "ss", "İ", "i"]
    assert {client.post("/exacts", json={"word": word}).status_code for word in words} == {201}
    assert client.post("/exacts", json={"word": "á"}).status_code == 409
    assert [row["word"] for row in client.get("/exacts").json()] == words


def test_what_the_database_makes_is_answered(client: TestClient) -> None:
    """Server defaults, computed columns and stamps are in the answer, and not the client's to set."""
    made = client.post("/computeds", json={"width": 3}).json()
    assert made == {
        "id": 1,
        "width": 3,
        "area": 6,
        "made": "made",
        "counted": 2,
        "touched": 1,
        "moved": 1,
        "twice": 6,
    }
    changed = client.patch("/computeds/1", json={"width": 4}).json()
    assert changed == {**made, "width": 4, "area": 8, "touched": 5, "moved": 6}
    assert client.patch("/computeds/1", json={"area": 1}).json()["code"] == "read_only_field"
    replaced = client.put("/computeds/1", json={"width": 5, "made": "x"}).json()
    assert (replaced["made"], replaced["counted"], replaced["twice"]) == ("x", 2, 10)
    assert client.put("/computeds/1", json={"width": 5}).json()["made"] == "x"


def test_a_number_that_the_database_insists_on(postgresql_url: str) -> None:
    """An identity that is always generated is no field that a client may send, in a key or beside it."""

    class Alone(JetioModel):
        __abstract__ = True
        registry = _sa_registry = own_registry()
        metadata = registry.metadata

    class Ticket(Alone):
        number: Mapped[int] = mapped_column(sa.Identity(always=True, start=100))
        label: Mapped[str]

    app = Jetio(database=postgresql_url, metadata=Alone.metadata, settings=Settings(env="test"))
    CrudRouter(Ticket).register_routes(app)
    with TestClient(app) as client:
        assert client.post("/tickets", json={"label": "a"}).json()["number"] == 100
        refused = client.post("/tickets", json={"label": "a", "number": 7})
        assert (refused.status_code, refused.json()["code"]) == (422, "read_only_field")
        assert client.patch("/tickets/1", json={"number": 7}).status_code == 422


def test_text_is_sized_where_it_must_be() -> None:
    """Text of any size is LONGTEXT on MariaDB; in keys and indexes it is VARCHAR(255); tables compare exactly."""
    made = sql(Detail, "mariadb://host/name")
    assert "word VARCHAR(255) NOT NULL" in made
    assert "indexed VARCHAR(255) NOT NULL" in made
    assert "first VARCHAR(255) NOT NULL" in made
    assert "created_at DATETIME(6) NOT NULL" in made
    assert "COLLATE utf8mb4_nopad_bin" in made
    assert "label LONGTEXT" in sql(Plain, "mysql://host/name")
    assert "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" in sql(Big, "sqlite://")
    assert "id BIGSERIAL NOT NULL" in sql(Big, "postgresql://host/name")
    assert "AUTOINCREMENT" not in sql(Chosen, "sqlite://")


class Coded:
    @declared_attr
    def id(cls) -> Mapped[str]:
        return mapped_column(sa.String(8), primary_key=True)


class Paired:
    left: Mapped[int]
    right: Mapped[int]

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (sa.PrimaryKeyConstraint("left", "right"),)


class Late:
    @declared_attr
    def word(cls) -> Mapped[str]:
        return mapped_column(sa.String(len(cls.__table__.name)))  # type: ignore[attr-defined]


def test_a_mixin_may_make_the_key() -> None:
    """A key that a mixin's `@declared_attr` makes replaces the default one, by itself or in a list."""

    class Own(JetioModel):
        __abstract__ = True
        registry = _sa_registry = own_registry()
        metadata = registry.metadata

    class Country(Coded, Own):
        name: Mapped[str]

    class City(Own, Coded):
        name: Mapped[str]

    class Pair(Paired, Own):
        pass

    assert [column.name for column in Country.__table__.primary_key] == ["id"]
    assert {type(model.__table__.c.id.type) for model in (Country, City)} == {sa.String}
    assert [column.name for column in Pair.__table__.primary_key] == ["left", "right"]
    with pytest.raises(AttributeError, match="__table__"):

        class Word(Late, Own):
            pass
