"""Lists for people: searched, sorted, or of given keys, under the rule of the router's own list."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, String, and_, bindparam, false, func, or_
from sqlalchemy import Enum as EnumType
from starlette.types import Scope, Send

from ...body import RequestBody
from ...crud.query import ListQuery
from ...crud.reader import Reader
from ...crud.reading import List, Retrieve
from ...crud.views import view_of
from ...database import UnitOfWork
from ...policy import Access, AllowWhere, Decision, both
from ...resource import Field
from ...routing import Application

__all__ = ["ASKED", "Asked", "Row", "Rows", "is_secret"]

T = TypeVar("T")
ASKED = "jetio.panel.asked"
MOST_WORDS = 8
_SECRET = re.compile(r"(^|_)(passw\w*|secret|token|pin)(_|$)")


@dataclass(slots=True)
class Asked:
    """What a page wants to see; `documents` and `total` are the answer. `keys` None: whichever rows there are."""

    limit: int
    offset: int = 0
    words: Sequence[str] = ()
    order: tuple[tuple[str, bool], ...] = ()
    keys: Sequence[tuple[Any, ...]] | None = None
    documents: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0


class Rows(List):
    """The router's list, asked by the panel in place of a query string."""

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        views = {admin: view_of(self.resource, (), admin=admin) for admin in (False, True)}
        self.readers = {admin: Reader(view) for admin, view in views.items()}
        self.searched = {
            admin: [item for item in view.fields if _is_text(item) and not is_secret(item.name)]
            for admin, view in views.items()
        }

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        asked: Asked = scope[ASKED]
        admin = self._is_admin(access)
        visible = {item.name for item in self.readers[admin].view.fields}
        order = tuple(part for part in asked.order if part[0] in visible)
        query = ListQuery(asked.limit, asked.offset, "offset", True, order=order)
        for clause in self._clauses(asked, admin):
            decision = both(decision, AllowWhere(clause))
        page = await self.readers[admin].page(access.work, {"": decision}, query)
        asked.documents = json.loads(page.body)
        asked.total = page.total or 0
        await access.work.commit()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _clauses(self, asked: Asked, admin: bool) -> list[ColumnElement[bool]]:
        found = [self._holds(word, admin) for word in asked.words[:MOST_WORDS]]
        if asked.keys is not None:
            found.append(self._among(asked.keys))
        return found

    def _holds(self, word: str, admin: bool) -> ColumnElement[bool]:
        """The word stands in one of the texts that the page shows to this caller, or is the key."""
        ways = [
            func.lower(item.column).contains(word.lower(), autoescape=True) for item in self.searched[admin]
        ]
        if len(self.resource.key) == 1 and isinstance(self.resource.key[0].column.type, Integer):
            number = int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None
            ways += [] if number is None else [self.resource.key[0].column == number]
        return or_(*ways) if ways else false()

    def _among(self, keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
        size = 1 << (len(keys) - 1).bit_length()  # few shapes: the last key fills up to a power of two
        filled = [*keys, *[keys[-1]] * (size - len(keys))]
        return or_(*(and_(*map(_equals, self.resource.key, key)) for key in filled))


class Row(Retrieve):
    """The router's single row, from the primary: a form shows what the next click will change."""

    def _read(self, work: UnitOfWork, steps: Callable[[UnitOfWork], Awaitable[T]]) -> Awaitable[T]:
        return steps(work)


def is_secret(name: str) -> bool:
    """Whether a column is called like something that is written and never shown."""
    return _SECRET.search(name.lower()) is not None


def _equals(item: Field, value: Any) -> ColumnElement[bool]:
    return item.column == bindparam(None, value, type_=item.column.type, unique=True)


def _is_text(item: Field) -> bool:
    return isinstance(item.column.type, String) and not isinstance(item.column.type, EnumType)
