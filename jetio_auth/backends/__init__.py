"""From a credential to a Principal."""

from __future__ import annotations

from .apart import ApartAuthenticator
from .api_tokens import ApiTokenAuthenticator
from .chain import ChainAuthenticator
from .custom import BackendAuthenticator
from .jwt import JWTAuthenticator
from .keys import APIKeyBackend
from .multi import MultiBackend
from .protocol import AdminUser, AuthBackend, CallerFinder
from .remote import RemoteAuthenticator, RemoteIssuer
from .remote_backend import RemoteJWTBackend
from .session import SessionAuthBackend
from .stored_jwt import JWTAuthBackend

__all__ = [
    "APIKeyBackend",
    "AdminUser",
    "ApartAuthenticator",
    "ApiTokenAuthenticator",
    "AuthBackend",
    "BackendAuthenticator",
    "CallerFinder",
    "ChainAuthenticator",
    "JWTAuthBackend",
    "JWTAuthenticator",
    "MultiBackend",
    "RemoteAuthenticator",
    "RemoteIssuer",
    "RemoteJWTBackend",
    "SessionAuthBackend",
]
