"""GET and PATCH /users/me; GET /users; GET, PATCH and DELETE /users/{id}: a CrudRouter of the accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, TypeAdapter, create_model
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from jetio import (
    Application,
    BodySpec,
    Change,
    CrudRouter,
    Endpoint,
    FieldError,
    JsonResponse,
    Operation,
    Principal,
    Request,
    Response,
    ValidationError,
    document_of,
    parse_json,
    read_body,
    read_schema,
    require_json,
    resource_of,
    schemas_for,
)

from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["own_user_routes", "user_router"]

MEDIA = ("application/json", "application/merge-patch+json")
_PASSWORD = "jetio_auth.new_password"  # noqa: S105 - the name of an entry in the scope
_ANNOUNCED = "jetio_auth.password_changed"


class PasswordPart(BaseModel):
    """What a change of one's own account may hold beside the model's fields."""

    password: str | None = Field(default=None, repr=False, json_schema_extra={"format": "password"})
    current_password: str | None = Field(default=None, repr=False, json_schema_extra={"format": "password"})


def user_router(auth: AuthRouter) -> CrudRouter:
    """The accounts under `self_or_admin`; creating is `/register`, and deleting is for admins."""
    own = auth.self_or_admin()
    router = CrudRouter(
        auth.user_model,
        policy={"GET": own, "PATCH": own, "DELETE": auth.admin_only()},
        actions=["list", "retrieve", "update", "delete"],
        tags=["users"],
    )

    async def store_password(change: Change) -> None:
        """In the transaction of the other fields."""
        scope = change.access.request.scope
        if _PASSWORD in scope:
            scope[_ANNOUNCED] = await auth.logins.store_password(change.access.work, *scope[_PASSWORD])

    async def announce(change: Change) -> None:
        if (event := change.access.request.scope.get(_ANNOUNCED)) is not None:
            await auth.events.announce(event)

    router.on("before_update")(store_password)
    router.on("on_commit")(announce)
    return router


def own_user_routes(auth: AuthRouter, update: Endpoint) -> Iterator[Operation]:
    """The caller's own account; `update` is the PATCH of any."""
    yield _ReadMe(auth)
    yield _ChangeMe(auth, update)


class _ReadMe(Operation):
    """Its answer is made of the model, which is complete only at build."""

    def __init__(self, auth: AuthRouter) -> None:
        self.auth = auth
        super().__init__("GET", self.read_own_user, tags=["users"], policy=auth.account_required())

    def build(self, app: Application, path: str) -> None:
        self.response_model = read_schema(resource_of(self.auth.accounts.facts.model))
        super().build(app, path)

    async def read_own_user(self, principal: Principal, session: AsyncSession) -> JsonResponse:
        """Your account."""
        user: Any = await session.get(self.auth.user_model, principal.id)
        return JsonResponse(document_of(user), headers={"Cache-Control": "no-store"})


class _ChangeMe(Operation):
    """Judges the password, and hands the rest to the PATCH of any account."""

    def __init__(self, auth: AuthRouter, update: Endpoint) -> None:
        self.auth, self.update = auth, update
        problems = [400, 409, 412, 413, 415, 422, 429]
        super().__init__(
            "PATCH", self.change_own_user, tags=["users"], policy=auth.own_account(), problems=problems
        )

    def build(self, app: Application, path: str) -> None:
        resource = resource_of(self.auth.accounts.facts.model)
        self.response_model = read_schema(resource)
        super().build(app, path)
        parts: dict[str, Any] = {
            name: (info.annotation, info) for name, info in PasswordPart.model_fields.items()
        }
        patch = create_model(f"{resource.title}MePatch", __base__=schemas_for(resource).patch, **parts)
        self.spec.body = BodySpec(MEDIA, TypeAdapter(patch))

    async def change_own_user(self, request: Request, principal: Principal) -> Response:
        """Change your account. A new password needs `current_password`, and ends all your sessions."""
        raw = await read_body(request.scope, request.receive, self.limit)
        require_json(request.scope, MEDIA)
        part = _password_part(raw)
        kept: dict[str, Any] = {}
        if part is not None:
            raw = _without(raw, part)
            if part.password is not None:
                kept[_PASSWORD] = await self._judged(request, principal, part)
        return _Forwarded(self.update, str(principal.id), raw, kept)

    async def _judged(self, request: Request, principal: Principal, part: PasswordPart) -> tuple[Any, ...]:
        """What the other transaction stores; nothing is held while passwords are hashed."""
        if part.current_password is None:
            told = "A new password needs the current one"
            raise ValidationError([FieldError("missing", told, pointer="/current_password")])
        device = device_of(request)
        account, hashed = await self.auth.logins.prove_and_hash(
            principal, part.current_password, part.password or "", device, "/password"
        )
        return account, hashed, device


def _password_part(raw: bytes) -> PasswordPart | None:
    """None where the body says nothing of a password: then it is not touched."""
    if b'password"' not in raw and b"\\u" not in raw:
        return None
    part: PasswordPart = parse_json(PasswordPart.__pydantic_validator__, raw, PasswordPart.model_fields)
    return part if part.model_fields_set else None


def _without(raw: bytes, part: PasswordPart) -> bytes:
    document: Mapping[str, Any] = json.loads(raw)
    return json.dumps(
        {key: value for key, value in document.items() if key not in part.model_fields_set}
    ).encode()


class _Forwarded(Response):
    """The answer of another endpoint to this request, with another key and body."""

    def __init__(self, endpoint: Endpoint, key: str, body: bytes, kept: Mapping[str, Any]) -> None:
        super().__init__()
        self._endpoint, self._key, self._body_sent, self._kept = endpoint, key, body, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", str(len(self._body_sent)).encode())
        headers = [
            item for item in scope["headers"] if item[0] not in (b"content-length", b"transfer-encoding")
        ]
        inner = {**scope, **self._kept, "path_params": {"id": self._key}, "headers": [*headers, length]}
        inner.pop("jetio.body", None)

        async def whole() -> Message:
            return {"type": "http.request", "body": self._body_sent, "more_body": False}

        await self._endpoint(inner, whole, send)
