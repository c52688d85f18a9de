"""Accounts in a JSON file: for prototypes."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

import anyio

from jetio import ConfigError

from ..model import APPROVED, PENDING
from .users import StoredUser, taken

__all__ = ["JSONUserStore"]

_Users = dict[str, StoredUser]
T = TypeVar("T")


class JSONUserStore:
    """Each change writes the whole file anew, readable by its owner alone; processes that share it take turns.

    Production does not start with it. Raises ConfigError for a folder that is not there.
    """

    development_only = True

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not self._path.parent.is_dir():
            raise ConfigError(
                f"JSONUserStore({str(path)!r}): the folder {self._path.parent} is not there; make it"
            )

    async def find_by_email(self, email: str) -> StoredUser | None:
        """The account, None where there is none."""
        return (await self._read()).get(email)

    async def get(self, id: str) -> StoredUser | None:
        """The account with this id."""
        return next((user for user in (await self._read()).values() if user.id == id), None)

    async def create(self, user: StoredUser) -> None:
        """Keep a new account; raises 409 `already_exists`."""
        await self._change(partial(_add, user))

    async def update(self, user: StoredUser) -> None:
        """Replace the account of this email."""
        await self._change(lambda users: users.update({user.email: user}))

    async def exchange(self, old: StoredUser, new: StoredUser) -> bool:
        """Replace an account if it still is `old`."""
        return await self._change(partial(_exchange, old, new))

    async def delete(self, user: StoredUser) -> None:
        """Forget an account."""
        await self._change(lambda users: users.pop(user.email, None))

    async def list_pending(self) -> Sequence[StoredUser]:
        """The accounts that wait, the oldest first."""
        return [user for user in (await self._read()).values() if user.approval_status == PENDING]

    async def ensure_admin(self, email: str, hashed_password: str) -> None:
        """Make this admin where no account has the email."""
        admin = StoredUser(
            email=email, hashed_password=hashed_password, is_admin=True, approval_status=APPROVED
        )
        await self._change(lambda users: None if email in users else _add(admin, users))

    # ---- the file ------------------------------------------------------------------------------------------

    async def _read(self) -> _Users:
        return await anyio.to_thread.run_sync(self._read_now)

    async def _change(self, change: Callable[[_Users], T]) -> T:
        return await anyio.to_thread.run_sync(self._change_now, change)

    def _read_now(self) -> _Users:
        """What appears under the file's name is whole: reading needs no lock."""
        try:
            found = json.loads(self._path.read_bytes())["users"]
            users = [StoredUser(**entry) for entry in found]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"JSONUserStore: {self._path} holds no accounts; take it away, or mend it"
            ) from error
        return {user.email: user for user in users}

    def _change_now(self, change: Callable[[_Users], T]) -> T:
        with self._locked():
            users = self._read_now()
            result = change(users)
            self._write({"users": [asdict(user) for user in users.values()]})
        return result

    def _write(self, document: object) -> None:
        """NamedTemporaryFile makes files that only their owner reads."""
        with NamedTemporaryFile("w", dir=self._path.parent, delete=False) as fresh:
            try:
                json.dump(document, fresh, indent=1)
                fresh.flush()
                os.fsync(fresh.fileno())
                os.replace(fresh.name, self._path)
            except BaseException:
                os.unlink(fresh.name)
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A file beside it is locked: the file itself is another one after each change."""
        import fcntl  # not on Windows, where the rest of the package works

        beside = self._path.with_name(f"{self._path.name}.lock")
        try:
            opened = os.open(beside, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise ConfigError(f"JSONUserStore: {beside} cannot be written: {error.strerror}") from error
        with os.fdopen(opened) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _add(user: StoredUser, users: _Users) -> None:
    if user.email in users:
        raise taken()
    users[user.email] = replace(user, id=uuid.uuid4().hex)


def _exchange(old: StoredUser, new: StoredUser, users: _Users) -> bool:
    same = users.get(old.email) == old
    if same:
        users[old.email] = new
    return same
