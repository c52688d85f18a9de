"""What the controllers work with."""

from __future__ import annotations

from typing import Any

from jetio import SecurityContext


class UserService:
    """The caller, found without being handed on."""

    def get_profile(self) -> dict[str, Any]:
        """Who is calling."""
        caller = SecurityContext.require()
        return {
            "sub": caller.sub,
            "email": caller.email,
            "org_id": caller.org_id,
            "roles": SecurityContext.get_roles(),
        }

    def is_admin(self) -> bool:
        """Whether the caller has the role `admin`."""
        return SecurityContext.has_role("admin")
