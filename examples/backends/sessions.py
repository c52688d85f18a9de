"""The application's own sessions let people into its admin part: `python -m examples.backends.sessions`."""

from __future__ import annotations

from typing import Any

from jetio import Jetio, Request
from jetio_auth import AuthRouter, DatabaseSessions, ServerSessions, SessionAuthBackend, renew_session

from .staff import Employee, load_user


class AdminUserAdapter:
    """An employee as the admin part sees one."""

    def __init__(self, user: Employee) -> None:
        self._user = user

    @property
    def id(self) -> str:
        return str(self._user.id)

    @property
    def email(self) -> str:
        return self._user.email

    @property
    def roles(self) -> list[str]:
        return self._user.roles

    @property
    def permissions(self) -> list[str]:
        return ["admin:access"]


async def retrieve_user_handler(session: dict[str, Any], connection: Request) -> AdminUserAdapter | None:
    """Load the admin of the session that the shop has begun."""
    user = await load_user(session["user_id"])
    if user is None or not user.is_admin:
        return None
    return AdminUserAdapter(user)


app = Jetio(title="My Shop")
app.add_middleware(ServerSessions, store=DatabaseSessions(app))
backend = SessionAuthBackend(retrieve_user_handler=retrieve_user_handler, session_key="user_id")
auth = AuthRouter(backend=backend, prefix="/admin/api/auth")
auth.register_routes(app)


@app.post("/shop/enter/{user_id:int}")
async def enter(user_id: int, request: Request) -> dict[str, str]:
    """What the shop's own login does; a real one asks for a password first."""
    request.session.clear()
    request.session["user_id"] = user_id
    renew_session(request)
    return {"message": "Welcome"}


@app.get(
    "/admin/api/report", policy=auth.hidden(auth.requires_permission("admin:access")), include_in_schema=False
)
async def report() -> dict[str, str]:
    return {"report": "all is well"}


if __name__ == "__main__":
    app.run()
