"""/admin/users/{id}/...: disable, enable, unlock, revoke-sessions, reset-factors, roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    Application,
    BackgroundTasks,
    Endpoint,
    JsonResponse,
    Operation,
    Principal,
    Request,
    document_of,
    read_schema,
    resource_of,
)

from ..events import AuthEvent
from ..model import has_state
from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["user_admin_routes"]

Role = Annotated[str, Field(pattern=r"^[\w.:-]+$", max_length=40)]


class Roles(BaseModel):
    """All roles that the account shall have; `admin` makes it an admin."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    roles: Annotated[list[Role], Field(max_length=50)]


class _UserOperation(Operation):
    """Its answer is made of the model, which is complete only at build."""

    def __init__(
        self, auth: AuthRouter, method: str, handler: Any, *problems: int, fresh: bool = False
    ) -> None:
        self.auth = auth
        policy = auth.own_account() & auth.admin_only()
        if fresh:
            policy &= auth.fresh()
        super().__init__(method, handler, tags=["admin"], policy=policy, problems=problems)

    def build(self, app: Application, path: str) -> None:
        self.response_model = read_schema(resource_of(self.auth.accounts.facts.model))
        super().build(app, path)


def user_admin_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """What admins do to accounts; switching off and on where the model has a column for it."""
    work = auth.administration

    def event(name: str, user: Any, request: Request, principal: Principal, **detail: Any) -> AuthEvent:
        device, key = device_of(request), str(getattr(user, auth.accounts.facts.key))
        return AuthEvent(
            name=name, user_id=key, actor_id=str(principal.id),
            address=device.address, agent=device.agent, detail=detail,
        )  # fmt: skip

    async def told(session: AsyncSession, later: BackgroundTasks, *events: AuthEvent) -> None:
        for item in events:
            await auth.events.write(item, session)
            later.add_task(auth.events.announce, item)

    async def disable_user(
        id: str, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Let an account be used no more, and end its sessions; never the last admin's."""
        user = await work.switch(session, id, on=False)
        await told(session, later, event("user.disabled", user, request, principal))
        return JsonResponse(document_of(user))

    async def enable_user(
        id: str, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Let an account be used again."""
        user = await work.switch(session, id, on=True)
        await told(session, later, event("user.enabled", user, request, principal))
        return JsonResponse(document_of(user))

    async def revoke_sessions(
        id: str, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Log an account out everywhere."""
        user = await work.found(session, id, lock=True)
        await work.end_access(session, getattr(user, auth.accounts.facts.key))
        await told(session, later, event("session.ended", user, request, principal))
        return JsonResponse(document_of(user))

    async def set_roles(
        id: str,
        body: Roles,
        request: Request,
        principal: Principal,
        session: AsyncSession,
        later: BackgroundTasks,
    ) -> JsonResponse:
        """Give an account these roles and no others; an admin always stays."""
        user, turned = await work.set_roles(session, id, body.roles)
        events = [event("roles.changed", user, request, principal, roles=sorted(set(body.roles)))]
        if turned is not None:
            events.append(event(turned, user, request, principal))
        await told(session, later, *events)
        return JsonResponse(document_of(user))

    async def unlock_user(id: str, request: Request, principal: Principal) -> JsonResponse:
        """Forget the failed logins of an account."""
        async with auth.database.sessions() as session:
            user = await work.found(session, id)
        await work.unlock(user)  # a transaction of its own: on SQLite another one would wait for it
        await auth.events.record(event("user.unlocked", user, request, principal))
        return JsonResponse(document_of(user))

    async def reset_factors(id: str, request: Request, principal: Principal) -> JsonResponse:
        """Take the authenticator and the recovery codes away from somebody who has lost them.

        All sessions of the account end; its password stays, and its passkeys.
        """
        async with auth.database.sessions() as session:
            user = await work.found(session, id)
        key = getattr(user, auth.accounts.facts.key)
        await auth.required_factors().reset(key, event("mfa.reset", user, request, principal))
        return JsonResponse(document_of(user))

    if has_state(auth.user_model):
        yield "/users/{id}/disable", _UserOperation(auth, "POST", disable_user, 409)
        yield "/users/{id}/enable", _UserOperation(auth, "POST", enable_user)
    yield "/users/{id}/unlock", _UserOperation(auth, "POST", unlock_user)
    if "sessions" in auth.features:
        yield "/users/{id}/revoke-sessions", _UserOperation(auth, "POST", revoke_sessions)
    if "totp" in auth.features:
        yield "/users/{id}/reset-factors", _UserOperation(auth, "POST", reset_factors, fresh=True)
    yield "/users/{id}/roles", _UserOperation(auth, "PUT", set_roles, 409)
