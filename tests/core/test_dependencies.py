"""Depends: values that other callables give."""

from __future__ import annotations

import contextvars
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    ConfigError,
    Depends,
    Header,
    Jetio,
    Problem,
    Query,
    Request,
    ValidationError,
    authenticated,
)
from jetio.errors import FieldError
from jetio.testing import TestClient
from tests.core.apps import ask, errors, make_app

if TYPE_CHECKING:
    from nowhere import Paging

log: list[str] = []


@pytest.fixture
def app() -> Jetio:
    log.clear()
    return make_app()


def number() -> int:
    log.append("number")
    return 7


async def doubled(n: int = Depends(number)) -> int:
    return 2 * n


async def paging(page: int = 1, size: Annotated[int, Query(le=100)] = 10) -> Any:
    return [page, size]


class Filters:
    def __init__(self, q: str = "", limit: int = Query(5, ge=1)) -> None:
        self.q, self.limit = q, limit


@dataclasses.dataclass
class Span:
    start: int
    end: int = 9


class Range(BaseModel):
    low: int
    high: int = Field(9, le=100)

    @model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Doubler:
    async def __call__(self, n: int) -> int:
        return 2 * n

    def method(self, n: int) -> int:
        return 3 * n


def test_a_dependency_is_called_with_its_own_arguments(app: Jetio) -> None:
    """Functions, async functions, methods, objects, classes, dataclasses, models; with own parameters."""

    @app.get("/")
    async def handler(
        a: Annotated[int, Depends(doubled)],
        page: Annotated[Paging, Depends(paging)],
        filters: Annotated[Filters, Depends()],
        span: Span = Depends(),
        inner: Range = Depends(Range),
        twice: int = Depends(Doubler()),
        thrice: int = Depends(Doubler().method),
        q: str = "",
    ) -> Any:
        return [a, page, filters.q, filters.limit, [span.start, span.end], inner, twice, thrice, q]

    answer = ask(app, "/?page=2&size=20&q=x&start=1&low=3&n=5").json()
    assert answer == [14, [2, 20], "x", 5, [1, 9], {"low": 3, "high": 9}, 10, 15, "x"]
    assert errors(ask(app, "/?size=200&limit=0&high=x")) == {
        ("parameter:size", "less_than_equal"),
        ("parameter:limit", "greater_than_equal"),
        ("parameter:start", "missing"),
        ("parameter:low", "missing"),
        ("parameter:high", "int_parsing"),
        ("parameter:n", "missing"),
    }
    wrong = ask(app, "/?start=1&n=1&low=8&high=3").json()["errors"]
    assert wrong == [{"code": "value_error", "message": "low is above high"}]
    app.build()
    ((_, endpoint),) = app.endpoints
    names = [item.name for item in endpoint.spec.parameters]
    assert sorted(names) == ["end", "high", "limit", "low", "n", "page", "q", "size", "start"]


def test_a_dependency_is_called_once_per_request(app: Jetio) -> None:
    """Whoever needs it gets the same value, unless it says `use_cache=False`."""

    @app.get("/")
    async def handler(
        a: int = Depends(doubled), b: int = Depends(number), c: int = Depends(number, use_cache=False)
    ) -> Any:
        return a + b + c

    assert ask(app, "/").json() == 28
    assert log == ["number"] * 2
    ask(app, "/")
    assert log == ["number"] * 4


def test_plain_functions_run_in_threads_and_see_context(app: Jetio) -> None:
    """Handlers and dependencies that are not async never hold the loop; context variables go with them."""
    tenant = contextvars.ContextVar("tenant", default="none")

    async def enter(name: str) -> None:
        tenant.set(name)

    def where(_: None = Depends(enter)) -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), threading.get_ident(), tenant.get()]

    async def loop() -> int:
        return threading.get_ident()

    @app.get("/")
    def handler(inner: list[Any] = Depends(where), ident: int = Depends(loop)) -> Any:
        return [inner[1] != ident, threading.get_ident() != ident, inner[2], tenant.get()]

    assert ask(app, "/?name=acme").json() == [True, True, "acme", "acme"]


def opened(name: str, *, sync: bool = False) -> Callable[..., Any]:
    async def generator() -> AsyncIterator[str]:
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{type(error).__name__} in {name}")
            raise
        finally:
            log.append(f"close {name}")

    def plain() -> Iterator[str]:
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{type(error).__name__} in {name}")
            raise
        finally:
            log.append(f"close {name}")

    return plain if sync else generator


def test_generators_are_resumed_last_opened_first(app: Jetio) -> None:
    """After the handler, before the answer; plain ones in threads."""
    first = opened("first")

    def second(_: str = Depends(first)) -> Iterator[str]:
        log.append("open second")
        yield "second"
        log.append("close second")

    @app.get("/")
    async def handler(
        b: str = Depends(second), c: str = Depends(opened("third", sync=True)), a: str = Depends(first)
    ) -> Any:
        log.append("handler")
        return [a, b, c]

    assert ask(app, "/").json() == ["first", "second", "third"]
    assert log == [
        "open first", "open second", "open third", "handler", "close third", "close second", "close first",
    ]  # fmt: skip


def test_generators_see_what_was_raised(app: Jetio) -> None:
    """The error of the handler, or of a later dependency, is raised where they yielded; it is the answer."""

    async def failing(_: str = Depends(opened("a"))) -> None:
        raise Problem(409, "conflict")

    @app.get("/handler")
    async def handler(a: str = Depends(opened("a")), b: str = Depends(opened("b", sync=True))) -> Any:
        raise Problem(409, "conflict")

    @app.get("/dependency")
    async def other(_: None = Depends(failing), n: int = 1) -> Any:
        raise AssertionError("never called")

    assert ask(app, "/handler").status_code == 409
    assert log == ["open a", "open b", "Problem in b", "close b", "Problem in a", "close a"]
    log.clear()
    assert ask(app, "/dependency").status_code == 409
    assert log == ["open a", "Problem in a", "close a"]


def test_a_generator_may_turn_an_error_into_another_and_never_into_success(app: Jetio) -> None:
    """What it raises instead is the answer; what it swallows is raised all the same."""

    async def translating() -> AsyncIterator[None]:
        try:
            yield
        except KeyError:
            raise Problem(404, "not_found") from None

    def swallowing() -> Iterator[None]:
        try:
            yield
        except KeyError:
            log.append("swallowed")

    @app.get("/translated")
    async def translated(_: None = Depends(translating)) -> Any:
        raise KeyError("x")

    @app.get("/swallowed")
    async def swallowed(_: None = Depends(swallowing)) -> Any:
        raise KeyError("x")

    assert ask(app, "/translated").json()["code"] == "not_found"
    assert ask(app, "/swallowed").status_code == 500
    assert log == ["swallowed"]


def test_a_clean_up_that_fails_is_the_answer(app: Jetio) -> None:
    """Nothing was sent before it."""

    async def broken() -> AsyncIterator[None]:
        yield
        raise Problem(503, "unavailable")

    @app.get("/")
    async def handler(_: None = Depends(broken), a: str = Depends(opened("a"))) -> Any:
        return "fine"

    assert ask(app, "/").status_code == 503
    assert log == ["open a", "close a"]


def test_what_a_dependency_refuses_keeps_its_code(app: Jetio) -> None:
    """Alone it is told as it was raised; among others as one entry of all."""

    async def checked(n: int = 0) -> None:
        if n:
            raise ValidationError(
                [FieldError("odd", "That is odd", parameter="n")], "Odd numbers", code="oddity"
            )

    @app.get("/")
    async def handler(q: int, _: None = Depends(checked)) -> Any:
        return q

    assert ask(app, "/?q=1&n=1").json()["code"] == "oddity"
    assert errors(ask(app, "/?q=x&n=1")) == {("parameter:q", "int_parsing"), ("parameter:n", "odd")}


def test_a_dependency_that_lacks_its_arguments_is_told_once(app: Jetio) -> None:
    """However many need it."""

    async def needy(token: str = Header()) -> str:
        return token

    async def again(token: str = Depends(needy)) -> str:
        return token

    @app.get("/")
    async def handler(a: str = Depends(needy), b: str = Depends(again)) -> Any:
        return [a, b]

    assert len(ask(app, "/").json()["errors"]) == 1


# ---- replacing -----------------------------------------------------------------------------------


def test_tests_replace_dependencies_at_any_time(app: Jetio) -> None:
    """By functions, generators, classes, with parameters of their own, wherever the dependency stands."""

    async def needing(x_token: str = Header()) -> AsyncIterator[int]:
        log.append("open")
        yield len(x_token)
        log.append("close")

    @app.get("/{page}")
    async def handler(page: str, a: int = Depends(doubled), b: int = Depends(number)) -> Any:
        return [page, a, b]

    client = TestClient(app)
    assert client.get("/x").json() == ["x", 14, 7]
    app.dependency_overrides[number] = needing
    assert client.get("/x", headers={"x-token": "abc"}).json() == ["x", 6, 3]
    assert errors(client.get("/x")) == {("header:x-token", "missing")}
    app.dependency_overrides.update({number: lambda: 1, doubled: paging})
    assert client.get("/5").json() == ["5", [5, 10], 1]
    app.dependency_overrides.clear()
    assert client.get("/x").json() == ["x", 14, 7]
    assert log == ["number", "open", "close", "number"]


def test_a_replacement_takes_the_rules_of_what_it_replaces_away(app: Jetio) -> None:
    """Of a dependency that asks who is calling, of one above it, and of a rule itself."""

    class Nobody:
        user_model = None
        schemas = ()

        async def identify(self, connection: Any, work: Any) -> Any:
            return None

        def principal_of(self, user: Any) -> Any:
            raise NotImplementedError

    rule = authenticated()

    async def current(user: Any = Depends(rule)) -> Any:
        return user

    async def profile(user: Any = Depends(current)) -> Any:
        return [user]

    app.use_authenticator(Nobody())

    @app.get("/")
    async def handler(who: Any = Depends(profile)) -> Any:
        return who

    @app.get("/twice")
    async def twice(who: Any = Depends(profile), user: Any = Depends(rule)) -> Any:
        return [who, user]

    client = TestClient(app)
    assert client.get("/").status_code == 401
    for replaced, answer in ((profile, "ann"), (current, ["ann"]), (rule, ["ann"])):
        app.dependency_overrides = {replaced: lambda: "ann"}
        assert client.get("/").json() == answer
    assert client.get("/twice").json() == [["ann"], "ann"]
    app.dependency_overrides = {profile: lambda: "ann"}
    assert client.get("/twice").status_code == 401


def test_a_replacement_that_cannot_be_is_a_mistake(app: Jetio) -> None:
    """The test that set it sees why."""

    async def wrong(item: dict[str, int]) -> None: ...

    @app.post("/")
    async def handler(a: int = Depends(number)) -> Any:
        return a

    app.dependency_overrides[number] = wrong
    with pytest.raises(ConfigError, match="'item': a body belongs to the handler"):
        TestClient(app).post("/")


def test_a_dependency_need_not_be_hashable(app: Jetio) -> None:
    """Such an object is one dependency, too."""

    @dataclasses.dataclass
    class Counter:
        count: int = 0

        def __call__(self) -> int:
            self.count += 1
            return self.count

    counter = Counter()

    @app.get("/")
    async def handler(a: int = Depends(counter), b: int = Depends(counter)) -> Any:
        return [a, b]

    app.dependency_overrides[number] = doubled
    assert [ask(app, "/").json(), ask(app, "/").json()] == [[1, 1], [2, 2]]


# ---- what waits for the body ---------------------------------------------------------------------


def test_what_holds_something_waits_for_the_body(app: Jetio) -> None:
    """Plain dependencies come first and may refuse; sessions and generators wait until the body is there."""

    async def plain(request: Request) -> None:
        log.append("plain")
        if "refuse" in request.query_params:
            raise Problem(401, "not_authenticated")

    async def with_session(session: AsyncSession) -> None:
        log.append("session")

    async def above(_: None = Depends(with_session)) -> None:
        log.append("above")

    @app.post("/")
    async def handler(
        a: str = Depends(opened("a")),
        b: None = Depends(above),
        c: None = Depends(plain),
        *,
        body: dict[str, int],
    ) -> Any:
        log.append("handler")

    asked: list[str] = []

    def content() -> Iterator[bytes]:
        yield b'{"a": '
        asked.append(", ".join(log))
        yield b"1}"

    response = ask(app, "/", "POST", content=content(), headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert asked == ["plain"]
    assert log == ["plain", "open a", "session", "above", "handler", "close a"]
    assert ask(app, "/?refuse=1", "POST", content=b"broken").status_code == 401
