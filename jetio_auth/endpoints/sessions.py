"""POST /logout, GET and DELETE /sessions: the caller's own logins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, JsonResponse, Operation, Principal, Request, not_found

from ..sessions import Session
from .moments import moment
from .tokens import TokenAnswers, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["logout_routes", "session_routes"]


class LogoutBody(BaseModel):
    """`all` ends every session of the account; `refresh_token` names another session to end as well."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    refresh_token: str | None = Field(default=None, repr=False, max_length=200)
    all: bool = False


class LoggedOut(BaseModel):
    """What was done."""

    message: str


class SessionRead(BaseModel):
    """One login."""

    id: str
    created_at: dt.datetime
    last_seen_at: dt.datetime
    expires_at: dt.datetime
    address: str | None
    agent: str | None
    method: str
    current: bool


def session_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The caller's own devices."""
    policy = auth.own_account()

    async def list_sessions(principal: Principal) -> list[SessionRead]:
        """The devices on which this account is logged in, the latest first."""
        current, found = principal.claims.get("sid"), await auth.logins.list(principal.id)
        return [_shown(item, current) for item in found]

    async def end_session(id: str, request: Request, principal: Principal) -> None:
        """Log one device out."""
        if not await auth.logins.end(principal.id, id, device_of(request)):
            raise not_found()

    async def end_sessions(request: Request, principal: Principal, all: bool = False) -> None:
        """Log all other devices out; with `?all=true` this one too."""
        apart = None if all else principal.claims.get("sid")
        await auth.logins.end_others(principal.id, apart, device_of(request))

    yield "/sessions", Operation("GET", list_sessions, tags=["auth"], policy=policy)
    yield "/sessions", Operation("DELETE", end_sessions, tags=["auth"], policy=policy)
    yield "/sessions/{id}", Operation("DELETE", end_session, tags=["auth"], policy=policy)


def logout_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoint that logs out."""
    tokens = TokenAnswers(auth.authenticator)

    async def logout(request: Request, principal: Principal, body: LogoutBody | None = None) -> JsonResponse:
        """End this session at once, or all of them."""
        given = body or LogoutBody()
        await auth.logins.logout(principal, given.refresh_token, device_of(request), everywhere=given.all)
        return tokens.forget(request, {"message": "Logged out successfully"})

    policy = auth.own_account()
    yield (
        "/logout",
        Operation("POST", logout, response_model=LoggedOut, tags=["auth"], policy=policy, problems=[409]),
    )


def _shown(item: Session, current: str | None) -> SessionRead:
    return SessionRead(
        id=item.id,
        created_at=moment(item.created),
        last_seen_at=moment(item.seen),
        expires_at=moment(item.expires),
        address=item.address,
        agent=item.agent,
        method=item.method,
        current=item.id == current,
    )
