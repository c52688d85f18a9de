"""The rules of accounts: authenticate, register, promote; never HTTP."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import anyio
from pydantic_core import PydanticCustomError
from sqlalchemy import select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    Change,
    ConfigError,
    ConstraintViolated,
    FieldError,
    Problem,
    ValidationError,
    not_found,
    parse_key,
    resource_of,
    violation_problem,
)

from .common import is_common
from .context import AuthContext
from .events import AuthEvent, Events
from .further_keys import FurtherKeys
from .model import APPROVED, PASSWORD, PENDING, Account, UserModel
from .names import canonical, canonical_or_typed
from .passwords import PasswordPolicy, Passwords
from .sessions import Device
from .settings import Lockout
from .throttle import Limit, Throttle, is_local, origin

__all__ = ["Accounts", "invalid_credentials", "last_admin"]

TEST_ROUNDS = 4
_AT_ONCE = min(4, os.cpu_count() or 1)


class Accounts:
    """What may happen to accounts."""

    def __init__(
        self,
        context: AuthContext,
        policy: PasswordPolicy,
        throttle: Throttle,
        lockout: Lockout,
        events: Events,
    ) -> None:
        self._context, self._policy, self._throttle, self._lockout = context, policy, throttle, lockout
        self._events = events
        # An attempt counts as a failure until it is judged: many at once would lock each other out.
        self._turn = anyio.Semaphore(_AT_ONCE)
        self.further_keys = FurtherKeys(context)

    @property
    def facts(self) -> UserModel:
        """What the user model is to authentication."""
        return self._context.facts

    @property
    def policy(self) -> PasswordPolicy:
        """What a new password must be."""
        return self._policy

    @cached_property
    def passwords(self) -> Passwords:
        """Hashing at cost 12; in test mode at the least cost there is."""
        cheap = self._context.settings.env == "test"
        return Passwords(TEST_ROUNDS, self._policy) if cheap else Passwords(policy=self._policy)

    # ---- authenticate --------------------------------------------------------------------------------------

    async def authenticate(
        self, identity: str, password: str, device: Device, *, field: str | None = None
    ) -> Account:
        """The account with this name and password; raises 401 `invalid_credentials` or 429 `rate_limited`.

        `field` None: any login name. An outdated hash is renewed and committed.
        """
        name = canonical_or_typed(identity)
        account = await self._find(name, identity, field)
        right, renewed = await self.verify(account, password, name=name, device=device)
        if account is None or not right:
            raise invalid_credentials()
        if renewed is not None:
            await self._renew(account, renewed)
        return account

    async def verify(
        self, account: Account | None, password: str, *, name: str = "", device: Device
    ) -> tuple[bool, str | None]:
        """Whether this is the password of an account that may be used, and the newer hash it should have.

        Each failure is counted: against the account, against `name` where there is none, and against the
        address. Raises 429 `rate_limited`.
        """
        by_name, by_address = self._limits(name, account, device.address)
        async with self._turn:
            try:
                await self._throttle.attempt(self._context.database, [by_name, *by_address])
            except Problem:
                # Not into the table: whoever is refused here may come as often as he likes.
                await self._events.announce(self._failure("login.throttled", account, device))
                raise
            usable = account is not None and self.facts.may_prove(account)
            stored = account[PASSWORD] if account is not None and usable else None
            right, renewed = await self.passwords.verify_and_upgrade(password, stored)
            if right:
                await self._throttle.clear(self._context.database, by_name)
                await self._throttle.forgive(self._context.database, by_address)
        if not right:
            await self._events.record(self._failure("login.failed", account, device))
        return right, renewed

    def _failure(self, name: str, account: Account | None, device: Device) -> AuthEvent:
        whom = None if account is None else str(account[self.facts.key])
        return AuthEvent(name=name, user_id=whom, address=device.address, agent=device.agent)

    def _limits(self, name: str, account: Account | None, address: str | None) -> tuple[Limit, list[Limit]]:
        """An account counts once, by whichever of its names it is meant; a name of nobody as it is."""
        rule = self._lockout
        kind, subject = ("login name", name) if account is None else ("account", str(account[self.facts.key]))
        by_name = Limit(kind, subject, rule.failures, rule.window)
        if address is None:
            return by_name, []
        return by_name, [Limit("login address", origin(address), rule.address_failures, rule.address_window)]

    async def find(self, identity: str, field: str | None = None) -> Account | None:
        """The account with this name, whatever its state; `field` None: in any login field."""
        return await self._find(canonical_or_typed(identity), identity, field)

    async def forget_failures(self, account: Account) -> None:
        """The account has another password: what was guessed against the one before counts no more."""
        by_name, _ = self._limits("", account, None)
        await self._throttle.clear(self._context.database, by_name)

    async def admit_mail(self, identity: str, *, address: str | None) -> None:
        """Count a mail that is asked for in this name; raises 429 `rate_limited`, whether there is such an account."""
        rule = self._lockout
        limits = [Limit("mail name", canonical_or_typed(identity), rule.mails, rule.mail_window)]
        if address is not None and self._counts(address):
            limits.append(Limit("mail address", origin(address), rule.mails, rule.mail_window))
        detail = "Too many mails were asked for; try again later"
        await self._throttle.attempt(self._context.database, limits, detail)

    def _counts(self, address: str) -> bool:
        """Outside of production this machine itself is not counted: whoever tries things out is no attacker."""
        return self._context.settings.production or not is_local(address)

    async def _find(self, name: str, typed: str, field: str | None) -> Account | None:
        """By the canonical name in each login field, then as it was typed, for rows from before.

        One statement whatever it finds: an unknown name costs what a known one does.
        """
        fields = (field,) if field is not None else self.facts.login_fields
        if "@" in typed and "email" in fields:
            # An address is its owner's, even where somebody has taken it for a username.
            fields = ("email", *(name for name in fields if name != "email"))
        if field not in (None, *self.facts.login_fields) or not _is_storable(typed):
            return None
        database, facts = self._context.database, self.facts
        query = database.shaped((facts, "by name", fields), lambda: facts.select_by_name(fields))
        async with database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"canonical": name, "typed": typed}))
        wanted = [(field, spelling) for spelling in (name, typed) for field in fields]
        accounts = [facts.account(row) for row in rows]
        return min(accounts, key=lambda account: _rank(account, wanted), default=None)

    async def _renew(self, account: Account, renewed: str) -> None:
        """Store the newer hash, unless the password was changed meanwhile; tokens follow what is stored."""
        facts = self.facts
        statement = (
            update(facts.columns[facts.key].table)
            .where(facts.columns[facts.key] == account[facts.key])
            .where(facts.columns[PASSWORD] == account[PASSWORD])
            .values({facts.columns[PASSWORD]: renewed})
        )
        async with self._context.database.sessions() as session:
            result: Any = await session.execute(statement)
            await session.commit()
        if result.rowcount:
            account[PASSWORD] = renewed

    # ---- register ------------------------------------------------------------------------------------------

    async def admit_registration(
        self, values: Mapping[str, Any], password: str, *, address: str | None
    ) -> None:
        """Count a registration from this address; raises 422 for the password, 429 `rate_limited`."""
        await self.refuse_password(password, values)
        if address is None or not self._counts(address):
            return
        rule = self._lockout
        limit = Limit("register address", origin(address), rule.registrations, rule.registration_window)
        detail = "Too many registrations from this address; try again later"
        await self._throttle.attempt(self._context.database, [limit], detail)

    async def register(self, session: AsyncSession, values: Mapping[str, Any], password: str) -> Any:
        """Add an account and flush; the caller commits. Raises 422 for the password, 409 `already_exists`."""
        await self.refuse_password(password, values)
        hashed = await self.passwords.hash(password)
        state = {} if self.facts.approval is None else {self.facts.approval: PENDING}
        user = self.facts.model(**{**state, **values, PASSWORD: hashed})
        session.add(user)
        try:
            await session.flush()
        except IntegrityError as error:
            raise await self._refusal(session, error, values) from error
        await session.refresh(user)
        return user

    async def register_unseen(self, session: AsyncSession, values: Mapping[str, Any], password: str) -> Any:
        """As `register`, but None where another account has the email and nothing else is wrong.

        Other columns are told as ever, and alike whether the email is taken: what is left of the values is tried
        with an email that nobody has.
        """
        try:
            return await self.register(session, values, password)
        except Problem as problem:
            if problem.code != "already_exists" or [entry.pointer for entry in problem.errors] != ["/email"]:
                raise
        await session.rollback()
        nobodys = {**values, "email": f"{secrets.token_hex(6)}@example.invalid"}
        session.add(self.facts.model(**nobodys, **{PASSWORD: Passwords.unusable()}))
        try:
            await session.flush()
        except IntegrityError as error:
            raise await self._refusal(session, error, values) from error
        await session.rollback()
        return None

    async def refuse_password(
        self, password: str, values: Mapping[str, Any], pointer: str = "/password"
    ) -> None:
        """Raises 422 for a password that an account with these login names may not have."""
        self.passwords.check(password, pointer)
        forbidden = self._policy.forbid_common
        if forbidden is None:
            forbidden = self._context.settings.production
        names = [str(values[name]) for name in self.facts.login_fields if values.get(name) is not None]
        if forbidden and await anyio.to_thread.run_sync(is_common, password, names):
            message = "This password is one of the first that attackers try"
            raise ValidationError([FieldError("password_common", message, pointer=pointer)])

    async def _refusal(
        self, session: AsyncSession, error: IntegrityError, values: Mapping[str, Any]
    ) -> Exception:
        """409 `already_exists` for a value that is taken; what else is refused is told as CRUD tells it."""
        fault = self._context.database.dialect.fault(error)
        if not isinstance(fault, ConstraintViolated):
            return error
        violation = fault.violation
        if violation.kind == "foreign_key" and violation.constraint is None:
            await session.rollback()
            violation = violation._replace(columns=await self._dangling(session, values))
        problem = violation_problem(resource_of(self.facts.model), violation, deleting=False)
        if problem.status != 409:
            return problem
        errors = [replace(entry, code="already_exists", message="This is taken") for entry in problem.errors]
        named = " and ".join((entry.pointer or "").lstrip("/") for entry in errors)
        return Problem(409, "already_exists", f"Another account has this {named} already", errors=errors)

    async def _dangling(self, session: AsyncSession, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns of the first reference that leads nowhere; SQLite does not tell them."""
        fields = resource_of(self.facts.model).fields
        held = [
            (key, [values.get(name) for name in key.fields])
            for key in resource_of(self.facts.model).foreign_keys
        ]
        wrong = [key for key, told in held if None not in told and not await _leads(session, key, told)]
        return tuple(fields[name].column.name for key in wrong[:1] for name in key.fields)

    # ---- admins --------------------------------------------------------------------------------------------

    async def set_admin(self, session: AsyncSession, raw_key: str, *, admin: bool) -> Any:
        """Promote or demote; the account's key. Raises 404, or 409 `last_admin` for the only one."""
        (key,) = parse_key(resource_of(self.facts.model), raw_key)
        admins = [] if admin else await self.usable_admins(session)
        user = await session.get(self.facts.model, key, with_for_update=True)
        if user is None:
            raise not_found()
        if admins == [key]:
            raise last_admin()
        setattr(user, self.facts.admin_flag, admin)
        await session.flush()
        return key

    async def keep_an_admin(self, change: Change) -> None:
        """Before an account is deleted or changed: raises 409 `last_admin` where nobody would be left."""
        facts, row = self.facts, change.row
        assert row is not None  # noqa: S101 - it is known before an update and a delete
        stays = change.action != "delete" and facts.is_usable_admin({**row, **change.values})
        if stays or not facts.is_usable_admin(row):
            return
        if await self.usable_admins(change.session) == [row[facts.key]]:
            raise last_admin()

    async def usable_admins(self, session: AsyncSession) -> Sequence[Any]:
        """The keys of the admins who can log in; all admins are locked, in one order.

        Of two who remove each other, the second sees one.
        """
        facts = self.facts
        names = [facts.key, facts.admin_flag, *facts.state]
        admins = (
            select(*(facts.columns[name] for name in names))
            .where(facts.columns[facts.admin_flag])
            .order_by(facts.columns[facts.key])
            .with_for_update()
        )
        found = [dict(zip(names, row, strict=True)) for row in await session.execute(admins)]
        return [account[facts.key] for account in found if facts.is_active(account)]

    async def ensure_admin(self, session: AsyncSession, names: Mapping[str, str], password: str) -> None:
        """An admin with these names: made, left as it is, or promoted with its own password.

        Commits. Raises ConfigError when the names belong to two accounts, or to one with another password.
        """
        holders = await self._holders(session, names) or await self._create_admin(session, names, password)
        if len(holders) > 1:
            raise ConfigError(
                "ensure_admin: the username and the email belong to two accounts; give the names of one"
            )
        (user,) = holders
        if not getattr(user, self.facts.admin_flag):
            await self._promote(user, password)
        await session.commit()

    async def _holders(self, session: AsyncSession, names: Mapping[str, str]) -> list[Any]:
        found = [await self.holder(session, field, name) for field, name in names.items()]
        return list({id(user): user for user in found if user is not None}.values())

    async def holder(self, session: AsyncSession, field: str, name: str) -> Any:
        """The account whose login field holds this name, None where there is none."""
        for spelling in (canonical_or_typed(name), name):
            statement = select(self.facts.model).where(self.facts.columns[field] == spelling)
            if (user := await session.scalar(statement)) is not None:
                return user
        return None

    async def _create_admin(
        self, session: AsyncSession, names: Mapping[str, str], password: str
    ) -> Sequence[Any]:
        try:
            wanted = {field: canonical(name) for field, name in names.items()}
            wanted_state = {self.facts.admin_flag: True, **self._approved}
            if self.facts.verified is not None:  # whoever runs the application vouches for the address
                wanted_state[self.facts.verified] = True
            return [await self.register(session, {**wanted, **wanted_state}, password)]
        except ValidationError as problem:
            told = [f"{entry.pointer}: {entry.message}" for entry in problem.errors] or [problem.detail]
            raise ConfigError(f"ensure_admin cannot make the account; {'; '.join(told)}") from None
        except PydanticCustomError as mistake:
            raise ConfigError(f"ensure_admin cannot make the account; {mistake.message()}") from None
        except Problem:  # another worker was quicker
            await session.rollback()
            return await self._holders(session, names)

    async def _promote(self, user: Any, password: str) -> None:
        await self._refuse_stranger(password, getattr(user, PASSWORD))
        for name, value in {self.facts.admin_flag: True, **self._approved}.items():
            setattr(user, name, value)

    async def _refuse_stranger(self, password: str, stored: str) -> None:
        right, _ = await self.passwords.verify_and_upgrade(password, stored)
        if not right:
            raise ConfigError(
                "ensure_admin: an account with this name exists, is no admin and has another password; "
                "promote it with an admin's login, or give its password"
            )

    async def has_admin(self, email: str) -> bool:
        """Whether any account is an admin, whatever its name."""
        facts = self.facts
        admins = select(facts.columns[facts.key]).where(facts.columns[facts.admin_flag]).limit(1)
        async with self._context.database.sessions() as session:
            return await session.scalar(admins) is not None

    @property
    def _approved(self) -> dict[str, str]:
        return {} if self.facts.approval is None else {self.facts.approval: APPROVED}


def invalid_credentials() -> Problem:
    """The same for an unknown name, a wrong password and a disabled account."""
    detail = "The name or the password is wrong"
    return Problem(401, "invalid_credentials", detail, headers={"WWW-Authenticate": "Bearer"})


def last_admin() -> Problem:
    """409: nobody would be left who is an admin and can log in."""
    return Problem(409, "last_admin", "The last admin cannot be removed")


def _is_storable(name: str) -> bool:
    """Whether a database could hold the name at all."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def _rank(account: Account, wanted: Sequence[tuple[str, str]]) -> int:
    """Which of the ways to be meant this account fits first."""
    return next((place for place, (field, name) in enumerate(wanted) if account[field] == name), len(wanted))


async def _leads(session: AsyncSession, key: Any, held: Sequence[Any]) -> bool:
    """Whether a foreign key of these values leads to a row."""
    same = [column == value for column, value in zip(key.columns, held, strict=True)]
    return await session.scalar(select(true()).where(*same)) is not None
