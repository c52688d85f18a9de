"""The blog's tables with an admin panel: `python -m examples.panel`, then /admin in a browser."""

from __future__ import annotations

import secrets

from sqlalchemy import select

from examples.blog.models import Comment, Post, User
from jetio import CrudRouter, Jetio, public
from jetio.contrib.admin import Admin
from jetio_auth import AuthRouter, JWTConfig

app = Jetio(title="Jetio Blog")

auth = AuthRouter(User, jwt=JWTConfig(token_location=["header", "cookie"]), default_admin=True)
auth.register_routes(app)
auth.register_admin_routes(app)

for model, writers in (
    (User, auth.self_or_admin()),
    (Post, auth.owner_or_admin(Post)),
    (Comment, auth.owner_or_admin(Comment)),
):
    CrudRouter(
        model,
        exclude_methods=["POST"] if model is User else [],
        policy={"GET": public(), "POST": auth.authenticated(), "PUT": writers, "DELETE": writers},
    ).register_routes(app)

Admin(app, title="Blog admin", auth=auth)


@app.on_event("startup")
async def first_admin() -> None:
    """On a developer's machine: an admin with a password that is printed once and kept nowhere."""
    if app.settings.production:
        return
    async with app.database.sessions() as session:
        if await session.scalar(select(User.id).where(User.is_admin).limit(1)) is not None:
            return
        password = secrets.token_urlsafe(12)
        await auth.ensure_admin(session, username="admin", email="admin@example.com", password=password)
        print(f"The first admin is `admin`, the password {password} (shown this once)", flush=True)
