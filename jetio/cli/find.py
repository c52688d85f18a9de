"""Finds the application that a command is about."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from ..app import Jetio
from ..errors import ConfigError

__all__ = ["find_app", "find_name"]

_FILES = ("app.py", "main.py", "asgi.py")


def find_name(given: str | None) -> str:
    """`module:name` as given, else of the first of app.py, main.py, asgi.py in the working directory."""
    if given is not None:
        return given if ":" in given else f"{given}:app"
    for file in _FILES:
        if Path(file).is_file():
            return f"{Path(file).stem}:app"
    raise ConfigError(
        f"no application here; write jetio COMMAND module:app, or make one of: {', '.join(_FILES)}"
    )


def find_app(given: str | None) -> Jetio:
    """The application itself; raises ConfigError when the name leads nowhere."""
    module, _, name = find_name(given).partition(":")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise ConfigError(f"there is no module {module!r} here; write jetio COMMAND module:app") from None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Jetio):
        raise ConfigError(
            f"{module}:{name} is no Jetio application; write the name of the variable that holds it"
        )
    return found
