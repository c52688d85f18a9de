"""POST /login/mfa, and /mfa/...: the second step of a login, and the caller's own authenticator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from jetio import Endpoint, FieldError, JsonResponse, Operation, Principal, Request, ValidationError

from .tokens import NO_STORE, TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["mfa_login_routes", "mfa_routes"]

_LONGEST_TOKEN = 8192


class MfaLogin(BaseModel):
    """The token of `mfa_required`, and either a code of the authenticator or a recovery code."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    mfa_token: str = Field(repr=False, max_length=_LONGEST_TOKEN)
    code: str | None = Field(default=None, repr=False, max_length=20)
    recovery_code: str | None = Field(default=None, repr=False, max_length=60)


class Code(BaseModel):
    """A code of the authenticator app."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    code: str = Field(repr=False, max_length=20)


class EnrolmentRead(BaseModel):
    """What an authenticator app has to be told; shown once."""

    secret: str
    otpauth_url: str
    qr_svg: str = Field(description="The address as a picture")


class RecoveryCodesRead(BaseModel):
    """Each good for one login; shown once."""

    recovery_codes: list[str]


class FactorState(BaseModel):
    """Whether the account has a second factor of codes."""

    enabled: bool
    recovery_codes: int = Field(description="How many are left")


def mfa_login_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The second step of a login."""
    tokens, factors = TokenAnswers(auth.authenticator), auth.required_factors()

    async def login_mfa(request: Request, body: MfaLogin) -> JsonResponse:
        """Finish a login with the second factor.

        The first step answered 401 `mfa_required` with an `mfa_token`, which is good for five minutes.
        """
        tokens.refuse_other_sites(request)
        if (body.code is None) == (body.recovery_code is None):
            message = "Give either code or recovery_code"
            raise ValidationError([FieldError("missing", message, pointer="/code")])
        pending = await factors.pending(body.mfa_token)
        device = await factors.prove(
            pending.account,
            device_of(request, pending.method),
            code=body.code,
            recovery=body.recovery_code,
        )
        pair = await auth.logins.open(pending.account, pending.claims, device)
        return tokens.answer(request, pair)

    yield f"{auth.login_path}/mfa", Operation(
        "POST", login_mfa, response_model=TokenPair, tags=["auth"],
        problems=[401, 429, *tokens.problems, *auth.logins.problems],
    )  # fmt: skip


def mfa_routes(auth: AuthRouter) -> Iterator[tuple[str, Endpoint]]:
    """The caller's authenticator and recovery codes: changes take a fresh login."""
    factors = auth.required_factors()
    policy = auth.own_account() & auth.fresh()

    async def totp_state(principal: Principal) -> FactorState:
        """Whether an authenticator is on."""
        enabled, left = await factors.state(principal.id)
        return FactorState(enabled=enabled, recovery_codes=left)

    async def begin_totp(principal: Principal) -> JsonResponse:
        """Begin with an authenticator app.

        It counts once a code of it is confirmed; until then a new call gives a new secret.
        """
        await auth.require_proved_address(principal)
        found = await factors.begin(principal)
        shown = {"secret": found.secret, "otpauth_url": found.otpauth_url, "qr_svg": found.qr_svg}
        return JsonResponse(shown, headers=NO_STORE)

    async def confirm_totp(request: Request, principal: Principal, body: Code) -> JsonResponse:
        """Switch the authenticator on with a first code.

        The answer has ten recovery codes. All other sessions end.
        """
        await auth.require_proved_address(principal)
        codes = await factors.confirm(principal, body.code, device_of(request))
        return JsonResponse({"recovery_codes": codes}, headers=NO_STORE)

    async def renew_recovery_codes(request: Request, principal: Principal) -> JsonResponse:
        """Get ten new recovery codes; all others are good no more."""
        codes = await factors.renew_codes(principal, device_of(request))
        return JsonResponse({"recovery_codes": codes}, headers=NO_STORE)

    async def remove_totp(request: Request, principal: Principal) -> None:
        """Switch the authenticator off, with its recovery codes.

        All other sessions end.
        """
        await factors.remove(principal, device_of(request))

    tags = ["auth"]
    yield "/mfa/totp", Operation("GET", totp_state, tags=tags, policy=auth.own_account())
    yield "/mfa/totp", Operation(
        "POST", begin_totp, response_model=EnrolmentRead, tags=tags, policy=policy, problems=[409]
    )  # fmt: skip
    yield "/mfa/totp", Operation("DELETE", remove_totp, tags=tags, policy=policy, problems=[404])
    yield "/mfa/totp/confirm", Operation(
        "POST", confirm_totp, response_model=RecoveryCodesRead, tags=tags, policy=policy, problems=[404, 409]
    )  # fmt: skip
    yield "/mfa/recovery-codes", Operation(
        "POST", renew_recovery_codes, response_model=RecoveryCodesRead, tags=tags, policy=policy,
        problems=[404],
    )  # fmt: skip
