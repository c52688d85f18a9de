"""GET /.well-known/jwks.json: what others need to verify our tokens, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest
from jose import jwk, jws

from jetio_auth import AuthRouter, JWTConfig
from jetio_auth.jwt import SigningKey, TokenCodec
from tests.auth.forum import User, new_app, serving
from tests.auth.test_jwt import EC_KEYS, KEYS, SECRET, pem, public

PATH = "/.well-known/jwks.json"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


def published(config: JWTConfig, sqlite_url: str) -> Any:
    """The answer of an application whose tokens are signed like this."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, jwt=config)
    auth.register_routes(app)
    with serving(app, auth) as site:
        return site.client.get(PATH)


def several() -> list[dict[str, str]]:
    """A key that signs, an older one of which only the public half is left, and a secret."""
    old = public(EC_KEYS["ES256"]).decode()
    return [
        {"kid": "new", "key": KEYS["RS256"], "algorithm": "RS256"},
        {"kid": "old", "key": old, "algorithm": "ES256"},
        {"kid": "shared", "key": SECRET, "algorithm": "HS256"},
    ]


def test_public_keys_are_published(sqlite_url: str) -> None:
    """All that verify, by name, cacheable, and no private member or secret among them."""
    answer = published(JWTConfig(keys=several()), sqlite_url)
    keys = answer.json()["keys"]
    assert [(key["kid"], key["alg"], key["use"], key["kty"]) for key in keys] == [
        ("new", "RS256", "sig", "RSA"),
        ("old", "ES256", "sig", "EC"),
    ]
    assert [set(key) - {"kid", "alg", "use", "kty"} for key in keys] == [{"n", "e"}, {"crv", "x", "y"}]
    assert not PRIVATE & {name for key in keys for name in key}
    assert answer.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "ES256", "ES384", "ES512"])
def test_a_published_key_verifies(algorithm: str) -> None:
    """A key without a name is published under its thumbprint, which its tokens name."""
    tokens = TokenCodec([SigningKey(algorithm, KEYS[algorithm])])
    token = tokens.encode({"sub": "7"}, expires_in=60)
    [key] = tokens.public_keys
    assert jws.get_unverified_header(token)["kid"] == key["kid"]
    assert jws.verify(token, jwk.construct(key, algorithm), [algorithm])
    assert tokens.decode(token)["sub"] == "7"


def test_tokens_from_before_keys_had_names_are_still_read() -> None:
    """A token without `kid` is of the key that was given none."""
    now = TokenCodec([SigningKey("ES256", KEYS["ES256"])])
    token = now.encode({"sub": "7"}, expires_in=60)
    older = jws.sign(now.decode(token), KEYS["ES256"], algorithm="ES256")
    assert now.decode(older)["sub"] == "7"


def test_a_secret_has_no_public_half(sqlite_url: str) -> None:
    """With HS256 there is no such route."""
    assert published(JWTConfig(secret_key=SECRET), sqlite_url).status_code == 404
    assert published(JWTConfig(keys=several()[2:]), sqlite_url).status_code == 404
    assert TokenCodec([SigningKey("HS256", SECRET, "shared")]).public_keys == []


def test_the_keys_are_open_in_an_application_that_is_closed(sqlite_url: str) -> None:
    """`protect` leaves them to everybody."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, jwt=JWTConfig(algorithm="ES256", secret_key=pem(EC_KEYS["ES256"])))
    auth.register_routes(app)
    auth.protect(app)
    with serving(app, auth) as site:
        assert site.client.get(PATH).status_code == 200
