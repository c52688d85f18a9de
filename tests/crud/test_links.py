"""Rules that ask about the link table of the very relation they are embedded through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, Table, exists, select
from sqlalchemy.orm import Mapped, aliased, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import CrudRouter, Database, Jetio, JetioModel, rows
from jetio.crud import statements
from tests.crud.library import SETTINGS, serving
from tests.registries import own_registry


class Model(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


follows = Table(
    "follows",
    Model.metadata,
    Column("follower_id", ForeignKey("members.id"), primary_key=True),
    Column("followed_id", ForeignKey("members.id"), primary_key=True),
    Column("rank", Integer, nullable=False),
)
wearing = Table(
    "wearing",
    Model.metadata,
    Column("member_id", ForeignKey("members.id"), primary_key=True),
    Column("badge_id", ForeignKey("badges.id"), primary_key=True),
)


class Member(Model):
    name: Mapped[str]
    sponsor_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
    followed: Mapped[list[Member]] = relationship(
        secondary=follows,
        primaryjoin="Member.id == follows.c.follower_id",
        secondaryjoin="Member.id == follows.c.followed_id",
        order_by=follows.c.rank.desc(),
    )
    badges: Mapped[list[Badge]] = relationship(secondary=wearing)


class Badge(Model):
    name: Mapped[str]


@contextmanager
def serve(url: str, *routers: CrudRouter, fast_path: bool = True) -> Iterator[TestClient]:
    """Members 1 to 4: 1 follows 2, 3 and 4, 2 follows 3; the follower ranks later numbers higher."""
    database = Database(url, fast_path=fast_path)
    app = Jetio(database=database, metadata=Model.metadata, settings=SETTINGS)
    for router in routers:
        router.register_routes(app)

    @app.on_event("startup")
    async def fill() -> None:
        async with app.database.sessions() as session:
            for number in range(1, 5):
                session.add(Member(name=f"m{number}", sponsor_id=1 if number == 3 else None))
                await session.flush()
            session.add_all([Badge(name="red"), Badge(name="blue")])
            await session.flush()
            for one, other in ((1, 2), (1, 3), (1, 4), (2, 3)):
                await session.execute(follows.insert().values(follower_id=one, followed_id=other, rank=other))
            for member, badge in ((1, 1), (2, 1), (1, 2)):
                await session.execute(wearing.insert().values(member_id=member, badge_id=badge))
            await session.commit()

    with serving(app) as client:
        yield client


Sponsor = aliased(Member)
RULES: dict[str, tuple[Callable[[], Any], list[int]]] = {
    "the link": (lambda: exists().where(follows.c.followed_id == Member.id, follows.c.rank > 2), [4, 3]),
    "the other side": (lambda: exists().where(follows.c.follower_id == Member.id), [2]),
    "no link": (lambda: ~exists().where(follows.c.follower_id == Member.id), [4, 3]),
    "a scalar": (
        lambda: (
            select(follows.c.rank)
            .where(follows.c.followed_id == Member.id, follows.c.follower_id == 2)
            .scalar_subquery()
            == 3
        ),
        [3],
    ),
    "both tables": (
        lambda: exists().where(follows.c.followed_id == Member.id, follows.c.follower_id == Sponsor.id),
        [4, 3, 2],
    ),
    "the table itself": (lambda: exists().where(Sponsor.id == Member.sponsor_id), [3]),
    "a list": (lambda: Member.id.in_(select(follows.c.followed_id).where(follows.c.rank < 4)), [3, 2]),
    "the ORM's": (lambda: Member.followed.any(), [2]),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("few", [True, False])
def test_a_rule_over_the_link_table_holds_where_links_are_followed(
    database_url: str, rule: str, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a relation of a table to itself: embedded rows are those that the rule shows, in the link's order."""
    if not few:
        monkeypatch.setattr(statements, "FEW", 1)  # read as a relation with very many rows is read
    clause, expected = RULES[rule]
    members = CrudRouter(
        Member,
        load_relationships=["followed"],
        policy={"*": rows(lambda access: clause() | (Member.id == 1))},
    )
    with serve(database_url, members) as client:
        answer = client.get("/members/1")
        assert answer.status_code == 200, answer.text
        assert [row["id"] for row in answer.json()["followed"]] == expected
        assert {row["id"] for row in client.get("/members").json()} == {1, *expected}


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_rule_over_the_link_table_of_two_models(database_url: str, fast_path: bool) -> None:
    """A badge is shown where member 2 wears it, whoever else does."""
    badges = CrudRouter(
        Badge,
        policy={
            "*": rows(lambda access: exists().where(wearing.c.badge_id == Badge.id, wearing.c.member_id == 2))
        },
    )
    with serve(
        database_url, CrudRouter(Member, load_relationships=["badges"]), badges, fast_path=fast_path
    ) as client:
        shown = [[badge["name"] for badge in row["badges"]] for row in client.get("/members").json()]
        assert shown == [["red"], ["red"], [], []]
