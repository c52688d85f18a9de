"""The configuration file: a YAML document of blocks, of which `jetio` is the application's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from .config import Settings
from .errors import ConfigError

if TYPE_CHECKING:
    from yaml import MappingNode, SafeLoader

__all__ = ["Configuration", "check_names", "read_configuration"]

OWN = "jetio"
APPLICATION = "app"
_ABOUT = ("title", "version", "description")
_LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says: about the application, its settings below those of the environment, and all blocks."""

    about: Mapping[str, str]
    settings: Settings
    blocks: Mapping[str, Any]

    @property
    def foreign(self) -> Mapping[str, Any]:
        """The blocks that are for plugins; `app` is for the application itself."""
        return {name: block for name, block in self.blocks.items() if name not in (OWN, APPLICATION)}


def read_configuration(path: str | Path) -> Configuration:
    """Read a file; raises ConfigError for one that is missing, no YAML, or says what nobody knows."""
    path = Path(path)
    blocks = _document(path)
    own = blocks.get(OWN)
    own = {} if own is None else own  # `jetio:` with nothing below it
    if not isinstance(own, Mapping):
        raise ConfigError(f"{path}: the block {OWN!r} holds no names; write `title: ...` below it")
    check_names(f"{path}: {OWN}", own, (*_ABOUT, *Settings.model_fields))
    about = {name: own[name] for name in _ABOUT if name in own}
    for name, value in about.items():
        if not isinstance(value, str):
            raise ConfigError(f'{path}: {OWN}.{name} is {value!r}, and no text; write `{name}: "{value}"`')
    settings = {name: value for name, value in own.items() if name not in _ABOUT}
    return Configuration(about, _settings(settings), MappingProxyType(blocks))


def check_names(place: str, given: Collection[Any], known: Collection[str]) -> None:
    """Raises ConfigError for a name that nobody reads, and says which one may be meant."""
    mistakes = [f"{place} has {name!r}, {_meant(name, known)}" for name in given if name not in known]
    if mistakes:
        raise ConfigError.of(mistakes)


def _meant(name: Any, known: Collection[str]) -> str:
    near = get_close_matches(str(name), known, 1)
    if near:
        return f"which nobody reads; did you mean {near[0]!r}?"
    return f"which nobody reads; write some of: {', '.join(sorted(known)) or '(nothing)'}"


def _settings(given: Mapping[str, Any]) -> Settings:
    """The file is asked last: arguments, the environment and `.env` win."""

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *arguments: Any, **sources: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (*arguments, *sources.values(), InitSettingsSource(settings_cls, dict(given)))

    return FileSettings()


def _document(path: Path) -> dict[str, Any]:
    yaml = _yaml()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > _LARGEST:
        raise ConfigError(f"{path} is longer than {_LARGEST} bytes")
    try:
        found = yaml.load(text, _loader(yaml.SafeLoader, yaml.MappingNode))  # a subclass of the safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(found, dict) or any(not isinstance(name, str) for name in found):
        raise ConfigError(f"{path} holds no blocks; write `{OWN}:` and below it `title: ...`")
    return found


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            "a configuration file needs a YAML reader; install it with: pip install 'jetio[yaml]'"
        ) from None
    return yaml


def _loader(safe: type[SafeLoader], mapping: type[MappingNode]) -> Any:
    """The safe loader, to which one name twice is a mistake: else the last one would win in silence."""

    class Loader(safe):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            for name in _repeated(node) if isinstance(node, mapping) else ():
                raise ValueError(f"{name!r} stands twice, the second time in line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (AttributeError, KeyError, TypeError):  # what fits its tag is not asked before
                tag = node.tag.replace("tag:yaml.org,2002:", "!!")
                raise ValueError(f"line {node.start_mark.line + 1} has a value that is no {tag}") from None

    return Loader


def _repeated(node: Any) -> Iterator[str]:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key.value, str):
            continue  # a list or a mapping, which is refused as a name
        if key.value in seen:
            yield key.value
        seen.add(key.value)
