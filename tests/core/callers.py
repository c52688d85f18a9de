"""A caller for tests: whom the headers name."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection

from jetio import Principal, Problem


class Finder:
    """The caller is whom `x-user` names, with the roles of `x-roles`; `x-user: bad` is a bad credential."""

    user_model = None
    schemes = ()

    async def identify(self, connection: HTTPConnection, work: Any) -> Principal | None:
        name = connection.headers.get("x-user")
        if name == "bad":
            raise Problem(401, "not_authenticated", "No such caller")
        return None if name is None else principal(name, *connection.headers.get("x-roles", "").split())

    def principal_of(self, user: Any) -> Principal:
        return principal(str(user))


def principal(name: str, *roles: str) -> Principal:
    """A caller of that name."""
    return Principal(id=name, sub=name, roles=frozenset(roles), is_admin="admin" in roles)


def headers(name: str, *roles: str) -> dict[str, str]:
    """What makes a request this caller's."""
    return {"x-user": name, "x-roles": " ".join(roles)}
