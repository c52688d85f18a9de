"""What a model's `class API` says, merged over the model and its mixins."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from .errors import ConfigError
from .policy import Policy, PolicyLike, as_policy

__all__ = ["Declared", "info_mistakes", "near"]

LISTS = ("hidden", "read_only", "write_only", "create_only")
_KNOWN = (*LISTS, "admin_only", "policy")
_FLOORS = ("__api_floor__", "__mixin_floor__")
_SIDES = ("both", "read", "write")
_READ = "exclude_from_read"


class Declared:
    """The lists add up along the MRO; for one name of `admin_only` or `policy` the nearest class counts.

    `floors` are rules that every router of the model obeys: the model's own, and what was added to it.
    `mistakes` are declarations that would protect nothing.
    """

    def __init__(self, model: type[Any]) -> None:
        self.lists: dict[str, set[str]] = {name: set() for name in LISTS}
        self.admin: dict[str, str] = {}
        self.mistakes: list[str] = []
        self._named: dict[tuple[str, str], None] = {}
        own: dict[str, Policy] = {}
        for ancestor in model.__mro__:
            self.mistakes += _misplaced(ancestor)
            self._list(f"{ancestor.__name__}.{_READ}", "hidden", ancestor.__dict__.get(_READ, ()))
            api = ancestor.__dict__.get("API")
            if isinstance(api, type):
                self._add(f"{ancestor.__name__}.API", api, own)
        added: list[Mapping[str, PolicyLike]] = [getattr(model, name, {}) for name in _FLOORS]
        self.floors = (own, *({key: as_policy(given) for key, given in floor.items()} for floor in added))

    def _add(self, place: str, api: type[Any], own: dict[str, Policy]) -> None:
        strange = [name for name in dir(api) if not name.startswith("_") and name not in _KNOWN]
        self.mistakes += [
            f"{place} has no {name!r}; write some of: {', '.join(_KNOWN)}{near(name, _KNOWN)}"
            for name in strange
        ]
        for kind in LISTS:
            self._list(f"{place}.{kind}", kind, getattr(api, kind, ()))
        self._sides(f"{place}.admin_only", getattr(api, "admin_only", ()))
        policy = getattr(api, "policy", {})
        if not isinstance(policy, Mapping):
            self.mistakes.append(
                f'{place}.policy is no mapping: {policy!r}; write policy = {{"*": {policy!r}}}'
            )
            return
        for key, given in policy.items():
            own.setdefault(key, as_policy(given))

    def _list(self, place: str, kind: str, given: Any) -> None:
        self.lists[kind].update(self._names(place, given))

    def _sides(self, place: str, given: Any) -> None:
        if not isinstance(given, Mapping):
            given = dict.fromkeys(self._names(place, given), "both")
        for name, side in given.items():
            self._named[place, name] = None
            self.admin.setdefault(name, side)
            if side not in _SIDES:
                self.mistakes.append(_no_side(f"{place} says {side!r} of {name!r}", side))

    def _names(self, place: str, given: Any) -> Collection[str]:
        """The names of a list; what is none is a mistake, for it would be read letter by letter or not at all."""
        if not isinstance(given, list | tuple | set | frozenset):
            told = f'write ["{given}"]' if isinstance(given, str) else "write the names of fields in a list"
            self.mistakes.append(f"{place} is no list: {given!r}; {told}")
            return ()
        self.mistakes += [
            f"{place} holds {item!r}, which is no name; write the field's name as text"
            for item in given
            if not isinstance(item, str)
        ]
        names = [item for item in given if isinstance(item, str)]
        self._named.update(dict.fromkeys((place, name) for name in names))
        return names

    def unknown(self, fields: Mapping[str, str]) -> Iterator[str]:
        """Mistakes: names that no field has. `fields` maps the fields to their columns' names."""
        by_column = {column: name for name, column in fields.items()}
        for place, name in self._named:
            if name not in fields:
                meant = f"; did you mean {by_column[name]!r}?" if name in by_column else near(name, fields)
                yield f"{place} names {name!r}, which is no column; write one of: {', '.join(fields)}{meant}"


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message: what was probably meant, if anything is close to it."""
    close = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


_PLAIN = (str, list, tuple, set, frozenset, dict)


def _misplaced(ancestor: type[Any]) -> Iterator[str]:
    """Mistakes: what stands in a class beside its `class API`, and was meant to stand in it."""
    name = ancestor.__name__
    for attribute, value in ancestor.__dict__.items():
        if attribute == "API":
            if not isinstance(value, type):
                yield f"{name}.API is no class; write `class API:` inside {name}"
        elif isinstance(value, type) and _looks_like_api(attribute, value, ancestor):
            yield f"{name}.{attribute} protects nothing; write `class API:`"
        elif not isinstance(value, _PLAIN):
            continue  # a column of that name
        elif attribute in _KNOWN:
            yield f"{name}.{attribute} protects nothing; write it inside `class API:` of {name}"
        elif attribute.startswith("exclude_from_") and attribute != _READ:
            yield f"{name}.{attribute} protects nothing; did you mean {_READ!r}?"


def _looks_like_api(attribute: str, value: type[Any], ancestor: type[Any]) -> bool:
    """Whether an inner class is a `class API` under another name."""
    if value.__qualname__ != f"{ancestor.__qualname__}.{attribute}" or issubclass(value, enum.Enum):
        return False
    spelt = bool(difflib.get_close_matches(attribute.lower().strip("_"), ["api"], 1, 0.8))
    return spelt or any(known in value.__dict__ for known in (*_KNOWN, _READ))


# ---- what is said of one column ----------------------------------------------------------------------------


def info_mistakes(place: str, info: Mapping[str, Any], limits: Collection[str]) -> Iterator[str]:
    """Mistakes in the `info` of a column: `limits` are the names of limits beside those of lists."""
    for key in map(str, info):
        if key != "jetio" and difflib.get_close_matches(key.lower(), ["jetio"], 1, 0.8):
            yield f'the info of {place} has {key!r}; did you mean "jetio"?'
    said = info.get("jetio", {})
    if not isinstance(said, Mapping):
        yield f'info["jetio"] of {place} is no mapping: {said!r}; write {{"hidden": True}}'
        return
    known = (*LISTS, "admin_only", "normalise", *limits)
    for name, value in said.items():
        head = f'info["jetio"] of {place}'
        if name not in known:
            yield f"{head} has no {name!r}; write some of: {', '.join(known)}{near(name, known)}"
        elif name in LISTS and not isinstance(value, bool):
            yield f"{head} says {value!r} of {name!r}; write True"
        elif name == "admin_only" and not isinstance(value, bool) and value not in _SIDES:
            yield _no_side(f"{head} says {value!r} of 'admin_only'", value)
        elif name == "normalise" and value is not None and not callable(value):
            yield f"{head} normalises by {value!r}, which is no function"


def side_of(said: Any) -> str | None:
    """The side that an `admin_only` of one column means."""
    return "both" if said is True else said or None


def said_of(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the `info` of a column says to Jetio."""
    said = info.get("jetio", {})
    return said if isinstance(said, Mapping) else {}


def _no_side(head: str, side: Any) -> str:
    return f"{head}; write one of: {', '.join(_SIDES)}{near(side, _SIDES)}"


def no_column(model: type[Any], name: str, known: Collection[str]) -> ConfigError:
    """A rule for an attribute that is no column."""
    return ConfigError(
        f"{model.__name__} has no column {name!r}; write one of: {', '.join(known)}{near(name, known)}"
    )
