"""Limits: what a column holds is what POST, PUT and PATCH accept, whatever stands beside it."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
import sqlalchemy as sa
from pydantic import Field, HttpUrl, SecretStr
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import ConfigError, CrudRouter, Jetio, JetioModel, Settings
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Thing(Model):
    """Columns whose annotation and type do not say the same."""

    narrower: Mapped[Annotated[str, Field(max_length=5)] | None] = mapped_column(sa.String(10))
    wider: Mapped[Annotated[str, Field(max_length=50)] | None] = mapped_column(sa.String(10))
    looser: Mapped[Annotated[int, Field(le=10**12)] | None]
    told: Mapped[str | None] = mapped_column(
        sa.String(10), info={"jetio": {"min_length": 3, "max_length": 99}}
    )
    choice: Mapped[str | None] = mapped_column(sa.Enum("a", "b", name="choices"))
    literal: Mapped[Literal["x", "y"] | None] = mapped_column(sa.String(5))
    mood: Mapped[Mood | None] = mapped_column(sa.String(9))
    identity: Mapped[str | None] = mapped_column(sa.Uuid)
    day: Mapped[dt.datetime | None] = mapped_column(sa.Date)
    link: Mapped[HttpUrl | None] = mapped_column(sa.String(30))
    token: Mapped[SecretStr | None] = mapped_column(sa.String(8))
    short: Mapped[bytes | None] = mapped_column(sa.LargeBinary(4))
    untyped = mapped_column(sa.String(4))
    quoted: Mapped["Annotated[str, Field(max_length=5)] | None"] = mapped_column(sa.String(10))  # noqa: UP037
    either: Mapped[int | str | None] = mapped_column(sa.JSON)
    moment: Mapped[dt.datetime | None]
    zoned: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    span: Mapped[dt.timedelta | None]
    date: Mapped[dt.date | None]
    uuid: Mapped[uuid.UUID | None]


class Word(Model):
    word: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    app = Jetio(database=database_url, metadata=Model.metadata, settings=Settings(env="test"))
    for model in (Thing, Word):
        CrudRouter(model).register_routes(app)
    with TestClient(app) as client:
        yield client


WRONG: dict[str, Any] = {
    "narrower": "x" * 6,
    "wider": "x" * 11,
    "looser": 2**31,
    "told": "x" * 11,
    "choice": "c",
    "literal": "z",
    "mood": "GOOD",
    "identity": "x",
    "day": "2026-01-31T12:00:00Z",
    "link": "https://example.com/" + "x" * 30,
    "token": "x" * 9,
    "short": "AAAAAAA",
    "untyped": "x" * 5,
    "quoted": "x" * 6,
    "either": [],
    "moment": "9999-12-31T23:59:59-01:00",
    "zoned": "0001-01-01T00:00:00+01:00",
    "span": "P999999Y",
    "date": 5,
    "uuid": 5,
}
RIGHT: dict[str, Any] = {
    "narrower": "x" * 5,
    "wider": "x" * 10,
    "looser": 2**31 - 1,
    "told": "x" * 10,
    "choice": "b",
    "literal": "x",
    "mood": "good",
    "identity": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "day": "2026-01-31",
    "link": "https://example.com/x",
    "token": "x" * 8,
    "short": "AAAA",
    "untyped": "x" * 4,
    "quoted": "x" * 5,
    "either": "x",
    "moment": "9999-12-31T23:59:59Z",
    "zoned": "0001-01-01T00:00:00Z",
    "span": "P1D",
    "date": "2026-01-31",
    "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
}


def test_the_column_has_the_last_word(client: TestClient) -> None:
    """A narrower limit of the author's holds, a wider one does not; every verb refuses alike."""
    created = client.post("/things", json=RIGHT)
    expected = {name: value for name, value in RIGHT.items() if name != "token"}
    assert (created.status_code, created.json()) == (201, {"id": 1, **expected}), created.text
    for method, address in [("POST", "/things"), ("PUT", "/things/1"), ("PATCH", "/things/1")]:
        refused = client.request(method, address, json=WRONG)
        assert refused.status_code == 422
        pointers = {item["pointer"].split("/")[1] for item in refused.json()["errors"]}
        assert pointers == set(WRONG), method
    assert client.patch("/things/1", json={"told": "xx"}).status_code == 422
    assert client.get("/things").json() == [created.json()]


def test_a_text_key_can_stand_in_an_address(client: TestClient) -> None:
    """An empty key, and one that clients would take for a step up, are refused; all others are reachable."""
    for word in ("", ".", ".."):
        answer = client.post("/words", json={"word": word})
        assert [item["code"] for item in answer.json()["errors"]] == ["not_addressable"]
    for word in ("...", " ", ".a", "a/../b", "50%", "~", "\u2028"):
        created = client.post("/words", json={"word": word})
        assert client.get(created.headers["location"]).json() == {"word": word}


def test_a_type_that_nobody_knows_is_told(sqlite_url: str) -> None:
    """A column whose type does not say what it holds must be annotated."""

    class Odd(sa.types.UserDefinedType[Any]):
        cache_ok = True

        def get_col_spec(self, **_: Any) -> str:
            return "BLOB"

        @property
        def python_type(self) -> type[Any]:
            raise NotImplementedError

    class Unknown(Model):
        __tablename__ = "unknown"
        odd = mapped_column(Odd())

    class Known(Model):
        __tablename__ = "known"
        odd: Mapped[bytes] = mapped_column(Odd())

    app = Jetio(database=sqlite_url, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Unknown).register_routes(app)
    with pytest.raises(ConfigError, match=r"the type of Unknown.odd is not known; annotate it"):
        app.build()
    app = Jetio(database=sqlite_url, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Known).register_routes(app)
    app.build()
    for model in (Unknown, Known):
        table: Any = model.__table__
        Model.metadata.remove(table)
