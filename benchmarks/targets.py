"""What Jetio wants to reach: server CPU per request, as a multiple of the limit that the same run measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """At most this multiple of the limit; `database_json` where the database were to make the JSON instead."""

    multiple: float
    database_json: float | None = None

    def __str__(self) -> str:
        return self._both("{:.2f}".format)

    def verdict(self, multiple: float) -> str:
        """Whether a measured multiple meets it."""
        return self._both(lambda wanted: "yes" if multiple <= wanted else "no")

    def _both(self, show: Callable[[float], str]) -> str:
        other = "" if self.database_json is None else f" ({show(self.database_json)})"
        return show(self.multiple) + other


CONTESTANT = "jetio"
TARGETS: Mapping[str, Mapping[str, Target]] = {
    "sqlite": {
        "hello": Target(1.4),
        "retrieve": Target(1.4),
        "list": Target(1.3),
        "nested": Target(1.3),
        "create": Target(1.3),
        "update": Target(1.4),
        "secured": Target(1.5),
        "routes": Target(1.5),
    },
    "postgresql": {
        "hello": Target(1.4),
        "retrieve": Target(1.6),
        "list": Target(3.0, database_json=1.5),
        "nested": Target(2.8, database_json=1.5),
        "create": Target(1.5),
        "update": Target(1.7),
        "secured": Target(1.6),
        "routes": Target(1.5),
    },
}
