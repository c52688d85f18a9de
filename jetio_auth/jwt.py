"""JSON Web Tokens: signs claims and reads them back, or says why not."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from time import time
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jose import JOSEError, jwk, jws
from jose.utils import base64url_decode, base64url_encode

from jetio import ConfigError

__all__ = [
    "ALGORITHMS",
    "PUBLIC_ALGORITHMS",
    "READABLE_ALGORITHMS",
    "RESERVED_CLAIMS",
    "SigningKey",
    "TokenCodec",
    "TokenError",
    "Unverified",
    "check_key",
    "judge_dates",
    "names_audience",
    "open_token",
    "read_unverified",
    "verifying_key",
]

_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = frozenset({"RS256", "RS384", "RS512"})
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_BITS = 2048
_JWK_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_CURVE_OF = {name: ("EC", curve) for name, curve in _JWK_CURVES.items()} | dict.fromkeys(
    ("EdDSA", "Ed25519"), ("OKP", "Ed25519")
)
_JWK_MEMBERS = (
    "crv",
    "e",
    "kty",
    "n",
    "x",
    "y",
)  # all that a public key is made of, in the order of RFC 7638
_LONGEST_MEMBER = 1400  # of an RSA key with 8192 bits

ALGORITHMS = frozenset({*_SECRET_BYTES, *_RSA, *_CURVES})
PUBLIC_ALGORITHMS = frozenset({*_RSA, *_CURVES})
"""Those whose verifying key anybody may have."""
_EDWARDS = frozenset({"EdDSA", "Ed25519"})  # RFC 8037 and RFC 9864: two names of one thing
READABLE_ALGORITHMS = PUBLIC_ALGORITHMS | _EDWARDS
"""Those of tokens that others sign; jose knows no Edwards curves, so we sign with none."""
RESERVED_CLAIMS = frozenset({"iss", "aud", "iat", "nbf", "exp", "jti", "typ"})

_SAMPLE_KEY = re.compile(
    r"change[-_ ]?(?:me|this|it)|secret[-_ ]?key|super[-_ ]?secret|^your[-_ ]|^<", re.IGNORECASE
)
# The key in FastAPI's tutorial, pasted into many applications.
_TUTORIAL_KEY = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"

_LONGEST = 8192
_KEPT_HEADERS = 16  # those of our own tokens: one for each key, and as libraries of others spell them
# jose's base64 skips what is not in its alphabet, so one token could be written in endless ways.
_THREE_SEGMENTS = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII).fullmatch
_HEADER_TYPES = frozenset({"jwt", "at+jwt"})
_LAST_SECOND = 253402300799  # of the year 9999: no later date can be shown
# What a hostile token makes jose and json raise; a deep header does so before any signature is read.
_UNREADABLE = (JOSEError, ValueError, TypeError, RecursionError, AttributeError)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


class TokenError(Exception):
    """A token that is not accepted; `expired` when its age is all that is wrong with it."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key and its one algorithm: a secret text for HS*, PEM for RS* and ES*; `kid` is its name."""

    algorithm: str
    key: str = field(repr=False)
    kid: str | None = None


class _KeyPair(NamedTuple):
    algorithm: str
    header: dict[str, str]
    signing: jwk.Key
    verifying: jwk.Key


class TokenCodec:
    """Signs claims as a JWT (RFC 7519) and reads such tokens back.

    The first key signs. Each verifies the tokens with its `kid`; one may have none, for tokens without.
    With `issuer` or `audience` every token must name it; without, none may.
    """

    def __init__(
        self,
        keys: Sequence[SigningKey],
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: int = 5,
    ) -> None:
        self._pairs: dict[str | None, _KeyPair] = {key.kid: _pair(key) for key in keys}
        if len(self._pairs) < len(keys):
            raise ConfigError("Two signing keys share a `kid`: name each differently; one may be without")
        if not keys:
            raise ConfigError("No signing key: give at least one")
        self._first = self._pairs[keys[0].kid]
        if not _signs(self._first.signing):
            raise ConfigError("The first key signs, so it must be a private one; this is a public key")
        # A key without a name is published under its thumbprint; tokens from before that carry none.
        pairs = list(self._pairs.values())
        self._pairs.update({pair.header["kid"]: pair for pair in pairs if pair.header})
        self.public_keys = [_published(key) for key in pairs if key.algorithm in PUBLIC_ALGORITHMS]
        self._headers: dict[str, _KeyPair] = {}
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway

    def encode(self, claims: Mapping[str, Any], *, typ: str = "access", expires_in: int) -> str:
        """A token of these claims, `sub` among them, that lives for `expires_in` seconds."""
        _refuse_unwritable(claims)
        now = int(time())
        written = {"iss": self._issuer, "aud": self._audience, "iat": now, "exp": now + expires_in}
        known = {name: value for name, value in written.items() if value is not None}
        whole = {**claims, **known, "jti": token_urlsafe(16), "typ": typ}
        payload = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
        key = self._first
        token: str = jws.sign(payload, key.signing, headers=key.header, algorithm=key.algorithm)
        if len(token) > _LONGEST:
            raise ValueError(f"these claims make a token of {len(token)} characters; {_LONGEST} are read")
        return token

    def decode(self, token: str | None, *, typ: str = "access") -> dict[str, Any]:
        """The claims of a token that is ours, of this kind and not expired; otherwise TokenError."""
        token = _formed(token)
        try:
            claims = self._open(token)
        except _UNREADABLE as error:
            raise TokenError("it cannot be read, or the signature is wrong") from error
        self._judge_names(claims, typ)
        judge_dates(claims, self._leeway)
        return claims

    def _open(self, token: str) -> dict[str, Any]:
        """The claims as they were signed."""
        header = token.partition(".")[0]
        known = self._headers.get(header)
        key = known or self._key_for(_header_in(header))
        claims = _open(token, key.verifying)
        if (
            known is None and len(self._headers) < _KEPT_HEADERS
        ):  # signed by a key of ours, so nobody can fill it
            self._headers[header] = key
        return claims

    def _key_for(self, header: Mapping[str, Any]) -> _KeyPair:
        key = self._pairs.get(header.get("kid"))
        if key is None:
            raise TokenError("no key has its `kid`")
        _judge_header(header, key.algorithm)
        return key

    def _judge_names(self, claims: Mapping[str, Any], typ: str) -> None:
        if claims.get("typ") != typ:
            raise TokenError("`typ` is another kind of token")
        if claims.get("iss") != self._issuer:
            raise TokenError("`iss` is not the issuer")
        if not names_audience(claims.get("aud"), self._audience):
            raise TokenError("`aud` is not the audience")
        for name in ("sub", "jti"):
            if not isinstance(claims.get(name), str) or not claims[name]:
                raise TokenError(f"`{name}` is missing or not a text")


# ---- tokens of anybody -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says about itself. Nothing of it is proven: good for choosing a key, for nothing else."""

    token: str = field(repr=False)
    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)


def read_unverified(token: str | None) -> Unverified:
    """A token before its signature is looked at; raises TokenError for what is none."""
    token = _formed(token)
    try:
        header, claims = _header_in(token.partition(".")[0]), _claims_in(token)
    except _UNREADABLE as error:
        raise TokenError("it cannot be read") from error
    return Unverified(token, header, claims)


def open_token(given: Unverified, key: jwk.Key, algorithm: str) -> dict[str, Any]:
    """The claims that this key has signed with this algorithm; otherwise TokenError."""
    try:
        _judge_header(given.header, algorithm)
        return _open(given.token, key)
    except _UNREADABLE as error:
        raise TokenError("it cannot be read, or the signature is wrong") from error


def judge_dates(claims: Mapping[str, Any], leeway: int, *, issued: bool = True) -> None:
    """Raises TokenError for a token too old or too young; `exp` is needed, with `issued` also `iat`."""
    now = time()
    begins = [_date(claims, name) for name in ("iat", "nbf") if name in claims or (issued and name == "iat")]
    expires = _date(claims, "exp")
    if max(begins, default=0) > now + leeway:
        raise TokenError("it is not valid yet")
    if expires + leeway <= now:
        raise TokenError("it has expired", expired=True)


def names_audience(found: object, wanted: str | None) -> bool:
    """Whether the claim `aud` has this audience in it."""
    if isinstance(found, list):
        return wanted in found and all(isinstance(name, str) for name in found)
    return found == wanted


def _formed(token: str | None) -> str:
    if not isinstance(token, str) or len(token) > _LONGEST or not _THREE_SEGMENTS(token):
        raise TokenError("it does not have the form of a token")
    return token


def _judge_header(header: Mapping[str, Any], algorithm: str) -> None:
    if header.get("alg") != algorithm:
        raise TokenError("the algorithm is not the one of the key")
    if "crit" in header:
        raise TokenError("it demands an extension (`crit`)")
    if header.get("typ", "JWT").lower().removeprefix("application/") not in _HEADER_TYPES:
        raise TokenError("the header's `typ` is another kind of token")


def _open(token: str, key: jwk.Key) -> dict[str, Any]:
    """The claims that this key has signed, with the algorithm that it is for."""
    signed, _, signature = token.encode().rpartition(b".")
    given = base64url_decode(signature)
    if base64url_encode(given) != signature:  # the unused bits of its last character are zero
        raise TokenError("the signature is not written as it should be")
    if not key.verify(signed, given):
        raise TokenError("the signature is wrong")
    return _claims_in(token)


def _header_in(segment: str) -> dict[str, Any]:
    return _object_in(segment, "header")


def _claims_in(token: str) -> dict[str, Any]:
    return _object_in(token.split(".")[1], "claims")


def _object_in(segment: str, what: str) -> dict[str, Any]:
    found = _STRICT_JSON.decode(base64url_decode(segment.encode()).decode())
    if not isinstance(found, dict):
        raise TokenError(f"the {what} is no JSON object")
    return found


# ---- keys --------------------------------------------------------------------------------------------------


def verifying_key(document: Mapping[str, Any], algorithm: str) -> jwk.Key | None:
    """The public key in a JWK (RFC 7517); None where it is of another kind, weak, damaged, or not public."""
    members = {name: value for name in _JWK_MEMBERS if isinstance(value := document.get(name), str)}
    wanted = ("RSA", None) if algorithm in _RSA else _CURVE_OF[algorithm]
    if (members.get("kty"), members.get("crv")) != wanted or "d" in document:
        return None
    if max(map(len, members.values())) > _LONGEST_MEMBER:
        return None
    try:
        key = _EdwardsKey(members, algorithm) if algorithm in _EDWARDS else jwk.construct(members, algorithm)
    except _UNREADABLE:
        return None
    return key if algorithm not in _RSA or key.prepared_key.key_size >= _RSA_BITS else None


class _EdwardsKey(jwk.Key):  # type: ignore[misc]
    """A public key on Ed25519 (RFC 8037), where jose asks for one of its own."""

    def __init__(self, members: Mapping[str, Any], algorithm: str) -> None:
        super().__init__(members, algorithm)
        self._public = Ed25519PublicKey.from_public_bytes(base64url_decode(members["x"].encode()))

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Whether the key's owner has signed this."""
        try:
            self._public.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


def _published(pair: _KeyPair) -> dict[str, str]:
    """What everybody may know of a key, as a JWK."""
    return {**_public_members(pair.verifying), "kid": pair.header["kid"], "alg": pair.algorithm, "use": "sig"}


def _public_members(key: jwk.Key) -> dict[str, str]:
    document = key.to_dict()
    return {name: document[name] for name in _JWK_MEMBERS if name in document}


def _thumbprint(key: jwk.Key) -> str:
    """RFC 7638."""
    text = json.dumps(_public_members(key), separators=(",", ":"), sort_keys=True)
    return bytes(base64url_encode(hashlib.sha256(text.encode()).digest())).decode()


def check_key(algorithm: str, key: str) -> str | None:
    """What is wrong with a key, as a sentence without the key; None if nothing is."""
    try:
        built = _build_key(algorithm, key)
    except ValueError as mistake:
        return str(mistake)
    if algorithm in _SECRET_BYTES:
        return _weakness(key, _SECRET_BYTES[algorithm])
    public = built.public_key().prepared_key
    if algorithm in _RSA and public.key_size < _RSA_BITS:
        return f"the RSA key has {public.key_size} bits; {algorithm} needs {_RSA_BITS} or more"
    return None


def _weakness(secret: str, needed: int) -> str | None:
    if _SAMPLE_KEY.search(secret) or secret == _TUTORIAL_KEY:
        return "the key is a well-known sample; write a random one"
    if secret in (secret + secret)[1:-1]:
        return "the key repeats a shorter text; write a random one"
    size = len(secret.encode())
    if size < needed:
        return f"the key has {size} bytes; this algorithm needs {needed} or more, and random ones"
    return None


def _build_key(algorithm: str, key: str) -> jwk.Key:
    """The key as jose works with it; ValueError where it cannot."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"the algorithm {algorithm!r} is not one of {', '.join(sorted(ALGORITHMS))}")
    try:
        built = jwk.construct(key, algorithm)
        fits = bool(key) if algorithm in _SECRET_BYTES else _fits(algorithm, built.public_key().prepared_key)
    except _UNREADABLE:
        fits = False
    if fits:
        return built
    if algorithm in _SECRET_BYTES:
        raise ValueError(f"{algorithm} needs a secret text: not an empty one, not a PEM or SSH key")
    kind = f"an EC key on {_CURVES[algorithm]}" if algorithm in _CURVES else "an RSA key"
    raise ValueError(f"{algorithm} needs {kind} as PEM text")


def _fits(algorithm: str, public: object) -> bool:
    """Whether an asymmetric key is of the algorithm's kind; jose takes any that it can load."""
    if algorithm in _RSA:
        return isinstance(public, rsa.RSAPublicKey)
    return isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == _CURVES[algorithm]


def _pair(key: SigningKey) -> _KeyPair:
    try:
        built = _build_key(key.algorithm, key.key)
    except ValueError as mistake:
        raise ConfigError(f"{key}: {mistake}") from None
    if key.algorithm in _SECRET_BYTES:
        return _KeyPair(key.algorithm, {} if key.kid is None else {"kid": key.kid}, built, built)
    verifying = built.public_key()
    return _KeyPair(key.algorithm, {"kid": key.kid or _thumbprint(verifying)}, built, verifying)


def _signs(key: jwk.Key) -> bool:
    return not hasattr(key.prepared_key, "public_bytes")


def _refuse_unwritable(claims: Mapping[str, Any]) -> None:
    taken = RESERVED_CLAIMS & claims.keys()
    if taken:
        raise ValueError(f"these claims are written for you, leave them out: {', '.join(sorted(taken))}")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise ValueError("`sub` must be a text: str(user.id)")


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise TokenError(f"`{name}` is missing or not a date")
    return value
