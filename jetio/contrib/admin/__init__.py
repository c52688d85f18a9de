"""The admin panel: pages over the rows of CRUD routers, behind the same rules."""

from .panel import Admin

__all__ = ["Admin"]
