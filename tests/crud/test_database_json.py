"""JSON that PostgreSQL makes is what is made of rows, byte for byte; what it cannot make exactly is left to rows."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import EmailStr, HttpUrl, IPvAnyAddress
from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    Enum,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Uuid,
    insert,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from jetio import Access, Allow, CrudRouter, Database, Decision, JetioModel, policy
from jetio.crud.documents import documents_of
from jetio.crud.views import view_of
from jetio.resource import resource_of
from tests.crud.twins import Twins, twins
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Tone(enum.Enum):
    RED = "red"
    ODD = 'it\'s "odd" \\ é %(x)s %% :y $1 [_POSITION] {z}'


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Kind(Model):
    """A column of each type that PostgreSQL writes as we do."""

    word: Mapped[str | None]
    größe: Mapped[str | None]
    short: Mapped[str | None] = mapped_column(String(20))
    small: Mapped[int | None] = mapped_column(SmallInteger)
    whole: Mapped[int | None]
    big: Mapped[int | None] = mapped_column(BigInteger)
    flag: Mapped[bool | None]
    at: Mapped[dt.datetime | None]
    plain_at: Mapped[dt.datetime | None] = mapped_column(DateTime())
    day: Mapped[dt.date | None]
    clock: Mapped[dt.time | None]
    token: Mapped[uuid.UUID | None]
    token_text: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    tone: Mapped[Tone | None]
    level: Mapped[Level | None]
    native: Mapped[Tone | None] = mapped_column(Enum(Tone, name="tone"))
    choice: Mapped[str | None] = mapped_column(Enum("a", "b c", native_enum=False))
    price: Mapped[Decimal | None] = mapped_column(Numeric(16, 4))
    page: Mapped[HttpUrl | None]
    host: Mapped[IPvAnyAddress | None]
    email: Mapped[EmailStr | None]


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
CONTROLS = "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f\u2028\u2029\ufeff\uffff\\\"/<>&'😀"
TEXT = st.text(CHARACTERS, max_size=40) | st.text(CONTROLS, max_size=40) | st.just(CONTROLS)
NAIVE = st.datetimes() | st.datetimes().map(lambda at: at.replace(microsecond=0))
EDGES = st.sampled_from([dt.datetime.min, dt.datetime.max, dt.datetime(44, 3, 15, 1, 2, 3, 100)])


def whole(bits: int) -> st.SearchStrategy[int]:
    return st.sampled_from([-(2**bits), 2**bits - 1, 0, -1]) | st.integers(-(2**bits), 2**bits - 1)


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "word": TEXT,
    "größe": TEXT,
    "short": TEXT.map(lambda text: text[:20]),
    "small": whole(15),
    "whole": whole(31),
    "big": whole(63),
    "flag": st.booleans(),
    "at": (NAIVE | EDGES).map(lambda at: at.replace(tzinfo=dt.UTC)),
    "plain_at": NAIVE | EDGES,
    "day": st.dates() | st.sampled_from([dt.date.min, dt.date.max]),
    "clock": st.times() | st.times().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    "token": st.uuids(),
    "token_text": st.uuids().map(str),
    "tone": st.sampled_from(Tone),
    "level": st.sampled_from(Level),
    "native": st.sampled_from(Tone),
    "choice": st.sampled_from(["a", "b c"]),
    "price": st.decimals(-(10**11), 10**11, places=4) | st.sampled_from([Decimal("NaN"), Decimal("-0.00")]),
    "page": st.sampled_from([HttpUrl('https://example.com/a?b=c&d="é"'), HttpUrl("http://x.example")]),
    "host": st.ip_addresses(),
    "email": st.emails(),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | value for name, value in VALUES.items()}), max_size=7
)
PROPERTY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def kinds(postgresql_url: str) -> Iterator[Twins]:
    """Rows of every type."""
    with twins(postgresql_url, Model.metadata, lambda: [CrudRouter(Kind, page_size=5)]) as both:
        yield both


@PROPERTY
@given(rows=ROWS)
def test_every_type_has_the_same_bytes(kinds: Twins, rows: list[dict[str, Any]]) -> None:
    """Whatever a page holds, no row, fewer than fit, as many, or more: its bytes and headers are the same."""
    kinds.write("TRUNCATE kinds RESTART IDENTITY", (insert(Kind), rows))
    found = kinds.get("/kinds")
    assert kinds.by_database
    assert len(found) == min(len(rows), 5)


@pytest.mark.parametrize("count", [0, 4, 5, 6, 11])
def test_paging_is_the_same(kinds: Twins, count: int) -> None:
    """Links, totals and pages beyond the end do not depend on who made the JSON."""
    kinds.write((insert(Kind), [{"whole": number} for number in range(count)]))
    for query in (
        "",
        "?page=2",
        "?page=3",
        "?page=9",
        "?limit=0",
        "?limit=3&offset=2",
        "?offset=5",
        "?count=exact",
    ):
        kinds.get(f"/kinds{query}")
    assert kinds.get("/kinds?page=2&count=exact") == kinds.get("/kinds?limit=5&offset=5")
    assert [row["whole"] for row in kinds.get("/kinds?page_size=100")] == list(range(count))
    assert kinds.by_database


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
@pytest.mark.parametrize("column", ["at", "plain_at", "day"])
def test_infinity_is_the_first_or_the_last_moment(kinds: Twins, column: str, value: str) -> None:
    """The driver stores the last day that Python has as infinity, and reads it back as that day."""
    kinds.write((insert(Kind), [{"whole": 1}]), f"UPDATE kinds SET {column} = '{value}'")  # noqa: S608 - ours
    assert kinds.get("/kinds")[0][column].startswith("9999-12-31" if value == "infinity" else "0001-01-01")
    assert kinds.by_database


@pytest.mark.parametrize("value", ["10000-01-01", "0044-03-15 BC"])
@pytest.mark.parametrize("column", ["at", "plain_at", "day"])
def test_a_moment_that_python_has_not_is_left_to_rows(kinds: Twins, column: str, value: str) -> None:
    """What somebody else wrote and no answer can hold is refused as rows refuse it."""
    kinds.write((insert(Kind), [{"whole": 1}]), f"UPDATE kinds SET {column} = '{value}'")  # noqa: S608 - ours
    kinds.get("/kinds", status=500)


def test_a_word_that_is_no_member_is_a_mistake_as_with_rows(kinds: Twins) -> None:
    """An enumeration's column that holds another word, written by somebody else, is a 500 whoever makes the JSON."""
    kinds.write(
        "ALTER TABLE kinds DROP CONSTRAINT IF EXISTS ck_kinds_tone", "INSERT INTO kinds (tone) VALUES ('no')"
    )
    kinds.get("/kinds", status=500)


@pytest.mark.parametrize(("column", "type_"), [("at", "timestamp"), ("plain_at", "timestamptz")])
def test_a_column_that_is_not_as_declared_tells_the_same_moment(
    kinds: Twins, column: str, type_: str
) -> None:
    """A table from elsewhere may keep moments with or without a zone, unlike the model: no answer shifts by hours."""
    kinds.write(
        f"ALTER TABLE kinds ALTER {column} TYPE {type_} USING NULL",
        (insert(Kind), [{"whole": 1}]),
        f"UPDATE kinds SET {column} = '2026-01-02 03:04:05'",  # noqa: S608 - ours
    )
    kinds.get("/kinds")
    assert not kinds.by_database


class Wide(Model):
    """More columns than a function has arguments."""

    __tablename__ = "wide"


for number in range(120):
    setattr(Wide, f"column_{number}", mapped_column(String(9), default=f"x{number}"))


def test_a_wide_table_is_no_limit(postgresql_url: str) -> None:
    """A row of very many columns is one document all the same."""
    with twins(postgresql_url, Model.metadata, lambda: [CrudRouter(Wide)]) as both:
        both.write((insert(Wide), [{}, {}]))
        first, second = both.get("/wide")
        assert both.by_database
    assert (first["column_119"], second["column_0"], len(first)) == ("x119", "x0", 121)


# ---- who makes it ------------------------------------------------------------------------------------------


class Loud(TypeDecorator[str]):
    """A type of the application's own."""

    impl = String(20)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return value and value.upper()


Letters = enum.Enum("Letters", [(f"L{number}", f"l{number}") for number in range(60)])  # type: ignore[misc]


class Real(Model):
    number: Mapped[float] = mapped_column(Double)


class Rounded(Model):
    number: Mapped[float] = mapped_column(Numeric(8, 2, asdecimal=False))


class Raw(Model):
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Free(Model):
    body: Mapped[dict[str, Any]]


class Span(Model):
    body: Mapped[dt.timedelta]


class Shout(Model):
    body: Mapped[str] = mapped_column(Loud())


class Old(Model):
    body: Mapped[uuid.UUID] = mapped_column(Uuid(native_uuid=False).with_variant(Uuid(), "sqlite"))


class Letter(Model):
    body: Mapped[Letters]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Real, "Double Real.number"),
        (Rounded, "Numeric Rounded.number"),
        (Raw, "LargeBinary Raw.body"),
        (Free, "JSON Free.body"),
        (Span, "Duration Span.body"),
        (Shout, "Loud Shout.body"),
        (Old, "Uuid Old.body"),
        (Letter, "Enum Letter.body"),
    ],
)
def test_types_without_exact_text_stay_with_rows(model: type[Model], reason: str) -> None:
    """A column that the server may spell in another way keeps the whole resource with rows, and the reason is told."""
    view = view_of(resource_of(model), (), admin=False)
    documents, told = documents_of(view, Database("postgresql://127.0.0.1/any"))
    assert documents is None
    assert told == (f"no exact JSON of {reason} in the database",)


@pytest.mark.parametrize(
    ("url", "options", "made"),
    [
        ("postgresql://127.0.0.1/any", {}, True),
        ("postgresql://127.0.0.1/any", {"database_json": False}, False),
        ("postgresql://127.0.0.1/any", {"fast_path": False}, False),
        ("postgresql+psycopg://127.0.0.1/any", {}, False),
        ("sqlite:///any.db", {}, False),
        ("mysql://127.0.0.1/any", {}, False),
    ],
)
def test_who_makes_the_json_is_decided_at_build(url: str, options: dict[str, Any], made: bool) -> None:
    """PostgreSQL does, unless it was told not to, or statements go through sessions."""
    view = view_of(resource_of(Kind), (), admin=False)
    documents, obstacles = documents_of(view, Database(url, **options))
    assert (documents is not None, obstacles) == (made, ())


def test_a_request_with_a_session_reads_rows(postgresql_url: str) -> None:
    """A rule that asked for a session has it read the page too, in its transaction."""

    @policy
    async def asks(access: Access) -> Decision:
        await access.session.execute(insert(Kind).values(whole=7))
        return Allow()

    with twins(postgresql_url, Model.metadata, lambda: [CrudRouter(Kind, policy={"*": asks})]) as both:
        assert [row["whole"] for row in both.made.get("/kinds").json()] == [7]
        assert not both.by_database


def test_one_row_is_made_of_a_row(kinds: Twins) -> None:
    """A document without arrays is made as fast from a row."""
    kinds.write((insert(Kind), [{"word": "one"}]))
    assert kinds.get("/kinds/1")["word"] == "one"
    assert not kinds.by_database
