"""What a token says, to be remembered from one request to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Claims"]


class Claims(Mapping[str, Any]):
    """Claims that nobody can change: lists and objects in them are copied each time that they are read."""

    __slots__ = ("_signed",)

    def __init__(self, signed: Mapping[str, Any]) -> None:
        self._signed = signed

    def __getitem__(self, name: str) -> Any:
        return _copied(self._signed[name])

    def __contains__(self, name: object) -> bool:
        return name in self._signed

    def __iter__(self) -> Iterator[str]:
        return iter(self._signed)

    def __len__(self) -> int:
        return len(self._signed)

    def __repr__(self) -> str:
        return f"Claims({', '.join(self)})"


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
