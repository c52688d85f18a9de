"""From a credential to a Principal."""

from __future__ import annotations

from .api_tokens import ApiTokenAuthenticator
from .chain import ChainAuthenticator
from .jwt import JWTAuthenticator
from .remote import RemoteAuthenticator, RemoteIssuer

__all__ = [
    "ApiTokenAuthenticator",
    "ChainAuthenticator",
    "JWTAuthenticator",
    "RemoteAuthenticator",
    "RemoteIssuer",
]
