"""Two applications of one database: in one the database makes the JSON, in the other it is made of rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Executable, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.testclient import TestClient

from jetio import CrudRouter, Database, Jetio, Principal, SecurityScheme
from tests.crud.library import SETTINGS, serving

# Whatever the sessions of a server are set to, its JSON is the same.
STRANGE = {
    "application_name": "made",
    "timezone": "America/St_Johns",
    "datestyle": "German, DMY",
    "intervalstyle": "iso_8601",
}


_LAST = (
    "SELECT query FROM pg_stat_activity WHERE application_name = 'made' AND datname = current_database() "
    "ORDER BY query_start DESC LIMIT 1"
)
T = TypeVar("T")


class ByHeader:
    """The caller is whoever the header names; `admin` is an admin."""

    user_model = None
    schemes = (SecurityScheme("name", {"type": "apiKey", "in": "header", "name": "x-name"}),)

    async def identify(self, connection: Any, work: Any) -> Principal | None:
        name = connection.headers.get("x-name")
        return Principal(id=name, sub=name, is_admin=name == "admin") if name else None

    def principal_of(self, user: Any) -> Principal:
        return Principal(id=user, sub=str(user))


class Twins:
    """Asks both, and holds that they answer alike."""

    def __init__(self, made: TestClient, plain: TestClient) -> None:
        self.made, self.plain = made, plain

    def get(self, path: str, name: str = "", *, status: int = 200) -> Any:
        """What both answer, byte for byte and header for header; problems differ in the request's number alone."""
        headers = {"x-name": name} if name else {}
        made, plain = (client.get(path, headers=headers) for client in (self.made, self.plain))
        assert (made.status_code, plain.status_code) == (status, status)
        if status != 200:
            documents = made.json(), plain.json()
            assert documents[0].pop("request_id") != documents[1].pop("request_id")
            assert documents[0] == documents[1]
            return documents[0]
        assert made.content == plain.content
        assert made.headers == plain.headers
        return made.json()

    def write(self, *steps: tuple[Executable, Sequence[Any]] | str) -> None:
        """Run statements with their rows, in one transaction."""

        async def write() -> None:
            async with self._engine.begin() as connection:
                for step in steps:
                    if isinstance(step, str):
                        await connection.execute(text(step))
                    elif step[1]:
                        await connection.execute(*step)

        self._call(write)

    @property
    def by_database(self) -> bool:
        """Whether the server made the last JSON, and did so in one statement."""

        async def last() -> str:
            async with self._engine.connect() as connection:
                found: str = (await connection.execute(text(_LAST))).scalar_one()
                return found

        return "convert_to" in self._call(last)

    @property
    def _engine(self) -> AsyncEngine:
        engine: AsyncEngine = self.plain.app.database.engine  # type: ignore[attr-defined]
        return engine

    def _call(self, function: Callable[[], Awaitable[T]]) -> T:
        assert self.plain.portal is not None
        return self.plain.portal.call(function)


@contextmanager
def twins(url: str, metadata: MetaData, routers: Callable[[], Sequence[CrudRouter]]) -> Iterator[Twins]:
    """Both applications, started; where the server makes the JSON, its sessions have strange settings."""
    made = Database(url, connect_args={"server_settings": STRANGE})
    plain = Database(url, database_json=False)
    apps = [Jetio(database=database, metadata=metadata, settings=SETTINGS) for database in (made, plain)]
    for app in apps:
        app.use_authenticator(ByHeader())
        for router in routers():
            router.register_routes(app)
    with serving(apps[0]) as first, serving(apps[1]) as second:
        yield Twins(first, second)
