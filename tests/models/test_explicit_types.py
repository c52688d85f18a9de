"""Types that stand in `mapped_column(...)`, without or beside an annotation: written and read back exactly."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import mapped_column
from starlette.testclient import TestClient

from jetio import ConfigError, CrudRouter, Database, Jetio, JetioModel, Settings
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


MOMENTS = ["2026-01-31T12:30:00.000001+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
UTC_MOMENTS = ["2026-01-31T10:30:00.000001Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
TIMES = ["12:30:00.000001", "00:00:00", "23:59:59.999999"]
REALS = [0.1, 5e-324, 1.7976931348623157e308, -2.5]
BYTES = [base64.urlsafe_b64encode(part).decode() for part in (b"", b"\0\xff" * 40000)]
UUIDS = ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000001"]

DATES = ["0001-01-01", "9999-12-31"]
SPANS = ["P1DT2H0.000001S", "-PT0.000001S", "P246Y210D"]
JSONS = [{"a": [1, None, "x"]}, [], "1", 1, True, 0.5]

TYPES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "zoned": (sa.DateTime(timezone=True), MOMENTS, UTC_MOMENTS),
    "naive": (sa.DateTime(), MOMENTS, UTC_MOMENTS),
    "bare": (sa.DateTime, MOMENTS, UTC_MOMENTS),
    "datetime": (sa.DATETIME(), MOMENTS, UTC_MOMENTS),
    "stamp": (sa.TIMESTAMP(timezone=True), MOMENTS, UTC_MOMENTS),
    "plain_stamp": (sa.TIMESTAMP(), MOMENTS, UTC_MOMENTS),
    "time": (sa.Time(), TIMES, TIMES),
    "shouted_time": (sa.TIME(), TIMES, TIMES),
    "date": (sa.Date(), DATES, DATES),
    "shouted_date": (sa.DATE(), DATES, DATES),
    "interval": (sa.Interval(), SPANS, SPANS),
    "native_interval": (sa.Interval(native=False), SPANS, SPANS),
    "precise_interval": (sa.Interval(second_precision=6), SPANS, SPANS),
    "binary": (sa.LargeBinary(), BYTES, BYTES),
    "blob": (sa.BLOB(), BYTES, BYTES),
    "real": (sa.Float(), REALS, REALS),
    "shouted_real": (sa.FLOAT(), REALS, REALS),
    "precise_real": (sa.Float(53), REALS, REALS),
    "double": (sa.Double(), REALS, REALS),
    "shouted_double": (sa.DOUBLE(), REALS, REALS),
    "double_precision": (sa.DOUBLE_PRECISION(), REALS, REALS),
    "uuid": (sa.Uuid(), UUIDS, UUIDS),
    "shouted_uuid": (sa.UUID(), UUIDS, UUIDS),
    "uuid_text": (sa.Uuid(as_uuid=False), UUIDS, UUIDS),
    "json": (sa.JSON(), JSONS, JSONS),
    "number": (sa.Numeric(15, 3, asdecimal=False), [0.125, -1.0, 999999.999], [0.125, -1.0, 999999.999]),
    "decimal": (
        sa.DECIMAL(15, 3),
        ["0.125", "-1.000", "999999999999.999"],
        ["0.125", "-1.000", "999999999999.999"],
    ),
    "text": (sa.Text(), ["x" * 70000, "é"], ["x" * 70000, "é"]),
    "shouted_text": (sa.TEXT(), ["x" * 70000, "é"], ["x" * 70000, "é"]),
    "unicode_text": (sa.UnicodeText(), ["x" * 70000, "é"], ["x" * 70000, "é"]),
    "unicode": (sa.Unicode(), ["x" * 70000, "é"], ["x" * 70000, "é"]),
    "string": (sa.String(), ["x" * 70000, "é"], ["x" * 70000, "é"]),
    "padded": (sa.CHAR(5), ["ab", "é", "abcde", ""], ["ab", "é", "abcde", ""]),
    "clob": (sa.CLOB(), ["x" * 70000, ""], ["x" * 70000, ""]),
    "own": (
        sa.Text().with_variant(sa.String(90), "sqlite").with_variant(mysql.LONGTEXT(), "mysql", "mariadb"),
        ["é"],
        ["é"],
    ),
    "big": (sa.BIGINT(), [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
    "flag": (sa.BOOLEAN(), [True, False], [True, False]),
}

Explicit: Any = type(
    "Explicit",
    (Model,),
    {
        "__module__": __name__,
        **{name: mapped_column(kind, nullable=True) for name, (kind, _, _) in TYPES.items()},
    },
)


@pytest.fixture(params=[True, False], ids=["driver", "session"])
def client(database_url: str, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    database = Database(database_url, fast_path=request.param)
    app = Jetio(database=database, metadata=Model.metadata, settings=Settings(env="test"))
    CrudRouter(Explicit).register_routes(app)
    with TestClient(app) as client:
        yield client


def test_a_type_that_is_given_holds_what_an_annotation_would(client: TestClient) -> None:
    """What is written into a column of any plain type is read back: offsets as UTC, microseconds, long texts."""
    for name, (_, sent, expected) in TYPES.items():
        for value, told in zip(sent, expected, strict=True):
            made = client.post("/explicits", json={name: value})
            assert (made.status_code, made.json().get(name)) == (201, told), (name, made.text[:300])
            assert client.get(made.headers["location"]).json()[name] == told, name
            cleared = client.patch(made.headers["location"], json={name: None})
            assert (cleared.status_code, cleared.json()[name]) == (200, None), name


def mistake(url: str, kind: Any) -> str:
    registry = own_registry()
    body = {
        "registry": registry,
        "_sa_registry": registry,
        "metadata": registry.metadata,
        "__module__": __name__,
    }
    base: Any = type("Alone", (JetioModel,), {**body, "__abstract__": True})
    lossy: Any = type("Lossy", (base,), {"__module__": __name__, "kept": mapped_column(kind)})
    app = Jetio(database=url, metadata=registry.metadata, settings=Settings(env="test"))
    CrudRouter(lossy).register_routes(app)
    with pytest.raises(ConfigError) as told:
        app.build()
    return str(told.value)


class Shouted(sa.types.TypeDecorator[str]):
    impl = sa.String(20)
    cache_ok = True


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (sa.Time(timezone=True), "Lossy.kept is a time of day with an offset"),
        (sa.REAL(), "Lossy.kept is a number of four bytes"),
        (sa.Float(24), "Lossy.kept is a number of four bytes"),
        (sa.Numeric(), "Lossy.kept is a Decimal without a size"),
        (Shouted(), "the type of Lossy.kept is not known; annotate it"),
        (sa.PickleType(), "the type of Lossy.kept is not known; annotate it"),
    ],
)
def test_a_type_that_loses_what_is_written_is_a_mistake(sqlite_url: str, kind: Any, message: str) -> None:
    """A type that some database reads back otherwise, or that says nothing of its values, stops the build."""
    assert message in mistake(sqlite_url, kind)
