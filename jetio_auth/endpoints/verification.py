"""POST /resend-verification, GET and POST /activate/{token}: an address is confirmed by a link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jetio import Endpoint, HTMLResponse, JsonResponse, Operation, Problem, Request

from .asks import Message, ask_operation
from .forms import PageOperation, is_form
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["verification_routes"]

_DONE = "Your email address is confirmed"


def verification_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoints that confirm addresses."""
    mailing = auth.required_mailing()
    pages, addresses = mailing.pages, mailing.addresses
    assert addresses is not None  # noqa: S101 - the feature brings it

    async def page(token: str) -> HTMLResponse:
        """A page with a button: programs that open links in mails confirm nothing."""
        try:
            await addresses.find(token)
        except Problem as problem:
            return pages.refused(problem)
        return pages.form(
            "Confirm your address", "One more step: confirm that this address is yours.", "Confirm"
        )

    async def activate(token: str, request: Request) -> HTMLResponse | JsonResponse:
        """Confirm the address that the link was sent to."""
        try:
            await addresses.confirm(token, device_of(request))
        except Problem as problem:
            if not is_form(request):
                raise
            return pages.refused(problem)
        if is_form(request):
            return pages.done(_DONE, "You can close this page.")
        return JsonResponse({"message": _DONE}, headers=NO_STORE)

    yield "/resend-verification", ask_operation(
        auth, "verify_email", "resend_verification", "Ask for another link that confirms the address"
    )  # fmt: skip
    yield "/activate/{token}", PageOperation(page, "activate_page")
    yield (
        "/activate/{token}",
        Operation("POST", activate, response_model=Message, tags=["auth"], problems=[404, 410]),
    )
