"""Accounts with second factors and passkeys, one route that wants them, and the page."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import HTMLResponse, Jetio, JetioModel, Principal, Response, public
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig

FOLDER = Path(__file__).parent
# Nothing from elsewhere, nothing inline, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}


class User(JetioModel, JetioAuthMixin):
    """Who owns a vault."""

    username: Mapped[str] = mapped_column(String(50), unique=True)


app = Jetio(title="Jetio Vaults")
# The page lives on cookies, which its scripts cannot read.
auth = AuthRouter(User, enable=["totp", "passkeys"], jwt=JWTConfig(token_location="cookie"))
auth.register_routes(app)
auth.protect(app)


@app.get("/vault", policy=auth.mfa(), tags=["vault"])
async def vault(principal: Principal) -> dict[str, str]:
    """What is kept for those who have proved two factors."""
    return {"owner": principal.username or "", "secret": "the map of the island"}


@app.get("/", policy=public())
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse((FOLDER / "page.html").read_text(), headers=HEADERS)


@app.get("/page.js", policy=public(), include_in_schema=False)
async def script() -> Response:
    """Its script."""
    return Response((FOLDER / "page.js").read_text(), media_type="text/javascript", headers=HEADERS)


@app.get("/page.css", policy=public(), include_in_schema=False)
async def style() -> Response:
    """Its looks."""
    return Response((FOLDER / "page.css").read_text(), media_type="text/css", headers=HEADERS)
