"""The document's complete JWT example: its names, its classes, our application around it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import bcrypt

from jetio import Jetio
from jetio_auth import AuthRouter, JWTAuthBackend, JWTConfig


# User model (simplified)
@dataclass
class User:
    id: int
    email: str
    password_hash: str
    is_admin: bool

    @property
    def roles(self) -> list[str]:
        return ["admin"] if self.is_admin else ["viewer"]

    @property
    def permissions(self) -> list[str]:
        if self.is_admin:
            return ["models:read", "models:write", "models:delete"]
        return ["models:read"]


HASH = bcrypt.hashpw(b"secret123", bcrypt.gensalt(4)).decode("utf-8")
USERS = [User(1, "admin@example.com", HASH, True), User(2, "viewer@example.com", HASH, False)]


# User loader function
async def load_user(identifier: str | int) -> User | None:
    """Load user by ID or email."""
    # Try to load by ID first
    if isinstance(identifier, int) or identifier.isdigit():
        found = [user for user in USERS if user.id == int(identifier)]
    else:
        # Load by email for authentication
        found = [user for user in USERS if user.email == identifier]
    return found[0] if found else None


# Password verification
async def verify_password(stored_hash: str, password: str) -> bool:
    """Verify password using bcrypt."""
    return bcrypt.checkpw(
        password.encode("utf-8"),
        stored_hash.encode("utf-8"),
    )


# JWT configuration
jwt_config = JWTConfig(
    secret_key=os.environ["JWT_SECRET_KEY"],
    algorithm="HS256",
    token_expiry=3600,  # 1 hour
    refresh_token_expiry=86400 * 7,  # 7 days
    token_location="header",
)

# Create auth backend
auth_backend = JWTAuthBackend(
    config=jwt_config,
    user_loader=load_user,
    password_verifier=verify_password,
)

# Create app
app = Jetio(title="Secure Admin")
auth = AuthRouter(backend=auth_backend, prefix="/admin/api/auth")
auth.register_routes(app)

if __name__ == "__main__":
    app.run()
