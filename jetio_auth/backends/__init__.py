"""From a credential to a Principal."""

from __future__ import annotations

from .jwt import JWTAuthenticator

__all__ = ["JWTAuthenticator"]
