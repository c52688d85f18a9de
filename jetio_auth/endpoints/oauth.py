"""/oauth/...: to a provider and back, the exchange of the code, and the owner's list of logins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse

from jetio import Endpoint, FieldError, JsonResponse, Operation, Principal, Problem, Request, ValidationError

from .moments import moment
from .tokens import NO_STORE, TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..oauth.flow import Flow
    from ..oauth.logins import OAuthLogins
    from ..router import AuthRouter

__all__ = ["oauth_routes"]

_HEADERS = {**NO_STORE, "Referrer-Policy": "no-referrer"}


class OAuthCode(BaseModel):
    """The code that stands behind the `#` of the page's address."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    code: str = Field(repr=False, max_length=100)


class AuthorizeRead(BaseModel):
    """Where to send the browser."""

    authorize_url: str


class IdentityRead(BaseModel):
    """A login by another service."""

    id: str
    provider: str
    email: str | None = Field(description="As the service knew it when it was added")
    created_at: dt.datetime


def oauth_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """Logging in, and the list of an account's logins."""
    oauth, tokens = auth.oauth, TokenAnswers(auth.authenticator)

    async def oauth_authorize(provider: str, next: str | None = None) -> RedirectResponse:
        """Send the browser to the provider, and from there back to `next`."""
        flow, url = await oauth.begin(provider, _checked(oauth, next))
        return _sent(oauth, flow, RedirectResponse(url, 303, headers=_HEADERS))

    async def oauth_callback(
        provider: str,
        request: Request,
        code: str | None = None,
        state: str | None = None,
        error: str | None = None,
        iss: str | None = None,
    ) -> RedirectResponse:
        """Take the answer of the provider, and send the browser on.

        With tokens in cookies it is logged in then; otherwise the page there exchanges the `#code=...` it finds.
        """
        flow, device = oauth.flows.returned(request, provider, state), device_of(request, "oauth")
        account = await oauth.returned(flow, code, error, iss, device)
        if flow.user is not None:
            return _done(oauth, flow)
        if auth.authenticator.cookies is not None:
            try:
                pair = await oauth.open(account, device)
            except Problem as problem:
                if problem.status >= 500:
                    raise
            else:
                response = _done(oauth, flow)
                tokens.write(request, response, pair)
                return response
        own = await oauth.code_for(flow, account)
        return RedirectResponse(f"{flow.path}#code={own}", 303, headers=_HEADERS)

    async def oauth_token(request: Request, body: OAuthCode) -> JsonResponse:
        """Exchange the code for tokens: once, within a minute, and by the browser that began."""
        tokens.refuse_other_sites(request)
        flow = oauth.flows.read(request)
        response = tokens.answer(request, await oauth.exchange(flow, body.code, device_of(request, "oauth")))
        oauth.flows.clear(response)
        return response

    async def oauth_link(provider: str, principal: Principal, next: str | None = None) -> JsonResponse:
        """Begin to add a login by another service to this account."""
        flow, url = await oauth.begin(provider, _checked(oauth, next), principal)
        response = JsonResponse({"authorize_url": url}, headers=_HEADERS)
        oauth.flows.write(response, flow)
        return response

    async def list_identities(principal: Principal) -> list[IdentityRead]:
        """The logins by other services that this account has."""
        found = await oauth.list(principal.id)
        return [
            IdentityRead(
                id=item.id, provider=item.provider, email=item.email, created_at=moment(item.created)
            )
            for item in found
        ]

    async def remove_identity(id: str, request: Request, principal: Principal) -> None:
        """Take a login away from this account."""
        await oauth.remove(principal.id, id, device_of(request))

    own = auth.own_account()
    fresh = own & auth.fresh()
    yield (
        "/oauth/{provider}/authorize",
        Operation("GET", oauth_authorize, status_code=303, tags=["auth"], problems=[422, 503]),
    )
    yield (
        "/oauth/{provider}/callback",
        Operation(
            "GET", oauth_callback, status_code=303, tags=["auth"], problems=[400, 401, 403, 409, 429, 503]
        ),
    )
    yield (
        "/oauth/token",
        Operation(
            "POST",
            oauth_token,
            response_model=TokenPair,
            tags=["auth"],
            problems=[401, *tokens.problems, *auth.logins.problems],
        ),
    )
    yield (
        "/oauth/{provider}/link",
        Operation(
            "POST", oauth_link, response_model=AuthorizeRead, tags=["auth"], policy=fresh, problems=[503]
        ),
    )
    yield "/oauth/identities", Operation("GET", list_identities, tags=["auth"], policy=own)
    yield (
        "/oauth/identities/{id}",
        Operation("DELETE", remove_identity, tags=["auth"], policy=fresh, problems=[409]),
    )


def _checked(oauth: OAuthLogins, path: str | None) -> str | None:
    """A path of our own; raises 422 for any other place."""
    if path is not None and not oauth.config.allows(path):
        message = "This is no page to which a login leads"
        raise ValidationError([FieldError("unknown_path", message, parameter="next")])
    return path


def _sent(oauth: OAuthLogins, flow: Flow, response: RedirectResponse) -> RedirectResponse:
    oauth.flows.write(response, flow)
    return response


def _done(oauth: OAuthLogins, flow: Flow) -> RedirectResponse:
    response = RedirectResponse(flow.path, 303, headers=_HEADERS)
    oauth.flows.clear(response)
    return response
