"""What a user model is to authentication: its login names, its admin flag, its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Select,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    event,
    or_,
    select,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.exc import NoInspectionAvailable

from jetio import Change, ConfigError, Policy, add_hooks, add_rules, resource_of

from .names import LONGEST, canonical

__all__ = [
    "ADMIN_FLAGS",
    "APPROVAL",
    "APPROVED",
    "PASSWORD",
    "PENDING",
    "REJECTED",
    "VERIFIED",
    "UserModel",
    "columns_of",
    "guard_model",
    "has_state",
    "key_of",
    "read_user_model",
    "table_of",
    "unprove_on_set",
]

ADMIN_FLAGS = ("is_admin", "is_superuser", "is_staff", "is_master")
LOGIN_FIELDS = ("username", "email")
PASSWORD = "hashed_password"  # noqa: S105 - the name of a column
APPROVAL = "approval_status"
PENDING, APPROVED, REJECTED = "pending", "approved", "rejected"
_ON = ("is_active", "active")
_OFF = ("is_disabled", "disabled")
_ROLES = ("role", "roles", "permissions")
VERIFIED = ("email_confirmed", "email_verified", "is_verified")
_BY_ADMINS = (
    *_ROLES, "groups", "scopes",
    *_ON, *_OFF, *VERIFIED, "is_approved",
)  # fmt: skip

Account = dict[str, Any]
"""What a principal is made of: the columns `UserModel.fetched` of one row."""


@dataclass(frozen=True, eq=False)
class UserModel:
    """The facts of one user model, read once."""

    model: type[Any]
    key: str
    key_adapter: TypeAdapter[Any]
    admin_flag: str
    login_fields: tuple[str, ...]
    columns: Mapping[str, Column[Any]]
    fetched: tuple[str, ...]
    switches: Mapping[str, bool]
    has_roles: bool
    approval: str | None = None
    verified: str | None = None

    def select_by_key(self) -> Select[Any]:
        """The account with the key, parameter `key`."""
        return self.select_by(self.key)

    def select_by(self, name: str) -> Select[Any]:
        """The account whose column of this name is the parameter `key`."""
        column = self.columns[name]
        return self._select().where(column == bindparam("key", type_=column.type))

    def select_two(self, field: str) -> Select[Any]:
        """The account that has the value of the parameter `key` in this field, and the one with the key `by`."""
        column, key = self.columns[field], self.columns[self.key]
        first, second = bindparam("key", type_=column.type), bindparam("by", type_=key.type)
        return self._select().where(or_(column == first, key == second))

    def select_by_name(self, fields: Sequence[str]) -> Select[Any]:
        """The accounts that have the name `canonical`, or `typed`, in one of these fields."""
        matches = [
            self.columns[field] == bindparam(spelling, type_=self.columns[field].type)
            for field in fields
            for spelling in ("canonical", "typed")
        ]
        return self._select().where(or_(*matches))

    def _select(self) -> Select[Any]:
        return select(*(self.columns[name] for name in self.fetched))

    def account(self, row: Sequence[Any]) -> Account:
        """A row of one of these statements."""
        return dict(zip(self.fetched, row, strict=True))

    def account_of(self, user: Any) -> Account:
        """The same of an object."""
        return {name: getattr(user, name) for name in self.fetched}

    @property
    def state(self) -> tuple[str, ...]:
        """The columns that say whether an account may be used."""
        return (*self.switches, *([self.approval] if self.approval is not None else []))

    def is_active(self, account: Mapping[str, Any]) -> bool:
        """Whether the account may be used: no column of its state says otherwise."""
        return self.is_on(account) and self.approval_of(account) == APPROVED

    def may_prove(self, account: Mapping[str, Any]) -> bool:
        """Whether its owner may prove who he is: whoever waits for approval is told so, and nobody else is."""
        return self.is_on(account) and self.approval_of(account) in (APPROVED, PENDING)

    def approval_of(self, account: Mapping[str, Any]) -> str:
        """`pending`, `approved` or `rejected`; where nobody decides, all are approved."""
        return APPROVED if self.approval is None else str(account[self.approval])

    def is_on(self, account: Mapping[str, Any]) -> bool:
        """Whether nobody has switched the account off."""
        return all(bool(account[name]) is wanted for name, wanted in self.switches.items())

    def is_usable_admin(self, account: Mapping[str, Any]) -> bool:
        """Whether the account is an admin's who can log in."""
        return bool(account[self.admin_flag]) and self.is_active(account)


# ---- what its API must never do ----------------------------------------------------------------------------


def guard_model(
    model: type[Any],
    admin_field: str | None,
    login_fields: Sequence[str] | None,
    floor: Mapping[str, Policy],
    hooks: Mapping[str, Callable[[Change], Awaitable[None]]],
) -> None:
    """Runs when the router is made: what no client may set, however the model is declared."""
    columns = columns_of(model)
    rules: dict[str, dict[str, Any]] = {PASSWORD: {"hidden": True}}
    rules |= {name: {"admin_only": "write"} for name in _BY_ADMINS}
    rules |= {name: {"read_only": True} for name in (*ADMIN_FLAGS, APPROVAL, admin_field) if name is not None}
    for name in set(login_fields or LOGIN_FIELDS) & set(columns):
        longest = getattr(columns[name].type, "length", None) or LONGEST
        rules[name] = {"normalise": partial(canonical, longest=longest)}
        _normalise_on_set(getattr(model, name))
    add_rules(model, {name: rule for name, rule in rules.items() if name in columns}, floor)
    add_hooks(model, hooks)


def has_state(model: type[Any]) -> bool:
    """Whether an account may be switched off."""
    return not columns_of(model).keys().isdisjoint({*_ON, *_OFF})


def key_of(model: type[Any]) -> Column[Any] | None:
    """The key's column; None where the model is none, or has several: the build tells."""
    try:
        keys = mapped(model).primary_key
    except NoInspectionAvailable:
        return None
    return keys[0] if len(keys) == 1 and isinstance(keys[0], Column) else None


def table_of(model: type[Any]) -> Table:
    """The table of the accounts."""
    table: Table = mapped(model).primary_key[0].table
    return table


def columns_of(model: type[Any]) -> dict[str, Column[Any]]:
    """The columns by attribute; none where it is no model, which the build tells."""
    try:
        columns = mapped(model).columns
    except NoInspectionAvailable:
        return {}  # add_rules says what is wrong
    return {name: column for name, column in columns.items() if isinstance(column, Column)}


def _normalise_on_set(attribute: Any) -> None:
    """Objects that the application makes itself hold the canonical name too."""
    if not event.contains(attribute, "set", _canonical_on_set):
        event.listen(attribute, "set", _canonical_on_set, retval=True)


def unprove_on_set(model: type[Any]) -> None:
    """Objects that get another address from the application's own code are not confirmed any more."""
    columns = columns_of(model)
    flags = [name for name in VERIFIED if name in columns and _is_flag(columns[name])]
    if "email" not in columns or not flags or getattr(model, _UNPROVED, False):
        return
    setattr(model, _UNPROVED, True)

    def on_set(target: Any, value: Any, old: Any, initiator: Any) -> None:
        known = canonical(value) if isinstance(value, str) else value
        if mapped(target).persistent and old != known:
            setattr(target, flags[0], False)

    event.listen(model.email, "set", on_set)


_UNPROVED = "__jetio_auth_unproved__"


def _canonical_on_set(target: Any, value: Any, old: Any, initiator: Any) -> Any:
    return canonical(value) if isinstance(value, str) else value


# ---- reading it --------------------------------------------------------------------------------------------


def read_user_model(
    model: type[Any],
    admin_field: str | None,
    login_fields: Sequence[str] | None,
    *,
    approval: bool = False,
) -> UserModel:
    """Raises one ConfigError that tells everything the model lacks. `approval`: an admin decides who gets in."""
    resource = resource_of(model)
    columns = {name: item.column for name, item in resource.fields.items()}
    names = tuple(login_fields or (name for name in LOGIN_FIELDS if name in columns))
    flag = admin_field or next((name for name in ADMIN_FLAGS if name in columns), "")
    switches = {name: name in _ON for name in (*_ON, *_OFF) if name in columns}
    mistakes = [
        *_flag_mistakes(model, columns, flag),
        *_name_mistakes(model, columns, names),
        *_switch_mistakes(model, columns, switches),
    ]
    if len(resource.key) != 1:
        mistakes.append(
            f"{model.__name__} has a composite key; accounts need one column, such as the default id"
        )
    if mistakes:
        raise ConfigError.of(mistakes)
    key = resource.key[0]
    roles = [name for name in _ROLES if name in columns]
    verified = next((name for name in VERIFIED if name in columns and _is_flag(columns[name])), None)
    decided = [*([APPROVAL] if approval else []), *([verified] if verified is not None else [])]
    return UserModel(
        model=model,
        key=key.name,
        key_adapter=TypeAdapter(key.annotation),
        admin_flag=flag,
        login_fields=names,
        columns=columns,
        fetched=tuple(
            dict.fromkeys([key.name, PASSWORD, flag, *_profile(columns, names), *switches, *decided, *roles])
        ),
        switches=switches,
        has_roles=bool(roles),
        approval=APPROVAL if approval else None,
        verified=verified,
    )


def _profile(columns: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys([*names, *LOGIN_FIELDS]) if name in columns]


def _flag_mistakes(model: type[Any], columns: Mapping[str, Any], flag: str) -> Iterator[str]:
    title = model.__name__
    if PASSWORD not in columns:
        yield f"{title} has no {PASSWORD}; write `class {title}(JetioModel, JetioAuthMixin)`"
    if not flag:
        yield f"{title} has no admin flag; add JetioAuthMixin, or one of: {', '.join(ADMIN_FLAGS)}"
    elif flag not in columns:
        yield f"{title} has no column {flag!r}; give AuthRouter({title}, admin_field=...) one that it has"


def _name_mistakes(
    model: type[Any], columns: Mapping[str, Column[Any]], names: Sequence[str]
) -> Iterator[str]:
    title = model.__name__
    if not names:
        yield (
            f"{title} has neither username nor email to log in with; "
            "add `username: Mapped[str] = mapped_column(unique=True)`"
        )
    for name in names:
        if name not in columns:
            yield f"{title} has no column {name!r} for login_fields; write some of: {', '.join(columns)}"
        elif not _is_unique(columns[name]):
            yield f"{title}.{name} is a login name and must be unique; write mapped_column(unique=True)"


def _switch_mistakes(
    model: type[Any], columns: Mapping[str, Column[Any]], switches: Iterable[str]
) -> Iterator[str]:
    for name in switches:
        if isinstance(columns[name].type, String):  # "no" is as true as "yes"
            yield (
                f"{model.__name__}.{name} says whether an account may be used and is text; "
                f"write `{name}: Mapped[bool]`, or give it another name"
            )


def _is_flag(column: Column[Any]) -> bool:
    return isinstance(column.type, Boolean)


def _is_unique(column: Column[Any]) -> bool:
    if column.unique or column.primary_key:
        return True
    table = column.table
    assert isinstance(table, Table)  # noqa: S101 - resource_of takes no other
    found: list[UniqueConstraint | Index] = [
        item for item in table.constraints if isinstance(item, UniqueConstraint)
    ]
    found += [index for index in table.indexes if index.unique]
    return any([part.name for part in item.columns] == [column.name] for item in found)
