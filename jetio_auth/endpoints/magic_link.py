"""POST /magic-link and /magic-link/verify: a login by a link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from jetio import ConfigError, Endpoint, HTMLResponse, JsonResponse, Operation, Problem, Request

from ..mail.mailing import Mailing
from .asks import ask_operation
from .forms import FormOperation, PageOperation, is_form, read_form
from .tokens import TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["magic_link_routes"]


class MagicToken(BaseModel):
    """The token of a link."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    token: str = Field(repr=False, max_length=200)


def magic_link_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The endpoints of logins by a link; the page is there where a browser can keep what it gets."""
    mailing = auth.required_mailing()
    tokens, links = TokenAnswers(auth.authenticator), mailing.magic_links

    async def verify(request: Request) -> JsonResponse:
        """Log in with the token of a link, which is used up."""
        tokens.refuse_other_sites(request)
        body = await read_form(request, MagicToken)
        pair = await links.login(body.token, device_of(request, "magic_link"))
        return tokens.answer(request, pair)

    yield "/magic-link", ask_operation(auth, "magic_link", "magic_link", "Ask for a link that logs in")
    yield "/magic-link/verify", FormOperation(
        verify, MagicToken, response_model=TokenPair, name="verify_magic_link", problems=[401, 403, 429]
    )  # fmt: skip
    if "cookie" in auth.authenticator.config.locations:
        yield from _pages(mailing, tokens)
    elif "magic_link" not in mailing.letters.mail.links:
        raise ConfigError(
            "magic_link has no page for tokens in headers; write AuthRouter(mail=Mail(links={'magic_link': "
            "'https://app.example.com/login#{token}'})) with a page of yours that sends the token to "
            "/magic-link/verify, or JWTConfig(token_location=['header', 'cookie'])"
        )


def _pages(mailing: Mailing, tokens: TokenAnswers) -> Iterator[tuple[str, Endpoint]]:
    pages, links = mailing.pages, mailing.magic_links

    async def page(token: str) -> HTMLResponse:
        """A page with a button: programs that open links in mails log nobody in."""
        try:
            await links.find(token)
        except Problem as problem:
            return pages.refused(problem)
        return pages.form("Log in", "Only go on if you have asked for this link yourself.", "Log in")

    async def enter(token: str, request: Request) -> HTMLResponse | JsonResponse:
        """Log this browser in."""
        try:
            tokens.refuse_other_sites(request)
            pair = await links.login(token, device_of(request, "magic_link"))
        except Problem as problem:
            if not is_form(request):
                raise
            return pages.refused(problem)
        answer = tokens.answer(request, pair)
        return (
            pages.done("You are logged in", "You can close this page.", answer)
            if is_form(request)
            else answer
        )

    yield "/magic-link/verify/{token}", PageOperation(page, "magic_link_page")
    yield "/magic-link/verify/{token}", Operation(
        "POST", enter, response_model=TokenPair, tags=["auth"], name="enter_by_link", problems=[401, 403, 429]
    )  # fmt: skip
