"""Small applications for `benchmarks.start`: the same one three times, and with accounts.

Each imports what it needs by itself, so that the start of one is not that of another.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from jetio import Jetio


def plain() -> "Jetio":
    """No accounts."""
    from benchmarks.apps.small_jetio import app

    return app


def fastapi() -> "ASGIApp":
    """The same in FastAPI."""
    from benchmarks.apps.small_fastapi import app

    return app


def starlette() -> "ASGIApp":
    """The same in Starlette."""
    from benchmarks.apps.small_starlette import app

    return app


def accounts() -> "Jetio":
    """Accounts, and none of their features."""
    from sqlalchemy.orm import Mapped, mapped_column

    from jetio import JetioModel
    from jetio_auth import AuthRouter, JetioAuthMixin

    class User(JetioModel, JetioAuthMixin):
        """An account."""

        username: Mapped[str] = mapped_column(unique=True)
        email: Mapped[str] = mapped_column(unique=True)

    app = plain()
    off = ["sessions", "refresh", "change_password", "events"]
    return _served(app, AuthRouter(User, disable=off))


def every_feature() -> "Jetio":
    """Accounts, and whatever can be switched on."""
    from sqlalchemy.orm import Mapped, mapped_column

    from jetio import JetioModel
    from jetio_auth import AuthRouter, JetioApprovalMixin, JetioFullAuthMixin, JWTConfig, google
    from jetio_auth.features import FEATURES

    class User(JetioModel, JetioFullAuthMixin, JetioApprovalMixin):
        """An account."""

        username: Mapped[str] = mapped_column(unique=True)
        email: Mapped[str] = mapped_column(unique=True)

    app = plain()
    jwt = JWTConfig(token_location=["header", "cookie"])
    provider = google(client_id="start", client_secret="start")  # noqa: S106 - nobody is asked
    auth = AuthRouter(User, enable=list(FEATURES), jwt=jwt, oauth=[provider])
    auth.register_user_routes(app)
    return _served(app, auth)


def _served(app: "Jetio", auth: Any) -> "Jetio":
    auth.register_routes(app)
    auth.register_admin_routes(app)
    return app
