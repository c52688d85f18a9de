"""The schemas of accounts, for clients and for routes of the application's own."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from jetio import read_schema, resource_of, schemas_for

from .endpoints.register import registration_schema
from .model import UserModel
from .passwords import PasswordPolicy

__all__ = ["UserSchemas", "user_schemas"]


class UserSchemas(NamedTuple):
    """What an account looks like, what registering takes, and what its owner may change."""

    read: type[BaseModel]
    create: type[BaseModel]
    update: type[BaseModel]


def user_schemas(facts: UserModel, policy: PasswordPolicy) -> UserSchemas:
    """The schemas that the routes of accounts use."""
    resource = resource_of(facts.model)
    return UserSchemas(
        read=read_schema(resource),
        create=registration_schema(facts, policy),
        update=schemas_for(resource).patch,
    )
