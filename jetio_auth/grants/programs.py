"""Programs that act for an account: their tokens are made, listed and ended, and what happens is told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jetio import Principal, UnitOfWork

from ..context import AuthContext
from ..events import AuthEvent, Events
from ..sessions import Device
from .api_tokens import ApiToken, ApiTokens

__all__ = ["Programs"]


class Programs:
    """The API tokens of whoever is logged in."""

    def __init__(self, context: AuthContext, tokens: ApiTokens, events: Events) -> None:
        self._context, self._tokens, self._events = context, tokens, events

    async def admit(
        self, principal: Principal, name: str, scopes: Sequence[str], seconds: int, device: Device
    ) -> tuple[str, ApiToken]:
        """A new token and its secret; commits. Raises 409 `too_many_tokens`."""
        steps = partial(self._admit, principal, name, scopes, seconds, device)
        secret, made, event = await self._context.database.run_transaction(steps)
        await self._events.announce(event)
        return secret, made

    async def _admit(
        self,
        principal: Principal,
        name: str,
        scopes: Sequence[str],
        seconds: int,
        device: Device,
        work: UnitOfWork,
    ) -> tuple[str, ApiToken, AuthEvent]:
        secret, made = await self._tokens.make(work, principal.id, name, scopes, seconds)
        event = _event("api_token.created", principal, device, made.id)
        await self._events.write(event, work)
        return secret, made, event

    async def list(self, principal: Principal) -> Sequence[ApiToken]:
        """The tokens that are good, the newest first."""
        return await self._tokens.list(principal.id)

    async def dismiss(self, principal: Principal, token_id: str | None, device: Device) -> bool:
        """End one token, or all of them; whether there was any. Commits."""
        event = _event("api_token.revoked", principal, device, token_id)
        async with self._context.database.transaction() as work:
            ended = await self._tokens.revoke(work, principal.id, token_id) > 0
            if ended:
                await self._events.write(event, work)
        if ended:
            await self._events.announce(event)
        return ended


def _event(name: str, principal: Principal, device: Device, token_id: str | None) -> AuthEvent:
    return AuthEvent(
        name=name,
        user_id=str(principal.id),
        address=device.address,
        agent=device.agent,
        detail={"token": token_id},
    )
