"""Arguments from the path, the query string, headers and cookies."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.datastructures import State

from jetio import Cookie, Header, Jetio, JsonResponse, Path, Query, Request
from jetio.call import Call, Terms
from tests.core.apps import ask, errors, make_app

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.responses import StreamingResponse

    from jetio import BackgroundTasks


@pytest.fixture
def app() -> Jetio:
    return make_app()


def test_a_name_of_the_path_is_the_path_and_any_other_is_the_query(app: Jetio) -> None:
    """Unmarked arguments go by their names."""

    @app.get("/shelves/{shelf}/books/{book}")
    async def handler(shelf: str, book: int, page: int = 1, q: str | None = None) -> Any:
        return [shelf, book, page, q]

    assert ask(app, "/shelves/a b/books/7?page=3").json() == ["a b", 7, 3, None]
    assert ask(app, "/shelves/x/books/7?q=caf%C3%A9+%F0%9F%98%80").json() == ["x", 7, 1, "café 😀"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-5", -5),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (uuid.UUID, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (dt.date, "2026-01-31", "2026-01-31"),
        (Literal["a", "b"], "b", "b"),
        (Annotated[int, Field(gt=3)], "4", 4),
    ],
)
def test_types_are_read_from_text(app: Jetio, kind: Any, text: str, value: Any) -> None:
    """What pydantic reads from text a parameter takes, in the path as in the query."""

    async def handler(one: Any, two: Any) -> Any:
        return [one, two]

    handler.__annotations__ = {"one": kind, "two": kind}
    app.get("/{one}")(handler)
    assert ask(app, f"/{text}?two={text}").json() == [value, value]


def test_a_path_that_cannot_be_converted_is_another_path(app: Jetio) -> None:
    """There is nothing at such an address: 404, as for the endless number that Python refuses to read."""

    @app.get("/items/{id}")
    async def item(id: int) -> Any:
        return id

    @app.get("/numbers/{id:int}")
    async def number(id: int) -> Any:
        return id

    @app.get("/limited/{id}")
    async def limited(id: int = Path(ge=10)) -> Any:
        return id

    missing = (
        "/items/x",
        "/items/1.5",
        f"/items/{'9' * 5000}",
        f"/numbers/{'9' * 5000}",
        "/numbers/-1",
        "/limited/9",
    )
    assert [ask(app, path).status_code for path in missing] == [404] * 6
    assert (
        ask(app, "/items/12").json() == ask(app, "/numbers/12").json() == ask(app, "/limited/12").json() == 12
    )


def test_a_converter_of_the_path_gives_its_type(app: Jetio) -> None:
    """Without an annotation the argument is what the path says; `path` holds slashes."""

    class Half(Convertor[float]):
        regex = "[0-9]+"

        def convert(self, value: str) -> float:
            return int(value) / 2

        def to_string(self, value: float) -> str:
            return str(int(value * 2))

    register_url_convertor("half", Half())
    try:

        @app.get("/{number:int}/{half:half}/{rest:path}")
        async def handler(number, half, rest) -> Any:  # type: ignore[no-untyped-def]  # that is the point
            return [number, half, rest]

        assert ask(app, "/7/3/a/b").json() == [7, 1.5, "a/b"]
    finally:
        del CONVERTOR_TYPES["half"]


def test_an_encoded_slash_is_part_of_the_value(app: Jetio) -> None:
    """%2F does not part segments, wherever the application is mounted."""

    @app.get("/files/{name}/{part}")
    async def handler(name: str, part: str) -> Any:
        return [name, part]

    outer = make_app()
    outer.mount("/deep/er", app)
    for base, asked in (("", app), ("/deep/er", outer)):
        assert ask(asked, f"{base}/files/a%2Fb/c d").json() == ["a/b", "c d"]
        assert ask(asked, f"{base}/files/a%2fb/%C3%A9%2F").json() == ["a/b", "é/"]
        assert ask(asked, f"{base}/files%2Fa/b").status_code == 404


def test_nul_is_nowhere(app: Jetio) -> None:
    """No database stores it: in a path it is 404, in the query 400."""

    @app.get("/{name}")
    async def handler(name: str, q: str = "") -> Any:
        return [name, q]

    assert ask(app, "/a%00b").status_code == 404
    response = ask(app, "/a?q=%00")
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_headers_and_cookies_have_markers(app: Jetio) -> None:
    """Underscores stand for hyphens; an alias is taken as it is; several lines of a header are one value."""

    @app.get("/")
    async def handler(
        x_token: str = Header(),
        accept: str = Header("nothing"),
        number: int = Header(0, alias="X-Number"),
        every: list[str] = Header([], alias="x-every"),
        visits: int = Cookie(1),
        theme: str = Cookie("light", alias="__Host-theme"),
    ) -> Any:
        return [x_token, accept, number, every, visits, theme]

    headers = [("x-token", "a"), ("x-token", "b"), ("X-Number", "7"), ("x-every", "1"), ("x-every", "2")]
    headers += [("cookie", "visits=4; __Host-theme=dark")]
    assert ask(app, "/", headers=headers).json() == ["a, b", "*/*", 7, ["1", "2"], 4, "dark"]
    assert errors(ask(app, "/", headers={"x-number": "x", "cookie": "visits=x"})) == {
        ("header:x-token", "missing"),
        ("header:X-Number", "int_parsing"),
        ("parameter:visits", "int_parsing"),
    }


def test_a_list_takes_every_value_and_anything_else_takes_one(app: Jetio) -> None:
    """A repeated parameter is never dropped silently."""

    @app.get("/")
    async def handler(tag: list[int] = Query([]), word: set[str] | None = None, one: int = 0) -> Any:
        return [tag, sorted(word or ()), one]

    assert ask(app, "/?tag=1&tag=2&word=a&one=3").json() == [[1, 2], ["a"], 3]
    assert ask(app, "/").json() == [[], [], 0]
    assert errors(ask(app, "/?one=1&one=2&tag=1&tag=x")) == {
        ("parameter:one", "repeated"),
        ("parameter:tag", "int_parsing"),
    }


def test_a_default_that_can_be_changed_is_not_shared(app: Jetio) -> None:
    """Each request has a list of its own."""

    @app.get("/")
    async def handler(tags: list[str] = Query([])) -> Any:
        tags.append("seen")
        return tags

    assert [ask(app, "/").json() for _ in range(2)] == [["seen"], ["seen"]]


def test_everything_wrong_is_told_at_once(app: Jetio) -> None:
    """One 422 with one entry per parameter, none of which repeats the input."""

    @app.get("/")
    async def handler(
        a: int,
        b: Annotated[str, Query(min_length=3)],
        c: Annotated[int, Query(le=5)] = 1,
        d: str = Header(),
    ) -> Any:
        return None

    response = ask(app, "/?b=xy&c=7700077")
    assert errors(response) == {
        ("parameter:a", "missing"),
        ("parameter:b", "string_too_short"),
        ("parameter:c", "less_than_equal"),
        ("header:d", "missing"),
    }
    assert response.json()["detail"] == "4 fields are invalid"
    assert "xy" not in response.text
    assert "7700077" not in response.text


def test_too_many_errors_are_counted_not_listed(app: Jetio) -> None:
    """A long list of wrong values costs no long answer."""

    @app.get("/")
    async def handler(n: list[int] = Query([])) -> Any:
        return len(n)

    some, many = (ask(app, "/?" + "&".join(["n=x"] * count)).json() for count in (500, 1500))
    assert len(some["errors"]) == 100
    assert ("errors" in many, many["detail"]) == (False, "More than 1000 values are invalid")


Limited = Annotated[int, Query(ge=1, description="At least one")]


def test_a_shared_annotation_keeps_its_limits_and_no_default(app: Jetio) -> None:
    """The default of one handler is not the default of the next."""

    @app.get("/first")
    async def first(n: Limited = 5) -> Any:
        return n

    @app.get("/second")
    async def second(n: Limited) -> Any:
        return n

    assert ask(app, "/first").json() == 5
    assert errors(ask(app, "/second")) == {("parameter:n", "missing")}
    assert errors(ask(app, "/first?n=0")) == {("parameter:n", "greater_than_equal")}
    app.build()
    told = {path: endpoint.spec.parameters[0] for path, endpoint in app.endpoints}
    assert [(told[path].required, told[path].default) for path in ("/first", "/second")] == [
        (False, 5),
        (True, None),
    ]
    assert told["/first"].description == "At least one"


def test_what_stands_beside_a_type_in_annotated_counts(app: Jetio) -> None:
    """Pydantic's own markers hold with and without one of ours."""

    @app.get("/")
    async def handler(
        a: Annotated[str, AfterValidator(str.upper)],
        b: Annotated[str, AfterValidator(str.upper), Query(max_length=3)],
        c: Optional[Annotated[int, Field(ge=3)]] = None,  # noqa: UP045 - the old spelling is one, too
    ) -> Any:
        return [a, b, c]

    assert ask(app, "/?a=x&b=abc&c=3").json() == ["X", "ABC", 3]
    assert errors(ask(app, "/?a=x&b=abcd&c=2")) == {
        ("parameter:b", "too_long"),
        ("parameter:c", "greater_than_equal"),
    }


def test_names_for_type_checkers_only_are_known_where_they_are_ours(app: Jetio) -> None:
    """What linters move under TYPE_CHECKING still works: sessions, background tasks, answers."""
    ran = []

    @app.get("/")
    async def handler(session: AsyncSession, later: BackgroundTasks) -> Any:
        later.add_task(ran.append, type(session).__name__)
        return type(later).__name__

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return JsonResponse(1)  # type: ignore[return-value]  # an answer is an answer

    assert ask(app, "/stream").json() == 1
    assert ask(app, "/").json() == "BackgroundTasks"
    assert ran == ["AsyncSession"]


def test_unannotated_names_of_old_are_known(app: Jetio) -> None:
    """`request`, `db` and `session` are what they say, unless the path has that name."""

    @app.get("/old")
    async def old(request, db, session, q):  # type: ignore[no-untyped-def]  # that is the point
        return [request.method, db is session, q]

    @app.get("/values/{request}")
    async def value(request):  # type: ignore[no-untyped-def]  # that is the point
        return request

    assert ask(app, "/old?q=1").json() == ["GET", True, "1"]
    assert ask(app, "/values/x").json() == "x"


def test_a_request_takes_care_of_the_path_itself(app: Jetio) -> None:
    """Whoever takes the Request needs no argument for each value of the path."""

    @app.get("/{a}/{b}")
    async def handler(request: Request) -> Any:
        return request.path_params

    assert ask(app, "/x/y").json() == {"a": "x", "b": "y"}


def test_a_special_type_may_be_dressed(app: Jetio) -> None:
    """In `Annotated`, or with the type of its state."""

    @app.get("/")
    async def handler(one: Annotated[Request, "documented"], two: Request[State]) -> Any:
        return one is two

    assert ask(app, "/").json() is True


@given(
    query=st.lists(
        st.tuples(st.text("ab +%é\ud7ff=&", max_size=3), st.text("ab +%é=&;?#", max_size=4)), max_size=4
    ),
    raw=st.text("ab=&;?#", max_size=10),
)
@settings(deadline=None)
def test_the_query_is_read_as_everybody_reads_it(query: list[tuple[str, str]], raw: str) -> None:
    """Encoded or not, with empty names, empty values and repeated ones."""
    for text in (urlencode(query), raw, f"{raw}&{urlencode(query)}"):
        read: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            read.setdefault(name, []).append(value)
        scope = {"type": "http", "query_string": text.encode("latin-1")}
        call = Call(Terms(make_app(), "", writes=False, limit=0), scope, no_message, no_message)
        assert call.query == read


async def no_message(*message: Any) -> Any:
    raise AssertionError("nothing is received or sent")


def test_any_callable_is_a_handler(app: Jetio) -> None:
    """Objects, methods and partials; what a partial gives is nobody else's to give."""

    class Greeter:
        def __init__(self, word: str) -> None:
            self.word = word

        async def __call__(self, name: str) -> str:
            return f"{self.word} {name}"

        def method(self, name: str) -> str:
            return f"{name} {self.word}"

    async def base(name: str, role: str) -> str:
        return f"{name} is {role}"

    app.get("/object")(Greeter("Hello"))
    app.get("/method")(Greeter("Bye").method)
    app.get("/partial")(functools.partial(base, role="admin"))
    asked = [ask(app, f"/{path}?name=Ann&role=king").json() for path in ("object", "method", "partial")]
    assert asked == ["Hello Ann", "Ann Bye", "Ann is admin"]


def test_a_plain_function_around_an_async_one_is_awaited(app: Jetio) -> None:
    """A decorator that forgot to be async does no harm; `*args` and `**kwargs` are nobody's parameters."""

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

        return wrapper

    @app.get("/{n}")
    @decorated
    async def handler(n: int, *rest: Any, **more: Any) -> Any:
        return [n, rest, more]

    assert ask(app, "/4?more=1").json() == [4, [], {}]


def test_no_signature_is_read_while_serving(app: Jetio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that `inspect` and `typing` tell is asked at build."""

    def closed() -> Iterator[int]:
        yield 3

    @app.post("/{id}")
    async def handler(id: int, q: str, n: int = Query(1), token: str = Header("")) -> dict[str, int]:
        return {"id": id, "n": n}

    app.build()

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("asked while serving")

    for name in (
        "inspect.signature",
        "inspect.getfullargspec",
        "typing.get_type_hints",
        "jetio.callables.get_type_hints",
    ):
        monkeypatch.setattr(name, refuse)
    assert ask(app, "/4?q=x", "POST").json() == {"id": 4, "n": 1}
