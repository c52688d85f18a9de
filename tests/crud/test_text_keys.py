"""Keys of text: what is created has an address, or is refused."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl
from sqlalchemy import Enum, Numeric, String, TypeDecorator
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from jetio import ConfigError, CrudRouter, Jetio, JetioModel
from tests.crud.library import SETTINGS
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Word(Model):
    code: Mapped[str] = mapped_column(String(20), primary_key=True)
    note: Mapped[str | None]


class Marking(TypeDecorator[str]):
    impl = String(20)
    cache_ok = True


class Pair(Model):
    left: Mapped[str] = mapped_column(String(20), primary_key=True)
    right: Mapped[str] = mapped_column(String(20), primary_key=True)
    note: Mapped[str | None]


class Kind(enum.Enum):
    PLAIN = "a"
    SLASH = "a/b,%2F"


class Kinds(Model):
    kind: Mapped[Kind] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Moments(Model):
    at: Mapped[dt.datetime] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Amounts(Model):
    amount: Mapped[Decimal] = mapped_column(Numeric(8, 3), primary_key=True)
    note: Mapped[str | None]


class Spans(Model):
    span: Mapped[dt.timedelta] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Times(Model):
    time: Mapped[dt.time] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Sites(Model):
    site: Mapped[HttpUrl] = mapped_column(String(99), primary_key=True)
    note: Mapped[str | None]


class Marks(Model):
    """A type of the application's own, which says nothing of its values but by the annotation."""

    mark: Mapped[str] = mapped_column(Marking(), primary_key=True)
    note: Mapped[str | None]


OTHERS: list[tuple[type[Any], str, list[Any]]] = [
    (Kinds, "kind", ["a", "a/b,%2F"]),
    (Moments, "at", ["2026-01-01T00:00:00.5+02:00", "0001-01-01T00:00:00Z"]),
    (Amounts, "amount", ["1.5", "-3", 0]),
    (Spans, "span", ["PT1S", "-P1DT0.5S", "PT0S"]),
    (Times, "time", ["10:00", "10:00:00.000001"]),
    (Sites, "site", ["https://example.com/a/../b?c=%2F&d#e", "http://example.com"]),
    (Marks, "mark", ["a", "a/b"]),
]

HARD = [
    "a", "", ".", "..", "...", ". .", " ", "a ", " a", "/", "a/b", "//", "%", "%2F", "%2f", "%25",
    "a%00b", "%zz", "?", "a?b", "#", "a#b", "&", "=", "+", ";", ",", "a,b", ":", "@", "\\", '"', "'",
    "<", "{id}", "\t", "\n", "\r\n", "\x7f", "\x01", "\u0085", "é", "e\u0301", "ß", "\U0001f600",
    "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001ffff", "\U0010ffff", "\u200b", "\u2028", "\u202e",
    "\ufeff", "\ufffd", "null", "..;", "a/../b", "./", "../", "/.", "a/.", "x" * 20, "\U0001f600" * 20,
    "count", "bulk", "a\ufdd0",
]  # fmt: skip


def as_servers_do(app: Jetio) -> ASGIApp:
    """Starlette's client decodes a path twice; servers decode it once."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = unquote(scope["raw_path"].decode())
        await app(scope, receive, send)

    return serve


def application(url: str) -> ASGIApp:
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    for model in (Word, Pair, *(model for model, _, _ in OTHERS)):
        CrudRouter(model).register_routes(app)
    return as_servers_do(app)


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    with TestClient(application(database_url)) as client:
        yield client


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(application(f"sqlite:///{tmp_path_factory.mktemp('keys') / 'test.db'}")) as client:
        yield client


def walk(client: TestClient, path: str, body: dict[str, Any]) -> int:
    """Create a row and use the address that it is given in every way; or be refused."""
    made = client.post(path, json=body)
    if made.status_code == 422:
        assert {item["code"] for item in made.json()["errors"]} == {"not_addressable"}, (body, made.text)
        return 422
    assert made.status_code == 201, (body, made.text)
    address = made.headers["location"]
    read = client.get(address)
    assert (read.status_code, read.json()) == (200, made.json()), (body, address)
    for method in ("PATCH", "PUT"):
        changed = client.request(method, address, json={"note": method})
        assert changed.json() == {**made.json(), "note": method}, (body, address)
    assert client.delete(address).status_code == 204, body
    assert client.get(address).status_code == 404, body
    return 201


@pytest.mark.parametrize("place", ["code", "left", "right", "both"])
def test_every_text_has_an_address_or_is_refused(client: TestClient, place: str) -> None:
    """Only what no address can hold is refused as a key; all else is found where Location says."""
    for word in HARD:
        names = ("left", "right") if place == "both" else (place,)
        body = {name: word for name in names}
        if place in ("left", "right"):
            body["left" if place == "right" else "right"] = "a"
        told = walk(client, "/words" if place == "code" else "/pairs", body)
        refused = word in ("", ".", "..") or "\ufdd0" in word
        assert told == (422 if refused else 201), (place, word)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(word=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_any_text_has_an_address_or_is_refused(sqlite: TestClient, word: str) -> None:
    """Whatever the characters: a row that is made is found again, alone and as a part of a key."""
    walk(sqlite, "/words", {"code": word})
    walk(sqlite, "/pairs", {"left": word, "right": word[::-1]})


def test_keys_of_other_types_have_addresses(client: TestClient) -> None:
    """Keys that are no text are found by their text."""
    for model, name, values in OTHERS:
        for value in values:
            assert walk(client, f"/{model.__table__.name}", {name: value}) == 201, (model, value)


def test_texts_of_types_that_nobody_knows_are_held_to_the_same(client: TestClient) -> None:
    """A key of a type of the application's own cannot be what no address holds."""
    for word in ("", ".", "..", "a\ufdd0"):
        assert walk(client, f"/{Marks.__tablename__}", {"mark": word}) == 422


class Steps(enum.Enum):
    HERE = "."
    UP = ".."


def test_a_kind_without_an_address_is_a_mistake(sqlite_url: str) -> None:
    """An enumeration as a key, of which a value cannot stand in an address, stops the build."""
    registry = own_registry()
    body = {
        "registry": registry,
        "_sa_registry": registry,
        "metadata": registry.metadata,
        "__module__": __name__,
    }
    base: Any = type("Alone", (JetioModel,), {**body, "__abstract__": True})
    fields = {
        "step": mapped_column(
            Enum(Steps, values_callable=lambda kind: [s.value for s in kind]), primary_key=True
        )
    }
    stepped: Any = type("Stepped", (base,), {"__module__": __name__, **fields})
    app = Jetio(database=sqlite_url, metadata=registry.metadata, settings=SETTINGS)
    CrudRouter(stepped).register_routes(app)
    with pytest.raises(
        ConfigError, match=r"Stepped\.step is a key, of which '', '\.' and '\.\.' cannot stand"
    ):
        app.build()
