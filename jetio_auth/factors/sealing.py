"""Secrets that have to be read again: encrypted at rest, each for its owner alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Seal"]

_NONCE = 12


class Seal:
    """AES-256-GCM. `keys()` gives keys of 32 bytes: the first encrypts, all decrypt.

    A sealed text is bound to its owner: moved into another row it cannot be opened.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def close(self, text: str, owner: object) -> str:
        """The text as it may be stored."""
        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._keys()[0]).encrypt(nonce, text.encode(), _bound(owner))
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, owner: object) -> str | None:
        """The text again; None where no key of today has sealed it for this owner."""
        raw = base64.b64decode(sealed)
        for key in self._keys():
            try:
                return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], _bound(owner)).decode()
            except InvalidTag:
                continue
        return None


def _bound(owner: object) -> bytes:
    return str(owner).encode()
