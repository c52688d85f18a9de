"""Secrets that stand in addresses, kept out of the lines that a server writes of each request."""

from __future__ import annotations

import logging
import re

__all__ = ["hide_secrets"]

_PARAMETER = re.compile(r"([?&]secret=)[^&\s]*")
_LINK = re.compile(r"(/(?:activate|reset-password|magic-link/verify)/)[^/?\s]{20,}")


class _WithoutSecrets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_redacted(item) if isinstance(item, str) else item for item in record.args)
        return True


_FILTER = _WithoutSecrets()


def hide_secrets() -> None:
    """Take `?secret=` and the tokens of links out of uvicorn's log; a filter is added once."""
    logging.getLogger("uvicorn.access").addFilter(_FILTER)


def _redacted(text: str) -> str:
    return _LINK.sub(r"\1...", _PARAMETER.sub(r"\1...", text))
