"""What a request sends to its database, read where it leaves the process: no code of ours is asked."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

__all__ = ["MySQLTalk", "PostgreSQLTalk", "SQLiteTalk", "Talk", "talk_with"]

_ABOUT = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+[`\"]?(\w+)", re.IGNORECASE)
_COM_QUERY, _COM_EXECUTE = 0x03, 0x17


class Talk:
    """The statements and the writes to sockets since `start`, in order."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.trips = 0

    def start(self) -> None:
        """Forget what was said before."""
        self.statements, self.trips = [], 0

    def install(self) -> None:
        """Listen to connections that are opened from now on."""

    def sent(self, connection: Any, data: bytes) -> None:
        """Bytes that leave the process on this connection."""

    def _say(self, statement: str) -> None:
        verb, _, _rest = statement.strip().partition(" ")
        about = _ABOUT.search(statement)
        self.statements.append(
            f"{verb.upper().rstrip(';')} {about[1]}" if about else verb.upper().rstrip(";")
        )


class SQLiteTalk(Talk):
    """SQLite tells each connection's statements itself, from whatever thread they come."""

    def install(self) -> None:
        connect: Any = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self._say)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]


class PostgreSQLTalk(Talk):
    """Simple queries, and executions of prepared ones by the text that they were prepared with."""

    def __init__(self) -> None:
        super().__init__()
        self._prepared: dict[tuple[int, bytes], str] = {}
        self._bound: dict[int, str] = {}

    def sent(self, connection: Any, data: bytes) -> None:
        self.trips += 1
        for kind, content in _messages(data):
            if kind == b"Q":
                self._say(content.rstrip(b"\0").decode())
            elif kind == b"P":
                name, text, _ = content.split(b"\0", 2)
                self._prepared[id(connection), name] = text.decode()
            elif kind == b"B":
                _portal, name, _ = content.split(b"\0", 2)
                self._bound[id(connection)] = self._prepared[id(connection), name]
            elif kind == b"E":
                self._say(self._bound[id(connection)])


class MySQLTalk(Talk):
    """Commands of MySQL's protocol; asyncmy sends every statement as text."""

    def sent(self, connection: Any, data: bytes) -> None:
        self.trips += 1
        command = data[4] if len(data) > 4 and data[3] == 0 else None
        if command == _COM_QUERY:
            self._say(data[5:].decode(errors="replace"))
        elif command == _COM_EXECUTE:
            self._say("EXECUTE")


def talk_with(url: str) -> Talk:
    """The talk with the database of a URL."""
    kinds = {"sqlite": SQLiteTalk, "postgresql": PostgreSQLTalk, "mysql": MySQLTalk}
    return kinds[url.partition("+")[0].partition(":")[0]]()


def _messages(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The typed messages; those that open a connection have no type and are passed over."""
    while data and data[0]:
        length = int.from_bytes(data[1:5], "big")
        yield data[:1], data[5 : length + 1]
        data = data[length + 1 :]
