"""The atlas example: real data through the running API, and back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.live import LiveServer, serve

COMMAND = [sys.executable, "-m", "examples.atlas"]
PASSWORD = "the keeper of the atlas"
ACCOUNT = {
    "JETIO_AUTH_DEFAULT_ADMIN_USERNAME": "keeper",
    "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": PASSWORD,
}
COUNTRIES = 252
FIRST, ALL = 300, 3_000
STRANGER = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})
"""
ROOT = Path(__file__).parents[2]


def load(url: str, *options: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the loader as a person does."""
    command = [sys.executable, "-m", "examples.atlas.load", "--url", url, *options]
    environment = {"PATH": "/usr/bin:/bin", **ACCOUNT, "JETIO_AUTH_DEFAULT_ADMIN_PASSWORD": password}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def counts(output: str) -> dict[str, tuple[int, int]]:
    """New and known rows by path, as the loader printed them."""
    lines = re.findall(r"^(/\w+): (\d+) new, (\d+) known, \d+ rows/s$", output, re.MULTILINE)
    return {path: (int(new), int(known)) for path, new, known in lines}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The atlas with every country and some thousand cities; the load was interrupted once."""
    command = [sys.executable, "-m", "examples.atlas"]
    with serve(
        tmp_path_factory.mktemp("atlas"), command=command, env={"JETIO_PORT": "0", **ACCOUNT}
    ) as server:
        begun = load(server.base_url, "--limit", str(FIRST))
        assert counts(begun.stdout) == {"/countries": (COUNTRIES, 0), "/cities": (FIRST, 0)}, begun.stderr
        finished = load(server.base_url, "--limit", str(ALL))
        print(finished.stdout)
        assert counts(finished.stdout) == {"/countries": (0, COUNTRIES), "/cities": (ALL - FIRST, FIRST)}
        yield server


@pytest.fixture
def client(atlas: LiveServer) -> httpx2.Client:
    return atlas.client


def pages(client: httpx2.Client, path: str) -> Iterator[httpx2.Response]:
    """Every page of a list, by its Link headers."""
    following: str | None = path
    while following is not None:
        page = client.get(following)
        assert page.status_code == 200, page.text
        yield page
        following = page.links.get("next", {}).get("url")


def test_the_whole_world_comes_back(client: httpx2.Client) -> None:
    """Paging through everything shows each row once, in the order of its key."""
    begun = time.perf_counter()
    cities = [city for page in pages(client, "/cities?page_size=200") for city in page.json()]
    print(f"{len(cities) / (time.perf_counter() - begun):.0f} rows/s read")
    keys = [city["geonameid"] for city in cities]
    assert len(keys) == ALL
    assert keys == sorted(set(keys))
    assert {city["country"]["iso"] for city in cities} == {city["country_iso"] for city in cities}
    countries = [country["iso"] for page in pages(client, "/countries") for country in page.json()]
    assert len(countries) == COUNTRIES
    assert countries == sorted(set(countries))


def test_a_count_is_exact(client: httpx2.Client) -> None:
    """Asked for, it stands in a header; the last page is linked."""
    answer = client.get("/cities", params={"count": "exact", "page_size": 200})
    assert answer.headers["X-Total-Count"] == str(ALL)
    assert answer.links["last"]["url"] == f"/cities?count=exact&page_size=200&page={ALL // 200}"


def test_a_city_holds_its_country(client: httpx2.Client) -> None:
    """By the key that GeoNames gave it; coordinates come back digit for digit."""
    tokyo = client.get("/cities/1850147").json()
    assert tokyo["name"] == "Tokyo"
    assert tokyo["timezone"] == "Asia/Tokyo"
    assert (tokyo["latitude"], tokyo["longitude"]) == ("35.68950", "139.69171")
    assert (tokyo["country"]["iso"], tokyo["country"]["name"]) == ("JP", "Japan")


def test_a_text_key_is_an_address(client: httpx2.Client) -> None:
    """Exactly as written: a code in lower case is no country."""
    assert client.get("/countries/NA").json()["name"] == "Namibia"
    assert client.get("/countries/na").status_code == 404
    assert client.get("/countries/AQ").json()["capital"] is None


def test_writing_is_for_the_keeper(client: httpx2.Client) -> None:
    """Readers are asked for a login; a registered one is told that it is not enough."""
    country = {"iso": "XX", "name": "X", "capital": None, "continent": "EU", "population": 0, "area": 0}
    assert client.post("/countries", json=country).status_code == 401
    account = {"username": "reader", "password": "only reads here"}
    assert client.post("/register", json=account).status_code == 201
    token = client.post("/login", json=account).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/countries", json=country, headers=headers).status_code == 403
    assert client.delete("/countries/JP", headers=headers).status_code == 403


def test_wrong_data_is_refused_by_name(client: httpx2.Client) -> None:
    """A code that is none, a latitude off the globe, a country that does not exist."""
    login = {"username": "keeper", "password": PASSWORD}
    token = client.post("/login", json=login).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    country = {"iso": "xx", "name": "X", "capital": None, "continent": "EU", "population": -1, "area": 0}
    answer = client.post("/countries", json=country, headers=headers)
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/iso", "/population"}
    city = {"geonameid": 1, "name": "X", "population": 0, "latitude": "90.5", "longitude": "0"}
    answer = client.post("/cities", json={**city, "timezone": "UTC", "country_iso": "JP"}, headers=headers)
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/latitude"}
    lost = {**city, "latitude": "9.5", "timezone": "UTC", "country_iso": "ZZ"}
    answer = client.post("/cities", json=lost, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_reference")


def test_a_country_with_cities_stays(client: httpx2.Client) -> None:
    """409 for the keeper who would delete it."""
    login = {"username": "keeper", "password": PASSWORD}
    token = client.post("/login", json=login).json()["access_token"]
    answer = client.delete("/countries/JP", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (409, "still_referenced")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_another_database_is_one_setting(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """The same application, the same loader, the same answers."""
    environment = {"DATABASE_URL": request.getfixturevalue(f"{kind}_url"), "JETIO_PORT": "0", **ACCOUNT}
    with serve(tmp_path, command=COMMAND, env=environment) as server:
        run = load(server.base_url, "--limit", "40")
        assert counts(run.stdout) == {"/countries": (COUNTRIES, 0), "/cities": (40, 0)}, run.stderr
        assert counts(load(server.base_url, "--limit", "40").stdout)["/cities"] == (0, 40)
        tokyo = server.client.get("/cities/1850147").json()
        assert (tokyo["latitude"], tokyo["country"]["name"]) == ("35.68950", "Japan")
        assert server.client.get("/countries/na").status_code == 404


def test_a_wrong_password_is_said(atlas: LiveServer) -> None:
    """One line, and a status for scripts."""
    run = load(atlas.base_url, password="not it")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "The load ended: the server knows no 'keeper' with this password\n"


def test_a_server_that_is_away_is_said() -> None:
    """The line says what to start."""
    run = load("http://127.0.0.1:9")
    assert run.returncode == 1
    assert run.stderr.startswith("The load ended: no answer from http://127.0.0.1:9")
    assert "start `python -m examples.atlas` there" in run.stderr


def test_another_kind_of_server_is_said(live_server: Callable[..., LiveServer]) -> None:
    """Whatever answers there is no atlas."""
    server = live_server("hello:app", source=STRANGER, options=["--lifespan=off"])
    run = load(server.base_url)
    assert run.returncode == 1
    assert "is this address an atlas?" in run.stderr
