"""GET /pending, POST /approve and /reject: admins decide who gets in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    Application,
    BackgroundTasks,
    Endpoint,
    FieldError,
    JsonResponse,
    Operation,
    Principal,
    Query,
    Request,
    ValidationError,
)

from ..events import AuthEvent
from ..model import APPROVED, REJECTED
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["approval_routes"]


class Named(BaseModel):
    """One account, by one of its names."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    id: int | str | None = None
    email: str | None = None
    username: str | None = None

    def name(self) -> tuple[str, Any]:
        """The field and its value; raises 422 where there is not exactly one."""
        given = [(field, value) for field in _NAMES if (value := getattr(self, field)) is not None]
        if len(given) != 1:
            pointers = [f"/{field}" for field, _ in given] or ["/email"]
            message = "Give exactly one of email, id and username"
            raise ValidationError([FieldError("missing", message, pointer=pointer) for pointer in pointers])
        return given[0]


_NAMES = ("id", "email", "username")


class Rejected(Named):
    """One account, and whether it shall be gone."""

    delete: bool = Field(default=False, description="Delete the account in place of keeping it as rejected")


class ApprovalOperation(Operation):
    """Its answer is made of the model, which is complete only at build."""

    def __init__(self, auth: AuthRouter, method: str, handler: Any, *problems: int) -> None:
        self.auth = auth
        policy = auth.own_account() & auth.admin_only()
        super().__init__(method, handler, tags=["auth"], policy=policy, problems=problems)

    def build(self, app: Application, path: str) -> None:
        model = self.auth.accounts.facts.model
        user: Any = self.auth.approval.shown
        if self.method == "GET":
            self.response_model = list[user]
        else:
            self.response_model = create_model(
                f"{model.__name__}Decided", message=(str, ...), user=(user, ...)
            )
        super().build(app, path)


def approval_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoints, for admins who have logged in themselves."""

    async def list_pending(
        session: AsyncSession,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> JsonResponse:
        """The accounts that wait for approval."""
        found = await auth.approval.pending(session, (page - 1) * page_size, page_size)
        return JsonResponse(list(found), headers=NO_STORE)

    async def approve(
        body: Named, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Let an account in that waits."""
        return await decide(body, APPROVED, request, principal, session, later)

    async def reject(
        body: Rejected, request: Request, principal: Principal, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Keep an account out that waits, or delete it."""
        return await decide(body, None if body.delete else REJECTED, request, principal, session, later)

    async def decide(
        body: Named,
        state: str | None,
        request: Request,
        principal: Principal,
        session: AsyncSession,
        later: BackgroundTasks,
    ) -> JsonResponse:
        field, value = body.name()
        key, document = await auth.approval.decide(session, field, value, state)
        name = "user.approved" if state == APPROVED else "user.rejected"
        device = device_of(request)
        event = AuthEvent(
            name=name, user_id=key, actor_id=str(principal.id), address=device.address, agent=device.agent,
            detail={"deleted": True} if state is None else {},
        )  # fmt: skip
        await auth.events.write(event, session)
        later.add_task(auth.events.announce, event)
        message = "User approved" if state == APPROVED else "User rejected"
        return JsonResponse({"message": message, "user": document}, headers=NO_STORE)

    yield "/pending", ApprovalOperation(auth, "GET", list_pending)
    yield "/approve", ApprovalOperation(auth, "POST", approve, 404, 409)
    yield "/reject", ApprovalOperation(auth, "POST", reject, 404, 409)
