"""One truth: whatever way a row takes to the wire, it arrives as the same bytes, and they say what it holds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python
from sqlalchemy import ForeignKey, delete, event, insert
from sqlalchemy.orm import Mapped, mapped_column, relationship
from starlette.testclient import TestClient

from jetio import Access, AllowWhere, CrudRouter, Database, Decision, Deny, Jetio, JetioModel, policy, public
from jetio.resource import resource_of
from tests.crud.library import SETTINGS
from tests.crud.test_rules import ByHeader
from tests.models.samples import Columns
from tests.models.test_round_trip import COLUMNS
from tests.registries import own_registry


class Model(JetioModel):
    """Tables of these tests alone."""

    __abstract__ = True
    registry = _sa_registry = own_registry()
    metadata = registry.metadata


class Maker(Columns, Model):
    """To-one of a to-many of a to-many, with every type."""


class Part(Model):
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    maker_id: Mapped[int | None] = mapped_column(ForeignKey("makers.id"))
    secret: Mapped[bool]
    rate: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 6))
    since: Mapped[dt.datetime | None]
    maker: Mapped[Maker | None] = relationship()


class Item(Columns, Model):
    """A to-many with every type, of which some columns are not for everybody."""

    class API:
        hidden = ("clob",)
        write_only = ("short",)
        admin_only = ("moment", "document")

    owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"))
    shown: Mapped[bool] = mapped_column(default=True)
    parts: Mapped[list[Part]] = relationship(order_by="Part.id")


class Owner(Model):
    name: Mapped[str]
    items: Mapped[list[Item]] = relationship(order_by="Item.id")


@policy
async def not_secret(access: Access) -> Decision:
    """Parts that are a secret are for admins."""
    if access.principal is None:
        return Deny()
    return AllowWhere(sa.true() if access.principal.is_admin else Part.secret.is_(False))


@policy
async def shown(access: Access) -> Decision:
    """Items that are shown, to whoever has a name."""
    return Deny() if access.principal is None else AllowWhere(Item.shown)


class Named(ByHeader):
    """The caller called root is an admin."""

    async def identify(self, connection: Any, work: Any) -> Any:
        found = await super().identify(connection, work)
        return None if found is None else type(found)(id=found.id, sub=found.sub, is_admin=found.id == "root")


EMBEDDED = ["items", "items.parts", "items.parts.maker"]


def application(database: Database) -> Jetio:
    """Items bare, with their parts, and within owners; open, and under rules."""
    app = Jetio(database=database, metadata=Model.metadata, settings=SETTINGS)
    app.use_authenticator(Named())
    CrudRouter(Maker).register_routes(app)
    CrudRouter(Part, policy={"*": not_secret}).register_routes(app)
    CrudRouter(Item, policy={"GET": shown, "*": public()}).register_routes(app)
    CrudRouter(
        Item, load_relationships=["parts", "parts.maker"], policy={"GET": shown, "*": public()}
    ).register_routes(app, prefix="/with")
    CrudRouter(Owner, load_relationships=EMBEDDED).register_routes(app)
    app.build()
    return app


@dataclass
class Ways:
    """The same rows by every way; whoever writes or reads by one is seen by the others."""

    database: Database
    clients: Mapping[str, TestClient]

    def write(self, rows: Sequence[tuple[sa.Table, list[dict[str, Any]]]]) -> None:
        """Replace all rows by these, as SQLAlchemy binds them."""

        async def fill() -> None:
            async with self.database.engine.begin() as connection:
                for table in reversed(Model.metadata.sorted_tables):
                    await connection.execute(delete(table))
                for table, values in rows:
                    if values:
                        await connection.execute(insert(table), values)

        portal = self.clients["driver"].portal
        assert portal is not None
        portal.call(fill)

    def read(self, path: str, name: str | None = None) -> bytes:
        """What all of them answer."""
        headers = {} if name is None else {"x-name": name}
        answers = {way: client.get(path, headers=headers) for way, client in self.clients.items()}
        first = answers["driver"]
        assert first.status_code == 200, first.text
        for way, answer in answers.items():
            assert answer.content == first.content, way
            assert answer.headers == first.headers, way
        return first.content


def see(*given: Any) -> None:
    """Somebody who waits for objects."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """By the driver, by sessions, and by objects that somebody listens to."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('truth') / 'test.db'}"
        if request.param != "sqlite":
            url = stack.enter_context(request.getfixturevalue(f"{request.param}_server").fresh_database())
        databases = [Database(url), Database(url, fast_path=False), Database(url)]
        apps = [application(database) for database in databases[:2]]
        mappers = list(Model.registry.mappers)
        for mapper in mappers:
            event.listen(mapper, "before_update", see)
            stack.callback(event.remove, mapper, "before_update", see)
        apps.append(application(databases[2]))
        clients = [stack.enter_context(TestClient(app)) for app in apps]
        yield Ways(databases[0], dict(zip(["driver", "session", "objects"], clients, strict=True)))


# ---- rows ------------------------------------------------------------------------------------------------

FIELDS = {name: resource_of(Maker).fields[name] for name in COLUMNS}
ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    name: TypeAdapter(item.annotation) for name, item in FIELDS.items()
}
EDGES: Mapping[str, Sequence[Any]] = {
    "text": ["", "\U0010ffff😀", "\ue000\uffff\ufffe", "\x01\x1f\x7f\u2028", " a ", 'quo"te\\'],
    "whole": [-(2**31), 2**31 - 1, 0],
    "big": [-(2**63), 2**63 - 1, 2**53 + 1],
    "real": [5e-324, 1.7976931348623157e308, -0.0, 1e16, 1e-7, 123456789012345680.0],
    "price": ["9999999999.99", "-0.01", "0", "100"],
    "rate": ["0.000000000000001", "-0.999999999999999", "0"],
    "count": ["999999999999999", "-1", "0"],
    "moment": [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "2026-03-29T02:30:00.000001+01:00",
        "1969-12-31T23:59:59.100000-11:30",
    ],
    "naive": ["0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00.5Z"],
    "date": ["0001-01-01", "9999-12-31", "2024-02-29"],
    "time": ["00:00:00", "23:59:59.999999", "12:00:00.000001", "12:00:00.1"],
    "span": ["PT0S", "-PT0.000001S", "P246Y210D", "PT23H59M59.999999S"],
    "key": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "address": ["0.0.0.1", "::", "::ffff:1.2.3.4", "255.255.255.255"],
    "binary": ["", "AP-_", "AAAA"],
    "anything": [0, False, "", [], {}, {"a": {"b": [None, 1.5, "😀", {"c": []}]}}, [[[]]], 2**63 - 1],
    "document": [{}, {"": {"": None}}, {"😀": [1, {"a": None}]}],
    "listed": [[], [""], ["a", "a"]],
    "tags": [[], ["b", "a", "😀"]],
    "places": [[], [{"name": "", "at": [0.0, -1.5], "since": "0001-01-01"}]],
    "colour": ["grün 🟢"],
    "flag": [True, False],
}
LONGEST = max(map(len, EDGES.values()))
NOTHING = dict.fromkeys(COLUMNS)
EDGE_ROWS = [
    {**NOTHING, **{name: found[number % len(found)] for name, found in EDGES.items()}}
    for number in range(LONGEST)
]
ROWS = st.fixed_dictionaries({name: st.none() | found for name, (found, _) in COLUMNS.items()})
BATCH = st.lists(ROWS, min_size=4, max_size=4)
# Not shrunk: a failure names what differs, and rows this wide take minutes to shrink.
PROPERTY = settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def values_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """As Python has them, from JSON."""
    return {
        name: None if value is None else ADAPTERS[name].validate_json(json.dumps(value))
        for name, value in row.items()
    }


def told(name: str, value: Any) -> Any:
    """What the documentation promises for a value, by pydantic and the standard library alone."""
    if isinstance(value, dt.datetime):
        value = value.replace(tzinfo=value.tzinfo or dt.UTC).astimezone(dt.UTC)
    if isinstance(value, Decimal):
        scale = FIELDS[name].column.type.scale  # type: ignore[attr-defined]
        return f"{value.quantize(Decimal(1).scaleb(-scale)):f}"
    if isinstance(value, set):
        return sorted(value)
    return to_jsonable_python(value, bytes_mode="base64", timedelta_mode="iso8601")


def document(key: int, values: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """A row as it has to be told."""
    held = {name: told(name, value) for name, value in values.items() if name not in without}
    return {"id": key, **held}


def differences(got: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Where a document is not what it has to be: rows of so many fields are not read at a glance."""
    if isinstance(got, dict) and isinstance(wanted, dict) and got.keys() == wanted.keys():
        for name in wanted:
            yield from differences(got[name], wanted[name], f"{place}.{name}")
    elif isinstance(got, list) and isinstance(wanted, list) and len(got) == len(wanted):
        for number, pair in enumerate(zip(got, wanted, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif type(got) is not type(wanted) or got != wanted:
        yield f"{place}: {got!r}, not {wanted!r}"


def assert_told(content: bytes, wanted: Any) -> None:
    """The bytes are JSON and say just that."""
    assert list(differences(json.loads(content), wanted)) == []


def part(number: int, item: int) -> dict[str, Any]:
    """Every third one is a secret; every second one has no maker."""
    return {
        "id": number,
        "item_id": item,
        "maker_id": None if number % 2 else item,
        "secret": number % 3 == 0,
        "rate": Decimal(number).scaleb(-6),
        "since": dt.datetime(2026, 1, 1, microsecond=number, tzinfo=dt.UTC),
    }


# ---- reading ---------------------------------------------------------------------------------------------


@PROPERTY
@given(rows=BATCH)
@example(rows=EDGE_ROWS)
@example(rows=[NOTHING])
def test_rows_are_told_alike_by_all_ways(ways: Ways, rows: list[dict[str, Any]]) -> None:
    """Every type, bare and within to-many within to-many, for everybody, a user and an admin."""
    held = {number: values_of(row) for number, row in enumerate(rows, 1)}
    parts = [part(number, (number - 1) % len(held) + 1) for number in range(1, 3 * len(held))]
    every = [{"id": number, **values} for number, values in held.items()]
    owners = [{"id": 1, "name": "one"}, {"id": 2, "name": "none"}]
    items = [{**row, "owner_id": 1, "shown": row["id"] % 2 == 1} for row in every]
    ways.write(
        [
            (Owner.__table__, owners),  # type: ignore[list-item]
            (Maker.__table__, [_columns(Maker, row) for row in every]),  # type: ignore[list-item]
            (Item.__table__, [_columns(Item, row) for row in items]),  # type: ignore[list-item]
            (Part.__table__, parts),  # type: ignore[list-item]
        ]
    )
    makers = {number: document(number, values) for number, values in held.items()}
    assert_told(ways.read("/makers?limit=200"), list(makers.values()))
    for number in makers:
        assert_told(ways.read(f"/makers/{number}"), makers[number])
    for name in ("ann", "root"):
        admin = name == "root"
        away = ("clob", "short") if admin else ("clob", "short", "moment", "document")
        seen = [
            {**document(row["id"], held[row["id"]], away), "owner_id": 1, "shown": row["shown"]}
            for row in items
            if row["shown"]
        ]
        assert_told(ways.read("/items?limit=200", name), seen)
        wanted = [_part(row) for row in parts if admin or not row["secret"]]
        assert_told(ways.read("/parts?limit=200", name), wanted)
        for row in seen:
            row["parts"] = [
                {**_part(own), "maker": makers.get(own["maker_id"])}
                for own in parts
                if own["item_id"] == row["id"] and (admin or not own["secret"])
            ]
        assert_told(ways.read("/with/items?limit=200", name), seen)
        owned = [{**owners[0], "items": seen}, {**owners[1], "items": []}]
        assert_told(ways.read("/owners", name), owned)
        assert_told(ways.read("/owners/1", name), owned[0])


def _columns(model: type[Model], values: Mapping[str, Any]) -> dict[str, Any]:
    fields = resource_of(model).fields
    return {fields[name].column.name: value for name, value in values.items()}


def _part(row: Mapping[str, Any]) -> dict[str, Any]:
    moment = row["since"].isoformat().replace("+00:00", "Z")
    return {**row, "rate": f"{row['rate']:.6f}", "since": moment}


# ---- writing ---------------------------------------------------------------------------------------------


@PROPERTY
@given(rows=BATCH)
@example(rows=EDGE_ROWS)
@example(rows=[NOTHING, EDGE_ROWS[0]])
def test_what_a_write_answers_is_what_is_read(ways: Ways, rows: list[dict[str, Any]]) -> None:
    """By RETURNING, by a second statement or of an object: the answer is the row as everybody reads it later."""
    ways.write([(Owner.__table__, [{"id": 1, "name": "one"}])])  # type: ignore[list-item]
    others = rows[1:] + rows[:1]
    for client in ways.clients.values():
        for row, other in zip(rows, others, strict=True):
            created = client.post("/makers", json=row)
            assert created.status_code == 201, created.text
            address = created.headers["location"]
            assert created.content == ways.read(address)
            key = int(address.rpartition("/")[2])
            assert_told(created.content, document(key, values_of(row)))
            changed = client.patch(address, json=other)
            assert changed.content == ways.read(address)
            assert_told(changed.content, document(key, values_of(other)))
            replaced = client.put(address, json=row)
            assert replaced.content == created.content


def test_writes_under_rules_answer_what_their_caller_reads(ways: Ways) -> None:
    """Fields for admins, fields that are only written, and embedded rows under a rule of their own."""
    row = EDGE_ROWS[0]
    ways.write([(Owner.__table__, [{"id": 1, "name": "one"}])])  # type: ignore[list-item]
    sent = {name: row[name] for name in row if name not in ("clob", "moment", "document")}
    for client in ways.clients.values():
        for name, hidden in (("root", {"clob", "short"}), ("ann", {"clob", "short", "moment", "document"})):
            for base in ("/items", "/with/items"):
                headers = {"x-name": name}
                created = client.post(base, json={**sent, "short": "w", "owner_id": 1}, headers=headers)
                assert created.status_code == 201, created.text
                address = created.headers["location"]
                assert not hidden & created.json().keys()
                assert created.content == ways.read(address, name)
                changed = client.patch(address, json={"text": "other"}, headers=headers)
                assert changed.content == ways.read(address, name)
                assert client.delete(address, headers=headers).status_code == 204
