"""Swagger UI and the document as files of this server: complete, cached, packed, and nothing else."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from urllib.parse import urljoin

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from jetio import ConfigError, Jetio, Principal, SecurityScheme, add_swagger_ui
from tests.openapi.workshop import SETTINGS, Tokens, make_app

PLAIN = {"Accept-Encoding": "identity"}
KINDS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    """The workshop, served and not started: none of this needs a database."""
    return TestClient(make_app(), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def assets(client: TestClient) -> dict[str, str]:
    """The addresses of the page's files, by name."""
    found = links_of(client.get("/docs"))
    return {address.rpartition("/")[2]: address for address in found}


def bare(**options: object) -> Jetio:
    """An application of nothing."""
    return Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", **options)  # type: ignore[arg-type]


def links_of(page: httpx2.Response) -> list[str]:
    """What the page refers to, as a browser finds it."""
    found = re.findall(r'(?:href|src|data-openapi)="([^"]*)"', page.text)
    return list(dict.fromkeys(urljoin(str(page.url), address) for address in found))


# ---- the page ----------------------------------------------------------------------------------------------


def test_the_page_names_the_application_and_its_document(client: TestClient) -> None:
    """HTML with the title; the document's address stands in it for the script."""
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Workshop</title>" in page.text
    assert 'data-openapi="openapi.json"' in page.text


def test_a_title_cannot_write_html() -> None:
    """It is text."""
    app = bare(title='<script>alert("$title")</script>')
    add_swagger_ui(app)
    page = TestClient(app).get("/docs").text
    assert "<title>&lt;script&gt;alert(&quot;$title&quot;)&lt;/script&gt;</title>" in page


def test_the_page_refers_to_this_server_only(client: TestClient) -> None:
    """No address in it is absolute, and every one is answered."""
    page = client.get("/docs")
    assert not re.findall(r"(?:https?:)?//", page.text)
    assert {client.get(address).status_code for address in links_of(page)} == {200}


def test_a_browser_is_told_to_ask_nobody_else(client: TestClient) -> None:
    """Scripts are files of this server; the page is framed by nobody and sends no referrer."""
    headers = client.get("/docs").headers
    rules = dict(rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_page_and_the_document_are_asked_for_anew(client: TestClient) -> None:
    """Both may change with the next deployment: browsers keep them and ask whether they are still good."""
    for address in ("/docs", "/openapi.json"):
        first = client.get(address)
        assert first.headers["cache-control"] == "no-cache"
        again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert "content-type" not in again.headers


def test_the_document_is_what_the_application_tells() -> None:
    """`/openapi.json` and `app.openapi()` are one."""
    app = make_app()
    answer = TestClient(app).get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == app.openapi()
    assert "servers" not in answer.json()


# ---- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_files_are_kept_for_a_year(client: TestClient, assets: dict[str, str], name: str) -> None:
    """Their address changes with their content, so nobody asks again."""
    answer = client.get(assets[name], headers=PLAIN)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == KINDS[name]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert int(answer.headers["content-length"]) == len(answer.content) > 100
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_address_of_the_files_has_the_version(assets: dict[str, str]) -> None:
    """Of Swagger UI, and of the page's own files."""
    [folder] = {address.rpartition("/")[0] for name, address in assets.items() if name in KINDS}
    assert re.fullmatch(r".*/docs/assets/\d+\.\d+\.\d+-[0-9a-f]{8}", folder)


@pytest.mark.parametrize("name", KINDS)
def test_files_are_packed_for_those_who_take_it(
    client: TestClient, assets: dict[str, str], name: str
) -> None:
    """Both forms are the same file, each with a tag of its own; caches are told what it hangs on."""
    plain = client.get(assets[name], headers=PLAIN)
    with client.stream("GET", assets[name], headers={"Accept-Encoding": "br, gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert "content-encoding" not in plain.headers
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("deflate, gzip;q=1.0", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_the_weight_of_gzip_counts(client: TestClient, accepted: str, packed: bool) -> None:
    """Zero means no (RFC 9110, 12.4.2)."""
    answer = client.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)


@pytest.mark.parametrize(
    ("given", "status"),
    [("W/{tag}", 304), ('"other", {tag}', 304), ("*", 304), ('"other"', 200), ("", 200)],
)
def test_a_tag_that_is_known_needs_no_body(client: TestClient, given: str, status: int) -> None:
    """By weak comparison, alone or among others (RFC 9110, 13.1.2)."""
    tag = client.get("/openapi.json").headers["etag"]
    answer = client.get("/openapi.json", headers={"If-None-Match": given.replace("{tag}", tag)})
    assert answer.status_code == status


def test_heads_are_answered(client: TestClient, assets: dict[str, str]) -> None:
    """With the length of what GET would send."""
    address = assets["swagger-ui.css"]
    head, whole = client.head(address), client.get(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize(
    "place",
    [
        "../page.css",
        "../../ui.py",
        "..%2f..%2fui.py",
        "%2e%2e/%2e%2e/ui.py",
        "..\\..\\ui.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "page.css%00.png",
        "index.html",
        "swagger-ui.js.map",
        "",
    ],
)
def test_nothing_but_the_files_is_served(client: TestClient, assets: dict[str, str], place: str) -> None:
    """No way leads out of the folder, and not to its other files: 404, as everywhere."""
    folder = assets["page.css"].rpartition("/")[0]
    request = client.build_request("GET", folder)
    request.url = request.url.copy_with(raw_path=f"{request.url.path}/{place}".encode())
    answer = client.send(request)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_other_versions_are_not_there(client: TestClient, assets: dict[str, str]) -> None:
    """An address of last year's page leads nowhere; it does not lead to other content."""
    old = re.sub(r"/assets/[^/]*/", "/assets/4.0.0-00000000/", assets["page.css"])
    assert client.get(old).status_code == 404


def test_the_page_is_for_reading(client: TestClient) -> None:
    """Other methods are refused with those that are known."""
    answer = client.post("/docs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_applications_own_compression_leaves_packed_files_alone(assets: dict[str, str]) -> None:
    """A middleware that packs does not pack twice."""
    app = bare(middleware=[Middleware(GZipMiddleware, minimum_size=10)])
    add_swagger_ui(app)
    answer = TestClient(app).get(assets["page.css"].removeprefix("http://testserver"))
    assert answer.headers["content-encoding"] == "gzip"
    assert b".swagger-ui" in answer.content


# ---- where it stands ---------------------------------------------------------------------------------------


def test_without_it_there_is_neither_page_nor_document() -> None:
    """Every other endpoint works as it does with it."""
    app = bare()

    @app.get("/one")
    async def one() -> int:
        return 1

    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/docs", "/openapi.json", "/one")] == [404, 404, 200]


@pytest.mark.parametrize(
    ("path", "openapi_path"),
    [
        ("/", "/openapi.json"),
        ("/docs", "/api/v1/schema.json"),
        ("/api/docs", "/openapi.json"),
        ("/api/docs", "/api/openapi.json"),
        ("/docs/", "/docs/openapi.json"),
    ],
)
def test_it_stands_where_the_application_wants(path: str, openapi_path: str) -> None:
    """Wherever the page and the document are, the page finds its files and the document."""
    app = bare()
    add_swagger_ui(app, path, openapi_path)
    client = TestClient(app)
    page = client.get(path)
    links = links_of(page)
    assert f"http://testserver{openapi_path}" in links
    assert {client.get(address).status_code for address in links} == {200}


def test_it_is_added_once() -> None:
    """Two pages at one address are a mistake."""
    app = bare()
    add_swagger_ui(app)
    add_swagger_ui(app)
    with pytest.raises(ConfigError, match=r"GET /docs \(swagger_ui\)"):
        app.build()


def test_its_address_can_be_found() -> None:
    """By the name of its endpoint: `app.run()` prints it."""
    app = bare()
    add_swagger_ui(app, "/reference")
    assert [path for path, endpoint in app.endpoints if endpoint.name == "swagger_ui"] == ["/reference"]


@pytest.fixture
def mounted() -> TestClient:
    """An application below another one, once at a fixed place and once at many."""
    app = make_app()
    parent = Starlette(routes=[Mount("/shop", app), Mount("/of/{tenant}", app)])
    return TestClient(parent)


def test_it_works_below_another_application(mounted: TestClient) -> None:
    """The page finds its files and its document, which tells where its operations and its tokens are."""
    page = mounted.get("/shop/docs")
    assert {mounted.get(address).status_code for address in links_of(page)} == {200}
    document = mounted.get("/shop/openapi.json").json()
    assert document["servers"] == [{"url": "/shop"}]
    flows = document["components"]["securitySchemes"]["Password"]["flows"]
    assert flows == {"password": {"tokenUrl": "/shop/token", "scopes": {}}}


def test_each_place_has_its_own_document(mounted: TestClient) -> None:
    """One application that is mounted at many places tells each caller the right one."""
    places = ("/of/one", "/of/two", "/shop")
    found = {place: mounted.get(f"{place}/openapi.json").json()["servers"] for place in places}
    assert found == {place: [{"url": place}] for place in places}


def test_it_works_behind_a_proxy_that_cuts_the_path() -> None:
    """`root_path` is where the proxy has it."""
    client = TestClient(make_app(), root_path="/api")
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/api"}]


ELSEWHERE = {
    "authorizationUrl": "https://login.example/authorize",
    "tokenUrl": "https://login.example/token",
    "scopes": {"/read": "everything"},
}


class Elsewhere(Tokens):
    """People log in with somebody else, or have a key."""

    @property
    def schemes(self) -> Sequence[SecurityScheme]:
        return [
            SecurityScheme("Elsewhere", {"type": "oauth2", "flows": {"authorizationCode": ELSEWHERE}}),
            SecurityScheme("Key", {"type": "apiKey", "in": "header", "name": "X-Key"}),
        ]


def test_moving_changes_only_what_stands_here() -> None:
    """An address at somebody else's stays, and so do schemes that have none."""
    app = bare()
    add_swagger_ui(app)
    app.use_authenticator(Elsewhere())

    @app.get("/mine")
    async def mine(caller: Principal) -> int:
        return 1

    schemes = TestClient(app, root_path="/api").get("/openapi.json").json()["components"]["securitySchemes"]
    assert schemes["Elsewhere"]["flows"]["authorizationCode"] == ELSEWHERE
    assert schemes["Key"] == {"type": "apiKey", "in": "header", "name": "X-Key"}


def test_an_open_application_moves_too() -> None:
    """Without any scheme there is only the server to tell."""
    app = bare()
    add_swagger_ui(app)
    document = TestClient(app, root_path="/api").get("/openapi.json").json()
    assert document == {**app.openapi(), "servers": [{"url": "/api"}]}
