"""Times as answers tell them."""

from __future__ import annotations

import datetime as dt

__all__ = ["moment"]


def moment(seconds: float) -> dt.datetime:
    """Seconds since 1970, in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
