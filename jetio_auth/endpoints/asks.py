"""POST of a name that a mail is asked for: one answer for every name, before anybody looks who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from jetio import BackgroundTasks, FieldError, JsonResponse, Operation, Request, ValidationError

from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["Message", "ask_operation"]

_TOLD = "If there is such an account, a mail is on its way to its address"


class Message(BaseModel):
    """What was done, in words."""

    message: str


class Ask(BaseModel):
    """Whose mail: `identity`, any login name, or `email`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    identity: str | None = Field(default=None, max_length=320, description="The username, or the email")
    email: str | None = Field(default=None, max_length=320)


def ask_operation(auth: AuthRouter, purpose: str, name: str, summary: str) -> Operation:
    """An endpoint that answers at once; the account is looked up, and the mail sent, after the answer."""

    letters = auth.required_mailing().letters

    async def ask(request: Request, body: Ask, later: BackgroundTasks) -> JsonResponse:
        identity, field = _identity(body)
        await auth.accounts.admit_mail(identity, address=device_of(request).address)
        later.add_task(letters.asked, purpose, identity, field)
        return JsonResponse({"message": _TOLD}, headers={"Cache-Control": "no-store"})

    return Operation(
        "POST", ask, response_model=Message, tags=["auth"], problems=[429], name=name, summary=summary,
        description="The answer is the same whether there is such an account.",
    )  # fmt: skip


def _identity(body: Ask) -> tuple[str, str | None]:
    """The name, and the only field that it may be in; None: any."""
    if body.identity is not None and body.email is None:
        return body.identity, None
    if body.email is not None and body.identity is None:
        return body.email, "email"
    pointers = ("/identity",) if body.identity is None else ("/identity", "/email")
    message = "Give either identity or email"
    raise ValidationError([FieldError("missing", message, pointer=pointer) for pointer in pointers])
