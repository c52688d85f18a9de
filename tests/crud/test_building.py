"""What building routers takes: nothing that only the document needs, and in proportion to how many they are."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import ConfigError, CrudRouter, Database, Jetio, JetioModel
from tests.crud.library import SETTINGS
from tests.registries import own_registry

UNCLOSED: Any = {"pattern": "("}


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Shelf(Model):
    label: Mapped[str] = mapped_column(info={"jetio": UNCLOSED})


class Seal(Model):
    sign: Mapped[str | None] = mapped_column(info={"jetio": {**UNCLOSED, "read_only": True}})


class Letter(Model):
    seal_id: Mapped[int | None] = mapped_column(ForeignKey("seals.id"))
    seal: Mapped[Seal | None] = relationship()


class Paper(BaseModel):
    weight: int


class Poster(Model):
    paper: Mapped[Paper | None] = mapped_column(info={"jetio": {"read_only": True}})
    sign: Mapped[str | None]


class Country(Model):
    code: Mapped[str] = mapped_column(String(2), primary_key=True)
    name: Mapped[str]


def built(url: str, *routers: CrudRouter) -> Jetio:
    app = Jetio(database=Database(url), metadata=Model.metadata, settings=SETTINGS)
    for router in routers:
        router.register_routes(app)
    app.build()
    return app


@pytest.mark.parametrize(
    ("router", "place"),
    [
        (CrudRouter(Shelf), "Shelf.label"),
        (CrudRouter(Shelf, actions=["update"]), "Shelf.label"),
        (CrudRouter(Shelf, actions=["list"]), "Shelf.label"),
        (CrudRouter(Seal), "Seal.sign"),
        (CrudRouter(Letter, load_relationships=["seal"], actions=["retrieve"]), "Seal.sign"),
    ],
)
def test_limits_that_mean_nothing_stop_the_build(sqlite_url: str, router: CrudRouter, place: str) -> None:
    """Of columns that are set, that are only shown, and that are only embedded."""
    with pytest.raises(ConfigError) as told:
        built(sqlite_url, router)
    assert str(told.value).startswith(f"{place}: pydantic can do nothing with this type and its limits (")
    assert "unclosed group" in str(told.value)


def test_a_document_that_clients_only_see_may_be_sent_back(tmp_path: Path) -> None:
    """With the value that it has, and no other."""
    app = built(f"sqlite+aiosqlite:///{tmp_path}/posters.sqlite", CrudRouter(Poster))
    with TestClient(app) as client:
        seen = client.post("/posters", json={"sign": "a"}).json()
        assert client.put("/posters/1", json={**seen, "sign": "b"}).json() == {**seen, "sign": "b"}
        other = client.put("/posters/1", json={**seen, "paper": {"weight": 3}})
        assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/paper")


def schemas_of(model: type[Any]) -> list[str]:
    """The names of the schemas that were made for a model; registries keep them alive."""
    named = [schema.__name__ for schema in BaseModel.__subclasses__()]
    return sorted(name.removeprefix(model.__name__) for name in named if name.startswith(model.__name__))


def chain(length: int, word: str) -> list[type[Any]]:
    """Models of which each but the first refers to the one before."""

    class Link(JetioModel):
        __abstract__ = True
        registry = _sa_registry = own_registry()
        metadata = registry.metadata

    def link(number: int) -> type[Any]:
        before = mapped_column(ForeignKey(f"{word}{max(number - 1, 0)}.id"))
        types = {"name": Mapped[str], "before_id": Mapped[int | None]}
        own = {"__tablename__": f"{word}{number}", "__module__": __name__, "__annotations__": types}
        return type(f"{word.title()}{number}", (Link,), {**own, "before_id": before})

    return [link(number) for number in range(length)]


def test_schemas_that_only_the_document_tells_are_made_with_it(sqlite_url: str) -> None:
    """Building makes what judges bodies: one schema for POST and PUT where these take the same, one for PATCH."""
    (model,) = chain(1, "early")
    app = built(sqlite_url, CrudRouter(model))
    assert schemas_of(model) == ["Create", "Patch"]
    app.openapi()
    assert schemas_of(model) == ["Create", "Patch", "Read", "Replace"]


def test_operations_that_are_not_there_have_no_schemas(sqlite_url: str) -> None:
    """A router that only reads judges no bodies."""
    (model,) = chain(1, "shown")
    built(sqlite_url, CrudRouter(model, actions=["list", "retrieve"]))
    assert schemas_of(model) == []


def test_put_takes_no_key_that_post_takes(tmp_path: Path) -> None:
    """Where the two take different fields, each has its schema: a key that clients choose is given once."""
    app = built(f"sqlite+aiosqlite:///{tmp_path}/countries.sqlite", CrudRouter(Country))
    with TestClient(app) as client:
        assert client.post("/countries", json={"code": "fr", "name": "Gaul"}).status_code == 201
        moved = client.put("/countries/fr", json={"code": "de", "name": "France"})
        assert (moved.status_code, moved.json()["errors"][0]["pointer"]) == (422, "/code")
        assert client.put("/countries/fr", json={"code": "fr", "name": "France"}).status_code == 200


def test_a_document_is_made_once_whoever_asks(sqlite_url: str) -> None:
    """Threads that ask at the same time get the same one."""
    app = built(sqlite_url, *map(CrudRouter, chain(8, "asked")))
    with ThreadPoolExecutor(4) as threads:
        documents = list(threads.map(lambda _: app.openapi(), range(8)))
    assert all(document is documents[0] for document in documents)


@pytest.mark.parametrize("collects", [True, False])
def test_building_leaves_the_collector_as_it_was(sqlite_url: str, collects: bool) -> None:
    """It rests while an application is built, also where that fails, and is nobody's who switched it off."""
    at_build = []
    app = Jetio(database=Database(sqlite_url), settings=SETTINGS)
    app.on_build.append(lambda _: at_build.append(gc.isenabled()))
    CrudRouter(Shelf).register_routes(app)
    if not collects:
        gc.disable()
    try:
        with pytest.raises(ConfigError, match=r"Shelf\.label"):
            app.build()
        after = gc.isenabled()
    finally:
        gc.enable()
    assert (at_build, after) == ([False], collects)


def calls_of(url: str, length: int) -> int:
    """How many functions building that many routers calls."""
    app = Jetio(database=Database(url), settings=SETTINGS)
    for model in chain(length, f"many{length}x"):
        CrudRouter(model, secure=False).register_routes(app)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        app.build()
    finally:
        sys.setprofile(before)
    return calls


def test_building_grows_with_the_models_and_no_faster(sqlite_url: str) -> None:
    """Four times as many models, which refer to each other, take about four times as many calls."""
    calls_of(sqlite_url, 2)
    assert calls_of(sqlite_url, 80) < 4.1 * calls_of(sqlite_url, 20)
