"""What a form was opened with: so an edit is told from what other people did since."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from starlette_admin.exceptions import FormValidationError

from ...errors import Problem
from .fields import Cell

__all__ = ["OPENED", "Form"]

OPENED = "_opened"
"""The hidden input: by field a mark of its value, made with the panel's key."""

_BYTES, _MOST_TOLD = 12, 200


class Form:
    """The inputs of a row as it is now. `cells` may be read and written; what is only written shows nothing."""

    def __init__(self, key: bytes, place: str, cells: Mapping[str, Cell], row: Mapping[str, Any]) -> None:
        self._key, self._place, self._cells, self._row = key, place, cells, row
        self._now = {name: cell.exact(cell.form_text(row[name])) for name, cell in cells.items()}

    def marked(self) -> str:
        """The value of the hidden input."""
        return " ".join(f"{name}:{self._mark(name, text)}" for name, text in self._now.items())

    def changes(self, sent: object, data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What the person changed since the form was opened, and the names of what others did.

        Into `data` goes what others did. Where both changed the same, FormValidationError is raised with a word
        beside the field; 409 for a form that does not say what it showed.
        """
        opened = _read(sent)
        if not self._now.keys() <= opened.keys():
            raise Problem(409, "conflict", "The page is too old, or not ours; open it again")
        typed = {name: cell.exact(data[name]) for name, cell in self._cells.items()}
        mine, theirs = self._moved(opened, typed), self._moved(opened, self._now)
        others = [name for name in theirs if name not in mine]
        data |= {name: self._cells[name].form_text(self._row[name]) for name in others}
        changed = [name for name in mine if typed[name] != self._now[name]]
        clash = [name for name in changed if name in theirs]
        if clash:
            raise FormValidationError({name: self._meanwhile(name) for name in clash})
        unread = {name: text for name, text in data.items() if name not in self._now and text != ""}
        return unread | {name: data[name] for name in changed}, others

    def _moved(self, opened: Mapping[str, str], texts: Mapping[str, Any]) -> list[str]:
        return [name for name, text in texts.items() if self._mark(name, text) != opened[name]]

    def _mark(self, name: str, text: Any) -> str:
        told = json.dumps([self._place, name, text]).encode()
        return hmac.digest(self._key, b"opened\0" + told, "sha256")[:_BYTES].hex()

    def _meanwhile(self, name: str) -> str:
        value = self._row[name]
        text = "nothing" if value in (None, "") else str(self._cells[name].shown(value))
        return f"Somebody else has changed this meanwhile, to: {text[:_MOST_TOLD]} - save again to replace it"


def _read(sent: object) -> dict[str, str]:
    """The marks by field; of what is none, nothing."""
    parts = sent.split(" ") if isinstance(sent, str) else []
    return {name: mark for name, _, mark in (part.partition(":") for part in parts)}
