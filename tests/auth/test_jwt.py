"""Tokens: what is signed comes back, and everything else is refused in one way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import JOSEError, jwk, jws

from jetio import ConfigError
from jetio_auth.jwt import (
    ALGORITHMS,
    RESERVED_CLAIMS,
    SigningKey,
    TokenCodec,
    TokenError,
    check_key,
    open_token,
    read_unverified,
)

SECRET = "Jb3oNq7zKcVw5mTtXh1uRy8pLd6sGf2e0aQi4vBnMxZk9YrCjWoEgUhPlSaDf3T5"
OTHER_SECRET = SECRET[::-1]
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())
GOOD_CLAIMS = {"sub": "7", "jti": "j1", "typ": "access", "iat": SECOND, "exp": SECOND + 60}
GOOD_HEADER = {"alg": "HS256", "typ": "JWT"}
UNHURRIED = settings(deadline=None)
JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXT, inner, max_size=4),
    max_leaves=12,
)


def pem(key: Any) -> str:
    """A private key as PEM text."""
    form = serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())).decode()


def public(key: Any, encoding: serialization.Encoding = serialization.Encoding.PEM) -> bytes:
    """The public half of a key."""
    form = serialization.PublicFormat
    kind = form.OpenSSH if encoding is serialization.Encoding.OpenSSH else form.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(encoding, kind))


RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
EC_KEYS = {algorithm: ec.generate_private_key(curve) for algorithm, curve in CURVES.items()}
KEYS = (
    dict.fromkeys(("HS256", "HS384", "HS512"), SECRET)
    | dict.fromkeys(("RS256", "RS384", "RS512"), pem(RSA_KEY))
    | {algorithm: pem(key) for algorithm, key in EC_KEYS.items()}
)


def segment(data: bytes) -> str:
    """One part of a token, as RFC 7515 writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: object, claims: object, secret: str | bytes = SECRET, digest: str = "sha256") -> str:
    """A token with a right signature and whatever else; text and bytes are taken as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(segment(part) for part in parts)
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{segment(hmac.digest(key, signed.encode(), digest))}"


def with_claims(**changed: Any) -> str:
    """A token that would be good but for these claims; `...` leaves one out."""
    claims = {name: value for name, value in (GOOD_CLAIMS | changed).items() if value is not ...}
    return forge(GOOD_HEADER, claims)


def with_header(**changed: Any) -> str:
    """A token that would be good but for its header."""
    header = {name: value for name, value in (GOOD_HEADER | changed).items() if value is not ...}
    return forge(header, GOOD_CLAIMS)


def codec(**options: Any) -> TokenCodec:
    """A codec with one secret."""
    return TokenCodec([SigningKey("HS256", SECRET)], **options)


def refusal(token: Any, reader: TokenCodec | None = None, typ: str = "access") -> TokenError:
    """The error that reading the token raises."""
    with pytest.raises(TokenError) as caught:
        (reader or codec()).decode(token, typ=typ)
    return caught.value


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon that does not pass; `clock.shift(seconds)` moves it."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


# What is signed comes back


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_reads_what_it_signed(algorithm: str) -> None:
    """HS*, RS* and ES* with 256, 384 and 512 bits sign, and verify with the same key."""
    tokens = TokenCodec([SigningKey(algorithm, KEYS[algorithm])])
    assert tokens.decode(tokens.encode({"sub": "7"}, expires_in=60))["sub"] == "7"


def test_the_codec_writes_what_every_token_needs() -> None:
    """iat, exp, jti, typ, iss and aud are added; the claims given are kept."""
    tokens = codec(issuer="https://id.example", audience="shop")
    claims = tokens.decode(tokens.encode({"sub": "7", "epoch": "e"}, expires_in=60))
    jti = claims.pop("jti")
    assert len(jti) >= 22
    assert claims == {
        "sub": "7",
        "epoch": "e",
        "iss": "https://id.example",
        "aud": "shop",
        "iat": SECOND,
        "exp": SECOND + 60,
        "typ": "access",
    }


def test_without_issuer_and_audience_neither_is_written() -> None:
    """A codec that names nobody writes no iss and no aud."""
    tokens = codec()
    assert {"iss", "aud"}.isdisjoint(tokens.decode(tokens.encode({"sub": "7"}, expires_in=60)))


def test_no_two_tokens_are_alike() -> None:
    """Two tokens of the same claims in the same second differ in jti."""
    tokens = codec()
    assert tokens.encode({"sub": "7"}, expires_in=60) != tokens.encode({"sub": "7"}, expires_in=60)


def test_the_given_claims_are_not_changed() -> None:
    """`encode` leaves its argument as it was."""
    claims = {"sub": "7"}
    codec().encode(claims, expires_in=60)
    assert claims == {"sub": "7"}


@UNHURRIED
@given(
    subject=JSON_TEXT.filter(bool),
    extra=st.dictionaries(JSON_TEXT.filter(lambda name: name not in {*RESERVED_CLAIMS, "sub"}), JSON_VALUES),
)
def test_any_json_claims_survive(subject: str, extra: dict[str, Any]) -> None:
    """Whatever JSON can say comes back equal, or is refused when it is written because it is too long."""
    tokens = codec()
    try:
        token = tokens.encode({**extra, "sub": subject}, expires_in=60)
    except ValueError as error:
        assert "8192 are read" in str(error)  # noqa: PT017
        return
    claims = tokens.decode(token)
    assert {name: claims[name] for name in {*extra, "sub"}} == {**extra, "sub": subject}


@UNHURRIED
@given(st.text() | st.text("eyJ.-_", max_size=20) | st.binary().map(lambda data: f"{segment(data)}.a.b"))
def test_no_text_raises_anything_but_token_error(token: str) -> None:
    """Whatever is sent as a token is refused with TokenError."""
    assert not refusal(token).expired


@UNHURRIED
@given(header=JSON_VALUES, claims=JSON_VALUES)
def test_no_signed_json_raises_anything_but_token_error(header: Any, claims: Any) -> None:
    """Nor does JSON of any shape that carries a right signature."""
    assert not refusal(forge(header, claims)).expired


@UNHURRIED
@given(st.dictionaries(st.sampled_from(["sub", "jti", "typ", "iat", "exp", "nbf", "aud"]), JSON_VALUES))
def test_no_claims_raise_anything_but_token_error(changed: dict[str, Any]) -> None:
    """Claims of any type and value are accepted or refused with TokenError."""
    claims = {"aud": "shop"} | GOOD_CLAIMS | changed
    try:
        codec(audience="shop").decode(forge(GOOD_HEADER, claims))
    except TokenError:
        return
    assert claims["typ"] == "access"


@UNHURRIED
@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "jwk", "jku", "x5c"]), JSON_VALUES))
def test_no_header_raises_anything_but_token_error(changed: dict[str, Any]) -> None:
    """A header of any types and values is accepted or refused with TokenError."""
    try:
        codec().decode(forge(GOOD_HEADER | changed, GOOD_CLAIMS))
    except TokenError:
        return
    assert changed.get("alg", "HS256") == "HS256"


@UNHURRIED
@given(st.data())
def test_a_token_changed_anywhere_is_refused(data: st.DataObject) -> None:
    """Any one character written differently makes the token worthless, the last one included."""
    token = codec().encode({"sub": "7"}, expires_in=60)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("AQgwZz09-_=+/. \n").filter(lambda other: other != token[place]))
    refusal(token[:place] + character + token[place + 1 :])


# What encode refuses


@pytest.mark.parametrize("name", sorted(RESERVED_CLAIMS))
def test_a_claim_that_the_codec_writes_is_refused(name: str) -> None:
    """Nobody gives a token another life, issuer, audience, kind or id by a claim."""
    with pytest.raises(ValueError, match=f"leave them out: {name}$"):
        codec().encode({"sub": "7", name: 1}, expires_in=60)


@pytest.mark.parametrize("claims", [{}, {"sub": 7}, {"sub": None}, {"sub": ""}])
def test_a_token_without_a_subject_is_not_made(claims: dict[str, Any]) -> None:
    """`sub` is a text that is not empty (RFC 7519, 4.1.2)."""
    with pytest.raises(ValueError, match="`sub` must be a text"):
        codec().encode(claims, expires_in=60)


def test_a_token_too_long_to_be_read_is_not_made() -> None:
    """`encode` refuses what `decode` would."""
    with pytest.raises(ValueError, match="8192 are read"):
        codec().encode({"sub": "7", "groups": "g" * 8192}, expires_in=60)


def test_a_number_that_json_does_not_know_is_not_written() -> None:
    """NaN and infinities in claims are refused."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec().encode({"sub": "7", "score": float("nan")}, expires_in=60)


# Form


@pytest.mark.parametrize("token", [None, 7, b"a.b.c", ["a.b.c"]], ids=repr)
def test_what_is_no_text_is_refused(token: Any) -> None:
    """Only text can be a token."""
    refusal(token)


@pytest.mark.parametrize("token", ["", ".", "..", "a", "a.b", "a..c", ".b.c", "a.b.", "a.b.c.d", "a.b.c.d.e"])
def test_other_than_three_segments_are_refused(token: str) -> None:
    """A token has three segments and none is empty; an encrypted one has five and is not read."""
    refusal(token)


def test_a_good_token_loses_its_worth_with_a_segment_more_or_less() -> None:
    """Neither two segments nor four pass."""
    token = with_claims()
    refusal(token.rpartition(".")[0])
    refusal(f"{token}.{token.rpartition('.')[2]}")


@pytest.mark.parametrize(
    "garbage", ["=", "==", "\n", " ", "!", "A", "AAAA", "\u00e9", "\0", "\ud800"], ids=ascii
)
def test_garbage_around_a_good_token_is_refused(garbage: str) -> None:
    """One token has one spelling: padding, spaces or anything else before or after it is refused."""
    token = with_claims()
    refusal(token + garbage)
    refusal(garbage + token)


@pytest.mark.parametrize("garbage", ["!", ".", "=", "\n", "+", "\u00e9", "\uff41", "\u0661"], ids=ascii)
@pytest.mark.parametrize("place", ["header", "claims"])
def test_garbage_inside_a_segment_is_refused(garbage: str, place: str) -> None:
    """Characters that a lax base64 decoder skips are refused, though the signature covers them."""
    header, claims = (segment(json.dumps(part).encode()) for part in (GOOD_HEADER, GOOD_CLAIMS))
    signed = f"{header}{garbage}.{claims}" if place == "header" else f"{header}.{claims}{garbage}"
    refusal(f"{signed}.{segment(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}")


def test_the_unused_bits_of_the_signature_are_zero() -> None:
    """A signature whose last character decodes to the same bytes is another text, so it is refused."""
    token = with_claims()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    signatures = [base64.urlsafe_b64decode(text.rpartition(".")[2] + "=") for text in (token, twin)]
    assert signatures[0] == signatures[1]
    refusal(twin)


def test_a_token_of_more_than_8192_characters_is_refused() -> None:
    """However good it is."""
    refusal(forge(GOOD_HEADER, GOOD_CLAIMS | {"pad": "x" * 8192}))


def test_a_letter_outside_ascii_is_refused() -> None:
    """Letters and digits of other scripts are none of base64's."""
    refusal("\uff41.b.c")
    refusal("\u0661.b.c")


# What jose says


WRITTEN = st.sampled_from([json.dumps(GOOD_HEADER), '{"typ":"JWT", "alg":"HS256"}', '{"alg":"HS256"}'])
ODD_HEADERS = st.sampled_from(
    [
        '{"alg":"none"}', '{"alg":"HS512"}', '{"alg":"RS256","alg":"HS256"}', '{"alg":"HS256","alg":"none"}',
        '{"alg":"HS256","crit":["exp"]}', '{"alg":"HS256","kid":NaN}', '["HS256"]', '{"alg":["HS256"]}', "{",
    ]
)  # fmt: skip
SIGNATURES = st.sampled_from(["right", "other", "cut", "longer", "twin", "padded", "empty", "sha512"])


def signed_so(signed: str, how: str) -> str:
    """A signature, right or wrong in this way, as it is written."""
    digest = hmac.digest((OTHER_SECRET if how == "other" else SECRET).encode(), signed.encode(), "sha256")
    if how == "sha512":
        digest = hmac.digest(SECRET.encode(), signed.encode(), "sha512")
    text = segment({"cut": digest[:-1], "longer": digest + b"\0"}.get(how, digest))
    return {"twin": f"{text[:-1]}{chr(ord(text[-1]) + 1)}", "padded": f"{text}=", "empty": ""}.get(how, text)


def jose_reads(token: str) -> dict[str, Any] | None:
    """The claims that python-jose finds in a token with the one algorithm; None where it refuses."""
    try:
        claims = json.loads(jws.verify(token, SECRET, ["HS256"]))
    except (JOSEError, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


@UNHURRIED
@given(
    header=WRITTEN | ODD_HEADERS,
    claims=st.just(json.dumps(GOOD_CLAIMS))
    | st.sampled_from(['{"sub":"1","sub":"7"}', "[]", "", "{"])
    | JSON_TEXT,
    how=st.just("right") | SIGNATURES,
    tail=st.sampled_from(["", "A", "=", "\n", ".", "-"]),
)
def test_nothing_is_read_that_jose_does_not_read(header: str, claims: str, how: str, tail: str) -> None:
    """What the signature covers is found as python-jose finds it, and python-jose refuses no token that is read."""
    signed = f"{segment(header.encode())}.{segment(claims.encode())}{tail}"
    token = f"{signed}.{signed_so(signed, how)}"
    try:
        read = open_token(read_unverified(token), jwk.construct(SECRET, "HS256"), "HS256")
    except TokenError:
        plain = (how, tail, header) == ("right", "", json.dumps(GOOD_HEADER))
        assert not plain or jose_reads(token) is None
        return
    assert read == jose_reads(token)


def test_a_header_that_was_signed_before_proves_nothing() -> None:
    """A codec that has read a token judges the next one of the same header by its own signature and claims."""
    reader = codec()
    good = reader.decode(with_claims())
    head, claims, signature = with_claims().split(".")
    for _ in range(2):
        refusal(f"{head}.{claims}.{signature[::-1]}", reader)
        refusal(f"{head}.{segment(json.dumps(GOOD_CLAIMS | {'sub': '8'}).encode())}.{signature}", reader)
        refusal(forge(GOOD_HEADER, GOOD_CLAIMS, OTHER_SECRET), reader)
        assert refusal(with_claims(exp=SECOND - 60), reader).expired
        refusal(with_header(alg="none"), reader)
    assert reader.decode(with_claims()) == good


def test_headers_of_any_number_are_read() -> None:
    """However many spellings of a header have been signed, each is judged."""
    reader = codec()
    for number in range(40):
        assert reader.decode(with_header(n=number))["sub"] == "7"
        refusal(with_header(n=number, crit=["exp"]), reader)


# Header


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, "hs256", ["HS256"], 256, ...])
def test_an_unsigned_or_unnamed_algorithm_is_refused(name: Any) -> None:
    """`alg` is exactly the key's algorithm: none in no spelling, neither a list nor nothing."""
    refusal(with_header(alg=name))
    head, claims, _ = with_header(alg=name).split(".")
    refusal(f"{head}.{claims}.")
    refusal(f"{head}.{claims}.AA")


@pytest.mark.parametrize(
    "encoding",
    [serialization.Encoding.PEM, serialization.Encoding.DER, serialization.Encoding.OpenSSH],
    ids=["pem", "der", "openssh"],
)
@pytest.mark.parametrize(("algorithm", "digest"), [("HS256", "sha256"), ("HS512", "sha512")])
def test_a_public_key_is_no_secret(encoding: serialization.Encoding, algorithm: str, digest: str) -> None:
    """An HMAC made with the RSA public key, in any of its forms, is refused."""
    reader = TokenCodec([SigningKey("RS256", pem(RSA_KEY)), SigningKey("HS256", SECRET, "mac")])
    token = forge({"alg": algorithm}, GOOD_CLAIMS, public(RSA_KEY, encoding), digest)
    refusal(token, reader)


def test_the_algorithm_of_another_key_is_refused() -> None:
    """Beside an RSA key an HMAC key verifies only tokens that name it."""
    reader = TokenCodec([SigningKey("RS256", pem(RSA_KEY), "rsa"), SigningKey("HS256", SECRET, "mac")])
    token = forge({"alg": "HS256", "kid": "mac"}, GOOD_CLAIMS)
    assert reader.decode(token)["sub"] == "7"
    refusal(forge({"alg": "HS256", "kid": "rsa"}, GOOD_CLAIMS), reader)
    refusal(forge({"alg": "RS256", "kid": "mac"}, GOOD_CLAIMS), reader)


def test_a_stronger_hash_of_the_right_secret_is_refused() -> None:
    """A key has one algorithm: HS512 with an HS256 secret does not pass."""
    refusal(forge({"alg": "HS512"}, GOOD_CLAIMS, digest="sha512"))


@pytest.mark.parametrize("extensions", [["exp"], [], ["b64"], None])
def test_an_extension_that_must_be_understood_is_refused(extensions: Any) -> None:
    """None is understood, so a header with `crit` is refused (RFC 7515, 4.1.11)."""
    refusal(with_header(crit=extensions))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "application/JWT", ...])
def test_the_header_may_name_its_type_in_any_usual_way(typ: Any) -> None:
    """`typ` is JWT or at+jwt in any case, with or without `application/`, or is not there."""
    assert codec().decode(with_header(typ=typ))["sub"] == "7"


@pytest.mark.parametrize(
    "typ", ["JWE", "dpop+jwt", "logout+jwt", "secevent+jwt", "", "text/jwt", 7, None, ["JWT"]]
)
def test_the_header_of_another_kind_of_token_is_refused(typ: Any) -> None:
    """A token made for something else is not an access token (RFC 8725, 3.11)."""
    refusal(with_header(typ=typ))


@pytest.mark.parametrize("depth", [500, 990, 1500, 6000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_deeply_nested_header_is_refused(depth: int, brackets: str) -> None:
    """A header that exhausts the JSON parser is refused like any other, before any signature is read."""
    opened = {"[]": b"[", "{}": b'{"":'}[brackets]
    refusal(f"{segment(opened * (depth // len(opened)))}.AA.AA")
    nested = opened * (depth // len(opened)) + b"1" + brackets[1].encode() * (depth // len(opened))
    refusal(forge(b'{"alg":"HS256","kid":%s}' % nested, GOOD_CLAIMS))


def test_deeply_nested_claims_are_refused() -> None:
    """Also when they are signed."""
    refusal(forge(GOOD_HEADER, b'{"sub":' + b"[" * 2500 + b"]" * 2500 + b"}"))


@pytest.mark.parametrize(
    "header", [b"", b"7", b"null", b"[]", b'"HS256"', b"{", b"\xff", b'{"alg":1e400}', b"\0"]
)
def test_a_header_that_is_no_json_object_is_refused(header: bytes) -> None:
    """Whatever stands there instead."""
    refusal(forge(header, GOOD_CLAIMS))


def test_a_key_in_the_header_is_not_believed() -> None:
    """`jwk`, `jku` and `x5u` are not followed (RFC 8725, 3.10)."""
    jwk = {"kty": "oct", "k": segment(OTHER_SECRET.encode())}
    refusal(forge(GOOD_HEADER | {"jwk": jwk, "jku": "https://evil.example"}, GOOD_CLAIMS, OTHER_SECRET))


# Signature


def test_another_key_is_refused() -> None:
    """A signature by a secret that is not ours is refused."""
    refusal(forge(GOOD_HEADER, GOOD_CLAIMS, OTHER_SECRET))


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_wrong_signature_is_refused_by_every_algorithm(algorithm: str) -> None:
    """Of the right length or not."""
    tokens = TokenCodec([SigningKey(algorithm, KEYS[algorithm])])
    signed, _, signature = tokens.encode({"sub": "7"}, expires_in=60).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for wrong in (bytes(len(raw)), raw[:-1], raw + b"\0", raw[:-1] + bytes([raw[-1] ^ 1]), b"\0"):
        refusal(f"{signed}.{segment(wrong)}", tokens)


def test_the_empty_secret_does_not_verify() -> None:
    """A token signed with nothing is refused."""
    refusal(forge(GOOD_HEADER, GOOD_CLAIMS, b""))


# Claims


@pytest.mark.parametrize(
    "claims", [b"", b"7", b"null", b"[]", b'"sub"', b"{", b"\xff", b"\0", b'{"exp":NaN}']
)
def test_claims_that_are_no_json_object_are_refused(claims: bytes) -> None:
    """Also when they are signed."""
    refusal(forge(GOOD_HEADER, claims))


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "jti", "typ"])
def test_a_required_claim_that_is_missing_is_refused(name: str) -> None:
    """exp, iat, sub, jti and typ are in every token."""
    refusal(with_claims(**{name: ...}))


@pytest.mark.parametrize("name", ["sub", "jti"])
@pytest.mark.parametrize("value", [7, None, "", True, ["7"], {"id": 7}, 1.5], ids=repr)
def test_a_subject_or_id_that_is_no_text_is_refused(name: str, value: Any) -> None:
    """sub and jti are texts that are not empty."""
    refusal(with_claims(**{name: value}))


@pytest.mark.parametrize("typ", ["refresh", "reset", "ACCESS", "", None, 7, ["access"]], ids=repr)
def test_another_kind_of_token_is_refused(typ: Any) -> None:
    """A token for one purpose never stands in for another."""
    refusal(with_claims(typ=typ))


def test_each_kind_is_read_as_itself_only() -> None:
    """What was made as `mfa` is read as `mfa`, not as `access`."""
    tokens = codec()
    token = tokens.encode({"sub": "7"}, typ="mfa", expires_in=60)
    assert tokens.decode(token, typ="mfa")["typ"] == "mfa"
    refusal(token, tokens)


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-1",
        "true",
        "false",
        "null",
        '"9999999999"',
        "[]",
        "253402300800",
        "1" * 5000,
    ],
    ids=lambda value: str(value[:12]),
)
def test_a_time_that_is_no_date_is_refused(name: str, value: str) -> None:
    """exp, iat and nbf are numbers between 1970 and 9999."""
    claims = json.dumps(GOOD_CLAIMS | {name: "@"}).replace('"@"', value)
    assert not refusal(forge(GOOD_HEADER, claims.encode())).expired


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_know_is_not_read(number: str) -> None:
    """NaN and infinities are refused in any claim."""
    claims = json.dumps(GOOD_CLAIMS | {"score": "@"}).replace('"@"', number)
    refusal(forge(GOOD_HEADER, claims.encode()))


def test_fractions_of_a_second_are_a_date() -> None:
    """NumericDate may have a fraction (RFC 7519, 2)."""
    assert codec().decode(with_claims(iat=SECOND - 0.5, exp=SECOND + 0.5))["sub"] == "7"


def test_an_expired_token_says_so(clock: time_machine.Traveller) -> None:
    """At `exp` plus the leeway a token is refused, and the error is marked; a moment before it is good."""
    tokens = codec(leeway=5)
    token = tokens.encode({"sub": "7"}, expires_in=60)
    clock.shift(timedelta(seconds=64.9))
    assert tokens.decode(token)["sub"] == "7"
    clock.shift(timedelta(seconds=0.1))
    assert refusal(token, tokens).expired


def test_without_leeway_a_token_ends_on_the_second(clock: time_machine.Traveller) -> None:
    """`leeway=0` leaves no grace."""
    tokens = codec(leeway=0)
    token = tokens.encode({"sub": "7"}, expires_in=60)
    clock.shift(59.9)
    assert tokens.decode(token)
    clock.shift(0.1)
    assert refusal(token, tokens).expired


@pytest.mark.parametrize(
    "token",
    [
        lambda: forge(GOOD_HEADER, GOOD_CLAIMS | {"exp": 1}, OTHER_SECRET),
        lambda: with_claims(exp=1, typ="refresh"),
        lambda: with_claims(exp=1, aud="other"),
        lambda: with_claims(exp=1, sub=7),
    ],
    ids=["signature", "typ", "aud", "sub"],
)
def test_only_a_good_token_is_called_expired(token: Callable[[], str]) -> None:
    """`expired` means that age is all that is wrong: a forgery learns nothing."""
    assert not refusal(token()).expired


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused(name: str) -> None:
    """iat and nbf may be ahead of the clock by the leeway, not more."""
    assert codec(leeway=5).decode(with_claims(**{name: SECOND + 5}))
    refusal(with_claims(**{"nbf": SECOND, name: SECOND + 6}), codec(leeway=5))


def test_a_long_life_is_not_refused() -> None:
    """How long a token lives is for the settings, not for the reader."""
    assert codec().decode(with_claims(exp=SECOND + 10 * 365 * 86400))


@pytest.mark.parametrize(
    "issuer", ["https://other.example", "https://id.example/", "", None, 7, ["https://id.example"], ...]
)
def test_another_issuer_is_refused(issuer: Any) -> None:
    """`iss` is exactly the configured one; missing is wrong too."""
    refusal(with_claims(iss=issuer), codec(issuer="https://id.example"))


def test_an_issuer_that_is_not_expected_is_refused() -> None:
    """A codec without issuer does not take tokens that name one."""
    refusal(with_claims(iss="https://id.example"))


@pytest.mark.parametrize(
    "audience", ["blog", "", None, 7, [], ["blog"], ["shop", 7], {"shop": 1}, ...], ids=repr
)
def test_another_audience_is_refused(audience: Any) -> None:
    """`aud` names the configured audience; missing or of another type is wrong too."""
    refusal(with_claims(aud=audience), codec(audience="shop"))


@pytest.mark.parametrize("audience", ["shop", ["shop"], ["blog", "shop"]], ids=repr)
def test_the_audience_may_be_one_of_several(audience: Any) -> None:
    """`aud` is a text or a list of texts (RFC 7519, 4.1.3)."""
    assert codec(audience="shop").decode(with_claims(aud=audience))


@pytest.mark.parametrize("audience", ["shop", ["shop"], [None], []], ids=repr)
def test_an_audience_that_is_not_expected_is_refused(audience: Any) -> None:
    """A codec without audience does not take tokens made for somebody."""
    refusal(with_claims(aud=audience))


# Keys


def test_the_first_key_signs_and_every_key_verifies() -> None:
    """A rotation: the new key signs, tokens of the old one are good until it is taken out."""
    old, new = SigningKey("HS256", SECRET, "2025"), SigningKey("HS256", OTHER_SECRET, "2026")
    before = TokenCodec([old]).encode({"sub": "7"}, expires_in=60)
    rotating = TokenCodec([new, old])
    after = rotating.encode({"sub": "7"}, expires_in=60)
    assert rotating.decode(before)
    assert TokenCodec([new]).decode(after)
    refusal(before, TokenCodec([new]))


def test_a_key_without_kid_verifies_tokens_without() -> None:
    """The key from before the first rotation stays useful beside named ones."""
    bare = SigningKey("HS256", SECRET)
    before = TokenCodec([bare]).encode({"sub": "7"}, expires_in=60)
    rotating = TokenCodec([SigningKey("HS256", OTHER_SECRET, "2026"), bare])
    assert rotating.decode(before)
    refusal(before, TokenCodec([SigningKey("HS256", SECRET, "2026")]))


@pytest.mark.parametrize(
    "kid", ["2024", "", 7, ["2026"], {"kid": 1}, "../../dev/null", "' OR 1=1 --"], ids=repr
)
def test_an_unknown_kid_is_refused(kid: Any) -> None:
    """`kid` is looked up among our keys and nowhere else."""
    reader = TokenCodec([SigningKey("HS256", SECRET), SigningKey("HS256", OTHER_SECRET, "2026")])
    refusal(with_header(kid=kid), reader)


def test_a_public_key_verifies_behind_a_private_one() -> None:
    """Keys after the first need no private half."""
    retired = TokenCodec([SigningKey("ES256", KEYS["ES256"], "old")])
    reader = TokenCodec(
        [SigningKey("HS256", SECRET), SigningKey("ES256", public(EC_KEYS["ES256"]).decode(), "old")]
    )
    assert reader.decode(retired.encode({"sub": "7"}, expires_in=60))


def test_a_certificate_verifies_too() -> None:
    """An RSA certificate stands for its public key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jetio")])
    builder = x509.CertificateBuilder(name, name, RSA_KEY.public_key(), 1, NOW, NOW + timedelta(days=1))
    certificate = builder.sign(RSA_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    reader = TokenCodec([SigningKey("HS256", SECRET), SigningKey("RS256", certificate, "cert")])
    token = TokenCodec([SigningKey("RS256", pem(RSA_KEY), "cert")]).encode({"sub": "7"}, expires_in=60)
    assert reader.decode(token)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_public_key_cannot_sign(algorithm: str) -> None:
    """The first key must be private; that is found when the codec is made."""
    key = public(RSA_KEY if algorithm == "RS256" else EC_KEYS["ES256"]).decode()
    with pytest.raises(ConfigError, match="The first key signs"):
        TokenCodec([SigningKey(algorithm, key)])


@pytest.mark.parametrize("kid", [None, "a"])
def test_two_keys_of_one_kid_are_refused(kid: str | None) -> None:
    """Which of them a token means must be certain."""
    with pytest.raises(ConfigError, match="share a `kid`"):
        TokenCodec([SigningKey("HS256", SECRET, kid), SigningKey("HS256", OTHER_SECRET, kid)])


def test_a_codec_needs_a_key() -> None:
    """No keys is a mistake, not a codec that refuses everything."""
    with pytest.raises(ConfigError, match="No signing key"):
        TokenCodec([])


def test_a_key_is_never_shown() -> None:
    """Neither the key's nor the codec's repr holds it, nor does the error about a bad one."""
    key = SigningKey("HS256", SECRET, "2026")
    assert SECRET not in repr(key)
    assert SECRET not in repr(TokenCodec([key]))
    with pytest.raises(ConfigError) as caught:
        TokenCodec([SigningKey("RS256", SECRET)])
    assert SECRET not in str(caught.value)


def test_a_weak_key_works() -> None:
    """A short secret signs: start-up checks warn or refuse by `check_key`, development goes on."""
    tokens = TokenCodec([SigningKey("HS256", "changeme")])
    assert tokens.decode(tokens.encode({"sub": "7"}, expires_in=60))


UNUSABLE_KEYS = {
    "unknown": ("HS1", SECRET, "'HS1' is not one of ES256"),
    "none": ("none", "", "'none' is not one of"),
    "eddsa": ("EdDSA", pem(ed25519.Ed25519PrivateKey.generate()), "'EdDSA' is not one of"),
    "empty": ("HS256", "", "not an empty one"),
    "surrogate": ("HS256", "\ud800" * 32, "needs a secret text"),
    "pem as secret": ("HS256", public(RSA_KEY).decode(), "not a PEM or SSH key"),
    "ssh as secret": (
        "HS256",
        public(RSA_KEY, serialization.Encoding.OpenSSH).decode(),
        "not a PEM or SSH key",
    ),
    "text as rsa": ("RS256", SECRET, "RS256 needs an RSA key as PEM text"),
    "text as ec": ("ES384", SECRET, "ES384 needs an EC key on secp384r1 as PEM text"),
    "ec as rsa": ("RS256", KEYS["ES256"], "needs an RSA key"),
    "rsa as ec": ("ES256", pem(RSA_KEY), "needs an EC key on secp256r1"),
    "other curve": ("ES256", KEYS["ES384"], "needs an EC key on secp256r1"),
    "ed25519 as rsa": ("RS256", pem(ed25519.Ed25519PrivateKey.generate()), "needs an RSA key"),
}


@pytest.mark.parametrize("case", UNUSABLE_KEYS)
def test_a_key_that_cannot_work_is_refused_at_once(case: str) -> None:
    """A key that does not fit its algorithm is a ConfigError, and `check_key` says the same."""
    algorithm, key, sentence = UNUSABLE_KEYS[case]
    assert sentence in (check_key(algorithm, key) or "")
    with pytest.raises(ConfigError, match=sentence):
        TokenCodec([SigningKey(algorithm, key)])


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_nothing_is_wrong_with_a_good_key(algorithm: str) -> None:
    """`check_key` answers None."""
    assert check_key(algorithm, KEYS[algorithm]) is None


@pytest.mark.parametrize(("algorithm", "needed"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_its_hash(algorithm: str, needed: int) -> None:
    """32, 48 and 64 bytes at least (RFC 7518, 3.2); bytes are counted, not letters."""
    assert check_key(algorithm, SECRET[:needed]) is None
    assert f"{needed} or more" in (check_key(algorithm, SECRET[: needed - 1]) or "")
    assert check_key(algorithm, "\u00e9" + SECRET[: needed - 2]) is None


@pytest.mark.parametrize(
    "key",
    [
        "changeme",
        "CHANGE-ME-to-something-random-and-long",
        "please_change_this_in_production_0123456789",
        "your-secret-key-of-at-least-32-characters",
        "YOUR_256_BIT_SECRET_GOES_RIGHT_HERE_PLEASE",
        "my-super-secret-key-that-nobody-will-guess",
        "<put a random value of 32 bytes here>",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    ],
)
def test_a_sample_key_is_told(key: str) -> None:
    """Keys that stand in documentation are known to everybody, however long they are."""
    assert check_key("HS256", key) == "the key is a well-known sample; write a random one"


@pytest.mark.parametrize("key", ["a" * 64, "0" * 32, "ab" * 32, "correct-horse-" * 5])
def test_a_repeating_key_is_told(key: str) -> None:
    """A text written several times is no longer than once."""
    assert check_key("HS256", key) == "the key repeats a shorter text; write a random one"


@UNHURRIED
@given(st.binary(min_size=32, max_size=64).filter(lambda data: len(set(data)) > 16))
def test_a_random_key_is_never_called_weak(data: bytes) -> None:
    """Keys as hex, base64 or a digest pass."""
    for key in (data.hex(), segment(data), hashlib.sha256(data).hexdigest()):
        assert check_key("HS256", key) is None


def test_a_small_rsa_key_is_told() -> None:
    """RSA keys have 2048 bits or more (RFC 7518, 3.3)."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505  (weakness is what is tested)
    assert check_key("RS256", pem(small)) == "the RSA key has 1024 bits; RS256 needs 2048 or more"


def test_times_are_written_in_whole_seconds(clock: time_machine.Traveller) -> None:
    """iat is the second that has begun, so that no reader sees it in its future."""
    clock.shift(0.9)
    tokens = codec()
    claims = tokens.decode(tokens.encode({"sub": "7"}, expires_in=60))
    assert (claims["iat"], claims["exp"]) == (SECOND, SECOND + 60)
    assert isinstance(claims["iat"], int)
