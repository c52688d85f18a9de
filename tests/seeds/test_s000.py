"""Seed document 000, "Authentication with Jetio": its code unchanged, one test for each thing that it claims.

The folder s000 holds the code as the document gives it, with nothing but its indentation restored.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx2
import pytest
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import HTTPConnection

from jetio import (
    CrudRouter,
    Jetio,
    Principal,
    Problem,
    Request,
    SecurityScheme,
    UnitOfWork,
)
from jetio_auth import (
    AuthRouter,
    JetioAuthMixin,
    JetioEmailConfirmationMixin,
    JetioPasswordResetMixin,
    Letter,
)
from tests.auth.forum import SETTINGS, new_base, serving
from tests.live import LiveServer, serve

DOCUMENT = Path(__file__).parent / "s000"
ALICE = {"username": "alice", "email": "alice@example.com", "password": "secret123", "age": 25}
POSTS = """
from jetio import JetioModel
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

class Post(JetioModel):
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
"""
BEGIN = """
import asyncio
from jetio import CrudRouter, engine
from sqlalchemy.ext.asyncio import AsyncSession
from app import app, auth
from posts import Post
"""
FIRST_ADMIN = """
asyncio.run(init_db())
app.on_event("startup")(init_db)
"""


def snippet(name: str) -> str:
    """A piece of the document's code."""
    return (DOCUMENT / f"{name}.py").read_text()


@contextmanager
def running(folder: Path, file: str, **env: str) -> Iterator[LiveServer]:
    """`python <file>` beside the document's files, on a free port and with no other configuration."""
    for name in ("models.py", "app.py"):
        shutil.copy(DOCUMENT / name, folder)
    with serve(folder, command=[sys.executable, file], env={"JETIO_PORT": "0", **env}) as server:
        yield server


@contextmanager
def extended(folder: Path, *pieces: str) -> Iterator[LiveServer]:
    """The document's application with further pieces of its code and a Post model."""
    (folder / "posts.py").write_text(POSTS)
    (folder / "main.py").write_text("\n".join([BEGIN, *pieces, "app.run()"]))
    with running(folder, "main.py", JETIO_ENV="test") as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for the document's application."""
    return tmp_path_factory.mktemp("blog")


@pytest.fixture(scope="module")
def blog(folder: Path) -> Iterator[httpx2.Client]:
    """The application, unchanged, with alice registered as the document does it."""
    with running(folder, "app.py") as server:
        assert server.client.post("/register", json=ALICE).status_code == 201
        yield server.client


@pytest.fixture(scope="module")
def alice(blog: httpx2.Client) -> dict[str, str]:
    """Alice's credential, from the document's login."""
    answer = blog.post("/login", json={"username": "alice", "password": "secret123"})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def log_in(client: httpx2.Client, name: str, password: str) -> dict[str, str]:
    """The credential of an account."""
    token = client.post("/login", json={"username": name, "password": password}).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def sign_up(client: httpx2.Client, name: str) -> dict[str, str]:
    """The credential of a new account."""
    body = {"username": name, "email": f"{name}@example.com", "password": "secret123"}
    assert client.post("/register", json=body).status_code == 201
    return log_in(client, name, "secret123")


def claims_of(headers: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a token, unverified."""
    header, claims, _ = headers["Authorization"].removeprefix("Bearer ").split(".")
    return _decoded(header), _decoded(claims)


def _decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def code_of(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


# ---- the application ---------------------------------------------------------------------------------------


def test_s000_zero_config(blog: httpx2.Client, folder: Path) -> None:
    """Two files and `python app.py`: tables exist, documentation is served, nothing was configured."""
    with sqlite3.connect(folder / "jetio.db") as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert {"users", "jetio_auth_users_attempts"} <= names
    assert blog.get("/docs").status_code == 200
    assert (folder / ".jetio" / "dev-secret").stat().st_mode & 0o777 == 0o600


def test_s000_mixin(blog: httpx2.Client, alice: dict[str, str], folder: Path) -> None:
    """JetioAuthMixin adds hashed_password and is_admin; no client reads or writes them."""
    with sqlite3.connect(folder / "jetio.db") as database:
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(users)")]
    database.close()
    assert columns == ["id", "username", "email", "age", "hashed_password", "is_admin"]
    assert not {"hashed_password", "is_admin"} & set(blog.get("/me", headers=alice).json())
    body = {**ALICE, "username": "mallory", "email": "mallory@example.com", "hashed_password": "$2b$12$x"}
    assert code_of(blog.post("/register", json=body)) == (422, "unknown_field")


def test_s000_register_fields(blog: httpx2.Client) -> None:
    """Fields of a registration are validated by the User model: required, typed, with their defaults."""
    bob = {"username": "bob", "email": "bob@example.com", "password": "secret123"}
    assert blog.post("/register", json=bob).json()["user"]["age"] == 18
    refused = blog.post("/register", json={"username": "carl", "password": "secret123", "age": "old", "x": 1})
    assert refused.status_code == 422
    found = {(entry["pointer"], entry["code"]) for entry in refused.json()["errors"]}
    assert found == {("/email", "missing"), ("/age", "int_type"), ("/x", "unknown_field")}
    assert code_of(blog.post("/register", json={**bob, "email": "nobody"})) == (422, "validation")


def test_s000_docs_optional(tmp_path: Path) -> None:
    """Without add_swagger_ui(app) the endpoints work, and /docs does not exist."""
    without = (DOCUMENT / "app.py").read_text().replace("add_swagger_ui(app)\n", "")
    with ExitStack() as stack:
        (tmp_path / "plain.py").write_text(without)
        client = stack.enter_context(running(tmp_path, "plain.py", JETIO_ENV="test")).client
        assert client.get("/docs").status_code == 404
        assert client.post("/register", json=ALICE).status_code == 201


def test_s000_routes(blog: httpx2.Client) -> None:
    """AuthRouter serves /register, /login and /admin/{id}/make-admin at the paths that the document names."""
    for path in ("/register", "/login", "/admin/1/make-admin"):
        assert blog.get(path).headers["allow"] == "OPTIONS, POST"


def test_s000_login(blog: httpx2.Client) -> None:
    """The document's registration and login: JSON in, a JWT out that opens what needs login."""
    again = blog.post("/register", json=ALICE)
    assert code_of(again) == (409, "already_exists")
    answer = blog.post("/login", json={"username": "alice", "password": "secret123"})
    assert answer.status_code == 200
    assert {"token_type": "bearer", "expires_in": 3600}.items() <= answer.json().items()
    token = answer.json()["access_token"]
    assert blog.get("/me", headers={"Authorization": f"Bearer {token}"}).json()["username"] == "alice"
    assert blog.get("/me").status_code == 401


def test_s000_security(blog: httpx2.Client, alice: dict[str, str], folder: Path) -> None:
    """bcrypt at cost 12, a signed token with an expiry, no mass assignment."""
    with sqlite3.connect(folder / "jetio.db") as database:
        ((hashed,),) = database.execute("SELECT hashed_password FROM users WHERE username = 'alice'")
    database.close()
    assert hashed.startswith("$2b$12$")
    assert bcrypt.checkpw(b"secret123", hashed.encode())
    header, claims = claims_of(alice)
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["sub"] == "1"
    body = {**ALICE, "username": "eve", "email": "eve@example.com", "id": 7}
    assert code_of(blog.post("/register", json=body)) == (422, "unknown_field")


def test_s000_no_self_admin(blog: httpx2.Client, alice: dict[str, str]) -> None:
    """Nobody registers as admin: the flag is refused, and whoever registers is none."""
    body = {**ALICE, "username": "eve", "email": "eve@example.com"}
    assert code_of(blog.post("/register", json={**body, "is_admin": True})) == (422, "read_only_field")
    assert blog.post("/register", json={**body, "is_admin": False}).status_code == 201
    assert code_of(blog.post("/admin/1/make-admin", headers=alice)) == (403, "forbidden")


# ---- protecting CRUD routes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """The document's "Basic Protection", and its first admin made before and at the start."""
    pieces = (snippet("secure"), snippet("first_admin"), FIRST_ADMIN)
    with extended(tmp_path_factory.mktemp("secured"), *pieces) as server:
        yield server.client


def test_s000_secure(secured: httpx2.Client) -> None:
    """secure=True with the auth dependency: no route without a token, every route with one."""
    dora = sign_up(secured, "dora")
    assert secured.get("/posts").status_code == 401
    assert secured.post("/posts", json={"title": "mine"}).status_code == 401
    row = secured.post("/posts", json={"title": "mine"}, headers=dora).json()
    assert secured.get(f"/posts/{row['id']}", headers=dora).json() == row
    assert secured.get("/posts", headers={"Authorization": "Bearer forged"}).status_code == 401


def test_s000_ensure_admin(secured: httpx2.Client) -> None:
    """init_db makes the first admin, run before the tables exist and again at start."""
    admin = log_in(secured, "admin", "securePassword123")
    assert secured.get("/me", headers=admin).json()["roles"] == ["admin"]
    assert secured.get("/me", headers=admin).json()["email"] == "admin@jetio.org"


def test_s000_make_admin(secured: httpx2.Client) -> None:
    """An admin promotes with POST /admin/{id}/make-admin; it counts at the next request."""
    admin = log_in(secured, "admin", "securePassword123")
    fred = sign_up(secured, "fred")
    key = secured.get("/me", headers=fred).json()["id"]
    answer = secured.post(f"/admin/{key}/make-admin", headers=admin)
    assert answer.json() == {"message": "User promoted to admin", "user_id": key}
    assert secured.get("/me", headers=fred).json()["roles"] == ["admin"]
    assert secured.post("/admin/12345/make-admin", headers=admin).status_code == 404


def test_s000_owner(tmp_path: Path) -> None:
    """Owners change their own rows, admins any row, others none; PATCH follows PUT."""
    with extended(tmp_path, snippet("owner"), snippet("first_admin"), FIRST_ADMIN) as server:
        client = server.client
        owner, other = sign_up(client, "owner"), sign_up(client, "other")
        admin = log_in(client, "admin", "securePassword123")
        path = client.post("/posts", json={"title": "a"}, headers=owner).headers["location"]
        for who, status in ((other, 403), (owner, 200), (admin, 200), ({}, 401)):
            assert client.put(path, json={"title": "b"}, headers=who).status_code == status
            assert client.patch(path, json={"title": "c"}, headers=who).status_code == status
        assert client.get(path, headers=other).json()["title"] == "c"
        for who, status in (({}, 401), (other, 403), (owner, 204)):
            assert client.delete(path, headers=who).status_code == status


def test_s000_admin_only(tmp_path: Path) -> None:
    """Only admins delete; everybody who is signed in does the rest."""
    router = f"CrudRouter(model=Post, {snippet('admin')}).register_routes(app)"
    with extended(tmp_path, router, snippet("first_admin"), FIRST_ADMIN) as server:
        client = server.client
        owner = sign_up(client, "owner")
        admin = log_in(client, "admin", "securePassword123")
        path = client.post("/posts", json={"title": "a"}, headers=owner).headers["location"]
        assert client.patch(path, json={"title": "b"}, headers=owner).status_code == 200
        assert client.delete(path).status_code == 401
        assert client.delete(path, headers=owner).status_code == 403
        assert client.delete(path, headers=admin).status_code == 204


# ---- how permissions are detected --------------------------------------------------------------------------

FLAGS = ["is_admin", "is_superuser", "is_staff", "is_master"]


@pytest.mark.parametrize("first", range(4))
def test_s000_flag_order(first: int, sqlite_url: str) -> None:
    """Of is_admin, is_superuser, is_staff and is_master the first that the model has makes an admin."""
    flags = {flag: mapped_column(default=False) for flag in FLAGS[first:]}
    annotations = {"username": Mapped[str], **dict.fromkeys(flags, Mapped[bool])}
    columns = {"username": mapped_column(unique=True), "hashed_password": mapped_column(), **flags}
    annotations["hashed_password"] = Mapped[str]
    user: Any = type("User", (new_base(),), {"__annotations__": annotations, **columns})
    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=user.metadata)
    auth = AuthRouter(user_model=user)
    auth.register_routes(app)
    with serving(app, auth) as site:
        for number, flag in enumerate(FLAGS[first:]):
            name = f"user{number}"
            body = {"username": name, "password": "secret123"}
            key = site.client.post("/register", json=body).json()["user"]["id"]
            site.run(set_flag, app, user, key, flag)
            token = site.login(name, "secret123").json()["access_token"]
            me = site.client.get("/me", headers={"Authorization": f"Bearer {token}"}).json()
            assert ("admin" in me["roles"]) is (number == 0)
            refused = site.client.post("/register", json={**body, flag: True})
            assert code_of(refused) == (422, "read_only_field")


async def set_flag(app: Jetio, user: Any, key: int, flag: str) -> None:
    """Set a flag as a migration would."""
    async with app.database.sessions() as session:
        row = await session.get(user, key)
        setattr(row, flag, True)
        await session.commit()


# ---- custom flows ------------------------------------------------------------------------------------------


def test_s000_custom_login(sqlite_url: str) -> None:
    """A login of one's own is a handler of a few lines over auth.login and auth.create_token."""

    base: Any = new_base()

    class User(base, JetioAuthMixin):
        email: Mapped[str] = mapped_column(unique=True)
        pin: Mapped[str | None]

    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=User.metadata)
    auth = AuthRouter(User)
    auth.register_routes(app)

    @app.post("/phone-login")
    async def phone_login(email: str, pin: str, request: Request) -> dict[str, Any]:
        async with app.database.sessions() as session:
            from sqlalchemy import select

            user = await session.scalar(select(User).where(User.email == email, User.pin == pin))
        if user is None:
            raise Problem(401, "invalid_credentials", "Wrong pin")
        return {"access_token": auth.create_token(user, extra_claims={"device": "phone"}, expires_in=60)}

    @app.post("/door")
    async def door(email: str, password: str) -> dict[str, Any]:
        return await auth.login(email, password, extra_claims={"door": 7})

    with serving(app, auth) as site:
        site.client.post("/register", json={"email": "a@example.com", "password": "secret123", "pin": "1234"})
        refused = site.client.post("/phone-login", params={"email": "a@example.com", "pin": "0000"})
        assert code_of(refused) == (401, "invalid_credentials")
        for path, secret, claims in (
            ("/phone-login", {"pin": "1234"}, {"device": "phone"}),
            ("/door", {"password": "secret123"}, {"door": 7}),
        ):
            answer = site.client.post(path, params={"email": "a@example.com", **secret})
            token = answer.json()["access_token"]
            me = site.client.get("/me", headers={"Authorization": f"Bearer {token}"}).json()
            assert me["claims"] == claims
        wrong = site.client.post("/door", params={"email": "a@example.com", "password": "wrong"})
        assert code_of(wrong) == (401, "invalid_credentials")


class KeyRing:
    """An authenticator of one's own: a header, a table of keys."""

    user_model = None
    schemes = (SecurityScheme("key", {"type": "apiKey", "in": "header", "name": "X-Key"}),)

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        key = connection.headers.get("x-key")
        if key is None:
            return None
        if key not in ("one", "two"):
            raise Problem(401, "not_authenticated", "Unknown key")
        return Principal(id=key, sub=key, is_admin=key == "one")

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


def test_s000_custom_authenticator(sqlite_url: str) -> None:
    """Whoever implements Authenticator replaces tokens altogether; routers and policies work with it."""

    base: Any = new_base()

    class Note(base):
        text: Mapped[str]

    app = Jetio(settings=SETTINGS, database=sqlite_url, metadata=Note.metadata)
    app.use_authenticator(KeyRing())
    CrudRouter(Note, secure=True).register_routes(app)
    with serving(app, None) as site:  # type: ignore[arg-type]  # there is no AuthRouter
        assert site.client.get("/notes").status_code == 401
        assert site.client.get("/notes", headers={"X-Key": "three"}).status_code == 401
        assert site.client.post("/notes", json={"text": "a"}, headers={"X-Key": "two"}).status_code == 201


# ---- next steps --------------------------------------------------------------------------------------------


class Outbox:
    """A mailer as an application writes one: it keeps what it gets."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def send(self, letter: Letter) -> None:
        self.texts.append(letter.text)

    def token(self, path: str) -> str:
        """The token of the latest link that leads there."""
        return self.texts[-1].partition(path)[2].split()[0]


def test_s000_email(sqlite_url: str) -> None:
    """Email verification and password resets, which the document names as next steps, take two mixins."""

    base: Any = new_base()

    class User(base, JetioAuthMixin, JetioEmailConfirmationMixin, JetioPasswordResetMixin):
        username: Mapped[str] = mapped_column(unique=True)
        email: Mapped[str] = mapped_column(unique=True)

    app, outbox = Jetio(settings=SETTINGS, database=sqlite_url, metadata=User.metadata), Outbox()
    auth = AuthRouter(user_model=User, mail=outbox, require_verified_email=True)
    auth.register_routes(app)
    with serving(app, auth) as site:
        body = {name: ALICE[name] for name in ("username", "email", "password")}
        assert site.client.post("/register", json=body).json()["status"] == "unverified"
        assert code_of(site.login("alice", "secret123")) == (403, "email_not_verified")
        assert site.client.post(f"/activate/{outbox.token('/activate/')}").status_code == 200
        assert site.login("alice", "secret123").status_code == 200
        site.client.post("/forgot-password", json={"identity": "alice"})
        body = {"token": outbox.token("/reset-password/"), "new_password": "secret456"}
        assert site.client.post("/reset-password", json=body).status_code == 204
        assert code_of(site.login("alice", "secret123")) == (401, "invalid_credentials")
        assert site.login("alice", "secret456").status_code == 200
