"""Rules that are combined with `|`, on rows that are changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, exists, select
from sqlalchemy.orm import Mapped, aliased
from starlette.testclient import TestClient

from jetio import Access, AllowWhere, CrudRouter, Decision, Deny, Jetio, JetioModel, policy, public, rows
from tests.crud.library import SETTINGS, serving
from tests.crud.test_rules import ByHeader
from tests.registries import own_registry


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Text(Model):
    state: Mapped[str]
    writer: Mapped[str]
    note: Mapped[str | None]


TEXTS = [("draft", "ann"), ("submitted", "bob"), ("submitted", "ann"), ("draft", "bob"), ("published", "ann")]


@policy
async def writers(access: Access) -> Decision:
    """Whoever wrote a text may change and submit it, and keeps it."""
    if access.principal is None:
        return Deny()
    own = Text.writer == access.principal.sub
    return AllowWhere(own & (Text.state != "published"), check=own & (Text.state != "published"))


@policy
async def editors(access: Access) -> Decision:
    """Texts that were submitted are published, or wait."""
    return AllowWhere(Text.state == "submitted", check=Text.state.in_(["submitted", "published"]))


def listener(mapper: Any, connection: Any, target: Any) -> None:
    assert isinstance(target, Text)


@pytest.fixture(params=["statements", "objects"])
def ways_to_write(request: pytest.FixtureRequest) -> Iterator[None]:
    """Rows are written by statements, or as objects because somebody listens."""
    objects = request.param == "objects"
    if objects:
        event.listen(Text, "before_update", listener)
    yield
    if objects:
        event.remove(Text, "before_update", listener)


@contextmanager
def serve(url: str, rule: Any) -> Iterator[TestClient]:
    app = Jetio(database=url, metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    CrudRouter(Text, policy={"GET": public(), "*": rule}).register_routes(app)
    CrudRouter(Text).register_routes(app, prefix="/open")

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for state, writer in TEXTS:
                session.add(Text(state=state, writer=writer))
                await session.flush()
            await session.commit()

    with serving(app) as client:
        client.headers["x-name"] = "ann"
        yield client


CHANGES: list[tuple[int, dict[str, str], int]] = [
    (1, {"state": "submitted"}, 200),  # ann's own draft
    (1, {"state": "published"}, 403),  # which only an editor's text may become
    (1, {"writer": "bob"}, 403),
    (1, {"state": "submitted", "writer": "bob"}, 403),
    (2, {"state": "published"}, 200),  # bob's text, which ann edits
    (2, {"writer": "ann"}, 200),
    (2, {"state": "draft"}, 403),
    (
        2,
        {"state": "draft", "writer": "ann"},
        403,
    ),  # she takes it: what she may do to her own drafts is no help
    (3, {"state": "draft"}, 200),  # both rules let her
    (3, {"state": "published"}, 200),
    (3, {"state": "draft", "writer": "bob"}, 403),
    (4, {"note": "x"}, 403),
    (5, {"note": "x"}, 403),
    (1, {"note": "x"}, 200),
    (2, {"note": "x"}, 200),
]


@pytest.mark.usefixtures("ways_to_write")
@pytest.mark.parametrize("rule", [writers | editors, editors | writers, ~(~writers & ~editors)], ids=str)
def test_a_rule_changes_its_rows_to_what_it_allows(database_url: str, rule: Any) -> None:
    """What one rule lets through has to pass the check of that rule, by PATCH and by PUT."""
    with serve(database_url, rule) as client:
        for key, change, status in CHANGES:
            path, before = f"/texts/{key}", dict(zip(("state", "writer"), TEXTS[key - 1], strict=True))
            for method, body in (("PATCH", change), ("PUT", {**before, **change})):
                answer = client.request(method, path, json=body)
                assert answer.status_code == status, (key, method, change)
                held = {name: client.get(path).json()[name] for name in before}
                wanted = {name: change.get(name, before[name]) for name in before}
                assert held == (wanted if status == 200 else before)
                client.put(f"/open/texts/{key}", json=before)
        assert client.patch("/texts/9", json={"state": "draft"}).status_code == 404


@pytest.mark.usefixtures("ways_to_write")
def test_rows_do_not_pass_from_one_rule_to_another(database_url: str) -> None:
    """Without a check a rule's rows stay its rows, also where the rules ask in subqueries."""
    other = aliased(Text)
    drafts = rows(lambda access: Text.state == "draft")
    anns = rows(lambda access: exists(select(other.id).where(other.id == Text.id, other.writer == "ann")))
    with serve(database_url, drafts | anns) as client:
        for key, change, status in (
            (4, {"state": "published", "writer": "ann"}, 403),
            (4, {"writer": "ann"}, 200),
            (4, {"state": "published"}, 200),
            (4, {"writer": "bob", "state": "draft"}, 403),
            (1, {"writer": "bob"}, 200),
            (2, {"state": "draft"}, 403),
        ):
            assert client.patch(f"/texts/{key}", json=change).status_code == status, (key, change)


def test_a_new_row_passes_the_check_of_either_rule(database_url: str) -> None:
    """There was no row before that one of them let through."""
    with serve(database_url, writers | editors) as client:
        for state, writer, status in (
            ("draft", "ann", 201),
            ("published", "bob", 201),
            ("published", "ann", 201),
            ("draft", "bob", 403),
        ):
            answer = client.post("/texts", json={"state": state, "writer": writer})
            assert answer.status_code == status, (state, writer)


def test_a_number_in_a_rule_is_refused_alike(database_url: str) -> None:
    """A rule that is no condition lets nobody in, on no database."""
    with serve(database_url, rows(lambda access: Text.id)) as client:
        for key in (1, 2):
            assert client.patch(f"/texts/{key}", json={"note": "x"}).status_code == 500
    with serve(database_url, ~rows(lambda access: Text.id)) as client:
        assert client.patch("/texts/1", json={"note": "x"}).status_code == 500


def test_a_row_stays_what_was_asked_of_it_until_it_is_written(database_url: str) -> None:
    """A text that is published and taken back at once ends as one of both: what came first rules out the other."""
    with serve(database_url, writers | editors) as client, ThreadPoolExecutor(2) as pool:

        def change(state: str) -> int:
            return client.patch("/texts/3", json={"state": state}).status_code

        for _ in range(20):
            assert sorted(pool.map(change, ["published", "draft"])) == [200, 403]
            client.put("/open/texts/3", json={"state": "submitted", "writer": "ann"})
