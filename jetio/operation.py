"""One handler as an endpoint: decide, make its arguments, call it, encode, clean up, commit, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from starlette.convertors import Convertor
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .answers import (
    BODILESS,
    JSON_TYPE,
    JsonResponse,
    document_of,
    encode,
    encoder,
    is_response,
    read_type,
    send_body,
    send_empty,
    send_json,
)
from .call import Call, Terms
from .callables import hints_of, unknown_name
from .database import Database
from .dependencies import BodySpec, Context, Parameter, Rule, Signature, read_signature
from .errors import ConfigError, Mistakes
from .marks import is_open, marks_of
from .policy import Policy, PolicyLike, as_policy
from .routing import Application, convertors_of, header_list
from .signature import caller

__all__ = [
    "Answer",
    "JsonResponse",
    "Operation",
    "OperationSpec",
    "document_of",
    "send_empty",
    "send_json",
]

UPLOADS = 16
"""A body with files may be so many times as long as another one."""

ANSWERS = {
    kind.__name__: kind
    for kind in (Response, JsonResponse, HTMLResponse, RedirectResponse, StreamingResponse)
}
"""These need no import where the program runs: they filter nothing."""

HTML = (b"content-type", b"text/html; charset=utf-8")
OCTETS = (b"content-type", b"application/octet-stream")


@dataclass(slots=True)
class Answer:
    """A documented answer: its status, what it means, and the type of its JSON body.

    `media` None says that nothing is known of the body.
    """

    status: int
    description: str
    adapter: TypeAdapter[Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str | None = "application/json"


@dataclass(slots=True)
class OperationSpec:
    """What documentation says about an endpoint, and who may use it; complete once the endpoint is built.

    Except `body` and `answers` where serving does without them: `types` adds these for the document.
    """

    summary: str
    description: str = ""
    tags: Sequence[str] = ()
    operation_id: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    body: BodySpec | None = None
    answers: list[Answer] = field(default_factory=list)
    problems: list[int] = field(default_factory=list)
    secured: bool = False
    optional_login: bool = False
    listed: bool = True
    deprecated: bool = False
    html: bool = False
    action: str = ""
    model: type[Any] | None = None
    rules: list[Policy] = field(default_factory=list)
    needs_login: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    types: Callable[[], None] | None = None


class Operation:
    """A handler for one method of one path."""

    takes_rules = True

    def __init__(
        self,
        method: str,
        handler: Callable[..., Any],
        *,
        status_code: int | None = None,
        policy: PolicyLike | None = None,
        response_model: Any = None,
        name: str | None = None,
        summary: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        include_in_schema: bool = True,
        deprecated: bool = False,
        html: bool = False,
        max_body: int | None = None,
        problems: Sequence[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.method = method
        self.handler = handler
        self.name: str = name or getattr(handler, "__name__", "") or type(handler).__name__
        self.policy = policy
        self.response_model = response_model
        self.status_code = status_code
        self.max_body = max_body
        self.headers = header_list(headers or {})
        self.database: Callable[[], Database] | None = None
        """Whose transaction its requests run in; None: the application's."""
        first, _, rest = (getattr(handler, "__doc__", None) or "").strip().partition("\n")
        self.spec = OperationSpec(
            summary=summary or first.strip().rstrip(".") or self.name.replace("_", " ").capitalize(),
            description=description if description is not None else " ".join(rest.split()),
            tags=tags,
            listed=include_in_schema,
            deprecated=deprecated,
            html=html,
            problems=list(problems),
        )

    # ---- build -----------------------------------------------------------------------------------

    def build(self, app: Application, path: str) -> None:
        """Read the handler; raises one ConfigError that tells all its mistakes."""
        self.app, self.where = app, f"{self.method} {path} ({self.name})"
        mistakes = Mistakes(self.where)
        with mistakes:
            self.signature, self.rules = read_handler(
                self.handler, self.policy, app, self.method, path, self.where, app.default_rule(self)
            )
        with mistakes:
            self._read_answer()
        mistakes.tell()
        self.asks = bool(self.rules or self.signature.login)
        self.writes = self.method not in ("GET", "HEAD", "OPTIONS")
        self.reads = not (self.writes or self.signature.may_write)
        self.limit = self.max_body or app.settings.max_body * (UPLOADS if self.signature.uploads else 1)
        # Uploads and streams go to whoever reads them; they are not kept in memory for a second reader.
        kept = self.signature.body is not None and not self.signature.uploads
        self.keep = self.limit if kept else min(self.limit, app.settings.max_body)
        self._make = caller(self.signature)
        writers = (
            self._no_body if self.status in BODILESS else self._page if self.spec.html else self._document
        )
        self._body_of: Callable[[Any], bytes | None] = writers
        self._content, self._raw = (HTML, HTML) if self.spec.html else (JSON_TYPE, OCTETS)
        self._terms = Terms(app, self.name, self.writes, self.limit, self.keep, self.reads, self.database)
        self._describe("{" in path)

    def _read_answer(self) -> None:
        declared = self.response_model
        if declared is None:
            try:
                declared = hints_of(self.handler, ANSWERS).get("return", Any)
            except Exception:
                return  # the signature, which has the same annotations, has told already
        if (unknown := unknown_name(declared)) is not None:
            raise ConfigError(f"it returns {unknown}, known to type checkers only; import it, too")
        try:
            shown = read_type(declared)
            own = is_response(shown)
            self._encode = encode if own else encoder(declared, self.where)
            self.adapter: TypeAdapter[Any] | None = None if own or shown in _UNTOLD else TypeAdapter(shown)
        except Exception as error:
            raise ConfigError(f"its return type {declared!r} cannot be described: {error}") from error
        self.spec.html |= own and issubclass(shown, HTMLResponse)
        usual = 204 if declared is type(None) else 307 if own and issubclass(shown, RedirectResponse) else 200
        self.status = self.status_code or usual
        if not 200 <= self.status <= 599:
            raise ConfigError(f"{self.status} is no status of an answer; write 200 to 599")
        self.media = "text/html" if self.spec.html else _media_of(shown)

    def _describe(self, has_parts: bool) -> None:
        spec, signature = self.spec, self.signature
        spec.parameters, spec.body = list(signature.parameters), signature.body
        spec.action, spec.rules = self.name, [rule.policy for rule in self.rules]
        spec.needs_login = signature.login == "required"
        spec.secured = self.asks
        spec.optional_login = not spec.needs_login and all(rule.admits_anonymous for rule in spec.rules)
        adapter = None if self.status in BODILESS or spec.html else self.adapter
        spec.answers = [Answer(self.status, "Done", adapter, media=self.media)]
        found = set(spec.problems)
        if self.asks:
            found |= {401, 403}
        if has_parts:
            found.add(404)
        if any(item.source != "path" for item in spec.parameters) or spec.body:
            found |= {400, 422}
        if spec.body:
            found |= {413, 415}
        spec.problems = sorted(found)

    # ---- serve -----------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self._terms, scope, receive, send)
        try:
            try:
                if self.asks:
                    await admit(call, self.signature, self.rules)
                result = await self._make(call)
                if call.opened:
                    await call.flush()
                body = None if isinstance(result, Response) else self._body_of(result)
                if call.opened:
                    await call.finish()
            except BaseException as error:
                await call.abandon(error)
                raise
            if isinstance(result, Response):
                result.raw_headers.extend(item for item in self.headers if item not in result.raw_headers)
                await result(scope, receive, send)
            elif body is None:
                await send_empty(send, self.status, self.headers)
            else:
                content = self._raw if body is result else self._content
                await send_body(send, self.status, content, body, self.headers)
            if call.background is not None:
                await call.background()
        finally:
            call.forget()

    def _no_body(self, result: Any) -> bytes | None:
        if result is not None:
            raise TypeError(
                f"{self.where} answers {self.status} without a body, returned {type(result).__name__}"
            )
        return None

    def _page(self, result: Any) -> bytes | None:
        if not isinstance(result, str | bytes):
            raise TypeError(f"{self.where} answers HTML, and returned {type(result).__name__}; return a str")
        return result if isinstance(result, bytes) else result.encode()

    def _document(self, result: Any) -> bytes | None:
        return result if isinstance(result, bytes) else self._encode(result)


_UNTOLD = (Any, bytes)


def _media_of(shown: Any) -> str | None:
    if is_response(shown):
        told: str | None = shown.media_type
        return told
    return "application/octet-stream" if shown is bytes else "application/json"


# ---- what handlers and sockets share -------------------------------------------------------------


@dataclass
class HandlerContext:
    """What a rule on a handler may learn at build: who finds the caller; it has no rows."""

    app: Application
    model: type[Any] | None = None

    @property
    def authenticator(self) -> Any:
        return self.app.authenticator

    def owner_column(self, model: type[Any], candidates: tuple[str, ...] | None = None) -> Any:
        raise ConfigError(f"a rule about the owner of {model.__name__} guards rows; use it on a CrudRouter")


def read_handler(
    handler: Callable[..., Any],
    policy: PolicyLike | None,
    app: Application,
    method: str,
    path: str,
    where: str,
    default: Policy | None,
) -> tuple[Signature, list[Rule]]:
    """A handler's signature, and all rules that are asked before it; raises ConfigError.

    `default` is the rule of what neither has a policy nor is `allow_anonymous`.
    """
    context = HandlerContext(app)
    mistakes = Mistakes(where)
    rules: list[Rule] = []
    with mistakes:
        own = policy if policy is not None or is_open(handler) else default
        asked = [as_policy(own)] if own is not None else []
        rules += [Rule(rule.bind(context), ()) for rule in (*asked, *marks_of(handler))]
    with mistakes:
        values = convertors_of(path)
        signature = read_signature(handler, Context(where, values, method, lambda rule: rule.bind(context)))
        rules += signature.rules
        _check_path(signature, values)
    mistakes.tell()
    _check_caller(signature, rules, app, where)
    if is_open(handler):
        _check_open(signature, rules, where)
    return signature, rules


def _check_path(signature: Signature, values: Mapping[str, Convertor[Any]]) -> None:
    known = {item.name for item in signature.parameters if item.source == "path"}
    missing = [] if signature.takes_connection else [name for name in values if name not in known]
    if missing:
        raise ConfigError(
            f"the path has {{{missing[0]}}}, and the handler has no such parameter; add `{missing[0]}: str`"
        )


def _check_caller(signature: Signature, rules: Sequence[Rule], app: Application, where: str) -> None:
    asking = bool(signature.login) or any(rule.policy.needs_caller for rule in rules)
    found = app.authenticator is not None or any(_finds_caller(rule.policy) for rule in rules)
    if asking and not found:
        raise ConfigError(
            f"{where} asks who is calling, but nothing finds out; write AuthRouter(User).register_routes(app)"
        )


def _check_open(signature: Signature, rules: Sequence[Rule], where: str) -> None:
    closed = next((repr(rule.policy) for rule in rules if not rule.policy.admits_anonymous), None)
    if signature.login == "required":
        closed = closed or "a Principal"
    if closed is not None:
        raise ConfigError(f"{where} is allow_anonymous and asks for {closed}; take one of them away")


def _finds_caller(rule: Policy) -> bool:
    return rule.knows_caller or rule.authenticator is not None


async def admit(call: Call, signature: Signature, rules: Sequence[Rule]) -> None:
    """Identify and decide, before anything of the body is read; raises the problem that the caller sees."""
    replaced = call.app.dependency_overrides
    for rule, above in rules:
        if not replaced or replaced.keys().isdisjoint(above):
            await call.ask(rule)
    if signature.login:
        await call.identify()
    await call.release()
