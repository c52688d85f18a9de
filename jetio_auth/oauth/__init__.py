"""Logins by other services (OAuth 2.0 and OpenID Connect)."""

from __future__ import annotations

from .providers import OAuthProfile, OAuthProvider, github, google, microsoft
from .settings import OAuth

__all__ = ["OAuth", "OAuthProfile", "OAuthProvider", "github", "google", "microsoft"]
