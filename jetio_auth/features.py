"""What of authentication is there: on by itself, by the columns of the model, or switched on and off by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

from jetio import ConfigError

from .mixins import RESET_AT
from .model import VERIFIED

__all__ = ["FEATURES", "Feature", "features_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """When a feature is on that nobody names, and what it stands on.

    `columns`: a model that has one of these switches it on, and `enable=` needs one of them; `mixin` brings them.
    `by_name` are columns that serve as well, and mean too much elsewhere to switch it on by themselves.
    `extra` is the extra of jetio that installs its `packages`.
    """

    standard: bool = False
    needs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()
    mixin: str = ""
    extra: str = ""
    packages: tuple[str, ...] = ()

    def is_on(self, columns: Collection[str]) -> bool:
        """Whether it is on for a model with these columns."""
        return self.standard or any(name in columns for name in self.columns)


FEATURES: Mapping[str, Feature] = {
    "sessions": Feature(standard=True),
    "refresh": Feature(standard=True, needs=("sessions",)),
    "change_password": Feature(standard=True),
    "events": Feature(standard=True),
    "api_tokens": Feature(),
    "totp": Feature(needs=("sessions",), extra="mfa", packages=("pyotp", "qrcode")),
    "passkeys": Feature(extra="passkeys", packages=("webauthn",)),
    "approval": Feature(columns=("approval_status",), mixin="JetioApprovalMixin"),
    "device_login": Feature(),
    "oauth": Feature(extra="oauth", packages=("httpx2",)),
    "impersonation": Feature(),
    "verify_email": Feature(columns=VERIFIED[:2], by_name=VERIFIED[2:], mixin="JetioEmailConfirmationMixin"),
    "reset_password": Feature(columns=(RESET_AT,), mixin="JetioPasswordResetMixin"),
    "magic_link": Feature(),
}


def features_of(
    enable: Sequence[str], disable: Sequence[str], columns: Collection[str] = ()
) -> frozenset[str]:
    """The features that are on for a model with these columns.

    Raises ConfigError for a name that is none, or a feature without its ground.
    """
    mistakes = [*_unknown("enable", enable), *_unknown("disable", disable)]
    both = set(enable) & set(disable)
    mistakes += [
        f"{name!r} stands in enable and in disable; write it in one of them" for name in sorted(both)
    ]
    own = {name for name, feature in FEATURES.items() if feature.is_on(columns)}
    chosen = (own | set(enable)) - set(disable)
    mistakes += [
        f"{name!r} needs {ground!r}; {_remedy(name, ground, enable)}"
        for name, feature in FEATURES.items()
        if name in chosen
        for ground in feature.needs
        if ground not in chosen
    ]
    mistakes += _without_columns(enable, columns)
    mistakes += _not_installed(chosen)
    if mistakes:
        raise ConfigError.of([f"AuthRouter: {mistake}" for mistake in mistakes])
    return frozenset(chosen)


def _remedy(name: str, ground: str, enable: Sequence[str]) -> str:
    if name in enable:
        return f"take {ground!r} out of disable, or {name!r} out of enable"
    return f"write disable=[{ground!r}, {name!r}], or leave both on"


def _without_columns(enable: Sequence[str], columns: Collection[str]) -> Iterator[str]:
    for name in enable:
        feature = FEATURES.get(name, Feature())
        if feature.columns and not feature.is_on(columns) and set(columns).isdisjoint(feature.by_name):
            yield f"{name!r} needs a column of the model: {' or '.join(feature.columns)}; add {feature.mixin}"


def _not_installed(chosen: Collection[str]) -> Iterator[str]:
    for name, feature in FEATURES.items():
        if name in chosen and any(find_spec(package) is None for package in feature.packages):
            yield f"{name!r} needs packages that are not installed; run: pip install 'jetio[{feature.extra}]'"


def _unknown(option: str, names: Sequence[str]) -> Iterator[str]:
    if isinstance(names, str):
        yield f"{option} takes a list; write {option}=[{names!r}]"
        return
    for name in names:
        if name not in FEATURES:
            near = get_close_matches(name, FEATURES, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"write some of: {', '.join(sorted(FEATURES))}"
            yield f"{option} names {name!r}, which is no feature; {meant}"
