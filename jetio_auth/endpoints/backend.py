"""POST /login, /logout, /refresh and GET /me of a backend that brings its own users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, TypeAdapter

from jetio import (
    Application,
    BodySpec,
    Endpoint,
    FieldError,
    Header,
    JsonResponse,
    Operation,
    Principal,
    Request,
    ValidationError,
)

from ..backends.protocol import REFRESH_TOKEN, chosen_in, offers
from ..transports import refused
from .forms import MEDIA, read_form
from .login import LoginBody, identity_in
from .refresh import RefreshBody
from .sessions import LoggedOut
from .tokens import NO_STORE, device_of

if TYPE_CHECKING:
    from ..backends.backed import Backed
    from ..rules import AuthRules

__all__ = ["backend_routes"]

_SECRET = ("access_token", "refresh_token")


class CallerRead(BaseModel):
    """The caller."""

    id: Any
    email: str | None
    roles: list[str]
    permissions: list[str]


class BackendLogin(Operation):
    """JSON or the OAuth2 password form, as the accounts' own login takes them."""

    def __init__(self, backed: Backed) -> None:
        self.backed = backed
        super().__init__(
            "POST", self.login, response_model=dict[str, Any], tags=["auth"],
            problems=[400, 401, 403, 413, 415, 422, 429],
        )  # fmt: skip

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.spec.body = BodySpec(MEDIA, TypeAdapter(LoginBody))

    async def login(self, request: Request) -> JsonResponse:
        """Log in.

        The answer is what the backend tells: tokens, or that the session in the cookie is logged in.
        """
        backed = self.backed
        backed.refuse_other_sites(request)
        body = await read_form(request, LoginBody)
        name, _ = identity_in(body)
        user, told = await backed.log_in(request, name, body.password, device_of(request))
        response = _answer(backed, request, told)
        chosen = chosen_in(request, backed.backend)
        if backed.proves_by_cookie(getattr(chosen, "method", "custom")):
            backed.show_csrf(response, str(user.id))
        return response


def backend_routes(
    auth: AuthRules, backed: Backed, login_path: str, session_prefix: str
) -> Iterator[tuple[str, Endpoint]]:
    """Those that the backend has methods for; paths are below the prefix of accounts."""
    policy = auth.authenticated()

    async def logout(request: Request, principal: Principal) -> JsonResponse:
        """End this session."""
        await backed.backend.logout(request)
        response = JsonResponse({"message": "Logged out successfully"}, headers=NO_STORE)
        clear = getattr(chosen_in(request, backed.backend), "clear_cookies", None)
        if clear is not None:
            clear(request, response)
        await backed.tell("logout", principal.sub, device_of(request))
        return response

    async def refresh(
        request: Request,
        body: RefreshBody | None = None,
        x_refresh_token: Annotated[str | None, Header(max_length=200)] = None,
    ) -> JsonResponse:
        """Get the next tokens; the refresh token stands in the header, in the body or in a cookie."""
        backed.refuse_other_sites(request)
        if body is not None and x_refresh_token is not None:
            raise ValidationError([FieldError("repeated", "Two tokens were given", pointer="/refresh_token")])
        if body is not None:
            request.scope[REFRESH_TOKEN] = body.refresh_token
        told = await backed.backend.refresh(request)
        if told is None:
            raise refused("There is nothing to refresh")
        await backed.tell("token.refreshed", None, device_of(request))
        return _answer(backed, request, told)

    async def me(request: Request, principal: Principal) -> JsonResponse:
        """Who is calling."""
        shown = {
            "id": principal.id,
            "email": principal.email,
            "roles": sorted(principal.roles),
            "permissions": sorted(principal.permissions),
        }
        response = JsonResponse(shown, headers={"Cache-Control": "no-store"})
        if backed.proves_by_cookie(principal.method):
            backed.show_csrf(response, principal.sub)
        return response

    if offers(backed.backend, "login"):
        yield session_prefix + login_path, BackendLogin(backed)
    if offers(backed.backend, "logout"):
        yield (
            session_prefix + "/logout",
            Operation("POST", logout, response_model=LoggedOut, tags=["auth"], policy=policy, problems=[409]),
        )
    if offers(backed.backend, "refresh"):
        yield (
            session_prefix + "/refresh",
            Operation("POST", refresh, response_model=dict[str, Any], tags=["auth"], problems=[401, 403]),
        )
    yield "/me", Operation("GET", me, response_model=CallerRead, tags=["auth"], policy=policy)


def _answer(backed: Backed, request: Request, told: Mapping[str, Any]) -> JsonResponse:
    """What a backend tells; tokens that travel in cookies alone stand in none."""
    chosen = chosen_in(request, backed.backend)
    write = getattr(chosen, "write_cookies", None)
    config = getattr(chosen, "config", None)
    hidden = _SECRET if config is not None and config.locations == {"cookie"} else ()
    shown = {name: value for name, value in told.items() if name not in hidden}
    response = JsonResponse(shown, headers=NO_STORE)
    if write is not None:
        write(request, response, told)
    return response
