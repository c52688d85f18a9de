"""The schema of a column and the validator agree: what the document allows is stored, the rest is refused."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.openapi.workshop import make_app

Values = st.SearchStrategy[Any]

VALID: dict[str, dict[str, Any]] = {
    "numbers": {"big": 1, "ratio": 0.5, "price": "1.50", "total": 2},
    "moments": {"day": "2026-01-31", "at": "2026-01-31T12:30:00Z", "due": "12:30:00", "lasts": "PT1H"},
    "texts": {"title": "One", "body": "Two"},
    "papers": {"tags": ["a"], "anything": 1},
    "seats": {"row": "A", "number": 1},
    "labels": {},
}

JSON_VALUES: Values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DIGITS: Values = st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{1,20})?", fullmatch=True)
TIMES: Values = st.from_regex(
    r"[0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?(Z|[+]01:00)?", fullmatch=True
)
SPANS: Values = st.from_regex(
    r"[+-]?P([0-9]{1,6}Y)?([0-9]M)?([0-9]W)?([0-9]D)?(T([0-9]H)?([0-9]M)?([0-9](\.[0-9]{1,7})?S)?)?",
    fullmatch=True,
)
MOMENTS: Values = st.datetimes(
    min_value=dt.datetime(1, 1, 2), max_value=dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)
).map(dt.datetime.isoformat)
# Which spellings of an encoded international name are one is a matter between libraries.
EMAILS: Values = st.emails().filter(lambda value: "xn--" not in value.lower())
BASE64: Values = st.from_regex(r"[A-Za-z0-9_/+-]{0,9}={0,2}", fullmatch=True)
NUMBERS: Values = (
    st.integers(-(2**70), 2**70)
    | st.integers(-1000, 1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**54), 2**54).map(float)
    | st.decimals(-(10**8), 10**8, places=3).map(float)
    | st.decimals(-1, 1, places=4).map(float)
    | DIGITS
    | st.booleans()
).filter(lambda value: not (isinstance(value, float) and abs(value) > 2**53))  # no double is exact there

COLUMNS: dict[tuple[str, str], Values] = {
    **{("numbers", name): NUMBERS for name in VALID["numbers"] | {"age": 1, "small": 1, "active": 1}},
    **{("numbers", name): NUMBERS for name in ("cost", "gwei", "share", "count")},
    ("moments", "day"): st.dates().map(str) | MOMENTS | st.text(max_size=12) | NUMBERS,
    ("moments", "at"): MOMENTS
    | st.from_regex(r"[0-9]{1,12}", fullmatch=True)
    | st.text(max_size=12)
    | NUMBERS,
    ("moments", "due"): TIMES | st.text(max_size=8) | NUMBERS,
    ("moments", "lasts"): SPANS | TIMES | st.sampled_from(["1 day", "P", "PT", "P1DT"]) | NUMBERS,
    ("moments", "token"): st.uuids().map(str) | st.uuids().map(lambda value: value.hex) | NUMBERS,
    ("moments", "mood"): st.sampled_from(["good", "bad", "worse", None]) | NUMBERS,
    ("moments", "level"): st.sampled_from([1, 2, 3, True, False, "low", "1", None]),
    ("texts", "title"): st.text(max_size=25) | NUMBERS,
    ("texts", "code"): st.text(max_size=3) | st.from_regex("^[a-z]{2}", fullmatch=True) | st.none(),
    ("texts", "email"): EMAILS | st.sampled_from(["a@b.test", "A <a@b.co>", "a", "a@b.co", None]),
    ("texts", "site"): st.sampled_from(["https://a.co", "http://a.co/b?c=d", "ftp://a.co", "a", "", None])
    | NUMBERS,
    ("texts", "host"): st.ip_addresses().map(str)
    | st.integers(0, 2**32)
    | st.booleans()
    | st.text(max_size=5),
    ("texts", "blob"): BASE64,
    ("texts", "short"): BASE64,
    ("papers", "tags"): st.lists(st.text(max_size=3) | st.none(), max_size=3),
    ("papers", "numbers"): st.dictionaries(st.text(max_size=2), st.lists(NUMBERS, max_size=2), max_size=2),
    ("papers", "extra"): st.dictionaries(st.text(max_size=2), JSON_VALUES, max_size=2) | JSON_VALUES,
    ("papers", "anything"): JSON_VALUES,
    ("papers", "maybe"): JSON_VALUES,
    ("papers", "plain"): st.dictionaries(st.text(max_size=2), JSON_VALUES, max_size=2)
    | st.lists(JSON_VALUES),
    ("papers", "many"): st.lists(JSON_VALUES, max_size=2) | NUMBERS,
    ("papers", "either"): st.lists(NUMBERS | st.text(max_size=2) | st.none(), max_size=3),
    ("papers", "few"): st.lists(st.integers(-2, 5) | st.integers(-2, 5).map(float), max_size=3),
    ("papers", "frame"): st.fixed_dictionaries(
        {"name": st.text(max_size=2)}, optional={"scale": NUMBERS, "strange": st.just(1)}
    )
    | st.none(),
    ("papers", "words"): st.lists(st.text(max_size=1), max_size=3) | st.none(),
    ("seats", "row"): st.text(max_size=12) | st.sampled_from(["", ".", "..", "...", ".a", "..a"]),
    ("labels", "code"): st.from_regex(r"[a-c.]{0,4}", fullmatch=True),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A running application with a column of every type."""
    file = tmp_path_factory.mktemp("wire") / "wire.db"
    with TestClient(make_app(f"sqlite+aiosqlite:///{file}"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> Any:
    """Its OpenAPI document."""
    return client.get("/openapi.json").json()


def judge(document: Any, path: str, column: str, *, side: str) -> Any:
    """A validator of one column, formats included, as the document describes it."""
    place = document["paths"][path]["post"]
    held = place["requestBody"] if side == "request" else place["responses"]["201"]
    name = held["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]["properties"][column]
    return jsonschema_rs.validator_for(
        {**schema, "components": document["components"]}, validate_formats=True
    )


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_the_schema_says_what_is_accepted(client: TestClient, document: Any, table: str, column: str) -> None:
    """A value is stored where the schema allows it, else 400 or 422; the answer fits its own schema."""
    accepted = judge(document, f"/{table}", column, side="request")
    written = judge(document, f"/{table}", column, side="response")
    clash = {"row": "A" * 9} if table == "seats" else {}

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(COLUMNS[table, column])
    def agree(value: Any) -> None:
        sent = json.dumps({**VALID[table], **clash, column: value})
        allowed = accepted.is_valid(json.loads(sent)[column])
        answer = client.post(f"/{table}", content=sent, headers={"Content-Type": "application/json"})
        if answer.status_code == 409:
            return  # a key that is taken says nothing about its type
        assert answer.status_code in ((201,) if allowed else (400, 422)), (allowed, answer.text)
        if allowed:
            assert written.is_valid(answer.json()[column]), answer.text

    agree()
