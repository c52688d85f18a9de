"""Approval: accounts that wait for an admin's decision, and the decision, which one admin makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError as PydanticError
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import Problem, document_of, not_found, read_schema, resource_of

from .accounts import Accounts, invalid_credentials
from .context import AuthContext
from .events import AuthEvent, Events
from .model import APPROVED, PENDING, Account, UserModel
from .sessions import Device

__all__ = ["Approval", "not_pending"]


class Approval:
    """Who is admitted. A decision is one statement: of several at once exactly one is made."""

    def __init__(self, context: AuthContext, accounts: Accounts, events: Events) -> None:
        self._context, self._accounts, self._events = context, accounts, events

    @property
    def _facts(self) -> UserModel:
        return self._context.facts

    @property
    def shown(self) -> Any:
        """The type of an account's document."""
        return read_schema(resource_of(self._facts.model))

    async def admit(self, account: Account, device: Device) -> None:
        """The condition of every login: raises 403 `account_pending` for an account that waits."""
        state = self._facts.approval_of(account)
        if state == APPROVED:
            return
        if state != PENDING:  # it was rejected while its password was judged
            raise invalid_credentials()
        key = str(account[self._facts.key])
        detail = {"reason": "pending"}
        event = AuthEvent(
            name="login.failed", user_id=key, address=device.address, agent=device.agent, detail=detail
        )
        await self._events.record(event)
        raise Problem(403, "account_pending", "The account waits for the approval of an administrator")

    async def pending(self, session: AsyncSession, offset: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """The accounts that wait, in the order of their keys."""
        facts = self._facts
        waiting = (
            select(facts.model)
            .where(facts.columns[_column(facts)] == PENDING)
            .order_by(facts.columns[facts.key])
        )
        found = await session.scalars(waiting.limit(limit).offset(offset))
        return [document_of(user) for user in found]

    async def decide(
        self, session: AsyncSession, field: str, value: Any, state: str | None
    ) -> tuple[str, Mapping[str, Any]]:
        """Set the state of an account that waits, None: delete it; its key as text, and its document.

        `field` is `id` or a login field. Raises 404, or 409 `not_pending`.
        """
        user = await self._named(session, field, value)
        if user is None:
            raise not_found()
        key, document = getattr(user, self._facts.key), document_of(user)
        if not await self._decided(session, key, state):
            raise not_pending()
        if state is not None:
            await session.refresh(user)
            document = document_of(user)
        return str(key), document

    async def _decided(self, session: AsyncSession, key: Any, state: str | None) -> bool:
        facts = self._facts
        column, id_column = facts.columns[_column(facts)], facts.columns[facts.key]
        change = delete(id_column.table) if state is None else update(id_column.table).values({column: state})
        result: Any = await session.execute(change.where(id_column == key, column == PENDING))
        return bool(result.rowcount)

    async def _named(self, session: AsyncSession, field: str, value: Any) -> Any:
        facts = self._facts
        if field != "id":
            return await self._accounts.holder(session, field, value) if field in facts.login_fields else None
        try:
            key = facts.key_adapter.validate_strings(str(value))
        except PydanticError:
            return None
        return await session.get(facts.model, key)


def not_pending() -> Problem:
    """For an account that does not wait, or no more."""
    return Problem(409, "not_pending", "The account does not wait for approval")


def _column(facts: UserModel) -> str:
    assert facts.approval is not None  # noqa: S101 - this is there where approval is on
    return facts.approval
