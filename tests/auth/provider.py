"""An OpenID provider in a process of its own: any number of issuers, and all that can go wrong with one.

Each first part of a path is an issuer, with keys, a mode and a count of the requests for its keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_plus, urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jose import jwk, jws
from jose.utils import base64url_decode, base64url_encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

CLIENT_SECRET = "s3cret:/ %"

_PEM = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


class Issuer:
    """Three keys at a time, one for each algorithm; `generation` is part of their names."""

    def __init__(self) -> None:
        self.mode, self.generation, self.asked = "good", 0, Counter[str]()
        self.user: dict[str, Any] = {"sub": "user-123"}
        self.token: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.rotate()

    def rotate(self) -> None:
        """New keys under new names; the old ones are gone."""
        self.generation += 1
        rsa_key = rsa.generate_private_key(65537, 2048)
        ec_key = ec.generate_private_key(ec.SECP256R1())
        self.edwards = Ed25519PrivateKey.generate()
        self.pem = {
            "RS256": rsa_key.private_bytes(*_PEM).decode(),
            "ES256": ec_key.private_bytes(*_PEM).decode(),
        }

    def kid(self, algorithm: str) -> str:
        return f"{algorithm}-{self.generation}"

    def sign(self, payload: bytes, header: dict[str, Any], algorithm: str) -> str:
        """A token; jose knows no Edwards curves."""
        if algorithm != "EdDSA":
            token: str = jws.sign(payload, self.pem[algorithm], headers=header, algorithm=algorithm)
            return token
        head = json.dumps({"alg": algorithm, **header}).encode()
        signed: bytes = b".".join(map(base64url_encode, (head, payload)))
        return b".".join((signed, base64url_encode(self.edwards.sign(signed)))).decode("ascii")

    def document(self, *, private: bool = False) -> dict[str, Any]:
        """The key set, among keys that nobody should use."""
        keys: list[dict[str, Any]] = [
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"},
            {"kty": "OKP", "kid": "edwards", "crv": "Ed25519", "x": "abc"},
            {"kty": "RSA", "kid": "broken", "n": "!!", "e": "AQAB"},
            {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        ]
        if self.mode != "encryption":
            x = base64url_encode(self.edwards.public_key().public_bytes_raw()).decode()
            keys.append({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid("EdDSA"), "use": "sig"})
        for algorithm, pem in self.pem.items():
            key = jwk.construct(pem, algorithm)
            members = (key if private else key.public_key()).to_dict()
            use = "enc" if self.mode == "encryption" else "sig"
            operations = {"key_ops": ["sign"]} if self.mode == "signing" else {}
            stuffed = {"e": "A" * 100_000} if self.mode == "stuffed" else {}
            keys.append({**members, **stuffed, **operations, "kid": self.kid(algorithm), "use": use})
        return {"keys": keys}


ISSUERS: defaultdict[str, Issuer] = defaultdict(Issuer)


def issuer_of(request: Request) -> Issuer:
    return ISSUERS[request.path_params["name"]]


def url_of(request: Request) -> str:
    name: str = request.path_params["name"]
    return f"{request.base_url}{name}"


async def discovery(request: Request) -> Response:
    issuer = issuer_of(request)
    issuer.asked["discovery"] += 1
    url = url_of(request)
    told: dict[str, Any] = {
        "issuer": url,
        "jwks_uri": f"{url}/keys",
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "userinfo_endpoint": f"{url}/userinfo",
        "authorization_response_iss_parameter_supported": issuer.mode != "silent",
    }
    if issuer.mode == "impostor":
        told["issuer"] = "https://somebody.example"
    if issuer.mode == "nowhere":
        told["jwks_uri"] = ["a", "list"]
    if issuer.mode == "plain":
        told["jwks_uri"] = "http://keys.example/keys"
    return JSONResponse(told)


async def keys(request: Request) -> Response:
    issuer = issuer_of(request)
    issuer.asked["keys"] += 1
    answers: dict[str, Any] = {
        "away": lambda: Response(status_code=500),
        "html": lambda: Response("<h1>Sign in</h1>"),
        "deep": lambda: Response("[" * 100_000),
        "list": lambda: JSONResponse([]),
        "empty": lambda: JSONResponse({"keys": []}),
        "crowd": lambda: JSONResponse({"keys": issuer.document()["keys"] * 100}),
        "private": lambda: JSONResponse(issuer.document(private=True)),
        "redirect": lambda: RedirectResponse(f"{url_of(request)}/moved"),
        "huge": lambda: StreamingResponse(endless(0)),
        "slow": lambda: StreamingResponse(endless(0.05)),
    }
    answer: Response = answers.get(issuer.mode, lambda: JSONResponse(issuer.document()))()
    return answer


async def moved(request: Request) -> Response:
    """Where a client that follows redirects finds the keys."""
    return JSONResponse(issuer_of(request).document())


async def endless(seconds: float) -> AsyncIterator[bytes]:
    for _ in range(2000):
        yield b" " * 1000
        await asyncio.sleep(seconds)


async def mint(request: Request) -> Response:
    """A token with these claims, signed by the present key."""
    issuer, order = issuer_of(request), await request.json()
    algorithm = order.get("algorithm", "RS256")
    header = {"kid": issuer.kid(algorithm), **order.get("header", {})}
    header = {name: value for name, value in header.items() if value is not None}
    payload = json.dumps(order["claims"]).encode()
    return Response(issuer.sign(payload, header, algorithm))


async def change(request: Request) -> Response:
    issuer, order = issuer_of(request), await request.json()
    issuer.mode = order.get("mode", issuer.mode)
    issuer.user, issuer.token = order.get("user", issuer.user), order.get("token", issuer.token)
    if order.get("rotate"):
        issuer.rotate()
    return Response()


async def asked(request: Request) -> Response:
    return JSONResponse(issuer_of(request).asked)


# ---- logins ------------------------------------------------------------------------------------------------


async def authorize(request: Request) -> Response:
    """Somebody is logged in here and agrees at once; in mode `denied` they do not."""
    issuer, asked = issuer_of(request), request.query_params
    answer = {"state": asked["state"]}
    if issuer.mode != "silent":
        answer["iss"] = "https://somebody.example" if issuer.mode == "mixed" else url_of(request)
    if issuer.mode == "denied":
        answer["error"] = "access_denied"
    else:
        answer["code"] = f"code-{secrets.token_urlsafe(8)}"
        issuer.codes[answer["code"]] = dict(asked)
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)


async def token(request: Request) -> Response:
    """Tokens for a code: once, for the client that it was made for, who knows the verifier (RFC 7636)."""
    issuer, form = issuer_of(request), await request.form()
    issuer.asked["token"] += 1
    if issuer.mode == "broken":
        return Response(status_code=500)
    asked = issuer.codes.pop(str(form.get("code")), None)
    digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
    if (
        asked is None
        or base64url_encode(digest).decode() != asked["code_challenge"]
        or asked["code_challenge_method"] != "S256"
        or form.get("redirect_uri") != asked["redirect_uri"]
        or client_of(request, dict(form))
        != (asked["client_id"], "" if issuer.mode == "public" else CLIENT_SECRET)
    ):
        return JSONResponse({"error": "invalid_grant"}, status_code=200 if issuer.mode == "polite" else 400)
    now = int(time.time())
    claims = {
        "iss": url_of(request), "aud": asked["client_id"], "iat": now, "exp": now + 60,
        "nonce": asked.get("nonce"), **issuer.user, **issuer.token.get("claims", {}),
    }  # fmt: skip
    algorithm = issuer.token.get("algorithm", "RS256")
    header = {"kid": issuer.kid(algorithm), **issuer.token.get("header", {})}
    payload = json.dumps({name: value for name, value in claims.items() if value is not None}).encode()
    signed = issuer.sign(payload, header, algorithm)
    if issuer.mode == "tampered":
        head, _, signature = signed.split(".")
        signed = ".".join(
            (head, base64url_encode(json.dumps({**claims, "sub": "admin"}).encode()).decode(), signature)
        )
    answer = {"access_token": "access", "token_type": "Bearer", "id_token": signed}
    return JSONResponse(answer | issuer.token.get("answer", {}))


def client_of(request: Request, form: dict[str, Any]) -> tuple[str, str]:
    """The client and its secret, from the header or the form."""
    header = request.headers.get("authorization", "")
    if header.startswith("Basic "):
        name, _, secret = base64url_decode(header[6:].encode()).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)
    return str(form.get("client_id")), str(form.get("client_secret", ""))


async def userinfo(request: Request) -> Response:
    """What an ID token has left out: `info` of the user."""
    assert request.headers["authorization"] == "Bearer access"
    issuer = issuer_of(request)
    return JSONResponse({"sub": issuer.user["sub"], **issuer.token.get("info", {})})


async def hub_user(request: Request) -> Response:
    """A service that is no OpenID provider."""
    assert request.headers["authorization"] == "Bearer access"
    return JSONResponse(issuer_of(request).user["user"])


async def hub_emails(request: Request) -> Response:
    return JSONResponse(issuer_of(request).user["emails"])


app = Starlette(
    routes=[
        Route("/{name}/.well-known/openid-configuration", discovery),
        Route("/{name}/keys", keys),
        Route("/{name}/moved", moved),
        Route("/{name}/mint", mint, methods=["POST"]),
        Route("/{name}/change", change, methods=["POST"]),
        Route("/{name}/asked", asked),
        Route("/{name}/authorize", authorize),
        Route("/{name}/token", token, methods=["POST"]),
        Route("/{name}/userinfo", userinfo),
        Route("/{name}/login/oauth/authorize", authorize),
        Route("/{name}/login/oauth/access_token", token, methods=["POST"]),
        Route("/{name}/api/v3/user", hub_user),
        Route("/{name}/api/v3/user/emails", hub_emails),
    ]
)
