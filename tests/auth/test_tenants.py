"""Rows of one tenant only, whatever the way to them; the column is stamped from the token."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import ConfigError, CrudRouter, Jetio, Principal, TenantMixin, rows, same_tenant, tenant_column
from jetio_auth import AuthRouter, JetioAuthMixin
from tests.auth.forum import PASSWORD, SETTINGS, Site, bearer, new_base, serving

Base: Any = new_base()


class Person(Base, JetioAuthMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    company_id: Mapped[int | None]


class Project(Base, TenantMixin):
    name: Mapped[str] = mapped_column(String(80))
    company_id: Mapped[int] = tenant_column("company_id")
    tasks: Mapped[list[Task]] = relationship(back_populates="project")

    class API:
        policy = {"*": rows(lambda access: Project.name != "hidden")}  # noqa: RUF012


class Task(Base):
    text: Mapped[str] = mapped_column(String(80))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    project: Mapped[Project] = relationship(back_populates="tasks")


class Note(Base):
    text: Mapped[str] = mapped_column(String(80))
    owner: Mapped[uuid.UUID] = tenant_column("org")


class Plain(Base):
    text: Mapped[str] = mapped_column(String(80))


def new_site(url: str) -> tuple[Jetio, AuthRouter]:
    """Projects of companies; tokens name the company of their account."""
    app = Jetio(database=url, settings=SETTINGS, metadata=Base.metadata)
    auth = AuthRouter(Person, extra_claims=lambda user: {"company_id": user.company_id})
    auth.register_routes(app)
    CrudRouter(Project, secure=True).register_routes(app)
    CrudRouter(Task, secure=True, load_relationships=["project"]).register_routes(app)
    CrudRouter(Note, policy={"*": auth.same_tenant(Note)}).register_routes(app)

    @app.post("/made", policy=auth.authenticated())
    async def made(session: AsyncSession) -> dict[str, Any]:
        project = Project(name="made by a handler")
        session.add(project)
        await session.flush()
        return {"company_id": project.company_id}

    return app, auth


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """On each database."""
    with serving(*new_site(database_url)) as site:
        yield site


@pytest.fixture
def lone(sqlite_url: str) -> Iterator[Site]:
    """On SQLite alone."""
    with serving(*new_site(sqlite_url)) as site:
        yield site


def member(site: Site, name: str, company: int | None, *, admin: bool = False) -> dict[str, str]:
    """The credential of an account of a company."""
    model: Any = site.auth.user_model

    async def make() -> None:
        hashed = await site.auth.accounts.passwords.hash(PASSWORD)
        async with site.app.database.sessions() as session:
            session.add(model(username=name, company_id=company, is_admin=admin, hashed_password=hashed))
            await session.commit()

    site.run(make)
    return bearer(site.login(name).json()["access_token"])


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def test_rows_are_their_tenants_on_every_way(site: Site) -> None:
    """Lists, single rows, writes and embedded rows; also for admins, and beside the router's and the model's rules."""
    ann, bob = member(site, "ann", 1), member(site, "bob", 2)
    root = member(site, "root", 2, admin=True)
    client = site.client
    mine = client.post("/projects", json={"name": "tea"}, headers=ann)
    assert (mine.status_code, mine.json()["company_id"]) == (201, 1)
    path = f"/projects/{mine.json()['id']}"
    assert client.get(path, headers=ann).status_code == 200
    for other in (bob, root):
        assert client.get("/projects", headers=other).json() == []
        assert client.get(path, headers=other).status_code == 404
        assert client.patch(path, json={"name": "x"}, headers=other).status_code == 404
        assert client.put(path, json={"name": "x"}, headers=other).status_code == 404
        assert client.delete(path, headers=other).status_code == 404
    task = {"text": "drink", "project_id": mine.json()["id"]}
    assert told(client.post("/tasks", json=task, headers=bob)) == (422, "invalid_reference")
    assert client.post("/tasks", json=task, headers=ann).status_code == 201
    assert client.get("/tasks", headers=ann).json()[0]["project"]["name"] == "tea"
    assert client.get("/tasks", headers=bob).json()[0]["project"] is None
    assert client.patch(path, json={"name": "hidden"}, headers=ann).status_code == 403
    assert client.get("/projects").status_code == 401
    assert client.delete(f"/tasks/{1}", headers=ann).status_code == 204
    assert client.delete(path, headers=ann).status_code == 204


def test_no_client_writes_the_tenant(site: Site) -> None:
    """Neither another one nor none, on any verb; what is stored may be repeated."""
    ann = member(site, "ann", 1)
    client = site.client
    path = f"/projects/{client.post('/projects', json={'name': 'tea'}, headers=ann).json()['id']}"
    for value in (2, None):
        body = {"name": "tea", "company_id": value}
        assert client.post("/projects", json=body, headers=ann).status_code == 422
        assert client.put(path, json=body, headers=ann).status_code == 422
        assert client.patch(path, json={"company_id": value}, headers=ann).status_code == 422
    assert client.patch(path, json={"company_id": 1}, headers=ann).status_code == 200
    assert client.put(path, json={"name": "milk"}, headers=ann).json()["company_id"] == 1

    async def stored() -> Any:
        async with site.app.database.sessions() as session:
            return (await session.execute(select(Project.name, Project.company_id))).all()

    assert site.run(stored) == [("milk", 1)]


@pytest.mark.parametrize("claim", [None, True, "many", [1], {"id": 1}, 1.5, 10**30])
def test_a_login_without_a_tenant_sees_and_makes_nothing(lone: Site, claim: Any) -> None:
    """Also one whose claim the column could not hold."""
    member(lone, "ann", None)
    pair = lone.run(lone.auth.login, "ann", PASSWORD, extra_claims={"company_id": claim})
    headers = bearer(pair["access_token"])
    for method, path, body in (
        ("GET", "/projects", None),
        ("GET", "/projects/1", None),
        ("POST", "/projects", {"name": "tea"}),
        ("DELETE", "/projects/1", None),
    ):
        answer = lone.client.request(method, path, json=body, headers=headers)
        assert told(answer) == (403, "forbidden")
        assert answer.json()["detail"] == "The login belongs to no tenant"


def test_rows_that_handlers_make_are_stamped(lone: Site) -> None:
    """From the caller of the request; what nobody made has no tenant, and is not stored."""
    ann = member(lone, "ann", 7)
    assert lone.client.post("/made", headers=ann).json() == {"company_id": 7}
    [found] = lone.client.get("/projects", headers=ann).json()
    assert (found["name"], found["company_id"]) == ("made by a handler", 7)

    async def nobodys() -> None:
        async with lone.app.database.sessions() as session:
            session.add(Project(name="nobody's"))
            await session.commit()

    with pytest.raises(Exception, match="company_id"):
        lone.run(nobodys)


def test_claims_are_read_in_the_type_of_the_column(lone: Site) -> None:
    """A UUID comes as text; the rule of a single router works as the mixin does."""
    member(lone, "ann", 1)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    tokens = [
        lone.run(lone.auth.login, "ann", PASSWORD, extra_claims={"org": org})["access_token"]
        for org in (first, second)
    ]
    made = lone.client.post("/notes", json={"text": "tea"}, headers=bearer(tokens[0]))
    assert (made.status_code, made.json()["owner"]) == (201, first)
    assert len(lone.client.get("/notes", headers=bearer(tokens[0])).json()) == 1
    assert lone.client.get("/notes", headers=bearer(tokens[1])).json() == []
    assert told(lone.client.get("/notes")) == (401, "not_authenticated")


def test_many_tenants(lone: Site) -> None:
    """Rules that were made before are used again, and the oldest are forgotten."""
    member(lone, "ann", 1)
    router = CrudRouter(Project, secure=True)
    router.build_rules(lone.app)
    rule = router.rules["list"]
    assert rule is not None

    async def ask() -> None:
        from jetio import Access

        for number in range(1100):
            caller = Principal(id=1, sub="1", claims={"company_id": number})
            work = lone.app.database.unit_of_work(writes=False)
            request: Any = None
            decision = await rule(Access(request, caller, work, action="list", model=Project))
            assert "company_id" in str(decision)

    lone.run(ask)


def test_mistakes_say_what_to_write(sqlite_url: str) -> None:
    """A model without such a column, a handler, and another model."""

    def built(model: Any, **options: Any) -> None:
        app, _ = new_site(sqlite_url)
        CrudRouter(model, prefix="/again", **options).register_routes(app)
        app.build()

    assert repr(same_tenant()) == "same_tenant"
    with pytest.raises(
        ConfigError, match=r'write `company_id: Mapped\[int\] = tenant_column\("company_id"\)`'
    ):
        built(Plain, policy={"*": same_tenant()})
    with pytest.raises(ConfigError, match="chooses rows of its own model"):
        built(Note, policy={"*": same_tenant(Project)})
    app, _ = new_site(sqlite_url)

    @app.get("/handler", policy=same_tenant())
    async def handler() -> None:
        """No rows."""

    with pytest.raises(ConfigError, match="chooses rows of its own model"):
        app.build()
