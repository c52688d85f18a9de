"""The tables that features of authentication need, beside the user model's; never logic."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table

__all__ = ["attempts_table"]


def attempts_table(metadata: MetaData) -> Table:
    """Failed logins per window; `subject` is the hash of an account name or of an address."""
    name = "jetio_auth_attempts"
    if name in metadata.tables:
        return metadata.tables[name]
    return Table(
        name,
        metadata,
        Column("subject", String(64), primary_key=True),
        Column("started", BigInteger, nullable=False, index=True),
        Column("failures", Integer, nullable=False),
    )
