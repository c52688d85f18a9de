"""What the operations of one document share: schemas by name, problem responses, security schemes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from typing_extensions import TypedDict  # typing's own serves pydantic from Python 3.12 on

from ..errors import FieldError, ValidationError
from ..errors import Problem as Raised
from ..principal import SecurityScheme
from ..wire import NO_NUL

__all__ = ["PROBLEM_MEDIA", "Components", "Mode"]

Mode = Literal["validation", "serialization"]
Document = dict[str, Any]

PROBLEM_MEDIA = "application/problem+json"
PLACE = "#/components/schemas/"


class ProblemError(TypedDict):
    """One thing that is wrong, and where: in the body, in a parameter or in a header."""

    code: Annotated[str, Field(description="Stable, for programs")]
    message: Annotated[str, Field(description="A sentence for people")]
    pointer: NotRequired[Annotated[str, Field(description="A JSON pointer into the body (RFC 6901)")]]
    parameter: NotRequired[str]
    header: NotRequired[str]
    index: NotRequired[Annotated[int, Field(description="The item of a bulk request")]]


class Problem(TypedDict):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Field(examples=["urn:jetio:problem:not_found"], json_schema_extra={"format": "uri"})]
    title: str
    status: int
    detail: Annotated[str, Field(description="A sentence for people")]
    code: Annotated[str, Field(description="Stable, for programs", examples=["not_found"])]
    instance: NotRequired[Annotated[str, Field(description="The path of the request")]]
    request_id: NotRequired[Annotated[str, Field(description="Leads to the report in the log")]]
    errors: NotRequired[list[ProblemError]]


_PROBLEM: TypeAdapter[Any] = TypeAdapter(Problem)

_ANSWERS: Mapping[int, tuple[str, str, str]] = {
    400: ("BadRequest", "The request cannot be read", "bad_request"),
    401: ("Unauthorized", "Nobody is signed in, or the credential is not accepted", "not_authenticated"),
    403: ("Forbidden", "The caller may not do this", "forbidden"),
    404: ("NotFound", "There is nothing here that the caller may see", "not_found"),
    405: ("MethodNotAllowed", "The address does not know this method", "method_not_allowed"),
    409: ("Conflict", "It clashes with what is stored", "conflict"),
    410: ("Gone", "It was here and is over", "expired"),
    412: ("PreconditionFailed", "The row is not in the state that If-Match names", "etag_mismatch"),
    413: ("ContentTooLarge", "The body is too large", "content_too_large"),
    415: (
        "UnsupportedMediaType",
        "The body is of a type that is not accepted here",
        "unsupported_media_type",
    ),
    422: ("UnprocessableContent", "Well-formed, but not valid; errors says what", "validation"),
    429: ("TooManyRequests", "Too many requests; Retry-After says when to try again", "rate_limited"),
    503: ("ServiceUnavailable", "Not available right now; Retry-After says when to try again", "unavailable"),
}

_TEXT: Document = {"type": "string"}
_RETRY: Document = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}
_HEADERS: Mapping[int, Document] = {
    401: {"WWW-Authenticate": {"description": "How to authenticate", "required": True, "schema": _TEXT}},
    405: {"Allow": {"description": "The methods that are known", "required": True, "schema": _TEXT}},
    429: _RETRY,
    503: _RETRY,
}


_PLAIN = (str, bool, int)


class _Generator(GenerateJsonSchema):
    """What the framework itself asks of every body stands in the schema; the titles of fields do not."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # a type of the application's own that tells nothing about itself

    def encode_default(self, dft: Any) -> Any:
        """As the base does, without a TypeAdapter for each of the plain values that nearly all defaults are."""
        return dft if dft is None or type(dft) in _PLAIN else super().encode_default(dft)

    def str_schema(self, schema: Any) -> JsonSchemaValue:
        told = super().str_schema(schema)
        return {**told, **NO_NUL} if self.mode == "validation" else told

    def _common_set_schema(self, schema: Any) -> JsonSchemaValue:
        told = super()._common_set_schema(schema)
        if self.mode == "validation":
            del told["uniqueItems"]  # a member that stands twice is taken once
        return told


class Components:
    """Schemas of all types in use, made in one pass so that names never clash.

    A model that reads and writes alike has one schema; two models of one name get distinct names.
    """

    def __init__(self, adapters: Iterable[tuple[Mode, TypeAdapter[Any]]], problems: Iterable[int]) -> None:
        used = {(id(adapter), mode): adapter for mode, adapter in adapters}
        used[id(_PROBLEM), "serialization"] = _PROBLEM
        self._schemas, definitions = TypeAdapter.json_schemas(
            [(key, mode, adapter) for (key, mode), adapter in used.items()],
            ref_template=f"{PLACE}{{model}}",
            schema_generator=_Generator,
        )
        found = definitions.get("$defs", {})
        self._same = _same_both_ways(found)
        self._definitions: Document = {}
        for name, told in sorted(found.items()):  # of two that are the same, what is asked of input is told
            self._definitions.setdefault(self._same.get(name, name), _renamed(told, self._same))
        self._problems = sorted(set(problems))

    def schema(self, adapter: TypeAdapter[Any], mode: Mode) -> Document:
        """The schema of a type, or a reference to it."""
        told: Document = _renamed(self._schemas[id(adapter), mode], self._same)
        return told

    def problem(self, status: int) -> Document:
        """A reference to the response that is shared by all operations."""
        return {"$ref": f"#/components/responses/{_name(status)}"}

    def document(self, schemes: Sequence[SecurityScheme]) -> Document:
        """The Components Object."""
        made: Document = {"schemas": self._definitions}
        if self._problems:
            made["responses"] = {_name(status): self._response(status) for status in self._problems}
        if schemes:
            made["securitySchemes"] = {scheme.name: dict(scheme.definition) for scheme in schemes}
        return made

    def _response(self, status: int) -> Document:
        schema = self.schema(_PROBLEM, "serialization")
        content = {PROBLEM_MEDIA: {"schema": schema} | _example(status)}
        response: Document = {"description": _description(status), "content": content}
        return response | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _same_both_ways(found: Mapping[str, Document]) -> dict[str, str]:
    """New names of the schemas that read and write alike, although pydantic keeps them apart.

    It does so with types that hold themselves, for each of the two refers to itself. That text may hold no
    NUL is asked of input alone, and makes no difference.
    """
    pairs = {name.removesuffix("-Input") for name in found if name.endswith("-Input")}
    same = {base for base in pairs if f"{base}-Output" in found and base not in found}
    while True:
        names = {f"{base}-{side}": base for base in same for side in ("Input", "Output")}
        differing = {
            base
            for base in same
            if _compared(found[f"{base}-Input"], names) != _compared(found[f"{base}-Output"], names)
        }
        if not differing:
            return names
        same -= differing


def _compared(told: Document, names: Mapping[str, str]) -> Any:
    def bare(node: Document) -> Document:
        return {key: value for key, value in node.items() if (key, value) != ("propertyNames", {})}

    return _walked(_without_rules(_renamed(told, names)), bare)


def _renamed(told: Any, names: Mapping[str, str]) -> Any:
    """The schema with references to the new names, as it goes into the document."""

    def rename(node: Document) -> Document:
        place = node.get("$ref")
        if isinstance(place, str):
            name = place.removeprefix(PLACE)
            return {**node, "$ref": PLACE + names.get(name, name)}
        if any(item.get("format") == "binary" for item in _parts(node)):
            bare: Document = _without_rules(node)
            return bare  # tools cannot judge `not` where they hold the bytes of files
        if "properties" in node and node.get("additionalProperties") is True:
            return {key: value for key, value in node.items() if key != "additionalProperties"}
        return node

    return _walked(told, rename)


def _parts(node: Document) -> list[Document]:
    """The members of an object, and what is in those that are lists."""
    members = [item for item in node.get("properties", {}).values() if isinstance(item, dict)]
    return [part for item in members for part in (item, item.get("items", {})) if isinstance(part, dict)]


def _without_rules(node: Document) -> Any:
    return _walked(node, lambda inner: {key: value for key, value in inner.items() if {key: value} != NO_NUL})


def _walked(told: Any, change: Callable[[Document], Document]) -> Any:
    if isinstance(told, list):
        return [_walked(item, change) for item in told]
    if not isinstance(told, dict):
        return told
    return change({key: _walked(value, change) for key, value in told.items()})


def _name(status: int) -> str:
    return _ANSWERS[status][0] if status in _ANSWERS else f"Problem{status}"


def _example(status: int) -> Document:
    """What such an answer looks like; without it tools would show one and the same for every status."""
    if status not in _ANSWERS:
        return {}
    _, detail, code = _ANSWERS[status]
    wrong = [FieldError("missing", "Field required", pointer="/name")]
    told = ValidationError(wrong) if status == 422 else Raised(status, code, detail)
    return {"example": told.document()}


def _description(status: int) -> str:
    if status in _ANSWERS:
        return _ANSWERS[status][1]
    known = {item.value: item.phrase for item in HTTPStatus}
    return known.get(status, "A problem")
