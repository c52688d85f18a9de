"""A backend in a few lines, with its own cookie: `python -m examples.backends.own`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from anyio import to_thread
from starlette.requests import HTTPConnection

from jetio import Jetio, Principal, Request
from jetio_auth import AuthRouter, get_password_hash

from .staff import Employee, load_user, verify_password

NOBODYS = get_password_hash(secrets.token_urlsafe())


class CustomAuthBackend:
    """Sessions in a dictionary, named by a cookie; `uses_cookies` has other sites' requests refused."""

    uses_cookies = True

    def __init__(self) -> None:
        self._sessions: dict[str, int] = {}

    async def authenticate(self, connection: HTTPConnection, credentials: dict[str, str]) -> Employee | None:
        user = await load_user(credentials["email"])
        stored = user.password_hash if user is not None else NOBODYS  # nobody costs what somebody costs
        right = await to_thread.run_sync(verify_password, stored, credentials["password"])
        return user if right else None

    async def get_current_user(self, connection: HTTPConnection) -> Employee | None:
        user_id = self._sessions.get(connection.cookies.get("session_id", ""))
        return None if user_id is None else await load_user(user_id)

    async def login(self, connection: HTTPConnection, user: Employee) -> Mapping[str, str]:
        session_id = secrets.token_urlsafe(32)
        self._sessions[session_id] = user.id
        return {"session_id": session_id}

    async def logout(self, connection: HTTPConnection) -> None:
        self._sessions.pop(connection.cookies.get("session_id", ""), None)

    async def refresh(self, connection: HTTPConnection) -> Mapping[str, str] | None:
        return None


app = Jetio(title="Own backend")
auth = AuthRouter(backend=CustomAuthBackend(), prefix="/admin/api/auth")
auth.register_routes(app)


@app.post("/notes")
async def write(principal: Principal, request: Request) -> dict[str, str | None]:
    return {"by": principal.email}


if __name__ == "__main__":
    app.run()
