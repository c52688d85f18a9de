"""Accounts in a store: in memory, in a file, or wherever an application keeps them."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, CrudRouter, Jetio, Problem, Settings
from jetio_auth import (
    AuthRouter,
    CurrentUser,
    JSONUserStore,
    JWTConfig,
    Lockout,
    MemoryUserStore,
    RequireLogin,
    StoredUser,
    UserStore,
    get_password_hash,
    setup_auth,
)
from jetio_auth.stores import StoreSource
from tests.auth.forum import PASSWORD, SETTINGS, Site, User, bearer, call, new_base, serving
from tests.test_docs import DOCS, blocks_of

PRODUCTION = Settings(env="production", secret_key=SecretStr("k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"))
BOSS = "boss@example.com"


class Directory:
    """No more than a store must have."""

    def __init__(self) -> None:
        self.users: dict[str, StoredUser] = {}

    async def find_by_email(self, email: str) -> StoredUser | None:
        await anyio.sleep(0)
        return self.users.get(email)

    async def create(self, user: StoredUser) -> None:
        await anyio.sleep(0)
        self.users[user.email] = user

    async def update(self, user: StoredUser) -> None:
        await anyio.sleep(0)
        self.users[user.email] = user

    async def list_pending(self) -> Sequence[StoredUser]:
        return [user for user in self.users.values() if user.approval_status == "pending"]

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        admin = StoredUser(
            email=email, hashed_password=hashed_password, is_admin=True, approval_status="approved"
        )
        self.users.setdefault(email, admin)


def new_app(url: str, store: Any, settings: Settings = SETTINGS, **options: Any) -> tuple[Jetio, AuthRouter]:
    """An application over a store."""
    app = Jetio(database=url, settings=settings, metadata=MetaData())
    auth = AuthRouter(store=store, **{"approval": "admin", **options})
    auth.register_routes(app)
    auth.register_admin_routes(app)

    @app.get("/who")
    async def who(user: RequireLogin) -> dict[str, Any]:
        return {"sub": user.sub, **user.extra}

    @app.get("/row")
    async def row(user: CurrentUser) -> dict[str, Any]:
        return {"email": user.email, "admin": user.is_admin}

    return app, auth


def kinds(folder: Path) -> dict[str, Any]:
    """Each way to give a store."""
    directory, memory = Directory(), MemoryUserStore()

    async def per_use() -> AsyncIterator[Directory]:
        yield directory

    async def opened() -> MemoryUserStore:
        return memory

    return {
        "memory": memory,
        "json": JSONUserStore(folder / "users.json"),
        "own": directory,
        "generator": per_use,
        "coroutine": opened,
        "function": lambda: directory,
    }


@pytest.fixture(params=["memory", "json", "own", "generator", "coroutine", "function"])
def site(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """The application over each kind of store, with an admin."""
    app, auth = new_app(sqlite_url, kinds(tmp_path)[request.param])
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, email=BOSS, password=PASSWORD)
        yield site


@pytest.fixture
def lone(sqlite_url: str) -> Iterator[Site]:
    """The application over the smallest store."""
    app, auth = new_app(sqlite_url, Directory())
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, email=BOSS, password=PASSWORD)
        yield site


def told(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem."""
    return answer.status_code, answer.json()["code"]


def join(site: Site, email: str) -> Any:
    """The answer to a registration."""
    return site.client.post("/register", json={"email": email, "password": PASSWORD})


def login(site: Site, email: str, password: str = PASSWORD) -> Any:
    """The answer to a login."""
    return site.client.post("/login", data={"username": email, "password": password})


def headers_of(answer: Any) -> dict[str, str]:
    """The credential of a login."""
    assert answer.status_code == 200, answer.text
    return bearer(answer.json()["access_token"])


def test_the_way_of_an_account(site: Site) -> None:
    """Register, wait, be approved, log in, see oneself, change the password: as with a user model."""
    client = site.client
    answer = join(site, "Ann@Example.com")
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert answer.json()["user"]["email"] == "ann@example.com"
    assert told(join(site, "ann@example.com")) == (409, "already_exists")
    assert told(login(site, "ann@example.com")) == (403, "account_pending")
    assert told(login(site, "ann@example.com", "wrong password")) == (401, "invalid_credentials")
    boss = headers_of(login(site, BOSS))
    [waiting] = client.get("/pending", headers=boss).json()
    assert waiting == answer.json()["user"]
    assert client.get("/pending?page=2", headers=boss).json() == []
    approved = client.post("/approve", json={"email": "ANN@example.com"}, headers=boss)
    assert approved.json()["user"]["approval_status"] == "approved"
    assert told(client.post("/approve", json={"email": "ann@example.com"}, headers=boss)) == (
        409,
        "not_pending",
    )
    ann = headers_of(login(site, "ANN@example.com"))
    me = client.get("/me", headers=ann).json()
    assert (me["email"], me["roles"]) == ("ann@example.com", [])
    assert client.get("/who", headers=ann).json() == {"sub": "ann@example.com", "is_admin": False}
    assert client.get("/row", headers=boss).json() == {"email": BOSS, "admin": True}
    body = {"current_password": PASSWORD, "new_password": "another " + PASSWORD}
    changed = client.post("/change-password", json=body, headers=ann)
    assert client.get("/me", headers=ann).status_code == 401
    assert client.get("/me", headers=headers_of(changed)).status_code == 200
    assert told(login(site, "ann@example.com")) == (401, "invalid_credentials")


def documented(folder: Path) -> Any:
    """The store of the documentation's page, as it stands there."""
    page = (DOCS / "guides" / "stores.md").read_text()
    example = next(block for block in blocks_of(page) if block.title == "app.py")
    path = folder / "documented.py"
    path.write_text(example.text.partition("app = Jetio()")[0])
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Directory()


def test_the_store_of_the_documentation_has_all_routes(sqlite_url: str, tmp_path: Path) -> None:
    """It gives ids and looks up none: who waits is found by its id, and the caller by the email."""
    app, auth = new_app(sqlite_url, documented(tmp_path))
    with serving(app, auth) as site:
        site.run(auth.ensure_admin, email=BOSS, password=PASSWORD)
        boss = headers_of(login(site, BOSS))
        keys = [join(site, f"{name}@example.com").json()["user"]["id"] for name in ("ann", "bob")]
        assert keys == ["2", "3"]
        approved = site.client.post("/approve", json={"id": "2"}, headers=boss)
        assert (approved.status_code, approved.json()["user"]["email"]) == (200, "ann@example.com")
        assert site.client.post("/reject", json={"id": 3}, headers=boss).status_code == 200
        assert told(site.client.post("/approve", json={"id": "3"}, headers=boss)) == (404, "not_found")
        ann = headers_of(login(site, "ann@example.com"))
        body = {"current_password": "a wrong password", "new_password": "another " + PASSWORD}
        wrong = site.client.post("/change-password", json=body, headers=ann)
        assert told(wrong) == (403, "wrong_password")
        changed = site.client.post(
            "/change-password", json={**body, "current_password": PASSWORD}, headers=ann
        )
        assert site.client.get("/me", headers=ann).status_code == 401
        assert site.client.get("/me", headers=headers_of(changed)).json()["id"] == "2"
        headers_of(login(site, "ann@example.com", "another " + PASSWORD))


def test_rejected_accounts(site: Site, request: pytest.FixtureRequest) -> None:
    """A rejected login is like a wrong password; a store that deletes none says so and keeps the account."""
    client, boss = site.client, headers_of(login(site, BOSS))
    key = join(site, "eve@example.com").json()["user"]["id"]
    assert client.post("/reject", json={"id": key}, headers=boss).json()["message"] == "User rejected"
    assert told(login(site, "eve@example.com")) == (401, "invalid_credentials")
    assert told(client.post("/approve", json={"id": key}, headers=boss)) == (409, "not_pending")
    for body in ({"email": "nobody@example.com"}, {"id": "nobody"}, {"username": "eve"}):
        assert told(client.post("/approve", json=body, headers=boss)) == (404, "not_found")
    join(site, "bob@example.com")
    gone = client.post("/reject", json={"email": "bob@example.com", "delete": True}, headers=boss)
    deletes = request.node.callspec.params["site"] in ("memory", "json", "coroutine")
    assert gone.status_code == (200 if deletes else 422)
    assert join(site, "bob@example.com").status_code == (201 if deletes else 409)


def test_of_two_decisions_at_once_one_is_made(site: Site) -> None:
    """Also in a store that can only look and replace; and of two registrations of one address."""
    boss = headers_of(login(site, BOSS))

    async def race(path: str, body: Any) -> list[int]:
        sent = [call(site.app, "POST", path, body, headers=boss) for _ in range(4)]
        return sorted(answer.status for answer in await asyncio.gather(*sent))

    body = {"email": "ann@example.com", "password": PASSWORD}
    assert site.run(race, "/register", body) == [201, 409, 409, 409]
    assert site.run(race, "/approve", {"email": "ann@example.com"}) == [200, 409, 409, 409]


def test_of_two_new_passwords_at_once_one_is_stored(lone: Site) -> None:
    """The other is 409; a login that would renew a hash which has changed meanwhile leaves it."""
    boss = headers_of(login(lone, BOSS))

    async def race() -> list[int]:
        bodies = [{"current_password": PASSWORD, "new_password": f"{n} {PASSWORD}"} for n in range(3)]
        sent = [call(lone.app, "POST", "/change-password", body, headers=boss) for body in bodies]
        return sorted(answer.status for answer in await asyncio.gather(*sent))

    results = lone.run(race)
    assert results[0] == 200
    assert set(results[1:]) <= {401, 403, 409}  # as far as each has come when the first is stored
    accounts: Any = lone.auth.accounts
    account = {"email": BOSS, "id": BOSS, "hashed_password": "what was there before"}
    lone.run(accounts._renew, account, "a newer hash")
    assert account["hashed_password"] == "what was there before"
    assert lone.run(accounts.source.find, BOSS).hashed_password.startswith("$2b$")
    changes: Any = lone.auth.logins._changes
    with pytest.raises(Problem, match="being changed by others"):
        lone.run(changes.store, None, account, "another hash")


def test_accounts_of_stores_are_callers_like_others(lone: Site) -> None:
    """They own rows of routers, by a column that the router names; a name in another field finds nobody."""
    with pytest.raises(Problem, match="name or the password"):
        lone.run(lone.auth.login, BOSS, PASSWORD, field="username")
    base: Any = new_base()

    class Order(base):
        text: Mapped[str] = mapped_column(String(80))
        buyer: Mapped[str] = mapped_column(String(80))

    url = str(lone.app.database.dialect.url).replace("test.db", "orders.db")
    app = Jetio(database=url, settings=SETTINGS, metadata=base.metadata)
    auth = AuthRouter(store=Directory())
    auth.register_routes(app)
    CrudRouter(Order, owner="buyer", policy={"*": auth.owner_or_admin(Order)}).register_routes(app)
    with serving(app, auth) as site:
        for name in ("ann", "bob"):
            assert join(site, f"{name}@example.com").json()["status"] == "active"
        ann, bob = (headers_of(login(site, f"{name}@example.com")) for name in ("ann", "bob"))
        made = site.client.post("/orders", json={"text": "tea"}, headers=ann)
        assert made.json()["buyer"] == "ann@example.com"
        assert site.client.get("/orders", headers=bob).json() == []


def test_two_applications_over_one_metadata(sqlite_url: str) -> None:
    """As tests make them: each has accounts of its own, and both count failed logins."""
    shared, body = MetaData(), {"email": "ann@example.com", "password": PASSWORD}
    for name in ("one.db", "two.db"):
        url = sqlite_url.replace("test.db", name)
        app = Jetio(database=url, settings=SETTINGS, metadata=shared)
        auth = AuthRouter(store=MemoryUserStore(), lockout=Lockout(failures=1))
        auth.register_routes(app)
        with serving(app, auth) as site:
            assert site.client.post("/register", json=body).status_code == 201
            wrong = {**body, "password": "another password"}
            answers = [site.client.post("/login", json=given).status_code for given in (body, wrong, body)]
            assert answers == [200, 401, 429]


@pytest.mark.anyio
async def test_a_plain_store_exchanges_what_is_as_it_was() -> None:
    """By looking first; what has changed stays, and what is gone is not deleted again."""
    source = StoreSource(Directory())
    kept = await source.create(_person(1))
    changed = replace(kept, approval_status="approved")
    assert await source.exchange(kept, changed) is True
    assert await source.exchange(kept, changed) is False
    shipped = StoreSource(MemoryUserStore())
    kept = await shipped.create(_person(1))
    assert await shipped.delete(replace(kept, is_active=False)) is False
    assert await shipped.delete(kept) is True


def test_only_admins_decide(lone: Site) -> None:
    """Nobody is 401, an account without the right 403."""
    boss = headers_of(login(lone, BOSS))
    join(lone, "ann@example.com")
    lone.client.post("/approve", json={"email": "ann@example.com"}, headers=boss)
    ann = headers_of(login(lone, "ann@example.com"))
    for method, path in (("GET", "/pending"), ("POST", "/approve"), ("POST", "/reject")):
        assert lone.client.request(method, path, json={}).status_code == 401
        assert lone.client.request(method, path, json={}, headers=ann).status_code == 403


def test_what_a_store_says_counts_at_once(lone: Site) -> None:
    """An account that is switched off, put back, or gone is out with its next request."""
    boss = headers_of(login(lone, BOSS))
    store = Directory()
    lone.auth.use_store(store)
    lone.run(lone.auth.ensure_admin, email=BOSS, password=PASSWORD)
    assert told(lone.client.get("/me", headers=boss)) == (401, "token_revoked")
    boss = headers_of(login(lone, BOSS))
    whole = store.users[BOSS]
    for changed in (replace(whole, is_active=False), replace(whole, approval_status="pending")):
        store.users[BOSS] = changed
        assert told(lone.client.get("/me", headers=boss)) == (401, "token_revoked")
    assert told(login(lone, BOSS)) == (403, "account_pending")
    del store.users[BOSS]
    assert told(lone.client.get("/me", headers=boss)) == (401, "token_revoked")
    store.users[BOSS] = whole
    assert lone.client.get("/me", headers=boss).status_code == 200


def test_failures_are_counted(lone: Site) -> None:
    """In the database of the application, as for every other account."""
    for _ in range(10):
        assert told(login(lone, "nobody@example.com")) == (401, "invalid_credentials")
    assert told(login(lone, "nobody@example.com")) == (429, "rate_limited")
    assert login(lone, BOSS).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"email": "ann@example.com"},
        {"email": "no address", "password": PASSWORD},
        {"email": "ann@example.com", "password": "short"},
        {"email": "ann@example.com", "password": PASSWORD, "is_admin": True},
        {"email": "ann@example.com", "password": PASSWORD, "approval_status": "approved"},
    ],
)
def test_registrations_that_are_refused(lone: Site, body: dict[str, Any]) -> None:
    """422, and no account."""
    assert lone.client.post("/register", json=body).status_code == 422
    boss = headers_of(login(lone, BOSS))
    assert lone.client.get("/pending", headers=boss).json() == []


def test_functions(sqlite_url: str) -> None:
    """`register`, `login` with further claims, `extra_claims`, an outdated hash that is renewed."""
    store = MemoryUserStore()
    app, auth = new_app(
        sqlite_url, store, approval=None, extra_claims=lambda user: {"mail": user.email},
        role_permissions={"admin": ["all"]},
    )  # fmt: skip
    with serving(app, auth) as site:
        site.run(auth.register, email="ann@example.com", password=PASSWORD)
        with pytest.raises(Problem, match="email already"):
            site.run(auth.register, email="Ann@example.com", password=PASSWORD)
        with pytest.raises(Problem, match="invalid"):
            site.run(auth.register, email="bob@example.com", age=7, password=PASSWORD)
        pair = site.run(auth.login, "ann@example.com", PASSWORD, extra_claims={"company_id": 42})
        seen = site.client.get("/who", headers=bearer(pair["access_token"])).json()
        assert seen == {
            "sub": "ann@example.com", "is_admin": False, "company_id": 42, "mail": "ann@example.com",
        }  # fmt: skip
        assert "refresh_token" not in pair
        assert site.client.get("/pending").status_code == 404
        old = StoredUser(
            email="old@example.com", hashed_password=_pbkdf2(PASSWORD), approval_status="approved"
        )
        site.run(store.create, old)
        headers_of(login(site, "old@example.com"))
        kept = site.run(store.find_by_email, "old@example.com")
        assert kept.hashed_password.startswith("$2b$")
        for _ in range(2):
            site.run(auth.ensure_admin, email="ann@example.com", password=PASSWORD)
        assert site.run(store.find_by_email, "ann@example.com").is_admin is True
        with pytest.raises(ConfigError, match="another password"):
            site.run(auth.ensure_admin, email="old@example.com", password="another " + PASSWORD)
        with pytest.raises(ConfigError, match="cannot make the account"):
            site.run(auth.ensure_admin, email="new@example.com", password="short")


def _pbkdf2(password: str) -> str:
    from passlib.hash import pbkdf2_sha256

    hashed: str = pbkdf2_sha256.using(rounds=1000).hash(password)
    return hashed


def test_a_store_may_be_replaced(lone: Site) -> None:
    """`auth.use_store(factory)`; the accounts of the one before are gone with it."""
    boss = headers_of(login(lone, BOSS))
    other = Directory()

    async def per_use() -> AsyncIterator[Directory]:
        yield other

    lone.auth.use_store(per_use)
    assert told(lone.client.get("/me", headers=boss)) == (401, "token_revoked")
    assert join(lone, "ann@example.com").status_code == 201
    assert list(other.users) == ["ann@example.com"]


def test_setup_auth_takes_a_store(sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the first admin, its sample password and its guard."""
    path = tmp_path / "people.json"
    for _ in range(2):
        app = Jetio(database=sqlite_url, settings=SETTINGS, metadata=MetaData())
        auth = setup_auth(app, store=JSONUserStore(path))
        with serving(app, auth) as site:
            body = {"username": "admin@admin.com", "password": "changeme"}
            assert site.client.post("/auth/login", data=body).status_code == 200
            away = site.run(call, app, "POST", "/auth/login", body)
            assert (away.status, away.code) == (403, "password_change_required")
            assert "sample password" in caplog.text
    assert [entry["email"] for entry in json.loads(path.read_text())["users"]] == ["admin@admin.com"]


@pytest.mark.parametrize("kind", ["memory", "json", "coroutine"])
def test_production_refuses_stores_of_prototypes(sqlite_url: str, tmp_path: Path, kind: str) -> None:
    """Also where a factory gives one; a store of one's own starts."""
    for name in (kind, "own"):
        app, auth = new_app(sqlite_url, kinds(tmp_path)[name], PRODUCTION)
        if name == "own":
            with serving(app, auth) as site:
                assert site.client.get("/me").status_code == 401
            continue
        with pytest.raises(ConfigError, match="is for development"), serving(app, auth):
            pass  # pragma: no cover - it does not start


def test_mistakes_say_what_to_write(sqlite_url: str) -> None:
    """What is no store, what a store cannot carry, and a store where accounts are in a database."""
    with pytest.raises(ConfigError, match="lacks: find_by_email, create, update"):
        AuthRouter(store=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"takes no user_model, enable: .* write AuthRouter\(User\)"):
        AuthRouter(User, store=Directory(), enable=["totp"])
    with pytest.raises(ConfigError, match="cookies need sessions"):
        AuthRouter(store=Directory(), jwt=JWTConfig(token_location="cookie"))
    with pytest.raises(ConfigError, match='write approval="admin"'):
        AuthRouter(store=Directory(), approval="nobody")
    with pytest.raises(ConfigError, match=r"AuthRouter\(store=...\)"):
        AuthRouter(User).use_store(Directory())
    app, auth = new_app(sqlite_url, lambda: "nothing")
    with pytest.raises(ConfigError, match="str is no UserStore"), serving(app, auth) as site:
        site.run(auth.login, "ann@example.com", PASSWORD)


# ---- the file ----------------------------------------------------------------------------------------------


def _person(number: int) -> StoredUser:
    return StoredUser(email=f"p{number}@example.com", hashed_password="!")


def _fill(path: Path, numbers: list[int]) -> None:
    """In a process of its own."""
    store = JSONUserStore(path)

    async def main() -> None:
        for number in numbers:
            await store.create(_person(number))

    asyncio.run(main())


def test_processes_that_share_a_file_lose_nothing(tmp_path: Path) -> None:
    """Each change is made in turn, and readers never see half of one."""
    path = tmp_path / "users.json"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(path, [n, n + 10, n + 20])) for n in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if path.exists():
            assert json.loads(path.read_text())["users"]
    for worker in workers:
        worker.join()
    found = json.loads(path.read_text())["users"]
    assert sorted(entry["email"] for entry in found) == sorted(
        _person(n + step).email for n in range(3) for step in (0, 10, 20)
    )
    assert len({entry["id"] for entry in found}) == 9
    assert path.stat().st_mode & 0o777 == 0o600
    assert {item.name for item in tmp_path.iterdir()} == {"users.json", "users.json.lock"}


@pytest.mark.anyio
async def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    """And left as it is; a change that fails leaves the old file."""
    path = tmp_path / "users.json"
    path.write_text('{"people": []}')
    with pytest.raises(ConfigError, match="holds no accounts"):
        await JSONUserStore(path).find_by_email("ann@example.com")
    assert path.read_text() == '{"people": []}'
    path.unlink()
    with pytest.raises(ConfigError, match=r"the folder .*missing is not there; make it"):
        JSONUserStore(tmp_path / "missing" / "users.json")
    (tmp_path / "taken.json.lock").mkdir()
    with pytest.raises(ConfigError, match=r"taken\.json\.lock cannot be written: Is a directory"):
        await JSONUserStore(tmp_path / "taken.json").create(_person(1))
    (tmp_path / "taken.json.lock").rmdir()
    store = JSONUserStore(path)
    await store.create(_person(1))
    before = path.read_bytes()
    unwritable: Any = object()
    with pytest.raises(TypeError):
        await store.update(replace(_person(1), id=unwritable))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("make", [MemoryUserStore, lambda: JSONUserStore("users.json")])
async def test_what_shipped_stores_keep(
    make: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They satisfy the protocol, give ids, and exchange only what is as it was."""
    monkeypatch.chdir(tmp_path)
    store = make()
    checked: object = store
    assert isinstance(checked, UserStore)
    await store.create(_person(1))
    with pytest.raises(Problem, match="email already"):
        await store.create(_person(1))
    kept = await store.find_by_email("p1@example.com")
    assert kept == await store.get(kept.id)
    assert await store.list_pending() == [kept]
    changed = replace(kept, approval_status="approved")
    assert await store.exchange(kept, changed) is True
    assert await store.exchange(kept, changed) is False
    await store.update(replace(changed, is_active=False))
    assert (await store.get(kept.id)).is_active is False
    await store.ensure_admin("p1@example.com", get_password_hash(PASSWORD))
    assert (await store.get(kept.id)).is_admin is False
    await store.delete(kept)
    assert await store.get(kept.id) is None
    assert "hashed_password" not in repr(kept)
