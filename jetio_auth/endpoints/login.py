"""POST /login: JSON or the OAuth2 password form, by username or email."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import SkipJsonSchema

from jetio import (
    Application,
    BodySpec,
    FieldError,
    JsonResponse,
    Operation,
    Request,
    ValidationError,
)

from .forms import MEDIA, read_form
from .tokens import TokenAnswers, TokenPair, device_of

if TYPE_CHECKING:
    from ..router import AuthRouter

__all__ = ["LoginBody", "LoginOperation", "identity_in"]


class LoginBody(BaseModel):
    """A name, `username` or `email`, and the password. The OAuth2 form's other fields mean nothing here."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    username: str | None = Field(default=None, description="The username, or the email")
    email: str | None = None
    password: str = Field(json_schema_extra={"format": "password"}, repr=False)
    grant_type: SkipJsonSchema[str | None] = None
    scope: SkipJsonSchema[str | None] = None
    client_id: SkipJsonSchema[str | None] = None
    client_secret: SkipJsonSchema[str | None] = Field(default=None, repr=False)


class LoginWithCode(LoginBody):
    """The same, and at once a code of the account's authenticator, or a recovery code."""

    otp: str | None = Field(default=None, repr=False, max_length=60)


class LoginOperation(Operation):
    """Two media types for one body: read by hand, documented here."""

    def __init__(self, auth: AuthRouter) -> None:
        self.auth, self.tokens = auth, TokenAnswers(auth.authenticator)
        self.body: type[LoginBody] = LoginBody if auth.factors is None else LoginWithCode
        problems = [400, 401, 413, 415, 422, 429, *self.tokens.problems, *auth.logins.problems]
        super().__init__("POST", self.login, response_model=TokenPair, tags=["auth"], problems=problems)

    def build(self, app: Application, path: str) -> None:
        super().build(app, path)
        self.spec.body = BodySpec(MEDIA, TypeAdapter(self.body))

    async def login(self, request: Request) -> JsonResponse:
        """Log in and get an access token.

        Send JSON, or the form of the OAuth2 password flow.
        """
        tokens = self.tokens
        tokens.refuse_other_sites(request)
        body = await read_form(request, self.body)
        identity, field = identity_in(body)
        device = device_of(request)
        pair = await self.auth.login_from(
            device, identity, body.password, field=field, otp=getattr(body, "otp", None)
        )
        return tokens.answer(request, pair)


def identity_in(body: LoginBody) -> tuple[str, str | None]:
    """The name, and the only field that it may be in; None: any."""
    if body.username is not None and body.email is None:
        return body.username, None
    if body.email is not None and body.username is None:
        return body.email, "email"
    pointers = ("/username",) if body.username is None else ("/username", "/email")
    message = "Give either username or email"
    raise ValidationError([FieldError("missing", message, pointer=pointer) for pointer in pointers])
