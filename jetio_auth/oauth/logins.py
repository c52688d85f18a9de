"""Logins by other services: whom they stand for, and what they are added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import select

from jetio import (
    ConstraintViolated,
    Principal,
    Problem,
    UnitOfWork,
    not_found,
    resource_of,
    violation_problem,
)

from ..accounts import invalid_credentials
from ..backends import JWTAuthenticator
from ..context import AuthContext
from ..events import AuthEvent, Events
from ..further_keys import FurtherKeys
from ..logins import Logins
from ..model import Account, UserModel
from ..sessions import Device
from ..settings import Lockout
from ..throttle import Limit, Throttle, origin
from .client import ProviderClient, login_failed
from .flow import Flow, Flows
from .identities import Identities, Identity
from .newcomers import check_newcomers, email_of, is_verified, newcomer
from .providers import OAuthProfile
from .settings import OAuth

__all__ = ["OAuthLogins"]

_TRIES = 3


class OAuthLogins:
    """From an answer of a provider to an account, and to its session."""

    def __init__(
        self,
        context: AuthContext,
        config: OAuth,
        domain: Callable[[], str],
        authenticator: JWTAuthenticator,
        flows: Flows,
        identities: Identities,
        logins: Logins,
        events: Events,
        throttle: Throttle,
        lockout: Lockout,
        prefix: str,
        further: FurtherKeys,
    ) -> None:
        self._context, self.config, self.flows, self._identities = context, config, flows, identities
        self._authenticator = authenticator
        self._logins, self._events, self._throttle, self._lockout = logins, events, throttle, lockout
        self._domain, self._prefix, self._further = domain, prefix, further
        self._clients: dict[str, ProviderClient] = {}

    @property
    def _facts(self) -> UserModel:
        return self._context.facts

    def build(self) -> None:
        """Ready to ask providers; raises ConfigError."""
        check_newcomers(self._facts, self.config.new_user)
        _ = self._domain()
        self._clients = {item.name: ProviderClient(item, self.flows) for item in self.config.providers}

    async def stop(self) -> None:
        """End what is under way."""
        for client in self._clients.values():
            await client.stop()

    # ---- there and back ------------------------------------------------------------------------------------

    async def begin(self, name: str, path: str | None, owner: Principal | None = None) -> tuple[Flow, str]:
        """A new flow, and where to send the browser; raises 404 for a provider that there is not.

        `owner` is who adds a login to an account; None: somebody logs in.
        """
        client = self._client(name)
        place = path if path is not None else self.config.paths[0]
        user, epoch = (str(owner.id), owner.claims.get("epoch")) if owner is not None else (None, None)
        flow = self.flows.begin(name, place, user, epoch)
        return flow, await client.authorize_url(flow, self._redirect_uri(name))

    async def returned(
        self, flow: Flow, code: str | None, error: str | None, issuer: str | None, device: Device
    ) -> Account:
        """The account that an answer stands for, linked or made if need be; commits.

        Raises 400 `oauth_state`, 401 `oauth_failed`, 403 `oauth_denied`, 409, 429, 503.
        """
        limits = self._limits(device)
        await self._throttle.attempt(self._context.database, limits) if limits else None
        client = self._client(flow.provider)
        await self._identities.claim(flow)
        await client.judge_issuer(issuer)
        if error is not None or not code:
            raise _denied() if error == "access_denied" else login_failed()
        profile = await client.profile(flow, code, self._redirect_uri(flow.provider))
        account = await self._account(flow, client, profile, device)
        await self._throttle.forgive(self._context.database, limits)
        return account

    async def code_for(self, flow: Flow, account: Account) -> str:
        """What the page exchanges for tokens."""
        epoch = self._authenticator.epoch_of(account)
        return await self._identities.code_for(flow, account[self._facts.key], epoch)

    async def exchange(self, flow: Flow, code: str, device: Device) -> dict[str, Any]:
        """The tokens for a code, as a login gives them; raises 400 `oauth_state`, and what conditions raise."""
        key, epoch = await self._identities.redeem(flow, code)
        account = await self._found(key)
        if account is None or not self._authenticator.same_epoch(account, epoch):
            raise login_failed()
        return await self.open(account, device)

    async def open(self, account: Account, device: Device) -> dict[str, Any]:
        """Log in."""
        return await self._logins.open(account, {}, device)

    def _client(self, name: str) -> ProviderClient:
        client = self._clients.get(name)
        if client is None:
            raise not_found()
        return client

    def _redirect_uri(self, name: str) -> str:
        return f"{self._domain()}{self._prefix}/oauth/{name}/callback"

    def _limits(self, device: Device) -> list[Limit]:
        if device.address is None:
            return []
        rule = self._lockout
        return [Limit("oauth address", origin(device.address), rule.address_failures, rule.address_window)]

    # ---- whose login it is ---------------------------------------------------------------------------------

    async def _account(
        self, flow: Flow, client: ProviderClient, profile: OAuthProfile, device: Device
    ) -> Account:
        email = email_of(profile, trusted=client.provider.trusts_email)
        for attempt in range(_TRIES):
            steps = partial(self._resolve, flow, profile, email, device, attempt)
            try:
                account, events = await self._context.database.run_transaction(steps)
            except ConstraintViolated as error:  # a name is taken, or another request has made the same row
                if attempt == _TRIES - 1:
                    resource = resource_of(self._facts.model)
                    raise violation_problem(resource, error.violation, deleting=False) from None
                continue
            for event in events:
                await self._events.announce(event)
            return self._usable(account)
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    async def _resolve(
        self,
        flow: Flow,
        profile: OAuthProfile,
        email: str | None,
        device: Device,
        attempt: int,
        work: UnitOfWork,
    ) -> tuple[Account, Sequence[AuthEvent]]:
        """The account, in one transaction: the owner of this login, the one it is added to, or a new one."""
        session = work.session()
        owner = await self._identities.owner(work, flow.provider, profile.subject)
        wanted = self._facts.key_adapter.validate_strings(flow.user) if flow.user is not None else None
        if owner is not None:
            if wanted not in (None, owner):
                raise Problem(409, "identity_taken", "This login belongs to another account already")
            return await self._row(work, owner), []
        user = await self._row_object(session, flow, wanted, email)
        events: list[tuple[str, Mapping[str, Any]]] = []
        if user is None:
            user = newcomer(self._facts, profile, email, self.config.new_user, attempt)
            session.add(user)
            await work.flush()
            await session.refresh(user)
            events.append(("user.registered", {"method": flow.provider}))
        account = self._facts.account_of(user)
        key = account[self._facts.key]
        await self._identities.add(work, key, flow.provider, profile.subject, email)
        events.append(("identity.linked", {"provider": flow.provider}))
        told = [self._event(name, key, device, **detail) for name, detail in events]
        for event in told:
            await self._events.write(event, work)
        return account, told

    async def _row_object(self, session: Any, flow: Flow, wanted: Any, email: str | None) -> Any:
        """The row that a login is added to; None: a new one. Raises 409 where it may be somebody else's."""
        facts = self._facts
        if wanted is not None:
            user = await session.get(facts.model, wanted)
            # Whoever had the password before adds nothing after it has changed.
            if user is None or not self._authenticator.same_epoch(facts.account_of(user), flow.epoch):
                raise login_failed()
            return user
        if "email" not in facts.columns:
            return None
        if email is None:
            if facts.columns["email"].nullable:
                return None
            # Alike whether or not such an account exists: nobody has proven to be the one who may know.
            raise Problem(409, "email_unproven", _UNPROVEN)
        user = await session.scalar(select(facts.model).where(facts.columns["email"] == email))
        if user is not None and not is_verified(facts, user):
            raise Problem(409, "account_exists", _EXISTS)
        return user

    async def _row(self, work: UnitOfWork, key: Any) -> Account:
        query = self._context.database.shaped((self._facts, "by key"), self._facts.select_by_key)
        return self._facts.account(query.decode(await work.run(query, {"key": key}))[0])

    async def _found(self, key: Any) -> Account | None:
        query = self._context.database.shaped((self._facts, "by key"), self._facts.select_by_key)
        async with self._context.database.transaction(writes=False) as work:
            rows = query.decode(await work.run_alone(query, {"key": key}))
        return self._usable(self._facts.account(rows[0])) if rows else None

    def _usable(self, account: Account) -> Account:
        """Raises 401 for a disabled account, as a password's login does."""
        if not self._facts.may_prove(account):
            raise invalid_credentials()
        return account

    # ---- the owner's list ----------------------------------------------------------------------------------

    async def list(self, user: Any) -> Sequence[Identity]:
        """The logins by other services that an account has."""
        async with self._context.database.transaction(writes=False) as work:
            return await self._identities.list(work, user)

    async def remove(self, user: Any, id: str, device: Device) -> None:
        """Take one away; commits. Raises 404, and 409 `last_login` for the only way into the account."""

        async def steps(work: UnitOfWork) -> AuthEvent:
            account = await self._context.locked(
                work, user
            )  # of two who take the last two away, one sees the other
            found = {item.id: item for item in await self._identities.list(work, user)}
            if account is None or id not in found:
                raise not_found()
            await self._identities.remove(work, user, id)
            await self._further.keep_one(work, account)
            event = self._event("identity.unlinked", user, device, provider=found[id].provider)
            await self._events.write(event, work)
            return event

        await self._events.announce(await self._context.database.run_transaction(steps))

    async def opens(self, work: UnitOfWork, user: Any) -> bool:
        """Whether an account has such a login, of a provider that is still asked."""
        providers = {item.name for item in self.config.providers}
        return any(item.provider in providers for item in await self._identities.list(work, user))

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take all logins by other services of an account away."""
        await self._identities.forget(work, user)

    def _event(self, name: str, user: Any, device: Device, **detail: Any) -> AuthEvent:
        return AuthEvent(
            name=name, user_id=str(user), address=device.address, agent=device.agent, detail=detail
        )


_EXISTS = "An account with this email address exists; log in to it, and add this login there"
_UNPROVEN = "The other service does not say that the email address is yours, and an account needs one"


def _denied() -> Problem:
    return Problem(403, "oauth_denied", "The login at the other service was refused there")
