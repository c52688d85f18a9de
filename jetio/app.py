"""Jetio: a Starlette application that collects declarations, builds them once, and serves."""

from __future__ import annotations

import importlib
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import MetaData, Table
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from . import defaults
from .access import AccessRow, access_matrix
from .callables import called
from .config import Settings
from .configuration import read_configuration
from .controllers import Controller, controllers_of, routes_of
from .crud.rules import ReadRules
from .database import Database
from .errors import ConfigError, Mistakes
from .large import without_collections
from .middleware import kept_apart, open_to_all
from .models import Base
from .openapi.document import make_document
from .operation import Operation
from .plugins import install_plugins
from .policy import Policy, PolicyLike, as_policy
from .principal import Authenticator
from .problems import ErrorPage, ExceptionHandler, ProblemWriter
from .protection import Protection
from .resource import Resource
from .routing import Endpoint, JetioRouter, PathRoute, convertors_of
from .services import Services
from .sockets import SocketOperation

__all__ = ["Jetio"]

_log = logging.getLogger("jetio")

Handler = TypeVar("Handler", bound=Callable[..., Any])
Service = TypeVar("Service")
Step = Callable[[], Any]
StartCheck = Callable[["Jetio"], Sequence[str]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


class Jetio(Starlette):
    """An API of models and handlers.

    Nothing is opened or inspected before the start: a mistake in any declaration is raised by `build()`,
    together with all others, as one ConfigError. Without `database` the default one is used (`DATABASE_URL`,
    else SQLite in the working directory).
    """

    def __init__(
        self,
        *,
        title: str = "Jetio",
        version: str = "0.1.0",
        description: str = "",
        database: Database | str | None = None,
        settings: Settings | None = None,
        metadata: MetaData | None = None,
        debug: bool = False,
        routes: Sequence[BaseRoute] | None = None,
        middleware: Sequence[Middleware] | None = None,
        exception_handlers: Mapping[Any, ExceptionHandler] | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        super().__init__(debug=debug, middleware=middleware, exception_handlers=exception_handlers)
        self.title, self.version, self.description = title, version, description
        self.settings = settings or defaults.settings()
        self.database = _database(database, settings)
        self.metadata = Base.metadata if metadata is None else metadata
        self.router: JetioRouter = JetioRouter(routes, lifespan=self._lifespan)
        self.dependency_overrides: dict[Any, Any] = {}
        self.error_pages: dict[int, ErrorPage] = {}
        self.start_checks: list[StartCheck] = []
        self.start_tasks: list[Step] = []
        self.on_build: list[Callable[[Jetio], None]] = []
        self._user_lifespan = lifespan
        self._events: dict[str, list[Step]] = {"startup": [], "shutdown": []}
        self._authenticator: Authenticator | None = None
        self._protection: Protection | None = None
        self._read_rules = ReadRules(self)
        self.configuration: Mapping[str, Any] = {}
        self._services = Services()
        for kind, own in {Jetio: self, Settings: self.settings, Database: self.database}.items():
            self._services.provide(kind, own)
        self._paths: dict[str, PathRoute] = {}
        self._places: dict[tuple[str, str], Endpoint] = {}
        self._mistakes = Mistakes()
        self._document: dict[str, Any] | None = None
        self._built = False
        self._building = threading.Lock()

    # ---- configure -------------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls,
        path: str | Path = "application.yaml",
        *,
        modules: Sequence[str] = (),
        plugins: bool = True,
        **options: Any,
    ) -> Self:
        """An application as a YAML file describes it: settings, and blocks for plugins (extra `yaml`).

        The controllers of `modules` are registered. A plugin acts if the file has a block of its name, and with
        `plugins=False` none does; the blocks stand in `configuration`, and `app` is for yourself. `options` win
        over the file, as the environment does. Raises ConfigError.
        """
        if isinstance(modules, str):
            raise ConfigError(f'from_config(modules={modules!r}) is no list; write modules=["{modules}"]')
        given = read_configuration(path)
        app = cls(**{**given.about, "settings": given.settings, **options})
        app.configuration = given.blocks
        if plugins:
            install_plugins(app, given.foreign)
        found = [controller for name in modules for controller in controllers_of(_imported(name))]
        if modules and not found:  # one of several may hold services alone
            raise ConfigError(
                f"from_config(modules={list(modules)!r}): none of them defines a controller with routes; "
                "name the module where the class stands"
            )
        for controller in found:
            app.add_controller(controller)
        return app

    def add_controller(self, controller: type[Controller]) -> None:
        """Register the routes of a controller, which is built at build with the services that it asks for."""
        with self._mistakes:
            for path, endpoint in routes_of(controller, self._services):
                self.add_endpoint(path, endpoint)

    def provide(self, kind: type[Service], service: Service) -> None:
        """Give this object to controllers and services that ask for the class `kind`, in place of a built one."""
        if self._built:
            raise ConfigError(f"provide({kind!r}, ...) comes after the application was built; call it before")
        with self._mistakes:
            self._services.provide(kind, service)

    def service(self, kind: type[Service]) -> Service:
        """The application's object of a service class; raises ConfigError where it cannot be built."""
        return self._services.make(kind)

    def route(
        self, path: str, methods: Sequence[str] = ("GET",), **options: Any
    ) -> Callable[[Handler], Handler]:
        """Register a handler: `@app.route("/hello", methods=["GET"])`.

        Options: `status_code`, `policy`, `response_model`, `name`, `summary`, `description`, `tags`,
        `deprecated`, `include_in_schema`, `html`, `max_body` (bytes), `headers`.
        """

        def register(handler: Handler) -> Handler:
            if isinstance(methods, str):
                self._tell(f'{path}: methods={methods!r} is no list; write methods=["{methods.upper()}"]')
                return handler
            for method in methods:
                self.add_endpoint(path, Operation(method.upper(), handler, **options))
            return handler

        return register

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`route` for GET."""
        return self.route(path, ["GET"], **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`route` for POST."""
        return self.route(path, ["POST"], **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`route` for PUT."""
        return self.route(path, ["PUT"], **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`route` for PATCH."""
        return self.route(path, ["PATCH"], **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """`route` for DELETE."""
        return self.route(path, ["DELETE"], **options)

    def websocket(
        self, path: str, *, policy: PolicyLike | None = None, name: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Register a WebSocket handler; its arguments are made as a route's are."""

        def register(handler: Handler) -> Handler:
            self.add_endpoint(path, SocketOperation(handler, policy=policy, name=name))
            return handler

        return register

    def on_event(self, name: str) -> Callable[[Handler], Handler]:
        """Register a handler for `startup` or `shutdown`; shutdown handlers run in reverse order."""
        if name not in self._events:
            raise ConfigError(f"there is no event {name!r}; write 'startup' or 'shutdown'")

        def register(handler: Handler) -> Handler:
            self._events[name].append(handler)
            return handler

        return register

    def exception_handler(self, kind: int | type[Exception]) -> Callable[[Handler], Handler]:
        """Register what answers for an exception class or a status: `async def handler(request, error)`."""

        def register(handler: Handler) -> Handler:
            self.add_exception_handler(kind, handler)
            return handler

        return register

    def add_error_page(self, status: int, page: str | Path | ErrorPage) -> None:
        """What a person sees instead of a problem: on HTML routes, and on unknown addresses in a browser.

        `page` is HTML, a file of it, or a function of the request and the problem that returns either HTML or
        a Response. API routes never answer HTML.
        """
        if type(status) is not int or not 400 <= status <= 599:
            self._tell(f"add_error_page({status!r}): no status of an error; write a number from 400 to 599")
        content = page.read_text() if isinstance(page, Path) else page
        self.error_pages[status] = content if callable(content) else lambda request, problem: content

    def _tell(self, mistake: str) -> None:
        """A mistake that the build raises with the others."""
        self._mistakes.found.append(mistake)

    def add_endpoint(self, path: str, endpoint: Endpoint) -> None:
        """Serve an endpoint at a path; raises ConfigError once the app is built."""
        where = f"{endpoint.method} {path} ({endpoint.name})"
        if self._built:
            raise ConfigError(f"{where} is registered after the application was built; register it before")
        with self._mistakes:
            convertors_of(path)
            taken = self._places.setdefault((endpoint.method, _shape(path)), endpoint)
            if taken is not endpoint:
                raise ConfigError(f"{where}: {_both(taken, endpoint)} have this method and path; {_ANOTHER}")
            if path not in self._paths:
                self._paths[path] = PathRoute(path)
                self.router.routes.append(self._paths[path])
            self._paths[path].endpoints[endpoint.method] = endpoint
        router = getattr(endpoint, "router", None)
        if router is not None:
            self._read_rules.add(router)

    def use_authenticator(self, authenticator: Authenticator) -> None:
        """Make this the way to find out who is calling; another one beside it is a mistake."""
        with self._mistakes:
            if self._authenticator not in (None, authenticator):
                raise ConfigError("two authenticators for one application; register one AuthRouter")
        self._authenticator = self._authenticator or authenticator

    def protect(
        self,
        rule: PolicyLike,
        *,
        open: Sequence[str] = (),
        spares: Callable[[Any], bool] = lambda endpoint: False,
    ) -> None:
        """Make this the rule of every route that has none of its own: handlers, CRUD, WebSockets, mounts.

        `@allow_anonymous` and `policy=public()` open a route, `open` what is mounted at these paths, `spares`
        endpoints that close themselves. Outside of production the documentation stays open.
        """
        if self._built:
            raise ConfigError("protect() comes after the application was built; call it before")
        if self._protection is not None:
            self._tell("protect() is called twice; write one rule")
        self._protection = Protection(as_policy(rule), open, spares)

    @property
    def authenticator(self) -> Authenticator | None:
        """What finds out who is calling; None: nobody asks."""
        return self._authenticator

    @property
    def endpoints(self) -> list[tuple[str, Endpoint]]:
        """Every endpoint with its path, in order of registration."""
        paths = [route for route in self.router.routes if isinstance(route, PathRoute)]
        return [(route.path, endpoint) for route in paths for endpoint in route.endpoints.values()]

    # ---- build -----------------------------------------------------------------------------------

    def build(self) -> None:
        """Read every declaration once; raises one ConfigError that tells all mistakes."""
        with self._building:
            if self._built:
                return
            began = time.perf_counter()
            without_collections(self._build_declared)
            self._built = True
            taken = time.perf_counter() - began
            _log.info("built %s operations in %.1f s", f"{len(self.endpoints):,}", taken)

    def _build_declared(self) -> None:
        mistakes = Mistakes()
        mistakes.found += self._mistakes.found
        for prepare in self.on_build:
            with mistakes:
                prepare(self)
        self._read_rules.forget()
        for path, endpoint in self.endpoints:
            with mistakes:
                endpoint.build(self, path)
        if self._protection is not None:
            with mistakes:
                self._protection.build(self, self.router.routes)
            self.router.guard = self._protection.handle
        mistakes.tell()
        self.router.index()

    def default_rule(self, of: object) -> Policy | None:
        """What an endpoint or a router obeys that has no rule of its own; None: it is open."""
        return None if self._protection is None else self._protection.rule_of(of)

    def read_rules(self, model: type[Any], *, own: bool = True) -> Sequence[Policy]:
        """The read rules of the model's rows; without `own` those of classes that share its table alone."""
        return self._read_rules.of(model) if own else self._read_rules.beside(model)

    def model_of(self, table: Table, resource: Resource) -> type[Any] | None:
        """The model of all rows of a table that the resource refers to; None where there is none."""
        return self._read_rules.model_of(table, resource)

    def check(self) -> None:
        """The start-up checks without serving; raises one ConfigError that tells all failures."""
        self.build()
        mistakes = Mistakes()
        if self.settings.production:
            mistakes.found += open_to_all(self.user_middleware)
        mistakes.found += kept_apart(self.user_middleware, self.settings.workers)
        mistakes.found += [mistake for check in self.start_checks for mistake in check(self)]
        mistakes.tell()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of the built application, made once."""
        self.build()
        with self._building:
            if self._document is None:
                self._document = without_collections(lambda: make_document(self))
        return self._document

    def access_matrix(self, roles: Sequence[str] = ()) -> list[AccessRow]:
        """Who may do what: every operation for an anonymous caller, a user, an admin, and each of the roles.

        The rules are asked without a real request; not from inside a running event loop.
        """
        self.build()
        return access_matrix(self.endpoints, self.database, roles)

    def build_middleware_stack(self) -> ASGIApp:
        self.build()
        about: Any = {
            "handlers": self.exception_handlers, "pages": self.error_pages,
            "fault": self._fault, "limit": self.body_limit,
        }  # fmt: skip
        if not self.user_middleware:
            return ProblemWriter(self.router.find, **about, outermost=True)
        app: ASGIApp = ProblemWriter(self.router.find, **about, outermost=False)
        for cls, arguments, options in reversed(self.user_middleware):
            app = cls(app, *arguments, **options)
        return ProblemWriter(lambda scope: app, **about, outermost=True)

    def body_limit(self, scope: Scope) -> int:
        """The largest body that the route of a request takes; what is no route of its own, the usual one."""
        endpoint = self.router.endpoint_for(scope)
        return getattr(endpoint, "limit", None) or self.settings.max_body

    def _fault(self, error: BaseException) -> Any:
        return self.database.dialect.fault(error)

    # ---- start and serve -------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        stack = self.middleware_stack
        if stack is None:
            stack = await self._first_stack(scope, receive, send)
        await stack(scope, receive, send)

    async def _first_stack(self, scope: Scope, receive: Receive, send: Send) -> ASGIApp:
        try:
            # Large applications take seconds to build: the loop of a server without lifespan stays free.
            self.middleware_stack = await run_in_threadpool(self.build_middleware_stack)
        except ConfigError:
            if scope["type"] == "lifespan":
                # The same mistakes, told in the lifespan protocol: else a server takes it for "no lifespan".
                await self.router.lifespan(scope, receive, send)
            raise
        return self.middleware_stack

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[Any]:
        self.check()
        await self.database.start()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            if self.settings.create_tables:
                await self.database.create_tables(self.metadata)
                await self.database.tell_stale_tables(self.metadata)
            for task in self.start_tasks:
                await called(task)
            state = None
            if self._user_lifespan is not None:
                state = await stack.enter_async_context(self._user_lifespan(self))
            for handler in self._events["startup"]:
                await called(handler)
            for handler in self._events["shutdown"]:
                stack.push_async_callback(called, handler)
            yield state

    def run(self, host: str | None = None, port: int | None = None, **options: Any) -> None:
        """Serve with uvicorn until SIGINT or SIGTERM; further options go to `uvicorn.run`.

        Without arguments `JETIO_HOST` and `JETIO_PORT` say where, else 127.0.0.1 and 8000; port 0 is any free
        one. Requests in flight are finished; after 15 seconds what still runs is cancelled. This is one process:
        `jetio run` has several, and starts again when a file changes.
        """
        import uvicorn

        for option, usual in {"workers": 1, "reload": False}.items():
            if (given := options.get(option) or usual) != usual:
                flag = "--reload" if given is True else f"--{option} {given}"
                raise ConfigError(
                    f"app.run({option}={given!r}) has no name to import; write: jetio run {flag}"
                )
        if self.settings.workers > 1:
            _log.warning(
                "JETIO_WORKERS=%s is for `jetio run`; app.run() is one process", self.settings.workers
            )
        uvicorn.run(self, **{**self.server_options(host, port), **options, "workers": 1})

    def server_options(self, host: str | None = None, port: int | None = None) -> dict[str, Any]:
        """Check everything and print where the application and its docs will be; what `uvicorn.run` is given."""
        self.check()
        host = self.settings.host if host is None else host
        port = self.settings.port if port is None else port
        docs = next((path for path, endpoint in self.endpoints if endpoint.name == "swagger_ui"), None)
        place = f"http://{host}:{port}"
        print(
            f"{self.title} ({self.settings.env}) on {place}" + (f", docs at {place}{docs}" if docs else ""),
            flush=True,
        )
        return {
            "host": host,
            "port": port,
            "lifespan": "on",
            "timeout_graceful_shutdown": 15,
            "server_header": False,
            "log_level": self.settings.log_level,
        }


def _imported(name: Any) -> Any:
    if not isinstance(name, str) or not name or name.startswith("."):
        raise ConfigError(
            f'from_config(modules=...) has {name!r}, and no name of a module; write "shop.controllers"'
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another one
        raise ConfigError(f"from_config(modules=...) names {name!r}, and there is no such module") from None


_ANOTHER = "give one of them another, or a prefix"


def _both(*endpoints: Endpoint) -> str:
    """Two endpoints by what put them there."""
    routers = [getattr(endpoint, "router", None) for endpoint in endpoints]
    names = [
        endpoint.name if router is None else f"CrudRouter({router.model.__qualname__})"
        for endpoint, router in zip(endpoints, routers, strict=True)
    ]
    if names[0] == names[1]:
        places = [
            getattr(endpoint, "handler", router.model if router is not None else endpoint).__module__
            for endpoint, router in zip(endpoints, routers, strict=True)
        ]
        names = [f"{name} of {place}" for name, place in zip(names, places, strict=True)]
    return " and ".join(names)


def _shape(path: str) -> str:
    """What two paths share that lead to the same place: parameters without their names."""
    return re.sub(r"{\w+(:\w+)?}", r"{\1}", path)


def _database(given: Database | str | None, settings: Settings | None) -> Database:
    if isinstance(given, Database):
        return given
    if given is not None:
        return Database(given)
    if settings is None:
        return defaults.database()
    return Database(settings.database_url, replicas=settings.database_replicas)
