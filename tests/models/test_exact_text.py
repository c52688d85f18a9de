"""Text is what it is on every database: a space at its end, case and accents make another text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Column, ForeignKey, String, Table, create_mock_engine, insert, make_url
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, JetioModel, Settings, rows
from tests.crud.test_rules import ByHeader
from tests.registries import own_registry

SPELLINGS = ["a", "a ", "a  ", "A", "á", " a"]


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


labelled = Table(
    "labelled",
    Model.metadata,
    Column("page_id", ForeignKey("pages.id"), primary_key=True),
    Column("label_name", ForeignKey("labels.name"), primary_key=True),
)


class Label(Model):
    name: Mapped[str] = mapped_column(String(30), primary_key=True)
    text: Mapped[str | None] = mapped_column(unique=True)


class Page(Model):
    label_name: Mapped[str | None] = mapped_column(ForeignKey("labels.name"))
    label: Mapped[Label | None] = relationship()
    labels: Mapped[list[Label]] = relationship(secondary=labelled)


class Swedish(Model):
    """Whoever names a collation gets it."""

    __table_args__ = {"mysql_collate": "utf8mb4_swedish_ci", "mariadb_collate": "utf8mb4_swedish_ci"}  # noqa: RUF012

    name: Mapped[str]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "mariadb by its name"])
def url(request: pytest.FixtureRequest) -> str:
    """Each database; MariaDB by both of the names that lead to it."""
    kind, _, named = request.param.partition(" ")
    found: str = request.getfixturevalue(f"{kind}_url")
    return found.replace("mysql+", "mariadb+") if named else found


@pytest.fixture
def client(url: str) -> Iterator[TestClient]:
    app = Jetio(database=url, metadata=Model.metadata, settings=Settings(env="test"))
    app.use_authenticator(ByHeader())
    CrudRouter(Label).register_routes(app)
    CrudRouter(Label, policy={"*": rows(lambda access: Label.name == "a ")}).register_routes(
        app, prefix="/ruled"
    )
    CrudRouter(Page, load_relationships=["label", "labels"]).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for spelling in SPELLINGS:
                await session.execute(insert(Label).values(name=spelling, text=spelling))
            await session.execute(insert(Page).values(label_name="a "))
            await session.execute(insert(labelled).values(page_id=1, label_name="a "))
            await session.commit()

    with TestClient(app) as client:
        yield client


def test_keys_and_unique_columns_tell_spellings_apart(client: TestClient) -> None:
    """Each is a row of its own, found by its own key alone; the same one again is a conflict."""
    assert {row["name"] for row in client.get("/labels").json()} == set(SPELLINGS)
    for spelling in SPELLINGS:
        path = f"/labels/{quote(spelling)}"
        assert client.get(path).json() == {"name": spelling, "text": spelling}
        again = client.post("/labels", json={"name": f"other {spelling}", "text": spelling})
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert client.get("/labels/a%20%20%20").status_code == 404
    assert client.post("/labels", json={"name": "a   ", "text": "a   "}).status_code == 201
    assert client.delete("/labels/a%20%20").status_code == 204
    assert client.get("/labels/a").status_code == 200


def test_references_rules_and_joins_tell_spellings_apart(client: TestClient) -> None:
    """A reference leads to the row of that spelling; a rule about one is not about the others."""
    assert [row["name"] for row in client.get("/ruled/labels").json()] == ["a "]
    assert client.get("/ruled/labels/a").status_code == 404
    page = client.get("/pages/1").json()
    assert page["label"]["name"] == "a "
    assert [label["name"] for label in page["labels"]] == ["a "]
    assert client.post("/pages", json={"label_name": "a "}).status_code == 201
    for hidden in ("a", "a    "):  # one that the rule hides, and one that there is not
        assert client.post("/pages", json={"label_name": hidden}).status_code == 422


def created(url: str) -> str:
    """The DDL of the models for a server that is not there."""
    made: list[str] = []

    def executor(statement: Any, *_: Any, **__: Any) -> None:
        made.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine(make_url(url), executor)
    Model.metadata.create_all(engine, checkfirst=False)
    return "\n".join(made)


def test_each_server_gets_its_own_name_of_the_collation() -> None:
    """MySQL does not know MariaDB's; a collation that a model names stays."""
    for name, collation in (("mysql", "utf8mb4_0900_bin"), ("mariadb", "utf8mb4_nopad_bin")):
        made = created(f"{name}+asyncmy://host/name")
        assert made.count(f"COLLATE {collation}") == 3
        assert made.count("COLLATE utf8mb4_swedish_ci") == 1
        assert made.count("COLLATE") == 4
        assert made.count("ENGINE=InnoDB") == 4
