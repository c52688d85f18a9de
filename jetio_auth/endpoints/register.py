"""POST /register: the user model's own fields and a password."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, create_model
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession

from jetio import (
    Application,
    BackgroundTasks,
    JsonResponse,
    Operation,
    Request,
    document_of,
    read_schema,
    resource_of,
    schemas_for,
)

from ..events import AuthEvent
from ..mail.letters import Letters
from ..model import ADMIN_FLAGS, UserModel
from ..passwords import PasswordPolicy
from .tokens import device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["RegisterOperation"]

_log = logging.getLogger("jetio.auth")
_LOOK = "Account created; a mail to its address has the link that confirms it"
_WAITS = "Account created; it waits for approval"
_LOOK_AND_WAIT = f"{_WAITS}, and a mail to its address has the link that confirms it"


class RegisterOperation(Operation):
    """Its body is made of the model, which is complete only at build."""

    def __init__(self, auth: AuthRouter) -> None:
        self.auth = auth
        super().__init__("POST", self.register, status_code=201, tags=["auth"], problems=[409, 429])

    def build(self, app: Application, path: str) -> None:
        facts = self.auth.accounts.facts
        self.privileged = frozenset(_privileged(facts))
        body = registration_schema(facts, self.auth.accounts.passwords.policy)

        async def register(request: Any, body: Any, session: Any, later: Any) -> Any:
            return await self.register(request, body, session, later)

        register.__annotations__ = {
            "request": Request,
            "body": body,
            "session": AsyncSession,
            "later": BackgroundTasks,
        }
        self.handler = register
        self.response_model = _answer(facts, unseen=self._letters is not None)
        super().build(app, path)

    async def register(
        self, request: Request, body: BaseModel, session: AsyncSession, later: BackgroundTasks
    ) -> JsonResponse:
        """Create an account."""
        fields = type(body).model_fields
        given = {
            fields[name].alias or name: getattr(body, name)
            for name in body.model_fields_set
            if name not in self.privileged
        }
        accounts, password, device = self.auth.accounts, given.pop("password"), device_of(request)
        if self.auth.dev_superusers:
            given[accounts.facts.admin_flag] = True
            _log.warning("an admin for development: %s registers with dev_superusers=True", device.address)
        await accounts.admit_registration(given, password, address=device.address)
        if self._letters is not None:
            return await self._register_unseen(request, given, password, session, later, self._letters)
        user = await accounts.register(session, given, password)
        await self._told(user, request, session, later)
        waits = accounts.facts.approval is not None
        content = {
            "message": _WAITS if waits else "Account created",
            "status": "pending" if waits else "active",
            "user": document_of(user),
        }
        return JsonResponse(content, status_code=201, headers={"Cache-Control": "no-store"})

    @property
    def _letters(self) -> Letters | None:
        """There where addresses are confirmed."""
        mailing = self.auth.mailing
        return None if mailing is None or mailing.addresses is None else mailing.letters

    async def _register_unseen(
        self,
        request: Request,
        given: Mapping[str, Any],
        password: str,
        session: AsyncSession,
        later: BackgroundTasks,
        letters: Letters,
    ) -> JsonResponse:
        """Whether the email was free is told to whoever reads its mail, and to nobody else."""
        accounts = self.auth.accounts
        user = await accounts.register_unseen(session, given, password)
        if user is None:
            later.add_task(letters.taken, given["email"])
        else:
            await self._told(user, request, session, later)
            later.add_task(letters.link, "verify_email", accounts.facts.account_of(user))
        waits = accounts.facts.approval is not None
        content = {
            "message": _LOOK_AND_WAIT if waits else _LOOK,
            "status": "pending" if waits else "unverified",
            "user": None,
        }
        return JsonResponse(content, status_code=201, headers={"Cache-Control": "no-store"})

    async def _told(self, user: Any, request: Request, session: AsyncSession, later: BackgroundTasks) -> None:
        device = device_of(request)
        key = str(getattr(user, self.auth.accounts.facts.key))
        event = AuthEvent(name="user.registered", user_id=key, address=device.address, agent=device.agent)
        await self.auth.events.write(event, session)
        later.add_task(self.auth.events.announce, event)


def _answer(facts: UserModel, *, unseen: bool) -> type[BaseModel]:
    user: Any = None if unseen else read_schema(resource_of(facts.model))
    return create_model(
        f"{facts.model.__name__}Registered", message=(str, ...), status=(str, ...), user=(user, ...)
    )


def registration_schema(facts: UserModel, policy: PasswordPolicy) -> type[BaseModel]:
    """What anybody may set, the password, and the privileged fields with the value they will have anyway."""
    create = schemas_for(resource_of(facts.model)).create
    length = {"minLength": policy.min_length, "maxLength": policy.max_bytes}
    password: Any = Field(json_schema_extra={"format": "password", **length}, repr=False)
    extra: dict[str, Any] = {"password": (str, password)}
    for name, default in _privileged(facts).items():
        extra[name] = (SkipJsonSchema[Annotated[Any, AfterValidator(_only(default))]], None)  # type: ignore[misc]
    title = f"{facts.model.__name__}Register"
    return create_model(title, __base__=create, __doc__="A new account.", **extra)


def _privileged(facts: UserModel) -> Mapping[str, Any]:
    """Fields that nobody gives to themselves, with what a new account gets."""
    fields = resource_of(facts.model).fields.values()
    flags = {*ADMIN_FLAGS, facts.admin_flag}
    return {item.name: item.shown_default for item in fields if item.name in flags or item.admin_write}


def _only(default: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value != default or isinstance(value, bool) != isinstance(default, bool):
            raise PydanticCustomError("read_only_field", "This field is not yours to set")
        return value

    return check
