"""Rules: how decisions combine, what callers see, and what may be given as a rule."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, false, insert, select, text, true
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from jetio import (
    Access,
    Allow,
    AllowWhere,
    ConfigError,
    Decision,
    Deny,
    Depends,
    Jetio,
    JetioModel,
    Policy,
    PolicyContext,
    Principal,
    Problem,
    authenticated,
    policy,
    public,
    read_only,
    rows,
)
from jetio.policy import as_policy
from jetio.testing import TestClient
from tests.core.apps import ask, make_app
from tests.registries import own_registry


class Own(JetioModel):
    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Row(Own):
    p: Mapped[bool | None]
    q: Mapped[bool | None]
    n: Mapped[int | None]


ANN = Principal(id=1, sub="1")
SIGNED_IN = authenticated()


def access(principal: Principal | None = ANN, **about: Any) -> Access:
    """A question about nothing in particular."""
    app = make_app()
    scope = {"type": "http", "method": "GET", "headers": [], "path": "/", "query_string": b""}
    return Access(HTTPConnection(scope), principal, app.database.unit_of_work(), **about)


def decide(rule: Policy, principal: Principal | None = ANN, **about: Any) -> Decision:
    return anyio.run(rule, access(principal, **about))


# ---- the algebra ---------------------------------------------------------------------------------

VALUES = [
    {"p": p, "q": q, "n": n}
    for p, q, n in itertools.product([True, False, None], [True, False, None], [0, 1, None])
]

# Each clause in SQL, and its truth for a row: SQL's third value, unknown, is not true.
CLAUSES: list[tuple[Any, Callable[[dict[str, Any]], bool]]] = [
    (Row.p, lambda row: row["p"] is True),
    (Row.p == true(), lambda row: row["p"] is True),
    (Row.p.is_(None), lambda row: row["p"] is None),
    (~Row.p, lambda row: row["p"] is False),
    (Row.p == Row.q, lambda row: row["p"] is not None and row["p"] == row["q"]),
    (Row.p.isnot_distinct_from(Row.q), lambda row: row["p"] == row["q"]),
    (Row.n > 0, lambda row: row["n"] is not None and row["n"] > 0),
    (Row.n.in_([1, 2]), lambda row: row["n"] == 1),
    (Row.n.notin_([1, 2]), lambda row: row["n"] == 0),
    (Row.p | Row.q, lambda row: row["p"] is True or row["q"] is True),
    (Row.p & Row.q, lambda row: row["p"] is True and row["q"] is True),
    (select(Row.id).where(Row.n == 7).exists(), lambda row: False),
    (true(), lambda row: True),
    (false(), lambda row: False),
]

leaves = st.one_of(
    st.just("allow"),
    st.just("deny"),
    st.tuples(st.integers(0, len(CLAUSES) - 1), st.integers(0, len(CLAUSES) - 1)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("&"), inner, inner),
        st.tuples(st.just("|"), inner, inner),
        st.tuples(st.just("~"), inner),
    ),
    max_leaves=12,
)


def rule_of(tree: Any) -> Policy:
    """The rule that a tree stands for."""
    if tree == "allow":
        return public()
    if tree == "deny":
        return policy(lambda access: Deny())
    if tree[0] == "~":
        return ~rule_of(tree[1])
    if tree[0] in ("&", "|"):
        first, second = rule_of(tree[1]), rule_of(tree[2])
        return first & second if tree[0] == "&" else first | second
    return policy(lambda access: AllowWhere(CLAUSES[tree[0]][0], check=CLAUSES[tree[1]][0]))


def truth(tree: Any, row: dict[str, Any], side: int) -> bool:
    """What two-valued logic says of a row; `side` 0 asks the clauses, 1 the checks."""
    if tree in ("allow", "deny"):
        return bool(tree == "allow")
    if tree[0] == "~":
        return not truth(tree[1], row, side)
    if tree[0] in ("&", "|"):
        both = [truth(part, row, side) for part in tree[1:]]
        return all(both) if tree[0] == "&" else any(both)
    return CLAUSES[tree[side]][1](row)


@pytest.fixture(scope="module")
def table() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        Own.metadata.create_all(connection)
        connection.execute(insert(Row), [{"id": number, **row} for number, row in enumerate(VALUES)])
        yield connection
    engine.dispose()


@settings(max_examples=150, deadline=None)
@given(tree=trees)
def test_combined_rules_are_two_valued_whatever_is_null(table: Connection, tree: Any) -> None:
    """`&`, `|` and `~` of any depth admit exactly the rows that plain logic admits, in clauses and checks."""
    decision = decide(rule_of(tree))
    for side in (0, 1):
        admitted = {number for number, row in enumerate(VALUES) if truth(tree, row, side)}
        if isinstance(decision, AllowWhere):
            clause = (decision.clause, decision.check)[side]
            assert set(table.scalars(select(Row.id).where(clause))) == admitted
        else:
            assert admitted == (set(range(len(VALUES))) if isinstance(decision, Allow) else set())


def test_who_is_refused_by_a_negation_is_not_let_in_by_signing_out() -> None:
    """`~` swaps what a known caller gets; of an anonymous one it never makes a permission."""
    assert isinstance(decide(~authenticated(), None), Deny)
    assert isinstance(decide(~authenticated()), Deny)
    assert isinstance(decide(~~authenticated(), None), Deny)
    assert isinstance(decide(~policy(lambda access: Deny()), None), Deny)
    assert isinstance(decide(~policy(lambda access: Deny())), Allow)
    assert isinstance(decide(~public(), None), Deny)
    refusing = as_policy(lambda request: None)
    for principal in (ANN, None):
        decision = decide(~refusing, principal)
        assert isinstance(decision, Deny)
        with pytest.raises(Problem) as caught:
            decision.raise_for(principal)
        assert caught.value.status == 401


def test_the_second_rule_is_asked_only_where_it_matters() -> None:
    """`&` stops at a refusal, `|` at a permission."""
    asked: list[str] = []

    def telling(name: str, decision: Decision) -> Policy:
        def rule(access: Access) -> Decision:
            asked.append(name)
            return decision

        return policy(rule)

    deny, allow = telling("deny", Deny()), telling("allow", Allow())
    for rule in (deny & allow, allow | deny, allow & deny, deny | allow):
        decide(rule)
        asked.append("|")
    assert "".join(name[0] for name in asked) == "d|a|ad|da|"


@pytest.mark.parametrize(
    ("principal", "status", "code", "detail"),
    [
        (None, 401, "not_authenticated", "Missing or invalid Authorization header"),
        (ANN, 403, "role_required", "Editors only"),
    ],
)
def test_a_refusal_is_401_for_a_stranger_and_403_with_its_reason_for_others(
    principal: Principal | None, status: int, code: str, detail: str
) -> None:
    """The first refusal of an AND is told, and of an OR the first, too."""
    refusal = policy(lambda access: Deny("role_required", "Editors only"))
    other = policy(lambda access: Deny("other", "Other"))
    for rule in (refusal, refusal & other, refusal | other, public() & refusal):
        decision = decide(rule, principal)
        assert isinstance(decision, Deny)
        with pytest.raises(Problem) as caught:
            decision.raise_for(principal)
        assert (caught.value.status, caught.value.code, caught.value.detail) == (status, code, detail)


def test_a_refusal_may_bring_its_own_problem() -> None:
    """Whoever asks; one that is kept as a constant gathers no stack."""
    refusal = Deny(problem=Problem(402, "payment_required"))
    for _ in range(3):
        with pytest.raises(Problem) as caught:
            refusal.raise_for(None)
        assert (caught.value.status, len(caught.traceback)) == (402, 2)


async def test_what_is_made_of_lasting_decisions_lasts() -> None:
    """A rule gives one decision for the same two again, and makes a new one of those that are new each time."""
    kept, given = AllowWhere(Row.p, lasting=True), AllowWhere(Row.q, lasting=True)
    fresh = policy(lambda access: AllowWhere(Row.q))
    one, two = policy(lambda access: kept), policy(lambda access: given)
    for rule in (one & two, one | two, ~one, ~(one & two) | one):
        assert await rule(access()) is await rule(access())
    for rule in (one & fresh, fresh | two, ~fresh):
        assert await rule(access()) is not await rule(access())
    assert await (one & policy(lambda access: Allow()))(access()) is kept


async def test_what_is_made_of_passing_decisions_is_not_kept() -> None:
    """A rule beside one that refuses each caller with a Deny of its own keeps nothing of any of them."""
    kept = AllowWhere(Row.p, lasting=True)
    owner, refusing = policy(lambda access: kept), policy(lambda access: Deny())
    for rule in (owner | refusing, refusing | owner, ~refusing):
        decisions = [await rule(access()) for _ in range(3)]
        assert len({*decisions}) == 1
        assert not rule._made  # type: ignore[attr-defined]
    rule = owner | owner
    assert await rule(access()) is await rule(access())


def test_decisions_and_rules_can_be_read() -> None:
    """In logs and in `jetio access`."""
    assert [repr(item) for item in (Allow(), Deny("x"), AllowWhere(Row.n > 0))] == [
        "Allow()",
        "Deny('x')",
        "AllowWhere(rows.n > :n_1)",
    ]

    @policy
    async def editors(access: Access) -> Decision:
        return Allow()

    def owners(access: Access) -> Decision:
        return Allow()

    rule = editors & owners | ~public() & functools.partial(owners)
    assert repr(rule) == "((editors & owners) | (~public & partial))"
    assert repr(owners & editors) == "(owners & editors)"  # type: ignore[operator]  # a plain function on the left
    assert repr((lambda request: None) | read_only()) == "(<lambda> | readonly)"  # type: ignore[operator]


def test_a_clause_is_what_sqlalchemy_takes_for_one() -> None:
    """Attributes and constants, too; text is none."""
    assert str(AllowWhere(Row.p).clause.compile()) == "rows.p"
    assert AllowWhere(Row.n > 0).check is not None
    with pytest.raises(Exception, match="Textual SQL expression"):
        AllowWhere("1 = 1")  # type: ignore[arg-type]


# ---- what may be given ---------------------------------------------------------------------------


class Tenant(Policy):
    def __init__(self) -> None:
        self.bound: list[Any] = []

    async def __call__(self, access: Access) -> Decision:
        return AllowWhere(Row.n == 1)

    def bind(self, context: PolicyContext) -> Policy:
        self.bound.append(context.model)
        return Tenant()


class Callable_:
    async def __call__(self, access: Access) -> Decision:
        return Allow()


def test_a_rule_is_an_object_a_function_or_a_dependency_of_old() -> None:
    """Async or not; anything that returns no Decision lets nobody in."""
    for allowed in (
        public(),
        lambda access: Allow(),
        Callable_(),
        policy(lambda access: Allow()),
        lambda who, more=1: Allow(),
    ):
        assert isinstance(decide(as_policy(allowed)), Allow)
    for wrong in (lambda access: True, lambda access: None, lambda access: Row.p):
        with pytest.raises(TypeError, match=r"returned a .*; return Allow\(\), Deny\(\) or AllowWhere"):
            decide(as_policy(wrong))
    for no_rule in (
        None,
        5,
        "admin",
        Tenant,
        lambda: None,
        lambda a, b: None,
        lambda request, other: None,
        min,
    ):
        with pytest.raises(ConfigError):
            as_policy(no_rule)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        decide(Policy())


def test_the_ready_made_rules() -> None:
    """public, authenticated, read_only, rows."""
    assert isinstance(decide(public(), None), Allow)
    assert [type(decide(authenticated(), who)) for who in (ANN, None)] == [Allow, Deny]
    assert [type(decide(read_only(), verb=verb)) for verb in ("GET", "HEAD", "POST", "DELETE")] == [
        Allow,
        Allow,
        Deny,
        Deny,
    ]
    decision = decide(rows(lambda access: Row.n == access.principal.id if access.principal else false()))
    assert isinstance(decision, AllowWhere)
    assert str(decision.clause) == "rows.n = :n_1"


def test_combinations_know_what_their_parts_need() -> None:
    """The authenticator of any part, whether anybody must be known, whether a stranger may pass."""

    class Finder(Policy):
        authenticator = object()  # type: ignore[assignment]  # only its identity counts

    for rule in (Finder() & public(), public() | Finder(), ~Finder()):
        assert rule.authenticator is Finder.authenticator
    needing = [
        authenticated(),
        ~authenticated(),
        authenticated() & public(),
        rows(lambda access: true()) | authenticated(),
    ]
    assert [rule.needs_caller for rule in (*needing, public(), read_only())] == [True] * 4 + [False] * 2
    both, either = public() & authenticated(), public() | authenticated()
    asked = (public(), authenticated(), both, either, ~public())
    assert [rule.admits_anonymous for rule in asked] == [True, False, False, True, True]


def test_a_question_can_be_asked_about_another_model() -> None:
    """For embedded rows and references: the same caller, reading."""
    first = access(action="create", verb="POST", item_id="7")
    second = first.towards(Row, "retrieve")
    assert (second.principal, second.work, second.request) == (first.principal, first.work, first.request)
    assert (second.model, second.action, second.verb, second.item_id) == (Row, "retrieve", "GET", None)


# ---- on handlers ---------------------------------------------------------------------------------


class HeaderFinder:
    """The caller is whom `x-user` names; an unknown one is refused."""

    user_model = None
    schemas = ()

    def __init__(self, header: str = "x-user") -> None:
        self.header, self.asked = header, 0

    async def identify(self, connection: HTTPConnection, work: Any) -> Principal | None:
        self.asked += 1
        name = connection.headers.get(self.header)
        if name == "bad":
            raise Problem(401, "token_expired")
        return None if name is None else Principal(id=name, sub=name, is_admin=name == "root")

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


@dataclasses.dataclass  # equality without a hash
class AdminOnly(Policy):
    code: str = "admins_only"

    async def __call__(self, access: Access) -> Decision:
        return Allow() if access.principal is not None and access.principal.is_admin else Deny(self.code)


@pytest.fixture
def app() -> Jetio:
    app = make_app()
    app.use_authenticator(HeaderFinder())
    return app


def test_a_rule_stands_before_the_arguments_and_the_body(app: Jetio) -> None:
    """401 and 403 come before 404, 413, 415 and 422; the caller is found out once."""

    @app.post("/{n}", policy=AdminOnly(), max_body=10)
    async def handler(n: int, given: dict[str, int], who: Principal, again: Principal | None) -> Any:
        return [who.id, who is again]

    wrong: dict[str, Any] = {"content": b"x" * 100, "headers": {}}
    assert ask(app, "/x", "POST", **wrong).status_code == 401
    refused = ask(app, "/x", "POST", content=b"x" * 100, headers={"x-user": "ann"})
    assert (refused.status_code, refused.json()["code"]) == (403, "admins_only")
    assert (
        ask(app, "/x", "POST", content=b"x" * 100, headers={"x-user": "bad"}).json()["code"]
        == "token_expired"
    )
    finder: Any = app.authenticator
    finder.asked = 0
    assert ask(app, "/1", "POST", json={"a": 1}, headers={"x-user": "root"}).json() == ["root", True]
    assert finder.asked == 1
    assert ask(app, "/1", "POST", content=b"x" * 100, headers={"x-user": "root"}).status_code == 413


async def test_nothing_is_received_from_a_stranger(app: Jetio) -> None:
    """An anonymous caller never makes the server take a body that needs login."""

    async def must_not_be_asked() -> Any:
        raise AssertionError("the body was asked for")

    async def receive() -> Any:
        return await must_not_be_asked()

    async def later(request: Any) -> None:
        await request.body()

    @app.post("/rule", policy=authenticated())
    async def by_rule(given: dict[str, int], _: None = Depends(later)) -> Any: ...

    @app.post("/principal")
    async def by_principal(given: dict[str, int], who: Principal) -> Any: ...

    @app.post("/depends")
    async def by_dependency(given: dict[str, int], who: Any = Depends(SIGNED_IN)) -> Any: ...

    async def inner(who: Any = Depends(SIGNED_IN)) -> Any: ...

    @app.post("/nested")
    async def nested(given: dict[str, int], who: Any = Depends(inner)) -> Any: ...

    for path in ("/rule", "/principal", "/depends", "/nested"):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
        }  # fmt: skip
        await app(scope, receive, send)
        assert sent[0]["status"] == 401, path


def test_every_rule_of_a_handler_is_asked(app: Jetio) -> None:
    """One in the route, one that gives the caller and one that gives nothing: each may refuse, in this order."""
    asked: list[str] = []

    def named(name: str) -> Policy:
        async def rule(access: Access) -> Decision:
            asked.append(f"{name} {access.principal and access.principal.id}")
            return Deny(name) if access.request.headers.get("x-refuse") == name else Allow()

        return policy(rule)

    second, third = named("second"), named("third")

    @app.get("/", policy=named("first"))
    async def handler(who: Any = Depends(second), more: Any = Depends(third)) -> Any:
        return who.id

    assert ask(app, "/", headers={"x-user": "ann"}).json() == "ann"
    assert asked == ["first ann", "second ann", "third ann"]
    for number, name in enumerate(("first", "second", "third"), 1):
        asked.clear()
        refused = ask(app, "/", headers={"x-user": "ann", "x-refuse": name})
        assert (refused.status_code, refused.json()["code"]) == (403, name)
        assert len(asked) == number


def test_the_matrix_says_what_each_caller_may(app: Jetio) -> None:
    """One word for each role too; `deny` where a rule raises a refusal, `asks` where it needs a real request."""

    async def editors(access: Access) -> Decision:
        return Allow() if access.principal is not None and access.principal.has_role("editor") else Deny()

    async def raising(access: Access) -> Decision:
        raise Problem(404 if access.principal is None else 429, "no")

    async def reading(access: Access) -> Decision:
        return Allow() if access.request.headers["x-door"] == "open" else Deny()

    rules = {"/editors": editors, "/raising": raising, "/reading": reading}
    for path, rule in rules.items():

        async def handler() -> None: ...

        app.get(path, policy=policy(rule))(handler)

    @app.get("/both", policy=policy(reading) & policy(editors))
    async def both() -> None: ...

    found = {row.path: dict(row.callers) for row in app.access_matrix(roles=["editor"])}
    assert found["/editors"] == {"anonymous": "deny", "user": "deny", "admin": "deny", "editor": "allow"}
    assert found["/raising"] == {"anonymous": "deny", "user": "asks", "admin": "asks", "editor": "asks"}
    assert set(found["/reading"].values()) == set(found["/both"].values()) == {"asks"}


def test_depends_on_a_rule_gives_the_caller(app: Jetio) -> None:
    """The principal, or the row where the authenticator loads it; every rule is asked once."""
    asked: list[str] = []

    async def counted(access: Access) -> Decision:
        asked.append(f"{access.verb} {access.action} {access.item_id}")
        return Allow()

    rule = policy(counted)

    async def inner(who: Any = Depends(rule)) -> Any:
        return who

    @app.get("/things/{id}", policy=rule)
    async def handler(id: int, a: Any = Depends(rule), b: Any = Depends(inner)) -> Any:
        return [a and a.id, b is a]

    assert ask(app, "/things/7", headers={"x-user": "ann"}).json() == ["ann", True]
    assert ask(app, "/things/7").json() == [None, True]
    assert asked == ["GET handler 7"] * 2

    class Loading(HeaderFinder):
        async def load_user(self, principal: Principal, work: Any) -> Any:
            return f"row of {principal.id}"

    second = make_app()
    second.use_authenticator(Loading())
    second.get("/")(inner)
    assert ask(second, "/", headers={"x-user": "ann"}).json() == "row of ann"


def test_a_dependency_that_gives_a_rule_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its decision was forgotten: nobody gets in, and the log says why."""
    app = make_app()

    @app.get("/")
    async def handler(who: Any = Depends(lambda: authenticated())) -> Any:
        return "open"

    assert ask(app, "/").status_code == 500
    assert "gave a rule where its decision is needed" in caplog.text


def test_a_rule_may_know_its_own_way_to_the_caller() -> None:
    """Then the application needs none."""

    class OtherWay(Policy):
        authenticator = HeaderFinder("x-other")  # type: ignore[assignment]  # it has all that is asked for

        async def __call__(self, access: Access) -> Decision:
            return Allow() if access.principal is not None else Deny()

    app = make_app()
    app.get("/", policy=OtherWay())(lambda who: 1)
    plain = make_app()

    @plain.get("/", policy=OtherWay())
    async def handler(who: Principal) -> Any:
        return who.id

    assert ask(plain, "/", headers={"x-other": "ann"}).json() == "ann"
    assert ask(plain, "/").status_code == 401


def test_rules_are_bound_once_at_build() -> None:
    """On a handler the context has no model; inside combinations and Depends, too."""
    rules = [Tenant() for _ in range(4)]

    async def handler(who: Any = Depends(rules[3])) -> Any: ...

    app = make_app()
    app.get("/", policy=rules[0] & (rules[1] | ~rules[2]))(handler)
    app.build()
    assert [rule.bound for rule in rules] == [[None]] * 4


def test_a_rule_about_rows_cannot_guard_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    """`rows` and what asks for the owner are found at build; a function that chooses rows lets nobody in."""

    class OwnerOnly(Policy):
        def bind(self, context: PolicyContext) -> Policy:
            context.owner_column(Row)
            return self

    some = rows(lambda access: Row.p)
    for rule, told in (
        (some, r"GET / .*: rows\(\) chooses rows, and a handler has none; use it on a CrudRouter"),
        (authenticated() & ~some | public(), r"rows\(\) chooses rows"),
        (OwnerOnly(), "the owner of Row guards rows; use it on a CrudRouter"),
    ):
        wrong = make_app()
        wrong.get("/", policy=rule)(lambda: 1)
        with pytest.raises(ConfigError, match=told):
            wrong.build()
    depending = make_app()
    depending.websocket("/")(depends_on(some))
    with pytest.raises(ConfigError, match=r"rows\(\) chooses rows"):
        depending.build()
    app = make_app()
    app.get("/", policy=lambda access: AllowWhere(Row.p))(lambda: "open")
    assert ask(app, "/").status_code == 500
    assert "chooses rows, and a handler has none; use it on a CrudRouter" in caplog.text


def depends_on(rule: Policy) -> Callable[..., Any]:
    async def handler(user: Any = Depends(rule)) -> None: ...

    return handler


def test_a_rule_that_answers_nonsense_lets_nobody_in() -> None:
    """Truth is no decision."""

    class Naive(Policy):
        async def __call__(self, access: Access) -> Decision:
            return True  # type: ignore[return-value]  # that is the point

    app = make_app()
    app.get("/own", policy=Naive())(lambda: "open")
    app.get("/function", policy=lambda access: True)(lambda: "open")
    assert [ask(app, path).status_code for path in ("/own", "/function")] == [500, 500]


# ---- dependencies of old -------------------------------------------------------------------------


class User:
    def __init__(self, name: str) -> None:
        self.id, self.username, self.email, self.is_admin = 7, name, f"{name}@example.com", name == "root"


def test_dependencies_of_old_gate() -> None:
    """Of request, db and item_id, async or not; falsy is 401, an HTTPException passes, the user is known."""
    threads: list[bool] = []

    async def user(request, db, item_id):  # type: ignore[no-untyped-def]  # as they were written
        assert await db.scalar(text("SELECT 1")) == 1
        if request.headers.get("x-user") == "locked":
            raise HTTPException(423, "Locked")
        return User(f"{request.headers['x-user']}-{item_id}") if "x-user" in request.headers else None

    def plain(request):  # type: ignore[no-untyped-def]
        threads.append(threading.current_thread() is threading.main_thread())
        return request.headers.get("x-user")

    def wrapped(request, session):  # type: ignore[no-untyped-def]
        return user(request, session, "w")

    async def principal(item_id):  # type: ignore[no-untyped-def]
        return Principal(id=item_id, sub="p")

    async def handler(id: str, who: Principal) -> Any:
        return [who.id, who.sub, who.username, who.email, who.is_admin]

    app = make_app()
    for name, rule in (("user", user), ("plain", plain), ("wrapped", wrapped), ("principal", principal)):
        app.get(f"/{name}/{{id}}", policy=rule)(handler)
    with TestClient(app) as client:
        headers = {"x-user": "ann"}
        assert client.get("/user/5", headers=headers).json() == [7, "7", "ann-5", "ann-5@example.com", False]
        assert client.get("/plain/5", headers=headers).json() == [None, "ann", None, None, False]
        assert client.get("/wrapped/5", headers=headers).json() == [
            7,
            "7",
            "ann-w",
            "ann-w@example.com",
            False,
        ]
        assert client.get("/principal/5").json() == ["5", "p", None, None, False]
        assert client.get("/user/5", headers={"x-user": "locked"}).status_code == 423
        for path in ("/user/5", "/plain/5", "/wrapped/5"):
            response = client.get(path)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert threads == [False] * 2


def test_a_dependency_of_old_combines() -> None:
    """Its refusal is one decision among others; a caller who is known already stays."""
    asked = access(ANN)
    assert isinstance(anyio.run(as_policy(lambda request: "bob"), asked), Allow)
    assert asked.principal is ANN
    refusing = as_policy(lambda request: None)
    assert isinstance(decide(refusing | public()), Allow)
    assert isinstance(decide(public() & refusing), Deny)
