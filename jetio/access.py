"""Who may do what: the rules of every operation, asked for each kind of caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from .errors import Problem
from .policy import SAFE_VERBS, Access, AllowWhere, Decision, Deny, Policy
from .principal import Principal

if TYPE_CHECKING:
    from .database import Database
    from .routing import Endpoint

__all__ = ["AccessRow", "access_matrix"]

NOBODY = -1
"""The key of a caller that owns nothing: no database counts below zero."""

_EVERY = frozenset({"*"})  # whoever has logged in has every scope


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One operation, and a word for each kind of caller: `allow`, `rows` (some of them), `deny`, or `asks`.

    `asks`: the rule needs a real request.
    """

    method: str
    path: str
    callers: Mapping[str, str]

    @property
    def public_write(self) -> bool:
        """Whether everybody may change something here."""
        return self.method not in SAFE_VERBS and self.callers["anonymous"] == "allow"


def access_matrix(
    endpoints: Iterable[tuple[str, Endpoint]], database: Database, roles: Iterable[str] = ()
) -> list[AccessRow]:
    """The matrix of built endpoints, in order of registration."""
    return asyncio.run(_matrix(list(endpoints), database, callers(roles)))


def callers(roles: Iterable[str]) -> dict[str, Principal | None]:
    """One principal per kind of caller."""
    known: dict[str, Principal | None] = {
        "anonymous": None,
        "user": Principal(id=NOBODY, sub=str(NOBODY), username="user", scopes=_EVERY),
        "admin": Principal(
            id=NOBODY,
            sub=str(NOBODY),
            username="admin",
            is_admin=True,
            roles=frozenset({"admin"}),
            scopes=_EVERY,
        ),
    }
    for role in roles:
        known[role] = Principal(
            id=NOBODY, sub=str(NOBODY), username=role, roles=frozenset({role}), scopes=_EVERY
        )
    return known


async def _matrix(
    endpoints: list[tuple[str, Endpoint]], database: Database, kinds: Mapping[str, Principal | None]
) -> list[AccessRow]:
    rows = []
    for path, endpoint in endpoints:
        told = {kind: await _ask(endpoint, path, principal, database) for kind, principal in kinds.items()}
        rows.append(AccessRow(endpoint.method, path, told))
    return rows


async def _ask(endpoint: Endpoint, path: str, principal: Principal | None, database: Database) -> str:
    spec = endpoint.spec
    if spec.needs_login and principal is None:
        return "deny"
    found = "allow"
    for rule in spec.rules:
        told = await _judge(rule, endpoint, path, principal, database)
        if told != "allow":
            found = told
        if told == "deny":
            break
    return found


async def _judge(
    rule: Policy, endpoint: Endpoint, path: str, principal: Principal | None, database: Database
) -> str:
    access = Access(
        _request(endpoint.method, path), principal, database.unit_of_work(writes=False),
        action=endpoint.spec.action, verb=endpoint.method, model=endpoint.spec.model,
    )  # fmt: skip
    try:
        decision = await rule(access)
    except Problem as problem:
        return "deny" if problem.status in (401, 403, 404) else "asks"
    except Exception:  # the rule reads a body, a row or a header that only a real request has
        return "asks"
    finally:
        await access.work.rollback()
    return _word(decision)


def _word(decision: Decision) -> str:
    if isinstance(decision, Deny):
        return "deny"
    return "rows" if isinstance(decision, AllowWhere) else "allow"


def _request(method: str, path: str) -> Request:
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [], "path_params": {}, "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80),
    }  # fmt: skip
    return Request(scope)
