"""POST /forgot-password, GET and POST /reset-password: a new password by a link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from jetio import BackgroundTasks, Endpoint, HTMLResponse, Problem, Request, Response

from .asks import ask_operation
from .forms import JSON, FormOperation, PageOperation, is_form, read_form
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["reset_routes"]

_SECRET: dict[str, Any] = {"format": "password"}


class NewPassword(BaseModel):
    """The password that shall be."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    new_password: str = Field(repr=False, json_schema_extra=_SECRET)


class ResetPassword(NewPassword):
    """The token of a link, and the password that shall be."""

    token: str = Field(repr=False, max_length=200)


def reset_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoints that reset passwords."""
    mailing = auth.required_mailing()
    pages, resets = mailing.pages, mailing.resets
    policy = auth.accounts.policy

    def form(error: str | None = None, status: int = 200) -> HTMLResponse:
        return pages.form(
            "Choose a new password",
            None,
            "Set the password",
            password=policy.told,
            error=error,
            status=status,
        )

    async def page(token: str) -> HTMLResponse:
        """A page that asks for the new password."""
        try:
            await resets.find(token)
        except Problem as problem:
            return pages.refused(problem)
        return form()

    async def reset(token: str, new: str, request: Request, later: BackgroundTasks) -> None:
        account = await resets.reset(token, new, device_of(request))
        later.add_task(resets.tell, account)

    async def reset_password(request: Request, later: BackgroundTasks) -> Response:
        """Set a new password with the token of a link.

        The link is used up, all sessions of the account end, and its failed logins are forgotten.
        """
        body = await read_form(request, ResetPassword)
        await reset(body.token, body.new_password, request, later)
        return Response(status_code=204, headers=NO_STORE)

    async def reset_by_link(token: str, request: Request, later: BackgroundTasks) -> Response:
        """Set a new password at the address that the link leads to."""
        try:
            body = await read_form(request, NewPassword)
            await reset(token, body.new_password, request, later)
        except Problem as problem:
            if not is_form(request):
                raise
            return form(_told(problem), 422) if problem.status == 422 else pages.refused(problem)
        if is_form(request):
            return pages.done(
                "Your password is changed", "You can log in with it now. Everybody else was logged out."
            )
        return Response(status_code=204, headers=NO_STORE)

    yield "/forgot-password", ask_operation(
        auth, "reset_password", "forgot_password", "Ask for a link that resets the password"
    )  # fmt: skip
    yield "/reset-password", FormOperation(
        reset_password, ResetPassword, status_code=204, response_model=None, problems=[404, 409, 410]
    )  # fmt: skip
    yield "/reset-password/{token}", PageOperation(page, "reset_password_page")
    yield "/reset-password/{token}", FormOperation(
        reset_by_link, NewPassword, media=JSON, status_code=204, response_model=None, problems=[404, 409, 410]
    )  # fmt: skip


def _told(problem: Problem) -> str:
    return "; ".join(entry.message for entry in problem.errors) or problem.detail
