"""GET /admin/auth-events: what happened to accounts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel

from jetio import Endpoint, Operation, Query, Request, refuse_unknown

from ..events import AuthEvent
from .moments import moment

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["event_routes"]


_PARAMETERS = {"page", "page_size", "name", "user_id"}


class EventRead(BaseModel):
    """One event; `actor_id` where somebody else than the account did it."""

    name: str
    at: dt.datetime
    user_id: str | None
    actor_id: str | None
    address: str | None
    agent: str | None
    detail: Mapping[str, Any]


def event_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The list, for admins."""

    async def list_events(
        request: Request,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
        name: Annotated[str | None, Query(max_length=40)] = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
    ) -> list[EventRead]:
        """What happened to accounts, the latest first."""
        refuse_unknown(request.query_params, _PARAMETERS)
        only = {key: value for key, value in (("name", name), ("user_id", user_id)) if value is not None}
        found = await auth.events.list((page - 1) * page_size, page_size, only)
        return [_shown(event) for event in found]

    yield "/auth-events", Operation("GET", list_events, tags=["admin"], policy=auth.admin_only())


def _shown(event: AuthEvent) -> EventRead:
    return EventRead(
        name=event.name,
        at=moment(event.at),
        user_id=event.user_id,
        actor_id=event.actor_id,
        address=event.address,
        agent=event.agent,
        detail=event.detail,
    )
