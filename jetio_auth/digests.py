"""Secrets that are stored to be compared alone, and keys that are made of the one that signs tokens."""

from __future__ import annotations

import hashlib

__all__ = ["derived", "digest"]


def digest(secret: str) -> str:
    """What is stored of a long random secret: its SHA-256. Passwords need more, and have it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def derived(purpose: str, key: str) -> bytes:
    """A key for this purpose, which tells nothing of the key that it is made of."""
    return hashlib.sha256(f"{purpose}\0{key}".encode()).digest()
