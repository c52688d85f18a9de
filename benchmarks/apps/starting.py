"""Applications that differ in what they know of accounts alone, for `benchmarks.start`."""

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel


class Post(JetioModel):
    """What was written."""

    title: Mapped[str]
    body: Mapped[str]


def plain() -> Jetio:
    """No accounts."""
    app = Jetio(title="Start")
    CrudRouter(Post).register_routes(app)

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        """Says hello."""
        return {"message": "hello"}

    return app


def accounts() -> Jetio:
    """Accounts, and none of their features."""
    from jetio_auth import AuthRouter, JetioAuthMixin

    class User(JetioModel, JetioAuthMixin):
        """An account."""

        username: Mapped[str] = mapped_column(unique=True)
        email: Mapped[str] = mapped_column(unique=True)

    app = plain()
    off = ["sessions", "refresh", "change_password", "events"]
    return _served(app, AuthRouter(User, disable=off))


def every_feature() -> Jetio:
    """Accounts, and whatever can be switched on."""
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


def _served(app: Jetio, auth: Any) -> Jetio:
    auth.register_routes(app)
    auth.register_admin_routes(app)
    return app
