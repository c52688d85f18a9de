"""Clauses of rules: each keeps its own values, whatever other clauses and the statement itself hold."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, bindparam, insert, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.sql.functions import FunctionElement

from jetio import AllowWhere, CrudRouter, Jetio, JetioModel, Principal, SecurityScheme, public, rows
from jetio.models import NAMING
from tests.crud.library import SETTINGS, serving


class Paper(JetioModel):
    """A row with a level; its parent is another one."""

    __tablename__ = "rule_papers"
    metadata = MetaData(naming_convention=NAMING)

    level: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("rule_papers.id"))
    parent: Mapped[Paper | None] = relationship(remote_side="Paper.id")


class ByHeader:
    """The caller is whoever the header names."""

    user_model = None
    schemes = (SecurityScheme("name", {"type": "apiKey", "in": "header", "name": "x-name"}),)

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        name = connection.headers.get("x-name")
        return Principal(id=name, sub=name) if name else None

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


def papers(url: str, **options: Any) -> Jetio:
    app = Jetio(database=url, metadata=Paper.metadata, settings=SETTINGS)
    app.use_authenticator(ByHeader())
    CrudRouter(Paper, **options).register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for level, parent in [(0, None), (1, None), (9, None), (1, 3), (50, None)]:
                await session.execute(insert(Paper).values(level=level, parent_id=parent))
            await session.commit()

    return app


SHARED = Paper.level == 0


async def listing(access: Any) -> AllowWhere:
    return AllowWhere(SHARED if access.principal is None else Paper.level == 1)


async def reading(access: Any) -> AllowWhere:
    return AllowWhere(SHARED if access.principal is None else Paper.level == 9)


@pytest.mark.parametrize("anonymous_first", [True, False])
def test_a_clause_that_two_rules_share_is_two_clauses(database_url: str, anonymous_first: bool) -> None:
    """One clause object in two scopes of a statement never makes later requests share a value."""
    app = papers(database_url, load_relationships=["parent"], policy={"list": listing, "retrieve": reading})
    with serving(app) as client:
        if anonymous_first:
            assert [row["level"] for row in client.get("/rule_papers").json()] == [0]
        found = client.get("/rule_papers", headers={"x-name": "staff"}).json()
        assert [(row["level"], row["parent"] and row["parent"]["level"]) for row in found] == [
            (1, None),
            (1, 9),
        ]
        assert [row["level"] for row in client.get("/rule_papers").json()] == [0]


def test_a_hook_knows_the_caller(sqlite_url: str) -> None:
    """`change.principal` is whoever asks, None where nobody is known."""
    told: list[Any] = []
    hook = {"before_create": lambda change: told.append(change.principal and change.principal.id)}
    rule = {"*": rows(lambda access: Paper.level < 100)}
    with serving(papers(sqlite_url, policy=rule, hooks=hook)) as client:
        for headers in ({"x-name": "ann"}, {}):
            assert client.post("/rule_papers", json={"level": 1}, headers=headers).status_code == 201
    assert told == ["ann", None]


def test_a_named_parameter_of_a_rule_is_the_rule_s_own(database_url: str) -> None:
    """A rule may name its parameter as the statement names one of its own: the client cannot fill it."""
    for name in ("limit", "offset", "k_id", "v_level"):
        rule = rows(lambda access, name=name: Paper.level <= bindparam(name, 1))  # type: ignore[misc]
        app = papers(database_url, policy={"*": rule})
        with serving(app) as client:
            found = client.get("/rule_papers?page_size=100").json()
            assert {row["level"] for row in found} == {0, 1}, name
            assert client.get("/rule_papers/3").status_code == 404
            assert client.patch("/rule_papers/3", json={"level": 0}).status_code == 404
            assert client.patch("/rule_papers/1", json={"level": 50}).status_code == 403


def test_one_parameter_may_stand_twice_in_a_rule(database_url: str) -> None:
    """The rule's author writes one value in two places: each request fills both with its own."""

    def own(access: Any) -> Any:
        value = bindparam(None, 1 if access.principal is None else int(access.principal.sub))
        return or_(Paper.level == value, Paper.parent_id == value)

    with serving(papers(database_url, policy={"*": rows(own)})) as client:
        for name, expected in ((None, {2, 4}), ("9", {3}), ("3", {4}), (None, {2, 4})):
            headers = {"x-name": name} if name else {}
            assert {row["id"] for row in client.get("/rule_papers", headers=headers).json()} == expected, name


class raised(FunctionElement[int]):
    """A construct of the application's own, of which SQLAlchemy keeps no compiled statement."""

    inherit_cache = False
    name = "raised"


@compiles(raised)
def _raised(element: Any, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)} + 1)"


def test_a_clause_that_cannot_be_kept_is_compiled_for_each_request(database_url: str) -> None:
    """A construct without a cache key in a rule works, with each caller's own values, on every verb."""

    def above(access: Any) -> Any:
        return raised(Paper.level) == (2 if access.principal is None else int(access.principal.sub))

    rule = {"*": rows(above), "DELETE": rows(above) & public()}
    with serving(papers(database_url, policy=rule)) as client:
        for name, expected in ((None, [1, 1]), ("10", [9]), ("1", [0]), (None, [1, 1])):
            headers = {"x-name": name} if name else {}
            found = client.get("/rule_papers", headers=headers).json()
            assert [row["level"] for row in found] == expected, name
        assert client.get("/rule_papers/3").status_code == 404
        assert client.patch("/rule_papers/3", json={"level": 1}).status_code == 404
        assert client.patch("/rule_papers/2", json={"level": 5}).status_code == 403
        assert client.delete("/rule_papers/2").status_code == 204
