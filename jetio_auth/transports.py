"""How a credential travels; never what is in it."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from jetio import Problem

__all__ = ["REFUSED", "BearerTransport", "refused"]


REFUSED = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


def refused(detail: str = "The access token is not valid", *, code: str = "not_authenticated") -> Problem:
    """401 for a credential that was given and is not accepted (RFC 6750, section 3.1)."""
    return Problem(401, code, detail, headers=REFUSED)


class BearerTransport:
    """A token in a header, behind a scheme word (RFC 6750, section 2.1); an empty word: the bare token."""

    def __init__(self, header: str = "Authorization", prefix: str = "Bearer") -> None:
        self._header = header.lower().encode("latin-1")
        self._prefix = prefix.lower()

    @property
    def is_standard(self) -> bool:
        """Whether it is `Authorization: Bearer`, which every tool knows."""
        return self._header == b"authorization" and self._prefix == "bearer"

    def holds(self, connection: HTTPConnection, part: bytes) -> bool:
        """Whether such a header has this in it: a look that refuses nothing."""
        return any(part in value for value in self._values(connection))

    def _values(self, connection: HTTPConnection) -> list[bytes]:
        return [value for name, value in connection.scope["headers"] if name == self._header]

    def read(self, connection: HTTPConnection) -> str | None:
        """The token, None when there is none; raises 401 for a header that is something else."""
        given = self._values(connection)
        if not given:
            return None
        if len(given) > 1:
            raise refused("The credential stands twice")
        text: str = given[0].decode("latin-1")
        scheme, _, token = text.partition(" ") if self._prefix else ("", "", text)
        token = token.strip()
        if scheme.lower() != self._prefix or not token:
            raise refused("Missing or invalid Authorization header")
        return token
