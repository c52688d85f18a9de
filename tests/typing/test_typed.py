"""What mypy reads here is also run: the applications can be built."""

from __future__ import annotations

from tests.typing import handlers, policies


def test_what_is_typed_can_be_built() -> None:
    """`make check` holds these files to mypy's strict mode; this holds them to the truth."""
    for module in (handlers, policies):
        module.app.build()
        assert module.app.endpoints
