"""What a user model must have, and what AuthRouter says when it has it not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, CrudRouter, Jetio
from jetio_auth import AuthRouter, JetioAuthMixin, require_audit_field
from tests.auth.forum import (
    PASSWORD,
    SETTINGS,
    Comment,
    Note,
    Person,
    Post,
    User,
    bearer,
    new_app,
    new_base,
    serving,
)


def mistakes_of(model: Any, **options: Any) -> tuple[str, ...]:
    """What building an application with this user model says."""
    app = Jetio(settings=SETTINGS, database="sqlite://", metadata=model.metadata)
    AuthRouter(model, **options).register_routes(app)
    with pytest.raises(ConfigError) as refusal:
        app.build()
    return refusal.value.mistakes


def test_a_model_without_the_mixin() -> None:
    """Everything that is missing is told in one error, with what to write."""
    base: Any = new_base()

    class Member(base):
        username: Mapped[str]

    assert mistakes_of(Member) == (
        "Member has no hashed_password; write `class Member(JetioModel, JetioAuthMixin)`",
        "Member has no admin flag; add JetioAuthMixin, or one of: "
        "is_admin, is_superuser, is_staff, is_master",
        "Member.username is a login name and must be unique; write mapped_column(unique=True)",
    )


def test_a_model_without_a_name() -> None:
    """Somebody must be able to log in."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        age: Mapped[int]

    [mistake] = mistakes_of(Member)
    assert "neither username nor email" in mistake


def test_a_model_with_two_keys() -> None:
    """A token names one column."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        country: Mapped[str] = mapped_column(primary_key=True)
        username: Mapped[str] = mapped_column(unique=True, primary_key=True)

    [mistake] = mistakes_of(Member)
    assert "composite key" in mistake


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"admin_field": "is_boss"}, "Member has no column 'is_boss'"),
        ({"login_fields": ["nick"]}, "Member has no column 'nick' for login_fields"),
        ({"login_fields": ["age"]}, "Member.age is a login name and must be unique"),
    ],
)
def test_options_that_name_no_column(options: dict[str, Any], told: str) -> None:
    """Arguments must fit the model."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        age: Mapped[int]

    [mistake] = mistakes_of(Member, **options)
    assert mistake.startswith(told)


def test_something_that_is_no_model() -> None:
    """A class that is not mapped is refused at once."""
    with pytest.raises(ConfigError, match="is no mapped class"):
        AuthRouter(dict)


def test_a_unique_index_is_enough(sqlite_url: str) -> None:
    """Uniqueness may come from an index."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str]
        __table_args__ = (Index("by_name", "username", unique=True),)

    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=Member.metadata)
    AuthRouter(Member).register_routes(app)
    app.build()


@pytest.mark.parametrize("mixin_first", [True, False])
@pytest.mark.parametrize("auth_first", [True, False])
def test_the_order_of_declarations_does_not_matter(
    sqlite_url: str, mixin_first: bool, auth_first: bool
) -> None:
    """hashed_password and is_admin stay hidden however the model is declared and whatever comes first."""
    base: Any = new_base()
    bases = (JetioAuthMixin, base) if mixin_first else (base, JetioAuthMixin)
    columns = {"username": mapped_column(unique=True), "__annotations__": {"username": Mapped[str]}}
    member: Any = type("Member", bases, {**columns, "API": type("API", (), {"read_only": ["username"]})})
    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=member.metadata)
    router = CrudRouter(member, exclude_methods=["POST"])
    if not auth_first:
        router.register_routes(app)
    auth = AuthRouter(member)
    auth.register_routes(app)
    if auth_first:
        router.register_routes(app)
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, username="root", password=PASSWORD)
        root = bearer(site.login("root").json()["access_token"])
        assert site.client.get("/members", headers=root).json() == [{"id": 1, "username": "root"}]
        for field in ("is_admin", "hashed_password"):
            answer = site.client.patch("/members/1", json={field: True}, headers=root)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")


def test_a_model_that_another_application_read_before(sqlite_url: str) -> None:
    """The rules of accounts hold also when the model was read before there was an AuthRouter."""
    base: Any = new_base()

    class Member(base):
        username: Mapped[str] = mapped_column(unique=True)
        hashed_password: Mapped[str]
        is_admin: Mapped[bool] = mapped_column(default=False)

    def router() -> CrudRouter:
        return CrudRouter(Member, exclude_methods=["POST"])

    earlier = Jetio(settings=SETTINGS, database="sqlite://", metadata=Member.metadata)
    router().register_routes(earlier)
    earlier.build()
    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=Member.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    router().register_routes(app)
    with serving(app, auth) as site:
        site.client.post("/register", json={"username": "ann", "password": PASSWORD})
        ann = bearer(site.login("ann").json()["access_token"])
        assert site.client.delete("/members/1").status_code == 401
        answer = site.client.patch("/members/1", json={"is_admin": True}, headers=ann)
        assert (answer.status_code, answer.json()["code"]) == (422, "read_only_field")
        assert "hashed_password" not in site.client.get("/members/1").json()


def test_another_admin_flag(sqlite_url: str) -> None:
    """`admin_field` goes before the usual names, and is as little a client's to set."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        is_boss: Mapped[bool] = mapped_column(default=False)

    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=Member.metadata)
    auth = AuthRouter(Member, admin_field="is_boss")
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, username="root", password=PASSWORD)
        body = {"username": "ann", "password": PASSWORD}
        assert site.client.post("/register", json={**body, "is_boss": True}).status_code == 422
        assert site.client.post("/register", json=body).json()["user"]["is_boss"] is False
        root, ann = (bearer(site.login(name).json()["access_token"]) for name in ("root", "ann"))
        assert site.client.post("/admin/1/make-admin", headers=ann).status_code == 403
        assert site.client.post("/admin/2/make-admin", headers=root).status_code == 200
        assert site.client.get("/me", headers=ann).json()["roles"] == ["admin"]


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ({}, True),
        ({"is_active": False}, False),
        ({"active": False}, False),
        ({"active": None}, False),
        ({"is_disabled": True}, False),
        ({"disabled": True}, False),
        ({"disabled": None}, True),
    ],
)
def test_the_columns_of_the_state(database_url: str, state: dict[str, Any], usable: bool) -> None:
    """Whichever column says that an account is off, it cannot log in and its tokens are refused."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        is_active: Mapped[bool] = mapped_column(default=True)
        active: Mapped[bool | None] = mapped_column(default=True)
        is_disabled: Mapped[bool] = mapped_column(default=False)
        disabled: Mapped[bool | None]

    app = Jetio(settings=SETTINGS, database=database_url, metadata=Member.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    CrudRouter(Member, policy={"*": auth.self_or_admin()}).register_routes(app)
    with serving(app, auth) as site:
        answer = site.client.post("/register", json={"username": "ann", "password": PASSWORD})
        ann = Person(site.client, 1, "ann", site.login("ann").json()["access_token"])
        assert answer.json()["user"]["id"] == ann.id
        for name, value in {"is_active": False, "active": False, "disabled": True}.items():
            refused = ann.patch("/members/1", {name: value})
            assert (refused.status_code, refused.json()["code"]) == (422, "read_only_field")
        if state:
            site.change(ann, **state)
        assert site.login("ann").status_code == (200 if usable else 401)
        assert ann.get("/me").status_code == (200 if usable else 401)


def test_a_state_that_is_text() -> None:
    """It is refused: the word no would count as yes."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        active: Mapped[str]

    [mistake] = mistakes_of(Member)
    assert mistake.startswith("Member.active says whether an account may be used and is text")


def test_one_router_for_one_application() -> None:
    """A second application needs a second AuthRouter; a second AuthRouter is refused."""
    app, other = new_app("sqlite://"), new_app("sqlite://")
    auth = AuthRouter(User)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with pytest.raises(ConfigError, match="one AuthRouter serves one application"):
        auth.register_routes(other)
    AuthRouter(User).register_routes(app)
    with pytest.raises(ConfigError) as refusal:
        app.build()
    told = "\n".join(refusal.value.mistakes)
    assert "two authenticators" in told
    assert "POST /login" in told


def test_other_paths(sqlite_url: str) -> None:
    """Paths may be chosen."""
    app = new_app(sqlite_url)
    auth = AuthRouter(
        User, login_path="/in", register_path="/join", prefix="/auth", admin_prefix="/auth/admin"
    )
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site:
        body = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        assert site.client.post("/auth/join", json=body).status_code == 201
        assert site.client.post("/auth/in", json={"username": "ann", "password": PASSWORD}).status_code == 200
        assert site.client.get("/auth/me").status_code == 401
        assert site.client.post("/auth/admin/1/make-admin").status_code == 401
        assert site.client.post("/login", json={}).status_code == 404
        flow = app.openapi()["components"]["securitySchemes"]["OAuth2PasswordBearer"]["flows"]["password"]
        assert flow["tokenUrl"] == "/auth/in"


def test_require_audit_field() -> None:
    """The first of the usual owner columns, or of those that are named."""
    assert require_audit_field(Post) == "author_id"
    assert require_audit_field(Comment, ["editor_id", "post_id"]) == "post_id"
    with pytest.raises(ConfigError, match="none of the columns"):
        require_audit_field(Note)
