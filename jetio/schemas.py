"""The request and response schemas of a resource: Create, Replace, Patch, Read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, create_model
from pydantic import Field as Limit
from pydantic_core import SchemaError

from .columns import is_document
from .errors import ConfigError
from .resource import Field, Resource

__all__ = ["Schemas", "adapter_of", "read_schema", "schemas_for"]

_REQUEST = ConfigDict(
    extra="forbid",
    strict=True,
    hide_input_in_errors=True,
    protected_namespaces=(),
    val_json_bytes="base64",
    ser_json_bytes="base64",
    ser_json_inf_nan="null",
    arbitrary_types_allowed=True,
)
_RESPONSE = ConfigDict(_REQUEST, extra="allow", strict=False)  # type: ignore[misc]  # a TypedDict called as a dict

_UNREADABLE = (PydanticUserError, SchemaError, TypeError)
"""What pydantic raises for types, and limits of them, that it can do nothing with."""

_cache: dict[Any, Any] = {}
_written: dict[Resource, dict[tuple[str | None, bool], Schemas]] = {}


@dataclass(frozen=True, eq=False)
class Schemas:
    """The request schemas of one router's view of a resource, each made when it is first asked for.

    A router asks at build for those that judge its bodies; the others are for the document.
    """

    resource: Resource
    suffix: str
    creatable: Mapping[str, Field]
    updatable: Mapping[str, Field]

    @cached_property
    def create(self) -> type[BaseModel]:
        """A new row."""
        return self._model("Create", self.creatable, _create_field, f"A new {self.resource.title}.")

    @cached_property
    def replace(self) -> type[BaseModel]:
        """All that may be changed of a row."""
        told = f"All of a {self.resource.title}: what is left out returns to its default."
        return self._model("Replace", self.updatable, _create_field, told)

    @property
    def whole(self) -> type[BaseModel]:
        """What judges the body of a PUT: `create`, where that takes the same fields."""
        return self.create if self.creatable.keys() == self.updatable.keys() else self.replace

    @cached_property
    def patch(self) -> type[BaseModel]:
        """Some of what may be changed."""
        told = f"The fields of a {self.resource.title} to change."
        return self._model("Patch", self.updatable, _patch_field, told)

    @cached_property
    def merge(self) -> type[BaseModel]:
        """`patch` as a merge patch documents it; the same where no field holds a document."""
        if not any(is_document(item.column.type) for item in self.updatable.values()):
            return self.patch
        told = (
            f"The fields of a {self.resource.title} to change; "
            "objects are merged into the documents that are there."
        )
        return self._model("Merge", self.updatable, _merge_field, told)

    def _model(
        self, kind: str, fields: Mapping[str, Field], declare: Any, description: str
    ) -> type[BaseModel]:
        return _model(
            self.resource, f"{self.resource.title}{kind}{self.suffix}", fields, declare, description
        )


def schemas_for(resource: Resource, *, owner: str | None = None, admin: bool = False) -> Schemas:
    """Cached by what they depend on: the owner column is the server's to set, admins may write more."""
    known = _written.setdefault(resource, {})
    key = owner, admin and any(item.admin_write for item in resource.fields.values())
    if key not in known:
        known[key] = _schemas(resource, *key, others=any(name != owner for name, _ in known))
    return known[key]


def _schemas(resource: Resource, owner: str | None, admin: bool, *, others: bool) -> Schemas:
    """`others` says that there are schemas with another owner, whose names are to differ."""

    def writable(item: Field) -> bool:
        return item.name != owner and (admin or not item.admin_write)

    fields = {name: item for name, item in resource.fields.items() if writable(item)}
    return Schemas(
        resource,
        suffix=("Admin" if admin else "") + ("Owned" if others and owner is not None else ""),
        creatable={name: item for name, item in fields.items() if item.creatable},
        updatable={name: item for name, item in fields.items() if item.updatable},
    )


def _model(
    resource: Resource, name: str, fields: Mapping[str, Field], declare: Any, description: str
) -> type[BaseModel]:
    declared = {_attribute(item.name): declare(item) for item in fields.values()}
    # Two models of one name are told apart by their modules.
    place = resource.model.__module__
    try:
        model: type[BaseModel] = create_model(
            name, __config__=_REQUEST, __doc__=description, __module__=place, **declared
        )
    except _UNREADABLE as error:
        raise next(_mistyped(resource, fields), error) from error
    return model


def _attribute(name: str) -> str:
    """A name that pydantic's own attributes leave free; the alias keeps what clients write."""
    return f"field_{name}" if hasattr(BaseModel, name) or name.startswith(("model_", "_")) else name


def field_names(fields: Mapping[str, Field]) -> dict[str, str]:
    """From the attributes of a schema to the fields of the resource."""
    return {_attribute(name): name for name in fields}


def _create_field(item: Field) -> tuple[Any, Any]:
    annotation = _optional(item)
    if item.required:
        return annotation, Limit(alias=_alias(item), description=_description(item))
    return annotation, Limit(
        default=item.shown_default,
        alias=_alias(item),
        description=_description(item),
        validate_default=False,
        json_schema_extra=None if _is_shown(item) else _drop_default,
    )


def _is_shown(item: Field) -> bool:
    """Whether the default in the schema is what a row gets: not where the server makes one."""
    column = item.column
    return item.shown_default is not None or (
        item.nullable and column.default is None and column.server_default is None
    )


def _patch_field(item: Field) -> tuple[Any, Any]:
    return _optional(item), Limit(
        default=None, alias=_alias(item), description=_description(item), json_schema_extra=_drop_default
    )


def _merge_field(item: Field) -> tuple[Any, Any]:
    """An object is merged before it is judged: null takes a member away, and what is missing stays (RFC 7396)."""
    annotation, limit = _patch_field(item)
    return (dict[str, Any] | annotation if is_document(item.column.type) else annotation), limit


def _drop_default(schema: Any) -> None:
    schema.pop("default", None)


def _optional(item: Field) -> Any:
    return item.annotation | None if item.nullable else item.annotation


def _alias(item: Field) -> str | None:
    return item.name if _attribute(item.name) != item.name else None


def _description(item: Field) -> str | None:
    return item.column.comment or item.column.doc


def adapter_of(resource: Resource, name: str) -> TypeAdapter[Any]:
    """The parser of a field's values in JSON, made once; raises ConfigError where pydantic makes none."""
    key = ("field", resource, name)
    if key not in _cache:
        try:
            _cache[key] = _adapter(resource.fields[name].annotation)
        except _UNREADABLE as error:
            told = " ".join(str(error).split())
            raise ConfigError(
                f"{resource.title}.{name}: pydantic can do nothing with this type and its limits ({told}); "
                "write others"
            ) from error
    adapter: TypeAdapter[Any] = _cache[key]
    return adapter


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return TypeAdapter(annotation)  # a model has a configuration of its own, and takes no other


def _mistyped(resource: Resource, names: Iterable[str]) -> Iterator[ConfigError]:
    """What is wrong with the types of these fields."""
    for name in names:
        try:
            adapter_of(resource, name)
        except ConfigError as error:
            yield error


def read_schema(
    resource: Resource, *, admin: bool = False, embedded: Mapping[str, Any] | None = None
) -> type[BaseModel]:
    """What an answer holds; documentation only, rows are written without it.

    `embedded` maps the names of relations to the annotation of what stands there.
    """
    key = ("read", resource, admin, frozenset((embedded or {}).items()))
    if key not in _cache:
        _cache[key] = _read(resource, admin, embedded or {})
    model: type[BaseModel] = _cache[key]
    return model


def _read(resource: Resource, admin: bool, embedded: Mapping[str, Any]) -> type[BaseModel]:
    declared: dict[str, Any] = {}
    for item in resource.readable(admin=True):
        default: Any = ... if not item.admin_read else None
        extra = _drop_default if item.admin_read else None
        declared[_attribute(item.name)] = (
            _optional(item),
            Limit(
                default=default, alias=_alias(item), description=_description(item), json_schema_extra=extra
            ),
        )
    for name, annotation in embedded.items():
        declared[_attribute(name)] = (annotation, Limit(alias=name if _attribute(name) != name else None))
    parts = "".join(part.title().replace("_", "") for part in embedded)
    name = f"{resource.title}With{parts}Read" if embedded else f"{resource.title}Read"
    model: type[BaseModel] = create_model(
        name,
        __config__=_RESPONSE,
        __doc__=f"A {resource.title} as it is read.",
        __module__=resource.model.__module__,
        **declared,
    )
    return model
