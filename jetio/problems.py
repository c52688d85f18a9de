"""The one place that writes problems."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from .body import BodyRequest, RequestBody
from .callables import called
from .dialects import ConstraintViolated, DatabaseFault, ReadOnly
from .dialects.values import dump
from .errors import Problem, unavailable
from .routing import NOSNIFF, header_list, without_body

__all__ = ["ErrorPage", "ExceptionHandler", "ProblemWriter"]

ExceptionHandler = Callable[[Request, Any], Response | Awaitable[Response]]
ErrorPage = Callable[[Request, Problem], Any]

_log = logging.getLogger("jetio")
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)

_CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "content_too_large",
    415: "unsupported_media_type",
    422: "validation",
    429: "rate_limited",
    503: "unavailable",
}


class ProblemWriter:
    """Renders what was raised (RFC 9457).

    `find` says what answers a request. It stands in two places: inside the user's middleware for what is
    handled, so that CORS and compression apply to it, and outside everything (`outermost`) for what is not,
    and for what every answer carries.
    """

    def __init__(
        self,
        find: Callable[[Scope], ASGIApp],
        *,
        handlers: Mapping[Any, ExceptionHandler],
        pages: Mapping[int, ErrorPage],
        fault: Callable[[BaseException], DatabaseFault | None],
        limit: Callable[[Scope], int],
        outermost: bool,
    ) -> None:
        self.find, self.handlers, self.pages = find, handlers, pages
        self.fault, self.limit, self.outermost = fault, limit, outermost

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            conversation = scope["type"] == "websocket" and self.outermost
            await (self._converse if conversation else self.find(scope))(scope, receive, send)
            return
        started, outermost = False, self.outermost

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if outermost:
                    _add_nosniff(message)
            return send(message)

        try:
            await self.find(scope)(scope, receive, watched)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:
            if started or not await self._answered(error, scope, receive, watched):
                raise
        finally:
            if outermost:
                scope.pop("jetio.body", None)  # which holds the scope: only the collector would free both

    async def _answered(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether it was this writer's to answer. A method of its own: names of the frame that an exception came
        through, if they lead to it, leave both to the collector."""
        problem = self._problem(error)
        if not (self.outermost or problem or self._handler(error, problem)):
            return False
        answer = without_body(send) if scope["method"] == "HEAD" else send
        sent = RequestBody(scope, scope.get("jetio.body", receive), self.limit)
        await self._answer(error, problem, BodyRequest(sent), answer)
        return True

    async def _answer(self, error: Exception, problem: Problem | None, request: Request, send: Send) -> None:
        shown, expected = problem or _internal(), self._expected(error) is not None
        try:
            response = await self._own_answer(error, problem, shown, request)
        except Exception as second:  # the application's own answer failed: the client still gets one
            second.__context__ = None if second is error else error  # a thread does not hand it on
            error, problem, expected, response = second, self._problem(second), False, None
            shown = problem or _internal()
        if shown.status >= 500 and not expected:
            _report(error, request.scope, expected=problem is not None)
            if problem is None and "http.response.debug" in request.scope.get("extensions", ()):
                # Only test clients ask for it.
                await send({"type": "http.response.debug", "info": {"error": error}})
        if response is None:
            await send_problem(shown, request.scope, send)
        else:
            await response(request.scope, request.receive, send)

    async def _own_answer(
        self, error: Exception, problem: Problem | None, shown: Problem, request: Request
    ) -> Response | None:
        """What the application itself answers: a handler's, or a page where people look."""
        handler = self._handler(error, problem)
        if handler is not None:
            response: Response = await called(handler, request, error)
            return response
        if shown.status in self.pages and _wants_page(request.scope):
            return _as_page(await called(self.pages[shown.status], request, shown), shown)
        return None

    def _problem(self, error: Exception) -> Problem | None:
        """What was raised, as a problem; None: nobody expected it."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, HTTPException):
            return _of_http_exception(error)
        fault = self.fault(error)
        return None if fault is None else _of_fault(fault)

    def _handler(self, error: Exception, problem: Problem | None) -> ExceptionHandler | None:
        """The application's own answer to this class, or to this status."""
        expected = self._expected(error)
        if expected is not None or problem is not None:
            return expected or (self.handlers.get(problem.status) if problem is not None else None)
        return (self.handlers.get(500) or self.handlers.get(Exception)) if self.outermost else None

    def _expected(self, error: Exception) -> ExceptionHandler | None:
        classes = (kind for kind in type(error).__mro__ if kind is not Exception)
        return next((self.handlers[kind] for kind in classes if kind in self.handlers), None)

    # ---- WebSockets ------------------------------------------------------------------------------

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends a connection with 4000 + the status of a problem; only one that is open can tell a code."""
        state = "connecting"

        async def received() -> Message:
            nonlocal state
            message = await receive()
            state = _STATES.get(message["type"], state)
            return message

        async def watched(message: Message) -> None:
            nonlocal state
            state = _STATES.get(message["type"], state)
            await send(message)

        code, reason = 1000, ""
        try:
            await self.find(scope)(scope, received, watched)
        except WebSocketDisconnect:
            return  # the client has gone
        except Exception as error:
            code, reason = self._ending(error, scope)
        if state == "connecting":
            await watched({"type": "websocket.accept"})
        if state == "open":
            await send({"type": "websocket.close", "code": code, "reason": reason})

    def _ending(self, error: Exception, scope: Scope) -> tuple[int, str]:
        if isinstance(error, WebSocketException):
            return error.code, error.reason
        problem = self._problem(error)
        if problem is not None:
            return 4000 + problem.status, problem.code
        _report(error, scope, expected=False)
        return 1011, "internal"


_STATES = {
    "websocket.accept": "open",
    "websocket.close": "closed",
    "websocket.disconnect": "closed",
    "websocket.http.response.start": "closed",
}


def _internal() -> Problem:
    return Problem(500, "internal", "Something went wrong here; the request id leads to the report")


def _report(error: Exception, scope: Scope, *, expected: bool) -> None:
    """To the log: what the code raised on purpose as a warning, what nobody expected as an error."""
    level = logging.WARNING if expected else logging.ERROR
    _log.log(
        level,
        "%s %s failed [%s]",
        scope.get("method", "WEBSOCKET"),
        _place(scope),
        request_id(scope),
        exc_info=error,
    )


def _place(scope: Scope) -> str:
    """The path as the route declares it: what stands in its parameters may be a secret."""
    route = scope.get("route")
    if route is not None:
        return str(getattr(route, "path", "(a mount)"))
    first, more = scope["path"].removeprefix("/").partition("/")[::2]
    return f"/{first}/..." if more else f"/{first}"


def _add_nosniff(message: Message) -> None:
    headers = message.get("headers", ())
    if NOSNIFF not in headers and not any(name.lower() == NOSNIFF[0] for name, _ in headers):
        message["headers"] = [*headers, NOSNIFF]


def _of_http_exception(error: HTTPException) -> Problem:
    status = error.status_code
    code = _CODES.get(status, "internal" if status >= 500 else "bad_request")
    return Problem(status, code, str(error.detail), headers=error.headers)


def _of_fault(fault: DatabaseFault) -> Problem:
    """What a handler's own statement may run into; the CRUD rooms name the fields themselves."""
    if isinstance(fault, ReadOnly):
        return Problem(500, "read_only", "This was to be written where the database can only be read")
    if not isinstance(fault, ConstraintViolated):
        return unavailable()
    kind = fault.violation.kind
    if kind == "unique":
        return Problem(409, "conflict", "Another row has this value already")
    return Problem(422, "validation", f"The database refused the row ({kind.replace('_', ' ')})")


def _wants_page(scope: Scope) -> bool:
    """Whether this is a page's address: an HTML route, or no route at all and a browser asking."""
    route = scope.get("route")
    if route is None:
        accepted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        return b"text/html" in accepted
    endpoints = getattr(route, "endpoints", {})
    endpoint = endpoints.get("GET" if scope["method"] == "HEAD" else scope["method"]) or next(
        iter(endpoints.values()), None
    )
    return bool(getattr(getattr(endpoint, "spec", None), "html", False))


def _as_page(content: Any, problem: Problem) -> Response:
    """An error page keeps the status and the headers of its problem, whatever the author returned."""
    response: Response = content if isinstance(content, Response) else HTMLResponse(content)
    response.status_code = problem.status
    response.headers.update(problem.headers)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def request_id(scope: Scope) -> str:
    """The client's `X-Request-ID` when it is a plain word, else one made here; one for the whole request."""
    known: str | None = scope.get("jetio.request_id")
    if known is None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode(
            "latin-1"
        )
        known = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(12)
        scope["jetio.request_id"] = known
    return known


async def send_problem(problem: Problem, scope: Scope, send: Send) -> None:
    """The problem details document as an answer."""
    identity = request_id(scope)
    body = dump(problem.document(instance=_instance(scope), request_id=identity))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", identity.encode()),
        (b"cache-control", b"no-store"),
        *header_list(problem.headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _instance(scope: Scope) -> str | None:
    """The path as it was sent; None for one that leads nowhere, and for one with a secret in its `{token}`."""
    route = scope.get("route")
    if route is None or "token" in getattr(route, "param_convertors", ()):
        return None
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0][:300].decode("latin-1")
