"""Arguments from the body: JSON, whole or by member, and forms with files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from types import UnionType
from typing import Annotated, Any, NamedTuple, NotRequired, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter
from pydantic import ValidationError as PydanticError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict  # typing's own serves pydantic from Python 3.12 on

from .body import entries_of, field_errors, parse_json, require_json
from .call import Call
from .errors import ConfigError, FieldError, Problem, ValidationError
from .large import LARGE, parse_large
from .parameters import Step, default_of, is_list
from .params import MISSING, Marker

__all__ = ["BodySpec", "Wanted", "body_steps", "holds_files", "is_document"]

JSON = "application/json"
MULTIPART = "multipart/form-data"
FORMS = ("application/x-www-form-urlencoded", MULTIPART)
FILES = (UploadFile, UploadFile | None, list[UploadFile], list[UploadFile] | None)


@dataclass(frozen=True, slots=True)
class BodySpec:
    """A documented body: its media types and its type; `others` are media types that have another one."""

    media: tuple[str, ...]
    adapter: TypeAdapter[Any]
    required: bool = True
    others: Mapping[str, TypeAdapter[Any]] = field(default_factory=dict)


class Wanted(NamedTuple):
    """An argument that the body is to give."""

    name: str
    kind: Any
    marker: Marker


def is_document(kind: Any) -> bool:
    """Whether an unmarked argument of this type is the body: a model, a dataclass, a list or a dictionary."""
    origin = get_origin(kind)
    if origin is Annotated:
        return is_document(get_args(kind)[0])
    if origin in (Union, UnionType):
        return any(is_document(part) for part in get_args(kind))
    if isinstance(origin, type):
        return issubclass(origin, BaseModel | Iterable)
    if not isinstance(kind, type):
        return False
    return issubclass(kind, BaseModel | dict | list | tuple | set | frozenset) or is_dataclass(kind)


def holds_files(wanted: Sequence[Wanted]) -> bool:
    """Whether the form brings files."""
    return any(item.marker.source == "file" for item in wanted)


def body_steps(wanted: Sequence[Wanted], title: str) -> tuple[BodySpec, list[tuple[str, Step]]]:
    """What the body is, and what makes each argument of it; raises ConfigError."""
    forms = [item for item in wanted if item.marker.source != "body"]
    if not forms:
        return _json_steps(wanted, title)
    if len(forms) != len(wanted):
        raise ConfigError(
            "one handler reads either JSON or a form; mark all of them Form() and File(), or none"
        )
    return _form_steps(forms, title)


def _typed(item: Wanted) -> Any:
    info = item.marker.info
    return item.kind if info is None else Annotated[item.kind, info]


def _members(wanted: Iterable[Wanted], title: str) -> TypeAdapter[Any]:
    """The type of an object with these members."""
    kinds = {item.marker.alias or item.name: (_typed(item), item.marker) for item in wanted}
    members = {
        name: kind if marker.default is MISSING else NotRequired[kind]
        for name, (kind, marker) in kinds.items()
    }
    return TypeAdapter(TypedDict(title, members))  # type: ignore[operator]  # the functional form, known at build only


# ---- JSON ----------------------------------------------------------------------------------------


def _json_steps(wanted: Sequence[Wanted], title: str) -> tuple[BodySpec, list[tuple[str, Step]]]:
    if len(wanted) > 1 or wanted[0].marker.embed:
        adapter = _members(wanted, title)
        required = any(item.marker.default is MISSING for item in wanted)
        read = _document_step(adapter, {item.name: None for item in wanted}, None if required else dict)
        return BodySpec((JSON,), adapter, required), [
            (item.name, _member_step(read, item)) for item in wanted
        ]
    (item,) = wanted
    adapter = TypeAdapter(_typed(item))
    required = item.marker.default is MISSING
    names = getattr(item.kind, "model_fields", None) or getattr(item.kind, "__dataclass_fields__", {})
    step = _document_step(adapter, names, None if required else default_of(item.marker))
    return BodySpec((JSON,), adapter, required), [(item.name, step)]


def _document_step(
    adapter: TypeAdapter[Any], names: Iterable[str], default: Callable[[], Any] | None
) -> Step:
    known = tuple(names)

    async def step(call: Call) -> Any:
        raw = await call.body()
        if not raw and default is not None:
            return default()
        require_json(call.scope)
        if len(raw) > LARGE:
            return await parse_large(partial(parse_json, adapter.validator, raw, known))
        return parse_json(adapter.validator, raw, known)

    return step


def _member_step(read: Step, item: Wanted) -> Step:
    default = default_of(item.marker)

    async def step(call: Call) -> Any:
        if read not in call.values:
            call.values[read] = None  # what the first argument reported, the others do not report again
            call.values[read] = await read(call)
        document = call.values[read]
        return None if document is None else document[item.name] if item.name in document else default()

    return step


# ---- forms ---------------------------------------------------------------------------------------


def _form_steps(wanted: Sequence[Wanted], title: str) -> tuple[BodySpec, list[tuple[str, Step]]]:
    models = [
        item
        for item in wanted
        if item.marker.source == "form" and is_document(item.kind) and not is_list(item.kind)
    ]
    if models and len(wanted) > 1:
        raise ConfigError(
            f"the form is {models[0].name!r} as a whole; give its fields one by one to have others beside it"
        )
    if models:
        adapter = TypeAdapter(_typed(models[0]))
        return BodySpec(FORMS, adapter), [(models[0].name, _model_step(models[0].kind, adapter))]
    documented = _members([item._replace(kind=_documented(item)) for item in wanted], title)
    required = any(item.marker.default is MISSING for item in wanted)
    spec = BodySpec((MULTIPART,) if holds_files(wanted) else FORMS, documented, required)
    return spec, [(item.name, _field_step(item)) for item in wanted]


def _documented(item: Wanted) -> Any:
    if item.marker.source == "form":
        return item.kind
    one = Annotated[str, Field(json_schema_extra={"format": "binary"})]
    return list[one] if is_list(item.kind) else one


async def _read_form(call: Call) -> FormData:
    media, given = parse_options_header(call.request.headers.get("content-type"))
    # A client's choice of codec is not followed: some of Python's take minutes for a megabyte.
    charset = given.get(b"charset", b"utf-8").lower()
    if media.decode("latin-1") not in FORMS or charset not in (b"utf-8", b"utf8"):
        headers = {"Accept-Post": ", ".join(FORMS)}
        raise Problem(
            415, "unsupported_media_type", f"The body must be {' or '.join(FORMS)}", headers=headers
        )
    try:
        form = await call.request.form()
    except HTTPException:
        raise Problem(400, "bad_request", "The form cannot be read") from None
    if any("\0" in value for pair in form.multi_items() for value in pair if isinstance(value, str)):
        raise Problem(400, "bad_request", "Text may not hold the character NUL")
    return form


def _given(form: FormData, name: str) -> list[Any]:
    """The values of a field; a file input that was left empty gives none."""
    return [
        item for item in form.getlist(name) if not isinstance(item, UploadFile) or item.filename or item.size
    ]


def _field_step(item: Wanted) -> Step:
    name, many, default = item.marker.alias or item.name, is_list(item.kind), default_of(item.marker)
    judge = (
        _file(name) if item.marker.source == "file" else TypeAdapter(_typed(item)).validator.validate_python
    )

    async def step(call: Call) -> Any:
        given = _given(await _read_form(call), name)
        if not given:
            if item.marker.default is MISSING:
                raise ValidationError([FieldError("missing", "This is required", pointer=f"/{name}")])
            return default()
        if len(given) > 1 and not many:
            raise ValidationError([FieldError("repeated", "This may be given once", pointer=f"/{name}")])
        try:
            return judge(given if many else given[0])
        except PydanticError as error:
            raise _refused(error, (name,)) from None

    return step


def _file(name: str) -> Callable[[Any], Any]:
    def judge(given: Any) -> Any:
        if not all(isinstance(one, UploadFile) for one in (given if isinstance(given, list) else [given])):
            raise ValidationError([FieldError("file_type", "This must be a file", pointer=f"/{name}")])
        return given

    return judge


def _model_step(kind: Any, adapter: TypeAdapter[Any]) -> Step:
    known = getattr(kind, "model_fields", {})
    lists = {info.alias or name for name, info in known.items() if is_list(info.annotation)}

    async def step(call: Call) -> Any:
        form = await _read_form(call)
        fields = {name: _given(form, name) for name in form}
        given = {
            name: held if name in lists or len(held) > 1 else held[0] for name, held in fields.items() if held
        }
        try:
            return adapter.validate_python(given)
        except PydanticError as error:
            raise _refused(error, ()) from None

    return step


def _refused(error: PydanticError, place: tuple[str, ...]) -> Problem:
    entries: list[Mapping[str, Any]] = [
        {**entry, "loc": (*place, *entry["loc"])} for entry in entries_of(error)
    ]
    return ValidationError(field_errors(entries))
