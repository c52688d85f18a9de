"""Bodies that may be JSON or a form: one set of rules judges both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, TypeAdapter

from jetio import (
    Application,
    BodySpec,
    FieldError,
    Operation,
    Request,
    ValidationError,
    parse_json,
    read_body,
    require_json,
)

__all__ = ["JSON", "MEDIA", "FormOperation", "PageOperation", "is_form", "read_form"]

MEDIA = ("application/json", "application/x-www-form-urlencoded")
JSON = MEDIA[:1]
"""What is documented where forms come from our own page alone, and are answered by one."""
LONGEST_BODY = 16 * 1024
_Body = TypeVar("_Body", bound=BaseModel)


class FormOperation(Operation):
    """A handler that reads its body by `read_form`; the body is documented here."""

    def __init__(
        self,
        handler: Callable[..., Any],
        body: type[BaseModel],
        *,
        media: Sequence[str] = MEDIA,
        problems: Sequence[int] = (),
        **options: Any,
    ) -> None:
        self.body, self.told = body, tuple(media)
        problems = [400, 413, 415, 422, *problems]
        super().__init__("POST", handler, tags=["auth"], problems=problems, **options)

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.spec.body = BodySpec(self.told, TypeAdapter(self.body))


_PAGE = {"text/html": {"schema": {"type": "string"}}}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ANSWERS = {
    "200": {"description": "The page", "content": _PAGE},
    "404": {"description": "The link is not valid", "content": _PAGE | _PROBLEM},
    "410": {"description": "The link was used, or is too old", "content": _PAGE},
}
"""A browser gets a page, and a program a problem where the address is none of ours."""


class PageOperation(Operation):
    """A page that a link leads to; what it refuses is a page too."""

    def __init__(self, handler: Callable[..., Any], name: str) -> None:
        super().__init__("GET", handler, html=True, name=name, tags=["auth"])

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.spec.extra = {"responses": _ANSWERS}


def is_form(request: Request) -> bool:
    """Whether a page sends it, and people read the answer."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA[1]


async def read_form(request: Request, model: type[_Body]) -> _Body:
    """The body as the model says; raises 400, 413, 415 or 422."""
    raw = await read_body(request.scope, request.receive, LONGEST_BODY)
    media = require_json(request.scope, MEDIA)
    text = raw if media == MEDIA[0] else _as_json(raw)
    body: _Body = parse_json(model.__pydantic_validator__, text, model.model_fields)
    return body


def _as_json(raw: bytes) -> bytes:
    """The form as the JSON that means the same."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise ValidationError([FieldError("form", "The form cannot be read", pointer="")]) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValidationError([FieldError("repeated", "A field stands twice", pointer="")])
    return json.dumps(fields).encode()
