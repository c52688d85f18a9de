"""The command line: `jetio run`, `check`, `routes`, `access`, `openapi`."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
