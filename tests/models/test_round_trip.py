"""What is written is what is read back: every column type, on every database, by both executors."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl, TypeAdapter
from starlette.testclient import TestClient

from jetio import CrudRouter, Database, Jetio, Settings
from tests.models.others import Owner
from tests.models.samples import Model, Sample

Given = st.SearchStrategy[Any]
Read = Callable[[Any], Any]

DURATION: TypeAdapter[dt.timedelta] = TypeAdapter(dt.timedelta)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
EMOJI = st.sampled_from(
    ["😀", "👩‍👩‍👧‍👦", "é", "e\u0301", "ß", "İ", " a ", "\t", "'", '"', "\\", "%", "_", "\ufffd"]
)


def text(least: int = 0, most: int = 60) -> Given:
    plain = st.text(CHARACTERS, min_size=least, max_size=most)
    return plain | EMOJI.filter(lambda word: least <= len(word) <= most)


def whole(bits: int) -> Given:
    edges = st.sampled_from([-(2**bits), 2**bits - 1, 0, -1])
    return edges | st.integers(-(2**bits), 2**bits - 1)


def decimals(digits: int, places: int) -> Given:
    most = Decimal(10**digits - 1).scaleb(-places)
    return st.decimals(-most, most, places=places).map(lambda number: f"{number:f}")


REALS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [5e-324, 1.7976931348623157e308, 0.1, -0.0]
)
ZONES = st.builds(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)), st.integers(-1439, 1439))
MOMENTS = st.datetimes(
    dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=st.just(dt.UTC) | ZONES
) | st.sampled_from([dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)])
SPANS = st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000))
JSON = st.recursive(
    st.none() | st.booleans() | whole(63) | REALS | text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text(most=8), inner, max_size=4),
    max_leaves=8,
)
PLACES = st.fixed_dictionaries(
    {"name": text(), "at": st.lists(REALS, min_size=2, max_size=2)},
    optional={"since": st.none() | st.dates().map(str)},
)


def moment(value: str) -> dt.datetime:
    return dt.datetime.fromisoformat(value).astimezone(dt.UTC)


def place(value: Any) -> Any:
    return {"since": None, **value}


SAME: Read = lambda value: value  # noqa: E731 - one of a family
COLUMNS: Mapping[str, tuple[Given, Read]] = {
    "text": (text(most=3000), SAME),
    "short": (text(most=20), SAME),
    "limited": (text(2, 9), SAME),
    "clob": (text(), SAME),
    "wide": (text(most=20), SAME),
    "whole": (whole(31), SAME),
    "small": (whole(15), SAME),
    "big": (whole(63), SAME),
    "positive": (st.integers(1, 100), SAME),
    "flag": (st.booleans(), SAME),
    "real": (REALS, SAME),
    "single": (REALS, SAME),
    "double": (REALS, SAME),
    "price": (decimals(12, 2), Decimal),
    "rate": (decimals(15, 15), Decimal),
    "count": (decimals(15, 0), Decimal),
    "loose": (decimals(10, 3).map(float), SAME),
    "moment": (MOMENTS.map(dt.datetime.isoformat), moment),
    "aware": (MOMENTS.map(dt.datetime.isoformat), moment),
    "zoned": (MOMENTS.map(dt.datetime.isoformat), moment),
    "naive": (MOMENTS.map(dt.datetime.isoformat), moment),
    "date": (st.dates().map(str), SAME),
    "time": (st.times().map(dt.time.isoformat), dt.time.fromisoformat),
    "clock": (st.times().map(dt.time.isoformat), dt.time.fromisoformat),
    "span": (SPANS.map(lambda span: DURATION.dump_python(span, mode="json")), DURATION.validate_python),
    "interval": (SPANS.map(lambda span: DURATION.dump_python(span, mode="json")), DURATION.validate_python),
    "key": (st.uuids().map(str), uuid.UUID),
    "colour": (st.sampled_from(["rot", "grün 🟢"]), SAME),
    "named": (st.sampled_from(["rot", "grün 🟢"]), SAME),
    "level": (st.sampled_from([1, 20]), SAME),
    "size": (st.sampled_from(["s", "m", "l"]), SAME),
    "word": (st.sampled_from(["one", "two"]), SAME),
    "email": (st.from_regex(r"[a-z0-9]{1,20}@example\.com", fullmatch=True), SAME),
    "contact": (st.from_regex(r"[a-z]{1,5}\+x@sub\.example\.org", fullmatch=True), SAME),
    "site": (
        st.from_regex(r"https://example\.com/[a-zü]{0,30}", fullmatch=True),
        lambda url: str(HttpUrl(url)),
    ),
    "link": (st.from_regex(r"http://a\.example/[a-z]{0,30}", fullmatch=True), SAME),
    "address": (st.ip_addresses().map(str), ip_address),
    "four": (st.ip_addresses(v=4).map(str), SAME),
    "six": (st.ip_addresses(v=6).map(str), ip_address),
    "binary": (st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode()), SAME),
    "blob": (st.binary(max_size=20).map(lambda b: base64.urlsafe_b64encode(b).decode()), SAME),
    "anything": (JSON.filter(lambda value: value is not None), SAME),
    "document": (st.dictionaries(text(most=8), JSON, max_size=4), SAME),
    "listed": (st.lists(text(), max_size=4), SAME),
    "numbers": (st.lists(whole(63), max_size=4), SAME),
    "place": (PLACES, place),
    "places": (st.lists(PLACES, max_size=3), lambda given: [place(one) for one in given]),
    "tags": (st.lists(text(), max_size=4, unique=True), sorted),
    "renamed": (text(), SAME),
    "later": (text(), SAME),
    "json": (text(), SAME),
    "copy": (whole(31), SAME),
    "schema": (text(), SAME),
    "model_config_": (text(), SAME),
    "model_fields": (text(), SAME),
}
ROWS = st.fixed_dictionaries({name: st.none() | given for name, (given, _) in COLUMNS.items()})
# Not shrunk: a failure names its column, and rows this wide take minutes to shrink.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
PROPERTY = settings(max_examples=15, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def clients(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[TestClient]]:
    """The samples over one database, by the fast path and by sessions."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('samples') / 'test.db'}"
        else:
            url = stack.enter_context(request.getfixturevalue(f"{request.param}_server").fresh_database())
        found = []
        for fast_path in (True, False):
            database = Database(url, fast_path=fast_path)
            app = Jetio(database=database, metadata=Model.metadata, settings=Settings(env="test"))
            for model in (Sample, Owner):
                CrudRouter(model).register_routes(app)
            found.append(stack.enter_context(TestClient(app)))
        yield found


def assert_same(sent: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    for name, (_, read) in COLUMNS.items():
        told = got[name]
        expected = None if sent[name] is None else read(sent[name])
        assert (None if told is None else read(told)) == expected, name


@PROPERTY
@given(row=ROWS, other=ROWS)
def test_what_is_written_is_read_back(
    clients: list[TestClient], row: dict[str, Any], other: dict[str, Any]
) -> None:
    """A row is read back as it was sent, extremes and nulls included: after POST, PATCH and PUT."""
    for client in clients:
        created = client.post("/samples", json=row)
        assert created.status_code == 201, created.text
        address = created.headers["location"]
        read = client.get(address)
        assert read.content == created.content
        assert_same(row, read.json())
        for method in ("PATCH", "PUT"):
            changed = client.request(method, address, json=other)
            assert changed.status_code == 200, changed.text
            assert_same(other, changed.json())
            assert client.get(address).content == changed.content
            row, other = other, row
        client.delete(address)


@PROPERTY
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_both_executors_write_the_same_bytes(clients: list[TestClient], rows: list[dict[str, Any]]) -> None:
    """A row, and a list of rows, is the same bytes from the driver and from a session."""
    fast, slow = clients
    created = [client.post("/samples", json=row) for row in rows for client in clients]
    assert {answer.status_code for answer in created} == {201}, [answer.text for answer in created]
    addresses = [answer.headers["location"] for answer in created]
    for address in [*addresses, "/samples", "/samples?limit=2&count=exact"]:
        one, other = fast.get(address), slow.get(address)
        assert one.content == other.content
        assert one.headers == other.headers
    for address in addresses:
        assert fast.delete(address).status_code == 204


def test_a_row_may_be_sent_back(clients: list[TestClient]) -> None:
    """Every value is accepted in the form in which it is answered."""
    given = {
        "moment": "2026-01-31T12:30:00+02:00",
        "span": "-P1DT2H0.000001S",
        "site": "https://example.com",
        "address": "::FFFF:1",
        "tags": ["b", "a"],
        "place": {"name": "x", "at": [1, 2.5]},
        "binary": "AP8",
    }
    for client in clients:
        created = client.post("/samples", json=given)
        document = created.json()
        assert document["moment"] == "2026-01-31T10:30:00Z"
        assert document["site"] == "https://example.com/"
        again = client.put(created.headers["location"], json=document)
        assert (again.status_code, again.json()) == (200, document), again.text
        client.delete(created.headers["location"])


def test_a_naive_moment_is_utc(clients: list[TestClient]) -> None:
    """A date and time without an offset is read as UTC, whatever the column's type says of zones."""
    for client in clients:
        row = {name: "2026-06-30T23:59:59.123456" for name in ("moment", "zoned", "naive")}
        created = client.post("/samples", json=row).json()
        assert {created[name] for name in row} == {"2026-06-30T23:59:59.123456Z"}


def test_a_secret_is_stored_and_never_shown(clients: list[TestClient]) -> None:
    """A SecretStr is accepted, kept, and in no answer."""
    for client in clients:
        created = client.post("/samples", json={"secret": "hunter2"})
        assert created.status_code == 201
        assert "secret" not in created.json()
        assert "secret" not in client.get(created.headers["location"]).json()

        async def stored(client: TestClient = client, key: int = created.json()["id"]) -> Any:
            async with client.app.database.sessions() as session:  # type: ignore[attr-defined]
                return (await session.get(Sample, key)).secret

        assert client.portal is not None
        assert client.portal.call(stored) == "hunter2"
