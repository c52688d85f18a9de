"""Where a router finds its store: an instance, or a factory that is asked for each use."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from jetio import ConfigError, FieldError, Settings, ValidationError

from .users import StoredUser, UserStore, taken

__all__ = ["StoreSource"]

_NEEDED = ("find_by_email", "create", "update", "list_pending", "ensure_admin")


class StoreSource:
    """The questions and changes that accounts ask for, in whatever store there is."""

    def __init__(self, given: UserStore | Callable[[], Any]) -> None:
        self.use(given)
        self._turn = anyio.Lock()  # for stores that cannot exchange

    def use(self, given: UserStore | Callable[[], Any]) -> None:
        """Take this store, or what this function returns or yields; raises ConfigError for neither."""
        if not inspect.isclass(given) and not inspect.isroutine(given):
            _check(given)
        self._given = given

    @asynccontextmanager
    async def open(self) -> AsyncIterator[UserStore]:
        """The store for one use; raises ConfigError where a factory gives something else."""
        given: Any = self._given
        if inspect.isasyncgenfunction(given):
            async with asynccontextmanager(given)() as store:
                yield _check(store)
        elif inspect.isclass(given) or inspect.isroutine(given):
            made = given()
            yield _check(await made if inspect.isawaitable(made) else made)
        else:
            yield given

    async def find(self, email: str) -> StoredUser | None:
        """The account with this email."""
        async with self.open() as store:
            return await store.find_by_email(email)

    async def named(self, key: str) -> StoredUser | None:
        """The account with this id, which is the email where the store gave none.

        A store that looks up no ids has only those at hand that wait.
        """
        async with self.open() as store:
            own: Any = getattr(store, "get", None)
            if own is not None:
                found: StoredUser | None = await own(key)
                return found
            waiting = [user for user in await store.list_pending() if user.id == key]
            return waiting[0] if waiting else await store.find_by_email(key)

    async def create(self, user: StoredUser) -> StoredUser:
        """Keep a new account; as it is kept. Raises 409 `already_exists`."""
        async with self._turn, self.open() as store:
            if await store.find_by_email(user.email) is not None:
                raise taken()
            await store.create(user)
            return await store.find_by_email(user.email) or user

    async def exchange(self, old: StoredUser, new: StoredUser) -> bool:
        """Replace an account if it still is `old`: of several who try at once, one does."""
        async with self._turn, self.open() as store:
            own: Any = getattr(store, "exchange", None)
            if own is not None:
                return bool(await own(old, new))
            if await store.find_by_email(old.email) != old:
                return False
            await store.update(new)
            return True

    async def delete(self, user: StoredUser) -> bool:
        """Forget an account if it still is this one; raises 422 where the store forgets nothing."""
        async with self._turn, self.open() as store:
            own: Any = getattr(store, "delete", None)
            if own is None:
                message = "This store of accounts deletes none"
                raise ValidationError([FieldError("not_deletable", message, pointer="/delete")])
            if await store.find_by_email(user.email) != user:
                return False
            await own(user)
            return True

    async def pending(self) -> Sequence[StoredUser]:
        """The accounts that wait for approval."""
        async with self.open() as store:
            return await store.list_pending()

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        """Make this admin where no account has the email."""
        async with self._turn, self.open() as store:
            await store.ensure_admin(email, hashed_password)

    async def check(self, settings: Settings) -> None:
        """Raises ConfigError for a store that is for development alone, or for one process."""
        async with self.open() as store:
            if getattr(store, "one_process", False) and settings.workers > 1:
                raise ConfigError(
                    f"{type(store).__name__} is known to one process alone, and there are {settings.workers} workers; "
                    "take a store that they share, or run one worker"
                )
            if settings.production and getattr(store, "development_only", False):
                raise ConfigError(
                    f"{type(store).__name__} is for development; write a UserStore over a database, or AuthRouter(User)"
                )


def _check(store: Any) -> UserStore:
    missing = [name for name in _NEEDED if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigError(f"{type(store).__name__} is no UserStore; it lacks: {', '.join(missing)}")
    found: UserStore = store
    return found
