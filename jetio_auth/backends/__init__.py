"""From a credential to a Principal."""

from __future__ import annotations

from .apart import ApartAuthenticator
from .api_tokens import ApiTokenAuthenticator
from .chain import ChainAuthenticator
from .jwt import JWTAuthenticator
from .remote import RemoteAuthenticator, RemoteIssuer

__all__ = [
    "ApartAuthenticator",
    "ApiTokenAuthenticator",
    "ChainAuthenticator",
    "JWTAuthenticator",
    "RemoteAuthenticator",
    "RemoteIssuer",
]
