"""/passkeys/...: making passkeys, logging in with one, and the list of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jetio import Endpoint, JsonResponse, Operation, Principal, Request

from .moments import moment
from .tokens import NO_STORE, TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..factors.passkeys import Passkey
    from ..router import AuthRouter

__all__ = ["passkey_routes"]

_Id = Annotated[str, Field(max_length=1400)]  # a credential has at most 1023 bytes
_Bytes = Annotated[str, Field(max_length=32_768)]


class _Browser(BaseModel):
    """What browsers send may have more in it than is needed."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class Attestation(_Browser):
    """AuthenticatorAttestationResponseJSON of WebAuthn."""

    clientDataJSON: _Bytes
    attestationObject: _Bytes


class Assertion(_Browser):
    """AuthenticatorAssertionResponseJSON of WebAuthn."""

    clientDataJSON: _Bytes
    authenticatorData: _Bytes
    signature: _Bytes
    userHandle: Annotated[str, Field(max_length=100)] | None = None


class NewCredential(_Browser):
    """RegistrationResponseJSON of WebAuthn: `credential.toJSON()` in a browser."""

    id: _Id
    rawId: _Id
    type: Literal["public-key"]
    response: Attestation


class UsedCredential(_Browser):
    """AuthenticationResponseJSON of WebAuthn: `credential.toJSON()` in a browser."""

    id: _Id
    rawId: _Id
    type: Literal["public-key"]
    response: Assertion


class NewPasskey(BaseModel):
    """What the browser has made, and a name for the list."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    credential: NewCredential
    name: Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True)] = "Passkey"


class PasskeyLogin(BaseModel):
    """What the browser has answered."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    credential: UsedCredential


class PasskeyRead(BaseModel):
    """One passkey."""

    id: str
    name: str
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    backed_up: bool = Field(description="Whether it is kept in several places, such as a cloud")


def passkey_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """Registration and login, each in two steps; the caller's own list."""
    tokens, passkeys = TokenAnswers(auth.authenticator), auth.required_passkeys()
    own = auth.own_account()
    policy = own & auth.fresh()

    async def begin_passkey(principal: Principal) -> JsonResponse:
        """Get the options for a new passkey.

        For `PublicKeyCredential.parseCreationOptionsFromJSON` and `navigator.credentials.create`.
        """
        await auth.require_proved_address(principal)
        return JsonResponse(await passkeys.begin(principal), headers=NO_STORE)

    async def add_passkey(request: Request, principal: Principal, body: NewPasskey) -> PasskeyRead:
        """Keep a new passkey, as the browser has made it."""
        await auth.require_proved_address(principal)
        made = body.credential.model_dump()
        return _shown(await passkeys.add(principal, made, body.name, device_of(request)))

    async def begin_passkey_login(request: Request) -> JsonResponse:
        """Get the options for a login with a passkey.

        For `PublicKeyCredential.parseRequestOptionsFromJSON` and `navigator.credentials.get`. They name no account.
        """
        return JsonResponse(await passkeys.ask(device_of(request)), headers=NO_STORE)

    async def login_with_passkey(request: Request, body: PasskeyLogin) -> JsonResponse:
        """Log in with a passkey, as the browser has answered."""
        tokens.refuse_other_sites(request)
        device = device_of(request, "passkey")
        account = await passkeys.authenticate(body.credential.model_dump(), device)
        return tokens.answer(request, await auth.logins.open(account, {}, device))

    async def list_passkeys(principal: Principal) -> list[PasskeyRead]:
        """The passkeys of this account."""
        return [_shown(item) for item in await passkeys.list(principal.id)]

    async def remove_passkey(id: str, request: Request, principal: Principal) -> None:
        """Remove a passkey.

        All other sessions end. The only way into an account stays.
        """
        await passkeys.remove(principal, id, device_of(request))

    tags = ["auth"]
    options: Any = dict[str, Any]
    yield "/passkeys/register/options", Operation(
        "POST", begin_passkey, response_model=options, tags=tags, policy=policy, problems=[409, 429]
    )  # fmt: skip
    yield "/passkeys/register/verify", Operation(
        "POST", add_passkey, status_code=201, tags=tags, policy=policy, problems=[409]
    )  # fmt: skip
    yield "/passkeys/login/options", Operation(
        "POST", begin_passkey_login, response_model=options, tags=tags, problems=[429]
    )  # fmt: skip
    yield "/passkeys/login/verify", Operation(
        "POST", login_with_passkey, response_model=TokenPair, tags=tags,
        problems=[401, 429, *tokens.problems, *auth.logins.problems],
    )  # fmt: skip
    yield "/passkeys", Operation("GET", list_passkeys, tags=tags, policy=own)
    yield "/passkeys/{id}", Operation("DELETE", remove_passkey, tags=tags, policy=policy, problems=[409])


def _shown(item: Passkey) -> PasskeyRead:
    return PasskeyRead(
        id=item.id,
        name=item.name,
        created_at=moment(item.created),
        last_used_at=None if item.used is None else moment(item.used),
        backed_up=item.backed_up,
    )
