"""The tables that features of authentication need, beside the user model's; never logic."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, Text

from jetio import Base

__all__ = ["SessionTables", "attempts_table", "events_table", "session_tables"]


class SessionTables(NamedTuple):
    """One row for a login, and the refresh tokens that it has had."""

    sessions: Table
    tokens: Table


def attempts_table(metadata: MetaData) -> Table:
    """Failed logins per window; `subject` is the hash of an account name or of an address."""
    return _table(
        "jetio_auth_attempts",
        metadata,
        Column("subject", String(64), primary_key=True),
        Column("started", BigInteger, nullable=False, index=True),
        Column("failures", Integer, nullable=False),
    )


def events_table(metadata: MetaData) -> Table:
    """What happened, for those who must know later. No foreign key: it outlives the account."""
    return _table(
        "jetio_auth_events",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("name", String(40), nullable=False),
        Column("at", BigInteger, nullable=False, index=True),
        Column("user_id", String(255), index=True),
        Column("actor_id", String(255)),
        Column("address", String(45)),
        Column("agent", String(200)),
        Column("detail", Text),
    )


def session_tables(user_key: Column[Any]) -> SessionTables:
    """Times are seconds since 1970. They go with the account: no token outlives it."""
    metadata = user_key.table.metadata
    sessions = _table(
        "jetio_auth_sessions",
        metadata,
        Column("id", String(32), primary_key=True),
        Column(
            "user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), nullable=False, index=True
        ),
        Column("epoch", String(16), nullable=False),
        Column("method", String(20), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("ended", BigInteger),
        Column("address", String(45)),
        Column("agent", String(200)),
        Column("claims", Text),
    )
    tokens = _table(
        "jetio_auth_refresh_tokens",
        metadata,
        Column("hash", String(64), primary_key=True),
        Column(
            "session_id",
            String(32),
            ForeignKey(sessions.c.id, ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        Column("expires", BigInteger, nullable=False),
        Column("used", BigInteger),
    )
    return SessionTables(sessions, tokens)


def _table(name: str, metadata: MetaData, *columns: Column[Any]) -> Table:
    """As the tables of models are made; two routers over one MetaData share it."""
    known = metadata.tables.get(name)
    return known if known is not None else Base.__table_cls__(name, metadata, *columns)
