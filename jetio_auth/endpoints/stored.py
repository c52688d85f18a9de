"""POST /register and GET /me for accounts of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field

from jetio import JsonResponse, Operation, Principal, Request

from ..names import canonical
from ..stores.accounts import UserRead, document_of_user
from .me import about
from .tokens import device_of

if TYPE_CHECKING:
    from ..stores.router import StoredAuthRouter

__all__ = ["StoredMeOperation", "StoredRegisterOperation"]

_NO_STORE = {"Cache-Control": "no-store"}


class StoredRegister(BaseModel):
    """A new account."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    email: Annotated[EmailStr, AfterValidator(canonical), Field(max_length=320)]
    password: str = Field(repr=False, json_schema_extra={"format": "password"})


class StoredRegistered(BaseModel):
    """The account that was made, and whether it may log in."""

    message: str
    status: str
    user: UserRead


class StoredMe(UserRead):
    """The account that is logged in."""

    roles: list[str]
    permissions: list[str]
    claims: dict[str, Any]
    auth: dict[str, Any]


class StoredRegisterOperation(Operation):
    """Anybody may register."""

    def __init__(self, auth: StoredAuthRouter) -> None:
        self.auth = auth
        super().__init__(
            "POST", self.register, status_code=201, tags=["auth"], problems=[409, 429],
            response_model=StoredRegistered,
        )  # fmt: skip

    async def register(self, request: Request, body: StoredRegister) -> JsonResponse:
        """Create an account."""
        accounts, device = self.auth.accounts, device_of(request)
        await accounts.admit_registration({"email": body.email}, body.password, address=device.address)
        user = await self.auth.register(email=body.email, password=body.password)
        waits = accounts.facts.approval is not None
        content = {
            "message": "Account created; it waits for approval" if waits else "Account created",
            "status": "pending" if waits else "active",
            "user": document_of_user(user),
        }
        return JsonResponse(content, status_code=201, headers=_NO_STORE)


class StoredMeOperation(Operation):
    """The caller's own account."""

    def __init__(self, auth: StoredAuthRouter) -> None:
        self.auth = auth
        policy = auth.account_required()
        super().__init__("GET", self.me, tags=["auth"], policy=policy, response_model=StoredMe)

    async def me(self, principal: Principal) -> JsonResponse:
        """The account that is logged in."""
        user = await self.auth.accounts.source.find(principal.sub)
        shown = document_of_user(user) if user is not None else {}
        return JsonResponse({**shown, **about(principal)}, headers=_NO_STORE)
