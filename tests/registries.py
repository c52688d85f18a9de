"""Registries of declarative models: tests may name their classes and tables as others do."""

from sqlalchemy import MetaData, event
from sqlalchemy.orm import registry

from jetio.models import NAMING, _resolve


def own_registry() -> registry:
    """Models and tables that nothing else knows, declared by the rules of every Jetio model."""
    own = registry(metadata=MetaData(naming_convention=NAMING), type_annotation_map={})
    event.listen(own, "resolve_type_annotation", _resolve, retval=True)
    return own
