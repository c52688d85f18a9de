"""Jetio: your model is your API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import relationship
from starlette.background import BackgroundTasks
from starlette.datastructures import UploadFile
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from . import defaults
from .app import Jetio
from .body import parse_json, read_body, require_json
from .columns import UtcDateTime
from .config import Settings
from .controllers import Controller, delete, get, patch, post, put
from .crud import Change, CrudRouter
from .crud.hooks import add_hooks
from .crud.query import parse_key, refuse_unknown
from .crud.violations import violation_problem
from .database import Database, UnitOfWork, create_engine_for_url
from .defaults import database as default_database
from .defaults import settings as default_settings
from .dependencies import BodySpec
from .dialects import ConstraintViolated
from .errors import ConfigError, FieldError, JetioError, Problem, ValidationError, not_found
from .marks import allow_anonymous, guard
from .middleware import BaseMiddleware
from .models import Base, JetioModel, TimestampMixin
from .openapi.ui import add_swagger_ui
from .operation import JsonResponse, Operation, document_of
from .params import Body, Cookie, Depends, File, Form, Header, Path, Query
from .policy import (
    Access,
    Allow,
    AllowWhere,
    Decision,
    Deny,
    Policy,
    PolicyContext,
    authenticated,
    policy,
    public,
    read_only,
    rows,
)
from .principal import Authenticator, Principal, Recalled, SecurityScheme
from .resource import add_rules, resource_of
from .routing import Application, Endpoint, as_if_absent
from .schemas import read_schema, schemas_for
from .security import SecurityContext
from .special import ReadSession
from .tables import create_tables
from .tenants import TenantMixin, same_tenant, tenant_column

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Allow",
    "AllowWhere",
    "Application",
    "Authenticator",
    "BackgroundTasks",
    "Base",
    "BaseMiddleware",
    "Body",
    "BodySpec",
    "CORSMiddleware",
    "Change",
    "ConfigError",
    "ConstraintViolated",
    "Controller",
    "Cookie",
    "CrudRouter",
    "Database",
    "Decision",
    "Deny",
    "Depends",
    "Endpoint",
    "FieldError",
    "File",
    "Form",
    "HTMLResponse",
    "Header",
    "Jetio",
    "JetioError",
    "JetioModel",
    "JsonResponse",
    "Operation",
    "Path",
    "Policy",
    "PolicyContext",
    "Principal",
    "Problem",
    "Query",
    "ReadSession",
    "Recalled",
    "Request",
    "Response",
    "SecurityContext",
    "SecurityScheme",
    "SessionLocal",
    "Settings",
    "TenantMixin",
    "TimestampMixin",
    "UnitOfWork",
    "UploadFile",
    "UtcDateTime",
    "ValidationError",
    "add_hooks",
    "add_rules",
    "add_swagger_ui",
    "allow_anonymous",
    "as_if_absent",
    "authenticated",
    "create_engine_for_url",
    "create_tables",
    "default_database",
    "default_settings",
    "delete",
    "document_of",
    "engine",
    "get",
    "guard",
    "not_found",
    "parse_json",
    "parse_key",
    "patch",
    "policy",
    "post",
    "public",
    "put",
    "read_body",
    "read_only",
    "read_schema",
    "refuse_unknown",
    "relationship",
    "require_json",
    "resource_of",
    "rows",
    "same_tenant",
    "schemas_for",
    "settings",
    "tenant_column",
    "violation_problem",
]


if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    engine: AsyncEngine
    SessionLocal: async_sessionmaker[AsyncSession]
    settings: Settings
else:

    def __getattr__(name: str) -> Any:
        found = defaults.lazy(name)
        if found is None:
            raise AttributeError(f"module 'jetio' has no attribute {name!r}")
        return found
