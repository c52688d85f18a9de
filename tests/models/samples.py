"""A model of every column type, in a module whose annotations are text and partly for type checkers only."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, EmailStr, Field, HttpUrl, IPvAnyAddress, SecretStr
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import JetioModel
from tests.registries import own_registry

if TYPE_CHECKING:
    from tests.models.others import Owner


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Colour(enum.Enum):
    """Values that are not their names."""

    RED = "rot"
    GREEN = "grün 🟢"


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 20


class Place(BaseModel):
    """A document inside a column."""

    name: str
    at: tuple[float, float]
    since: dt.date | None = None


class Columns:
    """One column for each type that an annotation or SQLAlchemy names; all of them nullable."""

    text: Mapped[str | None]
    short: Mapped[str | None] = mapped_column(sa.String(20))
    limited: Mapped[Annotated[str, Field(min_length=2, max_length=9)] | None]
    clob: Mapped[str | None] = mapped_column(sa.Text)
    wide: Mapped[str | None] = mapped_column(sa.Unicode(20))
    whole: Mapped[int | None]
    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    big: Mapped[int | None] = mapped_column(sa.BigInteger)
    positive: Mapped[Annotated[int, Field(gt=0, le=100)] | None]
    flag: Mapped[bool | None]
    real: Mapped[float | None]
    single: Mapped[float | None] = mapped_column(sa.Float)
    double: Mapped[float | None] = mapped_column(sa.Double)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 2))
    rate: Mapped[Decimal | None] = mapped_column(sa.Numeric(15, 15))
    count: Mapped[Decimal | None] = mapped_column(sa.Numeric(15, 0))
    loose: Mapped[float | None] = mapped_column(sa.Numeric(10, 3, asdecimal=False))
    moment: Mapped[dt.datetime | None]
    aware: Mapped[AwareDatetime | None]
    zoned: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    naive: Mapped[dt.datetime | None] = mapped_column(sa.DateTime)
    date: Mapped[dt.date | None]
    time: Mapped[dt.time | None]
    clock: Mapped[dt.time | None] = mapped_column(sa.Time)
    span: Mapped[dt.timedelta | None]
    interval: Mapped[dt.timedelta | None] = mapped_column(sa.Interval)
    key: Mapped[uuid.UUID | None]
    colour: Mapped[Colour | None]
    named: Mapped[Colour | None] = mapped_column(sa.Enum(Colour))
    level: Mapped[Level | None]
    size: Mapped[Literal["s", "m", "l"] | None]
    word: Mapped[str | None] = mapped_column(sa.Enum("one", "two", name="words"))
    email: Mapped[str | None]
    contact: Mapped[EmailStr | None]
    site: Mapped[HttpUrl | None]
    link: Mapped[HttpUrl | None] = mapped_column(sa.String(60))
    address: Mapped[IPvAnyAddress | None]
    four: Mapped[IPv4Address | None]
    six: Mapped[IPv6Address | None]
    secret: Mapped[SecretStr | None]
    binary: Mapped[bytes | None]
    blob: Mapped[bytes | None] = mapped_column(sa.LargeBinary(20))
    anything: Mapped[Any | None]
    document: Mapped[dict[str, Any] | None]
    listed: Mapped[list[str] | None]
    numbers: Mapped[list[int] | None] = mapped_column(sa.JSON)
    place: Mapped[Place | None]
    places: Mapped[list[Place] | None]
    tags: Mapped[set[str] | None]
    renamed: Mapped[str | None] = mapped_column("other_name")
    later: Mapped[str | None] = mapped_column(sa.Text, deferred=True)
    json: Mapped[str | None]
    copy: Mapped[int | None]
    schema: Mapped[str | None]
    model_config_: Mapped[str | None] = mapped_column("model_config")
    model_fields: Mapped[str | None]


class Sample(Columns, Model):
    """A row of all columns."""

    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("owners.id"))
    owner: Mapped[Owner | None] = relationship("Owner")
