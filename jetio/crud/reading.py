"""GET of the collection and of one row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field as Limit
from pydantic import TypeAdapter
from starlette.types import Scope, Send

from ..body import RequestBody
from ..database import UnitOfWork
from ..dependencies import Parameter
from ..dialects import ConnectionLost
from ..errors import ValidationError, not_found
from ..operation import Answer, send_json
from ..policy import Access, Decision, Deny, Policy
from ..principal import Recall, recall_of
from ..routing import Application
from ..security import CALLER
from .actions import Action, document_type
from .query import HARD_CAP, LARGEST_PAGE, list_parser, page_links, refuse_parameters

__all__ = ["List", "Retrieve"]

T = TypeVar("T")
_COUNT: TypeAdapter[Any] = TypeAdapter(Literal["exact", "none"])


@lru_cache(maxsize=16)
def _from_one(largest: int) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[int, Limit(ge=1, le=largest)])


class List(Action):
    """GET on the collection."""

    action, method, whole, writes = "list", "GET", True, False

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.parse = list_parser(self.parts.paging)
        self.obstacles = self.parts.obstacles[False]
        self.renderer = "rows" if self.parts.readers[False].documents is None else "database"

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        query = self.parse(scope["query_string"])
        scopes = await self._scopes(access, decision)
        reader = self.parts.readers[self._is_admin(access)]
        page = await self.app.database.read(access.work, lambda work: reader.page(work, scopes, query))
        if self.parts.paging.size is None and page.more:
            raise ValidationError((), f"This list has more than {HARD_CAP} rows", code="list_too_long")
        if access.work.is_open:
            await access.work.commit()
        headers = []
        if query.limit:
            path = scope.get("root_path", "") + self.base
            headers.append((b"link", page_links(path, query, more=page.more, total=page.total).encode()))
        if query.style == "page":
            headers += [(b"x-page", b"%d" % query.page), (b"x-page-size", b"%d" % query.limit)]
        if page.total is not None:
            headers.append((b"x-total-count", b"%d" % page.total))
        await send_json(send, 200, page.body, headers)

    def _describe(self) -> None:
        super()._describe()
        paging = self.parts.paging
        if paging.size is not None:
            pages, sizes = _from_one(LARGEST_PAGE), _from_one(paging.largest)
            self.spec.parameters = [
                Parameter("page", "query", pages, False, 1, "The page, from 1"),
                Parameter("page_size", "query", sizes, False, paging.size, "Rows per page"),
            ]
            # Told in words: OpenAPI has no way to say that two parameters exclude two others.
            self.spec.description = "`limit` and `offset` may stand in place of `page` and `page_size`."
        told = "exact: count all rows (X-Total-Count)"
        self.spec.parameters.append(Parameter("count", "query", _COUNT, False, "none", told))

    def _tell_types(self) -> None:
        headers = {
            "Link": "first, prev, next and last page (RFC 8288)",
            "X-Total-Count": "All rows, where known",
        }
        listed: Any = list[document_type(self.parts.views[True])]  # type: ignore[misc]
        self.spec.answers = [Answer(200, "A page of rows", TypeAdapter(listed), headers)]


class Retrieve(Action):
    """GET of one row."""

    action, method, writes = "retrieve", "GET", False

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        reader = self.parts.readers[False]
        self.obstacles = self.parts.obstacles[False] if reader.branches else ()
        self.renderer = "rows" if reader.single is None else "database"
        recall, rule = recall_of(self.parts.authenticator), self.rule
        beside = [one for _, rules in self.embedded.values() for one in rules]
        if recall and rule and not reader.branches and all(one.is_pure for one in (rule, *beside)):
            self.serve_recalled = partial(self._serve_recalled, recall, rule)

    async def _serve(
        self, scope: Scope, sent: RequestBody, send: Send, access: Access, decision: Decision
    ) -> None:
        refuse_parameters(scope["query_string"])
        key = self._key(scope)
        scopes = await self._scopes(access, decision)
        reader = self.parts.readers[self._is_admin(access)]
        body = await self._read(access.work, lambda work: reader.one(work, scopes, key))
        if body is None:
            raise not_found()
        if access.work.is_open:
            await access.work.commit()
        await send_json(send, 200, body)

    async def _serve_recalled(
        self, recall: Recall, rule: Policy, scope: Scope, send: Send, access: Access
    ) -> bool:
        try:
            found = await self._read_recalled(recall, rule, scope, access)
        except ConnectionLost:
            raise  # another question would wait as long, and hear no more
        except Exception:
            found = None  # who is nobody any more is not told what went wrong: first comes who is calling
        if found is None:
            access.principal = None
            CALLER.set(None)
            return False
        (body,) = found
        if body is None:
            raise not_found()
        await send_json(send, 200, body)
        return True

    async def _read_recalled(
        self, recall: Recall, rule: Policy, scope: Scope, access: Access
    ) -> tuple[bytes | None] | None:
        """The row, if there is one, for whom its statement has confirmed; None: ask in the usual order."""
        if scope["query_string"] or "jetio.principal" in scope:
            return None
        recalled = recall(access.request, access.work)
        if recalled is None:
            return None
        access.principal = recalled.principal
        CALLER.set(recalled.principal)
        decision = await rule(access)
        if isinstance(decision, Deny):
            return None
        scopes = await self._scopes(access, decision)
        reader = self.parts.readers[self._is_admin(access)]
        return await reader.one_for(recalled, access.work, scopes, self._key(scope))

    def _read(self, work: UnitOfWork, steps: Callable[[UnitOfWork], Awaitable[T]]) -> Awaitable[T]:
        return self.app.database.read(work, steps)

    def _tell_types(self) -> None:
        self.spec.answers = [Answer(200, "The row", self.parts.document)]
