"""Accounts that are kept elsewhere than in a table of this application."""

from __future__ import annotations

from .json_file import JSONUserStore
from .memory import MemoryUserStore
from .source import StoreSource
from .users import StoredUser, UserStore, taken

__all__ = ["JSONUserStore", "MemoryUserStore", "StoreSource", "StoredUser", "UserStore", "taken"]
