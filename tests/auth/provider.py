"""An OpenID provider in a process of its own: any number of issuers, and all that can go wrong with one.

Each first part of a path is an issuer, with keys, a mode and a count of the requests for its keys.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jose import jwk, jws
from jose.utils import base64url_encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

_PEM = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


class Issuer:
    """Three keys at a time, one for each algorithm; `generation` is part of their names."""

    def __init__(self) -> None:
        self.mode, self.generation, self.asked = "good", 0, Counter[str]()
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
    told: dict[str, Any] = {"issuer": url_of(request), "jwks_uri": f"{url_of(request)}/keys"}
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
    if order.get("rotate"):
        issuer.rotate()
    return Response()


async def asked(request: Request) -> Response:
    return JSONResponse(issuer_of(request).asked)


app = Starlette(
    routes=[
        Route("/{name}/.well-known/openid-configuration", discovery),
        Route("/{name}/keys", keys),
        Route("/{name}/moved", moved),
        Route("/{name}/mint", mint, methods=["POST"]),
        Route("/{name}/change", change, methods=["POST"]),
        Route("/{name}/asked", asked),
    ]
)
