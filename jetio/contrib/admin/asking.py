"""Asks an endpoint of the application for a page of the panel, as the person who looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Scope

from ...dialects.values import dump
from ...errors import Problem
from ...routing import Endpoint

__all__ = ["OUTER", "VISIT", "Answer", "ask"]

OUTER = "jetio.panel.outer"
"""Where in its own scope the panel keeps the one that the application was called with."""

VISIT = "jetio.panel.visit"
"""Where it keeps who looks at a page, and what they may do."""

_OF_THE_PAGE = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"expect", b"prefer", b"x-csrf-token"}
    | {b"if-match", b"if-none-match", b"if-modified-since", b"range", b"accept"}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


async def ask(
    endpoint: Endpoint,
    request: Request,
    path: str,
    *,
    key: str | None = None,
    body: Any = None,
    headers: Mapping[bytes, bytes] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Answer:
    """The answer to a request of its own; problems are raised.

    `key` is the row's, as its address has it. The caller was found when the page was asked for: the endpoint
    meets the same one, and decides as always. `members` join the scope.
    """
    raw = b"" if body is None else dump(body)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {**_scope(request, endpoint.method, path, key, raw, headers or {}), **(members or {})}
    try:
        await endpoint(scope, receive, send)
    except HTTPException as error:
        if error.status_code >= 500:
            raise
        raise Problem(error.status_code, "forbidden", error.detail) from None  # pages show the words alone
    start, *parts = sent
    return Answer(start["status"], tuple(start["headers"]), b"".join(part.get("body", b"") for part in parts))


def _scope(
    request: Request, method: str, path: str, key: str | None, raw: bytes, extra: Mapping[bytes, bytes]
) -> Scope:
    outer: Scope = request.scope[OUTER]
    full = f"{outer.get('root_path', '')}{path}" + ("" if key is None else f"/{key}")
    kept = [(name, value) for name, value in outer["headers"] if name not in _OF_THE_PAGE]
    if raw:
        kept += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
    return {
        **outer,
        "method": method,
        "path": full,
        "raw_path": full.encode(),
        "query_string": b"",
        "path_params": {} if key is None else {"id": unquote(key)},
        "headers": [*kept, *extra.items()],
        "state": {},
    }
