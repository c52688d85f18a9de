"""Which routes a feature brings, and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from jetio import Endpoint

from .endpoints.api_tokens import api_token_routes
from .endpoints.approval import approval_routes
from .endpoints.device import device_routes
from .endpoints.events import event_routes
from .endpoints.impersonation import impersonation_routes
from .endpoints.magic_link import magic_link_routes
from .endpoints.mfa import mfa_login_routes, mfa_routes
from .endpoints.oauth import oauth_routes
from .endpoints.passkeys import passkey_routes
from .endpoints.password import password_routes
from .endpoints.refresh import refresh_routes
from .endpoints.reset import reset_routes
from .endpoints.sessions import logout_routes, session_routes
from .endpoints.verification import verification_routes

if TYPE_CHECKING:
    from .router import AuthRouter

__all__ = ["ADMIN_ROUTES", "REVIEW_ROUTES", "ROUTES", "SESSION_ROUTES", "Routes"]

Routes = Callable[["AuthRouter"], Iterable[tuple[str, Endpoint]]]
SESSION_ROUTES: Mapping[str, Routes] = {
    "refresh": refresh_routes,
    "sessions": logout_routes,
    "totp": mfa_login_routes,
}
ROUTES: Mapping[str, Routes] = {
    "sessions": session_routes,
    "change_password": password_routes,
    "api_tokens": api_token_routes,
    "totp": mfa_routes,
    "passkeys": passkey_routes,
    "device_login": device_routes,
    "verify_email": verification_routes,
    "reset_password": reset_routes,
    "magic_link": magic_link_routes,
    "oauth": oauth_routes,
}
ADMIN_ROUTES: Mapping[str, Routes] = {
    "events": event_routes,
    "impersonation": impersonation_routes,
}
REVIEW_ROUTES: Mapping[str, Routes] = {"approval": approval_routes}
