"""What admins do to the accounts of others: switch them off and on, unlock them, give them roles."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError as PydanticError
from sqlalchemy import Enum, String
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Change, FieldError, ValidationError, not_found, parse_key, resource_of, schemas_for

from .accounts import Accounts, last_admin
from .context import AuthContext
from .endpoints.tokens import device_of
from .events import AuthEvent, Events
from .model import UserModel
from .sessions import Sessions
from .throttle import Limit, Throttle

__all__ = ["Administration"]

_ADMIN = "admin"
_COUNTED = ("account", "second factor")
_SWITCHED = "jetio_auth_switched"
Ending = Callable[[AsyncSession, Any], Awaitable[None]]
"""Ends what an account has let in, in the caller's transaction; given the account's key."""


class Administration:
    """Each step is part of the caller's transaction, unless it says that it commits."""

    def __init__(
        self,
        context: AuthContext,
        accounts: Accounts,
        throttle: Throttle,
        sessions: Sessions | None,
        events: Events,
    ) -> None:
        self._context, self._accounts = context, accounts
        self._throttle, self._sessions, self._events = throttle, sessions, events
        self.endings: list[Ending] = []

    async def found(self, session: AsyncSession, raw_key: str, *, lock: bool = False) -> Any:
        """The account's row; raises 404."""
        user = await session.get(self._facts.model, self._key(raw_key), with_for_update=lock or None)
        if user is None:
            raise not_found()
        return user

    async def switch(self, session: AsyncSession, raw_key: str, *, on: bool) -> Any:
        """Let an account be used, or not: then its sessions end. Raises 404, or 409 `last_admin`."""
        user = await self._locked(session, raw_key, keeps_admin=on)
        for name, wanted in self._facts.switches.items():
            setattr(user, name, wanted if on else not wanted)
        await session.flush()
        if not on:
            await self.end_access(session, getattr(user, self._facts.key))
        await session.refresh(user)
        return user

    async def end_access(self, session: AsyncSession, key: Any) -> None:
        """Log an account out everywhere, also where it acts for others, or a program is about to act for it."""
        if self._sessions is not None:
            await self._sessions.end_all_in(session, key)
        for end in self.endings:
            await end(session, key)

    async def end_borrowed(self, session: AsyncSession, key: Any) -> None:
        """End the sessions in which somebody acts for others, who is no admin any more."""
        if self._sessions is not None:
            await self._sessions.end_borrowed_in(session, key)

    async def set_roles(
        self, session: AsyncSession, raw_key: str, roles: Iterable[str]
    ) -> tuple[Any, str | None]:
        """These roles and no others; `admin` is the flag. The row, and the event where that has changed.

        Raises 404, 409 `last_admin`, or 422 for roles that the model cannot hold.
        """
        wanted, flag = set(roles), self._facts.admin_flag
        admin, stored = _ADMIN in wanted, self._stored(sorted(wanted - {_ADMIN}))
        user = await self._locked(session, raw_key, keeps_admin=admin)
        event = None
        if bool(getattr(user, flag)) is not admin:
            event = "admin.granted" if admin else "admin.revoked"
            setattr(user, flag, admin)
        if event == "admin.revoked":
            await self.end_borrowed(session, getattr(user, self._facts.key))
        for name, value in stored.items():
            setattr(user, name, value)
        await session.flush()
        await session.refresh(user)
        return user, event

    async def unlock(self, user: Any) -> None:
        """Forget the failed logins of an account. Commits; no transaction of the caller's may be open."""
        key = str(getattr(user, self._facts.key))
        for kind in _COUNTED:
            await self._throttle.clear(self._context.database, Limit(kind, key, 1, 1))

    # ---- changes by CRUD -----------------------------------------------------------------------------------

    async def before_update(self, change: Change) -> None:
        """Whoever is switched off by an update of the row is as much so as by `switch`."""
        facts, row = self._facts, change.row
        assert row is not None  # noqa: S101 - it is known before an update
        was, will = facts.is_on(row), facts.is_on({**row, **change.values})
        event = None if was is will else _switched(row[facts.key], change, on=will)
        # With the request: an attempt that lost a race is followed by another one with a change of its own.
        setattr(change.access.request.state, _SWITCHED, event)
        if event is not None:
            await self._events.write(event, change.session)
            if was:
                await self.end_access(change.session, row[facts.key])

    async def on_commit(self, change: Change) -> None:
        """Tell what `before_update` has written."""
        event = getattr(change.access.request.state, _SWITCHED, None)
        if event is not None:
            await self._events.announce(event)

    # ---- rows and roles ------------------------------------------------------------------------------------

    async def _locked(self, session: AsyncSession, raw_key: str, *, keeps_admin: bool) -> Any:
        """Admins are locked before the account, as everybody does who takes a right away."""
        admins = [] if keeps_admin else await self._accounts.usable_admins(session)
        user = await self.found(session, raw_key, lock=True)
        if admins == [getattr(user, self._facts.key)]:
            raise last_admin()
        return user

    def _stored(self, roles: Sequence[str]) -> dict[str, Any]:
        """The roles as the model's column holds them: a list, text, or one alone."""
        columns = self._facts.columns
        name = next((name for name in ("roles", "role") if name in columns), None)
        if name is None:
            if roles:
                raise _unfit("This application knows the role admin alone")
            return {}
        if name == "role":
            if len(roles) > 1:
                raise _unfit("An account has one role here, and admin")
            given = roles[0] if roles else resource_of(self._facts.model).fields[name].shown_default
        else:
            kind = columns[name].type
            given = (
                ",".join(roles) if isinstance(kind, String) and not isinstance(kind, Enum) else list(roles)
            )
        return {name: self._validated(name, given)}

    def _validated(self, name: str, value: Any) -> Any:
        """As an admin's PATCH would write it."""
        patch = schemas_for(resource_of(self._facts.model), admin=True).patch
        try:
            body = patch.model_validate_json(json.dumps({name: value}))
        except (PydanticError, TypeError):
            raise _unfit("The model does not take these roles") from None
        fields = type(body).model_fields.items()
        return next(getattr(body, own) for own, info in fields if (info.alias or own) == name)

    def _key(self, raw_key: str) -> Any:
        (key,) = parse_key(resource_of(self._facts.model), raw_key)
        return key

    @property
    def _facts(self) -> UserModel:
        return self._context.facts


def _switched(key: Any, change: Change, *, on: bool) -> AuthEvent:
    principal, device = change.principal, device_of(change.access.request)
    return AuthEvent(
        name="user.enabled" if on else "user.disabled",
        user_id=str(key), actor_id=None if principal is None else str(principal.id),
        address=device.address, agent=device.agent,
    )  # fmt: skip


def _unfit(message: str) -> ValidationError:
    return ValidationError([FieldError("value_error", message, pointer="/roles")])
