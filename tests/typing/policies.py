"""Rules, callers and models as they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import HTTPConnection

from jetio import (
    Access,
    Allow,
    AllowWhere,
    Authenticator,
    CrudRouter,
    Decision,
    Deny,
    Depends,
    Jetio,
    JetioModel,
    JsonResponse,
    Policy,
    PolicyContext,
    Principal,
    Problem,
    SecurityScheme,
    UnitOfWork,
    authenticated,
    policy,
    public,
    read_only,
    rows,
)


class Member(JetioModel):
    name: Mapped[str]


class Post(JetioModel):
    title: Mapped[str]
    published: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("members.id"))


class HeaderAuthenticator:
    """Whoever the header names."""

    @property
    def user_model(self) -> type[Any] | None:
        return Member

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        return [SecurityScheme("member", {"type": "apiKey", "in": "header", "name": "X-Member"})]

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        name = connection.headers.get("x-member")
        if name == "":
            raise Problem(401, "not_authenticated")
        return None if name is None else Principal(id=int(name), sub=name, roles=frozenset({"member"}))

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user.id, sub=str(user.id))


@policy
async def published_or_mine(access: Access) -> Decision:
    if access.principal is None:
        return AllowWhere(Post.published)
    mine = Post.author_id == access.principal.id
    return AllowWhere(Post.published | mine, check=mine)


class Editors(Policy):
    """Whoever is an editor of the section that the header names."""

    def bind(self, context: PolicyContext) -> Policy:
        return self

    async def __call__(self, access: Access) -> Decision:
        if access.principal is not None and access.principal.has_role("editor"):
            return Allow()
        return Deny("editors_only", "Only editors may do this")


def office_hours(access: Access) -> Decision:
    return Allow() if access.verb == "GET" else Deny()


app = Jetio(database="sqlite+aiosqlite:///:memory:")
finder: Authenticator = HeaderAuthenticator()
app.use_authenticator(finder)

both = published_or_mine & (Editors() | ~authenticated()) & office_hours
assert_type(both, Policy)
assert_type(office_hours | read_only(), Policy)

posts = CrudRouter(
    Post,
    policy={"GET": public(), "*": both, "delete": rows(lambda access: Post.author_id == 1)},
    owner="author_id",
)
posts.register_routes(app)


EDITORS = Editors()


@app.get("/whoami", response_model=dict[str, str])
async def whoami(who: Principal | None) -> JsonResponse:
    return JsonResponse({"name": who.sub if who is not None else "nobody"})


@app.get("/mine", policy=authenticated())
async def mine(who: Any = Depends(EDITORS)) -> list[str]:
    return []
