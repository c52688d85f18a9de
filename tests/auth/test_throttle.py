"""Guessing is slow: failures count per name and per address, in the database, for all workers together."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import event, select

from jetio import ConfigError, Settings
from jetio_auth import AuthRouter, Lockout
from tests.auth.forum import PASSWORD, Answer, Model, Site, User, call, new_app, serving

WRONG = "wrong password"


def new_site(url: str, **limits: int) -> Any:
    """The forum with these limits."""
    app = new_app(url)
    auth = AuthRouter(User, lockout=Lockout(**limits))
    auth.register_routes(app)
    return serving(app, auth)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """The forum with the limits that it has by default."""
    with new_site(database_url) as site:
        yield site


def guess(site: Site, name: str, given: str = WRONG, address: str | None = "192.0.2.1") -> Answer:
    """A login from an address."""
    answer: Answer = site.run(_login, site, name, given, address)
    return answer


async def _login(site: Site, name: str, password: str, address: str | None) -> Answer:
    body = {"username": name, "password": password}
    return await call(site.app, "POST", "/login", body, address=address)


def guesses(
    site: Site, number: int, names: list[str], password: str, address: str | None = None
) -> Counter[int]:
    """That many logins at once, over these names in turn; how often each status was the answer."""

    async def all_at_once() -> list[Answer]:
        logins = [_login(site, names[turn % len(names)], password, address) for turn in range(number)]
        return await asyncio.gather(*logins)

    return Counter(answer.status for answer in site.run(all_at_once))


def test_ten_failures_per_name(site: Site) -> None:
    """After ten wrong passwords a name is refused, also with the right one, whether or not it exists."""
    site.register("alice")
    for name in ("alice", "nobody"):
        answers = [guess(site, name, address=None) for _ in range(11)]
        assert [answer.status for answer in answers] == [401] * 10 + [429]
        refused = guess(site, name.upper(), PASSWORD, address=None)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert 890 <= int(refused.headers["retry-after"]) <= 900
    site.register("bob")
    assert guess(site, "bob", PASSWORD, address=None).status == 200


def test_the_window_ends(site: Site) -> None:
    """Retry-After tells when the next attempt is judged."""
    site.register("alice")
    with time_machine.travel(time.time()) as clock:
        for _ in range(11):
            last = guess(site, "alice", address=None)
        wait = int(last.headers["retry-after"])
        clock.shift(timedelta(seconds=wait - 10))
        assert guess(site, "alice", PASSWORD, address=None).status == 429
        clock.shift(timedelta(seconds=11))
        assert guess(site, "alice", PASSWORD, address=None).status == 200


def test_a_success_forgets_the_failures_of_the_name(site: Site) -> None:
    """Whoever logs in starts anew."""
    site.register("alice")
    for _ in range(2):
        for _ in range(9):
            assert guess(site, "alice", address=None).status == 401
        assert guess(site, "alice", PASSWORD, address=None).status == 200


def test_twenty_failures_a_minute_per_address(site: Site) -> None:
    """One address fails twenty times a minute, over all names; others, and its successes, are not touched."""
    site.register("alice")
    with time_machine.travel(time.time()) as clock:
        for number in range(20):
            assert guess(site, f"name{number}").status == 401
            assert number % 4 or guess(site, "alice", PASSWORD).status == 200
        refused = guess(site, "alice", PASSWORD)
        assert refused.status == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert guess(site, "alice", PASSWORD, address="192.0.2.2").status == 200
        clock.shift(timedelta(seconds=61))
        assert guess(site, "alice", PASSWORD).status == 200


def test_many_addresses_of_one_network(sqlite_url: str) -> None:
    """IPv6 addresses count with their network of 64 bits, mapped IPv4 ones as what they are."""
    with new_site(sqlite_url, address_failures=3) as site:
        for number in range(3):
            assert guess(site, f"a{number}", address=f"2001:db8::{number + 1:x}").status == 401
            assert guess(site, f"b{number}", address="::ffff:192.0.2.3").status == 401
        assert guess(site, "a", address="2001:db8::ffff:1").status == 429
        assert guess(site, "a", address="2001:db8:0:1::1").status == 401
        assert guess(site, "b", address="192.0.2.3").status == 429
        assert guess(site, "b", address="192.0.2.4").status == 401


def test_parallel_guesses_cannot_exceed_the_limit(database_url: str) -> None:
    """Of eight guesses at once no more are judged than the limit allows."""
    with new_site(database_url, failures=3) as site:
        site.register("alice")
        assert guesses(site, 8, ["alice"], "wrong") == {401: 3, 429: 5}
        assert guesses(site, 8, ["nobody"], "wrong") == {401: 3, 429: 5}


def test_parallel_guesses_at_many_names(database_url: str) -> None:
    """First failures of many names at once are all counted, and none of them is an error."""
    with new_site(database_url, address_failures=10) as site:
        names = [f"name{number}" for number in range(16)]
        assert guesses(site, 16, names, "wrong", address="192.0.2.7") == {401: 10, 429: 6}


def test_honest_logins_at_once(site: Site) -> None:
    """Many right passwords at once, for one name and from one address, are no attack."""
    site.register("alice")
    assert guesses(site, 30, ["alice"], PASSWORD, address="192.0.2.8") == {200: 30}


def test_the_names_of_an_account_share_one_budget(site: Site) -> None:
    """Ten failures for an account, by whichever of its names; a name of nobody has ten of its own."""
    site.register("alice")
    names = ["alice", "alice@example.com", "Alice", " ALICE@example.com"]
    statuses = [guess(site, names[turn % 4], address=None).status for turn in range(10)]
    assert statuses == [401] * 10
    for name in names:
        refused = guess(site, name, PASSWORD, address=None)
        assert (refused.status, refused.code) == (429, "rate_limited")
    assert guess(site, "nobody", address=None).status == 401


def test_a_success_by_one_name_forgets_the_failures_of_the_others(site: Site) -> None:
    """Failures by email end with a login by username."""
    site.register("alice")
    for _ in range(2):
        for _ in range(9):
            assert guess(site, "alice@example.com", address=None).status == 401
        assert guess(site, "alice", PASSWORD, address=None).status == 200


def test_refusals_for_too_many_failures_are_alike(site: Site) -> None:
    """The 429 of a name that exists and of one that does not: one text, as many statements."""
    site.register("alice")
    told: set[str] = set()
    counts: set[int] = set()
    engine = site.app.database.engine.sync_engine
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    for name in ("alice", "nobody"):
        for _ in range(10):
            guess(site, name, address=None)
        event.listen(engine, "before_cursor_execute", note)
        statements.clear()
        refused = guess(site, name, address=None)
        event.remove(engine, "before_cursor_execute", note)
        counts.add(len(statements))
        document = json.loads(refused.body)
        document.pop("request_id")
        told.add(str(document))
    assert len(told) == len(counts) == 1


def register(site: Site, name: str, address: str | None = "192.0.2.1", **fields: Any) -> Answer:
    """A registration from an address."""
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **fields}
    answer: Answer = site.run(call, site.app, "POST", "/register", body, address=address)
    return answer


def test_five_registrations_a_minute_per_address(site: Site) -> None:
    """The sixth is 429 with Retry-After, before anything is hashed; taken names count, mistakes do not."""
    with time_machine.travel(time.time()) as clock:
        for number in range(4):
            assert register(site, f"name{number}").status == 201
            assert register(site, f"short{number}", password="short").status == 422
            assert register(site, f"odd{number}", email="no address").status == 422
        assert register(site, "name1").status == 409
        refused = register(site, "late")
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert b"registrations" in refused.body
        assert register(site, "other", "192.0.2.2").status == 201
        assert guess(site, "name1", PASSWORD).status == 200
        clock.shift(timedelta(seconds=61))
        assert register(site, "late").status == 201


def test_parallel_registrations_cannot_exceed_the_limit(database_url: str) -> None:
    """Of eight at once from one address as many are taken as the limit allows."""
    with new_site(database_url, registrations=3) as site:

        async def eight() -> list[Answer]:
            bodies = [
                {"username": f"n{turn}", "email": f"n{turn}@example.com", "password": PASSWORD}
                for turn in range(8)
            ]
            return await asyncio.gather(*(call(site.app, "POST", "/register", body) for body in bodies))

        assert Counter(answer.status for answer in site.run(eight)) == {201: 3, 429: 5}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", None])
def test_this_machine_may_register_as_often_as_it_likes(sqlite_url: str, address: str | None) -> None:
    """Outside of production loopback addresses are not counted: scripts fill a database in this way."""
    with new_site(sqlite_url, registrations=1) as site:
        assert [register(site, f"n{number}", address).status for number in range(3)] == [201] * 3


def test_production_counts_this_machine_too(sqlite_url: str) -> None:
    """Behind a proxy that nobody has declared every client has its address."""
    settings = Settings(env="production", secret_key=secrets.token_urlsafe(48))
    app = new_app(sqlite_url, settings=settings)
    auth = AuthRouter(User, lockout=Lockout(registrations=1))
    auth.register_routes(app)
    with serving(app, auth) as site:
        site.run(app.database.create_tables, app.metadata)
        assert register(site, "one", "127.0.0.1").status == 201
        assert register(site, "two", "127.0.0.1").status == 429
        assert register(site, "two", "192.0.2.1").status == 201


def test_workers_count_together(database_url: str) -> None:
    """Two applications on one database share their counters."""
    with new_site(database_url) as one, new_site(database_url) as two:
        one.register("alice")
        for _ in range(5):
            assert guess(one, "alice").status == 401
            assert guess(two, "alice").status == 401
        assert guess(one, "alice", PASSWORD).status == 429
        assert guess(two, "alice", PASSWORD).status == 429


def test_what_is_stored(site: Site) -> None:
    """No name and no address stands in the table; what is a day old is forgotten."""
    table = Model.metadata.tables["jetio_auth_users_attempts"]

    async def rows() -> Any:
        async with site.app.database.sessions() as session:
            return (await session.execute(select(table))).all()

    guess(site, "secretname", address="192.0.2.99")
    found = site.run(rows)
    assert len(found) == 2
    assert all(len(subject) == 64 and set(subject) <= set("0123456789abcdef") for subject, _, _ in found)
    with time_machine.travel(time.time() + 90_000):
        guess(site, "other", address=None)
    found = site.run(rows)
    assert len(found) == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"failures": 0},
        {"window": -1},
        {"address_failures": 0},
        {"address_window": 86401},
        {"registrations": 0},
    ],
)
def test_limits_that_cannot_be_kept(limits: dict[str, int]) -> None:
    """A limit of nothing, or one that outlives what is remembered, is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="at least 1"):
        Lockout(**limits)
