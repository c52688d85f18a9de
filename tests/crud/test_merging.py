"""Merge patches of JSON columns: what comes out of merging is held to the field's schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import CrudRouter, Jetio, JetioModel, Settings
from tests.crud.library import serving
from tests.registries import own_registry

MERGE = {"content-type": "application/merge-patch+json"}
LARGEST = 2000


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Size(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(gt=0)
    note: str | None = None


class Shelf(Model):
    class API:
        read_only = ("fixed",)

    name: Mapped[str] = mapped_column(default="")
    counts: Mapped[Annotated[dict[str, int], Field(max_length=3)] | None]
    size: Mapped[Size | None]
    needed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    given: Mapped[dict[str, int] | None] = mapped_column(sa.JSON)
    anything: Mapped[Any | None]
    words: Mapped[set[str] | None]
    fixed: Mapped[dict[str, Any]] = mapped_column(default=lambda: {"a": 1})


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    settings = Settings(env="test", max_body=LARGEST)
    app = Jetio(database=database_url, metadata=Model.metadata, settings=settings)
    CrudRouter(Shelf).register_routes(app)
    with serving(app) as client:
        yield client


ROW = {
    "counts": {"a": 1, "b": 2},
    "size": {"width": 3, "note": "n"},
    "given": {"a": 1},
    "anything": {"a": {"b": 1}},
    "words": ["x"],
}


@pytest.fixture
def address(client: TestClient) -> str:
    made = client.post("/shelfs", json=ROW)
    assert made.status_code == 201, made.text
    return made.headers["location"]


def patch(client: TestClient, address: str, body: str) -> Any:
    return client.patch(address, content=body, headers=MERGE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"counts": {"a": null, "c": 3}}', {"counts": {"b": 2, "c": 3}}),
        ('{"counts": {"a": null, "zz": null}, "name": "n"}', {"counts": {"b": 2}, "name": "n"}),
        ('{"size": {"note": null}}', {"size": {"width": 3, "note": None}}),
        ('{"size": {"width": 9}}', {"size": {"width": 9, "note": "n"}}),
        ('{"size": null}', {"size": None}),
        ('{"needed": {"a": {"b": null}}}', {"needed": {"a": {}}}),
        ('{"given": {"a": null, "b": 5}}', {"given": {"b": 5}}),
        ('{"anything": {"a": {"c": null, "d": [1, null]}}}', {"anything": {"a": {"b": 1, "d": [1, None]}}}),
        ('{"anything": [1]}', {"anything": [1]}),
        ('{"counts": {"a": null}, "fixed": {"a": 1}}', {"counts": {"b": 2}, "fixed": {"a": 1}}),
        ('{"counts": {}, "size": {}}', {}),
    ],
)
def test_documents_are_merged(client: TestClient, address: str, body: str, expected: dict[str, Any]) -> None:
    """Members are set, null removes them, at any depth and in typed documents too (RFC 7396)."""
    before = client.get(address).json()
    answer = patch(client, address, body)
    assert (answer.status_code, answer.json()) == (200, {**before, **expected}), answer.text
    assert client.get(address).json() == {**before, **expected}


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ('{"counts": {"c": 3, "d": 4}}', "/counts", "too_long"),
        ('{"counts": {"c": "x"}}', "/counts/c", "int_type"),
        ('{"counts": {"c": {"d": null}}}', "/counts/c", "int_type"),
        ('{"size": {"width": null}}', "/size/width", "missing"),
        ('{"size": {"width": 0}}', "/size/width", "greater_than"),
        ('{"size": {"extra": 1}}', "/size/extra", "unknown_field"),
        ('{"given": {"b": 1.5}}', "/given/b", "int_type"),
        ('{"words": {"a": 1}}', "/words", "set_type"),
        ('{"needed": null}', "/needed", "dict_type"),
        ('{"counts": {"a": null}, "nane": 1}', "/nane", "unknown_field"),
        ('{"counts": {"a": null}, "fixed": {"a": 2}}', "/fixed", "read_only_field"),
    ],
)
def test_what_comes_out_is_held_to_the_field(
    client: TestClient, address: str, body: str, pointer: str, code: str
) -> None:
    """A merged document that the field does not take is 422 at its place, and nothing changes."""
    before = client.get(address).json()
    answer = patch(client, address, body)
    assert answer.status_code == 422, answer.text
    told = [(item["pointer"], item["code"]) for item in answer.json()["errors"]]
    assert told == [(pointer, code)]
    assert client.get(address).json() == before


def test_a_document_does_not_grow_beyond_a_body(client: TestClient, address: str) -> None:
    """Patch upon patch, a document stays within what one body could bring."""
    for name in "abc":
        answer = patch(client, address, f'{{"needed": {{"{name}": "{name * 900}"}}}}')
    assert answer.status_code == 422
    assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == [("/needed", "too_large")]
    assert set(client.get(address).json()["needed"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"counts": {"a": 1, "a": 2}}', 400),
        ('{"counts": {"a": NaN}}', 400),
        ('{"anything": {"a": 1e400}}', 400),
        ('{"anything": {"a": "\\u0000"}}', 400),
        ('{"anything": {"a": 1}', 400),
        ('{"counts": {"a": 1}, "counts": {"b": 1}}', 400),
        ('[{"counts": {}}]', 422),
        ('"counts"', 422),
    ],
)
def test_a_merge_patch_is_strict_json(client: TestClient, address: str, body: str, status: int) -> None:
    """What parsers read differently is refused in patches as in bodies."""
    before = client.get(address).json()
    assert patch(client, address, body).status_code == status
    assert client.get(address).json() == before
