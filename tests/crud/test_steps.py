"""What runs between the statements of a read: it knows the caller, and its errors are its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, TypeDecorator, bindparam, insert
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import (
    Access,
    AllowWhere,
    CrudRouter,
    Database,
    Decision,
    Jetio,
    JetioModel,
    SecurityContext,
    policy,
)
from tests.crud.library import SETTINGS, serving
from tests.crud.twins import ByHeader
from tests.registries import own_registry

caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Sealed(TypeDecorator[str]):
    """Text that is opened for the caller, as a key of each customer's own would have it."""

    impl = String(40)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str:
        return f"{value} for {caller.get()}"


FAILURES = {"big": OverflowError, "away": OSError, "locked": TimeoutError, "odd": KeyError}


class Failing(TypeDecorator[str]):
    """Text that fails on reading, in the words of those who fail otherwise for a database."""

    impl = String(40)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        if value in FAILURES:
            raise FAILURES[value]("a type's own")
        return value


class Box(Model):
    __tablename__ = "boxes"
    label: Mapped[str] = mapped_column(Failing())
    notes: Mapped[list[Secret]] = relationship(order_by="Secret.id")


class Secret(Model):
    __tablename__ = "secrets"
    owner: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Sealed())
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id"), index=True)


def _name() -> str:
    known = SecurityContext.get()
    return known.sub if known else "nobody"


OWN = AllowWhere(Secret.owner == bindparam("me", callable_=_name, type_=String()))


@policy
async def own(access: Access) -> Decision:
    """A caller's own rows, by a clause that asks for the caller when it is sent."""
    caller.set(_name())
    return OWN


@contextmanager
def serve(url: str, fast_path: bool) -> Iterator[TestClient]:
    """Two sound boxes and one for each failure; in the first a note of ann's and one of bob's."""
    app = Jetio(database=Database(url, fast_path=fast_path), metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    CrudRouter(Secret, policy={"*": own}).register_routes(app)
    CrudRouter(Box, load_relationships=["notes"]).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for label in ("sound", "sound too", *FAILURES):
                await session.execute(insert(Box).values(label=label))
            for owner in ("ann", "bob"):
                await session.execute(insert(Secret).values(owner=owner, text=f"{owner}'s", box_id=1))
            await session.commit()

    with serving(app) as client:
        yield client


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("path", ["/boxes/1", "/boxes?limit=1", "/secrets", "/secrets?count=exact"])
def test_rules_and_types_know_the_caller_in_every_statement(
    database_url: str, path: str, fast_path: bool
) -> None:
    """Context variables hold for clauses and types wherever the rows are read: embedded, counted, in a thread."""
    with serve(database_url, fast_path) as client:
        for name in ("ann", "bob"):
            answer = client.get(path, headers={"x-name": name})
            found = answer.json()
            found = found[0]["notes"] if "boxes?" in path else found["notes"] if "boxes" in path else found
            assert [(note["owner"], note["text"]) for note in found] == [(name, f"{name}'s for {name}")]
            assert answer.headers.get("x-total-count") in (None, "1")


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("number", range(3, 3 + len(FAILURES)))
def test_what_a_type_raises_is_no_fault_of_the_database(
    database_url: str, fast_path: bool, number: int
) -> None:
    """A row that a type cannot read is a 500, whatever the type raises, and the next row is read as ever."""
    with serve(database_url, fast_path) as client:
        for path in (f"/boxes/{number}", f"/boxes?limit=1&offset={number - 1}"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert client.get("/boxes/1").json()["label"] == "sound"
