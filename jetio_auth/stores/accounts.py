"""The rules of accounts over a store: what the database answers elsewhere, the store answers here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import ConfigError, FieldError, Principal, Problem, UnitOfWork, ValidationError, not_found

from ..accounts import Accounts
from ..approval import Approval, not_pending
from ..backends import JWTAuthenticator
from ..model import APPROVAL, APPROVED, PASSWORD, PENDING, Account, UserModel
from ..names import canonical, canonical_or_typed
from ..password_change import PasswordChange
from . import StoredUser, StoreSource

__all__ = [
    "StoredAccounts",
    "StoredApproval",
    "StoredAuthenticator",
    "StoredPasswordChange",
    "UserRead",
    "document_of_user",
    "stored_model",
]


class UserRead(BaseModel):
    """What is shown of an account."""

    id: str
    email: str
    approval_status: str


def document_of_user(user: StoredUser) -> dict[str, Any]:
    """The account as `UserRead` has it."""
    return UserRead(id=_key(user), email=user.email, approval_status=user.approval_status).model_dump()


def _key(user: StoredUser) -> str:
    return user.email if user.id is None else user.id


@dataclass(frozen=True, eq=False)
class _StoredModel(UserModel):
    def account_of(self, user: StoredUser) -> Account:
        """An account that has no id is known by its email."""
        return {**super().account_of(user), self.key: _key(user)}


def stored_model(*, approval: bool) -> UserModel:
    """What accounts of stores are to authentication."""
    return _StoredModel(
        model=StoredUser,
        key="id",
        key_adapter=TypeAdapter(str),
        admin_flag="is_admin",
        login_fields=("email",),
        columns={},
        fetched=("id", "email", PASSWORD, "is_admin", "is_active", APPROVAL),
        switches={"is_active": True},
        has_roles=False,
        approval=APPROVAL if approval else None,
    )


class StoredAuthenticator(JWTAuthenticator):
    """Finds the caller by its token and the account of the store; `sub` is the email."""

    source: StoreSource

    @property
    def user_model(self) -> Any:
        """There is no model of the accounts that rows could refer to."""
        return None

    async def _found(self, known: Any, work: UnitOfWork) -> Principal | None:
        user = await self.source.find(known.key)
        return self._judged(self._facts.account_of(user) if user is not None else None, known.claims)

    async def load_user(self, principal: Principal | None, work: UnitOfWork) -> StoredUser | None:
        """The caller's account; None for nobody."""
        return None if principal is None else await self.source.find(principal.sub)


class StoredAccounts(Accounts):
    """Login and registration of accounts of a store."""

    source: StoreSource

    async def _find(self, name: str, typed: str, field: str | None) -> Account | None:
        if field not in (None, "email"):
            return None
        user = await self.source.find(name)
        return None if user is None else self.facts.account_of(user)

    async def _renew(self, account: Account, renewed: str) -> None:
        if await self.change_password(account, renewed):
            account[PASSWORD] = renewed

    async def change_password(self, account: Account, hashed: str) -> bool:
        """Store another hash; whether the account still had the one that was known."""
        user = await self.source.find(account["email"])
        if user is None or user.hashed_password != account[PASSWORD]:
            return False
        return await self.source.exchange(user, replace(user, hashed_password=hashed))

    async def add(self, email: str, password: str) -> StoredUser:
        """A new account; raises 422 for the password, 409 `already_exists`."""
        await self.refuse_password(password, {"email": email})
        hashed = await self.passwords.hash(password)
        state = APPROVED if self.facts.approval is None else PENDING
        return await self.source.create(
            StoredUser(email=canonical(email), hashed_password=hashed, approval_status=state)
        )

    async def has_admin(self, email: str) -> bool:
        """Whether the first admin is there: a store does not list its admins."""
        return await self.source.find(email) is not None

    async def ensure_stored_admin(self, email: str, password: str) -> None:
        """The same as `ensure_admin`, in the store. Raises ConfigError."""
        try:
            await self.refuse_password(password, {"email": email})
        except ValidationError as problem:
            raise ConfigError(f"ensure_admin cannot make the account; {problem.errors[0].message}") from None
        user = await self.source.find(canonical_or_typed(email))
        if user is None:
            await self.source.ensure_admin(canonical(email), await self.passwords.hash(password))
        elif not user.is_admin:
            await self._refuse_stranger(password, user.hashed_password)
            await self.source.exchange(user, replace(user, is_admin=True, approval_status=APPROVED))


class StoredPasswordChange(PasswordChange):
    """Another password, in the store."""

    accounts: StoredAccounts

    async def store(self, work: UnitOfWork, account: Account, hashed: str) -> Account:
        if not await self.accounts.change_password(account, hashed):
            raise Problem(409, "conflict", "The password is being changed by others; try again")
        return {**account, PASSWORD: hashed}

    async def _account(self, principal: Principal) -> Account:
        """By the email: a store need not look up its ids."""
        user = await self.accounts.source.find(principal.sub)
        if user is None:  # pragma: no cover - deleted in the moment since its token was looked up
            raise not_found()
        return self.accounts.facts.account_of(user)


class StoredApproval(Approval):
    """The decision of an admin, in the store; the session of the request is not used."""

    source: StoreSource

    @property
    def shown(self) -> Any:
        return UserRead

    async def pending(self, session: AsyncSession, offset: int, limit: int) -> Sequence[Mapping[str, Any]]:
        found = list(await self.source.pending())
        return [document_of_user(user) for user in found[offset : offset + limit]]

    async def decide(
        self, session: AsyncSession, field: str, value: Any, state: str | None
    ) -> tuple[str, Mapping[str, Any]]:
        user = await self._stored(field, str(value))
        if user is None:
            raise not_found()
        changed = user if state is None else replace(user, approval_status=state)
        waits = user.approval_status == PENDING
        decided = waits and await (
            self.source.delete(user) if state is None else self.source.exchange(user, changed)
        )
        if not decided:
            raise not_pending()
        return _key(user), document_of_user(changed)

    async def _stored(self, field: str, value: str) -> StoredUser | None:
        if field == "email":
            return await self.source.find(canonical_or_typed(value))
        return await self.source.named(value) if field == "id" else None


def no_such_field(names: Sequence[str]) -> ValidationError:
    """For fields that accounts of stores do not have."""
    told = "Accounts of this store have no such field"
    return ValidationError([FieldError("unknown_field", told, pointer=f"/{name}") for name in names])
