"""Mistakes in an application: each is found at build and says what to write, all of them at once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from starlette.responses import Response
from starlette.websockets import WebSocket

from jetio import (
    Body,
    ConfigError,
    CrudRouter,
    Depends,
    File,
    Form,
    Header,
    HTMLResponse,
    Jetio,
    JetioModel,
    Path,
    Principal,
    Query,
    Request,
    UploadFile,
    authenticated,
    policy,
    public,
    rows,
)
from tests.core.apps import make_app
from tests.registries import own_registry

if TYPE_CHECKING:
    from nowhere import Item, Page, models


class Report(BaseModel):
    text: str


class Ledger(JetioModel):
    text: Mapped[str]


class Strange:
    pass


def mistakes(app: Jetio) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        app.build()
    return caught.value.mistakes


def told(method: str, path: str, handler: Callable[..., Any], **options: Any) -> str:
    """The only mistake of an application with one handler."""
    app = make_app()
    app.route(path, methods=[method], **options)(handler)
    (mistake,) = mistakes(app)
    assert mistake.startswith(f"{method} {path} ("), mistake
    return mistake


async def body_on_get(item: Report) -> None: ...
async def body_on_delete(n: int = Body()) -> None: ...
async def list_of_models(q: list[Report] = Query()) -> None: ...
async def model_in_header(h: Report = Header()) -> None: ...
async def mapping(q: Annotated[dict[str, int], Query()]) -> None: ...
async def table(row: Ledger) -> None: ...
async def strange(x: Strange) -> None: ...
async def response(answer: Response) -> None: ...
async def field_default(n: int = Field(ge=1)) -> None: ...
async def positional(n: int, /) -> None: ...
async def checkers_only(item: Item) -> None: ...
async def checkers_only_inside(items: list[models.Item] | None) -> None: ...
async def checkers_only_generic(page: Page[int]) -> None: ...
async def rule_uncalled(_: Any = Depends(authenticated)) -> None: ...
async def checkers_only_dependency(page: Annotated[Page, Depends()]) -> None: ...
async def checkers_only_function(page: Annotated[Any, Depends(models.page)]) -> None: ...
async def text_id(id: str) -> None: ...
async def no_path(id: int = Path()) -> None: ...
async def aliased_path(id: int = Path(alias="key")) -> None: ...
async def nothing_to_call(x=Depends()) -> None: ...  # type: ignore[no-untyped-def]
async def not_callable(x: Any = Depends("text")) -> None: ...  # type: ignore[arg-type]
async def socket_in_http(ws: WebSocket) -> None: ...
async def json_and_form(a: int = Body(), b: int = Form()) -> None: ...
async def form_beside_model(a: Report = Form(), b: int = Form()) -> None: ...
async def file_as_text(f: bytes = File()) -> None: ...
async def body_type(x: Strange = Body()) -> None: ...
async def asks(who: Principal) -> None: ...
async def asks_perhaps(who: Principal | None) -> None: ...
async def strange_answer() -> Strange: ...
async def checkers_only_answer() -> Item: ...
async def nothing() -> None: ...
async def broken_annotation(n: "x y") -> None: ...  # type: ignore[valid-type]  # noqa: F722
def complain() -> None:
    raise NameError("nobody knows")


async def broken_name(n: complain()) -> None: ...  # type: ignore[valid-type]
async def private_name(n: models._hidden) -> None: ...
async def generator():  # type: ignore[no-untyped-def]
    yield 1


async def takes_body(item: Report) -> None: ...
async def hands_on(_: None = Depends(takes_body)) -> None: ...
async def needs_header(h: Strange = Header()) -> None: ...
async def deep(_: None = Depends(needs_header)) -> None: ...
async def deep_annotation(_: None = Depends(broken_annotation)) -> None: ...
async def round_two(x: Any = Depends(lambda y=Depends(nothing): y)) -> None: ...
async def round_one(x: Any = Depends(round_two)) -> None: ...


round_two.__defaults__ = (Depends(round_one),)


@pytest.mark.parametrize(
    ("method", "path", "handler", "message"),
    [
        (
            "GET",
            "/",
            body_on_get,
            "'item': it is a body, and GET has none; write methods=[\"POST\"], or Depends(Model)",
        ),
        ("DELETE", "/", body_on_delete, "'n': it is a body, and DELETE has none"),
        ("GET", "/", list_of_models, "a model does not fit into one query parameter; write Depends(Model)"),
        ("GET", "/", model_in_header, "a model does not fit into one header parameter"),
        ("GET", "/", mapping, "does not fit into one query parameter"),
        ("POST", "/", table, "Ledger is a table; take a pydantic model, or its key and a session"),
        ("GET", "/", strange, "Strange cannot be read from a request; write a pydantic model, or Depends()"),
        ("POST", "/", body_type, "Strange cannot be read from a request"),
        ("GET", "/", response, "an answer is returned, with its headers; return a Response"),
        ("GET", "/", field_default, "Field() describes a model's field; write Query()"),
        ("GET", "/", positional, "'n' is positional-only; arguments are given by name"),
        (
            "GET",
            "/",
            checkers_only,
            "Item is known to type checkers only; import it where the program runs, too",
        ),
        ("GET", "/", checkers_only_inside, "models.Item is known to type checkers only"),
        ("GET", "/", checkers_only_generic, "Page is known to type checkers only"),
        ("GET", "/", rule_uncalled, "makes a rule and is none; write Depends("),
        ("GET", "/", checkers_only_dependency, "Page is known to type checkers only"),
        ("GET", "/", checkers_only_function, "models.page is known to type checkers only"),
        ("GET", "/", broken_annotation, "its parameters cannot be read"),
        ("GET", "/", broken_name, "its parameters cannot be read (nobody knows)"),
        ("GET", "/", private_name, "its parameters cannot be read (_hidden)"),
        ("GET", "/", no_path, "it is marked Path, and the path has no {id}; add it, or write Query()"),
        ("GET", "/{id}", aliased_path, "the path has no {key}"),
        ("GET", "/{id}", nothing, "the path has {id}, and the handler has no such parameter; add `id: str`"),
        (
            "GET",
            "/{id:int}",
            text_id,
            "'id': the path converts {id} to no str; take its type, or write {id}",
        ),
        ("GET", "/", nothing_to_call, "cannot be called; write Depends(function)"),
        ("GET", "/", not_callable, "'text' cannot be called; write Depends(function)"),
        ("GET", "/", socket_in_http, "there is no WebSocket here; HTTPConnection is what both have"),
        (
            "POST",
            "/",
            json_and_form,
            "reads either JSON or a form; mark all of them Form() and File(), or none",
        ),
        ("POST", "/", form_beside_model, "the form is 'a' as a whole; give its fields one by one"),
        ("POST", "/", file_as_text, "'f': it is a file; write UploadFile or list[UploadFile]"),
        (
            "GET",
            "/",
            asks,
            "asks who is calling, but nothing finds out; write AuthRouter(User).register_routes(app)",
        ),
        ("GET", "/", asks_perhaps, "asks who is calling"),
        ("GET", "/", strange_answer, "cannot be described"),
        ("GET", "/", checkers_only_answer, "it returns Item, known to type checkers only; import it, too"),
        (
            "GET",
            "/",
            generator,
            "a handler returns its answer; write StreamingResponse(...) around a generator",
        ),
        ("POST", "/", hands_on, " -> takes_body: parameter 'item': a body belongs to the handler"),
        ("GET", "/", deep, " -> needs_header: parameter 'h': Strange cannot be read from a request"),
        (
            "GET",
            "/",
            round_one,
            " -> round_two -> round_one: parameter 'x': round_two needs itself; break the cycle",
        ),
        ("GET", "/", deep_annotation, " -> broken_annotation: its parameters cannot be read"),
        ("GET", "/", min, "its parameters cannot be read"),
    ],
)
def test_a_wrong_handler_is_told(method: str, path: str, handler: Any, message: str) -> None:
    """The method, the path, the handler, the way to the parameter, and what to write instead."""
    assert message in told(method, path, handler)


async def socket_request(request: Request) -> None: ...
async def socket_body(item: Report) -> None: ...
async def socket_missing() -> None: ...
async def socket_asks(who: Principal) -> None: ...


@pytest.mark.parametrize(
    ("path", "handler", "message"),
    [
        ("/", socket_request, "there is no Request here; HTTPConnection is what both have"),
        ("/", socket_body, "'item': it is a body, and WEBSOCKET has none"),
        ("/{id}", socket_missing, "add `id: str`"),
        ("/", socket_asks, "asks who is calling"),
    ],
)
def test_a_wrong_socket_is_told(path: str, handler: Any, message: str) -> None:
    """WebSocket handlers are read as all others are."""
    app = make_app()
    app.websocket(path)(handler)
    (mistake,) = mistakes(app)
    assert mistake.startswith(f"WebSocket {path} (")
    assert message in mistake


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"status_code": 99}, "99 is no status of an answer; write 200 to 599"),
        ({"status_code": 600}, "600 is no status"),
        ({"policy": authenticated()}, "asks who is calling"),
        ({"policy": ~authenticated() & public()}, "asks who is calling"),
        ({"policy": 5}, "5 is no policy; write a function of `access`"),
        ({"policy": lambda: None}, "'<lambda>' takes (); write `async def rule(access)`"),
        ({"policy": lambda a, b: None}, "takes (a, b)"),
        ({"policy": type(authenticated())}, "the policy _Authenticated is a class; write _Authenticated()"),
        ({"policy": rows}, "rows makes a rule and is none; write rows(...)"),
        ({"policy": policy}, "policy makes a rule and is none"),
        ({"policy": public}, "public makes a rule and is none; write public(...)"),
        ({"policy": min}, "the parameters of the policy min are not known"),
        ({"response_model": Strange}, "cannot be described"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, Any], message: str) -> None:
    """Statuses, rules and response models are checked with the handler."""
    assert message in told("GET", "/", nothing, **options)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("items", "the path 'items' must start with '/'; write '/items'"),
        ("/{id:number}", "names 'number'; write one of: float, int, path, str, uuid"),
        ("/{a}/{a}", "give each parameter a name of its own"),
        ("/{a", "has a brace that names no parameter; write {name} or {name:int}"),
        ("/{a-b}", "has a brace that names no parameter"),
    ],
)
def test_a_wrong_path_is_told(path: str, message: str) -> None:
    """Whatever the handler is."""
    app = make_app()
    app.get(path)(nothing)
    (mistake,) = mistakes(app)
    assert message in mistake


@pytest.mark.parametrize(
    ("first", "second"), [("/a", "/a"), ("/a/{id}", "/a/{key}"), ("/a/{id:int}/b", "/a/{n:int}/b")]
)
def test_one_place_has_one_handler(first: str, second: str) -> None:
    """The names of parameters make no other place; another method, or another converter, does."""

    async def one(request: Request) -> None: ...

    async def two(request: Request) -> None: ...

    app = make_app()
    app.get(first)(one)
    app.get(second)(two)
    app.post(second)(one)
    app.get("/a/{id:path}")(one)
    (mistake,) = mistakes(app)
    told = "one and two have this method and path; give one of them another, or a prefix"
    assert mistake == f"GET {second} (two): {told}"


def test_two_routers_of_one_path_are_both_named() -> None:
    """By their models, with the modules where the names are equal; once for every operation."""

    def model(name: str, place: str) -> Any:
        own = own_registry()
        base = {"__abstract__": True, "registry": own, "_sa_registry": own, "metadata": own.metadata}
        root = type(JetioModel)("Root", (JetioModel,), base)
        made = type(JetioModel)(name, (root,), {"__tablename__": "posts", "__annotations__": {}})
        made.__module__ = place
        return made

    app = make_app()
    for made in (model("Post", "blog"), model("Post", "shop"), model("Article", "shop")):
        CrudRouter(made, actions=["list"]).register_routes(app)
    same, different = mistakes(app)
    told = "have this method and path; give one of them another, or a prefix"
    assert same == f"GET /posts (list_posts): CrudRouter(Post) of blog and CrudRouter(Post) of shop {told}"
    assert different == f"GET /posts (list_posts): CrudRouter(Post) and CrudRouter(Article) {told}"


def test_methods_are_a_list() -> None:
    """A word in its place would be read letter by letter."""
    app = make_app()
    app.route("/a", methods="post")(nothing)
    assert mistakes(app) == ("/a: methods='post' is no list; write methods=[\"POST\"]",)


@pytest.mark.parametrize("status", ["404", 200, True, 404.0, None])
def test_an_error_page_has_a_status_of_an_error(status: Any) -> None:
    """It would never be shown."""
    app = make_app()
    app.add_error_page(status, "<p>Lost")
    told = f"add_error_page({status!r}): no status of an error; write a number from 400 to 599"
    assert mistakes(app) == (told,)


def test_a_limit_that_does_not_exist_is_told_where_it_is_written() -> None:
    """With the nearest one that does."""
    with pytest.raises(ConfigError, match=re.escape("Query() has no limit 'max_lenght'; write max_length")):
        Query(max_lenght=3)  # type: ignore[call-arg]
    with pytest.raises(
        ConfigError, match=re.escape("Header('x') has no limit 'zzz'; write allow_inf_nan or ")
    ):
        Header("x", zzz=3)  # type: ignore[call-arg]


def test_an_unknown_event_is_told_where_it_is_written() -> None:
    """There are two."""
    with pytest.raises(ConfigError, match="no event 'start'; write 'startup' or 'shutdown'"):
        make_app().on_event("start")


def test_registering_late_is_told_where_it_is_written() -> None:
    """After the build nothing new is served: routes, sockets, CRUD routers."""
    app = make_app()
    app.build()
    late: list[Callable[[], Any]] = [
        lambda: app.get("/")(nothing),
        lambda: app.websocket("/")(nothing),
        lambda: CrudRouter(Ledger).register_routes(app),
    ]
    for register in late:
        with pytest.raises(
            ConfigError, match="is registered after the application was built; register it before"
        ):
            register()


class Finder:
    user_model = None
    schemas = ()

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        return None

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=1, sub="1")


def test_two_authenticators_are_one_too_many() -> None:
    """The same one may come twice."""
    app = make_app()
    finder = Finder()
    app.use_authenticator(finder)
    app.use_authenticator(finder)
    assert app.authenticator is finder
    app.build()
    second = make_app()
    second.use_authenticator(finder)
    second.use_authenticator(Finder())
    assert mistakes(second) == ("two authenticators for one application; register one AuthRouter",)


def test_all_mistakes_are_told_together() -> None:
    """Of every parameter of every handler, and what parts of the application find themselves; each once."""

    async def many(a: Strange, b: int = Path(), *, c: list[Report] = Query()) -> Strange: ...  # type: ignore[empty-body]

    def prepare(_: Jetio) -> None:
        raise ConfigError("a plugin is not content")

    app = make_app()
    app.get("/many", status_code=1, policy=5)(many)
    app.get("/many")(nothing)
    app.get("nowhere")(nothing)
    app.on_build += [prepare, prepare]
    assert len(mistakes(app)) == 8
    with pytest.raises(ConfigError, match=r"8 mistakes in this application:\n  1\. "):
        app.build()


def test_a_valid_application_has_none() -> None:
    """Handlers that look alike but are right."""
    app = make_app()

    async def fine(
        session: AsyncSession,
        files: list[UploadFile] | None = None,
        n: Annotated[int, Query(), Field(ge=1)] = 1,
    ) -> HTMLResponse | None: ...

    app.post("/fine", policy=functools.partial(lambda kind, access: None, "x"))(fine)
    app.build()
    app.build()
