"""The caller's row in a rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from jetio import Access, Allow, CrudRouter, Decision, Deny, Jetio, policy
from jetio_auth import AuthRouter
from tests.auth.forum import Note, User, new_app, serving

SEEN: list[Any] = []


def new_site(database_url: str) -> tuple[Jetio, AuthRouter]:
    app, auth = new_app(database_url), AuthRouter(User)
    auth.register_routes(app)
    return app, auth


@policy
async def named_ann(access: Access) -> Decision:
    user = await access.user()
    SEEN.append(user)
    assert await access.user() is user
    assert await access.towards(Note, "retrieve").user() is user
    if user is None:
        return Allow() if access.verb == "GET" else Deny()
    assert isinstance(user, User)
    return Allow() if user.username.startswith("ann") else Deny(detail="Only for Ann")


async def hook(change: Any) -> None:
    SEEN.append(await change.access.user())


def test_a_rule_gets_the_row_of_the_caller(database_url: str) -> None:
    """As an object, the same for the rule, for what it embeds and for hooks; None for nobody."""
    app, auth = new_site(database_url)
    CrudRouter(Note, policy={"*": named_ann}, hooks={"before_create": hook}).register_routes(app)

    @app.get("/handler", policy=named_ann & (named_ann | auth.admin_only()))
    async def handler() -> str:
        return "in"

    with serving(app, auth) as site:
        ann, bob = site.person("ann"), site.person("bob")
        SEEN.clear()
        assert site.client.get("/notes").status_code == 200
        assert {*SEEN} == {None}
        assert site.client.post("/notes", json={"text": "t"}).status_code == 401
        SEEN.clear()
        assert ann.post("/notes", json={"text": "t"}).status_code == 201
        assert len(SEEN) > 1
        assert len({id(user) for user in SEEN}) == 1
        assert bob.post("/notes", json={"text": "t"}).status_code == 403
        assert (ann.get("/handler").status_code, bob.get("/handler").status_code) == (200, 403)


def test_the_row_is_loaded_once(database_url: str) -> None:
    """Two rules of one handler ask one statement."""
    app, auth = new_site(database_url)
    loaded: list[Any] = []

    @app.get("/handler", policy=named_ann & named_ann)
    async def handler() -> str:
        return "in"

    with serving(app, auth) as site:
        ann = site.person("ann")
        event.listen(User, "load", lambda user, context: loaded.append(user))
        assert ann.get("/handler").status_code == 200
        assert len(loaded) == 1
