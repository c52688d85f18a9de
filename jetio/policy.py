"""Who may do what to which rows: rules, how they combine, and what they are told."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnElement

from .body import BodyRequest, RequestBody
from .callables import hints_of, runner
from .decisions import ALLOW, Allow, AllowWhere, Clause, Combinations, Decision, Deny, both, either, negated
from .errors import ConfigError, Problem, unauthenticated
from .params import Marker, Needed
from .principal import Authenticator, Principal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.requests import HTTPConnection

    from .database import UnitOfWork

__all__ = [
    "ALLOW",
    "Access",
    "Allow",
    "AllowWhere",
    "Decision",
    "Deny",
    "Policy",
    "PolicyContext",
    "authenticated",
    "both",
    "either",
    "negated",
    "policy",
    "public",
    "read_only",
    "rows",
]

SAFE_VERBS = frozenset({"GET", "HEAD", "OPTIONS"})

_UNREAD: Any = object()


class Access:
    """What a policy is asked about: who wants to do what. The body is not read yet, so it is not here."""

    __slots__ = (
        "_finder", "_item_id", "_origin", "_read_key", "_request", "_user",
        "action", "model", "principal", "verb", "work",
    )  # fmt: skip

    def __init__(
        self,
        request: HTTPConnection | RequestBody,
        principal: Principal | None,
        work: UnitOfWork,
        *,
        action: str = "",
        verb: str = "GET",
        model: type[Any] | None = None,
        item_id: Any = None,
        finder: Authenticator | None = None,
    ) -> None:
        self._request = request
        self.principal = principal
        self.work = work
        self.action = action
        self.verb = verb
        self.model = model
        self._item_id = item_id
        self._read_key: Callable[[], Any] | None = None
        self._finder = finder
        self._origin: Access | None = None  # never itself: only the collector would free it
        self._user: Any = _UNREAD

    @property
    def request(self) -> HTTPConnection:
        """The request, or the WebSocket on its way."""
        if isinstance(self._request, RequestBody):
            self._request = BodyRequest(self._request)  # most rules never look at it
        return self._request

    @property
    def item_id(self) -> Any:
        """The key of the row that is wanted, of the column's type, a tuple where it has several; None for a list.

        Raises 404 for what is no key.
        """
        if self._read_key is not None:
            self._item_id, self._read_key = self._read_key(), None
        return self._item_id

    def key_from(self, read: Callable[[], Any]) -> None:
        """Let `item_id` be read when a rule asks for it."""
        self._read_key = read

    @property
    def session(self) -> AsyncSession:
        """A session in the request's own transaction."""
        return self.work.session()

    async def user(self) -> Any:
        """The caller's row as an object, loaded once; None for nobody, and for a caller without a row."""
        asked = self._origin or self
        if asked._user is _UNREAD:
            load = getattr(asked._finder, "load_user", None)
            found = load is not None and self.principal is not None
            asked._user = await load(self.principal, self.work) if load and found else None
        return asked._user

    def towards(self, model: type[Any], action: str) -> Access:
        """The same caller asking about another model."""
        origin = self._origin or self
        access = Access(origin.request, self.principal, self.work, action=action, model=model)
        access._origin = origin
        return access


class PolicyContext(Protocol):
    """What a policy may learn at build."""

    @property
    def authenticator(self) -> Authenticator | None: ...

    @property
    def model(self) -> type[Any] | None:
        """The model whose rows are guarded; None on a handler, which has none."""
        ...

    def owner_column(self, model: type[Any], candidates: tuple[str, ...] | None = None) -> ColumnElement[Any]:
        """The column of the model that names the owner; raises ConfigError when there is none."""
        ...


class Policy:
    """A rule that can be combined with `&`, `|` and `~`; `bind` runs once, at build."""

    authenticator: Authenticator | None = None
    """Set by rules that know how to find the caller; the application's own is used otherwise."""

    admits_anonymous: bool = False
    """Whether somebody who is not signed in may pass: documentation then says that login is optional."""

    needs_caller: bool = False
    """Whether the rule is pointless where nothing finds out who is calling: the build refuses that."""

    knows_caller: bool = False
    """Whether the rule itself finds out who is calling, as dependencies of old do."""

    hides: bool = False
    """Whether a route under the rule must look, to whoever it refuses, as if it were not there."""

    refused_schemes: frozenset[str] = frozenset()
    """Security schemes by which nobody ever passes: documentation leaves them out."""

    is_pure: bool = False
    """Whether the decision follows from the principal and the operation, and nothing happens by asking.

    Such a rule may be asked about a caller who is not confirmed yet. Each class says so of its own `__call__`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        says = next(kind for kind in cls.__mro__ if vars(kind).keys() & {"__call__", "is_pure"})
        cls.is_pure = vars(says).get("is_pure", False)

    async def __call__(self, access: Access) -> Decision:
        raise NotImplementedError

    def bind(self, context: PolicyContext) -> Policy:
        """This rule with what it needs from the application; raises ConfigError."""
        return self

    def __and__(self, other: PolicyLike) -> Policy:
        return _Pair(self, as_policy(other), both, "&")

    def __rand__(self, other: PolicyLike) -> Policy:
        return as_policy(other) & self

    def __or__(self, other: PolicyLike) -> Policy:
        return _Pair(self, as_policy(other), either, "|")

    def __ror__(self, other: PolicyLike) -> Policy:
        return as_policy(other) | self

    def __invert__(self) -> Policy:
        return _Not(self)

    def __repr__(self) -> str:
        return type(self).__name__.strip("_").lower()


PolicyLike = Policy | Callable[..., Any]
RuleFunction = Callable[[Access], Awaitable[Decision]] | Callable[[Access], Decision]


class _Pair(Policy):
    def __init__(
        self, first: Policy, second: Policy, combine: Callable[[Decision, Decision], Decision], sign: str
    ) -> None:
        self.first, self.second, self.combine, self.sign = first, second, combine, sign
        self._settled = Deny if sign == "&" else Allow
        self._made = Combinations()
        self.authenticator = first.authenticator or second.authenticator
        self.needs_caller = first.needs_caller or second.needs_caller
        self.knows_caller = first.knows_caller or second.knows_caller
        self.hides = first.hides or second.hides
        self.is_pure = first.is_pure and second.is_pure
        refused = (first.refused_schemes, second.refused_schemes)
        self.refused_schemes = refused[0] | refused[1] if sign == "&" else refused[0] & refused[1]
        told = (first.admits_anonymous, second.admits_anonymous)
        self.admits_anonymous = all(told) if sign == "&" else any(told)

    async def __call__(self, access: Access) -> Decision:
        first = await self.first(access)
        if isinstance(first, self._settled):
            return first
        both = first, await self.second(access)
        return self._made.get(both) or self._made.keep(both, self.combine(*both))

    def bind(self, context: PolicyContext) -> Policy:
        return _Pair(self.first.bind(context), self.second.bind(context), self.combine, self.sign)

    def __repr__(self) -> str:
        return f"({self.first!r} {self.sign} {self.second!r})"


class _Not(Policy):
    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self._made = Combinations()
        self.authenticator = inner.authenticator
        self.needs_caller = inner.needs_caller
        self.knows_caller = inner.knows_caller
        self.hides = inner.hides
        self.is_pure = inner.is_pure
        self.admits_anonymous = inner.admits_anonymous

    async def __call__(self, access: Access) -> Decision:
        decision = await self.inner(access)
        if isinstance(decision, Deny) and access.principal is None:
            return decision
        return self._made.get((decision,)) or self._made.keep((decision,), negated(decision))

    def bind(self, context: PolicyContext) -> Policy:
        return _Not(self.inner.bind(context))

    def __repr__(self) -> str:
        return f"~{self.inner!r}"


class _Function(Policy):
    """A function of the access; any answer but a Decision is an error, and nobody is let in."""

    admits_anonymous = True  # it may: nobody knows before it is asked

    def __init__(self, function: RuleFunction) -> None:
        self.function, self._ask = function, runner(function)

    async def __call__(self, access: Access) -> Decision:
        decision: Any = await self._ask(access)
        if isinstance(decision, Decision):
            return decision
        kind = type(decision).__name__
        raise TypeError(f"the rule {self!r} returned a {kind}; return Allow(), Deny() or AllowWhere(clause)")

    def __repr__(self) -> str:
        return _name(self.function)


class _OldStyle(Policy):
    """A dependency callable of `request, db, item_id` that returns the user: it gates, it does not narrow."""

    knows_caller = True

    def __init__(self, function: Callable[..., Any], names: tuple[str, ...], *, alone: bool = True) -> None:
        self.function, self.names, self.alone = function, names, alone
        self._ask = runner(function)

    def bind(self, context: PolicyContext) -> Policy:
        return _OldStyle(self.function, self.names, alone=context.authenticator is None)

    async def __call__(self, access: Access) -> Decision:
        given: dict[str, Any] = {"request": access.request}
        if "item_id" in self.names:
            try:
                given["item_id"] = access.item_id
            except Problem:
                if access.principal is None and not self.alone:
                    return Deny()  # whom the application does not know is not told what a key looks like
                raise
        if "db" in self.names or "session" in self.names:
            given |= {"db": access.session, "session": access.session}
        user = await self._ask(**{name: given[name] for name in self.names})
        if not user:
            return Deny(problem=unauthenticated())
        access.principal = access.principal or _principal_of(user)
        return ALLOW

    def __repr__(self) -> str:
        return _name(self.function)


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _principal_of(user: Any) -> Principal:
    if isinstance(user, Principal):
        return user
    identity = getattr(user, "id", None)
    return Principal(
        id=identity,
        sub=str(identity if identity is not None else user),
        username=getattr(user, "username", None),
        email=getattr(user, "email", None),
        is_admin=bool(getattr(user, "is_admin", False)),
    )


def gives_policy(function: Any) -> bool:
    """Whether this makes a rule when it is called, as `auth.admin_only` does: forgotten parentheses."""
    try:
        given = hints_of(function, {}).get("return")
    except Exception:  # a signature that cannot be read is told where it is read
        return False
    return inspect.isclass(given) and issubclass(given, Policy)


_OLD_NAMES = frozenset({"request", "db", "session", "item_id"})


def as_policy(given: PolicyLike) -> Policy:
    """A Policy of whatever an application may give as one; raises ConfigError for anything else."""
    if isinstance(given, Policy):
        return given
    if not callable(given):
        raise ConfigError(
            f"{given!r} is no policy; write a function of `access`, or auth.owner_or_admin(Model)"
        )
    if inspect.isclass(given):
        raise ConfigError(f"the policy {given.__name__} is a class; write {given.__name__}()")
    if gives_policy(given):
        raise ConfigError(f"{_name(given)} makes a rule and is none; write {_name(given)}(...)")
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError):
        raise ConfigError(
            f"the parameters of the policy {_name(given)} are not known; write `async def rule(access)`"
        ) from None
    needed = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    names = tuple(item.name for item in needed)
    if any(isinstance(item.default, Needed | Marker) for item in needed):
        raise ConfigError(
            f"the policy {_name(given)!r} takes ({', '.join(names)}), and nothing fills Depends() here; write "
            f"`async def {_name(given)}(request, db, item_id)`, or `async def {_name(given)}(access)`"
        )
    if names and set(names) <= _OLD_NAMES:
        return _OldStyle(given, names)
    if len([item for item in needed if item.default is item.empty]) == 1:
        return _Function(given)
    raise ConfigError(
        f"the policy {_name(given)!r} takes ({', '.join(names)}); write `async def rule(access)`, "
        "or a dependency of request, db and item_id"
    )


def policy(function: RuleFunction) -> Policy:
    """Make a rule of a function: `async def rule(access) -> Decision`; a plain `def` runs in a thread."""
    return _Function(function)


class _Public(Policy):
    admits_anonymous = True
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        return ALLOW


class _Authenticated(Policy):
    needs_caller = True
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        return Deny() if access.principal is None else ALLOW


class _Rows(Policy):
    admits_anonymous = True

    def __init__(self, clause: Callable[[Access], Clause]) -> None:
        self.clause = clause

    def bind(self, context: PolicyContext) -> Policy:
        if context.model is None:
            raise ConfigError("rows() chooses rows, and a handler has none; use it on a CrudRouter")
        return self

    async def __call__(self, access: Access) -> Decision:
        return AllowWhere(self.clause(access))


class _ReadOnly(Policy):
    admits_anonymous = True
    is_pure = True

    async def __call__(self, access: Access) -> Decision:
        return ALLOW if access.verb in SAFE_VERBS else Deny(detail="This is read-only")


def public() -> Policy:
    """Everybody, signed in or not."""
    return PUBLIC


def authenticated() -> Policy:
    """Everybody who is signed in."""
    return AUTHENTICATED


def rows(clause: Callable[[Access], Clause]) -> Policy:
    """The rows for which the clause is true: `rows(lambda access: Post.published)`.

    The function only writes the clause down, so it is called in the event loop; one that waits for anything
    is a `policy`.
    """
    return _Rows(clause)


def read_only() -> Policy:
    """Everybody may read, nobody may write."""
    return _ReadOnly()


PUBLIC: Policy = _Public()
AUTHENTICATED: Policy = _Authenticated()
