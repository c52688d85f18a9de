"""JSON Web Tokens: signs claims and reads them back, or says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from time import time
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import JOSEError, jwk, jws
from jose.utils import base64url_decode, base64url_encode

from jetio import ConfigError

__all__ = ["ALGORITHMS", "RESERVED_CLAIMS", "SigningKey", "TokenCodec", "TokenError", "check_key"]

_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = frozenset({"RS256", "RS384", "RS512"})
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_BITS = 2048

ALGORITHMS = frozenset({*_SECRET_BYTES, *_RSA, *_CURVES})
RESERVED_CLAIMS = frozenset({"iss", "aud", "iat", "nbf", "exp", "jti", "typ"})

_SAMPLE_KEY = re.compile(
    r"change[-_ ]?(?:me|this|it)|secret[-_ ]?key|super[-_ ]?secret|^your[-_ ]|^<", re.IGNORECASE
)
# The key in FastAPI's tutorial, pasted into many applications.
_TUTORIAL_KEY = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"

_LONGEST = 8192
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
        self._pairs = {key.kid: _pair(key) for key in keys}
        if len(self._pairs) < len(keys):
            raise ConfigError("Two signing keys share a `kid`: name each differently; one may be without")
        if not keys:
            raise ConfigError("No signing key: give at least one")
        self._first = self._pairs[keys[0].kid]
        if not _signs(self._first.signing):
            raise ConfigError("The first key signs, so it must be a private one; this is a public key")
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
        if not isinstance(token, str) or len(token) > _LONGEST or not _THREE_SEGMENTS(token):
            raise TokenError("it does not have the form of a token")
        try:
            claims = self._open(token)
        except _UNREADABLE as error:
            raise TokenError("it cannot be read, or the signature is wrong") from error
        self._judge_names(claims, typ)
        self._judge_dates(claims)
        return claims

    def _open(self, token: str) -> dict[str, Any]:
        """The claims as they were signed."""
        key = self._key_for(jws.get_unverified_header(token))
        _refuse_other_spelling(token)
        claims = _STRICT_JSON.decode(jws.verify(token, key.verifying, [key.algorithm]).decode())
        if not isinstance(claims, dict):
            raise TokenError("the claims are no JSON object")
        return claims

    def _key_for(self, header: Mapping[str, Any]) -> _KeyPair:
        kid = header.get("kid")
        key = self._pairs.get(kid)
        if key is None:
            raise TokenError("no key has its `kid`")
        if header.get("alg") != key.algorithm:
            raise TokenError("the algorithm is not the one of the key")
        if "crit" in header:
            raise TokenError("it demands an extension (`crit`)")
        if header.get("typ", "JWT").lower().removeprefix("application/") not in _HEADER_TYPES:
            raise TokenError("the header's `typ` is another kind of token")
        return key

    def _judge_names(self, claims: Mapping[str, Any], typ: str) -> None:
        if claims.get("typ") != typ:
            raise TokenError("`typ` is another kind of token")
        if claims.get("iss") != self._issuer:
            raise TokenError("`iss` is not the issuer")
        if not _is_audience(claims.get("aud"), self._audience):
            raise TokenError("`aud` is not the audience")
        for name in ("sub", "jti"):
            if not isinstance(claims.get(name), str) or not claims[name]:
                raise TokenError(f"`{name}` is missing or not a text")

    def _judge_dates(self, claims: Mapping[str, Any]) -> None:
        now = time()
        issued, expires = _date(claims, "iat"), _date(claims, "exp")
        begins = _date(claims, "nbf") if "nbf" in claims else issued
        if max(issued, begins) > now + self._leeway:
            raise TokenError("it is not valid yet")
        if expires + self._leeway <= now:
            raise TokenError("it has expired", expired=True)


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
    header = {} if key.kid is None else {"kid": key.kid}
    verifying = built if key.algorithm in _SECRET_BYTES else built.public_key()
    return _KeyPair(key.algorithm, header, built, verifying)


def _signs(key: jwk.Key) -> bool:
    return not hasattr(key.prepared_key, "public_bytes")


def _refuse_unwritable(claims: Mapping[str, Any]) -> None:
    taken = RESERVED_CLAIMS & claims.keys()
    if taken:
        raise ValueError(f"these claims are written for you, leave them out: {', '.join(sorted(taken))}")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise ValueError("`sub` must be a text: str(user.id)")


def _refuse_other_spelling(token: str) -> None:
    """One signature is written in one way: the unused bits of its last character are zero."""
    signature = token.rpartition(".")[2].encode()
    if base64url_encode(base64url_decode(signature)) != signature:
        raise TokenError("the signature is not written as it should be")


def _is_audience(found: object, wanted: str | None) -> bool:
    if isinstance(found, list):
        return wanted in found and all(isinstance(name, str) for name in found)
    return found == wanted


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise TokenError(f"`{name}` is missing or not a date")
    return value
