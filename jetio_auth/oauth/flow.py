"""One login on its way to a provider and back: what ties its steps to one browser."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from jetio import Problem, Request, Response

from ..jwt import TokenCodec, TokenError

__all__ = ["SECONDS", "Flow", "Flows", "no_such_flow"]

SECONDS = 600
_TYP = "oauth"
_COOKIE = "oauth_flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the browser keeps. `secret` never leaves it and us; what the provider sees is made from it.

    `user` is the key, as text, of the account that another login is added to, as long as its password is of this
    `epoch`; None: somebody logs in.
    """

    provider: str
    path: str
    secret: str = field(repr=False)
    user: str | None = None
    epoch: str | None = None

    @property
    def id(self) -> str:
        """What is stored of it."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def no_such_flow() -> Problem:
    """400: replayed, too old, or another browser's."""
    detail = "This login was not begun in this browser, or it is over; begin again"
    return Problem(400, "oauth_state", detail)


class Flows:
    """Makes flows, and keeps them in a cookie that is signed: none of them takes a row before it comes back."""

    def __init__(
        self, codec: Callable[[], TokenCodec], key: Callable[[], bytes], secure: Callable[[], bool]
    ) -> None:
        self._codec, self._key, self._secure = codec, key, secure

    def begin(self, provider: str, path: str, user: str | None = None, epoch: str | None = None) -> Flow:
        """A new flow."""
        secret = secrets.token_urlsafe(32)
        return Flow(provider=provider, path=path, user=user, epoch=epoch, secret=secret)

    def state(self, flow: Flow) -> str:
        """What the provider hands back, so that nobody else's answer is taken for it."""
        return self._derived(flow, "state")

    def nonce(self, flow: Flow) -> str:
        """What the ID token must repeat."""
        return self._derived(flow, "nonce")

    def verifier(self, flow: Flow) -> str:
        """What only we can show for the code (RFC 7636)."""
        return self._derived(flow, "verifier")

    def challenge(self, flow: Flow) -> str:
        """Its S256 challenge."""
        return _text(hashlib.sha256(self.verifier(flow).encode()).digest())

    def _derived(self, flow: Flow, purpose: str) -> str:
        return _text(hmac.digest(self._key(), f"{purpose}\0{flow.secret}".encode(), "sha256"))

    # ---- the cookie ----------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        # A neighbouring host cannot plant a cookie of this prefix.
        return f"__Host-{_COOKIE}" if self._secure() else _COOKIE

    def write(self, response: Response, flow: Flow) -> None:
        """Keep a flow in the browser."""
        claims = {
            "sub": flow.secret,
            "provider": flow.provider,
            "path": flow.path,
            "user": flow.user,
            "epoch": flow.epoch,
        }
        value = self._codec().encode(claims, typ=_TYP, expires_in=SECONDS)
        response.set_cookie(
            self._name, value, max_age=SECONDS, path="/", secure=self._secure(), httponly=True, samesite="lax"
        )

    def clear(self, response: Response) -> None:
        """Take it away."""
        response.delete_cookie(self._name, path="/", secure=self._secure(), httponly=True, samesite="lax")

    def read(self, request: Request) -> Flow:
        """The flow of this browser; raises 400 `oauth_state`."""
        try:
            claims = self._codec().decode(request.cookies.get(self._name), typ=_TYP)
        except TokenError:
            raise no_such_flow() from None
        return Flow(
            provider=claims["provider"],
            path=claims["path"],
            secret=claims["sub"],
            user=claims["user"],
            epoch=claims["epoch"],
        )

    def returned(self, request: Request, provider: str, state: str | None) -> Flow:
        """The flow that a provider's answer belongs to; raises 400 `oauth_state`."""
        flow = self.read(request)
        same = hmac.compare_digest(self.state(flow).encode(), (state or "").encode("utf-8", "replace"))
        if not same or flow.provider != provider:
            raise no_such_flow()
        return flow


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
