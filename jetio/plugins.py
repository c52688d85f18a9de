"""Plugins: what installed packages do with a block of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .configuration import check_names
from .errors import ConfigError, Mistakes

__all__ = ["GROUP", "install_plugins"]

GROUP = "jetio.plugins"


def install_plugins(app: Any, blocks: Mapping[str, Any]) -> None:
    """Hand each block to the plugin of its name: `plugin(app, block)`. A plugin without a block is not imported.

    Raises ConfigError for a block that no plugin reads.
    """
    known: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        known.setdefault(entry.name, []).append(entry)
    mistakes = Mistakes()
    with mistakes:
        check_names("the configuration file", blocks, (*known, "app", "jetio"))
    for name in blocks:
        if name in known:
            with mistakes:
                _install(app, name, known[name], blocks[name])
    mistakes.tell()


def _install(app: Any, name: str, found: list[EntryPoint], block: Any) -> None:
    mistakes = Mistakes(name)
    with mistakes:
        _loaded(found)(app, block)
    mistakes.tell()


def _loaded(found: list[EntryPoint]) -> Any:
    chosen = {entry.value: entry for entry in found}
    if len(chosen) > 1:
        raise ConfigError(f"several plugins read this block: {', '.join(sorted(chosen))}; uninstall one")
    [entry] = chosen.values()
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the plugin {entry.value} cannot be imported: {error}") from error
