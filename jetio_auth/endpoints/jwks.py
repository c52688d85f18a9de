"""GET /.well-known/jwks.json: the public keys of the tokens, for services that verify them themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from jetio import Endpoint, JsonResponse, Operation

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["key_routes"]

_CACHED = {"Cache-Control": "public, max-age=300"}


class KeyRead(BaseModel):
    """A public key (RFC 7517)."""

    kty: str
    kid: str
    alg: str
    use: str
    n: str | None = Field(default=None, description="RSA")
    e: str | None = Field(default=None, description="RSA")
    crv: str | None = Field(default=None, description="EC")
    x: str | None = Field(default=None, description="EC")
    y: str | None = Field(default=None, description="EC")


class KeySetRead(BaseModel):
    """All keys that verify, also those that sign no more."""

    keys: list[KeyRead]


def key_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """There where tokens are signed with keys that have a public half."""

    async def jwks() -> JsonResponse:
        """The public keys that verify access tokens."""
        return JsonResponse({"keys": auth.authenticator.codec.public_keys}, headers=_CACHED)

    operation = Operation("GET", jwks, response_model=KeySetRead, tags=["auth"])
    yield "/.well-known/jwks.json", operation
