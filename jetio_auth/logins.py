"""Logins: an account becomes a session with tokens, goes on, and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import time
from typing import Any

from jetio import ConstraintViolated, Database, Principal, UnitOfWork

from .accounts import invalid_credentials
from .backends import JWTAuthenticator
from .context import AuthContext
from .events import AuthEvent, Events
from .grants.refresh import RefreshTokens, TokenReused
from .model import Account
from .password_change import PasswordChange
from .sessions import Device, Session, Sessions, claims_of

__all__ = ["Logins"]

Claims = Mapping[str, Any]
_Issued = tuple[str, int]


class Logins:
    """What opens, continues and ends sessions. `claims_for(account)` gives the further claims of any token.

    Without `sessions` a token stands for itself and lasts until it expires; without `refresh` a session ends
    with its only token.
    """

    def __init__(
        self,
        context: AuthContext,
        authenticator: JWTAuthenticator,
        changes: PasswordChange,
        events: Events,
        claims_for: Callable[[Account], Awaitable[Claims]],
        sessions: Sessions | None,
        refresh: RefreshTokens | None,
    ) -> None:
        self._context, self._authenticator, self._changes = context, authenticator, changes
        self._events = events
        self._claims_for, self.sessions, self._refresh = claims_for, sessions, refresh

    async def open(self, account: Account, extra: Claims, device: Device) -> dict[str, Any]:
        """The tokens of a new session; commits."""
        event = self._event("login.ok", self._key(account), device, method=device.method)
        if self.sessions is None:
            await self._events.record(event)
            return await self._pair(account, extra)
        key = self._key(account)
        await self.sessions.forget_expired(key)
        try:
            async with self._database.transaction() as work:
                epoch = self._authenticator.epoch_of(account)
                sid, ends = await self.sessions.begin(work, key, epoch, device, extra)
                issued = await self._refresh.first(work, sid, ends) if self._refresh is not None else None
                await self._events.write(event, work)
        except ConstraintViolated:  # the account was deleted while its password was judged
            raise invalid_credentials() from None
        await self._events.announce(event)
        return await self._pair(account, extra, sid, issued)

    async def refresh(self, token: str, device: Device) -> dict[str, Any]:
        """The next tokens of a session; commits. Raises 401."""
        assert self._refresh is not None  # noqa: S101 - the route is there where refreshing is on
        try:
            found = await self._refresh.rotate(token)
        except TokenReused as reuse:
            await self._events.record(self._event("token.reused", reuse.user, device, session=reuse.sid))
            raise
        await self._events.record(self._event("token.refreshed", self._key(found.account), device))
        return await self._pair(
            found.account, claims_of(found.claims), found.sid, (found.token, found.expires)
        )

    async def logout(
        self, principal: Principal, refresh_token: str | None, device: Device, *, everywhere: bool
    ) -> None:
        """End the caller's session, the one of a refresh token of the same account too, or all; commits."""
        event = self._event("logout", principal.id, device, everywhere=everywhere)
        async with self._database.transaction() as work:
            if everywhere:
                await self.required_sessions().end_others(work, principal.id, None)
            else:
                await self._end_named(work, principal, refresh_token)
            await self._events.write(event, work)
        await self._events.announce(event)

    async def _end_named(self, work: UnitOfWork, principal: Principal, refresh_token: str | None) -> None:
        named = [principal.claims.get("sid")]
        if refresh_token is not None and self._refresh is not None:
            named.append(await self._refresh.session_of(work, refresh_token))
        for sid in named:
            if sid is not None:
                await self.required_sessions().end(work, principal.id, sid)

    async def list(self, user: Any) -> Sequence[Session]:
        """The sessions of an account that last, the one that was used last first."""
        return await self.required_sessions().list(user)

    async def end(self, user: Any, sid: str) -> bool:
        """End one session of an account; whether there was such a one. Commits."""
        async with self._database.transaction() as work:
            return await self.required_sessions().end(work, user, sid)

    async def end_others(self, user: Any, apart: str | None) -> None:
        """End the sessions of an account, apart from this one; commits."""
        async with self._database.transaction() as work:
            await self.required_sessions().end_others(work, user, apart)

    async def change_password(
        self, principal: Principal, current: str, new: str, device: Device
    ) -> dict[str, Any]:
        """The tokens under the new password. The caller's session goes on, all others end; commits."""
        account = await self._changes.prove(principal.id, current, address=device.address)
        hashed = await self._changes.hash(account, current, new)
        event = self._event("password.changed", principal.id, device)
        sid: str | None = principal.claims.get("sid")
        async with self._database.transaction() as work:
            changed = await self._changes.store(work, account, hashed)
            kept = await self._keep(work, changed, sid, device) if self.sessions is not None else None
            await self._events.write(event, work)
        await self._events.announce(event)
        return await self._pair(changed, *kept) if kept is not None else await self._pair(changed, {})

    async def _keep(
        self, work: UnitOfWork, account: Account, sid: str | None, device: Device
    ) -> tuple[Claims, str, _Issued | None]:
        """The one session that goes on under another password: its claims, its id, its refresh token."""
        sessions, key, claims = self.required_sessions(), self._key(account), None
        epoch = self._authenticator.epoch_of(account)
        await sessions.end_others(work, key, sid)
        if sid is None:
            sid, ends = await sessions.begin(work, key, epoch, device, {})
        else:
            ends, claims = await sessions.renew(work, key, sid, epoch)
        issued = await self._refresh.replace(work, sid, ends) if self._refresh is not None else None
        return claims_of(claims), sid, issued

    def _event(self, name: str, user: Any, device: Device, **detail: Any) -> AuthEvent:
        return AuthEvent(
            name=name, user_id=str(user), address=device.address, agent=device.agent, detail=detail
        )

    async def _pair(
        self, account: Account, extra: Claims, sid: str | None = None, issued: _Issued | None = None
    ) -> dict[str, Any]:
        claims = {**await self._claims_for(account), **extra}
        seconds = self._authenticator.config.token_expiry
        token = self._authenticator.issue(account, claims, seconds, sid=sid)
        pair = {"access_token": token, "token_type": "bearer", "expires_in": seconds}
        if issued is not None:
            pair |= {"refresh_token": issued[0], "refresh_expires_in": issued[1] - int(time())}
        return pair

    def _key(self, account: Account) -> Any:
        return account[self._context.facts.key]

    def required_sessions(self) -> Sessions:
        """The sessions, for what is there only with them."""
        assert self.sessions is not None  # noqa: S101 - these routes are there where sessions are on
        return self.sessions

    @property
    def _database(self) -> Database:
        return self._context.database
