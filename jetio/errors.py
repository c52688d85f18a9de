"""What can go wrong: mistakes of the developer (ConfigError) and answers to the client (Problem)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

__all__ = ["ConfigError", "FieldError", "JetioError", "Mistakes", "Problem", "ValidationError"]


class JetioError(Exception):
    """The root of every exception that Jetio raises on purpose."""


class ConfigError(JetioError):
    """A mistake in how the application was put together, found before it serves.

    Several mistakes found in one build are raised as one error: `mistakes` lists them.
    """

    def __init__(self, message: str, *, mistakes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.mistakes = tuple(mistakes) or (message,)

    @classmethod
    def of(cls, mistakes: Sequence[str]) -> ConfigError:
        """One error that tells all of them."""
        if len(mistakes) == 1:
            return cls(mistakes[0])
        listed = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(mistakes, 1))
        return cls(f"{len(mistakes)} mistakes in this application:\n{listed}", mistakes=mistakes)


class Mistakes:
    """The ConfigErrors of several steps: `with mistakes:` around each of them, then `mistakes.tell()`.

    `place` heads those that do not begin with it.
    """

    def __init__(self, place: str = "") -> None:
        self.place = place
        self.found: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, ConfigError):
            self._take(error, self.place)
        return isinstance(error, ConfigError)

    @contextmanager
    def about(self, head: str) -> Iterator[None]:
        """A step whose mistakes are headed by more than the place."""
        try:
            yield
        except ConfigError as error:
            self._take(error, head)

    def _take(self, error: ConfigError, head: str) -> None:
        self.found += [text if text.startswith(self.place) else f"{head}: {text}" for text in error.mistakes]

    def tell(self) -> None:
        """Raise them as one; nothing when there are none."""
        if self.found:
            raise ConfigError.of(list(dict.fromkeys(self.found)))


@dataclass(frozen=True, slots=True)
class FieldError:
    """One entry of a problem's `errors` (RFC 9457, section 3): where it is, a stable code, a sentence.

    Exactly one of `pointer` (RFC 6901, into the body), `parameter` and `header` says where.
    """

    code: str
    message: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    index: int | None = None

    def members(self) -> dict[str, Any]:
        """The JSON members of this entry; what is None is left out."""
        named = {
            "pointer": self.pointer,
            "parameter": self.parameter,
            "header": self.header,
            "index": self.index,
        }
        present = {name: value for name, value in named.items() if value is not None}
        return {**present, "code": self.code, "message": self.message}


class Problem(JetioError):
    """An answer that is not a success: raised anywhere, rendered in one place (RFC 9457).

    `code` is stable and has its section in docs/errors.md; `detail` is a sentence for people and never holds
    the input, SQL or a stack. `members` are further members of the JSON document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | None = None,
        *,
        title: str | None = None,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.title = title or _phrase(status)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        if status == 401 and "www-authenticate" not in map(str.lower, self.headers):
            self.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1
        self.members = dict(members or {})
        super().__init__(f"{status} {code}: {self.detail}")

    def document(self, *, instance: str | None = None, request_id: str | None = None) -> dict[str, Any]:
        """The problem details object, ready for JSON; what is not known is left out."""
        about = {"instance": instance, "request_id": request_id}
        known = {name: value for name, value in about.items() if value is not None}
        errors = {"errors": [error.members() for error in self.errors]} if self.errors else {}
        return {
            "type": f"urn:jetio:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **known,
            **errors,
            **self.members,
        }


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"


class ValidationError(Problem):
    """422: valid syntax, invalid content; `errors` says which fields."""

    def __init__(
        self, errors: Iterable[FieldError] = (), detail: str | None = None, *, code: str = "validation"
    ) -> None:
        listed = tuple(errors)
        super().__init__(
            422, code, detail or _count_sentence(len(listed)), title="Validation failed", errors=listed
        )


def _count_sentence(count: int) -> str:
    if count == 0:
        return "The request is not valid"
    return "1 field is invalid" if count == 1 else f"{count} fields are invalid"


def unauthenticated(detail: str = "Missing or invalid Authorization header") -> Problem:
    """401: who is calling is not known."""
    return Problem(401, "not_authenticated", detail)


def forbidden(detail: str = "You may not do this", *, code: str = "forbidden") -> Problem:
    """403: a known caller that is not allowed."""
    return Problem(403, code, detail)


def not_found(detail: str = "There is nothing here") -> Problem:
    """404: no such thing, or outside what the caller may see; the two are not told apart."""
    return Problem(404, "not_found", detail)


def unavailable(detail: str = "The service is not available right now", *, retry_after: int = 1) -> Problem:
    """503: try again after `retry_after` seconds."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after)})
