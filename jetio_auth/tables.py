"""The tables that features of authentication need, beside the user model's; never logic."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

from jetio import Base

__all__ = [
    "FactorTables",
    "OAuthTables",
    "PasskeyTables",
    "SessionTables",
    "api_tokens_table",
    "attempts_table",
    "backend_attempts_table",
    "device_table",
    "events_table",
    "factor_tables",
    "oauth_tables",
    "one_time_table",
    "passkey_tables",
    "session_tables",
    "stored_attempts_table",
    "stored_sessions_table",
]


class SessionTables(NamedTuple):
    """One row for a login, and the refresh tokens that it has had."""

    sessions: Table
    tokens: Table


class FactorTables(NamedTuple):
    """The authenticator of each account, and its recovery codes."""

    totp: Table
    recovery: Table


class OAuthTables(NamedTuple):
    """Whose the logins by other services are, and which flows have come back from there."""

    identities: Table
    flows: Table


class PasskeyTables(NamedTuple):
    """One row for a passkey, and the challenges that wait for an answer."""

    passkeys: Table
    challenges: Table


def attempts_table(users: Table) -> Table:
    """Failed logins per window; `subject` is the hash of an account name or of an address."""
    return _table("attempts", users, *_attempts())


def _attempts() -> tuple[Column[Any], ...]:
    return (
        Column("subject", String(64), primary_key=True),
        Column("started", BigInteger, nullable=False, index=True),
        Column("failures", Integer, nullable=False),
    )


def stored_attempts_table() -> Table:
    """The same where accounts are in a store, and no table of theirs is there to name it after."""
    name = "jetio_auth_attempts"
    known = Base.metadata.tables.get(name)
    return known if known is not None else Base.__table_cls__(name, Base.metadata, *_attempts())


def events_table(users: Table) -> Table:
    """What happened, for those who must know later. No foreign key: it outlives the account."""
    return _table(
        "events",
        users,
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
    """Times are seconds since 1970; `proved`: when somebody last said who he is; `actor_id`: who acts in his name.

    They go with the account: no token outlives it.
    """
    users: Any = user_key.table
    sessions = _table(
        "sessions",
        users,
        Column("id", String(32), primary_key=True),
        Column(
            "user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), nullable=False, index=True
        ),
        Column("epoch", String(16), nullable=False),
        Column("method", String(40), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("proved", BigInteger, nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("ended", BigInteger),
        Column("address", String(45)),
        Column("agent", String(200)),
        Column("claims", Text),
        Column("actor_id", user_key.type, index=True),
    )
    tokens = _table(
        "refresh_tokens",
        users,
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


def stored_sessions_table(metadata: MetaData) -> Table:
    """Sessions of backends that bring their own users; `name` is the hash of an id."""
    return _apart(
        "jetio_auth_stored_sessions",
        metadata,
        Column("name", String(64), primary_key=True),
        Column("text", Text, nullable=False),
        Column("expires", BigInteger, nullable=False, index=True),
    )


def backend_attempts_table(metadata: MetaData) -> Table:
    """Failed logins of backends that bring their own users, as `attempts_table` counts those of accounts."""
    return _apart(
        "jetio_auth_backend_attempts",
        metadata,
        Column("subject", String(64), primary_key=True),
        Column("started", BigInteger, nullable=False, index=True),
        Column("failures", Integer, nullable=False),
    )


def _apart(name: str, metadata: MetaData, *columns: Column[Any]) -> Table:
    known = metadata.tables.get(name)
    return known if known is not None else Base.__table_cls__(name, metadata, *columns)


def api_tokens_table(user_key: Column[Any]) -> Table:
    """Tokens that accounts have made for programs; `hash` is all that is kept of the secret."""
    users: Any = user_key.table
    return _table(
        "api_tokens",
        users,
        Column("id", String(32), primary_key=True),
        Column(
            "user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), nullable=False, index=True
        ),
        Column("hash", String(64), nullable=False, unique=True),
        Column("epoch", String(16), nullable=False),
        Column("name", String(100), nullable=False),
        Column("scopes", Text, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("used", BigInteger),
    )


def one_time_table(user_key: Column[Any]) -> Table:
    """What links in mails carry; of each purpose an account has one, so that a new one replaces the one before."""
    users: Any = user_key.table
    return _table(
        "one_time",
        users,
        Column("user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), primary_key=True),
        Column("purpose", String(20), primary_key=True),
        Column("hash", String(64), nullable=False, unique=True),
        Column("binding", String(64), nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("used", BigInteger),
    )


def factor_tables(user_key: Column[Any]) -> FactorTables:
    """`secret` is encrypted; `confirmed` NULL: it does not count yet; `last_step`: no older code is good."""
    users: Any = user_key.table
    totp = _table(
        "totp",
        users,
        Column("user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), primary_key=True),
        Column("secret", String(255), nullable=False),
        Column("confirmed", BigInteger),
        Column("last_step", BigInteger, nullable=False),
    )
    recovery = _table(
        "recovery_codes",
        users,
        Column("hash", String(64), primary_key=True),
        _owner(user_key),
        Column("used", BigInteger),
    )
    return FactorTables(totp, recovery)


def passkey_tables(user_key: Column[Any]) -> PasskeyTables:
    """`id` is the hash of the credential's; `handle` is what authenticators call the account."""
    users: Any = user_key.table
    passkeys = _table(
        "passkeys",
        users,
        Column("id", String(64), primary_key=True),
        _owner(user_key),
        Column("handle", String(64), nullable=False),
        Column("credential", Text, nullable=False),
        Column("public_key", Text, nullable=False),
        Column("sign_count", BigInteger, nullable=False),
        Column("name", String(80), nullable=False),
        Column("backed_up", Boolean, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("used", BigInteger),
    )
    challenges = _table(
        "passkey_challenges",
        users,
        Column("hash", String(64), primary_key=True),
        Column("user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), index=True),
        Column("handle", String(64)),
        Column("expires", BigInteger, nullable=False, index=True),
    )
    return PasskeyTables(passkeys, challenges)


def oauth_tables(user_key: Column[Any]) -> OAuthTables:
    """A login belongs to one account. Of flows and codes hashes are kept, so long as a replay could be tried."""
    users: Any = user_key.table
    identities = _table(
        "identities",
        users,
        Column("id", String(32), primary_key=True),
        _owner(user_key),
        Column("provider", String(40), nullable=False),
        Column("subject", String(255), nullable=False),
        Column("email", String(320)),
        Column("created", BigInteger, nullable=False),
        UniqueConstraint("provider", "subject"),
    )
    flows = _table(
        "oauth_flows",
        users,
        Column("id", String(64), primary_key=True),
        Column("expires", BigInteger, nullable=False, index=True),
        Column("code", String(64)),
        Column("user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), index=True),
        Column("epoch", String(16)),
        Column("until", BigInteger),
        Column("used", BigInteger),
    )
    return OAuthTables(identities, flows)


def _owner(user_key: Column[Any]) -> Column[Any]:
    return Column(
        "user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), nullable=False, index=True
    )


def device_table(user_key: Column[Any]) -> Table:
    """Programs that asked to be let in; times are seconds since 1970, `polled` is in milliseconds.

    `session_id` and `proved` are of the login that approved; `last`: that one ends when the program has its own.
    """
    users: Any = user_key.table
    return _table(
        "devices",
        users,
        Column("code", String(9), primary_key=True),
        Column("secret", String(64)),
        Column("status", String(10), nullable=False),
        Column("created", BigInteger, nullable=False, index=True),
        Column("expires", BigInteger, nullable=False),
        Column("polled", BigInteger),
        Column("decided", BigInteger),
        Column("redeemed", BigInteger),
        Column("user_id", user_key.type, ForeignKey(user_key, ondelete="CASCADE"), index=True),
        Column("epoch", String(16)),
        Column("method", String(40)),
        Column("session_id", String(32)),
        Column("proved", BigInteger),
        Column("last", Boolean),
        Column("address", String(45)),
        Column("agent", String(200)),
    )


def _table(name: str, users: Table, *columns: SchemaItem) -> Table:
    """As the tables of models are made, by the name of the accounts that it is about.

    Two routers over one model share it; accounts of another model have one of their own.
    """
    whole = f"jetio_auth_{users.name}_{name}"
    known = users.metadata.tables.get(whole)
    return known if known is not None else Base.__table_cls__(whole, users.metadata, *columns)
