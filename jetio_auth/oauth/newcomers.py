"""The account of somebody who has never been here: made of what the provider says."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from jetio import ConfigError, resource_of, schemas_for

from ..model import PASSWORD, UserModel
from ..names import canonical
from ..passwords import Passwords
from .providers import OAuthProfile

__all__ = ["check_newcomers", "email_of", "is_verified", "newcomer"]

_OWN = frozenset({"username", "email"})
_LONGEST_USERNAME = 40

NewUser = Callable[[OAuthProfile], Mapping[str, Any]]


def check_newcomers(facts: UserModel, new_user: NewUser | None) -> None:
    """Raises ConfigError for a model with columns that nothing here can fill."""
    fields = schemas_for(resource_of(facts.model)).create.model_fields
    missing = [name for name, item in fields.items() if item.is_required() and name not in _OWN]
    if missing and new_user is None:
        given = ", ".join(f'"{name}": ...' for name in missing)
        raise ConfigError(
            f"{facts.model.__name__} needs {' and '.join(missing)}, which no provider tells; "
            f"write OAuth(providers=[...], new_user=lambda profile: {{{given}}})"
        )


def email_of(profile: OAuthProfile, *, trusted: bool) -> str | None:
    """The canonical address, if it is proven to be theirs."""
    given = profile.email
    if given is None or not (profile.email_verified or trusted) or given.count("@") != 1:
        return None
    try:
        return canonical(given)
    except PydanticCustomError:
        return None


def is_verified(facts: UserModel, user: Any) -> bool:
    """Whether the account's address is proven to be its owner's: a column says so."""
    return facts.verified is not None and bool(getattr(user, facts.verified))


def newcomer(
    facts: UserModel, profile: OAuthProfile, email: str | None, new_user: NewUser | None, attempt: int
) -> Any:
    """An account without a password. `attempt` makes another username of one that is taken."""
    columns = facts.columns
    values: dict[str, Any] = {PASSWORD: Passwords.unusable()}
    if "email" in columns and email is not None:
        values["email"] = email
        if facts.verified is not None:
            values[facts.verified] = True
    if "username" in columns:
        values["username"] = _username(profile, email, attempt)
    return facts.model(**{**values, **(new_user(profile) if new_user is not None else {})})


def _username(profile: OAuthProfile, email: str | None, attempt: int) -> str:
    """What they are called there, without what would make it an address of somebody."""
    wanted = (profile.username or email or "").partition("@")[0]
    name = re.sub(r"[^\w.-]+", "-", wanted)[:_LONGEST_USERNAME].strip("-") or "user"
    try:
        name = canonical(name)
    except PydanticCustomError:
        name = "user"
    return name if attempt == 0 else f"{name[:_LONGEST_USERNAME]}-{secrets.token_hex(3)}"
