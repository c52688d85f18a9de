"""A policy has a transaction of its own: the documentation says what becomes of what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Access, Allow, CrudRouter, Decision, Deny, Problem, policy
from jetio_auth import AuthRouter
from tests.auth.forum import Note, Person, Post, Site, User, new_app, serving


@policy
async def noting(access: Access) -> Decision:
    """Writes a note, then refuses whoever asks for it."""
    access.session.add(Note(text=access.action))
    await access.session.flush()
    return Deny() if access.request.headers.get("x-refuse") else Allow()


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Posts and a handler under that policy."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    CrudRouter(Post, policy={"GET": auth.authenticated(), "*": noting}).register_routes(app)

    @app.post("/fail", policy=noting)
    async def fail(session: AsyncSession) -> None:
        session.add(Note(text="of the handler"))
        await session.flush()
        raise Problem(409, "conflict", "It went wrong")

    with serving(app, auth) as site:
        yield site


async def notes(site: Site) -> int:
    """How many notes there are."""
    async with site.app.database.sessions() as session:
        return await session.scalar(select(func.count()).select_from(Note)) or 0


@pytest.mark.parametrize(
    ("path", "options", "status", "kept"),
    [
        ("/posts", {"json": {"title": "t"}}, 201, 1),
        ("/posts", {"json": {"titel": "t"}}, 422, 1),
        ("/posts", {"json": {"title": "t"}, "headers": {"x-refuse": "1"}}, 403, 0),
        ("/fail", {}, 409, 1),
        ("/fail", {"headers": {"x-refuse": "1"}}, 403, 0),
    ],
)
def test_what_a_policy_writes(site: Site, path: str, options: Any, status: int, kept: int) -> None:
    """It is kept when the caller is let in, also when the request fails later; undone when it is refused."""
    ann: Person = site.person("ann")
    assert ann.request("POST", path, **options).status_code == status
    assert site.run(notes, site) == kept
