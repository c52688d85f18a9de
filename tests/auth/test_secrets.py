"""Nothing that must stay secret stands in an answer, a log or the text of an object."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jetio import Database, Settings
from jetio_auth import AuthRouter, AuthSettings, JWTConfig, Lockout, PasswordPolicy
from jetio_auth.access_log import hide_secrets
from jetio_auth.passwords import Passwords
from jetio_auth.settings import signing_keys
from tests.auth.forum import User, bearer, new_app, serving
from tests.live import LiveServer

SOURCE = """
import logging
logging.basicConfig(level=logging.DEBUG)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from jetio import CrudRouter, Database, Depends, Jetio, JetioModel, add_swagger_ui
from jetio_auth import AuthRouter, JetioAuthMixin

class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    age: Mapped[int | None]

class Pin(JetioModel):
    class API:
        write_only = ["code"]
    code: Mapped[str] = mapped_column(unique=True)

app = Jetio()
auth = AuthRouter(User, default_admin=True)
auth.register_routes(app)
auth.register_admin_routes(app)
CrudRouter(User, policy={"*": auth.self_or_admin()}).register_routes(app)
CrudRouter(Pin, secure=True).register_routes(app)
add_swagger_ui(app)

@app.get("/boom")
async def boom(session: AsyncSession, user: User = Depends(auth.get_auth_dependency())) -> str:
    kept = user.hashed_password
    session.add(User(username=user.username, email="twice@example.com", hashed_password=kept))
    await session.flush()
    return "x"

@app.get("/told")
async def told(user: User = Depends(auth.get_auth_dependency())) -> str:
    raise RuntimeError(f"{user!r} {auth!r} {auth.accounts!r} {auth.authenticator!r} {app.settings!r}")
"""


class Planted:
    """Secrets by what they are for; each is unlike everything else."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def new(self) -> str:
        """One more."""
        self.all.append(f"zq{secrets.token_hex(12)}")
        return self.all[-1]


def broken_bodies(new: Callable[[], str]) -> Iterator[dict[str, Any]]:
    """What a client may send by mistake, with a password somewhere in it."""
    yield {"username": "ann"} | {"password": {"value": new()}}
    yield {"username": "ann"} | {"password": [new()]}
    yield {"username": "ann", "password": new() * 5}
    yield {"username": "ann", "passwort": new()}
    yield {"username": {"name": new()}, "password": new()}
    yield {"username": new() * 20, "email": f"{new()}@x", "password": new()}
    yield {"username": "ann", "email": new(), "password": new()}
    yield {"username": "ann", "email": "b@example.com", "age": new(), "password": new()}
    yield {"username": "ann", "email": "b@example.com", "is_admin": new(), "password": new()}
    yield {"username": "ann", "email": "b@example.com", "hashed_password": new(), "password": new()}
    yield {"username": "ann", "email": "b@example.com", "password": f"{new()}\0"}
    yield {"username": "ann", "email": "b@example.com", "password": new()}  # the name is taken


def raw_bodies(new: Callable[[], str]) -> Iterator[tuple[str, bytes]]:
    """Bodies that are no JSON, or no form."""
    yield "application/json", f'{{"username": "ann", "password": "{new()}"'.encode()
    yield "application/json", f'["{new()}"]'.encode()
    yield "application/json", f'"{new()}"'.encode()
    yield "application/json", f'{{"password": "{new()}", "password": "{new()}"}}'.encode()
    yield "application/json", f'{{"password": "{new()}"}}'.encode() + b"\xff"
    yield "text/plain", new().encode()
    yield "application/x-www-form-urlencoded", f"username=ann&password={new()}&password={new()}".encode()
    yield "application/x-www-form-urlencoded", f"username=ann&client_secret={new()}".encode()
    yield "application/x-www-form-urlencoded", f"username=ann&password={new()}%FF".encode()


def test_a_whole_run_shows_no_secret(database_url: str, live_server: Callable[..., LiveServer]) -> None:
    """Passwords, hashes, keys and tokens are in no answer but the login's own, and in no line of the log.

    The log is at DEBUG, for every library; the mode is development.
    """
    planted = Planted()
    key, root, password = planted.new() * 2, planted.new(), planted.new()
    env = {"DATABASE_URL": database_url, "SECRET_KEY": key, "JETIO_AUTH_DEFAULT_ADMIN_USERNAME": "root"}
    env |= {"JETIO_AUTH_DEFAULT_ADMIN_EMAIL": "r@example.com", "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": root}
    server = live_server(source=SOURCE, env=env, options=["--log-level=debug"])
    client, answers, tokens = server.client, [], []

    def ask(method: str, path: str, **options: Any) -> Any:
        answer = client.request(method, path, **options)
        answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    def login(name: str, given: str) -> dict[str, str]:
        answer = client.post("/login", json={"username": name, "password": given})
        tokens.append(answer.json()["access_token"])
        return bearer(tokens[-1])

    taken = {"username": "ann", "email": "ann@example.com", "password": password}
    assert ask("POST", "/register", json=taken).status_code == 201
    ann, admin = login("ann", password), login("root", root)
    for path in ("/register", "/login"):
        for body in broken_bodies(planted.new):
            assert 400 <= ask("POST", path, json=body).status_code < 500
        for media, raw in raw_bodies(planted.new):
            answer = ask("POST", path, content=raw, headers={"Content-Type": media})
            assert 400 <= answer.status_code < 500
    for headers in (ann, admin, {}):
        for path in ("/me", "/users", "/users/2", "/boom", "/told", "/openapi.json", "/docs", "/pins"):
            ask("GET", path, headers=headers)
        for body in ({"password": planted.new()}, {"hashed_password": planted.new()}, {"age": planted.new()}):
            assert ask("PATCH", "/users/2", json=body, headers=headers).status_code >= 400
    code = planted.new()
    for expected in (201, 409):
        assert ask("POST", "/pins", json={"code": code}, headers=ann).status_code == expected
    ask("GET", "/me", headers=bearer(tokens[0][:-2] + "zz"))
    ask("GET", "/me", headers={"Authorization": f"Basic {planted.new()}"})
    ask("GET", "/me", headers={"Authorization": f"Bearer {planted.new()}"})
    assert ask("GET", "/told", headers=ann).status_code == 500
    assert ask("GET", "/boom", headers=ann).status_code == 409

    told = "\n".join([*answers, server.log])
    parts = [part for token in tokens for part in token.split(".")[1:]]
    shown = [secret for secret in [*planted.all, *tokens, *parts] if secret in told]
    assert shown == []
    assert re.findall(r"\$2[aby]\$\d\d\$.{0,20}", told) == []
    assert "DEBUG" in server.log


def test_the_texts_of_objects() -> None:
    """repr and str of everything that holds a key, a password or a hash leave it out."""
    planted = Planted()
    key, password = planted.new() * 2, planted.new()
    settings = Settings(env="test", secret_key=key, database_url=f"postgresql://u:{password}@host/name")
    config = JWTConfig(secret_key=key, keys=[{"kid": "a", "key": key}])
    app = new_app("sqlite://", settings=settings)
    auth = AuthRouter(User, jwt=config, lockout=Lockout())
    auth.register_routes(app)
    held = AuthSettings(default_admin_password=password)
    with serving(app, auth) as site:
        site.client.post(
            "/register", json={"username": "ann", "email": "a@example.com", "password": password}
        )
        row = site.run(_load, site)
        token = site.client.post("/login", json={"username": "ann", "password": password})
        objects: list[Any] = [
            app, Database(settings.database_url),
            auth, auth.accounts, auth.accounts.passwords, auth.authenticator, auth.authenticator.codec,
            config, settings, held, *signing_keys(config, settings), PasswordPolicy(), Passwords(4), row,
            auth.accounts.facts, auth.authenticator.principal_of(row), auth._context,
            *auth.authenticator._known.values(),
        ]  # fmt: skip
        site.client.get("/me", headers=bearer(token.json()["access_token"]))
        objects += auth.authenticator._known.values()
        texts = [text for item in objects for text in (repr(item), str(item))]
    hashed = row.hashed_password
    for secret in (key, password, hashed, token.json()["access_token"]):
        assert [text for text in texts if secret in text] == []


async def _load(site: Any) -> Any:
    async with site.app.database.sessions() as session:
        return await session.get(User, 1)


def test_the_lines_of_a_server_hide_what_stands_in_addresses(caplog: pytest.LogCaptureFixture) -> None:
    """Secrets of programs and tokens of links are left out, the rest of a line stays, whatever it is written of."""
    hide_secrets()
    log, token = logging.getLogger("uvicorn.access"), "t" * 43
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        log.info("%s %s %d", "GET", f"/cli-login/BBBB-BBBB?a=b&secret={token}&c=d", 200)
        log.info("%s %d", f"/activate/{token}?next=home", 410)
        log.info("%(path)s", {"path": "/me"})
    assert caplog.messages == [
        "GET /cli-login/BBBB-BBBB?a=b&secret=...&c=d 200",
        "/activate/...?next=home 410",
        "/me",
    ]
