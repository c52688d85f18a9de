"""Where sessions of the server are kept: in memory, in the database, in Redis."""

from __future__ import annotations

from .database import DatabaseSessions
from .memory import MemorySessions
from .middleware import ServerSessions, renew_session
from .redis import RedisSessions
from .store import SessionStore

__all__ = [
    "DatabaseSessions",
    "MemorySessions",
    "RedisSessions",
    "ServerSessions",
    "SessionStore",
    "renew_session",
]
