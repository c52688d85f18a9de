"""A caller who was here before is confirmed by the statement for the row; on PostgreSQL, and nobody can tell."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, Numeric, bindparam, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import HTTPConnection

from jetio import (
    Access,
    AllowWhere,
    CrudRouter,
    Database,
    Decision,
    Deny,
    Jetio,
    Policy,
    Principal,
    Recalled,
    authenticated,
    policy,
    public,
    read_only,
    rows,
)
from jetio.principal import recall_of
from jetio.security import CALLER
from jetio_auth import AuthRouter, JetioAuthMixin, JWTAuthenticator, JWTConfig, Lockout
from jetio_auth.policies import AdminOnly, Fresh, LoginRequired
from tests.auth.forum import (
    PASSWORD,
    SETTINGS,
    Comment,
    Model,
    Post,
    Site,
    User,
    bearer,
    call,
    new_base,
    serving,
)
from tests.databases import DatabaseServer
from tests.live import serve

CONFIG = JWTConfig(secret_key="a secret that both applications know, 123")
Rules = Mapping[str, Callable[[AuthRouter], Policy]]


@policy
async def unless_nine(access: Access) -> Decision:
    """A rule of an application's own."""
    return Deny() if access.item_id == 9 else AllowWhere(Post.id != 8)


PURE: Rules = {
    "signed-in": lambda auth: auth.authenticated(),
    "core": lambda auth: authenticated(),
    "accounts": lambda auth: auth.account_required(),
    "admins": lambda auth: auth.admin_only(),
    "role": lambda auth: auth.requires_role("editor", "admin"),
    "permission": lambda auth: auth.requires_permission("posts.read"),
    "scope": lambda auth: auth.requires_scope("posts:read"),
    "own": lambda auth: auth.owner(Post),
    "own-or-admin": lambda auth: auth.owner_or_admin(Post),
    "own-or-role": lambda auth: auth.owner(Post) | auth.requires_role("editor"),
    "others": lambda auth: ~auth.owner(Post) & auth.authenticated(),
    "reading": lambda auth: read_only() & auth.authenticated(),
    "no-admins": lambda auth: ~auth.admin_only() & auth.owner_or_admin(Post),
}
ASKED_IN_ORDER: Rules = {
    "function": lambda auth: unless_nine & auth.authenticated(),
    "rows": lambda auth: auth.owner(Post) | rows(lambda access: Post.published),
    "hidden": lambda auth: auth.hidden(auth.owner(Post)),
    "fresh": lambda auth: auth.fresh() & auth.owner_or_admin(Post),
    "old": lambda auth: auth.get_auth_dependency() & unless_nine,
}
RULES: Rules = {**PURE, **ASKED_IN_ORDER}
_LAST = (
    "SELECT query FROM pg_stat_activity WHERE application_name = 'recalling' AND datname = current_database() "
    "ORDER BY query_start DESC LIMIT 1"
)


def forum(database: Database) -> Any:
    """Posts under every rule, each with its author, whom the rule of accounts may hide; comments on posts."""
    app = Jetio(database=database, settings=SETTINGS, metadata=Model.metadata)
    auth = AuthRouter(
        User,
        jwt=CONFIG,
        lockout=Lockout(address_failures=10_000),
        role_permissions={"editor": ["posts.read"], "admin": ["posts.read"]},
    )
    auth.register_routes(app)
    CrudRouter(User, policy={"*": auth.self_or_admin()}).register_routes(app)
    for name, rule in RULES.items():
        embedded = ["author"] if name != "core" else []
        CrudRouter(Post, policy={"GET": rule(auth)}, load_relationships=embedded).register_routes(
            app, f"/{name}"
        )
    CrudRouter(Post, policy={"GET": public()}).register_routes(app, "/open")
    CrudRouter(Post, policy={"GET": auth.authenticated()}, load_relationships=["comments"]).register_routes(
        app, "/with-arrays"
    )
    CrudRouter(Comment, policy={"*": auth.authenticated()}).register_routes(app)
    return serving(app, auth)


class Pair:
    """Two applications of one database: one recalls callers, the other asks for each by itself."""

    def __init__(self, joined: Site, apart: Site) -> None:
        self.joined, self.apart = joined, apart
        self.people = {name: joined.person(name) for name in ("ann", "bob", "eve")}
        self.people["root"] = joined.admin()
        joined.change(self.people["eve"], role="editor")
        ann, bob = self.people["ann"].id, self.people["bob"].id
        posts = [
            {"id": key, "title": f"post {key}", "published": key % 2 == 0, "author_id": author}
            for key, author in enumerate([ann, bob, ann, self.people["root"].id, bob], 5)
        ]
        self.run(insert(Post), posts)

    def run(self, statement: Any, *values: Any) -> Any:
        """Write something, past both applications; or the first row of what is read."""

        async def write() -> Any:
            async with self.apart.app.database.engine.begin() as connection:
                found = await connection.execute(statement, *values)
                return found.mappings().first() if found.returns_rows else None

        return self.apart.run(write)

    def ask(self, path: str, headers: Mapping[str, str]) -> Any:
        """What both answer, which is the same: status, headers and body."""
        joined, apart = (site.client.get(path, headers=headers) for site in (self.joined, self.apart))
        assert joined.status_code == apart.status_code
        assert _told(joined) == _told(apart)
        return joined

    @property
    def is_joined(self) -> bool:
        """Whether the last statement asked for the caller and the row."""
        return _last_of(self.apart)


def _told(answer: Any) -> Any:
    """All of an answer but the number of the request, which problems repeat."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    if answer.status_code == 200:
        return answer.content, headers
    return {**answer.json(), "request_id": None}, {**headers, "content-length": None}


def _last_of(watching: Site) -> bool:
    """Whether the last statement of the application that recalls asked for both, by another one's connection."""

    async def last() -> str:
        async with watching.app.database.engine.connect() as connection:
            found: str = (await connection.execute(text(_LAST))).scalar_one()
            return found

    return "found.there, who.id" in watching.run(last)


@contextmanager
def paired(url: str) -> Iterator[Pair]:
    """Both, started."""
    named = {"server_settings": {"application_name": "recalling"}}
    with forum(Database(url, connect_args=named)) as joined, forum(Database(url, fast_path=False)) as apart:
        yield Pair(joined, apart)


@pytest.fixture(scope="module")
def pair(postgresql_server: DatabaseServer) -> Iterator[Pair]:
    """Both on PostgreSQL."""
    with postgresql_server.fresh_database() as url, paired(url) as pair:
        yield pair


# ---- the same answers --------------------------------------------------------------------------------------

CHANGES: Mapping[str, str] = {
    "nothing": "",
    "renamed": "UPDATE users SET username = 'renamed' WHERE id = :id",
    "another address": "UPDATE users SET email = 'other@example.com' WHERE id = :id",
    "another password": "UPDATE users SET hashed_password = 'x' WHERE id = :id",
    "deactivated": "UPDATE users SET is_active = false WHERE id = :id",
    "promoted": "UPDATE users SET is_admin = true WHERE id = :id",
    "demoted": "UPDATE users SET is_admin = false WHERE id = :id",
    "made an editor": "UPDATE users SET role = 'editor' WHERE id = :id",
    "a member again": "UPDATE users SET role = 'member' WHERE id = :id",
    "older": "UPDATE users SET age = age + 1 WHERE id = :id",
    "logged out": "UPDATE jetio_auth_users_sessions SET ended = 1 WHERE user_id = :id",
    "session too old": "UPDATE jetio_auth_users_sessions SET expires = 1 WHERE user_id = :id",
}
BACK = (
    "UPDATE users SET username = :username, email = :email, hashed_password = :hashed_password, role = :role, "
    "is_active = :is_active, is_admin = :is_admin, age = :age WHERE id = :id"
)
SESSION_BACK = "UPDATE jetio_auth_users_sessions SET ended = NULL, expires = :expires WHERE user_id = :id"
KEYS = ("5", "6", "7", "8", "9", "404", "05", "x", "99999999999999999999", "5?x=1")


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rule=st.sampled_from([*RULES, "open", "with-arrays"]),
    name=st.sampled_from(["ann", "bob", "eve", "root", "nobody", "stranger"]),
    change=st.sampled_from([*CHANGES]),
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3),
    known=st.booleans(),
)
def test_both_orders_give_the_same_answer(
    pair: Pair, rule: str, name: str, change: str, keys: list[str], known: bool
) -> None:
    """Whatever the rule, the caller and the row, and whatever happened since the caller was here."""
    person = pair.people.get(name)
    headers = {} if name == "nobody" else bearer("no.such.token") if person is None else person.headers
    if known:
        pair.ask(f"/{rule}/posts/5", headers)
    if person is not None and CHANGES[change]:
        before = pair.run(text("SELECT * FROM users WHERE id = :id"), {"id": person.id})
        sessions = pair.run(
            text("SELECT * FROM jetio_auth_users_sessions WHERE user_id = :id"), {"id": person.id}
        )
        pair.run(text(CHANGES[change]), {"id": person.id})
    try:
        for key in keys:
            pair.ask(f"/{rule}/posts/{key}", headers)
    finally:
        if person is not None and CHANGES[change]:
            pair.run(text(BACK), dict(before))
            pair.run(text(SESSION_BACK), {"expires": sessions["expires"], "id": person.id})
    pair.ask(f"/{rule}/posts/{keys[0]}", headers)


# ---- one statement -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", PURE)
def test_one_statement_asks_for_a_known_caller_and_the_row(pair: Pair, rule: str) -> None:
    """From the second request on, where the rule follows from the caller alone and lets him try."""
    for name in ("ann", "eve", "root"):
        headers = pair.people[name].headers
        pair.ask("/signed-in/posts/5", headers)
        answer = pair.ask(f"/{rule}/posts/5", headers)
        assert pair.is_joined is (answer.status_code in (200, 404)), (rule, name, answer.status_code)


@pytest.mark.parametrize("rule", [*ASKED_IN_ORDER, "open", "with-arrays"])
def test_other_rows_are_read_when_the_caller_is_known(pair: Pair, rule: str) -> None:
    """Rules that an application wrote are asked about nobody whom the database has not confirmed."""
    headers = pair.people["ann"].headers
    for _ in range(3):
        pair.ask(f"/{rule}/posts/5", headers)
        assert not pair.is_joined


def test_the_first_request_of_a_token_asks_in_order(pair: Pair) -> None:
    """Nobody is remembered yet. So does the first after a change of what callers are made of, which an age is not."""
    ann = pair.joined.person("new")
    seen = []
    for _ in range(3):
        pair.ask("/signed-in/posts/5", ann.headers)
        seen.append(pair.is_joined)
    for changed in ({"role": "guest"}, {"age": 50}):
        pair.joined.change(ann, **changed)
        for _ in range(2):
            pair.ask("/signed-in/posts/5", ann.headers)
            seen.append(pair.is_joined)
    assert seen == [False, True, True, False, True, True, True]


def test_queries_are_refused_in_order(pair: Pair) -> None:
    """What stands in a query string is judged after the caller is known."""
    headers = pair.people["ann"].headers
    pair.ask("/signed-in/posts/5", headers)
    assert pair.ask("/signed-in/posts/5?x=1", headers).status_code == 422
    assert pair.ask("/signed-in/posts/5?x=1", bearer("no.such.token")).status_code == 401


@pytest.mark.parametrize("subject", ["id", "email"])
def test_accounts_with_other_keys_are_recalled(postgresql_url: str, subject: Any) -> None:
    """Whatever a token names its account by."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        username: Mapped[str] = mapped_column(unique=True)
        email: Mapped[str] = mapped_column(unique=True)

    class Card(base):
        owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"))
        money: Mapped[Decimal] = mapped_column(Numeric(12, 2))

    named = {"server_settings": {"application_name": "recalling"}}
    app = Jetio(
        database=Database(postgresql_url, connect_args=named), settings=SETTINGS, metadata=base.metadata
    )
    auth = AuthRouter(Member, jwt=replace(CONFIG, subject=subject))
    auth.register_routes(app)
    CrudRouter(Card, policy={"*": auth.owner(Card)}).register_routes(app)
    with serving(app, auth) as site, forum(Database(postgresql_url, fast_path=False)) as apart:
        ann, bob = site.person("ann"), site.person("bob")
        card = ann.post("/cards", {"money": "12.50"}).json()
        for _ in range(3):
            assert ann.get("/cards/1").json() == card
            assert _last_of(apart) is True
            assert bob.get("/cards/1").status_code == 404


def test_a_caller_who_is_known_before_is_asked_for_no_more(pair: Pair) -> None:
    """What a layer before the application has found out stands above the token."""
    ann, bob = pair.people["ann"], pair.people["bob"]
    assert pair.ask("/own/posts/5", ann.headers).status_code == 200

    async def layered(scope: Any, receive: Any, send: Any) -> None:
        found = Principal(id=bob.id, sub=str(bob.id))
        await pair.joined.app({**scope, "jetio.principal": found}, receive, send)

    assert pair.joined.run(call, layered, "GET", "/own/posts/5", headers=ann.headers).status == 404


def test_who_was_refused_is_remembered_no_more(pair: Pair) -> None:
    """The database is asked for the row no second time in the name of a token that has ended."""
    ann = pair.joined.person("gone")
    recall, database = pair.joined.auth.authenticator.recall, pair.joined.app.database
    header = (b"authorization", f"Bearer {ann.token}".encode())
    connection = HTTPConnection({"type": "http", "headers": [header]})
    pair.ask("/signed-in/posts/5", ann.headers)
    recalled = recall(connection, database.unit_of_work())
    assert recalled is not None
    assert recalled.principal.id == ann.id
    pair.joined.change(ann, is_active=False)
    assert pair.ask("/signed-in/posts/5", ann.headers).status_code == 401
    assert recall(connection, database.unit_of_work()) is None
    pair.joined.change(ann, is_active=True)
    assert pair.ask("/signed-in/posts/5", ann.headers).status_code == 200


def test_a_token_ends_at_its_time(pair: Pair) -> None:
    """Also one whose session lasts."""
    ann = pair.joined.person("short")
    assert pair.ask("/signed-in/posts/5", ann.headers).status_code == 200
    with time_machine.travel(time.time() + CONFIG.token_expiry + 10):
        answer = pair.ask("/signed-in/posts/5", ann.headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


class ByName:
    """An application's own way to find callers; it remembers whoever writes to it, and tells who was asked for."""

    user_model = None
    schemes: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.asked: list[Principal | None] = []

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        self.asked.append(CALLER.get())
        return None

    def recall(self, connection: Any, work: Any) -> Recalled | None:
        name, remembered = connection.headers["x-name"], connection.headers.get("x-remembered")
        clauses = User.username == bindparam("k_id"), User.role.in_(["member", "editor"]), User.age == 18
        query = work.database.shaped("by name", lambda: select(User.username).where(*clauses))
        return Recalled(Principal(id=None, sub=name), query, {"k_id": name}, (remembered or name,))

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


@pytest.fixture
def by_name(postgresql_url: str) -> Iterator[tuple[Site, Jetio, ByName, str]]:
    """The forum with one post, an application over it with callers of its own, and somebody's name."""
    finder = ByName()
    with forum(Database(postgresql_url, pool_size=1, pool_timeout=0.1)) as site:
        ann = site.person("ann")
        app = Jetio(database=site.app.database, settings=SETTINGS, metadata=Model.metadata)
        app.use_authenticator(finder)
        CrudRouter(Post, policy={"GET": authenticated(), "*": read_only()}).register_routes(app)

        async def write() -> None:
            async with site.app.database.engine.begin() as connection:
                await connection.execute(
                    insert(Post), [{"id": 1, "title": "a", "published": True, "author_id": ann.id}]
                )

        site.run(write)
        yield site, app, finder, ann.username


def test_an_authenticator_of_an_application_may_recall(by_name: tuple[Site, Jetio, ByName, str]) -> None:
    """Its question keeps its values, whatever the names of its parameters are; a confirmed caller is not asked for."""
    site, app, finder, name = by_name
    answer = site.run(call, app, "GET", "/posts/1", headers={"x-name": name})
    assert (answer.status, json.loads(answer.body)["title"]) == (200, "a")
    assert finder.asked == []


def test_who_is_not_confirmed_is_nobody(by_name: tuple[Site, Jetio, ByName, str]) -> None:
    """Whether no row is found or another one; the answer is about whom the authenticator then finds."""
    site, app, finder, name = by_name
    for headers in ({"x-name": "stranger"}, {"x-name": name, "x-remembered": "another"}):
        answer = site.run(call, app, "GET", "/posts/1", headers=headers)
        assert (answer.status, answer.code) == (401, "not_authenticated")
    assert finder.asked == [None, None]


def test_a_database_that_is_away_is_asked_once(by_name: tuple[Site, Jetio, ByName, str]) -> None:
    """A second question would wait as long as the first."""
    site, app, finder, name = by_name

    async def held() -> Any:
        async with site.app.database.engine.connect():
            return await call(app, "GET", "/posts/1", headers={"x-name": name})

    assert site.run(held).status == 503
    assert finder.asked == []


def test_questions_are_joined_where_one_driver_answers_both() -> None:
    """Not on SQLite, where a statement costs no journey; not through sessions, nor where replicas have the rows."""
    postgresql = "postgresql+asyncpg://postgres@127.0.0.1/none"
    assert Database(postgresql).joins_questions
    assert not Database(postgresql, fast_path=False).joins_questions
    assert not Database(postgresql, replicas=[postgresql]).joins_questions
    assert not Database("postgresql+psycopg://postgres@127.0.0.1/none").joins_questions
    assert not Database("sqlite+aiosqlite:///none.db").joins_questions
    assert not Database("mysql+asyncmy://root@127.0.0.1/none").joins_questions


# ---- whom the database does not confirm ---------------------------------------------------------------------

SOURCE = """
import logging
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("sqlalchemy").setLevel(logging.WARNING)  # else all goes through sessions, and nothing is joined
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from jetio import CrudRouter, Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin

class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    is_active: Mapped[bool] = mapped_column(default=True)

class Secret(JetioModel):
    text: Mapped[str]

app = Jetio()
auth = AuthRouter(User)
auth.register_routes(app)
CrudRouter(Secret, policy={"POST": auth.public(), "GET": auth.authenticated()}).register_routes(app)
CrudRouter(Secret, policy={"GET": auth.admin_only()}).register_routes(app, "/admins")

@app.post("/change")
async def change(values: str, name: str, session: AsyncSession) -> None:
    await session.execute(text(f"UPDATE users SET {values} WHERE username = '{name}'"))

@app.get("/joins")
async def joins() -> bool:
    return app.database.joins_questions

@app.post("/remove")
async def remove(name: str, session: AsyncSession) -> None:
    await session.execute(text(f"DELETE FROM users WHERE username = '{name}'"))
"""
HIDDEN = "what nobody else may read"


@pytest.fixture(scope="module")
def server(postgresql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Secrets behind accounts, under uvicorn; everything is logged."""
    with postgresql_server.fresh_database() as url:
        env = {"DATABASE_URL": url, "JETIO_ENV": "test"}
        with serve(tmp_path_factory.mktemp("recalled"), source=SOURCE, env=env) as server:
            assert server.client.get("/joins").json() is True
            assert server.client.post("/secrets", json={"text": HIDDEN}).status_code == 201
            yield server


def signed(server: Any, name: str, password: str = PASSWORD) -> dict[str, str]:
    """The credential of an account, which is made where it is not there; the server has seen it twice."""
    body = {"username": name, "email": f"{name}@example.com", "password": password}
    server.client.post("/register", json=body)
    del body["email"]
    headers = bearer(server.client.post("/login", json=body).json()["access_token"])
    for _ in range(2):
        assert server.client.get("/secrets/1", headers=headers).json() == {"id": 1, "text": HIDDEN}
    return headers


def refusal(server: Any, headers: Mapping[str, str], path: str = "/secrets/1") -> tuple[int, str]:
    """Status and code of a refusal, which holds nothing of the row, nor of whether there is one."""
    logged = len(server.log)
    answers = [server.client.get(item, headers=headers) for item in (path, path, path.replace("1", "404"))]
    for answer in answers:
        assert HIDDEN not in answer.text + str(answer.headers)
    assert HIDDEN not in server.log[logged:]
    told = [{**answer.json(), "request_id": None, "instance": None} for answer in answers]
    assert told[0] == told[1] == told[2]
    return answers[0].status_code, told[0]["code"]


def test_a_session_that_has_ended_reads_nothing(server: Any) -> None:
    """Logging out is known at the very next request."""
    headers = signed(server, "lou")
    assert server.client.post("/logout", headers=headers).status_code < 300
    assert refusal(server, headers) == (401, "token_revoked")


def change(server: Any, name: str, **values: str) -> None:
    """Write columns of an account, as whoever has the database would."""
    told = ", ".join(f"{column} = {value}" for column, value in values.items())
    assert server.client.post("/change", params={"values": told, "name": name}).status_code == 204


def test_an_account_that_is_gone_reads_nothing(server: Any) -> None:
    """Its tokens end with it."""
    headers = signed(server, "amy")
    assert server.client.post("/remove", params={"name": "amy"}).status_code == 204
    assert refusal(server, headers) == (401, "token_revoked")


def test_an_account_that_is_switched_off_reads_nothing_until_it_is_on_again(server: Any) -> None:
    """Switched on again, the token stands for its account as before."""
    headers = signed(server, "dan")
    change(server, "dan", is_active="false")
    assert refusal(server, headers) == (401, "token_revoked")
    change(server, "dan", is_active="true")
    for _ in range(2):
        assert server.client.get("/secrets/1", headers=headers).json() == {"id": 1, "text": HIDDEN}


def test_another_password_ends_what_was_signed_for_the_one_before(server: Any) -> None:
    """The token carries the epoch of its password."""
    headers = signed(server, "pia")
    change(server, "pia", hashed_password="'another'")
    assert refusal(server, headers) == (401, "token_revoked")


def test_an_admin_who_is_none_any_more_reads_what_others_read(server: Any) -> None:
    """The rule is asked about the present account; who is made an admin is one at the next request."""
    headers = signed(server, "kim")
    assert refusal(server, headers, "/admins/secrets/1") == (403, "forbidden")
    change(server, "kim", is_admin="true")
    for _ in range(2):
        assert server.client.get("/admins/secrets/1", headers=headers).json()["text"] == HIDDEN
    change(server, "kim", is_admin="false")
    assert refusal(server, headers, "/admins/secrets/1") == (403, "forbidden")
    assert server.client.get("/secrets/1", headers=headers).status_code == 200


def test_who_is_renamed_stays_who_he_is(server: Any) -> None:
    """The token names the key."""
    headers = signed(server, "rob")
    change(server, "rob", username="'anna'")
    for _ in range(2):
        assert server.client.get("/secrets/1", headers=headers).json() == {"id": 1, "text": HIDDEN}


def test_an_authenticator_below_ours_is_asked_by_its_own_word() -> None:
    """A class that identifies in a way of its own inherits no memory of callers."""

    class Stricter(JWTAuthenticator):
        async def identify(self, connection: Any, work: Any) -> Principal | None:
            return None

    class Same(JWTAuthenticator):
        """Nothing of its own."""

    assert recall_of(object.__new__(Stricter)) is None
    assert recall_of(None) is None
    assert recall_of(object.__new__(Same)) is not None


# ---- rules that may be asked about the remembered -----------------------------------------------------------


def test_a_rule_says_of_itself_that_it_is_pure() -> None:
    """What an application writes is not, also where it stands on a rule of ours, or one is mixed into it."""

    class Asking:
        async def __call__(self, access: Access) -> Decision:
            raise NotImplementedError

    class Own(Policy):
        async def __call__(self, access: Access) -> Decision:
            raise NotImplementedError

    class Stricter(AdminOnly):
        async def __call__(self, access: Access) -> Decision:
            raise NotImplementedError

    class Mixed(Asking, AdminOnly):
        """The word of the class that is mixed in."""

    class Named(AdminOnly):
        """Another name for the same."""

    told = [kind.is_pure for kind in (Policy, Own, Stricter, Mixed, Fresh, AdminOnly, Named, LoginRequired)]
    assert told == [False, False, False, False, False, True, True, True]


def test_a_combination_is_as_pure_as_its_parts() -> None:
    """One part that is not is enough."""
    pure = AdminOnly()
    assert all(rule.is_pure for rule in (pure & pure, pure | pure, ~pure, ~(pure & ~pure)))
    assert not any(rule.is_pure for rule in (pure & unless_nine, unless_nine | pure, ~unless_nine))
