"""The rows of one router as pages; every read and every write is asked of the router's own endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from markupsafe import escape
from starlette.requests import Request
from starlette_admin.exceptions import ActionFailed, FormValidationError
from starlette_admin.fields import BaseField
from starlette_admin.filters import FilterGroup
from starlette_admin.flash import flash
from starlette_admin.types import RequestAction
from starlette_admin.views import BaseModelView

from ...crud.actions import Action, Parts
from ...crud.query import parse_key
from ...errors import Problem, not_found
from .asking import VISIT, Answer, ask
from .fields import UNSORTED, Cell, Reference, cell_of, titled
from .opened import OPENED, Form
from .rows import ASKED, Asked, Rows

if TYPE_CHECKING:
    from .door import Visit

__all__ = ["Row", "RowView"]

FARTHEST, MOST_KEYS = 2**53, 200


@dataclass(slots=True)
class Row:
    """A row as its document has it: `key` as in its address, and what people call it."""

    values: Mapping[str, Any]
    key: str
    title: str
    referred: dict[str, Row | None] = field(default_factory=dict)


class RowView(BaseModelView):
    """One router in the panel. `actions` are the endpoints that it serves."""

    pk_attr = "_key"
    page_size = 25
    column_visibility = False
    fields_default_sort = ()
    exporters = ()
    importers = ()
    search_highlight = False

    def __init__(
        self, key: str, actions: Mapping[str, Action], rows: Rows, targets: Mapping[str, str]
    ) -> None:
        self.key, self.endpoints, self.rows = key, actions, rows
        self.parts: Parts = rows.parts
        self.resource = rows.resource
        self.display_name = _words(self.resource.title)
        self.menu_label = self.resource.name.replace("_", " ").capitalize()
        self.fields = [
            cell_of(self.resource.fields[name], target=targets.get(name)) for name in self._names()
        ]
        self.cells: dict[str, Cell] = {item.name: item for item in self.fields if isinstance(item, Cell)}
        self.sortable_fields = [name for name, cell in self.cells.items() if cell.kind not in UNSORTED]
        self.exclude_fields_from_list = [name for name, cell in self.cells.items() if cell.kind in UNSORTED]
        self.exclude_fields_from_detail = [name for name, cell in self.cells.items() if cell.kind == "secret"]
        self.titled = titled(self.cells)
        super().__init__()

    def _names(self) -> list[str]:
        shown = {item.name for item in self.parts.views[True].fields}
        schemas = self.parts.schemas[True]
        return [
            name for name in self.resource.fields if name in {*shown, *schemas.creatable, *schemas.updatable}
        ]

    # ---- who may what ----------------------------------------------------------------------------

    def is_accessible(self, request: Request) -> bool:
        """Whether the caller may list."""
        return self._may(request, "list")

    def can_view_detail(self, request: Request) -> bool:
        return "retrieve" in self.endpoints

    def can_create(self, request: Request) -> bool:
        return self._may(request, "create")

    def can_edit(self, request: Request) -> bool:
        return "retrieve" in self.endpoints and self._may(request, "update")

    def can_delete(self, request: Request) -> bool:
        return self._may(request, "delete")

    def can_export(self, request: Request) -> bool:
        return False

    def can_import(self, request: Request) -> bool:
        return False

    def _may(self, request: Request, action: str) -> bool:
        visit: Visit | None = request.scope.get(VISIT)  # nobody's, where the login page refuses something
        return visit is not None and (self.key, action) in visit.rights

    def can_access_field(
        self, request: Request, field: BaseField, action: RequestAction | None = None
    ) -> bool:
        """A page shows what the document would hold, a form what the schema takes."""
        wanted = action if action is not None else request.state.action
        admin = self._is_admin(request)
        if wanted == RequestAction.CREATE:
            return field.name in self.parts.schemas[admin].creatable
        if wanted in (RequestAction.EDIT, RequestAction.INLINE_EDIT):
            return field.name in self.parts.schemas[admin].updatable
        return self._is_read(request, field.name) and super().can_access_field(request, field, wanted)

    def _is_read(self, request: Request, name: str) -> bool:
        return any(name == item.name for item in self.parts.views[self._is_admin(request)].fields)

    def _parse_filter_param(self, request: Request, query_params: Any = None) -> FilterGroup:
        """There are no filters yet: what an address says of them is not read."""
        return FilterGroup()

    def _is_admin(self, request: Request) -> bool:
        visit: Visit = request.scope[VISIT]
        return visit.principal.is_admin

    # ---- reading ---------------------------------------------------------------------------------

    async def find_all(
        self,
        request: Request,
        skip: int = 0,
        limit: int = 100,
        q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None,
        filters: Any = None,
    ) -> Sequence[Any]:
        """A page of rows; all of them, up to what may be selected at once, where the limit is below zero."""
        order = tuple((name, way == "desc") for name, way in sorts or () if name in self.cells)
        most = limit if limit >= 0 else self.action_select_all_limit
        asked = await self._list(request, Asked(most, min(skip, FARTHEST), _split(q), order))
        request.scope[VISIT].totals[self.key, q] = asked.total
        rows = [self._row(document) for document in asked.documents]
        if limit >= 0:
            await self._refer(request, rows)
        return rows

    async def count(self, request: Request, q: str | None = None, filters: Any = None) -> int:
        known: int | None = request.scope[VISIT].totals.get((self.key, q))
        return known if known is not None else (await self._list(request, Asked(0, words=_split(q)))).total

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """The row as GET of its own address gives it; None where that is 404."""
        try:
            if "\0" in str(pk) or "%00" in str(pk):
                return None  # no address has it
            answer = await self._ask(request, "retrieve", str(pk))
        except Problem as problem:
            if problem.status != 404:
                raise
            return None
        row = self._row(answer.document)
        await self._refer(request, [row])
        return row

    async def find_by_pks(self, request: Request, pks: list[Any]) -> Sequence[Any]:
        keys = []
        for pk in dict.fromkeys(map(str, pks)):
            try:
                keys.append(parse_key(self.resource, self._parsed(pk)))
            except Problem:
                continue  # no row has this key
        found: list[Row] = []
        for start in range(0, len(keys), MOST_KEYS):
            some = keys[start : start + MOST_KEYS]
            asked = await self._list(request, Asked(len(some), keys=some))
            found += map(self._row, asked.documents)
        return found

    def _parsed(self, pk: str) -> str:
        return unquote(pk) if len(self.resource.key) == 1 else pk

    async def _list(self, request: Request, asked: Asked) -> Asked:
        await ask(self.rows, request, self.rows.base, members={ASKED: asked})
        return asked

    async def _ask(self, request: Request, action: str, key: str | None = None, body: Any = None) -> Answer:
        endpoint = self.endpoints[action]
        return await ask(endpoint, request, endpoint.base, key=key, body=body)

    def _row(self, document: dict[str, Any]) -> Row:
        key = ",".join(quote(_part(document[item.name]), safe="") for item in self.resource.key)
        title = document.get(self.titled) if self.titled is not None else None
        return Row(document, key, f"{self.display_name} {key}" if title in (None, "") else str(title))

    async def _refer(self, request: Request, rows: Sequence[Row]) -> None:
        """Find what foreign keys name, as far as the caller sees it: one list for each of them."""
        for cell in self.cells.values():
            if not isinstance(cell, Reference) or not self.can_access_field(
                request, cell, RequestAction.DETAIL
            ):
                continue
            wanted = {_part(row.values[cell.name]) for row in rows if row.values.get(cell.name) is not None}
            target = self._find_foreign_view(cell.target)
            if not wanted or not isinstance(target, RowView) or not target.is_accessible(request):
                continue
            keys = [quote(text, safe="") for text in sorted(wanted)]
            found = {unquote(row.key): row for row in await target.find_by_pks(request, keys)}
            for row in rows:
                row.referred[cell.name] = found.get(_part(row.values.get(cell.name)))

    async def get_pk_value(self, request: Request, obj: Any) -> str:
        key: str = obj.key
        return key

    async def repr(self, obj: Any, request: Request) -> str:
        title: str = obj.title
        return title

    async def select2_result(self, obj: Any, request: Request) -> str:
        return f"<span>{escape(obj.title)}</span>"

    # ---- writing ---------------------------------------------------------------------------------

    async def validate_fields(
        self, request: Request, data: dict[str, Any], exclude: Collection[str] = ()
    ) -> None:
        """The endpoint's schema judges what was written, and nothing before it."""

    async def create(self, request: Request, data: dict[str, Any]) -> Row:
        given = {name: text for name, text in data.items() if not self.cells[name].is_left_out(text)}
        body = self._body(given)
        with self._answered(request):
            answer = await self._ask(request, "create", body=body)
        row = self._row(answer.document)
        await self._told(request, "panel.created", row.key, body)
        return row

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Row:
        """Only what this person changed since the form was opened is sent."""
        row = await self.find_by_pk(request, pk)
        if row is None:  # pragma: no cover - deleted in the moment since the panel looked it up
            raise not_found()
        # Should the form be shown again, then as one that was opened now.
        form = request.state.panel_form = self._form(request, row)
        given, others = form.changes((await request.form()).get(OPENED), data)
        body = self._body(given)
        with self._answered(request):
            answer = await self._ask(request, "update", str(pk), body)
        if others:
            labels = ", ".join(str(self.cells[name].label) for name in others)
            flash(request, f"Meanwhile somebody else changed: {labels}", "info")
        if body:
            await self._told(request, "panel.updated", str(pk), body)
        return self._row(answer.document)

    def opened(self, request: Request, row: Row) -> str:
        """What the form of a row carries, to know later what it showed."""
        form: Form = getattr(request.state, "panel_form", None) or self._form(request, row)
        return form.marked()

    def _form(self, request: Request, row: Row) -> Form:
        visit: Visit = request.scope[VISIT]
        cells = {
            name: cell
            for name, cell in self.cells.items()
            if name in row.values and self.can_access_field(request, cell, RequestAction.EDIT)
        }
        return Form(visit.key, f"{self.key}/{row.key}", cells, row.values)

    def _body(self, given: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {}
        errors: dict[str | int, Any] = {}
        for name, text in given.items():
            cell = self.cells[name]
            try:
                body[name] = None if text == "" and cell.empties else cell.value_of(text)
            except ValueError as error:
                errors[name] = str(error)
        if errors:
            raise FormValidationError(errors)
        return body

    async def delete(self, request: Request, pks: list[Any]) -> int | None:
        """One after the other, each in a transaction of its own; the first that is refused ends it."""
        for done, pk in enumerate(map(str, pks)):
            try:
                await self._ask(request, "delete", pk)
            except Problem as problem:
                before = f"{done} deleted; then: " if done else ""
                raise ActionFailed(f"{before}{problem.detail}") from None
            await self._told(request, "panel.deleted", pk, {})
        return len(pks)

    def shown_again(
        self, request: Request, data: dict[str, Any], errors: dict[str | int, Any]
    ) -> dict[str, Any]:
        """What a refused form may repeat: what is written and never shown has to be typed again."""
        unseen = [
            name
            for name, text in data.items()
            if isinstance(text, str)
            and text
            and (self.cells[name].kind == "secret" or not self._is_read(request, name))
        ]
        for name in unseen:
            errors.setdefault(name, "This is not shown again; type it once more")
        return data | dict.fromkeys(unseen, "")

    @contextmanager
    def _answered(self, request: Request) -> Iterator[None]:
        """What the endpoint refuses stands beside the fields that it names, the rest above the form."""
        try:
            yield
        except Problem as problem:
            if problem.status >= 500:
                raise
            beside: dict[str | int, Any] = {
                name: error.message
                for error in problem.errors
                if (name := (error.pointer or "").strip("/").partition("/")[0]) in self.cells
            }
            if len(beside) < len(problem.errors) or not beside:
                flash(request, problem.detail, "error")
            raise FormValidationError(beside) from None

    async def _told(self, request: Request, event: str, key: str, body: Mapping[str, Any]) -> None:
        visit: Visit = request.scope[VISIT]
        await visit.tell(event, {"model": self.key, "key": key, "fields": sorted(body)})


def _part(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _split(text: str | None) -> list[str]:
    return (text or "").replace("\0", " ").split()


def _words(title: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", title).capitalize()
