"""What a browser is asked for a passkey, and whether its answer is right (WebAuthn); never what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from .passkey_settings import PasskeySettings

__all__ = ["Made", "Refused", "challenge_of", "creation", "made", "request", "used"]

_ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_MILLISECONDS = 300_000
_VERIFIED = UserVerificationRequirement.REQUIRED

Credential = Mapping[str, Any]


class Refused(Exception):
    """An answer that is not right; why is for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new passkey; `credential` and `public_key` are base64url."""

    credential: str
    public_key: str
    sign_count: int
    backed_up: bool


def creation(
    place: PasskeySettings, challenge: bytes, handle: bytes, name: str, title: str, known: Sequence[str]
) -> dict[str, Any]:
    """The options for a new passkey: one that can be found without a name, and is unlocked by its owner.

    `known` are the account's: a device that holds one of them makes no second.
    """
    options = webauthn.generate_registration_options(
        rp_id=place.rp_id,
        rp_name=place.name or title,
        user_id=handle,
        user_name=name,
        challenge=challenge,
        timeout=_MILLISECONDS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_VERIFIED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(item)) for item in known],
        supported_pub_key_algs=_ALGORITHMS,
    )
    return _document(options)


def request(place: PasskeySettings, challenge: bytes) -> dict[str, Any]:
    """The options for a login with any passkey of this domain."""
    options = webauthn.generate_authentication_options(
        rp_id=place.rp_id, challenge=challenge, timeout=_MILLISECONDS, user_verification=_VERIFIED
    )
    return _document(options)


def challenge_of(credential: Credential) -> bytes:
    """The challenge that the browser says it has answered; raises Refused."""
    try:
        told = json.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        if told.get("crossOrigin"):  # a page inside somebody else's
            raise Refused
        return base64url_to_bytes(told["challenge"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused from None


def made(place: PasskeySettings, credential: Credential, challenge: bytes) -> Made:
    """The passkey that was made; raises Refused."""
    try:
        found = webauthn.verify_registration_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=list(place.origins),
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
    except Exception:  # the package reads hostile bytes, and lets through what its parsers raise
        raise Refused from None
    return Made(
        credential=bytes_to_base64url(found.credential_id),
        public_key=bytes_to_base64url(found.credential_public_key),
        sign_count=found.sign_count,
        backed_up=found.credential_backed_up
        or found.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
    )


def used(
    place: PasskeySettings, credential: Credential, challenge: bytes, public_key: str, sign_count: int
) -> int:
    """The counter of the passkey after this use; raises Refused, also where it has not grown."""
    try:
        found = webauthn.verify_authentication_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=list(place.origins),
            credential_public_key=base64url_to_bytes(public_key),
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except Exception:  # as above
        raise Refused from None
    return found.new_sign_count


def _document(options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return found
