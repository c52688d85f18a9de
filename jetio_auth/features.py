"""What of authentication is there: on by itself, or switched on and off by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from jetio import ConfigError

__all__ = ["STANDARD", "features_of"]

STANDARD = frozenset({"sessions", "refresh", "change_password", "events"})
"""On unless `disable=` names them."""

_NEEDS = {"refresh": "sessions"}


def features_of(enable: Sequence[str], disable: Sequence[str]) -> frozenset[str]:
    """The features that are on; raises ConfigError for a name that is none, or a feature without its ground."""
    mistakes = [*_unknown("enable", enable), *_unknown("disable", disable)]
    both = set(enable) & set(disable)
    mistakes += [
        f"{name!r} stands in enable and in disable; write it in one of them" for name in sorted(both)
    ]
    chosen = (STANDARD | set(enable)) - set(disable)
    mistakes += [
        f"{name!r} needs {ground!r}; write disable=[{ground!r}, {name!r}], or leave both on"
        for name, ground in _NEEDS.items()
        if name in chosen and ground not in chosen
    ]
    if mistakes:
        raise ConfigError.of([f"AuthRouter: {mistake}" for mistake in mistakes])
    return frozenset(chosen)


def _unknown(option: str, names: Sequence[str]) -> Iterator[str]:
    if isinstance(names, str):
        yield f"{option} takes a list; write {option}=[{names!r}]"
        return
    for name in names:
        if name not in STANDARD:
            near = get_close_matches(name, STANDARD, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"write some of: {', '.join(sorted(STANDARD))}"
            yield f"{option} names {name!r}, which is no feature; {meant}"
