"""A model that the samples name for type checkers only."""

from __future__ import annotations

from sqlalchemy.orm import Mapped

from tests.models.samples import Model


class Owner(Model):
    """Whom samples belong to."""

    name: Mapped[str]
