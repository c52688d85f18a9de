"""Arguments from the body: JSON, whole and by member, forms and files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, EmailStr, Field, RootModel, model_validator
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypedDict

from jetio import Body, Depends, File, Form, Jetio, Query, Request, UploadFile
from jetio.testing import TestClient
from tests.core.apps import ask, errors, make_app


class Item(BaseModel):
    name: str = Field(min_length=2)
    price: float = 1
    tags: list[str] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Pair(TypedDict):
    left: int
    right: int


class Names(RootModel[list[str]]):
    pass


@pytest.fixture
def app() -> Jetio:
    return make_app()


def echo(app: Jetio, kind: Any, default: Any = ...) -> None:
    """A handler of one body at `/`, which answers what it got."""

    async def handler(given: Any = default) -> Any:
        return given

    async def required(given: Any) -> Any:
        return given

    chosen = required if default is ... else handler
    chosen.__annotations__ = {"given": kind}
    app.post("/")(chosen)


# ---- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "answer"),
    [
        (Item, {"name": "ab"}, {"name": "ab", "price": 1.0, "tags": []}),
        (Point, {"x": 1}, {"x": 1, "y": 0}),
        (Pair, {"left": 1, "right": 2}, {"left": 1, "right": 2}),
        (Names, ["a"], ["a"]),
        (list[Item], [{"name": "ab", "price": 2}], [{"name": "ab", "price": 2.0, "tags": []}]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (dict, {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        (tuple[int, str], [1, "a"], [1, "a"]),
        (Item | Point, {"x": 1}, {"x": 1, "y": 0}),
        (Annotated[int, Body(ge=3)], 3, 3),
        (Annotated[str, Body()], "text", "text"),
        (Annotated[Any, Body()], [None], [None]),
        (Annotated[Item, Body()], {"name": "ab"}, {"name": "ab", "price": 1.0, "tags": []}),
    ],
)
def test_a_document_is_the_body(app: Jetio, kind: Any, given: Any, answer: Any) -> None:
    """Models, dataclasses, typed dictionaries, lists and dictionaries need no marker; scalars have Body()."""
    echo(app, kind)
    assert ask(app, "/", "POST", json=given).json() == answer


def test_everything_wrong_in_a_body_has_a_pointer(app: Jetio) -> None:
    """Pointers are those of RFC 6901, escapes included; the input is not repeated."""
    echo(app, dict[str, Item])
    response = ask(app, "/", "POST", json={"a/b~c": {"name": "x", "price": "dear", "tags": [1]}, "d": 3})
    assert errors(response) == {
        ("pointer:/a~1b~0c/name", "string_too_short"),
        ("pointer:/a~1b~0c/price", "float_parsing"),
        ("pointer:/a~1b~0c/tags/0", "string_type"),
        ("pointer:/d", "model_type"),
    }
    assert "dear" not in response.text


def test_a_body_and_parameters_are_wrong_together(app: Jetio) -> None:
    """One 422 for all."""

    @app.post("/{id}")
    async def handler(id: int, item: Item, page: int, size: int = Query(1, ge=1)) -> Any:
        return None

    assert errors(ask(app, "/1?size=0", "POST", json={})) == {
        ("parameter:page", "missing"),
        ("parameter:size", "greater_than_equal"),
        ("pointer:/name", "missing"),
    }


def test_several_bodies_are_members_of_one_object(app: Jetio) -> None:
    """So is one with `embed=True`; members with a default may be left out, all of them with the body."""

    @app.post("/two")
    async def two(item: Item, json: Point, number: Annotated[int, Body(ge=3)] = 3) -> Any:
        return [item.name, json.x, number]

    @app.post("/one")
    async def one(item: Annotated[Item, Body(embed=True)]) -> Any:
        return item.name

    @app.post("/none")
    async def none(a: Annotated[int, Body()] = 1, b: Annotated[list[int], Body()] = []) -> Any:  # noqa: B006
        return [a, b]

    assert ask(app, "/two", "POST", json={"item": {"name": "ab"}, "json": {"x": 1}}).json() == ["ab", 1, 3]
    assert errors(ask(app, "/two", "POST", json={"item": {"name": "a"}, "number": 2})) == {
        ("pointer:/item/name", "string_too_short"),
        ("pointer:/json", "missing"),
        ("pointer:/number", "greater_than_equal"),
    }
    assert ask(app, "/one", "POST", json={"item": {"name": "ab"}}).json() == "ab"
    assert [ask(app, "/none", "POST").json(), ask(app, "/none", "POST", json={"a": 2}).json()] == [
        [1, []],
        [2, []],
    ]


def test_a_body_with_a_default_may_be_missing(app: Jetio) -> None:
    """An empty body is the default; anything else is judged."""
    echo(app, Item | None, None)
    assert ask(app, "/", "POST").json() is None
    assert ask(app, "/", "POST", json={"name": "ab"}).json()["name"] == "ab"
    assert ask(app, "/", "POST", json={"name": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (b"", "application/json", 400, "bad_json"),
        (b"{", "application/json", 400, "bad_json"),
        (b'{"a": NaN}', "application/json", 400, "bad_json"),
        (b'{"a": [-Infinity]}', "application/json", 400, "bad_json"),
        (b'{"a": 1e999}', "application/json", 400, "bad_json"),
        (b'{"a": ' + b"1" * 5000 + b"}", "application/json", 400, "bad_json"),
        (b'{"a": 1, "a": 1}', "application/json", 400, "bad_json"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "application/json", 400, "bad_json"),
        (b'{"\\u0000": 1}', "application/json", 400, "bad_request"),
        (b'{"a": 1, "b": ["\\u0000"]}', "application/json", 400, "bad_request"),
        (b'{"a": "\xff"}', "application/json", 400, "bad_json"),
        (b'{"a": "\\ud800"}', "application/json", 400, "bad_json"),
        (b"\xef\xbb\xbf{}", "application/json", 400, "bad_json"),
        (b'{"a": 1, "b": ' + b"[" * 100_000, "application/json", 400, "bad_json"),
        (
            b'{"a": 1, "b": ' + b"[" * 150 + b'"\\u0000"' + b"]" * 150 + b"}",
            "application/json",
            400,
            "bad_request",
        ),
        (b"{}", "", 415, "unsupported_media_type"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported_media_type"),
        (b"{}", "application/jsonp", 415, "unsupported_media_type"),
        (b"{}", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
def test_what_is_no_json_is_refused(app: Jetio, content: bytes, media: str, status: int, code: str) -> None:
    """Broken, ambiguous, unstorable and endless documents are 4xx; 415 says what is taken."""

    @app.post("/")
    async def handler(given: dict[str, Any]) -> Any:
        raise AssertionError("no such body gets here")

    response = ask(app, "/", "POST", content=content, headers={"content-type": media} if media else {})
    assert (response.status_code, response.json()["code"]) == (status, code)
    if status == 415:
        assert response.headers["accept-post"] == "application/json"


@pytest.mark.parametrize(
    "media",
    ["application/json", "Application/JSON ; Charset=UTF-8", 'application/json; v=2; charset="utf-8"'],
)
def test_json_may_say_that_it_is_utf_8(app: Jetio, media: str) -> None:
    """Case and further parameters of the media type mean nothing."""
    echo(app, dict)
    assert ask(app, "/", "POST", content=b'{"a": "\xc3\xa9:"}', headers={"content-type": media}).json() == {
        "a": "é:"
    }


def test_a_number_that_no_double_holds_is_refused_in_a_model_too(app: Jetio) -> None:
    """However simple the document is; integers beyond 64 bits are numbers like others."""
    echo(app, Item)
    refused = ask(
        app,
        "/",
        "POST",
        content=b'{"name": "ab", "price": 1e999}',
        headers={"content-type": "application/json"},
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_json")
    second = make_app()
    echo(second, dict)
    assert ask(second, "/", "POST", json={"n": 2**70}).json() == {"n": 2**70}


def test_a_thousand_errors_are_not_listed(app: Jetio) -> None:
    """The answer to a large wrong body is small: a hundred entries, none beyond a thousand errors."""
    echo(app, list[Item])
    some, many = (ask(app, "/", "POST", json=[{}] * count).json() for count in (600, 1200))
    assert len(some["errors"]) == 100
    assert some["detail"] == "600 fields are invalid; the first 100 are told"
    assert ("errors" in many, many["detail"]) == (False, "More than 1000 values are invalid")


class Strict(BaseModel, extra="forbid"):
    colour: str

    @model_validator(mode="after")
    def refuse_red(self) -> Strict:
        if self.colour == "red":
            raise ValueError("not red")
        return self


def test_a_models_own_rules_are_told(app: Jetio) -> None:
    """Unknown fields with a suggestion, validators with their sentence; the whole has the empty pointer."""
    echo(app, Strict)
    refused = ask(app, "/", "POST", json={"color": "x", "colour": "x"})
    assert refused.json()["code"] == "unknown_field"
    assert refused.json()["errors"][0]["message"] == "There is no such field; did you mean 'colour'?"
    response = ask(app, "/", "POST", json={"colour": "red"})
    assert errors(response) == {("pointer:", "value_error")}
    assert response.json()["errors"][0]["message"] == "not red"


def test_an_address_that_is_none_is_not_repeated(app: Jetio) -> None:
    """One sentence for every wrong email address, with nothing of what was sent."""

    class Contact(BaseModel):
        email: EmailStr

    echo(app, Contact)
    for wrong in ("hunter2", "hunter2@", "hunter2@host..com"):
        response = ask(app, "/", "POST", json={"email": wrong})
        assert errors(response) == {("pointer:/email", "value_error")}
        assert response.json()["errors"][0]["message"] == "This is not a valid email address"
        assert "hunter2" not in response.text


# ---- size and repeated reading -------------------------------------------------------------------


def chunked(size: int) -> Iterator[bytes]:
    """A body whose length is not told."""
    return (b"x" * 1000 for _ in range(size // 1000))


@pytest.mark.parametrize("path", ["/json", "/request", "/stream", "/form"])
def test_a_body_is_bounded_however_it_is_read(app: Jetio, path: str) -> None:
    """1 MiB by default, with or without a length, by an argument or from the Request; or `max_body`."""

    @app.post("/json")
    async def read_json(given: Any = Body()) -> Any:
        return None

    @app.post("/request")
    async def read_request(request: Request) -> Any:
        return len(await request.body())

    @app.post("/stream", max_body=2_000_000)
    async def read_stream(request: Request) -> Any:
        return sum([len(part) async for part in request.stream()])

    @app.post("/form")
    async def read_form(a: str = Form()) -> Any:
        return len(a)

    limit = 2_000_000 if path == "/stream" else 1024 * 1024
    media = "application/x-www-form-urlencoded" if path == "/form" else "application/json"
    headers = {"content-type": media}
    for content in (b"x" * (limit + 1), chunked(limit + 1000)):
        response = ask(app, path, "POST", content=content, headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "content_too_large"), path
        assert response.headers["connection"] == "close"
    assert ask(app, path, "POST", content=b"1" * 100, headers=headers).status_code in (200, 422)


@pytest.mark.parametrize("length", ["9" * 15, "9" * 5000])
async def test_a_length_that_is_told_is_believed(app: Jetio, length: str) -> None:
    """413 before anything is read, for a number of any size; HTTP/2 has no Connection header."""

    @app.post("/")
    async def handler(given: dict[str, Any]) -> Any:
        return given

    app.build()
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"", "http_version": "2",
        "headers": [(b"content-type", b"application/json"), (b"content-length", length.encode())],
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert b"connection" not in dict(sent[0]["headers"])


def test_a_body_can_be_read_twice(app: Jetio) -> None:
    """By an argument and from the Request, whichever comes first."""

    @app.post("/after")
    async def after(request: Request, item: Item) -> Any:
        return [item.name, (await request.json())["name"], await request.is_disconnected()]

    async def early(request: Request) -> Any:
        return (await request.json())["name"]

    @app.post("/before")
    async def before(item: Item, first: str = Depends(early)) -> Any:
        return [first, item.name]

    async def late(request: Request, session: AsyncSession) -> bytes:
        return await request.body()

    @app.post("/late")
    async def later(item: Item, raw: bytes = Depends(late)) -> Any:
        return [item.name, json.loads(raw)["name"]]

    for path, answer in (("/after", ["ab", "ab", False]), ("/before", ["ab", "ab"]), ("/late", ["ab", "ab"])):
        assert ask(app, path, "POST", json={"name": "ab"}).json() == answer


# ---- forms ---------------------------------------------------------------------------------------


class Account(BaseModel):
    name: str
    age: int = 18
    roles: list[str] = []


@pytest.fixture
def forms(app: Jetio) -> TestClient:
    @app.post("/fields")
    async def fields(a: int = Form(), b: list[str] = Form(), c: str = Form("c", alias="see")) -> Any:
        return [a, b, c]

    @app.post("/optional")
    async def optional(a: Annotated[Literal["x", "y"] | None, Form()] = None) -> Any:
        return a

    @app.post("/model")
    async def model(account: Annotated[Account, Form()]) -> Any:
        return account

    @app.post("/files")
    async def files(
        one: UploadFile,
        more: list[UploadFile],
        maybe: UploadFile | None = None,
        named: UploadFile = File(None, alias="other"),
        note: str = Form(""),
    ) -> Any:
        names = [one.filename, *(item.filename for item in more)]
        return [names, (await one.read()).decode(), maybe is None, named is None, note]

    app.build()
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("files", [None, {"ignored": ("f", b"x")}])
def test_fields_come_from_either_kind_of_form(forms: TestClient, files: Any) -> None:
    """Urlencoded and multipart give the same; a list takes every value, unknown fields mean nothing."""
    data = {"a": "1", "b": ["x", "é"], "see": "s"}
    assert forms.post("/fields", data=data, files=files).json() == [1, ["x", "é"], "s"]
    assert forms.post("/fields", data={"a": "1", "b": "x"}, files=files).json() == [1, ["x"], "c"]
    assert forms.post("/optional", data={}, files=files).status_code in (200, 415)


def test_everything_wrong_in_a_form_has_a_pointer(forms: TestClient) -> None:
    """As in JSON; a field that may be given once is not given twice."""
    assert errors(forms.post("/fields", data={"a": ["1", "2"]})) == {
        ("pointer:/a", "repeated"),
        ("pointer:/b", "missing"),
    }
    assert errors(forms.post("/fields", data={"a": "x", "b": "x"})) == {("pointer:/a", "int_parsing")}
    assert errors(forms.post("/model", data={"age": "x"})) == {
        ("pointer:/name", "missing"),
        ("pointer:/age", "int_parsing"),
    }
    assert errors(forms.post("/optional", data={"a": "z"})) == {("pointer:/a", "literal_error")}


def test_a_form_may_be_one_model(forms: TestClient) -> None:
    """Its lists take one value as well as several."""
    data = {"name": "ann", "age": "7", "roles": "admin"}
    assert forms.post("/model", data=data).json() == {"name": "ann", "age": 7, "roles": ["admin"]}
    assert forms.post("/model", data={"name": "ann", "roles": ["a", "b"]}).json()["roles"] == ["a", "b"]
    assert errors(forms.post("/model", data={"name": ["a", "b"]})) == {("pointer:/name", "string_type")}


def test_files_are_uploads(forms: TestClient) -> None:
    """One, several or none; what is no file is refused."""
    files = [("one", ("1.txt", b"hello")), ("more", ("2.txt", b"")), ("more", ("3.txt", b"x"))]
    answer = forms.post("/files", files=files, data={"note": "n"}).json()
    assert answer == [["1.txt", "2.txt", "3.txt"], "hello", True, True, "n"]
    wrong = forms.post("/files", data={"one": "text", "more": "text"}, files={"x": ("x", b"")})
    assert errors(wrong) == {("pointer:/one", "file_type"), ("pointer:/more", "file_type")}
    assert errors(forms.post("/files", files={"note": ("n.txt", b"x")})) >= {("pointer:/note", "string_type")}


def test_a_part_without_a_type_is_what_its_marker_says(app: Jetio) -> None:
    """Text for `Form()`, an upload for `File()`, any document for `Body()`."""

    @app.post("/form")
    async def form(word=Form(), file=File()):  # type: ignore[no-untyped-def]
        return [word, (await file.read()).decode()]

    @app.post("/document")
    async def document(given=Body()):  # type: ignore[no-untyped-def]
        return given

    sent = ask(app, "/form", "POST", data={"word": "5"}, files={"file": ("name", b"content")})
    assert sent.json() == ["5", "content"]
    for given in (["a", 1], {"a": None}, "text"):
        assert ask(app, "/document", "POST", json=given).json() == given


def test_an_input_that_was_left_empty_is_no_file(forms: TestClient) -> None:
    """A browser sends it with an empty name."""
    part = '--b\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n{}\r\n'
    content = (
        part.format("one", "1.txt", "hello")
        + part.format("more", "2.txt", "")
        + part.format("maybe", "", "")
        + "--b--"
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = forms.post("/files", content=content.encode(), headers=headers).json()
    assert answer == [["1.txt", "2.txt"], "hello", True, True, ""]


def test_uploads_may_be_longer_than_documents(app: Jetio) -> None:
    """Sixteen times the limit of JSON, unless the route has a limit of its own; it is read from the disk."""

    @app.post("/usual")
    async def usual(file: UploadFile) -> Any:
        return len(await file.read())

    @app.post("/small", max_body=10_000)
    async def small(file: UploadFile) -> Any:
        return len(await file.read())

    big = b"x" * 3_000_000
    assert ask(app, "/usual", "POST", files={"file": ("f", big)}).json() == len(big)
    assert ask(app, "/usual", "POST", files={"file": ("f", big * 6)}).status_code == 413
    assert ask(app, "/small", "POST", files={"file": ("f", big)}).status_code == 413


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"", "application/json", 415),
        (b"", "", 415),
        (b"a=1&b=%00", "application/x-www-form-urlencoded", 400),
        (b"a=1&b=%ff", "application/x-www-form-urlencoded", 200),
        (b"a=1&b" + b"&b" * 2000, "application/x-www-form-urlencoded", 400),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 422),
        (b"garbage", "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1', "multipart/form-data; boundary=x", 422),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n' + b"1" * 2_000_000,
         "multipart/form-data; boundary=x; charset=UTF-8", 413),
        (b"--x\r\n", "multipart/form-data; boundary=x; charset=nonsense", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x; charset=punycode", 415),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(forms: TestClient, content: bytes, media: str, status: int) -> None:
    """Other media and codecs, NUL, broken parts and too many fields are 4xx."""
    response = forms.post("/fields", content=content, headers={"content-type": media} if media else {})
    assert response.status_code == status, response.text
    if status == 415:
        assert response.headers["accept-post"] == "application/x-www-form-urlencoded, multipart/form-data"
