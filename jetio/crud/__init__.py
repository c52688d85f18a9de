"""From a model and its rules to REST operations."""

from __future__ import annotations

from .hooks import Change
from .router import CrudRouter

__all__ = ["Change", "CrudRouter"]
