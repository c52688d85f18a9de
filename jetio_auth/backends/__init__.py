"""From a credential to a Principal."""

from __future__ import annotations

from .jwt import JWTAuthenticator
from .remote import RemoteAuthenticator, RemoteIssuer

__all__ = ["JWTAuthenticator", "RemoteAuthenticator", "RemoteIssuer"]
