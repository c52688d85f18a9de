"""One provider, asked: where to send a browser, and who it was that came back."""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Mapping
from time import time
from typing import Any
from urllib.parse import quote_plus, urlencode

from jetio import Problem

from ..fetching import FetchError, Metadata, Visit, Web, discovered
from ..jwks import KeySet
from ..jwt import TokenError, judge_dates, names_audience, open_token, read_unverified
from .flow import Flow, Flows
from .providers import OAuthProfile, OAuthProvider

__all__ = ["ProviderClient", "login_failed"]

_log = logging.getLogger("jetio.auth")

_KEPT_SECONDS = 3600
_RETRY_SECONDS = 5
_LEEWAY = 30
_LONGEST_SUBJECT = 255


class _RefusedError(Exception):
    """Why an answer of the provider is not believed; its text is for the log."""


def login_failed() -> Problem:
    """401: what the provider says proves nothing."""
    detail = "The login at the other service did not succeed; begin again"
    return Problem(401, "oauth_failed", detail, headers={"WWW-Authenticate": "Bearer"})


class ProviderClient:
    """What this application says to a provider and believes of its answers."""

    def __init__(self, provider: OAuthProvider, flows: Flows) -> None:
        self.provider, self._flows = provider, flows
        self._web = Web(provider.issuer or provider.token_url or "")
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        issuer, algorithms = provider.issuer, tuple(provider.algorithms)
        self._keys = KeySet(issuer, None, algorithms, _KEPT_SECONDS) if issuer is not None else None

    async def stop(self) -> None:
        """End what is under way."""
        if self._keys is not None:
            await self._keys.close()

    async def authorize_url(self, flow: Flow, redirect_uri: str) -> str:
        """Where the browser goes; raises 503 `provider_unavailable`."""
        provider, flows = self.provider, self._flows
        url = provider.authorize_url or (await self._known()).endpoint("authorization_endpoint")
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": flows.state(flow),
            "code_challenge": flows.challenge(flow),
            "code_challenge_method": "S256",
        }
        if provider.issuer is not None:
            asked["nonce"] = flows.nonce(flow)
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"

    async def judge_issuer(self, given: str | None) -> None:
        """Raises 401 where the answer names another issuer, or none although it always does (RFC 9207)."""
        if self.provider.issuer is None:
            return
        told = (await self._known()).told
        needed = told.get("authorization_response_iss_parameter_supported") is True
        if (given is not None or needed) and given != self.provider.issuer:
            raise self._refused("the answer is of another issuer")

    async def profile(self, flow: Flow, code: str, redirect_uri: str) -> OAuthProfile:
        """Who has logged in; raises 401 `oauth_failed`, 503 `provider_unavailable`."""
        try:
            if self.provider.issuer is not None:
                return await self._profile_of_issuer(flow, code, redirect_uri)
            return await self._profile_asked_for(flow, code, redirect_uri)
        except (_RefusedError, TokenError) as error:
            raise self._refused(str(error)) from None
        except FetchError as error:
            if error.status is not None and 400 <= error.status < 500:
                raise self._refused(str(error)) from None
            raise self._unavailable(error) from None

    # ---- the two kinds -------------------------------------------------------------------------------------

    async def _profile_of_issuer(self, flow: Flow, code: str, redirect_uri: str) -> OAuthProfile:
        metadata = await self._known()
        async with self._web.visit() as visit:
            answer = await self._exchanged(
                visit, flow, code, redirect_uri, metadata.endpoint("token_endpoint")
            )
        claims = await self._verified(answer.get("id_token"), self._flows.nonce(flow))
        if "email" not in claims and "email" in self.provider.scopes and "userinfo_endpoint" in metadata.told:
            claims = {**await self._user_info(metadata, answer, claims["sub"]), **claims}
        return OAuthProfile(
            subject=claims["sub"],
            email=_text(claims.get("email")),
            email_verified=claims.get("email_verified") in (True, "true"),
            username=_text(claims.get("preferred_username")),
            claims=claims,
        )

    async def _user_info(
        self, metadata: Metadata, answer: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        """What else the provider says (OpenID Connect Core, 5.3.2): of nobody but the subject of the ID token."""
        async with self._web.visit() as visit:
            found = await visit.get(metadata.endpoint("userinfo_endpoint"), token=_access_token(answer))
        if not isinstance(found, dict) or found.get("sub") != subject:
            raise _RefusedError("the user info is of somebody else")
        return found

    async def _profile_asked_for(self, flow: Flow, code: str, redirect_uri: str) -> OAuthProfile:
        read, url = self.provider.read_profile, self.provider.token_url
        assert read is not None and url is not None  # noqa: S101, PT018 - OAuthProvider sees to it
        async with self._web.visit() as visit:
            token = _access_token(await self._exchanged(visit, flow, code, redirect_uri, url))
        try:
            async with self._web.visit() as visit:
                found = await read(lambda address: visit.get(address, token=token))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _RefusedError(f"the profile cannot be read: {type(error).__name__}") from None
        if not _is_subject(found.subject):
            raise _RefusedError("the profile has no subject")
        return found

    async def _exchanged(
        self, visit: Visit, flow: Flow, code: str, redirect_uri: str, url: str
    ) -> Mapping[str, Any]:
        provider = self.provider
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": self._flows.verifier(flow),
        }
        headers = {}
        if provider.client_secret is not None and provider.client_auth == "basic":
            # RFC 6749, 2.3.1: each half is encoded as a form is, then both together.
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = provider.client_id
            if provider.client_secret is not None:
                form["client_secret"] = provider.client_secret
        answer = await visit.post(url, form, headers)
        if not isinstance(answer, dict) or "error" in answer:
            raise _RefusedError("the code is not accepted")
        return answer

    # ---- what is believed ----------------------------------------------------------------------------------

    async def _verified(self, token: Any, nonce: str) -> Mapping[str, Any]:
        """The claims of an ID token (OpenID Connect Core, 3.1.3.7); raises TokenError."""
        provider = self.provider
        assert self._keys is not None  # noqa: S101 - asked for an issuer alone
        given = read_unverified(token)
        algorithm: Any = given.header.get("alg")
        kid = given.header.get("kid")
        if algorithm not in provider.algorithms or not isinstance(kid, str | None):
            raise TokenError("the algorithm or the name of the key is none of the issuer's")
        claims = open_token(given, await self._keys.find(kid, algorithm), algorithm)
        if claims.get("iss") != provider.issuer or not names_audience(claims.get("aud"), provider.client_id):
            raise TokenError("`iss` or `aud` of the ID token is another one")
        shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if shared else provider.client_id) != provider.client_id:
            raise TokenError("the ID token is for another client")
        if not hmac.compare_digest(str(claims.get("nonce")).encode("utf-8", "replace"), nonce.encode()):
            raise TokenError("the nonce of the ID token is another one")
        if not _is_subject(claims.get("sub")):
            raise TokenError("`sub` is missing or not a text")
        judge_dates(claims, _LEEWAY)
        return claims

    async def _known(self) -> Metadata:
        """The discovery document, asked for once an hour; raises 503 `provider_unavailable`."""
        if self._metadata is None or time() - self._read_at > _KEPT_SECONDS:
            assert self.provider.issuer is not None  # noqa: S101 - asked for an issuer alone
            try:
                async with self._web.visit() as visit:
                    found = await discovered(visit, self.provider.issuer)
                for name in ("authorization_endpoint", "token_endpoint"):
                    found.endpoint(name)
            except FetchError as error:
                raise self._unavailable(error) from None
            self._metadata, self._read_at = found, time()
        return self._metadata

    def _refused(self, reason: str) -> Problem:
        _log.warning("a login by %s was refused: %s", self.provider.name, reason)
        return login_failed()

    def _unavailable(self, error: FetchError) -> Problem:
        _log.warning("%s cannot be asked who logs in: %s", self.provider.name, error)
        return Problem(
            503,
            "provider_unavailable",
            "The service to log in by cannot be reached at the moment",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        )


def _access_token(answer: Mapping[str, Any]) -> str:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii():
        raise _RefusedError("there is no access token")
    return token


def _is_subject(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_SUBJECT and value.isprintable()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
