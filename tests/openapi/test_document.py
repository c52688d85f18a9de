"""What `app.openapi()` tells of an application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, HttpUrl, create_model
from sqlalchemy import MetaData, Numeric
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from jetio import (
    CrudRouter,
    Jetio,
    JetioModel,
    Principal,
    Query,
    SecurityScheme,
    Settings,
    add_swagger_ui,
    authenticated,
    policy,
    public,
    read_only,
    rows,
)
from tests.openapi.workshop import SETTINGS, Frame, Note, Tokens, make_app
from tests.registries import own_registry

Document = dict[str, Any]

REFUSED = "#/components/responses/"


class Bag(BaseModel):
    words: set[str]


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    held: Jetio | None = None


class Names(BaseModel):
    by_code: dict[Annotated[str, Field(pattern="^[a-z]$")], int]
    any: dict[str, int]


Own = create_model("Problem", weight=(int, ...))


@pytest.fixture(scope="module")
def workshop() -> Jetio:
    """The application with one of everything, built and never started."""
    return make_app()


@pytest.fixture(scope="module")
def document(workshop: Jetio) -> Document:
    """Its document."""
    return workshop.openapi()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The same application, running."""
    file = tmp_path_factory.mktemp("workshop") / "workshop.db"
    with TestClient(make_app(f"sqlite+aiosqlite:///{file}"), raise_server_exceptions=False) as client:
        yield client


def bare(**options: Any) -> Jetio:
    """An application of nothing."""
    return Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", **options)


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every operation with its path and method."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def parameters(operation: Document) -> dict[str, Document]:
    """The parameters by name."""
    return {item["name"]: item for item in operation.get("parameters", ())}


def body_of(operation: Document, media: str = "application/json") -> Document:
    """The schema of a body."""
    found: Document = operation["requestBody"]["content"][media]["schema"]
    return found


def answer_of(operation: Document, status: int, media: str = "application/json") -> Document:
    """The schema of an answer."""
    found: Document = operation["responses"][str(status)]["content"][media]["schema"]
    return found


def resolved(document: Document, schema: Document) -> Document:
    """The schema that a reference names."""
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


# ---- the whole -------------------------------------------------------------------------------------------


def test_the_document_is_valid(document: Document) -> None:
    """It follows the OpenAPI 3.1 specification, whatever the application has."""
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_an_application_of_nothing_has_a_document() -> None:
    """No operations, no tags, no security."""
    document = bare().openapi()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["info"] == {"title": "Jetio", "version": "0.1.0"}
    assert (document["paths"], document["tags"]) == ({}, [])
    assert "securitySchemes" not in document["components"]


def test_the_application_introduces_itself(document: Document) -> None:
    """Title, version and description are the application's."""
    assert document["info"] == {"title": "Workshop", "version": "2.1", "description": "One of *everything*."}


def test_the_document_is_made_once(workshop: Jetio) -> None:
    """Who asks twice gets the same object."""
    assert workshop.openapi() is workshop.openapi()


def test_the_document_is_plain_json(document: Document) -> None:
    """Nothing in it is more than JSON: strings of tables are plain strings too."""
    assert json.loads(json.dumps(document)) == document
    assert {type(tag) for _, _, operation in operations(document) for tag in operation.get("tags", ())} == {
        str
    }


def test_asking_for_the_document_builds_the_application() -> None:
    """Then nothing can be registered any more."""
    app = bare()

    @app.get("/one")
    async def one() -> int:
        return 1

    assert list(app.openapi()["paths"]) == ["/one"]
    with pytest.raises(Exception, match="after the application was built"):
        app.get("/two")(one)


# ---- paths and names -------------------------------------------------------------------------------------


def test_paths_carry_no_convertors(document: Document) -> None:
    """`{number:int}` is `{number}`; a prefix is a part of the path."""
    assert "/pages/{number}" in document["paths"]
    assert "/v1/members/{id}" in document["paths"]
    assert not [path for path in document["paths"] if ":" in path]


def test_what_is_not_listed_is_not_there(document: Document) -> None:
    """HEAD, OPTIONS, WebSockets, `include_in_schema=False`, the page and the document itself."""
    assert set(document["paths"]["/branches"]) == {"get", "post"}
    assert not {"/socket", "/secret", "/docs", "/openapi.json"} & set(document["paths"])
    assert {method for _, method, _ in operations(document)} == {"get", "post", "put", "patch", "delete"}


def test_paths_of_one_shape_are_one_path(document: Document) -> None:
    """OpenAPI takes `/pages/{number}` and `/pages/{name}` for the same: the first names count.

    Where two have the same method, the first is told: it is the one that answers.
    """
    found = document["paths"]["/pages/{number}"]
    assert set(found) == {"put", "delete", "get"}
    assert {name for item in found.values() for name in parameters(item)} == {"number"}
    assert found["get"]["operationId"] == "shadowed"
    assert not [path for path in document["paths"] if path != "/pages/{number}" and path.startswith("/pages")]


def test_operation_ids_are_unique() -> None:
    """The handler's name; with the method, the path and a number as far as that is needed."""
    app = bare()

    async def same() -> int:
        return 1

    app.route("/one", methods=["GET", "POST"])(same)
    app.get("/two")(same)
    app.get("/a-b")(same)
    app.get("/a_b")(same)
    found = [operation["operationId"] for _, _, operation in operations(app.openapi())]
    assert found == ["same", "same_post", "same_get", "same_get_a_b", "same_get_a_b_4"]


def test_routers_name_their_operations(document: Document) -> None:
    """By action and path, with words that people read."""
    numbers, one = document["paths"]["/numbers"], document["paths"]["/numbers/{id}"]
    told = {item["operationId"]: item["summary"] for item in (*numbers.values(), *one.values())}
    assert told == {
        "list_numbers": "List numbers",
        "create_numbers": "Create number",
        "retrieve_numbers": "Retrieve number",
        "replace_numbers": "Replace number",
        "update_numbers": "Update number",
        "delete_numbers": "Delete number",
    }
    assert document["paths"]["/v1/members"]["get"]["operationId"] == "list_v1_members"


def test_a_docstring_is_summary_and_description(document: Document) -> None:
    """Its first line, and the rest; without one the name is read aloud."""
    login = document["paths"]["/token"]["post"]
    assert (login["summary"], login["description"]) == ("Log in", "The name is the number of a member.")
    assert document["paths"]["/pages/{number}"]["put"]["summary"] == "Write a page"
    assert document["paths"]["/pages/{number}"]["delete"]["summary"] == "Drop page"


def test_tags_are_told_in_order(document: Document) -> None:
    """The table's name, unless the router or route has its own."""
    assert [tag["name"] for tag in document["tags"]][:3] == ["numbers", "moments", "texts"]
    assert (
        document["paths"]["/cards"]["get"]["tags"] == document["paths"]["/token"]["post"]["tags"] == ["mail"]
    )
    assert "tags" not in document["paths"]["/search"]["get"]


# ---- parameters ------------------------------------------------------------------------------------------


def test_parameters_stand_where_they_are_read(document: Document) -> None:
    """Query, header and cookie; those of dependencies too, each once."""
    operation = document["paths"]["/search"]["get"]
    found = parameters(operation)
    assert {name: item["in"] for name, item in found.items()} == {
        "q": "query", "day": "query", "mood": "query", "tag": "query", "page": "query",
        "x-request-kind": "header", "trace": "header", "session": "cookie",
    }  # fmt: skip
    assert [name for name, item in found.items() if item["required"]] == ["q"]
    assert found["q"]["description"] == "Words"
    assert len(operation["parameters"]) == len(found)


def test_a_parameter_is_never_null(document: Document) -> None:
    """One that may be left out has the schema of what it is when it is there."""
    found = parameters(document["paths"]["/search"]["get"])
    assert found["day"]["schema"] == {"type": "string", "format": "date"}
    assert found["page"]["schema"] == {"type": "integer", "minimum": 1, "default": 1}
    assert found["mood"]["schema"] == {"$ref": "#/components/schemas/Mood", "default": "good"}
    assert found["tag"]["schema"]["type"] == "array"


def test_several_types_without_null_stay_several() -> None:
    """`int | date | None` is either of the two."""
    app = bare()

    @app.get("/when")
    async def when(at: int | float | None = None) -> int:
        return 1

    found = parameters(app.openapi()["paths"]["/when"]["get"])
    assert found["at"]["schema"] == {"anyOf": [{"type": "integer"}, {"type": "number"}]}


def test_a_default_that_is_no_json_is_not_told() -> None:
    """The parameter is; it only has no default in the document."""
    app = bare()

    @app.get("/odd")
    async def odd(kind: Any = Query(object())) -> int:  # noqa: B008 - the marker is the default
        return 1

    assert parameters(app.openapi()["paths"]["/odd"]["get"])["kind"]["schema"] == {}


def test_path_parameters_are_always_told(document: Document) -> None:
    """By the handler's annotation, else by the convertor: no path has a hole."""
    found = parameters(document["paths"]["/plain/{ident}/{width}"]["get"])
    assert found["ident"]["schema"] == {"type": "string", "format": "uuid"}
    assert found["width"]["schema"] == {"type": "number", "minimum": 0}
    assert parameters(document["paths"]["/raw/{rest}"]["get"])["rest"]["schema"] == {"type": "string"}
    assert all(item["required"] for item in found.values())


def test_keys_are_told_by_their_type(document: Document) -> None:
    """One column's type; for a key of several columns the way to write it."""
    number = parameters(document["paths"]["/numbers/{id}"]["get"])["id"]
    assert number["schema"] == {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1, "examples": [1]}
    seat = parameters(document["paths"]["/seats/{id}"]["get"])["id"]
    assert seat["schema"]["type"] == "string"
    assert "row, number, joined by commas" in seat["description"]


# ---- bodies ----------------------------------------------------------------------------------------------


def test_bodies_are_told_by_media_type(document: Document) -> None:
    """JSON; for PATCH merge-patch too; for a form both encodings, and only one that carries files."""
    paths = document["paths"]
    assert set(paths["/numbers"]["post"]["requestBody"]["content"]) == {"application/json"}
    assert set(paths["/numbers/{id}"]["patch"]["requestBody"]["content"]) == {
        "application/json",
        "application/merge-patch+json",
    }
    assert set(paths["/token"]["post"]["requestBody"]["content"]) == {
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    }
    assert set(paths["/pictures/{album}"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}


def test_files_are_binary(document: Document) -> None:
    """One file and several, with the fields beside them."""
    schema = resolved(
        document, body_of(document["paths"]["/pictures/{album}"]["post"], "multipart/form-data")
    )
    one = {"type": "string", "format": "binary"}
    assert schema["properties"]["picture"] == one
    assert schema["properties"]["more"] == {"type": "array", "items": one}
    assert schema["required"] == ["picture"]


def test_a_body_may_be_optional(document: Document) -> None:
    """As the handler's default says."""
    paths = document["paths"]
    assert paths["/branches"]["post"]["requestBody"]["required"] is False
    assert paths["/pages/{number}"]["put"]["requestBody"]["required"] is True
    assert "requestBody" not in paths["/branches"]["get"]


def test_request_schemas_refuse_what_they_do_not_name(document: Document) -> None:
    """Create and Replace ask for what a row needs, Patch for nothing."""
    schemas = document["components"]["schemas"]
    for name in ("TextCreate", "TextReplace", "TextPatch"):
        assert schemas[name]["additionalProperties"] is False
    assert schemas["TextCreate"]["required"] == ["title", "body"]
    assert "required" not in schemas["TextPatch"]
    assert "id" not in schemas["TextCreate"]["properties"]


def test_defaults_are_told_where_a_row_gets_them(document: Document) -> None:
    """Not for a value that the server makes, and never in a Patch."""
    schemas = document["components"]["schemas"]
    moment, number = schemas["MomentCreate"]["properties"], schemas["NumberCreate"]["properties"]
    assert (number["age"]["default"], number["active"]["default"]) == (18, True)
    assert moment["mood"]["default"] == "good"
    assert moment["level"]["default"] is None
    assert "default" not in moment["token"]
    assert not [item for item in schemas["NumberPatch"]["properties"].values() if "default" in item]


def test_what_is_hidden_is_not_in_the_document(document: Document) -> None:
    """A secret is written and never read; its schema says so by being absent."""
    schemas = document["components"]["schemas"]
    assert "pin" in schemas["TextCreate"]["properties"]
    assert "pin" not in schemas["TextRead"]["properties"]


def test_tools_make_reasonable_examples(document: Document) -> None:
    """Where they would take the lowest number, or make text of a pattern, an example stands in the schema.

    It is one that the schema allows.
    """
    told = 0
    for name, schema in document["components"]["schemas"].items():
        for column, inner in schema.get("properties", {}).items():
            whole = {**inner, "components": document["components"]}
            for example in inner.get("examples", ()):
                assert jsonschema_rs.validator_for(whole).is_valid(example), (name, column)
                told += 1
    assert told > 20
    assert document["components"]["schemas"]["NumberCreate"]["properties"]["big"]["examples"] == [1]
    assert document["components"]["schemas"]["NumberRead"]["properties"]["big"] == {"type": "integer"}


def test_comments_of_columns_are_descriptions(document: Document) -> None:
    """What the database is told, clients are told."""
    assert document["components"]["schemas"]["TextCreate"]["properties"]["title"]["description"] == "Its name"


# ---- answers ---------------------------------------------------------------------------------------------


def test_every_answer_has_its_schema(document: Document) -> None:
    """The status of the route, the type of the handler, the Read schema of a model."""
    paths = document["paths"]
    assert answer_of(paths["/numbers"]["post"], 201) == {"$ref": "#/components/schemas/NumberRead"}
    assert answer_of(paths["/numbers"]["get"], 200)["items"] == {"$ref": "#/components/schemas/NumberRead"}
    assert answer_of(paths["/pages/{number}"]["put"], 201) == {"$ref": "#/components/schemas/Page"}
    assert answer_of(paths["/mine"]["get"], 200)["type"] == "object"
    assert paths["/numbers/{id}"]["delete"]["responses"]["204"] == {"description": "Gone"}
    assert paths["/pages/{number}"]["delete"]["responses"]["204"] == {"description": "Done"}


def test_embedded_relations_are_told(document: Document) -> None:
    """The row of the other table, or null where the caller may not see it."""
    note = resolved(document, answer_of(document["paths"]["/notes/{id}"]["get"], 200))
    assert note["properties"]["member"] == {
        "anyOf": [{"$ref": "#/components/schemas/MemberRead"}, {"type": "null"}]
    }


def test_responses_tell_their_own_media_type(document: Document) -> None:
    """HTML and text are strings; a plain Response tells nothing; an untold handler gives JSON."""
    paths = document["paths"]
    assert answer_of(paths["/page"]["get"], 200, "text/html") == {"type": "string"}
    assert answer_of(paths["/plain/{ident}/{width}"]["get"], 200, "text/plain") == {"type": "string"}
    assert "content" not in paths["/raw/{rest}"]["get"]["responses"]["200"]
    assert "content" not in paths["/away"]["get"]["responses"]["307"]
    assert paths["/untold"]["get"]["responses"]["200"]["content"] == {"application/json": {}}


def test_headers_of_answers_are_told(document: Document) -> None:
    """The address of a new row, the links of a list."""
    created = document["paths"]["/numbers"]["post"]["responses"]["201"]["headers"]
    assert created["Location"]["description"] == "The address of the new row"
    assert {"Link", "X-Total-Count"} <= set(
        document["paths"]["/numbers"]["get"]["responses"]["200"]["headers"]
    )


def test_problems_are_shared_responses(document: Document) -> None:
    """Each status that an operation may refuse with is a reference to one response of problem details."""
    responses = document["paths"]["/pages/{number}"]["put"]["responses"]
    assert responses["409"] == {"$ref": f"{REFUSED}Conflict"}
    assert {status for status, told in responses.items() if "$ref" in told} == {
        "400", "404", "409", "413", "415", "422", "429",
    }  # fmt: skip
    for response in document["components"]["responses"].values():
        [(media, told)] = response["content"].items()
        assert media == "application/problem+json"
        assert told["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_problems_tell_their_headers() -> None:
    """The challenge of a 401, the methods of a 405, when to try again after 429 and 503."""
    app = bare()

    @app.get("/all", problems=[401, 405, 429, 503, 418, 499])
    async def everything() -> int:
        return 1

    responses = app.openapi()["components"]["responses"]
    assert responses["Unauthorized"]["headers"]["WWW-Authenticate"]["required"] is True
    assert responses["MethodNotAllowed"]["headers"]["Allow"]["required"] is True
    assert "Retry-After" in responses["TooManyRequests"]["headers"]
    assert "Retry-After" in responses["ServiceUnavailable"]["headers"]
    assert responses["Problem418"]["description"] == "I'm a Teapot"
    assert responses["Problem499"]["description"] == "A problem"


def test_an_own_answer_wins_over_a_problem() -> None:
    """A route whose answer is 409 tells that answer."""
    app = bare()

    @app.post("/odd", status_code=409, problems=[409])
    async def odd() -> int:
        return 1

    assert answer_of(app.openapi()["paths"]["/odd"]["post"], 409) == {"type": "integer"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/numbers/77", {}, 404),
        ("GET", "/numbers?page=0&strange=1", {}, 422),
        ("GET", "/mine", {}, 401),
        ("PUT", "/cards/1", {"headers": {"Authorization": "Bearer 1"}, "json": {}}, 403),
        ("POST", "/numbers", {"content": b"{"}, 415),
        ("POST", "/numbers", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/numbers", {"json": {"age": "old"}}, 422),
        ("PATCH", "/numbers", {"json": {}}, 405),
        ("GET", "/nowhere", {}, 404),
    ],
)
def test_real_problems_are_as_documented(
    client: TestClient, document: Document, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """What the framework answers fits the Problem schema."""
    answer = client.request(method, path, **options)
    assert answer.status_code == status
    schema = {**document["components"]["schemas"]["Problem"], "components": document["components"]}
    assert [str(error) for error in jsonschema_rs.validator_for(schema).iter_errors(answer.json())] == []


# ---- security --------------------------------------------------------------------------------------------

REQUIRED: list[Document] = [{"Password": []}]
OPTIONAL: list[Document] = [{"Password": []}, {}]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("get", "/numbers", None),
        ("get", "/v1/members", REQUIRED),
        ("get", "/notes", OPTIONAL),
        ("post", "/notes", REQUIRED),
        ("get", "/cards", REQUIRED),
        ("post", "/cards", OPTIONAL),
        ("delete", "/cards/{id}", OPTIONAL),
        ("get", "/me", OPTIONAL),
        ("get", "/mine", REQUIRED),
        ("delete", "/pages/{number}", REQUIRED),
        ("get", "/search", None),
    ],
)
def test_operations_tell_who_must_log_in(document: Document, method: str, path: str, expected: Any) -> None:
    """Nobody, everybody, or whoever wants to: where a rule may admit an anonymous caller, or only looks."""
    operation = document["paths"][path][method]
    assert operation.get("security") == expected
    refusals = {"401", "403"} & set(operation["responses"])
    assert refusals == ({"401", "403"} if expected else set())


def test_schemes_are_the_authenticators(document: Document) -> None:
    """As it describes them."""
    assert document["components"]["securitySchemes"] == {
        "Password": {"type": "oauth2", "flows": {"password": {"tokenUrl": "/token", "scopes": {}}}}
    }


def test_schemes_are_told_only_where_they_are_used() -> None:
    """An application whose every door is open has none."""
    app = bare()
    app.use_authenticator(Tokens())

    @app.get("/open")
    async def opened() -> int:
        return 1

    assert "securitySchemes" not in app.openapi()["components"]


def test_several_schemes_are_alternatives() -> None:
    """Any one of them is enough."""

    class Two(Tokens):
        @property
        def schemes(self) -> list[SecurityScheme]:
            return [
                *super().schemes,
                SecurityScheme("Key", {"type": "apiKey", "in": "header", "name": "X-Key"}),
            ]

    app = bare()
    app.use_authenticator(Two())

    @app.get("/mine")
    async def mine(caller: Principal) -> int:
        return 1

    assert app.openapi()["paths"]["/mine"]["get"]["security"] == [{"Password": []}, {"Key": []}]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (authenticated() | public(), OPTIONAL),
        (authenticated() & public(), REQUIRED),
        (rows(lambda _: Note.shown) | authenticated(), OPTIONAL),
        (rows(lambda _: Note.shown) & authenticated(), REQUIRED),
        (~rows(lambda _: Note.shown), OPTIONAL),
        (~authenticated(), REQUIRED),
        (read_only(), OPTIONAL),
        (policy(lambda access: None), OPTIONAL),  # type: ignore[arg-type]  # it is never asked
        (lambda request: None, REQUIRED),
    ],
)
def test_combined_rules_tell_who_must_log_in(rule: Any, expected: Any) -> None:
    """AND admits an anonymous caller where both do, OR where one does, NOT where its rule does."""
    app = Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", metadata=Note.metadata)
    app.use_authenticator(Tokens())
    CrudRouter(Note, policy={"*": rule}).register_routes(app)
    assert app.openapi()["paths"]["/notes"]["get"]["security"] == expected


# ---- schemas ---------------------------------------------------------------------------------------------


def test_a_model_that_reads_and_writes_alike_is_one_schema(document: Document) -> None:
    """Also when it holds itself, and although input is asked for text without NUL."""
    schemas = document["components"]["schemas"]
    assert {"Branch", "Page", "Json", "Frame"} <= set(schemas)
    assert not [name for name in schemas if "-" in name]
    assert schemas["Branch"]["properties"]["branches"]["items"] == {"$ref": "#/components/schemas/Branch"}


def test_a_model_that_reads_and_writes_differently_is_two_schemas() -> None:
    """A set may be given with a member twice; it is answered with each once."""
    app = bare()

    @app.post("/bags")
    async def fill(body: Bag) -> Bag:
        return body

    document = app.openapi()
    assert body_of(document["paths"]["/bags"]["post"]) == {"$ref": "#/components/schemas/Bag-Input"}
    assert answer_of(document["paths"]["/bags"]["post"], 200) == {"$ref": "#/components/schemas/Bag-Output"}
    assert document["components"]["schemas"]["Bag-Output"]["properties"]["words"]["uniqueItems"] is True
    assert "uniqueItems" not in document["components"]["schemas"]["Bag-Input"]["properties"]["words"]


def test_two_models_of_one_name_are_two_schemas() -> None:
    """Tables in two modules, and a model of the application's called Problem."""

    def shelf(module: str, **columns: Any) -> type[JetioModel]:
        inside = {"__module__": module, "__abstract__": True, "metadata": MetaData()}
        base = type("Base", (JetioModel,), inside)
        names = {"__module__": module, "__tablename__": module, "__annotations__": columns}
        return type("Shelf", (base,), {**names, "id": mapped_column(primary_key=True)})

    app = bare()
    for model in (
        shelf("garden", id=Mapped[int], plants=Mapped[int]),
        shelf("kitchen", id=Mapped[int], pots=Mapped[str]),
    ):
        CrudRouter(model).register_routes(app)

    @app.get("/problem")
    async def difficult() -> Own:
        return Own(weight=1)

    document = app.openapi()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    plants, pots = (
        resolved(document, body_of(document["paths"][path]["post"])) for path in ("/garden", "/kitchen")
    )
    assert (set(plants["properties"]), set(pots["properties"])) == ({"plants"}, {"pots"})
    own = resolved(document, answer_of(document["paths"]["/problem"]["get"], 200))
    shared = document["components"]["responses"]["NotFound"]["content"]["application/problem+json"]["schema"]
    assert set(own["properties"]) == {"weight"}
    assert "detail" in resolved(document, shared)["properties"]


def test_the_same_rows_differently_embedded_are_two_schemas() -> None:
    """One router embeds, another does not: each tells what it answers."""
    app = Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", metadata=Note.metadata)
    CrudRouter(Note).register_routes(app)
    CrudRouter(Note, load_relationships=["member"]).register_routes(app, prefix="/full")
    paths = app.openapi()["paths"]
    assert answer_of(paths["/notes/{id}"]["get"], 200) == {"$ref": "#/components/schemas/NoteRead"}
    assert answer_of(paths["/full/notes/{id}"]["get"], 200) == {
        "$ref": "#/components/schemas/NoteWithMemberRead"
    }


def test_a_type_without_a_schema_may_be_anything() -> None:
    """The rest of the document does not suffer from it."""
    app = bare()

    @app.get("/opaque")
    async def show() -> Odd:
        return Odd()

    assert "held" in app.openapi()["components"]["schemas"]["Odd"]["properties"]


def test_a_column_is_told_as_far_as_a_pattern_can_tell_it() -> None:
    """A number with limits other than zero has no text beside it; an address of any scheme has no pattern."""

    class Alone(JetioModel):
        __abstract__ = True
        registry = _sa_registry = own_registry()
        metadata = registry.metadata

    class Parcel(Alone):
        weight: Mapped[Annotated[Decimal, Field(ge=3, le=7)]] = mapped_column(Numeric(4, 2))
        height: Mapped[Annotated[Decimal, Field(ge=0)]] = mapped_column(Numeric(4, 2))
        tracked: Mapped[AnyUrl]
        shown: Mapped[HttpUrl]

    app = Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", metadata=Alone.metadata)
    CrudRouter(Parcel).register_routes(app)
    told = app.openapi()["components"]["schemas"]["ParcelCreate"]["properties"]
    assert (told["weight"]["type"], told["weight"]["minimum"], told["weight"]["maximum"]) == ("number", 3, 7)
    assert [way["type"] for way in told["height"]["anyOf"]] == ["number", "string"]
    assert "pattern" not in told["tracked"]
    assert told["shown"]["pattern"] == "^(http|https):"


def test_keys_of_a_dictionary_may_have_a_pattern() -> None:
    """Beside what every text is asked."""
    app = bare()

    @app.post("/names")
    async def add(body: Names) -> int:
        return 1

    told = app.openapi()["components"]["schemas"]["Names"]["properties"]
    assert told["by_code"]["patternProperties"] == {"^[a-z]$": {"type": "integer"}}
    assert told["any"]["propertyNames"] == {"not": {"type": "string", "pattern": r"\x00"}}


def test_nested_models_are_schemas_of_their_own(document: Document) -> None:
    """A column that holds a model refers to it."""
    told = document["components"]["schemas"]["DocumentCreate"]["properties"]["frame"]
    assert told["anyOf"][0] == {"$ref": f"#/components/schemas/{Frame.__name__}"}


def test_without_the_page_there_is_still_a_document() -> None:
    """`app.openapi()` needs no `add_swagger_ui`, which changes nothing in it."""
    with_page, without = bare(title="One"), bare(title="One")
    add_swagger_ui(with_page)
    assert with_page.openapi() == without.openapi()


def test_settings_are_not_in_the_document() -> None:
    """Neither keys nor addresses of databases."""
    app = Jetio(
        settings=Settings(env="test", secret_key="the key of this test"), database="sqlite+aiosqlite://"
    )
    assert "the key of this test" not in json.dumps(app.openapi())
    assert "sqlite" not in json.dumps(app.openapi())
