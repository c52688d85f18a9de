"""SecurityContext: who is calling, without a parameter for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Mapped
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket

from jetio import (
    Access,
    Allow,
    BackgroundTasks,
    Change,
    CrudRouter,
    Decision,
    Depends,
    Jetio,
    JetioModel,
    Principal,
    Problem,
    SecurityContext,
    authenticated,
    public,
)
from jetio.testing import TestClient
from tests.core.apps import ask, make_app
from tests.core.callers import Finder, headers, principal
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Memo(Own):
    text: Mapped[str]


def who() -> str:
    """What a service far from the handler sees."""
    found = SecurityContext.get()
    return found.sub if found is not None else "nobody"


def secured(**options: Any) -> Jetio:
    app = make_app(**options)
    app.use_authenticator(Finder())
    return app


def test_async_and_plain_handlers_and_their_tasks() -> None:
    """The handler, its threads and the tasks that it starts see the caller."""
    app = secured()

    @app.get("/async", policy=authenticated())
    async def on_the_loop() -> list[str]:
        task = asyncio.create_task(asyncio.to_thread(who))
        return [who(), await task]

    @app.get("/plain", policy=authenticated())
    def in_a_thread() -> list[str]:
        return [who()]

    assert ask(app, "/async", headers=headers("ann")).json() == ["ann", "ann"]
    assert ask(app, "/plain", headers=headers("ann")).json() == ["ann"]


def test_rules_and_dependencies() -> None:
    """A rule, a dependency before and after the handler, and a stream see the caller."""
    seen: list[str] = []
    app = secured()

    async def rule(access: Access) -> Decision:
        seen.append(f"rule {who()}")
        return Allow()

    def held() -> Iterator[str]:
        yield who()
        seen.append(f"cleaned {who()}")

    async def lines() -> AsyncIterator[str]:
        yield who()

    @app.get("/stream", policy=rule)
    async def stream(first: str = Depends(held)) -> StreamingResponse:
        seen.append(f"made {first}")
        return StreamingResponse(lines())

    assert ask(app, "/stream", headers=headers("ann")).text == "ann"
    assert seen == ["rule ann", "made ann", "cleaned ann"]


def test_a_background_task_keeps_the_caller() -> None:
    """It runs after the answer, plain or async, for the one who asked."""
    seen: list[str] = []
    app = secured()

    async def later() -> None:
        seen.append(f"loop {who()}")

    @app.post("/work", policy=authenticated())
    async def work(tasks: BackgroundTasks) -> None:
        tasks.add_task(later)
        tasks.add_task(lambda: seen.append(f"thread {who()}"))

    assert ask(app, "/work", "POST", headers=headers("ann")).status_code == 204
    assert seen == ["loop ann", "thread ann"]


@pytest.mark.anyio
async def test_nothing_is_left_behind() -> None:
    """After an answer, an error and a refusal there is nobody again in the task that made the request."""
    app = secured()

    @app.get("/{kind}", policy=authenticated())
    async def handler(kind: str) -> str:
        if kind == "broken":
            raise RuntimeError(who())
        return who()

    app.build()
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        for path, given, status in (
            ("/fine", headers("ann"), 200),
            ("/broken", headers("ann"), 500),
            ("/fine", {}, 401),
        ):
            assert (await client.get(path, headers=given)).status_code == status
            assert SecurityContext.get() is None


@pytest.mark.anyio
async def test_an_inner_call_keeps_its_caller_to_itself() -> None:
    """A request to an application from inside of a handler has its own caller; afterwards the outer one is back."""
    inner, outer = secured(), secured()

    @inner.get("/who", policy=public())
    async def inside() -> str:
        return who()

    @outer.get("/both", policy=authenticated())
    async def both(request: Request) -> list[str]:
        found = [who()]
        transport = httpx2.ASGITransport(inner)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            for given in (headers("bob"), {}):
                found += [(await client.get("/who", headers=given)).json(), who()]
        return found

    outer.build()
    inner.build()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(outer), base_url="http://x") as client:
        answer = await client.get("/both", headers=headers("ann"))
    assert answer.json() == ["ann", "bob", "ann", "nobody", "ann"]


def test_requests_side_by_side() -> None:
    """Each of many requests at once sees its own caller."""
    app = secured()

    @app.get("/who", policy=authenticated())
    async def slow() -> str:
        before = who()
        await asyncio.sleep(0.01)
        return f"{before} {who()}"

    async def many() -> list[Any]:
        app.build()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            names = [f"user{number}" for number in range(20)]
            answers = await asyncio.gather(*(client.get("/who", headers=headers(name)) for name in names))
            return [answer.json() for answer in answers]

    assert asyncio.run(many()) == [f"user{number} user{number}" for number in range(20)]


def test_rows_and_their_hooks(database_url: str) -> None:
    """The hooks of a CrudRouter see the caller; of an open one without rules there is nobody."""
    seen: list[str] = []
    app = secured(database=database_url, metadata=Own.metadata)
    memos = CrudRouter(Memo, secure=True)
    memos.register_routes(app)
    open_memos = CrudRouter(Memo, prefix="/open")
    open_memos.register_routes(app)
    for router in (memos, open_memos):

        @router.on("before_create")
        async def note(change: Change) -> None:
            seen.append(who())

    with TestClient(app) as client:
        for path, given in (("/memos", headers("ann")), ("/open/memos", {})):
            assert client.post(path, json={"text": "tea"}, headers=given).status_code == 201
    assert seen == ["ann", "nobody"]


def test_dependencies_of_old_bring_a_caller() -> None:
    """Whom an older dependency returns is the caller, on handlers without any authenticator, too."""
    app = make_app()

    async def by_key(request: Request) -> Principal | None:
        return principal("key") if "x-key" in request.headers else None

    @app.get("/who", policy=by_key)
    async def handler() -> str:
        return who()

    assert ask(app, "/who", headers={"x-key": "1"}).json() == "key"


def test_a_socket_has_its_caller_to_the_end() -> None:
    """A WebSocket handler sees who opened the connection."""
    app = secured()

    @app.websocket("/talk", policy=authenticated())
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        await socket.send_text(who())
        await socket.close()

    with TestClient(app) as client, client.websocket_connect("/talk", headers=headers("ann")) as socket:
        socket.send_text("who?")
        assert socket.receive_text() == "ann"


def test_what_it_tells_of_roles() -> None:
    """`get_roles`, `has_role` and `require_role` are about the caller's roles; what is missing is 403."""
    app = secured()

    @app.get("/roles", policy=public())
    async def roles() -> dict[str, Any]:
        return {"roles": SecurityContext.get_roles(), "editor": SecurityContext.has_role("editor")}

    @app.get("/edit", policy=public())
    async def edit() -> str:
        return SecurityContext.require_role("editor", "admin").sub

    @app.get("/mine", policy=public())
    async def mine() -> str:
        return SecurityContext.require().sub

    editor = headers("ann", "writer", "editor")
    assert ask(app, "/roles", headers=editor).json() == {"roles": ["editor", "writer"], "editor": True}
    assert ask(app, "/roles").json() == {"roles": [], "editor": False}
    assert ask(app, "/edit", headers=editor).json() == "ann"
    refused = ask(app, "/edit", headers=headers("bob", "writer"))
    assert (refused.status_code, refused.json()["code"]) == (403, "role_required")
    assert refused.json()["detail"] == "Requires one of roles: ['editor', 'admin']"
    for path in ("/edit", "/mine"):
        answer = ask(app, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert answer.json()["detail"] == "Missing or invalid Authorization header"


def test_jobs_run_as_somebody() -> None:
    """Outside of requests there is nobody but whom `run_as` names, until its end, even by an error."""
    assert SecurityContext.get() is None
    with pytest.raises(Problem):
        SecurityContext.require()

    def failing_job() -> None:
        with SecurityContext.run_as(principal("job", "admin")):
            assert SecurityContext.has_role("admin")
            with SecurityContext.run_as(None):
                assert SecurityContext.get() is None
                raise RuntimeError

    with pytest.raises(RuntimeError):
        failing_job()
    assert SecurityContext.get() is None


def test_a_principal_tells_what_its_token_says() -> None:
    """`extra` are the application's own claims and `is_admin`; `groups`, `org_id` and `jti` are claims."""
    claims = {
        "sub": "1", "exp": 9, "iat": 1, "jti": "t1", "sid": "s", "epoch": "e", "is_admin": True,
        "org_id": 7, "groups": ["a", 1, "b"], "team": "red",
    }  # fmt: skip
    found = Principal(id=1, sub="1", claims=claims)
    assert found.extra == {"team": "red", "org_id": 7, "groups": ["a", 1, "b"], "is_admin": False}
    assert (found.groups, found.org_id, found.jti) == (frozenset("ab"), "7", "t1")
    assert Principal(id=1, sub="1", claims={"groups": "staff"}).groups == {"staff"}
    plain = Principal(id=1, sub="1")
    assert (plain.groups, plain.org_id, plain.jti, plain.extra) == (
        frozenset(),
        None,
        None,
        {"is_admin": False},
    )
