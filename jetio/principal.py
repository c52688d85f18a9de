"""Who is asking: the caller as every policy sees it, and what finds the caller out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from .database import UnitOfWork
    from .dialects import Query

__all__ = ["Authenticator", "Principal", "Recall", "Recalled", "SecurityScheme", "identify", "recall_of"]

_NONE: frozenset[str] = frozenset()
_EMPTY: Mapping[str, Any] = {}
ABOUT_TOKENS = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "typ"}
    | {"epoch", "impersonated_by", "scope", "amr", "auth_time", "sid"}
)
"""Claims that are of the token, and say nothing else of the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller: who it is, what it may do, how it proved it.

    `id` has the type of the user model's key (None when the caller has no row); `sub` is the same as text.
    `scopes` are those of the token, as patterns: a login has `*`.
    """

    id: Any
    sub: str
    username: str | None = None
    email: str | None = None
    is_admin: bool = False
    roles: frozenset[str] = _NONE
    permissions: frozenset[str] = _NONE
    scopes: frozenset[str] = _NONE
    claims: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, repr=False)
    method: str = "custom"
    impersonated_by: str | None = None

    def has_role(self, role: str) -> bool:
        """Whether the caller has that role; admins have the role `admin`."""
        return role in self.roles

    @property
    def extra(self) -> dict[str, Any]:
        """The claims that the application added to the token, and `is_admin`. For display: rules read `roles`."""
        own = {name: value for name, value in self.claims.items() if name not in ABOUT_TOKENS}
        return {**own, "is_admin": self.is_admin}

    @property
    def groups(self) -> frozenset[str]:
        """The claim `groups`: a list of names, or one name."""
        given = self.claims.get("groups")
        many = [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
        return frozenset(item for item in many if isinstance(item, str))

    @property
    def org_id(self) -> str | None:
        """The claim `org_id`."""
        given = self.claims.get("org_id")
        return None if given is None else str(given)

    @property
    def jti(self) -> str | None:
        """The id of the token that the caller showed."""
        given: str | None = self.claims.get("jti")
        return given


@dataclass(frozen=True, slots=True)
class SecurityScheme:
    """One way to authenticate, as OpenAPI describes it; `definition` is the Security Scheme Object."""

    name: str
    definition: Mapping[str, Any]


class Recalled(NamedTuple):
    """Whom a credential stood for the last time, and the question that confirms it.

    The caller is `principal` if the query, asked with these values, finds one row, and the driver gives it as `row`.
    """

    principal: Principal
    query: Query
    values: Mapping[str, Any]
    row: tuple[Any, ...]


Recall = Callable[["HTTPConnection", "UnitOfWork"], Recalled | None]


@runtime_checkable
class Authenticator(Protocol):
    """Turns what a request carries into a Principal. `jetio_auth` brings one; write your own for others.

    With `async def load_user(principal, work)` it also gives the row that `Depends` on a rule hands over. With
    `def recall(connection, work) -> Recalled | None` a single row may be read by the statement that confirms the
    caller. Whoever is recalled and confirmed is whom `identify` would find.
    """

    @property
    def user_model(self) -> type[Any] | None:
        """The model of the accounts, None when there is none."""
        ...

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        """The security schemes that the API documents."""
        ...

    async def identify(self, connection: HTTPConnection, work: UnitOfWork) -> Principal | None:
        """The caller; None when the request carries no credential. A bad credential raises a 401 problem."""
        ...

    def principal_of(self, user: Any) -> Principal:
        """The principal that this account would be; what tests log in with."""
        ...


async def identify(
    authenticator: Authenticator, connection: HTTPConnection, work: UnitOfWork
) -> Principal | None:
    """The caller; a layer before the application may have put it into `scope["jetio.principal"]` already."""
    known: Principal | None = connection.scope.get("jetio.principal")
    return known if known is not None else await authenticator.identify(connection, work)


def recall_of(authenticator: Authenticator | None) -> Recall | None:
    """The authenticator's `recall`; None without one, and where a class below it identifies in a way of its own."""
    kinds = map(vars, type(authenticator).__mro__)
    nearest: Mapping[str, Any] = next((own for own in kinds if own.keys() & {"identify", "recall"}), {})
    return getattr(authenticator, "recall", None) if "recall" in nearest else None
