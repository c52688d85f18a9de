"""The request and response schemas of a resource: Create, Replace, Patch, Read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic import Field as Limit

from .columns import is_document
from .resource import Field, Resource

__all__ = ["Schemas", "read_schema", "schemas_for", "write_schemas"]

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

_cache: dict[Any, Any] = {}


@dataclass(frozen=True, slots=True)
class Schemas:
    """The request schemas of one router's view of a resource; `merge` is `patch` as a merge patch documents it."""

    create: type[BaseModel]
    replace: type[BaseModel]
    patch: type[BaseModel]
    merge: type[BaseModel]
    creatable: Mapping[str, Field]
    updatable: Mapping[str, Field]


def schemas_for(resource: Resource, *, owner: str | None = None, admin: bool = False) -> Schemas:
    """Cached by what they depend on: the owner column is the server's to set, admins may write more."""
    key = (resource, owner, admin)
    if key not in _cache:
        _cache[key] = write_schemas(resource, owner, admin)
    schemas: Schemas = _cache[key]
    return schemas


def write_schemas(resource: Resource, owner: str | None, admin: bool) -> Schemas:
    """Build the three request schemas."""

    def writable(item: Field) -> bool:
        return item.name != owner and (admin or not item.admin_write)

    creatable = {name: item for name, item in resource.fields.items() if item.creatable and writable(item)}
    updatable = {name: item for name, item in resource.fields.items() if item.updatable and writable(item)}
    suffix = _suffix(resource, owner, admin)
    title = resource.title
    model = partial(_model, resource)
    patch = model(f"{title}Patch{suffix}", updatable, _patch_field, f"The fields of a {title} to change.")
    told = f"The fields of a {title} to change; objects are merged into the documents that are there."
    merges = any(is_document(item.column.type) for item in updatable.values())
    return Schemas(
        create=model(f"{title}Create{suffix}", creatable, _create_field, f"A new {title}."),
        replace=model(
            f"{title}Replace{suffix}",
            updatable,
            _create_field,
            f"All of a {title}: what is left out returns to its default.",
        ),
        patch=patch,
        merge=model(f"{title}Merge{suffix}", updatable, _merge_field, told) if merges else patch,
        creatable=creatable,
        updatable=updatable,
    )


def _suffix(resource: Resource, owner: str | None, admin: bool) -> str:
    parts = ["Admin"] if admin and any(item.admin_write for item in resource.fields.values()) else []
    if owner is not None:
        others = [key for key in _cache if isinstance(key, tuple) and key[0] is resource and key[1] != owner]
        parts += ["Owned"] if others else []
    return "".join(parts)


def _model(
    resource: Resource, name: str, fields: Mapping[str, Field], declare: Any, description: str
) -> type[BaseModel]:
    declared = {_attribute(item.name): declare(item) for item in fields.values()}
    # Two models of one name are told apart by their modules.
    place = resource.model.__module__
    model: type[BaseModel] = create_model(
        name, __config__=_REQUEST, __doc__=description, __module__=place, **declared
    )
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
