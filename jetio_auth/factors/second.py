"""Second factors: what is asked of a login after its first one, how it is proved, and how it is switched on and off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError as PydanticError

from jetio import Database, Principal, Problem, UnitOfWork, not_found

from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..events import AuthEvent, Events
from ..jwt import TokenError
from ..model import Account
from ..sessions import Device, Proof, Sessions
from ..settings import Lockout
from ..throttle import Limit, Throttle, origin
from .recovery import RecoveryCodes
from .totp import Enrolment, Totp

__all__ = ["Pending", "SecondFactors"]

KIND = "mfa"  # the `typ` of the token between the two steps of a login
SECONDS = 300
T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Pending:
    """A login whose first factor is proved: whose, by which method, with which further claims."""

    account: Account
    method: str
    claims: Mapping[str, Any]


class SecondFactors:
    """Authenticator codes, and recovery codes for the day when the authenticator is gone."""

    def __init__(
        self,
        context: AuthContext,
        authenticator: JWTAuthenticator,
        totp: Totp,
        recovery: RecoveryCodes,
        throttle: Throttle,
        lockout: Lockout,
        events: Events,
        sessions: Sessions,
    ) -> None:
        self._context, self._authenticator, self._totp, self._recovery = (
            context,
            authenticator,
            totp,
            recovery,
        )
        self._throttle, self._lockout = throttle, lockout
        self._events, self._sessions = events, sessions

    # ---- a login -------------------------------------------------------------------------------------------

    async def ask(
        self, account: Account, claims: Mapping[str, Any], device: Device, work: UnitOfWork | None = None
    ) -> None:
        """Raises 401 `mfa_required` for a login by one factor where the account has a second one."""
        if Proof(method=device.method, at=0).is_strong or not await self._totp.is_on(
            self._key(account), work
        ):
            return
        key = self._key(account)
        epoch = self._authenticator.epoch_of(account)
        kept = {"sub": str(key), "epoch": epoch, "method": device.method, "extra": dict(claims)}
        token = self._authenticator.codec.encode(kept, typ=KIND, expires_in=SECONDS)
        raise Problem(
            401,
            "mfa_required",
            "One factor is proved; now the second",
            members={"mfa_token": token, "expires_in": SECONDS},
        )

    async def pending(self, token: str) -> Pending:
        """The login that waits for its second factor; raises 401 `mfa_expired`, also for tokens of other kinds."""
        facts = self._context.facts
        try:
            claims = self._authenticator.codec.decode(token, typ=KIND)
            key = facts.key_adapter.validate_strings(claims["sub"])
        except (TokenError, PydanticError):
            raise _over() from None
        query = self._database.shaped((facts, "by key"), facts.select_by_key)
        async with self._database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": key}))
        account = facts.account(rows[0]) if rows else None
        if (
            account is None
            or not facts.is_active(account)
            or not self._authenticator.same_epoch(account, claims["epoch"])
        ):
            raise _over()
        return Pending(account, claims["method"], claims["extra"])

    async def prove(
        self, account: Account, device: Device, *, code: str | None = None, recovery: str | None = None
    ) -> Device:
        """The device whose method says that both factors were proved; the code is used up.

        Raises 401 `wrong_code`, and 429 for too many: a right password does not take these failures away, or
        whoever has it could guess for ever.
        """
        key, rule = self._key(account), self._lockout
        mine = Limit("second factor", str(key), rule.failures, rule.window)
        theirs = [
            Limit("login address", origin(address), rule.address_failures, rule.address_window)
            for address in (device.address,)
            if address is not None
        ]
        await self._count([mine, *theirs], key, device)
        how = "otp" if code is not None else "recovery"
        if not (await self._totp.use(key, code) if code is not None else await self._recover(key, recovery)):
            await self._events.record(self._event("mfa.failed", key, device, method=how))
            raise _wrong(401)
        await self._throttle.clear(self._database, mine)
        await self._throttle.forgive(self._database, theirs)
        if code is None:
            await self._events.record(
                self._event("mfa.recovery_used", key, device, left=await self._recovery.left(key))
            )
        return replace(device, method=f"{device.method}+{how}")

    async def prove_at_once(self, account: Account, device: Device, code: str) -> Device:
        """The same for a code of either kind that came with the password; without an authenticator it means nothing."""
        if not await self._totp.is_on(self._key(account)):
            return device
        if code.replace(" ", "").isdigit():
            return await self.prove(account, device, code=code)
        return await self.prove(account, device, recovery=code)

    async def _count(self, limits: list[Limit], key: Any, device: Device) -> None:
        try:
            await self._throttle.attempt(self._database, limits)
        except Problem:
            await self._events.announce(self._event("login.throttled", key, device))
            raise

    async def _recover(self, key: Any, code: str | None) -> bool:
        return code is not None and await self._totp.is_on(key) and await self._recovery.use(key, code)

    # ---- on and off ----------------------------------------------------------------------------------------

    async def state(self, key: Any) -> tuple[bool, int]:
        """Whether an authenticator is on, and how many recovery codes are left."""
        return await self._totp.is_on(key), await self._recovery.left(key)

    async def begin(self, principal: Principal) -> Enrolment:
        """A secret for an authenticator app; it counts once a code of it is confirmed. Raises 409 `totp_on`."""
        name = principal.username or principal.email or principal.sub
        app = self._context.app
        return await self._totp.begin(principal.id, name, app.title if app is not None else "Jetio")

    async def confirm(self, principal: Principal, code: str, device: Device) -> list[str]:
        """Switch it on with a first code: the recovery codes. All other sessions of the account end; commits.

        Raises 404 where none was begun, and 403 `wrong_code`.
        """
        key = principal.id
        sealed = await self._totp.begun(key)
        if sealed is None:
            raise not_found()
        step = self._totp.step_of(key, sealed, code)
        if step is None:
            raise _wrong(403)
        event = self._event("mfa.enabled", key, device)

        async def steps(work: UnitOfWork) -> list[str]:
            await self._context.locked(work, key)  # a login on its way is over before, or sees it
            if not await self._totp.confirm(work, key, sealed, step):
                raise Problem(409, "conflict", "The authenticator is being changed by others; try again")
            codes = await self._recovery.replace(work, key)
            await self._close(work, key, principal.claims.get("sid"), event)
            return codes

        return await self._run(steps, event)

    async def renew_codes(self, principal: Principal, device: Device) -> list[str]:
        """Ten new recovery codes in the place of all others; commits. Raises 404 without an authenticator."""
        if not await self._totp.is_on(principal.id):
            raise not_found()
        event = self._event("mfa.recovery_renewed", principal.id, device)

        async def steps(work: UnitOfWork) -> list[str]:
            codes = await self._recovery.replace(work, principal.id)
            await self._events.write(event, work)
            return codes

        return await self._run(steps, event)

    async def remove(self, principal: Principal, device: Device) -> None:
        """Switch it off, with the recovery codes; all other sessions end. Commits. Raises 404 where it is off."""
        event = self._event("mfa.disabled", principal.id, device)
        await self._take_away(principal.id, principal.claims.get("sid"), event)

    async def reset(self, key: Any, event: AuthEvent) -> None:
        """Take them away from somebody who has lost them; all sessions end. Commits. Raises 404 where they are off."""
        await self._take_away(key, None, event)

    async def _take_away(self, key: Any, apart: str | None, event: AuthEvent) -> None:
        async def steps(work: UnitOfWork) -> None:
            await self._context.locked(work, key)
            if not await self._totp.remove(work, key):
                raise not_found()
            await self._recovery.drop(work, key)
            await self._close(work, key, apart, event)

        await self._run(steps, event)

    async def opens(self, work: UnitOfWork, user: Any) -> bool:
        """A second factor is no way in by itself."""
        return False

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take the authenticator of an account away, with its recovery codes, on or only begun."""
        await self._totp.forget(work, user)
        await self._recovery.drop(work, user)

    async def _close(self, work: UnitOfWork, key: Any, apart: str | None, event: AuthEvent) -> None:
        """Whoever came in under the old rule is asked again (ASVS 5, 7.4.3)."""
        await self._sessions.end_others(work, key, apart)
        await self._events.write(event, work)

    async def _run(self, steps: Callable[[UnitOfWork], Awaitable[T]], event: AuthEvent) -> T:
        done = await self._database.run_transaction(steps)
        await self._events.announce(event)
        return done

    def _event(self, name: str, key: Any, device: Device, **detail: Any) -> AuthEvent:
        return AuthEvent(
            name=name, user_id=str(key), address=device.address, agent=device.agent, detail=detail
        )

    def _key(self, account: Account) -> Any:
        return account[self._context.facts.key]

    @property
    def _database(self) -> Database:
        return self._context.database


def _wrong(status: int) -> Problem:
    return Problem(status, "wrong_code", "The code is wrong, or was used already")


def _over() -> Problem:
    return Problem(401, "mfa_expired", "The login took too long; begin again with the password")
