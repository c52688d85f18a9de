"""Tests of an application: a client that starts and ends it, logs in as anybody, and brings a database."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from starlette.testclient import TestClient as StarletteClient
from starlette.types import Receive, Scope, Send

from .app import Jetio
from .database import Database
from .errors import ConfigError, FieldError, Problem
from .principal import Principal

if TYPE_CHECKING:
    import httpx2

__all__ = ["TestClient", "problem_in"]

Row = TypeVar("Row")


class TestClient(StarletteClient):
    """Starlette's client for a Jetio application: `with TestClient(app) as client:` starts and ends it.

    `database` takes the place of the application's own meanwhile: a Database, its URL, or the path of a
    SQLite file. What nobody expected is raised in the test, or with `raise_server_exceptions=False` a 500.
    """

    __test__ = False  # pytest takes classes of this name for tests

    def __init__(self, app: Jetio, *, database: Database | Path | str | None = None, **options: Any) -> None:
        self.jetio = app
        self._database = app.database if database is None else _database(database)
        self._principal: Principal | None = None
        self._raises: bool = options.get("raise_server_exceptions", True)
        super().__init__(self._serve, **options)

    def login_as(self, user: Any) -> Self:
        """Send every further request as this account: its row, or a Principal. None: as nobody."""
        if user is not None and not isinstance(user, Principal):
            if self.jetio.authenticator is None:
                raise ConfigError("nothing finds out who is calling; log in as a Principal(id=..., sub=...)")
            user = self.jetio.authenticator.principal_of(user)
        self._principal = user
        return self

    def add(self, row: Row) -> Row:
        """Store a row and commit it; its key is there afterwards. Only while the application runs."""
        if self.portal is None:
            raise ConfigError("the application is not started; write `with TestClient(app) as client:`")
        self.portal.call(self._store, row)
        return row

    async def _store(self, row: Any) -> None:
        async with self.jetio.database.sessions() as session:
            session.add(row)
            await session.commit()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._principal is not None:
            scope["jetio.principal"] = self._principal
        await self.jetio(scope, receive, send)

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        response = super().send(request, **options)
        error = response.extensions.get("http.response.debug", {}).get("error")
        if self._raises and error is not None:
            raise error
        return response

    def __enter__(self) -> Self:
        self._own, self.jetio.database = self.jetio.database, self._database
        try:
            return super().__enter__()
        except BaseException:
            self.jetio.database = self._own
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self.jetio.database = self._own


def problem_in(response: httpx2.Response) -> Problem:
    """The problem that a response carries; an AssertionError shows what it carries instead."""
    media = response.headers.get("content-type", "")
    assert media == "application/problem+json", f"{response.status_code} {media}: {response.text[:1000]}"  # noqa: S101 - it is for tests
    document: dict[str, Any] = response.json()
    errors = [FieldError(**entry) for entry in document.pop("errors", ())]
    own = {name: document.pop(name) for name in ("status", "code", "detail", "title")}
    return Problem(**own, errors=errors, headers=dict(response.headers), members=document)


def _database(given: Database | Path | str) -> Database:
    if isinstance(given, Path):
        return Database(f"sqlite+aiosqlite:///{given}")
    return Database(given) if isinstance(given, str) else given
