"""The client that applications are tested with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from jetio import ConfigError, CrudRouter, Database, Jetio, JetioModel, Principal, Problem, authenticated
from jetio.testing import TestClient, problem_in
from tests.core.apps import make_app
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Note(Own):
    text: Mapped[str]


class Finder:
    user_model = None
    schemas = ()

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        name = connection.headers.get("x-user")
        return None if name is None else Principal(id=0, sub=name)

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user.id, sub=user.text)


@pytest.fixture
def app() -> Jetio:
    app = make_app(metadata=Own.metadata)
    app.use_authenticator(Finder())

    @app.get("/me")
    async def me(who: Principal | None) -> Any:
        return who and who.sub

    @app.websocket("/me")
    async def socket(websocket, who: Principal) -> None:  # type: ignore[no-untyped-def]
        await websocket.accept()
        await websocket.send_text(who.sub)

    @app.get("/broken")
    async def broken() -> Any:
        raise KeyError("the cause")

    @app.get("/notes")
    async def notes(session: AsyncSession) -> list[Note]:
        return list(await session.scalars(select(Note)))

    CrudRouter(Note, policy={"*": authenticated()}).register_routes(app, prefix="/secured")
    return app


def test_one_logs_in_as_a_row_or_a_principal(app: Jetio) -> None:
    """For that client, until it says otherwise: on handlers, CRUD routes and sockets; nobody else is."""
    with TestClient(app) as client:
        stranger = TestClient(app)
        ann = client.add(Note(text="ann"))
        assert client.get("/me").json() is None
        assert client.login_as(ann) is client
        assert client.get("/me").json() == "ann"
        assert client.get("/me", headers={"x-user": "bob"}).json() == "ann"
        assert client.get("/secured/notes").json() == [{"id": 1, "text": "ann"}]
        with client.websocket_connect("/me") as socket:
            assert socket.receive_text() == "ann"
        assert (stranger.get("/me").json(), stranger.get("/secured/notes").status_code) == (None, 401)
        assert stranger.get("/me", headers={"x-user": "bob"}).json() == "bob"
        client.login_as(Principal(id=9, sub="root"))
        assert client.get("/me").json() == "root"
        client.login_as(None)
        assert client.get("/secured/notes").status_code == 401


def test_logging_in_needs_somebody_who_finds_out() -> None:
    """A principal needs nobody."""
    app = make_app()
    app.get("/")(lambda: 1)
    with pytest.raises(ConfigError, match="log in as a Principal"):
        TestClient(app).login_as(Note(text="ann"))
    assert TestClient(app).login_as(Principal(id=1, sub="1")).get("/").json() == 1


def test_a_test_has_a_database_of_its_own(app: Jetio, tmp_path: Path) -> None:
    """As a path, a URL or a Database; the application's own comes back."""
    own = app.database
    given: list[Any] = [
        tmp_path / "a.db",
        f"sqlite+aiosqlite:///{tmp_path}/b.db",
        Database(f"sqlite+aiosqlite:///{tmp_path}/c.db"),
    ]
    for database in given:
        with TestClient(app, database=database) as client:
            assert client.get("/notes").json() == []
            assert client.add(Note(text="a")).id == 1
            assert client.get("/notes").json() == [{"id": 1, "text": "a"}]
            assert app.database is not own
        assert app.database is own
    assert {file.suffix for file in tmp_path.iterdir()} >= {".db"}
    with TestClient(app, database=tmp_path / "a.db") as client:
        assert len(client.get("/notes").json()) == 1


def test_the_own_database_comes_back_after_a_start_that_failed(app: Jetio, tmp_path: Path) -> None:
    """And after a test that failed."""
    own = app.database
    app.on_event("startup")(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), TestClient(app, database=tmp_path / "a.db"):
        raise AssertionError("never started")
    assert app.database is own


def test_rows_are_added_while_the_application_runs(app: Jetio) -> None:
    """Before that there is no loop to do it."""
    with pytest.raises(ConfigError, match="write `with TestClient"):
        TestClient(app).add(Note(text="a"))


def test_what_nobody_expected_is_raised_in_the_test(app: Jetio) -> None:
    """With its own class and stack, with and without a start; problems are answers."""
    client = TestClient(app)
    with pytest.raises(KeyError, match="the cause"):
        client.get("/broken")
    with TestClient(app) as started, pytest.raises(KeyError, match="the cause"):
        started.get("/broken")
    assert client.get("/nowhere").status_code == 404
    assert TestClient(app, raise_server_exceptions=False).get("/broken").status_code == 500


def test_a_problem_can_be_read(app: Jetio) -> None:
    """As it was raised; anything else fails the test and shows itself."""

    @app.get("/problem/{n}")
    async def problem(n: int, q: int) -> Any:
        raise Problem(409, "conflict", "Taken", headers={"Retry-After": "1"}, members={"by": "bob"})

    client = TestClient(app)
    taken = problem_in(client.get("/problem/1?q=1"))
    assert (taken.status, taken.code, taken.detail, taken.title) == (409, "conflict", "Taken", "Conflict")
    assert (taken.members["by"], taken.members["instance"], taken.headers["retry-after"]) == (
        "bob",
        "/problem/1",
        "1",
    )
    (wrong,) = problem_in(client.get("/problem/1?q=x")).errors
    assert (wrong.parameter, wrong.code) == ("q", "int_parsing")
    with pytest.raises(AssertionError, match="200 application/json: null"):
        problem_in(client.get("/me"))
