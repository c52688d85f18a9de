"""Routers that cannot work are found at build, and told with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, and_, event
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from jetio import ConfigError, CrudRouter, Database, Jetio, JetioModel, public, rows
from tests.crud.library import SETTINGS, Author, Book, library
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class House(Model):
    town: Mapped[str]
    owner: Mapped[Tenant | None] = relationship(back_populates="house")
    payers: Mapped[list[Tenant]] = relationship(
        primaryjoin=lambda: and_(House.id == Tenant.house_id, Tenant.pays), viewonly=True
    )


class Tenant(Model):
    pays: Mapped[bool]
    house_id: Mapped[int] = mapped_column(ForeignKey("houses.id"))
    house: Mapped[House] = relationship(back_populates="owner")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": ["list", "erase"]}, "there is no action 'erase'; write some of: list, retrieve"),
        ({"exclude_methods": ["TRACE"]}, "exclude_methods names 'TRACE'; write some of: GET, POST"),
        ({"policy": {"GET": public()}, "secure": False}, "has rules and secure=False"),
        ({"pagination": "cursor"}, "pagination='cursor' is not known; write 'page', or None"),
        ({"page_size": 0}, "page_size=0 and max_page_size=200 must be"),
        ({"page_size": 300}, "must be 1 <= page_size <= max_page_size <= 1000"),
        ({"max_page_size": 2000}, "must be 1 <= page_size <= max_page_size <= 1000"),
        (
            {"hooks": {"before_creating": print}},
            "there is no moment 'before_creating'; write one of: before_create",
        ),
        (
            {"hooks": {"after_update": lambda: None}},
            "the hook <lambda> for 'after_update' takes (); write `async def <lambda>(change: Change)`",
        ),
        (
            {"hooks": {"on_commit": [print, lambda change, row: None]}},
            "the hook <lambda> for 'on_commit' takes (change, row); write",
        ),
        ({"page_sise": 3}, "CrudRouter has no option 'page_sise'; write some of: load_relationships"),
        ({"page_sise": 3}, "; did you mean 'page_size'?"),
        ({"filterable": ["name"]}, "CrudRouter has no option 'filterable'"),
        ({"fields": ["name"]}, "CrudRouter has no option 'fields'"),
        ({"hooks": {"before_create": ["print"]}}, "the hook for 'before_create' is no function: 'print'"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    """An option that is none is told where the router is made."""
    with pytest.raises(ConfigError) as told:
        CrudRouter(Author, **options)
    assert message in str(told.value)


def build(url: str, *routers: CrudRouter) -> str:
    app = library(url, *routers)
    with pytest.raises(ConfigError) as told:
        app.build()
    return str(told.value)


def test_relations_that_cannot_be_embedded(sqlite_url: str) -> None:
    """A relation too deep, one joined by more than equal columns and one that nothing makes single are told."""
    deep = "author.books.author.books"
    assert f"'{deep}' is deeper than 3 steps" in build(
        sqlite_url, CrudRouter(Book, load_relationships=[deep])
    )
    single = build(sqlite_url, CrudRouter(House, load_relationships=["owner"]))
    assert "House.owner is one row, but nothing makes Tenant unique for it" in single
    assert "mapped_column(unique=True)" in single
    joined = build(sqlite_url, CrudRouter(House, load_relationships=["payers"]))
    assert "House.payers is joined by more than equal columns" in joined


def test_all_mistakes_are_told_at_once(sqlite_url: str) -> None:
    """One error lists what is wrong with every router."""
    told = build(
        sqlite_url,
        CrudRouter(Book, load_relationships=["autor"]),
        CrudRouter(Author, owner="owner_id", policy={"POST": public()}),
    )
    assert "2 mistakes" in told
    assert "Book has no relationship 'autor'; it has: author, tags" in told
    assert "Author has no column 'owner_id' for owner=" in told


def test_a_hook_may_take_more_than_it_is_given() -> None:
    """With defaults, as a method, and what tells nothing of its parameters, as many builtins do."""

    class Keeper:
        def keep(self, change: Any, much: bool = True) -> None: ...

        def __call__(self, *changes: Any) -> None: ...

    router = CrudRouter(Author, hooks={"before_create": [Keeper().keep, Keeper()]})
    assert router.on("after_create")(max) == max
    with pytest.raises(ConfigError, match=r"the hook keep for 'after_create' takes \(self, change, much"):
        router.on("after_create")(Keeper.keep)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [public(), lambda access: True, [("GET", public())]])
def test_a_policy_is_a_mapping(sqlite_url: str, given: Any) -> None:
    """One rule for everything has the key of everything."""
    told = build(sqlite_url, CrudRouter(Author, policy=given))
    assert 'the policy of CrudRouter(Author) is one rule for no action; write {"*": ' in told


def test_every_rule_that_is_none_is_told(sqlite_url: str) -> None:
    """With its key."""
    given: Any = {"GET": rows, "PUT": public, "POST": public(), "DELETE": "admin"}
    told = build(sqlite_url, CrudRouter(Author, policy=given))
    assert "the policy of CrudRouter(Author), 'GET': rows makes a rule and is none; write rows(...)" in told
    assert "'PUT': public makes a rule and is none" in told
    assert "'DELETE': 'admin' is no policy" in told
    assert "3 mistakes" in told


def test_one_router_in_two_applications(sqlite_url: str) -> None:
    """A router is built for each application that it is registered with."""
    router = CrudRouter(Author)
    for _ in range(2):
        app = Jetio(database=Database(sqlite_url), metadata=Author.metadata, settings=SETTINGS)
        router.register_routes(app)
        app.build()
        app.build()


def soft_delete(state: Any) -> None: ...


def test_a_filter_of_sessions_is_a_mistake(sqlite_url: str) -> None:
    """A listener that filters every session's statements stops the build: the routes would not obey it.

    One on a session class of the application's own does not.
    """

    class OwnSession(Session):
        pass

    event.listen(OwnSession, "do_orm_execute", soft_delete)
    library(sqlite_url, CrudRouter(Author)).build()
    event.listen(Session, "do_orm_execute", soft_delete)
    try:
        told = build(sqlite_url, CrudRouter(Author))
    finally:
        event.remove(Session, "do_orm_execute", soft_delete)
    assert "soft_delete listens for do_orm_execute on every Session" in told
    assert "the statements of CrudRouter(Author) are not a session's" in told
    assert 'class API: policy = {"*": rows(...)}' in told
    library(sqlite_url, CrudRouter(Author)).build()


def test_an_owner_that_nobody_could_be_is_a_mistake(sqlite_url: str) -> None:
    """`owner=` needs a rule, and somebody who finds out who is calling."""
    told = build(sqlite_url, CrudRouter(Tenant, owner="house_id"))
    assert "CrudRouter(Tenant, owner='house_id') is open to everybody" in told
    told = build(sqlite_url, CrudRouter(Tenant, owner="house_id", policy={"*": public()}))
    assert "CrudRouter(Tenant) fills 'house_id' from the caller, but nothing finds out who is calling" in told
