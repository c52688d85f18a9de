"""The atlas: everybody reads, admins write."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from sqlalchemy import ForeignKey, Numeric, String
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel, add_swagger_ui, public, relationship
from jetio_auth import AuthRouter, JetioAuthMixin

Population = Annotated[int, Field(ge=0)]


class Editor(JetioModel, JetioAuthMixin):
    """Who keeps the atlas."""

    username: Mapped[str] = mapped_column(String(50), unique=True)


class Country(JetioModel):
    """A country, under its code in ISO 3166-1."""

    iso: Mapped[Annotated[str, Field(pattern="^[A-Z]{2}$")]] = mapped_column(String(2), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    capital: Mapped[str | None] = mapped_column(String(100))
    continent: Mapped[str] = mapped_column(String(2))
    population: Mapped[Population]
    area: Mapped[int] = mapped_column(doc="Square kilometres")


class City(JetioModel):
    """A city, under its number in GeoNames."""

    geonameid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200), index=True)
    population: Mapped[Population]
    latitude: Mapped[Annotated[Decimal, Field(ge=-90, le=90)]] = mapped_column(Numeric(7, 5))
    longitude: Mapped[Annotated[Decimal, Field(ge=-180, le=180)]] = mapped_column(Numeric(8, 5))
    timezone: Mapped[str] = mapped_column(String(64))
    country_iso: Mapped[str] = mapped_column(ForeignKey("countries.iso"), index=True)

    country: Mapped[Country] = relationship()


app = Jetio(title="Atlas", database=os.environ.get("DATABASE_URL", "sqlite:///./atlas.db"))
add_swagger_ui(app)

# The admin who loads the data: JETIO_AUTH_DEFAULT_ADMIN_USERNAME and JETIO_AUTH_DEFAULT_ADMIN_PASSWORD.
auth = AuthRouter(user_model=Editor, default_admin=True)
auth.register_routes(app)

rules = {"GET": public(), "*": auth.admin_only()}
CrudRouter(model=Country, policy=rules).register_routes(app)
CrudRouter(model=City, policy=rules, load_relationships=["country"]).register_routes(app)
