"""Signed access tokens of our own, bound to the account's row."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from time import time
from typing import Any

from pydantic import ValidationError as PydanticError
from sqlalchemy import Exists, Select, Table, bindparam, exists, or_
from starlette.requests import HTTPConnection

from jetio import ConfigError, Database, Principal, Problem, Recalled, SecurityScheme, UnitOfWork

from ..claims import Claims
from ..context import AuthContext
from ..cookies import CookieTransport
from ..digests import derived
from ..jwt import SigningKey, TokenCodec, TokenError
from ..model import PASSWORD, Account, UserModel
from ..sessions import Proof
from ..settings import JWTConfig, signing_keys, token_codec
from ..transports import BearerTransport, refused

__all__ = ["EVERY_SCOPE", "OWN_CLAIMS", "JWTAuthenticator", "revoked", "session_name", "words"]

_REMEMBERED = 1000
_EPOCH = 16
_NOBODY: frozenset[str] = frozenset()
_ADMIN = frozenset({"admin"})
EVERY_SCOPE = frozenset({"*"})
OWN_CLAIMS = frozenset({"sub", "epoch", "impersonated_by", "scope", "amr", "auth_time", "sid"})


@dataclass(slots=True, repr=False)  # the row holds a hash
class _Known:
    """A verified token, the key it names, and whom it stood for when the account's row was this one."""

    claims: Mapping[str, Any]
    key: Any
    by: Any = None
    row: tuple[Any, ...] | None = None
    principal: Principal | None = None


class JWTAuthenticator:
    """Finds the caller of a request by its bearer token and the account's row: both must agree."""

    def __init__(
        self,
        context: AuthContext,
        config: JWTConfig,
        token_url: str,
        role_permissions: Mapping[str, Sequence[str]],
        sessions: Table | None,
        refresh_path: str,
    ) -> None:
        self._context, self._token_url, self._sessions = context, token_url, sessions
        self._role_permissions = role_permissions
        self.config = config
        by_header = "header" in config.locations
        self.bearer = BearerTransport(config.token_header, config.token_prefix) if by_header else None
        self.cookies = self._cookie_transport(refresh_path) if "cookie" in config.locations else None
        self._known: dict[str, _Known] = {}

    @cached_property
    def _facts(self) -> UserModel:
        return self._context.facts

    @cached_property
    def subject(self) -> str:
        """The column that `sub` tells; raises ConfigError where it is no login name."""
        name = self.config.subject
        if name != "id" and name not in self._facts.login_fields:
            known = " or ".join(["id", *self._facts.login_fields])
            raise ConfigError(f"JWTConfig(subject={name!r}) is no login name of the accounts; write {known}")
        return self._facts.key if name == "id" else name

    @cached_property
    def codec(self) -> TokenCodec:
        """Signs and reads the tokens; raises ConfigError when the keys are too weak for production."""
        return token_codec(self.config, self._context.settings)

    @property
    def user_model(self) -> type[Any]:
        """The model of the accounts."""
        return self._facts.model

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """The OAuth2 password form is for documentation tools; other clients send JSON to that address."""
        found = []
        config = self.config
        if self.bearer is not None and self.bearer.is_standard:
            flows = {"password": {"tokenUrl": self._token_url, "scopes": {}}}
            found.append(SecurityScheme("OAuth2PasswordBearer", {"type": "oauth2", "flows": flows}))
        elif self.bearer is not None:
            named = {"type": "apiKey", "in": "header", "name": config.token_header}
            found.append(SecurityScheme("TokenHeader", named))
        if self.cookies is not None:
            named = {"type": "apiKey", "in": "cookie", "name": config.cookie_name}
            found.append(SecurityScheme("TokenCookie", named))
        return found

    def _cookie_transport(self, refresh_path: str) -> CookieTransport:
        config, context = self.config, self._context
        return CookieTransport(
            config.cookie_name,
            refresh_path=refresh_path,
            secure=lambda: (
                context.settings.production if config.cookie_secure is None else config.cookie_secure
            ),
            httponly=config.cookie_httponly,
            samesite=config.cookie_samesite,
            key=lambda: self.derived_key("csrf"),
        )

    # ---- from a token to the caller ------------------------------------------------------------------------

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller, None without a token; raises 401 for one that is not accepted."""
        token = self.bearer.read(connection) if self.bearer is not None else None
        if token is not None:
            return await self._found(self._verified(token), work)
        if self.cookies is None or (token := self.cookies.read(connection)) is None:
            return None
        try:
            known = self._verified(token)
            self.cookies.guard(connection, session_name(known.claims))
            return await self._found(known, work)
        except Problem as problem:
            if problem.status == 401:  # a browser cannot take away what scripts do not see
                problem.headers = {**problem.headers, **self.cookies.expired(connection, self.cookies.name)}
            raise

    def recall(self, connection: HTTPConnection, work: UnitOfWork) -> Recalled | None:
        """Whom the token in the header stood for when it was here before; None where nobody is remembered."""
        token = self.bearer.read(connection) if self.bearer is not None else None
        known = self._known.get(token) if token is not None else None
        if known is None or known.row is None or known.principal is None or time() >= known.claims["exp"]:
            return None
        query, values = self._question(work.database, known)
        return Recalled(known.principal, query, values, known.row)

    async def _found(self, known: _Known, work: UnitOfWork) -> Principal | None:
        query, values = self._question(work.database, known)
        result = await work.run_alone(query, values)
        if known.by is not None:
            return self._borrowed(query.decode(result), known)
        row = tuple(result.rows[0]) if result.rows else None
        if row is None or row != known.row:  # else the account is as it was, and so is the caller
            known.principal = known.row = None
            account = self._facts.account(query.decode(result)[0]) if row is not None else None
            known.principal, known.row = self._judged(account, known.claims), row
        return known.principal

    def _question(self, database: Database, known: _Known) -> tuple[Any, dict[str, Any]]:
        """One statement asks for the account, and whether the session lasts that the token names."""
        facts, sid = self._facts, known.claims.get("sid")
        if known.by is not None:
            return self._question_of_both(database, known, sid)
        if sid is None:
            return database.shaped((facts, self.subject), self._select), {"key": known.key}
        if self._sessions is None:
            raise revoked()
        values = {"key": known.key, "sid": sid, "now": int(time())}
        return database.shaped((facts, self.subject, "by session"), self._select_by_session), values

    def _select(self) -> Select[Any]:
        return self._facts.select_by(self.subject)

    def _select_by_session(self) -> Select[Any]:
        return self._select().where(self._session_lasts())

    def _session_lasts(self) -> Exists:
        assert self._sessions is not None  # noqa: S101 - asked for by _question alone
        session = self._sessions.c
        lasts = (session.id == bindparam("sid"), session.ended.is_(None), session.expires > bindparam("now"))
        return exists().where(session.user_id == self._facts.columns[self._facts.key], *lasts)

    async def find(self, key: Any, sid: str | None, work: UnitOfWork) -> Account | None:
        """The account with this key; where `sid` names a session, only while that is one of it and lasts."""
        facts, values = self._facts, {"key": key}
        if sid is None or self._sessions is None:
            query = work.database.shaped((facts, "by key"), facts.select_by_key)
        else:
            query = work.database.shaped((facts, "by key in session"), self._select_by_key_in_session)
            values |= {"sid": sid, "now": int(time())}
        rows = query.decode(await work.run_alone(query, values))
        return facts.account(rows[0]) if rows else None

    def _select_by_key_in_session(self) -> Select[Any]:
        return self._facts.select_by_key().where(self._session_lasts())

    def _question_of_both(
        self, database: Database, known: _Known, sid: str | None
    ) -> tuple[Any, dict[str, Any]]:
        """The same about two: the account, and the admin in whose hands the token is."""
        facts, values = self._facts, {"key": known.key, "by": known.by}
        select_both = partial(facts.select_two, self.subject)
        if sid is None or self._sessions is None:
            return database.shaped((facts, self.subject, "and admin"), select_both), values
        key = facts.columns[facts.key]

        def both() -> Select[Any]:
            by = key == bindparam("by", type_=key.type)
            return select_both().where(or_(by, self._session_lasts()))

        query = database.shaped((facts, self.subject, "by session and admin"), both)
        return query, {**values, "sid": sid, "now": int(time())}

    def _borrowed(self, rows: Sequence[Sequence[Any]], known: _Known) -> Principal:
        """The account's principal, while both accounts are what they were when the token was made."""
        facts, (epoch, admins) = self._facts, _two_epochs(str(known.claims.get("epoch")))
        found = [facts.account(row) for row in rows]
        account = next((one for one in found if one[self.subject] == known.key), None)
        admin = next((one for one in found if one[facts.key] == known.by), None)
        if (
            account is None
            or admin is None
            or account[facts.admin_flag]
            or not self.accepts(account, epoch)
            or not admin[facts.admin_flag]
            or not self.accepts(admin, admins)
        ):
            raise revoked()
        return self.caller(account, known.claims)

    def _verified(self, token: str) -> _Known:
        """What is signed stays signed: a token that was verified only has its age looked at again."""
        known = self._known.get(token)
        if known is not None and time() < known.claims["exp"]:
            return known
        try:
            claims = self.codec.decode(token)
            key = self._key_of(claims["sub"])
            actor = claims.get("impersonated_by")
            by = None if actor is None else self._facts.key_adapter.validate_strings(actor)
        except TokenError as error:
            if error.expired:
                raise refused("The access token has expired", code="token_expired") from None
            raise refused() from None
        except PydanticError:  # no account has this key
            raise revoked() from None
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[token] = known = _Known(claims, key, by)
        return known

    def _key_of(self, subject: str) -> Any:
        return self._facts.key_adapter.validate_strings(subject) if self.config.subject == "id" else subject

    def _judged(self, account: Account | None, claims: Mapping[str, Any]) -> Principal:
        """The caller, if this account may be used and the token is of its present password."""
        if account is None or not self.accepts(account, claims.get("epoch")):
            raise revoked()
        scopes = words(claims["scope"]) if "scope" in claims else EVERY_SCOPE
        return self.caller(account, claims, scopes=scopes)

    # ---- from an account to a token ------------------------------------------------------------------------

    def issue(
        self,
        account: Account,
        extra: Mapping[str, Any],
        expires_in: int,
        *,
        sid: str | None = None,
        proof: Proof | None = None,
        scopes: Collection[str] | None = None,
        by: Account | None = None,
    ) -> str:
        """An access token for an account, in a session or in none; `proof` None: nobody has logged in for it.

        `scopes` None: all. `by` is the admin who acts with it: the token lasts no longer than either password.
        Raises ValueError for further claims that take a name of ours.
        """
        clash = sorted(OWN_CLAIMS & set(extra))
        if clash:
            raise ValueError(f"the claim {clash[0]!r} is the framework's own; choose another name")
        own = {"sub": str(account[self.subject]), "epoch": self.epoch_of(account)}
        session = {"sid": sid} if sid is not None else {}
        proved = proof.claims if proof is not None else {}
        scope = {"scope": " ".join(scopes)} if scopes is not None else {}
        if by is not None:
            own |= {
                "epoch": own["epoch"] + self.epoch_of(by),
                "impersonated_by": str(by[self._facts.key]),
            }
        return self.codec.encode({**extra, **own, **session, **proved, **scope}, expires_in=expires_in)

    def epoch_of(self, account: Account) -> str:
        """What ties tokens and sessions to the account's password."""
        return _epoch(self._epoch_keys[0], account[self._facts.key], account[PASSWORD])

    def derived_key(self, purpose: str) -> bytes:
        """A key for something else than signing tokens, made from the one that signs."""
        return self.derived_keys(purpose)[0]

    def derived_keys(self, purpose: str) -> list[bytes]:
        """One for each signing key, in their order: for what is read again after the keys have changed."""
        return [derived(purpose, item.key) for item in self._signing]

    @cached_property
    def _signing(self) -> Sequence[SigningKey]:
        return signing_keys(self.config, self._context.settings)

    @cached_property
    def _epoch_keys(self) -> list[bytes]:
        """One for each signing key: what an earlier key signed stays valid until that key is taken away."""
        return self.derived_keys("epoch")

    def accepts(self, account: Account, epoch: Any) -> bool:
        """Whether the account may be used, and its password is the one that this epoch was of."""
        return self._facts.is_active(account) and self.same_epoch(account, epoch)

    def same_epoch(self, account: Account, epoch: Any) -> bool:
        """Whether the account's password is the one that this epoch was of."""
        given = str(epoch).encode("utf-8", "replace")
        key, hashed = account[self._facts.key], account[PASSWORD]
        return any(
            hmac.compare_digest(_epoch(secret, key, hashed).encode(), given) for secret in self._epoch_keys
        )

    # ---- the principal -------------------------------------------------------------------------------------

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be."""
        return self.caller(self._facts.account_of(user), {})

    def caller(
        self,
        account: Account,
        claims: Mapping[str, Any],
        *,
        method: str = "jwt",
        scopes: frozenset[str] = EVERY_SCOPE,
    ) -> Principal:
        """The principal of an account that proved itself by this method."""
        facts = self._facts
        key = account[facts.key]
        admin = bool(account[facts.admin_flag])
        roles = _ADMIN if admin else _NOBODY
        if facts.has_roles:
            roles |= words(account.get("role")) | words(account.get("roles"))
        granted = [name for role in roles for name in self._role_permissions.get(role, ())]
        return Principal(
            id=key,
            sub=str(account[self.subject]),
            username=account.get("username"),
            email=account.get("email"),
            is_admin=admin,
            roles=roles,
            permissions=words(account.get("permissions")).union(granted),
            scopes=scopes,
            claims=Claims(claims),
            method=method,
            impersonated_by=claims.get("impersonated_by"),
        )

    async def load_user(self, principal: Principal | None, work: UnitOfWork) -> Any:
        """The caller's row as an object of the request's session; None for nobody."""
        return None if principal is None else await work.session().get(self.user_model, principal.id)


def session_name(claims: Mapping[str, Any]) -> str:
    """What a token belongs to: its session; without sessions, its account."""
    name: str = claims.get("sid") or claims["sub"]
    return name


def revoked() -> Problem:
    """401 for what was good and is no more."""
    return refused("The access token is no longer valid", code="token_revoked")


def _epoch(secret: bytes, key: Any, hashed_password: str | None) -> str:
    """Ties a token to the account and its password: it ends with either of them."""
    return hmac.digest(secret, f"{key}\0{hashed_password}".encode(), "sha256").hex()[:_EPOCH]


def _two_epochs(joined: str) -> tuple[str, str]:
    return joined[:_EPOCH], joined[_EPOCH:]


def words(value: Any) -> frozenset[str]:
    """Roles as a column holds them: a list, or words separated by commas or spaces."""
    if value is None:
        return _NOBODY
    if isinstance(value, str):
        return frozenset(value.replace(",", " ").split())
    many = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return frozenset(str(getattr(item, "value", item)) for item in many)
