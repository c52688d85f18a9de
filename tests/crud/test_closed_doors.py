"""Ways around a rule, or out of a transaction, that are closed."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from sqlalchemy import ForeignKey, MetaData, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import Change, CrudRouter, Deny, Form, Jetio, JetioModel, policy
from tests.crud.library import SETTINGS, serving
from tests.registries import own_registry


@policy
async def nobody(access: Any) -> Deny:
    return Deny()


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Box(Model):
    label: Mapped[str]
    weight: Mapped[float] = mapped_column(default=0.5)
    secrets: Mapped[list[Secret]] = relationship(back_populates="box")


class Secret(Model):
    class API:
        policy = {"*": nobody}  # noqa: RUF012 - read once, never altered

    text: Mapped[str]
    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id"))
    box: Mapped[Box] = relationship(back_populates="secrets")


def boxes(url: str, router: CrudRouter) -> Jetio:
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    router.register_routes(app)
    return app


def test_a_model_s_own_rule_holds_without_a_router(database_url: str) -> None:
    """`class API: policy` guards embedded rows also where the model has no router of its own."""
    app = boxes(database_url, CrudRouter(Box, load_relationships=["secrets"]))

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            session.add(Box(label="a", secrets=[Secret(text="TOP SECRET")]))
            await session.commit()

    with serving(app) as client:
        assert client.get("/boxes").json() == [{"id": 1, "label": "a", "weight": 0.5, "secrets": []}]


def test_floats_come_back(database_url: str) -> None:
    """A float column is written and read on every database, to the last bit."""
    with serving(boxes(database_url, CrudRouter(Box))) as client:
        for weight in (0.1, -1.5e300, 5e-324, 3.0):
            created = client.post("/boxes", json={"label": "x", "weight": weight})
            assert created.json()["weight"] == weight
            assert client.get(created.headers["location"]).json()["weight"] == weight


def test_a_hook_after_the_commit_holds_nothing(database_url: str) -> None:
    """What an `on_commit` hook does with the session is committed and given back: the next write goes on."""
    counts: list[int] = []

    async def after(change: Change) -> None:
        counts.append(int(await change.session.scalar(select(func.count()).select_from(Box)) or 0))
        change.session.add(Box(label="made by the hook"))

    app = boxes(database_url, CrudRouter(Box, hooks={"on_commit": after}))
    with serving(app) as client:
        for number in (1, 3, 5):
            assert client.post("/boxes", json={"label": "x"}).status_code == 201
            assert counts[-1] == number
        assert len(client.get("/boxes").json()) == 6
        assert app.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-16", "idna"])
def test_a_form_is_utf_8(sqlite_url: str, charset: str) -> None:
    """A form in another encoding is 415: the client does not choose which of Python's codecs runs."""
    app = Jetio(database=sqlite_url, metadata=MetaData(), settings=SETTINGS)

    @app.post("/form")
    async def form(value: Annotated[str, Form()]) -> str:
        return value

    body = b'--x\r\nContent-Disposition: form-data; name="value"\r\n\r\n' + b"z" * 1000 + b"\r\n--x--\r\n"
    with serving(app) as client:
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        assert client.post("/form", content=body, headers={"content-type": kind}).status_code == 415
        kind = "multipart/form-data; boundary=x; charset=UTF-8"
        assert client.post("/form", content=body, headers={"content-type": kind}).json() == "z" * 1000
