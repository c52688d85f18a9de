"""Logins: an account becomes a session with tokens, goes on, and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, Protocol

from jetio import ConfigError, Database, Principal, Problem, UnitOfWork

from .accounts import invalid_credentials
from .backends import JWTAuthenticator
from .context import AuthContext
from .events import AuthEvent, Events
from .grants.refresh import RefreshTokens, TokenReused
from .model import Account
from .password_change import PasswordChange
from .sessions import Device, Kept, Origin, Proof, Session, Sessions, claims_of

__all__ = ["Condition", "Logins"]

Claims = Mapping[str, Any]
_Issued = tuple[str, int]
Condition = Callable[[Account, Device], Awaitable[None]]
"""What is asked of an account whose owner has proved who he is; raises the problem that refuses the login."""


class SecondFactor(Protocol):
    """Asked last, when nothing else stands against the login; raises what asks for another proof."""

    async def __call__(
        self, account: Account, claims: Claims, device: Device, work: UnitOfWork | None = None
    ) -> None:
        """`work`: the transaction in which to look; None: one of its own."""


Follow = Callable[[UnitOfWork], Awaitable[Origin]]
"""The first step of the transaction in which a session begins: what it goes back to; raises what refuses it."""


class Logins:
    """What opens, continues and ends sessions. `claims_for(account)` gives the further claims of any token.

    Without `sessions` a token stands for itself and lasts until it expires; without `refresh` a session ends
    with its only token. Every way of logging in ends in `open`, and all `conditions` are asked there, then the
    `second_factor`.
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
        self.conditions: list[Condition] = []
        self.second_factor: SecondFactor | None = None

    async def open(
        self, account: Account, extra: Claims, device: Device, follow: Follow | None = None
    ) -> dict[str, Any]:
        """The tokens of a new session; commits. Raises what the conditions raise.

        `follow` None: the account's owner has just proved who he is.
        """
        await self.ask(account, extra, device)
        claims = {**await self._claims_for(account), **extra}
        event = self._event("login.ok", self._key(account), device, method=device.method)
        if self.sessions is None:
            origin = await self._database.run_transaction(follow) if follow is not None else None
            at = int(time()) if origin is None else origin.proved
            pair = self._pair(account, claims, Proof(method=device.method, at=at))
            await self._events.record(event)
            return pair
        await self.sessions.forget_expired(self._key(account))
        steps = partial(self._begin, account, claims, extra, device, event, follow)
        pair = await self._database.run_transaction(steps)
        await self._events.announce(event)
        return pair

    @property
    def problems(self) -> list[int]:
        """What a login may be refused with whose proof was right, for its documentation."""
        return [403] if self.conditions else []

    async def ask(self, account: Account, extra: Claims, device: Device) -> None:
        """Raises what stands against a login."""
        for condition in self.conditions:
            await condition(account, device)
        if self.second_factor is not None:
            await self.second_factor(account, extra, device)

    async def _ask_again(self, work: UnitOfWork, account: Account, extra: Claims, device: Device) -> None:
        """Since it was asked, the account may have been switched off or a second factor on.

        Both lock the account and end the sessions that there are: one that begins now must be seen, or see them.
        """
        now = await self._context.locked(work, self._key(account))
        if now is None or not self._context.facts.is_active(now):
            raise invalid_credentials()
        if self.second_factor is not None:
            await self.second_factor(account, extra, device, work)

    async def _begin(
        self,
        account: Account,
        claims: Claims,
        extra: Claims,
        device: Device,
        event: AuthEvent,
        follow: Follow | None,
        work: UnitOfWork,
    ) -> dict[str, Any]:
        """A session and its tokens: claims that no token can hold leave none behind."""
        await self._ask_again(work, account, extra, device)
        origin = await follow(work) if follow is not None else None
        sessions, epoch = self.required_sessions(), self._authenticator.epoch_of(account)
        kept = await sessions.begin(work, self._key(account), epoch, device, extra, origin=origin)
        issued = await self._refresh.first(work, kept.id, kept.ends) if self._refresh is not None else None
        await self._events.write(event, work)
        return self._pair(account, claims, kept.proof, kept.id, issued)

    async def refresh(self, token: str, device: Device) -> dict[str, Any]:
        """The next tokens of a session; commits. Raises 401."""
        if self._refresh is None:
            raise ConfigError("refreshing is switched off; leave it out of AuthRouter(disable=...)")
        try:
            found = await self._refresh.rotate(token)
        except TokenReused as reuse:
            await self._events.record(self._event("token.reused", reuse.user, device, session=reuse.sid))
            raise
        await self._events.record(self._event("token.refreshed", self._key(found.account), device))
        kept, issued = found.session, (found.token, found.expires)
        claims = {**await self._claims_for(found.account), **claims_of(kept.claims)}
        return self._pair(found.account, claims, kept.proof, kept.id, issued)

    async def logout(
        self, principal: Principal, refresh_token: str | None, device: Device, *, everywhere: bool
    ) -> None:
        """End the caller's session, the one of a refresh token of the same account too, or all; commits.

        Raises 409 `no_session` where there is none of these to end.
        """
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
        found = [sid for sid in named if sid is not None]
        if not found:  # a success would say that the token is over
            raise Problem(409, "no_session", "This token belongs to no session; it lasts until it expires")
        for sid in found:
            await self.required_sessions().end(work, principal.id, sid)

    async def list(self, user: Any) -> Sequence[Session]:
        """The sessions of an account that last, the one that was used last first."""
        return await self.required_sessions().list(user)

    async def end(self, user: Any, sid: str, device: Device) -> bool:
        """End one session of an account; whether there was such a one. Commits."""
        event = self._event("session.ended", user, device, session=sid)
        async with self._database.transaction() as work:
            ended = await self.required_sessions().end(work, user, sid)
            if ended:
                await self._events.write(event, work)
        if ended:
            await self._events.announce(event)
        return ended

    async def end_others(self, user: Any, apart: str | None, device: Device) -> None:
        """End the sessions of an account, apart from this one; commits."""
        event = self._event("session.ended", user, device, apart=apart)
        async with self._database.transaction() as work:
            await self.required_sessions().end_others(work, user, apart)
            await self._events.write(event, work)
        await self._events.announce(event)

    async def change_password(
        self, principal: Principal, current: str, new: str, device: Device
    ) -> dict[str, Any]:
        """The tokens under the new password. The caller's session goes on, all others end; commits."""
        account = await self._changes.prove(principal, current, device)
        hashed = await self._changes.hash(account, current, new)
        claims = await self._claims_for(account)
        event = self._event("password.changed", principal.id, device)
        sid: str | None = principal.claims.get("sid")

        async def steps(work: UnitOfWork) -> dict[str, Any]:
            changed = await self._changes.store(work, account, hashed)
            await self._events.write(event, work)
            if self.sessions is None:
                return self._pair(changed, claims, Proof(method=device.method, at=int(time())))
            kept, issued = await self._keep(work, changed, sid, device)
            return self._pair(changed, {**claims, **claims_of(kept.claims)}, kept.proof, kept.id, issued)

        pair = await self._database.run_transaction(steps)
        await self._events.announce(event)
        return pair

    async def prove_and_hash(
        self, principal: Principal, current: str, new: str, device: Device, pointer: str
    ) -> tuple[Account, str]:
        """The caller's account and the hash of its next password; raises as `change_password` does."""
        account = await self._changes.prove(principal, current, device)
        return account, await self._changes.hash(account, current, new, pointer)

    async def store_password(
        self, work: UnitOfWork, account: Account, hashed: str, device: Device
    ) -> AuthEvent:
        """Change a password in a transaction, where all sessions end; the event that it has written."""
        await self._changes.store(work, account, hashed)
        if self.sessions is not None:
            await self.sessions.end_others(work, self._key(account), None)
        event = self._event("password.changed", self._key(account), device)
        await self._events.write(event, work)
        return event

    async def _keep(
        self, work: UnitOfWork, account: Account, sid: str | None, device: Device
    ) -> tuple[Kept, _Issued | None]:
        """The one session that goes on under another password, and its refresh token."""
        sessions, key = self.required_sessions(), self._key(account)
        epoch = self._authenticator.epoch_of(account)
        await sessions.end_others(work, key, sid)
        if sid is None:
            kept = await sessions.begin(work, key, epoch, device, {})
        else:
            kept = await sessions.renew(work, key, sid, epoch)
        issued = await self._refresh.replace(work, kept.id, kept.ends) if self._refresh is not None else None
        return kept, issued

    def _event(self, name: str, user: Any, device: Device, **detail: Any) -> AuthEvent:
        return AuthEvent(
            name=name, user_id=str(user), address=device.address, agent=device.agent, detail=detail
        )

    def _pair(
        self,
        account: Account,
        claims: Claims,
        proof: Proof,
        sid: str | None = None,
        issued: _Issued | None = None,
    ) -> dict[str, Any]:
        seconds = self._authenticator.config.token_expiry
        token = self._authenticator.issue(account, claims, seconds, sid=sid, proof=proof)
        pair = {"access_token": token, "token_type": "bearer", "expires_in": seconds}
        if issued is not None:
            pair |= {"refresh_token": issued[0], "refresh_expires_in": issued[1] - int(time())}
        return pair

    def _key(self, account: Account) -> Any:
        return account[self._context.facts.key]

    def required_sessions(self) -> Sessions:
        """The sessions, for what is there only with them; raises ConfigError."""
        if self.sessions is None:
            raise ConfigError("sessions are switched off; leave them out of AuthRouter(disable=...)")
        return self.sessions

    @property
    def _database(self) -> Database:
        return self._context.database
