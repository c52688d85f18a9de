"""The routes."""

from __future__ import annotations

from typing import Any

from jetio import Controller, get
from jetio_auth import allow_anonymous, requires_role

from .services import UserService


class ApiController(Controller, prefix="/api", tags=["API"]):
    """Every route needs a caller that does not say otherwise."""

    def __init__(self, user_service: UserService) -> None:
        self.user_service = user_service

    @get("/me")
    async def get_profile(self) -> dict[str, Any]:
        """Get the authenticated user's profile."""
        return self.user_service.get_profile()

    @get("/health")
    @allow_anonymous
    async def health(self) -> dict[str, str]:
        """Public health check: no token required."""
        return {"status": "ok"}

    @get("/admin/stats")
    @requires_role("admin")
    async def admin_stats(self) -> dict[str, int]:
        """Admin-only endpoint."""
        return {"users": 42, "active": 30}

    @get("/editor/drafts")
    @requires_role("editor", "admin")
    async def editor_drafts(self) -> dict[str, int]:
        """Accessible to editors and admins."""
        return {"drafts": 5}
