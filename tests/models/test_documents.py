"""JSON columns: any document means the same when it is read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import CrudRouter, Database, Jetio, JetioModel, Settings, rows
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Inner(BaseModel):
    value: Any


class Held(Model):
    anything: Mapped[Any | None]
    given: Mapped[Any | None] = mapped_column(sa.JSON)
    text: Mapped[str | None] = mapped_column(sa.JSON)
    inner: Mapped[Inner | None]


SCALARS = [
    '"1"', '"01"', '" 1"', '"1e400"', '"-0"', '"null"', '"true"', '""', '"\\\\"', '"\\ud83d\\ude00"', '"0x10"',
    '"Infinity"',
    "1", "0", "-1", "1.0", "0.1", "1e5", "1e-7", "1.7976931348623157e308", "5e-324", "-0.0",
    "123456789012345678", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "9007199254740993",
    "0.30000000000000004", "123456789.123456789",
    "true", "false", "[]", "{}", "[null]", '[1, 1.0, "1", true, null, {"a": []}]', '{"1": 1, "": {"null": null}}',
    '{"a": 18446744073709551615}', '["\\u2028"]',
]  # fmt: skip


@pytest.fixture(params=[True, False], ids=["driver", "session"])
def client(database_url: str, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    database = Database(database_url, fast_path=request.param)
    app = Jetio(database=database, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Held).register_routes(app)
    with TestClient(app) as client:
        yield client


def typed(value: Any) -> Any:
    """The document with the kind of every scalar, for 1 equals 1.0 and True."""
    if isinstance(value, list):
        return [typed(part) for part in value]
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    return type(value).__name__, str(value)


def test_every_document_is_read_back(client: TestClient) -> None:
    """Text stays text, whole numbers stay whole and exact to 64 bits, and no number becomes another."""
    for raw in SCALARS:
        value = json.loads(raw)
        names = ["anything", "given", *(["text"] if isinstance(value, str) else [])]
        row = {name: value for name in names} | {"inner": {"value": value}}
        made = client.post("/helds", json=row)
        assert made.status_code == 201, (raw, made.text)
        for answer in (made, client.get(made.headers["location"])):
            told = answer.json()
            assert typed({name: told[name] for name in row}) == typed(row), raw


def test_null_is_no_document(client: TestClient) -> None:
    """`null` in a JSON column is NULL, however the column was declared; inside of documents it is kept."""
    made = client.post("/helds", json={"anything": None, "given": None, "inner": {"value": None}})
    assert made.json()["inner"] == {"value": None}

    async def missing() -> Any:
        query = sa.select(Held.id).where(
            Held.anything.is_(None), Held.given.is_(None), Held.inner.isnot(None)
        )
        async with client.app.database.sessions() as session:  # type: ignore[attr-defined]
            return (await session.scalars(query)).all()

    assert client.portal is not None
    assert client.portal.call(missing) == [made.json()["id"]]


def test_documents_can_be_searched(client: TestClient) -> None:
    """SQLAlchemy reaches into a document, of a column by annotation and of a given one, on every database."""
    made = client.post("/helds", json={"anything": {"a": [{"b": 3}]}, "given": {"a": "x"}})
    client.post("/helds", json={"anything": {"a": [{"b": 4}]}, "given": {"a": "x"}})

    async def found() -> Any:
        same = (Held.anything[("a", 0, "b")].as_integer() == 3, Held.given["a"].as_string() == "x")
        async with client.app.database.sessions() as session:  # type: ignore[attr-defined]
            return (await session.scalars(sa.select(Held.id).where(*same))).all()

    assert client.portal is not None
    assert client.portal.call(found) == [made.json()["id"]]


def test_a_whole_document_is_compared_as_it_is_kept(sqlite_url: str) -> None:
    """Where the database compares documents, a rule may name one by the objects that its column holds."""
    app = Jetio(database=sqlite_url, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Held, policy={"*": rows(lambda access: Held.inner == Inner(value="x"))}).register_routes(app)
    with TestClient(app) as client:
        assert client.post("/helds", json={"inner": {"value": "x"}}).status_code == 201
        for other in ({"value": "y"}, {"value": ["x"]}, None):
            assert client.post("/helds", json={"inner": other}).status_code == 403
        assert [row["inner"] for row in client.get("/helds").json()] == [{"value": "x"}]
