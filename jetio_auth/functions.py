"""What code calls on an AuthRouter: logins, accounts and tokens without a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from jetio import ConfigError, FieldError, ValidationError, create_tables

from .endpoints.tokens import device_of
from .events import AuthEvent
from .mail.mailers import Mailer
from .parts import AuthParts
from .sessions import Device
from .settings import environment

__all__ = ["AuthFunctions"]

_OF_LOGIN = frozenset({"sid", "epoch", "amr", "auth_time", "iat"})


class AuthFunctions(AuthParts):
    """The functions."""

    async def login(
        self,
        identity: str,
        password: str,
        extra_claims: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
        agent: str | None = None,
        field: str | None = None,
        otp: str | None = None,
    ) -> dict[str, Any]:
        """Log in: `{"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}`.

        The last two are there where refreshing is on. Raises 401 `invalid_credentials` and 429 `rate_limited`.
        `address` is counted by the throttle, and shown with `agent` in the list of sessions; `extra_claims`
        stay with the session; `field` None: the name may be in any login field. `otp` is a code of the account's
        authenticator: without it, where one is on, 401 `mfa_required` has the `mfa_token` to go on with. Commits.
        """
        device = Device(address=address, agent=agent)
        return await self.login_from(device, identity, password, extra_claims, field=field, otp=otp)

    async def login_from(
        self,
        device: Device,
        identity: str,
        password: str,
        extra_claims: Mapping[str, Any] | None = None,
        *,
        field: str | None = None,
        otp: str | None = None,
    ) -> dict[str, Any]:
        """`login` for a request, whose device is known."""
        account = await self.accounts.authenticate(identity, password, device, field=field)
        if otp is not None and self.factors is not None:
            device = await self.factors.prove_at_once(account, device, otp)
        return await self.logins.open(account, extra_claims or {}, device)

    async def enter_session(self, connection: HTTPConnection, user: Any, *, method: str = "password") -> None:
        """Log an account's row in by `request.session`, for a login of your own that has proved who it is. Commits.

        It is a login like others: it is refused where they are, stands in the list of sessions, and ends with the
        password and with `revoke_sessions`. `method` says what was proved; "password" alone is 401 `mfa_required`
        where a second factor is on.
        """
        backend = self.backed.session_backend if self.backed is not None else None
        if backend is None:
            raise ConfigError(
                "there is no session to enter; write AuthRouter(User, backend=SessionAuthBackend())"
            )
        account = self.accounts.facts.account_of(user)
        pair = await self.logins.open(account, {}, device_of(connection, method))
        claims = self.authenticator.codec.decode(pair["access_token"])
        login = {name: value for name, value in claims.items() if name in _OF_LOGIN}
        backend.enter(connection, account[self.accounts.facts.key], login)

    async def refresh(self, token: str) -> dict[str, Any]:
        """The next tokens of a session, as `login` gives them; the refresh token is used up. Commits.

        Raises 401: `token_reused`, which ends the session, `token_expired`, `token_revoked`.
        """
        return await self.logins.refresh(token, Device())

    async def register(self, *, password: str, **fields: Any) -> Any:
        """Make an account with these fields; its row. Commits.

        With approval it waits for an admin. Raises 422 for the password, 409 `already_exists` for a taken name.
        """
        async with self.database.sessions() as session:
            try:
                user = await self.accounts.register(session, fields, password)
            except PydanticCustomError as wrong:  # a name that none may have
                raise ValidationError([FieldError(wrong.type, wrong.message())]) from None
            event = AuthEvent(name="user.registered", user_id=str(getattr(user, self.accounts.facts.key)))
            await self.events.write(event, session)
            await session.commit()
        await self.events.announce(event)
        return user

    def on(self, event: str, handler: Callable[[AuthEvent], Any]) -> Callable[[AuthEvent], Any]:
        """Call a function with each event of this name, after it is lasting: `login.ok`, `login.*`, `*`.

        A plain function runs in a thread. One that fails is logged; what has happened stays.
        """
        return self.events.on(event, handler)

    async def revoke_sessions(self, user: Any, db: AsyncSession | None = None) -> None:
        """Log an account's row out everywhere. With `db` you commit, else it is done at once.

        In a handler that has a session, give it: on SQLite another transaction would wait for yours.
        """
        key = getattr(user, self.accounts.facts.key)
        if db is None:
            await self.logins.end_others(key, None, Device())
        else:
            await self.logins.required_sessions().end_all_in(db, key)

    def use_mailer(self, mailer: Mailer) -> None:
        """Send through this one from now on, as tests do that read what was sent."""
        self.required_mailing().letters.mailer = mailer

    async def send_verification(self, user: Any) -> None:
        """Write to an account's address the link that confirms it; the link before it ends. Commits.

        For changes of the address by your own code. What goes wrong with the mail is logged.
        """
        if self.mailing is None or self.mailing.addresses is None:
            raise ConfigError("verify_email is off; add JetioEmailConfirmationMixin to the model")
        await self.mailing.letters.link("verify_email", self.accounts.facts.account_of(user))

    def create_token(
        self,
        user: Any,
        *,
        extra_claims: Mapping[str, Any] | None = None,
        expires_in: int | None = None,
        scopes: Sequence[str] | None = None,
    ) -> str:
        """An access token for an account's row; `expires_in` in seconds, by default as configured.

        `scopes` None: all of them, as after a login. No session ends with it: it lasts until it expires.
        """
        given = self._extra_claims(user) if self._extra_claims is not None else {}
        seconds = expires_in if expires_in is not None else self.authenticator.config.token_expiry
        account = self.accounts.facts.account_of(user)
        return self.authenticator.issue(account, {**given, **(extra_claims or {})}, seconds, scopes=scopes)

    async def ensure_admin(
        self,
        db: AsyncSession | None = None,
        *,
        username: str | None = None,
        email: str | None = None,
        password: str | None = None,
    ) -> None:
        """Make sure that this admin exists; run it at every start. Commits `db`.

        An admin is left as it is, whatever its password; a plain account is promoted only with its own
        password. Without arguments it reads `JETIO_AUTH_DEFAULT_ADMIN_*`, and does nothing where none is set.
        Raises ConfigError.
        """
        if username is None and email is None and password is None:
            username, email, password = environment().default_admin
            if username is None and email is None and password is None:
                return
        names = self._admin_names(username, email)
        if password is None:
            raise ConfigError('ensure_admin needs a password; write password="..."')
        await self._ensure_admin(db, names, password)

    async def _ensure_admin(self, db: AsyncSession | None, names: Mapping[str, str], password: str) -> None:
        if db is not None:
            await self._ensure(db, names, password)
            return
        async with self.database.sessions() as session:
            await self._ensure(session, names, password)

    async def _ensure(self, db: AsyncSession, names: Mapping[str, str], password: str) -> None:
        if self._context.creates_tables:
            # A script, or a start-up handler, may come before the tables.
            await create_tables(await db.connection(), self.user_model.metadata)
        await self.accounts.ensure_admin(db, names, password)

    def _admin_names(self, username: str | None, email: str | None) -> dict[str, str]:
        columns = self.accounts.facts.fetched
        given = {"username": username, "email": email}
        names = {name: value for name, value in given.items() if value is not None and name in columns}
        if not names:
            wanted = " or ".join(self.accounts.facts.login_fields)
            raise ConfigError(f"ensure_admin needs a name to log in with; give {wanted}")
        return names
