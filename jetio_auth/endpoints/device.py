"""POST, GET, PATCH and DELETE /cli-login: a program asks, a person decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jetio import (
    Endpoint,
    FieldError,
    Header,
    JsonResponse,
    Operation,
    Principal,
    Problem,
    Query,
    Request,
    ValidationError,
)

from ..domain import own_address
from ..grants.device import INTERVAL, LASTS, Rejected
from .device_page import page_route
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["device_routes"]

_ALLOW = "DELETE, GET, OPTIONS, PATCH"


class CliLoginCreated(BaseModel):
    """`code` and `approve_url` are for the person, `secret` is for the program alone."""

    code: str
    secret: str = Field(description="Goes into X-CLI-Secret; it is told once")
    approve_url: str
    expires_in: int = Field(description="Seconds")
    interval: int = Field(description="Seconds between two questions")


class CliLoginStatus(BaseModel):
    """The tokens are there once, with `approved`."""

    status: Literal["pending", "approved", "rejected"]
    token: str | None = None
    expires_in: int | None = Field(default=None, description="Seconds")
    refresh_token: str | None = Field(default=None, description="Good for one use at /refresh")
    refresh_expires_in: int | None = Field(default=None, description="Seconds")


class CliLoginApproval(BaseModel):
    """How a program is let in."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    log_out: bool = Field(default=False, description="End your own login when the program has its tokens")


class CliLoginApproved(BaseModel):
    """What was decided."""

    status: Literal["approved"]


def device_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoints of the program, of the person, and the page that opens for the latter."""
    devices = auth.devices
    domain = own_address(None)

    def page_of(request: Request) -> str:
        """Where a person approves: at the configured address; without one, where the program has found us."""
        here = str(request.url).partition("?")[0] if domain is None else f"{domain}{auth.places['device']}"
        return f"{here}/approve"

    async def begin_cli_login(request: Request) -> JsonResponse:
        """Ask for a login that somebody approves in a browser."""
        challenge = await devices.begin(device_of(request))
        content = {
            "code": challenge.code,
            "secret": challenge.secret,
            "approve_url": f"{page_of(request)}?code={challenge.code}",
            "expires_in": LASTS,
            "interval": INTERVAL,
        }
        return JsonResponse(content, status_code=201, headers=NO_STORE)

    async def collect_cli_login(
        code: str,
        request: Request,
        x_cli_secret: Annotated[str | None, Header(max_length=100)] = None,
        secret: Annotated[str | None, Query(max_length=100)] = None,
    ) -> JsonResponse:
        """Ask whether it was approved, and get the tokens once.

        The secret goes into the header X-CLI-Secret; `?secret=` is for clients that cannot set one.
        """
        if request.method == "HEAD":  # the tokens would be used up, and nobody would get them
            raise Problem(405, "method_not_allowed", "Ask with GET", headers={"Allow": _ALLOW})
        given = x_cli_secret or secret
        if given is None:
            raise ValidationError([FieldError("missing", "This is required", header="X-CLI-Secret")])
        try:
            pair = await devices.collect(code, given, device_of(request))
        except Rejected:
            return JsonResponse({"status": "rejected", "token": None}, headers=NO_STORE)
        return JsonResponse(_shown(pair), headers=NO_STORE)

    async def approve_cli_login(
        code: str, request: Request, principal: Principal, body: CliLoginApproval | None = None
    ) -> JsonResponse:
        """Let the program that shows this code log in as you."""
        last = body is not None and body.log_out
        await devices.approve(code, principal, device_of(request), last=last)
        return JsonResponse({"status": "approved"}, headers=NO_STORE)

    async def reject_cli_login(code: str, request: Request, principal: Principal) -> None:
        """Refuse the program that shows this code."""
        await devices.reject(code, principal, device_of(request))

    def operation(method: str, handler: Any, *problems: int, **options: Any) -> Operation:
        return Operation(method, handler, tags=["auth"], problems=problems, **options)

    decided = (404, 409, 410, 429)
    yield (
        "/cli-login",
        operation("POST", begin_cli_login, 429, status_code=201, response_model=CliLoginCreated),
    )
    yield "/cli-login/approve", page_route(auth)
    yield (
        "/cli-login/{code}",
        operation("GET", collect_cli_login, 404, 410, 429, response_model=CliLoginStatus),
    )
    # An old login must not become a new one: what it approves is as fresh as itself.
    yield "/cli-login/{code}", operation(
        "PATCH", approve_cli_login, *decided, response_model=CliLoginApproved,
        policy=auth.own_account() & auth.fresh(),
    )  # fmt: skip
    yield "/cli-login/{code}", operation("DELETE", reject_cli_login, *decided, policy=auth.own_account())


def _shown(pair: dict[str, Any] | None) -> dict[str, Any]:
    if pair is None:
        return {"status": "pending", "token": None}
    given = {name: value for name, value in pair.items() if name not in ("access_token", "token_type")}
    return {"status": "approved", "token": pair["access_token"], **given}
