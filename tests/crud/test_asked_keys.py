"""The key that a rule is told: of the column's type, and never one that cannot be."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from jetio import (
    Access,
    Allow,
    ConfigError,
    CrudRouter,
    Decision,
    Depends,
    Jetio,
    JetioModel,
    Principal,
    policy,
)
from jetio.testing import TestClient
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class User(Own, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


class Door(Own):
    name: Mapped[str]


class Lock(Own):
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]


class Hinge(Own):
    door_id: Mapped[int] = mapped_column(ForeignKey("doors.id"), primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


ASKED: list[Any] = []


async def of_old(request, db, item_id):  # type: ignore[no-untyped-def]  # as they were written
    ASKED.append(item_id)
    return request.headers.get("x-key") == "open" and Principal(id=1, sub="1")


async def keyless(request):  # type: ignore[no-untyped-def]  # as they were written
    ASKED.append("asked")
    return request.headers.get("x-key") == "open" and Principal(id=1, sub="1")


@policy
async def looking(access: Access) -> Decision:
    ASKED.append(access.item_id)
    return Allow()


def doors(database_url: str, rule: Any) -> Jetio:
    app = Jetio(database=database_url, metadata=Own.metadata)
    for model in (Door, Lock, Hinge):
        CrudRouter(model, policy={"*": rule}).register_routes(app)
    return app


@pytest.mark.parametrize("rule", [of_old, looking])
def test_a_rule_is_told_the_key_as_the_column_has_it(database_url: str, rule: Any) -> None:
    """An int, a UUID, a tuple of several; None for a list and for a creation."""
    some = uuid.uuid4()
    with TestClient(doors(database_url, rule), headers={"x-key": "open"}) as client:
        ASKED.clear()
        assert client.post("/doors", json={"name": "front"}).status_code == 201
        assert client.post("/hinges", json={"door_id": 1, "side": "l,r", "name": "h"}).status_code == 201
        assert client.get("/doors").status_code == 200
        assert {*ASKED} == {None}
        ASKED.clear()
        for method in ("GET", "PATCH", "DELETE"):
            body = {"json": {}} if method == "PATCH" else {}
            assert client.request(method, "/hinges/1,l%2Cr", **body).status_code < 300
            assert client.request(method, f"/locks/{some}", **body).status_code == 404
            assert client.request(method, "/doors/1", **body).status_code < 300
        told = [
            asked for asked in ASKED if asked is not None
        ]  # the rule of rows that others refer to has none
        assert {*told} == {(1, "l,r"), some, 1}
        assert {type(asked) for asked in told} == {tuple, uuid.UUID, int}


@pytest.mark.parametrize("path", ["/doors/one", "/doors/1.0", "/doors/01", "/locks/1", "/hinges/1"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_what_is_no_key_is_404_before_the_rule_decides(sqlite_url: str, path: str, method: str) -> None:
    """Neither a dependency of old nor a policy sees text that is no key."""
    for rule in (of_old, looking):
        with TestClient(doors(sqlite_url, rule), headers={"x-key": "open"}) as client:
            ASKED.clear()
            body = {"json": {"name": "n"}} if method in ("PUT", "PATCH") else {}
            assert client.request(method, path, **body).status_code == 404
            assert ASKED == []


def test_a_dependency_that_needs_no_key_comes_first(sqlite_url: str) -> None:
    """One that only finds out who is calling answers 401 whatever the key is."""
    with TestClient(doors(sqlite_url, keyless)) as client:
        assert client.get("/doors/one").status_code == 401
        assert client.get("/doors/one", headers={"x-key": "open"}).status_code == 404


def test_nobody_is_401_before_the_key_is_judged(sqlite_url: str) -> None:
    """Where accounts are known, an anonymous caller does not learn what a key looks like."""
    app = doors(sqlite_url, of_old)
    auth = AuthRouter(User)
    auth.register_routes(app)
    with TestClient(app) as client:
        ASKED.clear()
        assert client.get("/doors/one").status_code == 401
        assert ASKED == []
        client.post("/register", json={"username": "ann", "password": "correct horse"})
        answer = client.post("/login", json={"username": "ann", "password": "correct horse"}).json()
        headers = {"authorization": f"Bearer {answer['access_token']}"}
        assert client.get("/doors/one", headers=headers).status_code == 404
        assert ASKED == []
        assert client.get("/doors/1", headers={**headers, "x-key": "open"}).status_code == 404
        assert ASKED == [1]


def somebody() -> str:
    return "ann"


async def with_user(item_id, user=Depends(somebody), db=Depends(somebody)):  # type: ignore[no-untyped-def]
    return user


async def with_one(user=Depends(somebody)):  # type: ignore[no-untyped-def]
    return user


@pytest.mark.parametrize("rule", [with_user, with_one])
@pytest.mark.parametrize("place", ["policy", "auth_dependency", "handler"])
def test_a_rule_with_depends_is_a_mistake(rule: Callable[..., Any], place: str) -> None:
    """Nothing would fill its Depends(): the build says so, and what it may take."""

    def build() -> None:
        app = Jetio(metadata=Own.metadata, database="sqlite+aiosqlite://")
        if place == "handler":
            app.get("/", policy=rule)(somebody)
        elif place == "policy":
            CrudRouter(Door, policy={"GET": rule}).register_routes(app)
        else:
            CrudRouter(Door, auth_dependency=rule).register_routes(app)
        app.build()

    with pytest.raises(ConfigError, match=r"nothing fills Depends\(\) here; write `async def with_\w+\(req"):
        build()
