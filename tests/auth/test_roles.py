"""Rules about roles, permissions and owners alone, over HTTP on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jetio import ConfigError, CrudRouter, Jetio
from jetio_auth import AuthRouter
from tests.auth.forum import Note, Person, Post, Site, User, new_app, serving


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Notes for editors and chiefs, who may clear them; posts for their owners alone."""
    app = new_app(database_url)
    auth = AuthRouter(User, role_permissions={"editor": ["notes:write"], "chief": ["notes:write", "clear"]})
    auth.register_routes(app)
    rules = {
        "GET": auth.requires_role("editor", "chief") | auth.admin_only(),
        "POST": auth.requires_permission("notes:write"),
        "DELETE": auth.requires_permission("notes:write", "clear"),
    }
    CrudRouter(Note, policy=rules).register_routes(app)
    CrudRouter(Post, policy={"*": auth.owner(Post)}).register_routes(app)

    @app.get("/desk", policy=auth.requires_role("editor", "admin"))
    async def desk() -> str:
        return "desk"

    with serving(app, auth) as site:
        yield site


def with_role(site: Site, role: str) -> Person:
    """Somebody with this role."""
    person = site.person(role)
    site.change(person, role=role)
    return person


def test_roles(site: Site) -> None:
    """Any of the roles is enough; a changed role counts at once; the others are told which roles would do."""
    editor, guest, root = with_role(site, "editor"), site.person("guest"), site.admin()
    refused = guest.get("/desk")
    assert (refused.status_code, refused.json()["code"]) == (403, "role_required")
    assert refused.json()["detail"] == "Requires one of roles: ['editor', 'admin']"
    assert site.client.get("/desk").status_code == 401
    for person in (editor, root):
        assert person.get("/desk").status_code == 200
        assert person.get("/notes").status_code == 200
    site.change(editor, role="editors")
    assert editor.get("/desk").status_code == 403


def test_permissions(site: Site) -> None:
    """All of the permissions are needed, and an admin has no more of them than others."""
    editor, chief, root = with_role(site, "editor"), with_role(site, "chief"), site.admin()
    key = editor.post("/notes", {"text": "t"}).json()["id"]
    assert root.post("/notes", {"text": "t"}).json()["code"] == "forbidden"
    refused = editor.delete(f"/notes/{key}")
    assert refused.json()["detail"] == "Requires the permissions: ['notes:write', 'clear']"
    assert site.client.delete(f"/notes/{key}").status_code == 401
    assert chief.delete(f"/notes/{key}").status_code == 204


def test_owners_without_admins(site: Site) -> None:
    """`owner` makes no exception for admins: what is another's is a 404 to them too."""
    ann, root = site.person("ann"), site.admin()
    key = ann.post("/posts", {"title": "t"}).json()["id"]
    assert root.get(f"/posts/{key}").status_code == 404
    assert root.get("/posts").json() == []
    assert root.delete(f"/posts/{key}").status_code == 404
    assert root.post("/posts", {"title": "t"}).json()["author_id"] == root.id
    assert ann.get("/posts").json() == [ann.get(f"/posts/{key}").json()]
    assert ann.delete(f"/posts/{key}").status_code == 204


@pytest.mark.parametrize("rule", ["requires_role", "requires_permission"])
def test_rules_without_names(rule: str) -> None:
    """Without a role, or with a list in place of names, the rule is a mistake."""
    auth = AuthRouter(User)
    for given in ((), (["editor"],)):
        with pytest.raises(ConfigError, match=rf'write {rule}\("editor"'):
            getattr(auth, rule)(*given)


RULES = ["public", "authenticated", "admin_only", "owner", "owner_or_admin", "self_or_admin", "requires_role"]


@pytest.mark.parametrize("rule", [*RULES, "requires_permission", "get_auth_dependency"])
def test_a_rule_that_nobody_has_called(rule: str) -> None:
    """`auth.admin_only` without its parentheses is a mistake wherever a rule may stand, and never an open door."""

    async def handler() -> None:
        """Nothing."""

    places: list[Callable[[Jetio, Any], Any]] = [
        lambda app, given: CrudRouter(Post, policy={"GET": given}).register_routes(app),
        lambda app, given: CrudRouter(Post, auth_dependency=given).register_routes(app),
        lambda app, given: app.get("/guarded", policy=given)(handler),
    ]

    def build(place: Callable[[Jetio, Any], Any]) -> None:
        app = new_app("sqlite://")
        auth = AuthRouter(User)
        auth.register_routes(app)
        place(app, getattr(auth, rule))
        app.build()

    for place in places:
        with pytest.raises(ConfigError, match="makes a rule and is none"):
            build(place)
