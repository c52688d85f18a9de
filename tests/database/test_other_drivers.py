"""The drivers beside our own choice: what a client sees is the same, through SQLAlchemy's executor."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from jetio import Database
from tests.crud.library import library, serving
from tests.database.notes import application, opened, talking

OTHERS = {"postgresql+asyncpg": "postgresql+psycopg", "mariadb+asyncmy": "mariadb+aiomysql"}


@pytest.fixture(params=["postgresql", "mariadb"])
def other_url(request: pytest.FixtureRequest) -> str:
    """An empty database, by the other driver."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    scheme, _, rest = url.partition("://")
    scheme = {"mysql+asyncmy": "mariadb+asyncmy"}.get(scheme, scheme)
    return f"{OTHERS[scheme]}://{rest}"


def errors(answer: Any, status: int) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    return [(entry["pointer"], entry["code"]) for entry in answer.json()["errors"]]


def test_rows_are_written_and_read_back(other_url: str) -> None:
    """Types, embedded rows, changes and counts are what our own driver gives."""
    with serving(library(other_url)) as client:
        author = client.post("/authors", json={"name": "Émilie \U0001f600"}).json()
        book = {"title": "Tea", "price": "12.50", "data": {"a": [1, None]}, "author_id": author["id"]}
        made = client.post("/books", json=book)
        assert made.status_code == 201, made.text
        assert made.json().items() >= book.items()
        assert client.patch("/books/1", json={"pages": 7}).json()["pages"] == 7
        assert client.put("/shelves/a,1", json={"label": "x"}).status_code == 404
        assert client.post("/shelves", json={"room": "a", "number": 1}).status_code == 201
        listed = client.get("/books?count=exact")
        assert (listed.json()[0]["title"], listed.headers["x-total-count"]) == ("Tea", "1")
        assert client.delete("/books/1").status_code == 204
        assert client.get("/books/1").status_code == 404


def test_refusals_name_their_fields(other_url: str) -> None:
    """Unique, check, foreign key and not-null violations are told as our own driver's are."""
    with serving(library(other_url)) as client:
        client.post("/books", json={"title": "Tea", "isbn": "1"})
        assert errors(client.post("/books", json={"title": "Ink", "isbn": "1"}), 409) == [
            ("/isbn", "conflict")
        ]
        assert errors(client.post("/books", json={"title": "Ink", "pages": -1}), 422) == [("/pages", "check")]
        dangling = client.post("/books", json={"title": "Ink", "author_id": 99})
        assert errors(dangling, 422) == [("/author_id", "invalid_reference")]
        author = client.post("/authors", json={"name": "Ann"}).json()
        client.patch("/books/1", json={"author_id": author["id"]})
        refused = client.delete(f"/authors/{author['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "still_referenced")


async def test_a_closed_connection_is_replaced(other_url: str) -> None:
    """Nobody notices that the server has ended the connections of the pool."""
    async with opened(other_url) as database, talking(application(database)) as client:
        assert (await client.post("/notes", json={"text": "a"})).status_code == 201
        await end_connections(other_url, database)
        assert (await client.get("/notes")).status_code == 200


async def end_connections(url: str, database: Database) -> None:
    """As an administrator of the server does it, from another connection."""
    if database.dialect.name == "postgresql":
        ids = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        end = "SELECT pg_terminate_backend({})"
    else:
        ids = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        end = "KILL {}"
    other = Database(url)
    async with other.engine.begin() as connection:
        found = (await connection.execute(text(ids))).scalars().all()
        assert found
        for number in found:
            await connection.execute(text(end.format(number)))
    await other.close()


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@127.0.0.1:1/x", "mysql+aiomysql://u@127.0.0.1:1/x"])
async def test_a_server_that_is_away_is_503(url: str) -> None:
    """As with our own driver: the client is asked to come back."""
    database = Database(url)
    async with talking(application(database)) as client:
        answer = await client.get("/notes")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    await database.close()
