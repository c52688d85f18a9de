"""What a model's `class API` says, merged over the model and its mixins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .policy import Policy, PolicyLike, as_policy

__all__ = ["Declared"]

LISTS = ("hidden", "read_only", "write_only", "create_only")
_KNOWN = (*LISTS, "admin_only", "policy")
_SIDES = ("both", "read", "write")


class Declared:
    """The lists add up along the MRO; for one name of `admin_only` or `policy` the nearest class counts.

    `floors` are rules that every router of the model obeys: the model's own, and what was added to it.
    """

    def __init__(self, model: type[Any]) -> None:
        self.lists: dict[str, set[str]] = {name: set() for name in LISTS}
        self.admin: dict[str, str] = {}
        self.mistakes: list[str] = []
        own: dict[str, Policy] = {}
        for ancestor in model.__mro__:
            self.lists["hidden"].update(_names(ancestor.__dict__.get("exclude_from_read", ())))
            api = ancestor.__dict__.get("API")
            if api is not None:
                self._add(ancestor.__name__, api, own)
        added: Mapping[str, PolicyLike] = getattr(model, "__api_floor__", {})
        self.floors = (own, {key: as_policy(given) for key, given in added.items()})

    def _add(self, place: str, api: Any, own: dict[str, Policy]) -> None:
        strange = [name for name in dir(api) if not name.startswith("_") and name not in _KNOWN]
        self.mistakes += [
            f"{place}.API has no {name!r}; write some of: {', '.join(_KNOWN)}" for name in strange
        ]
        for name in LISTS:
            self.lists[name].update(_names(getattr(api, name, ())))
        admin = getattr(api, "admin_only", ())
        sides = dict(admin) if isinstance(admin, Mapping) else dict.fromkeys(_names(admin), "both")
        for name, side in sides.items():
            self.admin.setdefault(name, side)
            if side not in _SIDES:
                self.mistakes.append(
                    f"{place}.API.admin_only says {side!r} of {name!r}; write one of: {', '.join(_SIDES)}"
                )
        for key, given in getattr(api, "policy", {}).items():
            own.setdefault(key, as_policy(given))

    def unknown(self, model: type[Any], fields: Iterable[str]) -> Iterator[str]:
        """Mistakes: names that the model does not have."""
        for kind, names in {**self.lists, "admin_only": set(self.admin)}.items():
            for name in sorted(names - set(fields)):
                if not hasattr(model, name):
                    yield (
                        f"{model.__name__}.API.{kind} names {name!r}, which is no column; "
                        f"write one of: {', '.join(fields)}"
                    )


def _names(given: Any) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given
