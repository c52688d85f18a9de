"""A security key in software, which does what it is told: also what no honest one would."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from collections.abc import Mapping
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "http://localhost:8000"
PRESENT, VERIFIED, MADE = 0x01, 0x04, 0x40


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class SoftKey:
    """One credential: an ES256 key pair, the account that it is for, a counter."""

    def __init__(self) -> None:
        self.pair = ec.generate_private_key(ec.SECP256R1())
        self.credential = secrets.token_bytes(32)
        self.handle: str | None = None
        self.counter = 0

    def make(self, options: Mapping[str, Any], **odd: Any) -> dict[str, Any]:
        """The answer to `navigator.credentials.create`."""
        self.handle = options["user"]["id"]
        client = self._client("webauthn.create", options, odd)
        attested = bytes(16) + struct.pack(">H", len(self.credential)) + self.credential + self._public()
        data = self._data(odd.get("rp_id", options["rp"]["id"]), odd, MADE) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential({"clientDataJSON": encode(client), "attestationObject": encode(attestation)})

    def answer(self, options: Mapping[str, Any], **odd: Any) -> dict[str, Any]:
        """The answer to `navigator.credentials.get`; the counter goes on unless it is given."""
        self.counter = odd.pop("counter", self.counter + 1)
        client = self._client("webauthn.get", options, odd)
        data = self._data(odd.get("rp_id", options["rpId"]), odd, 0)
        signed = data + hashlib.sha256(client).digest()
        pair = odd.get("pair", self.pair)
        return self._credential(
            {
                "clientDataJSON": encode(client),
                "authenticatorData": encode(data),
                "signature": encode(pair.sign(signed, ec.ECDSA(hashes.SHA256()))),
                "userHandle": odd.get("handle", self.handle),
            }
        )

    def _client(self, kind: str, options: Mapping[str, Any], odd: Mapping[str, Any]) -> bytes:
        told = {
            "type": odd.get("type", kind),
            "challenge": odd.get("challenge", options["challenge"]),
            "origin": odd.get("origin", ORIGIN),
            "crossOrigin": odd.get("cross", False),
        }
        return json.dumps(told).encode()

    def _data(self, rp_id: str, odd: Mapping[str, Any], further: int) -> bytes:
        flags: int = odd.get("flags", PRESENT | VERIFIED) | further
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.counter)

    def _public(self) -> bytes:
        point = self.pair.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)})

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = encode(self.credential)
        return {"id": name, "rawId": name, "type": "public-key", "response": response}
