"""Controllers and services: built once, injected by annotation, and wrong ones named at build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    ConfigError,
    Controller,
    Database,
    Depends,
    Header,
    Jetio,
    Principal,
    Request,
    Settings,
    delete,
    get,
    guard,
    patch,
    post,
    public,
    put,
)
from jetio.testing import TestClient

SETTINGS = Settings(env="test")


def new_app() -> Jetio:
    return Jetio(database="sqlite+aiosqlite://", settings=SETTINGS)


class Clock:
    """A service of nothing."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def now(self) -> str:
        return "noon"


@dataclass
class Diary:
    """A service of a service, of the application's own, and of a value with a default."""

    clock: Clock
    settings: Settings
    database: Database
    app: Jetio
    title: str = "Diary"


class Item(BaseModel):
    name: str


async def language(accept_language: str = Header("en")) -> str:
    return accept_language


class Diaries(Controller, prefix="/diaries", tags=["Diaries"]):
    """Methods as handlers of every kind."""

    def __init__(self, diary: Diary, clock: Clock) -> None:
        self.diary, self.clock = diary, clock

    @get("")
    async def index(self, page: int = 1) -> dict[str, Any]:
        """List them."""
        return {"page": page, "same": self.diary.clock is self.clock, "title": self.diary.title}

    @get("/{id:int}")
    def one(self, id: int, language: str = Depends(language)) -> dict[str, Any]:
        return {"id": id, "language": language, "now": self.clock.now()}

    @post("", status_code=201, tags=["Writing"])
    async def add(self, item: Item) -> Item:
        return item

    @put("/{id:int}")
    @patch("/{id:int}")
    async def change(self, id: int, item: Item, request: Request) -> dict[str, Any]:
        return {"id": id, "name": item.name, "method": request.method}

    @delete("/{id:int}")
    async def remove(self, id: int) -> None:
        return None

    @get("/static")
    @staticmethod
    def free() -> str:
        return "free"


def test_methods_answer_with_injected_services() -> None:
    """Arguments are made as for any handler; each service is one object, for all who ask."""
    Clock.made = 0
    app = new_app()
    app.add_controller(Diaries)
    assert Clock.made == 0
    app.build()
    with TestClient(app) as client:
        assert client.get("/diaries?page=2").json() == {"page": 2, "same": True, "title": "Diary"}
        answer = client.get("/diaries/7", headers={"Accept-Language": "de"})
        assert answer.json() == {"id": 7, "language": "de", "now": "noon"}
        assert client.post("/diaries", json={"name": "x"}).status_code == 201
        assert client.patch("/diaries/7", json={"name": "x"}).json()["method"] == "PATCH"
        assert client.put("/diaries/7", json={"name": "x"}).json()["method"] == "PUT"
        assert client.delete("/diaries/7").status_code == 204
        assert client.get("/diaries/static").json() == "free"
    assert Clock.made == 1
    diary = app.service(Diary)
    assert (diary.app, diary.settings, diary.database) == (app, app.settings, app.database)
    paths = app.openapi()["paths"]
    assert paths["/diaries"]["get"]["tags"] == ["Diaries"]
    assert paths["/diaries"]["get"]["summary"] == "List them"
    assert paths["/diaries"]["post"]["tags"] == ["Writing"]


class Store(Protocol):
    def read(self) -> str: ...


class Abstract(ABC):
    @abstractmethod
    def read(self) -> str: ...


class Shelf(Abstract):
    def read(self) -> str:
        return "shelf"


class Readers(Controller):
    def __init__(self, store: Store, abstract: Abstract, clock: Clock, title: str = "none") -> None:
        self.told = [store.read(), abstract.read(), clock.now(), title]

    @get("/read")
    def read(self) -> list[str]:
        return self.told


class Late(Clock):
    def now(self) -> str:
        return "midnight"


def test_provided_services_win() -> None:
    """A protocol, an abstract class, a class that would be built, and a value with a default."""
    app = new_app()
    app.add_controller(Readers)
    app.provide(Store, Shelf())
    app.provide(Abstract, Shelf())
    app.provide(Clock, Late())
    app.provide(str, "given")
    with TestClient(app) as client:
        assert client.get("/read").json() == ["shelf", "shelf", "midnight", "given"]
    with pytest.raises(ConfigError, match="after the application was built"):
        app.provide(Shelf, Shelf())


def test_one_controller_serves_two_applications_apart() -> None:
    """Each application has objects of its own."""
    apps = [new_app(), new_app()]
    for app in apps:
        app.add_controller(Diaries)
        app.build()
    assert apps[0].service(Diary) is not apps[1].service(Diary)


class Base(Controller, prefix="/base", tags=["Base"]):
    @get("/name")
    def name(self) -> str:
        return "base"


class Derived(Base, prefix="/derived"):
    @get("/name")
    def name(self) -> str:
        return "derived"

    @get("/more")
    @guard(public())
    def more(self) -> str:
        return "more"


def test_controllers_inherit_routes_and_tags() -> None:
    """A derived class has the routes of its base under its own prefix, and those that it says again."""
    app = new_app()
    app.add_controller(Base)
    app.add_controller(Derived)
    with TestClient(app) as client:
        assert [client.get(path).json() for path in ("/base/name", "/derived/name", "/derived/more")] == [
            "base",
            "derived",
            "more",
        ]
    assert app.openapi()["paths"]["/derived/more"]["get"]["tags"] == ["Base"]


# ---- mistakes ----------------------------------------------------------------------------------------------


def controller(annotation: Any, *, options: dict[str, Any] | None = None) -> type[Controller]:
    """A controller whose constructor asks for one thing."""

    class Wrong(Controller, **(options or {})):
        def __init__(self, service: Any) -> None:
            self.service = service

        @get("/x")
        def x(self) -> None:
            return None

    Wrong.__init__.__annotations__["service"] = annotation
    return Wrong


class Failing:
    def __init__(self) -> None:
        raise RuntimeError("no connection")


class One:
    def __init__(self, two: Two) -> None: ...


class Two:
    def __init__(self, one: One) -> None: ...


class Untyped:
    def __init__(self, thing) -> None: ...  # type: ignore[no-untyped-def]


class Misread:
    def __init__(self, clock: Clock.hands) -> None: ...  # type: ignore[name-defined]


class Positional:
    def __init__(self, clock: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (int, "int is no service; give it a default, or app.provide"),
        (Item, "Item is no service"),
        (list[Clock], "is no class"),
        (Clock | None, "is no class"),
        (Request, "Request belongs to one request"),
        (AsyncSession, "AsyncSession belongs to one request"),
        (Principal, "Principal belongs to one request"),
        (Store, "Store is abstract; say which one is meant"),
        (Abstract, "Abstract is abstract"),
        (Failing, "Failing cannot be built: no connection"),
        (One, "these need each other: .*One -> Two -> One"),
        (Untyped, r"Untyped\(thing=...\): it has no type"),
        (Misread, "the constructor of Misread cannot be read: .* 'hands'"),
        (Positional, "Missing is known to type checkers only"),
    ],
)
def test_services_that_cannot_be_are_named_at_build(annotation: Any, message: str) -> None:
    """With the constructor's place, and what to write instead."""
    app = new_app()
    app.add_controller(controller(annotation))
    with pytest.raises(ConfigError, match=message):
        app.build()


class Empty(Controller):
    def method(self) -> None: ...


class Forgetful(Base):
    def name(self) -> str:
        return "forgotten"


class Pathless(Controller):
    @get("x")
    def x(self) -> None: ...


class Optioned(Controller):
    @get("/x", stauts_code=201)
    def x(self) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Clock, "is no controller; write `class Posts"),
        (Empty, "Empty has no routes"),
        (Forgetful, "Forgetful.name replaces a route of Base and is none"),
        (Pathless, "Pathless.x: the path 'x' must start with '/'"),
        (Optioned, "unexpected keyword argument 'stauts_code'"),
        (controller(Clock, options={"prefix": "api"}), "the prefix 'api' must begin with /"),
        (controller(Clock, options={"prefix": "/api/"}), "the prefix '/api/' must begin with /"),
    ],
)
def test_wrong_controllers_are_named_at_build(wrong: Any, message: str) -> None:
    """A route that a subclass loses in silence is a mistake, too."""
    app = new_app()
    app.add_controller(wrong)
    with pytest.raises(ConfigError, match=message):
        app.build()


def test_routes_stand_on_methods() -> None:
    """Not on a class; and services are provided once, under a class."""
    with pytest.raises(ConfigError, match="put it on a method"):
        get("/x")(Clock)
    app = new_app()
    app.provide(Clock, Clock())
    app.provide(Clock, Clock())
    app.provide("clock", Clock())  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as error:
        app.build()
    assert "two services for Clock" in error.value.mistakes[0]
    assert "names no class" in error.value.mistakes[1]
