"""The application: accounts under /auth, users, admins, and the jobs beside them."""

from __future__ import annotations

from jetio import Jetio, add_swagger_ui
from jetio_auth import AuthRouter, CurrentUser

from .jobs import add_job_routes
from .models import User

app = Jetio(title="Cluster")
add_swagger_ui(app)

# The first admin comes from JETIO_AUTH_DEFAULT_ADMIN_EMAIL and _PASSWORD, where they are set.
auth = AuthRouter(
    User,
    prefix="/auth",
    session_prefix="/jwt",
    enable=["device_login", "impersonation"],
    default_admin=True,
)
auth.register_routes(app)
auth.register_admin_routes(app)
auth.register_user_routes(app)
add_job_routes(app)


@app.get("/protected")
async def protected_route(user: CurrentUser) -> dict[str, str]:
    """For everybody who is logged in."""
    return {"message": f"Hello {user.email}!"}
