"""Rows that change between a write and the question why it failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import ColumnElement, func
from starlette.testclient import TestClient

from jetio import Access, AllowWhere, CrudRouter, Decision, public
from jetio import policy as as_policy
from tests.crud.library import Author, library, listening, serving


@contextmanager
def taking_turns(url: str, *allowed: int, hooked: bool = False) -> Iterator[TestClient]:
    """A library whose authors may be written whenever the rule is asked for the `allowed`th time."""

    @as_policy
    async def turn(access: Access) -> Decision:
        asked: ColumnElement[int] = func.nextval("turns")
        return AllowWhere(asked.in_(allowed), check=Author.id > 0)

    options = {"hooks": {"before_update": lambda change: None, "before_delete": lambda change: None}}
    rules = {"GET": public(), "POST": public(), "*": turn}
    app = library(url, CrudRouter(Author, policy=rules, **(options if hooked else {})))

    @app.on_event("startup")
    async def prepare() -> None:
        async with app.database.engine.begin() as connection:
            await connection.exec_driver_sql("CREATE SEQUENCE turns")

    with serving(app) as client:
        client.post("/authors", json={"name": "Ann"})
        yield client


@pytest.mark.parametrize("body", [{"country": "no"}, {}])
def test_a_write_that_lost_a_race_is_tried_again(postgresql_url: str, body: dict[str, str]) -> None:
    """The row could not be written, and could be when asked why: it is written the next time."""
    allowed = (2, 3) if body else (1,)
    with taking_turns(postgresql_url, *allowed) as client:
        answer = client.patch("/authors/1", json=body)
        assert (answer.status_code, answer.json()["country"]) == (200, body.get("country"))


def test_a_deletion_that_lost_a_race_is_tried_again(postgresql_url: str) -> None:
    """A deletion is tried again too."""
    with taking_turns(postgresql_url, 2, 3) as client:
        assert client.delete("/authors/1").status_code == 204
        assert client.get("/authors").json() == []


@pytest.mark.parametrize("hooked", [False, True], ids=["plain", "hooked"])
def test_a_row_that_never_keeps_still_is_409(postgresql_url: str, hooked: bool) -> None:
    """After three attempts the client is told that others are changing the row; nothing is written."""
    with taking_turns(postgresql_url, *range(2, 40, 2), hooked=hooked) as client:
        for method, body in [
            ("PATCH", {"country": "no"}),
            ("PATCH", {}),
            ("PUT", {"name": "Bob"}),
            ("DELETE", None),
        ]:
            answer = client.request(method, "/authors/1", json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), (method, answer.text)
            assert "changed by others" in answer.json()["detail"]
        assert client.get("/authors/1").json() == {"id": 1, "name": "Ann", "country": None, "mentor_id": None}


def test_objects_lose_races_alike(postgresql_url: str) -> None:
    """Rows that are written as objects are tried as often."""
    with listening(), taking_turns(postgresql_url, 2, 3) as client:
        assert client.patch("/authors/1", json={"country": "no"}).status_code == 200
