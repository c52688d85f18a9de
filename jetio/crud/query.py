"""What a request asks for: the page of a list, the key of a row, from the URL alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from sqlalchemy.engine.default import DefaultDialect

from ..columns import is_foreign
from ..dialects.values import dump
from ..errors import FieldError, Problem, ValidationError, not_found
from ..numerals import Whole
from ..resource import Field, Resource

__all__ = [
    "ListQuery", "Paging", "format_key", "key_parser", "list_parser", "page_links", "parse_key",
    "parse_list", "refuse_parameters", "refuse_unknown",
]  # fmt: skip

LARGEST_OFFSET = 2**63 - 1
LARGEST_PAGE = 2**31 - 1
HARD_CAP = 1000
_REMEMBERED, _SHORT = 256, 200  # query strings, and their longest in bytes
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Paging:
    """How a router cuts its lists. `size` None: no pages, but never more than 1000 rows."""

    size: int | None = 50
    largest: int = 200


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A parsed list request. One row more than `limit` is fetched to know whether more follow.

    `order` names fields, each with whether it descends; the key follows them. `kept` is what the addresses of
    other pages begin their query string with.
    """

    limit: int
    offset: int
    style: str
    count: bool = False
    kept: str = ""
    order: tuple[tuple[str, bool], ...] = ()

    @property
    def page(self) -> int:
        """The number of this page, from 1."""
        return self.offset // self.limit + 1 if self.limit else 1


PARAMETERS = ("page", "page_size", "limit", "offset", "count")


def parse_list(raw: bytes, paging: Paging) -> ListQuery:
    """Raises 422 `unknown_parameter` or `validation`."""
    if not raw:
        return ListQuery(paging.size or HARD_CAP, 0, "page")
    pairs = _pairs(raw)
    refuse_unknown((name for name, _ in pairs), PARAMETERS)
    given = _unrepeated(pairs)
    paged, sliced = {"page", "page_size"} & set(given), {"limit", "offset"} & set(given)
    if paged and sliced:
        message = "page and page_size do not go together with limit and offset"
        raise ValidationError([FieldError("mixed_pagination", message, parameter=sorted(sliced)[0])])
    count = _count(given.get("count"))
    if paging.size is None and (paged or sliced):
        name = sorted(paged | sliced)[0]
        raise ValidationError(
            [FieldError("unknown_parameter", "This list has no pages", parameter=name)],
            code="unknown_parameter",
        )
    if sliced:
        limit = _whole(given, "limit", paging.size or HARD_CAP, 0, paging.largest)
        offset = _whole(given, "offset", 0, 0, LARGEST_OFFSET - limit - 1)
        return ListQuery(limit, offset, "offset", count or limit == 0, _kept(pairs))
    size = _whole(
        given, "page_size", paging.size or HARD_CAP, 1, max(paging.largest, paging.size or HARD_CAP)
    )
    page = _whole(given, "page", 1, 1, LARGEST_PAGE)
    return ListQuery(size, (page - 1) * size, "page", count, _kept(pairs))


def list_parser(paging: Paging) -> Callable[[bytes], ListQuery]:
    """`parse_list` with a memory of what clients ask for again and again."""
    remembered = lru_cache(_REMEMBERED)(partial(parse_list, paging=paging))
    return lambda raw: remembered(raw) if len(raw) <= _SHORT else parse_list(raw, paging)


def _kept(pairs: Iterable[tuple[str, str]]) -> str:
    text = urlencode([pair for pair in pairs if pair[0] not in ("page", "offset")])
    return f"{text}&" if text else ""


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise Problem(400, "bad_request", "The query string cannot be read") from None
    if any("\0" in part for pair in pairs for part in pair):
        raise Problem(400, "bad_request", "Text may not hold the character NUL")
    return pairs


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raises 422 `unknown_parameter` for the names in a query string that are not known."""
    unknown = sorted({name for name in names if name not in known})
    if unknown:
        errors = [
            FieldError("unknown_parameter", "There is no such parameter", parameter=name[:100])
            for name in unknown
        ]
        raise ValidationError(
            errors,
            "The query string has a parameter that this address does not know",
            code="unknown_parameter",
        )


def refuse_parameters(raw: bytes) -> None:
    """For addresses that take no parameter: raises 422 `unknown_parameter`."""
    if raw:
        refuse_unknown((name for name, _ in _pairs(raw)), ())


def _unrepeated(pairs: list[tuple[str, str]]) -> dict[str, str]:
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValidationError([FieldError("repeated", "This parameter stands twice", parameter=twice)])
    return given


def _whole(given: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise ValidationError([FieldError("int_parsing", "This must be a whole number", parameter=name)])
    value = int(text)
    if not least <= value <= most:
        raise ValidationError(
            [FieldError("out_of_range", f"This must be from {least} to {most}", parameter=name)]
        )
    return value


def _count(text: str | None) -> bool:
    if text in (None, "none"):
        return False
    if text == "exact":
        return True
    raise ValidationError([FieldError("literal_error", "This must be exact or none", parameter="count")])


def page_links(path: str, query: ListQuery, *, more: bool, total: int | None) -> str:
    """The `Link` header (RFC 8288) to the first, previous, next and, where the total is known, last page."""
    places = {"first": 0, "prev": max(query.offset - query.limit, 0) if query.offset else None}
    places["next"] = query.offset + query.limit if more else None
    if total is not None:
        places["last"] = max(total - 1, 0) // query.limit * query.limit
    return ", ".join(
        f'<{_address(path, query, offset)}>; rel="{rel}"'
        for rel, offset in places.items()
        if offset is not None
    )


def _address(path: str, query: ListQuery, offset: int) -> str:
    place = f"page={offset // query.limit + 1}" if query.style == "page" else f"offset={offset}"
    return f"{path}?{query.kept}{place}"


_ANY_DIALECT = DefaultDialect()


# ---- keys --------------------------------------------------------------------------------------------------


def key_parser(resource: Resource) -> Callable[[str], tuple[Any, ...]]:
    """What reads the keys of a resource as `parse_key` does; usual numbers go a shorter way."""
    digits = _digits(resource.key[0]) if len(resource.key) == 1 else 0
    if not digits:
        return partial(parse_key, resource)

    def parse(raw: str) -> tuple[Any, ...]:
        if raw.isdecimal() and raw.isascii() and len(raw) <= digits and raw[0] != "0":
            return (int(raw),)
        return parse_key(resource, raw)

    return parse


def _digits(item: Field) -> int:
    """How many digits a number may have that is a value of the field without a further look; 0: none."""
    bare, *limits = get_args(item.annotation) or (item.annotation,)
    plain = bare is int and len(limits) == 1 and isinstance(limits[0], Whole)
    return len(str(limits[0].most)) - 1 if plain and not is_foreign(item.column.type) else 0


def parse_key(resource: Resource, raw: str) -> tuple[Any, ...]:
    """The key's values from a path segment; raises 404 for one that no row can have.

    A composite key's values stand in the mapper's order, joined by commas, each percent-encoded: `raw` is
    still encoded then.
    """
    parts = [raw] if len(resource.key) == 1 else [unquote(part) for part in raw.split(",")]
    if len(parts) != len(resource.key):
        raise not_found()
    values = [_key_value(adapter, part) for adapter, part in zip(resource.key_adapters, parts, strict=True)]
    for item, value in zip(resource.key, values, strict=True):
        _refuse_unsendable(item, value)
    return tuple(values)


def _refuse_unsendable(item: Field, value: Any) -> None:
    """What a type of the application's own does not even send is the key of no row."""
    if is_foreign(item.column.type):
        bind = item.column.type._cached_bind_processor(_ANY_DIALECT)
        try:
            _ = bind(value) if bind is not None else None
        except Exception:
            raise not_found() from None


def _key_value(adapter: TypeAdapter[Any], text: str) -> Any:
    try:
        value = adapter.validate_strings(text)
    except PydanticError:
        raise not_found() from None
    if isinstance(value, int) and not isinstance(value, bool) and str(value) != text:
        raise not_found()  # one row has one address: 007 and +7 are none
    return value


def format_key(resource: Resource, values: Sequence[Any]) -> str:
    """The key as one path segment."""
    if len(values) == 1 and type(values[0]) is int:
        return str(values[0])
    return ",".join(quote(_key_text(value), safe="") for value in values)


def _key_text(value: Any) -> str:
    return value if isinstance(value, str) else dump(value).decode().strip('"')
