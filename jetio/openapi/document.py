"""Built operations as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter
from starlette.convertors import Convertor
from starlette.routing import compile_path

from ..dependencies import BodySpec, Parameter
from ..operation import Answer, OperationSpec
from ..principal import Authenticator
from ..routing import Endpoint
from .components import Components, Document, Mode

__all__ = ["Described", "make_document"]

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
BODILESS = frozenset({204, 205, 304})

_CONVERTED: dict[str, Document] = {
    "IntegerConvertor": {"type": "integer", "minimum": 0},
    "FloatConvertor": {"type": "number", "minimum": 0},
    "UUIDConvertor": {"type": "string", "format": "uuid"},
}


class Described(Protocol):
    """What the document tells of an application."""

    title: str
    version: str
    description: str

    @property
    def authenticator(self) -> Authenticator | None: ...

    @property
    def endpoints(self) -> Sequence[tuple[str, Endpoint]]: ...


def make_document(app: Described) -> Document:
    """The OpenAPI document of a built application; plain values, ready for JSON."""
    listed = [(path, item) for path, item in app.endpoints if item.method in METHODS and item.spec.listed]
    specs: list[OperationSpec] = [endpoint.spec for _, endpoint in listed]
    for spec in specs:
        if spec.types is not None:
            spec.types()
    types = [pair for spec in specs for pair in _types(spec)]
    components = Components(types, {status for spec in specs for status in spec.problems})
    asked = app.authenticator is not None and any(spec.secured for spec in specs)
    schemes = app.authenticator.schemes if app.authenticator is not None and asked else ()
    writer = _Writer(components, [scheme.name for scheme in schemes])
    for path, endpoint in listed:
        writer.add(path, endpoint)
    document: Document = {"openapi": "3.1.0", "info": _info(app), "paths": writer.paths}
    tags = dict.fromkeys(str(tag) for spec in specs for tag in spec.tags)
    return document | {"tags": [{"name": tag} for tag in tags], "components": components.document(schemes)}


def _info(app: Described) -> Document:
    info = {"title": app.title, "version": app.version}
    return info | ({"description": app.description} if app.description else {})


def _types(spec: OperationSpec) -> Iterator[tuple[Mode, TypeAdapter[Any]]]:
    yield from (("validation", item.adapter) for item in spec.parameters)
    if spec.body is not None:
        for adapter in (spec.body.adapter, *spec.body.others.values()):
            yield "validation", adapter
    yield from (("serialization", answer.adapter) for answer in spec.answers if answer.adapter is not None)


class _Writer:
    """Collects operations under their paths."""

    def __init__(self, components: Components, schemes: Sequence[str]) -> None:
        self.components, self.schemes = components, schemes
        self.paths: dict[str, Document] = {}
        self._shapes: dict[str, str] = {}
        self._ids: set[str] = set()

    def add(self, path: str, endpoint: Endpoint) -> None:
        """Describe one endpoint.

        Paths that differ only in the names of their parameters are one path to OpenAPI: the first names
        count, and of two endpoints for one method the first is told, as it is the one that answers.
        """
        _, template, convertors = compile_path(path)
        place = self._shapes.setdefault(re.sub(r"{\w+}", "{}", template), template)
        methods, method = self.paths.setdefault(place, {}), endpoint.method.lower()
        if method not in methods:
            names = dict(zip(_names(template), _names(place), strict=True))
            parameters = self._parameters(endpoint.spec, convertors, names)
            methods[method] = self._operation(path, endpoint, parameters)

    def _operation(self, path: str, endpoint: Endpoint, parameters: list[Document]) -> Document:
        spec: OperationSpec = endpoint.spec
        told: Document = {
            "tags": [str(tag) for tag in spec.tags],  # a table's name is no plain string
            "summary": spec.summary,
            "description": spec.description,
            "operationId": self._identity(spec.operation_id or endpoint.name, endpoint.method, path),
            "parameters": parameters,
            "requestBody": self._body(spec.body) if spec.body is not None else None,
            "deprecated": spec.deprecated,
            "security": self._security(spec),
        }
        present = {name: value for name, value in told.items() if value}
        return {**present, "responses": self._responses(spec), **spec.extra}

    def _identity(self, wanted: str, method: str, path: str) -> str:
        place = re.sub(r"\W+", "_", path).strip("_")
        choices = (wanted, f"{wanted}_{method.lower()}", f"{wanted}_{method.lower()}_{place}")
        free = next((name for name in choices if name not in self._ids), f"{choices[-1]}_{len(self._ids)}")
        self._ids.add(free)
        return free

    def _parameters(
        self, spec: OperationSpec, convertors: Mapping[str, Convertor[Any]], names: Mapping[str, str]
    ) -> list[Document]:
        """One entry for each place and name; parts of the path that no handler asks for are told too."""
        found: dict[tuple[str, str], Document] = {}
        for item in spec.parameters:
            found.setdefault((item.source, item.name), self._parameter(item, names))
        for name, convertor in convertors.items():
            told = {"name": names[name], "in": "path", "required": True, "schema": _converted(convertor)}
            found.setdefault(("path", name), told)
        return list(found.values())

    def _parameter(self, item: Parameter, names: Mapping[str, str]) -> Document:
        schema = _without_null(self.components.schema(item.adapter, "validation"))
        if item.default is not None:
            schema |= _default(item)
        in_path = item.source == "path"
        told: Document = {"name": names[item.name] if in_path else item.name, "in": item.source}
        if item.description:
            told["description"] = item.description
        return {**told, "required": item.required or in_path, "schema": schema}

    def _body(self, body: BodySpec) -> Document:
        told = {media: body.others.get(media, body.adapter) for media in body.media}
        content = {
            media: {"schema": self.components.schema(adapter, "validation")}
            for media, adapter in told.items()
        }
        return {"required": body.required, "content": content}

    def _responses(self, spec: OperationSpec) -> Document:
        told = {answer.status: self._answer(answer) for answer in spec.answers}
        problems = {status: self.components.problem(status) for status in spec.problems if status not in told}
        return {str(status): response for status, response in sorted((told | problems).items())}

    def _answer(self, answer: Answer) -> Document:
        response: Document = {"description": answer.description}
        if answer.headers:
            response["headers"] = {name: _header(text) for name, text in answer.headers.items()}
        if answer.media is not None and answer.status not in BODILESS:
            response["content"] = {answer.media: self._content(answer, answer.media)}
        return response

    def _content(self, answer: Answer, media: str) -> Document:
        if answer.adapter is not None:
            return {"schema": self.components.schema(answer.adapter, "serialization")}
        return {"schema": {"type": "string"}} if media.startswith("text/") else {}

    def _security(self, spec: OperationSpec) -> list[Document]:
        if not spec.secured or not self.schemes:
            return []
        refused = frozenset[str]().union(*(rule.refused_schemes for rule in spec.rules))
        ways: list[Document] = [{name: []} for name in self.schemes if name not in refused]
        return [*ways, {}] if spec.optional_login else ways


def _header(description: str) -> Document:
    return {"description": description, "schema": {"type": "string"}}


def _names(template: str) -> list[str]:
    return re.findall(r"{(\w+)}", template)


def _converted(convertor: Convertor[Any]) -> Document:
    return dict(_CONVERTED.get(type(convertor).__name__, {"type": "string"}))


def _default(item: Parameter) -> Document:
    try:
        return {"default": item.adapter.dump_python(item.default, mode="json")}
    except ValueError:  # pydantic's own errors are some: a default that is no JSON is not told
        return {}


def _without_null(schema: Document) -> Document:
    """A parameter that may be left out is never the word null."""
    ways = [way for way in schema.get("anyOf", ()) if way != {"type": "null"}]
    if not ways:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**ways[0], **rest} if len(ways) == 1 else {**rest, "anyOf": ways}
