"""Rows to documents: what is generated for a view gives the bytes that its values have elsewhere."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Time,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.types import TypeEngine

from jetio import Database
from jetio.columns import Duration, UtcDateTime
from jetio.crud.render import generate
from jetio.crud.views import Layout
from jetio.dialects.values import dump


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    NONE = 0
    SOME = 1


class Odd(TypeDecorator[Decimal]):
    """Reads NULL as 7 and 8 as NULL, as a type of an application may."""

    impl = Numeric(10, 2)
    cache_ok = True

    def process_result_value(self, value: Decimal | None, dialect: Any) -> Decimal | None:
        return Decimal(7) if value is None else None if value == 8 else value


ZONES = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone.min])
# A year away from the ends, which zones would cross.
FIRST, LAST = dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31, 23, 59, 59, 999999)
NAIVE = st.datetimes(FIRST, LAST) | st.datetimes(FIRST, LAST).map(
    lambda moment: moment.replace(microsecond=0)
)
AWARE = st.datetimes(FIRST, LAST, timezones=ZONES) | NAIVE.map(lambda moment: moment.replace(tzinfo=dt.UTC))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**40), 2**40).map(float)
DECIMALS = st.decimals(Decimal("-99999999"), Decimal("99999999"), places=2)

KINDS: list[tuple[TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (Boolean(), st.booleans()),
    (Integer(), st.integers(-(2**63), 2**63 - 1)),
    (String(), st.text()),
    (UtcDateTime(), AWARE),
    (DateTime(), NAIVE),
    (Date(), st.dates()),
    (Time(), st.times()),
    (Numeric(10, 2), DECIMALS),
    (Numeric(10, 2, asdecimal=False), NUMBERS),
    (Float(), NUMBERS),
    (Uuid(), st.uuids()),
    (Enum(Colour), st.sampled_from(Colour)),
    (Enum(Level), st.sampled_from(Level)),
    (Enum("", "a", "b"), st.sampled_from(["", "a", "b"])),
    (LargeBinary(), st.binary()),
    (Duration(), st.timedeltas()),
    (JSON(), st.lists(st.integers() | st.none())),
    (Odd(), DECIMALS | st.just(Decimal(8))),
]
URLS = {"sqlite": "sqlite:///:memory:", "postgresql": "postgresql://nobody@localhost/none"}


@pytest.mark.parametrize("server", URLS)
@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[repr(kind) for kind, _ in KINDS])
def test_rows_of_the_driver_give_the_bytes_of_decoded_rows(
    server: str, kind: TypeEngine[Any], values: st.SearchStrategy[Any]
) -> None:
    """Reading text and numbers of the driver directly never shows: not for extremes, not for NULL."""
    database = Database(URLS[server])
    sql_dialect = database.engine.sync_engine.dialect
    processor = database.dialect.result_processor(kind, sql_dialect)
    codec = database.dialect.codec(kind, processor)
    bind = kind._cached_bind_processor(sql_dialect)
    render, again = maker(codec), maker(database.dialect.form(kind))

    @given(values | st.none())
    def check(value: Any) -> None:
        sent = value if bind is None else bind(value)
        read = sent if processor is None else processor(sent)
        assert dump(render([(sent,)])) == dump(again([(read,)]))
        assert dump([{"value": sent if codec is None else codec(sent)}]) == dump(render([(sent,)]))

    check()


def maker(codec: Any) -> Callable[[Any], Any]:
    """What is generated for one field of this codec."""
    return generate(Layout([("value", 0)], [], {}), [codec])


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.0{0,7}\d{0,3})?", fullmatch=True))
def test_a_moment_that_others_wrote_reads_the_same_everywhere(text: str) -> None:
    """Whatever stands in SQLite's column: the expression in generated code and the function agree."""
    codec: Any = Database(URLS["sqlite"]).dialect.codec(UtcDateTime(), None)
    assert maker(codec)([(text,)]) == [{"value": codec(text)}]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2026-01-02 03:04:05.000006", "2026-01-02T03:04:05.000006Z"),
        ("2026-01-02 03:04:05.000000", "2026-01-02T03:04:05Z"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02 03:04:05.0000001", "2026-01-02T03:04:05.0000001Z"),
    ],
)
def test_how_a_moment_of_sqlite_is_shown(written: str, shown: str) -> None:
    """RFC 3339 with Z, and no fraction where there is none."""
    codec: Any = Database(URLS["sqlite"]).dialect.codec(UtcDateTime(), None)
    assert maker(codec)([(written,)]) == [{"value": shown}]


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05.100",
        "2026-01-02",
        "2026-01-02T03:04:05.100000",
        "2026-01-02 03:04:05.100000",
        "2026-01-02 03:04:05.000000",
        "2026-01-02x03:04:05.100000",
        "2026-01-02 03:04:05,100000",
        "2026-01-02 03:04:05.1+0200",
        "2026-01-02 03:04:05.10000Z",
    ],
)
def test_a_moment_without_a_zone_that_others_wrote_is_read_as_decoded(written: str) -> None:
    """Text that SQLAlchemy stores otherwise is parsed first, and shown as its value is elsewhere."""
    database, kind = Database(URLS["sqlite"]), DateTime()
    processor: Any = database.dialect.result_processor(kind, database.engine.sync_engine.dialect)
    again = maker(database.dialect.form(kind))
    render = maker(database.dialect.codec(kind, processor))
    assert dump(render([(written,)])) == dump(again([(processor(written),)]))


@given(AWARE | NAIVE)
def test_a_moment_in_any_zone_is_shown_in_utc(moment: dt.datetime) -> None:
    """Of a driver that gives other zones, or none, where the column has none."""
    database = Database(URLS["postgresql"])
    kind = UtcDateTime()
    processor = database.dialect.result_processor(kind, database.engine.sync_engine.dialect)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    expected = dump([{"value": aware.astimezone(dt.UTC)}])
    assert dump(maker(database.dialect.codec(kind, processor))([(moment,)])) == expected


@pytest.mark.parametrize("server", URLS)
def test_a_name_that_an_enum_does_not_have_is_an_error(server: str) -> None:
    """Text that others wrote into the column is not shown as if it were a value of the model."""
    database, kind = Database(URLS[server]), Enum(Colour)
    processor = database.dialect.result_processor(kind, database.engine.sync_engine.dialect)
    render = maker(database.dialect.codec(kind, processor))
    assert render([("RED",), (None,)]) == [{"value": "r"}, {"value": None}]
    with pytest.raises(LookupError):
        render([("GREEN",)])


def test_a_joined_row_is_null_or_a_document() -> None:
    """A relation to one row is NULL where its key is, also among values that are converted."""
    inner = Layout([("id", 1), ("at", 2)], [], {})
    codecs = [None, None, Database(URLS["sqlite"]).dialect.codec(UtcDateTime(), None)]
    render = generate(Layout([("id", 0)], [("owner", 1, inner)], {}), codecs)
    shown = {"id": 5, "at": "2026-01-02T03:04:05Z"}
    assert render([(1, None, None), (2, 5, "2026-01-02 03:04:05.000000")]) == [
        {"id": 1, "owner": None},
        {"id": 2, "owner": shown},
    ]
