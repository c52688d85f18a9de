"""The blog's API: rules, routes, and a page for people."""

from __future__ import annotations

import html
import secrets

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import CrudRouter, HTMLResponse, Jetio, Principal, add_swagger_ui, public
from jetio_auth import AuthRouter

from .models import Comment, Post, User

app = Jetio(title="Jetio Blog", description="Everybody reads; authors write; admins tidy up.")
add_swagger_ui(app)

# The first admin comes from JETIO_AUTH_DEFAULT_ADMIN_USERNAME, _EMAIL and _PASSWORD, where they are set.
auth = AuthRouter(user_model=User, default_admin=True)
auth.register_routes(app)
auth.register_admin_routes(app)

CrudRouter(
    model=User,
    exclude_methods=["POST"],  # people come in by /register
    policy={"GET": public(), "PUT": auth.self_or_admin(), "DELETE": auth.admin_only()},
).register_routes(app)

CrudRouter(
    model=Post,
    load_relationships=["author", "comments"],
    policy={
        "GET": public(),
        "POST": auth.authenticated(),
        "PUT": auth.owner_or_admin(Post),  # PATCH follows PUT
        "DELETE": auth.owner_or_admin(Post),
    },
).register_routes(app)

CrudRouter(
    model=Comment,
    load_relationships=["author"],
    policy={
        "GET": public(),
        "POST": auth.authenticated(),
        "PUT": auth.owner_or_admin(Comment),
        "DELETE": auth.admin_only(),
    },
).register_routes(app)


class Stats(BaseModel):
    """How much there is."""

    users: int
    posts: int
    comments: int


@app.route("/stats", methods=["GET"], tags=["blog"])
async def stats(session: AsyncSession) -> Stats:
    """Count everything."""
    models = {"users": User, "posts": Post, "comments": Comment}
    counts = {name: await session.scalar(select(func.count()).select_from(models[name])) for name in models}
    return Stats(**counts)


@app.route("/me/posts", methods=["GET"], tags=["blog"])
async def my_posts(me: Principal, session: AsyncSession) -> list[Post]:
    """What the caller has written, newest first."""
    query = select(Post).where(Post.author_id == me.id).order_by(Post.id.desc()).limit(100)
    return list(await session.scalars(query))


@app.route("/", methods=["GET"])
async def home(session: AsyncSession) -> HTMLResponse:
    """The newest posts, for people."""
    posts = await session.scalars(select(Post).order_by(Post.id.desc()).limit(20))
    items = "".join(f"<h2>{html.escape(post.title)}</h2><p>{html.escape(post.body)}</p>" for post in posts)
    return HTMLResponse(PAGE.format(title="Jetio Blog", content=items or "<p>Nothing yet.</p>"))


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1>{content}<hr><a href="/">Home</a> <a href="/docs">API</a>"""

app.add_error_page(404, PAGE.format(title="Nothing here", content="<p>This page does not exist.</p>"))


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
