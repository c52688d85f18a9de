"""The request's body: bounded reading, strict JSON, and what is wrong with it in words."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, Protocol

import orjson
from pydantic import ValidationError as PydanticError
from starlette.requests import ClientDisconnect, Request, empty_send
from starlette.types import Message, Receive, Scope, Send

from .errors import FieldError, Problem, ValidationError

__all__ = [
    "BodyRequest",
    "RequestBody",
    "entries_of",
    "field_errors",
    "parse_json",
    "read_body",
    "require_json",
]

Limit = int | Callable[[Scope], int]

JSON_TYPES = ("application/json",)

SHOWN = 100
"""Errors told of one body: whoever sends more wrong values learns of the first ones."""

COUNTED = 1000
"""Errors in one request beyond which none is listed: making the list would hold the loop."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def require_json(scope: Scope, accepted: Sequence[str] = JSON_TYPES) -> str:
    """The media type of the body; raises 415 `unsupported_media_type` for another one than `accepted`."""
    return _accepted(header(scope, b"content-type") or "", scope, accepted)


def _accepted(given: str, scope: Scope, accepted: Sequence[str]) -> str:
    if given in accepted:
        return given
    media, charset = _media(given)
    if media in accepted and charset in ("", "utf-8", "utf8"):
        return media
    headers = {"Accept-Patch" if scope["method"] == "PATCH" else "Accept-Post": ", ".join(accepted)}
    raise Problem(
        415, "unsupported_media_type", f"The body must be {' or '.join(accepted)} in UTF-8", headers=headers
    )


def _media(given: str) -> tuple[str, str]:
    """The media type and the charset of a Content-Type, both in lower case."""
    media, *parameters = (part.strip().lower() for part in given.split(";"))
    charsets = (
        part.removeprefix("charset=").strip("\"'") for part in parameters if part.startswith("charset=")
    )
    return media, next(charsets, "")


def _too_large(scope: Scope, limit: int) -> Problem:
    # The rest of the body is not read, which ends an HTTP/1 connection. HTTP/2 has no such header.
    headers = {"Connection": "close"} if scope.get("http_version", "1.1").startswith("1") else {}
    return Problem(413, "content_too_large", f"The body is larger than {limit} bytes", headers=headers)


def _check_length(sent: RequestBody, limit: int) -> None:
    length = sent.headers.get(b"content-length")
    if length is not None and length.isdigit() and (len(length) > 15 or int(length) > limit):
        raise _too_large(sent.scope, limit)


class _Tape:
    """What has arrived of one body; more than `keep` bytes are not kept, but go to whoever reads at the end."""

    __slots__ = ("complete", "gone", "keep", "parts", "receive", "size")

    def __init__(self, receive: Receive, keep: int) -> None:
        self.receive, self.keep = receive, keep
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = self.gone = False

    @property
    def cut(self) -> bool:
        """Whether the beginning is not there any more."""
        return self.size > self.keep

    async def pull(self) -> bytes:
        """One more part; empty when the client has gone."""
        message = None if self.gone else await self.receive()
        if message is None or message["type"] == "http.disconnect":
            self.gone = True
            return b""
        part: bytes = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self.size += len(part)
        if self.size > self.keep:
            self.parts.clear()
        else:
            self.parts.append(part)
        return part


class RequestBody:
    """The body of one request for one reader: bounded, and whole for each of several readers.

    It is an ASGI `receive`; one made around another reads the same body from its beginning, with a limit of
    its own. `keep` says how much stays for others of what this one reads; by default all up to the limit.
    """

    __slots__ = ("_ended", "_headers", "_keep", "_limit", "_receive", "_size", "_tape", "scope")

    def __init__(self, scope: Scope, receive: Receive, limit: Limit, keep: int | None = None) -> None:
        self.scope, self._receive, self._limit, self._keep = scope, receive, limit, keep
        self._tape: _Tape | None = None
        self._headers: dict[bytes, bytes] | None = None
        self._size, self._ended = 0, False

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The first header of each (lower-case) name."""
        if self._headers is None:
            self._headers = dict(reversed(self.scope["headers"]))
        return self._headers

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def media(self, accepted: Sequence[str]) -> str:
        """The media type of the body; raises 415 as `require_json` does."""
        return _accepted(self.header(b"content-type") or "", self.scope, accepted)

    @property
    def limit(self) -> int:
        """The largest body that this reader takes; where the route is not known yet it is asked for when due."""
        if callable(self._limit):
            self._limit = self._limit(self.scope)
        return self._limit

    def _shared(self, keep: int) -> _Tape:
        tape = self._tape
        if tape is None:
            inner = self._receive
            tape = self._tape = inner._shared(keep) if isinstance(inner, RequestBody) else _Tape(inner, keep)
        if not tape.cut and keep > tape.keep:
            tape.keep = keep
        return tape

    async def read(self) -> bytes:
        """The whole body; raises 413 `content_too_large`, without reading on, past the limit."""
        limit = self.limit
        _check_length(self, limit)
        tape = self._shared(limit)
        while not tape.complete and tape.size <= limit:
            await tape.pull()
            if tape.gone:
                raise ClientDisconnect
        if tape.size > limit or tape.cut:
            raise _too_large(self.scope, min(limit, tape.keep))
        self._size, self._ended = tape.size, True
        if len(tape.parts) > 1:
            tape.parts = [b"".join(tape.parts)]
        return tape.parts[0]

    def rewind(self) -> None:
        """Begin again."""
        self._size, self._ended = 0, False

    async def __call__(self) -> Message:
        """The next part, and then what follows a body; raises 413."""
        limit = self.limit
        tape = self._shared(limit if self._keep is None else self._keep)
        if self._ended:
            return await tape.receive()
        if self._size == 0:
            _check_length(self, limit)
        part = await self._part(tape)
        if tape.gone:
            return {"type": "http.disconnect"}
        self._size += len(part)
        if self._size > limit:
            raise _too_large(self.scope, limit)
        self._ended = tape.complete and self._size == tape.size
        return {"type": "http.request", "body": part, "more_body": not self._ended}

    async def _part(self, tape: _Tape) -> bytes:
        if self._size == tape.size:
            return b"" if tape.complete else await tape.pull()
        if tape.cut:
            raise _too_large(self.scope, tape.keep)
        return b"".join(tape.parts)[self._size :]


class BodyRequest(Request):
    """A Request over a RequestBody: its body may be read in one way after another, by one after another."""

    def __init__(self, sent: RequestBody, send: Send = empty_send) -> None:
        super().__init__(sent.scope, sent, send)
        self._sent = sent

    async def body(self) -> bytes:
        return await self._sent.read()

    async def json(self) -> Any:
        """The body as JSON; raises 400 `bad_json`, for it is the client's."""
        try:
            return json.loads(await self.body())
        except (ValueError, RecursionError):
            raise Problem(400, "bad_json", "The body is not valid JSON") from None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self._sent.rewind()
        more = True
        while more:
            message = await self._sent()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message["more_body"]
            if message["body"]:
                yield message["body"]
        yield b""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; raises 413 `content_too_large`, without reading on, past `limit` bytes."""
    return await RequestBody(scope, receive, limit).read()


class JsonValidator(Protocol):
    """A pydantic SchemaValidator."""

    def validate_json(self, data: bytes) -> Any: ...


def parse_json(validator: JsonValidator, raw: bytes, names: Iterable[str] = (), keys: int = -1) -> Any:
    """The validated body; raises 400 `bad_json` or 422 `validation`.

    `names` are the fields a misspelt one is compared with. `keys` is the number of members when the body can
    hold only that many: then equal numbers of members and colons prove that no key stands twice.
    """
    try:
        value = validator.validate_json(raw)
    except PydanticError as error:
        raise problem_of(error, names) from None
    refuse_ambiguous(raw, len(getattr(value, "model_fields_set", ())) if keys == -1 else keys)
    return value


def refuse_ambiguous(raw: bytes, keys: int) -> None:
    """Refuse what parsers read differently (RFC 8259, 4 and 6), and NUL, which databases do not store.

    That is duplicate keys, NaN, Infinity, and numbers that no double holds.
    """
    try:
        orjson.loads(raw)
        holds_nul = b"\\u0000" in raw
        if not holds_nul and raw.count(b":") == keys:
            return
        document = json.loads(raw, object_pairs_hook=_unique)
    except _DuplicateKey:
        raise Problem(400, "bad_json", "The body holds a key twice in one object") from None
    except (ValueError, RecursionError):
        raise Problem(400, "bad_json", "The body is not valid JSON, or a number in it is too large") from None
    if holds_nul and _holds_nul(document):
        raise Problem(400, "bad_request", "Text may not hold the character NUL")


class _DuplicateKey(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _DuplicateKey
    return document


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def problem_of(error: PydanticError, names: Iterable[str] = ()) -> Problem:
    """The problem behind what pydantic refused in a body."""
    entries = entries_of(error)
    if any(entry["type"] == "json_invalid" for entry in entries):
        return Problem(400, "bad_json", "The body is not valid JSON")
    errors = field_errors(entries, names)
    codes = {item.code for item in errors}
    for code, sentence in _WHOLE.items():
        if codes == {code}:
            return ValidationError(errors, sentence, code=code)
    cut = f"{len(entries)} fields are invalid; the first {SHOWN} are told"
    return ValidationError(errors, cut if len(entries) > SHOWN else None)


# When nothing else is wrong, the problem as a whole is called what it is.
_WHOLE = {
    "unknown_field": "The body has a field that does not exist",
    "read_only_field": "The body sets a field that is not yours to set",
}


def entries_of(error: PydanticError) -> list[Any]:
    """pydantic's report without the input; raises 422 `validation` when it would be too long."""
    if error.error_count() > COUNTED:
        raise ValidationError((), f"More than {COUNTED} values are invalid")
    return list(error.errors(include_url=False, include_input=False))


def field_errors(entries: Iterable[Any], names: Iterable[str] = ()) -> list[FieldError]:
    """Entries of pydantic's report as entries of a problem, each with a pointer into the body."""
    known = list(names)
    return [_field_error(entry, known) for entry in itertools.islice(entries, SHOWN)]


def _field_error(entry: Any, names: list[str]) -> FieldError:
    place = pointer(entry["loc"])
    if entry["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(entry["loc"][-1])[:100], names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return FieldError("unknown_field", f"There is no such field{hint}", pointer=place)
    return FieldError(entry["type"], message_of(entry), pointer=place)


def message_of(entry: Any) -> str:
    """pydantic's sentence, unless it would repeat the input."""
    if entry["type"] == "value_error" and "reason" in entry.get("ctx", {}):
        return "This is not a valid email address"
    message: str = entry["msg"]
    return message.removeprefix("Value error, ")


def pointer(location: Iterable[Any]) -> str:
    """A JSON pointer (RFC 6901); long names are cut."""
    return "".join(f"/{str(part)[:100].replace('~', '~0').replace('/', '~1')}" for part in location)
