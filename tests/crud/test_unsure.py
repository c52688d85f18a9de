"""A row that cannot be shown is not kept: types that fail on reading, or that give what JSON has no form for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, field_validator
from sqlalchemy import event
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, JetioModel
from tests.crud.library import SETTINGS, serving
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Shy(sa.types.TypeDecorator[str]):
    """Text that is not read back when it says so."""

    impl = sa.String(20)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        if value == "unread":
            raise ValueError("this cannot be read")
        return object() if value == "unshown" else value


class ShyKey(Shy):
    """The same as a key, which is in the address too."""

    cache_ok = True


class OneWay(BaseModel):
    """A document that is accepted once, and not as it is stored."""

    word: str

    @field_validator("word")
    @classmethod
    def _turned(cls, word: str) -> str:
        if word == "unread":
            return "stored"
        if word == "stored":
            raise ValueError("this cannot be read")
        return word


class Note(Model):
    text: Mapped[str] = mapped_column(Shy())
    other: Mapped[int] = mapped_column(default=0)


class Keyed(Model):
    code: Mapped[str] = mapped_column(ShyKey(), primary_key=True)


class Filed(Model):
    paper: Mapped[OneWay]


class Made(Model):
    label: Mapped[str]
    at: Mapped[Any] = mapped_column(sa.Enum("a", "b", native_enum=False), server_default="c")


MODELS = (Note, Keyed, Filed, Made)


@pytest.fixture
def client(database_url: str, writers: str) -> Iterator[TestClient]:
    app = Jetio(database=database_url, metadata=Model.metadata, settings=SETTINGS)
    for model in MODELS:
        CrudRouter(model).register_routes(app)

    def listener(mapper: Any, connection: Any, target: Any) -> None: ...

    listened = MODELS if writers == "objects" else ()
    for model in listened:
        event.listen(model, "before_insert", listener)
    with serving(app) as client:
        yield client
    for model in listened:
        event.remove(model, "before_insert", listener)


def count(client: TestClient, path: str) -> int:
    return int(client.get(f"{path}?limit=0").headers["x-total-count"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/notes", {"text": "unread"}),
        ("/notes", {"text": "unshown"}),
        ("/keyeds", {"code": "unread"}),
        ("/keyeds", {"code": "unshown"}),
        ("/fileds", {"paper": {"word": "unread"}}),
        ("/mades", {"label": "x"}),
    ],
)
def test_a_row_that_cannot_be_shown_is_not_made(client: TestClient, path: str, body: dict[str, Any]) -> None:
    """A create whose answer cannot be rendered is a 500 and leaves no row."""
    refused = client.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (500, "internal")
    assert count(client, path) == 0


@pytest.mark.parametrize(
    ("path", "body", "change"),
    [
        ("/notes", {"text": "fine"}, {"text": "unread"}),
        ("/notes", {"text": "fine"}, {"text": "unshown"}),
        ("/fileds", {"paper": {"word": "fine"}}, {"paper": {"word": "unread"}}),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_change_that_cannot_be_shown_is_not_made(
    client: TestClient, path: str, body: dict[str, Any], change: dict[str, Any], method: str
) -> None:
    """An update whose answer cannot be rendered is a 500 and leaves the row as it was."""
    made = client.post(path, json=body)
    assert made.status_code == 201, made.text
    refused = client.request(method, made.headers["location"], json=change)
    assert (refused.status_code, refused.json()["code"]) == (500, "internal")
    assert client.get(made.headers["location"]).json() == made.json()
