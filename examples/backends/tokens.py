"""Signed tokens for a table of employees: `python -m examples.backends.tokens`."""

from __future__ import annotations

from jetio import Jetio
from jetio_auth import AuthRouter, JWTAuthBackend, JWTConfig

from .staff import load_user, verify_password

# The key is SECRET_KEY of the environment; development makes one.
jwt_config = JWTConfig(
    algorithm="HS256",
    token_expiry=3600,  # 1 hour
    refresh_token_expiry=86400 * 7,  # 7 days
    token_location="header",
)
auth_backend = JWTAuthBackend(
    config=jwt_config,
    user_loader=load_user,
    password_verifier=verify_password,
)

app = Jetio(title="Secure Admin")
auth = AuthRouter(backend=auth_backend, prefix="/admin/api/auth")
auth.register_routes(app)


@app.get("/admin/api/report", policy=auth.hidden(auth.admin_only()), include_in_schema=False)
async def report() -> dict[str, str]:
    """404 for whoever is no admin: nobody else learns that it is there."""
    return {"report": "all is well"}


if __name__ == "__main__":
    app.run()
