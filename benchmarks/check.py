"""Do all contestants give the same answers? Asked before anything is timed."""

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from benchmarks import dataset
from benchmarks.apps import other_models
from benchmarks.server import HOST, Server
from benchmarks.spelling import spelling_of
from benchmarks.workloads import Request

_ABSENT = 999_999
_NEW = {"title": "Ein Beitrag", "body": "Größe: \t1\\2", "views": 1, "published": True, "author_id": 2}


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, the status it must have and, unless None, the JSON it must have."""

    request: Request
    status: int
    answer: Any = None


def log_in(server: Server) -> str:
    """A bearer token for the dataset's account, from the server's own `POST /login`."""
    body = json.dumps({"username": dataset.USERNAME, "password": dataset.PASSWORD}).encode()
    answer = _ask(server, Probe(Request("POST", "/login", body), 200))
    if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
        raise server.failure("answered POST /login without an access_token")
    return str(answer["access_token"])


def check_answers(server: Server, token: str) -> None:
    """Asks a contestant every kind of request; raises at the first answer that is not the dataset's.

    Each contestant is held to the same expectation, so those that pass agree with each other.
    """
    _compare(server, [*_reads(), *_nested(), *_secured(token), *_writes()])


def check_routes(server: Server) -> None:
    """Asks a contestant that has other routes for its own and for the last of the others."""
    last = f"/{other_models(server.other_routes)[-1]}"
    probes = [
        Probe(Request("GET", "/hello"), 200, {"message": "hello"}),
        Probe(Request("GET", last), 200, []),
        Probe(Request("GET", f"{last}/7"), 200, {"id": 7}),
    ]
    _compare(server, probes)


def _compare(server: Server, probes: Iterable[Probe]) -> None:
    for probe in probes:
        answer = _ask(server, probe)
        if probe.answer is not None and _canonical(answer) != _canonical(probe.answer):
            request = f"{probe.request.method} {probe.request.path}"
            got, due = _short(answer), _short(probe.answer)
            raise server.failure(f"answered {request} with\n  {got}\nand not with\n  {due}")


def _reads() -> list[Probe]:
    rows = [{"id": number, **post} for number, post in enumerate(dataset.posts(), start=1)]
    some = (rows[0], rows[388], rows[-1])
    single = [Probe(Request("GET", f"/posts/{row['id']}"), 200, row) for row in some]
    return [
        Probe(Request("GET", "/hello"), 200, {"message": "hello"}),
        *single,
        Probe(Request("GET", "/posts?page_size=100"), 200, rows[:100]),
        Probe(Request("GET", "/posts?page_size=100&page=3"), 200, rows[200:300]),
        Probe(Request("GET", f"/posts/{_ABSENT}"), 404),
    ]


def _nested() -> list[Probe]:
    essays = [{"id": number, **essay} for number, essay in enumerate(dataset.essays(), start=1)]
    rows = [
        {"id": number, **writer, "essays": [essay for essay in essays if essay["writer_id"] == number]}
        for number, writer in enumerate(dataset.writers(), start=1)
    ]
    return [
        Probe(Request("GET", f"/writers?page_size={dataset.WRITERS}"), 200, rows),
        Probe(Request("GET", "/writers?page_size=3&page=2"), 200, rows[3:6]),
    ]


def _secured(token: str) -> list[Probe]:
    request = Request("GET", "/secure/posts/7")
    row = {"id": 7, **dataset.posts()[6]}
    head, _, signature = token.rpartition(".")
    forged = f"{head}.{signature[::-1]}"
    return [
        Probe(request, 401),
        Probe(replace(request, headers={"Authorization": f"Bearer {forged}"}), 401),
        Probe(replace(request, headers={"Authorization": f"Bearer {token}"}), 200, row),
    ]


def _writes() -> list[Probe]:
    created = {"id": dataset.POSTS + 1, **_NEW, "created_at": datetime.now(UTC)}
    changed = {"id": 5, **dataset.posts()[4], "views": 7}
    change = json.dumps({"views": 7}).encode()
    wrong = json.dumps(_NEW | {"views": "many"}).encode()
    return [
        Probe(Request("POST", "/posts", json.dumps(_NEW).encode()), 201, created),
        Probe(Request("GET", f"/posts/{dataset.POSTS + 1}"), 200, created),
        Probe(Request("PATCH", "/posts/5", change), 200, changed),
        Probe(Request("GET", "/posts/5"), 200, changed),
        Probe(Request("POST", "/posts", wrong), 422),
        Probe(Request("POST", "/posts", b"{}"), 422),
        Probe(Request("PATCH", "/posts/5", wrong), 422),
        Probe(Request("PATCH", f"/posts/{_ABSENT}", change), 404),
    ]


def _ask(server: Server, probe: Probe) -> Any:
    """The decoded answer to a probe; raises if its status is another, or a success is not JSON."""
    spelling = spelling_of(server.contestant)
    request = spelling.ask(probe.request)
    name = f"{request.method} {request.path}"
    status, kind, body = _send(server, request)
    if status != probe.status:
        raise server.failure(f"answered {name} with {status}, not {probe.status}: {_short(body)}")
    if status >= http.HTTPStatus.BAD_REQUEST:
        return None
    if not kind.startswith("application/json"):
        raise server.failure(f"answered {name} as {kind or 'no content type'}, not application/json")
    return spelling.read(json.loads(body))


def _send(server: Server, request: Request) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    headers = request.headers | ({"Content-Type": "application/json"} if request.body else {})
    try:
        connection.request(request.method, request.path, request.body or None, headers)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    except (OSError, http.client.HTTPException) as error:
        server.require_alive()
        raise server.failure(f"gave no answer to {request.method} {request.path}: {error}") from error
    finally:
        connection.close()


def _canonical(value: Any) -> str:
    """Text that is equal for equal answers: in Python 1 equals True and 1.0, in JSON it does not."""
    return json.dumps(_normal(value), sort_keys=True, default=datetime.isoformat)


def _normal(value: Any) -> Any:
    """The value with what contestants may differ in taken out: how an instant is written (README.md).

    The time at which a row is created is its server's own, and is only required to be one.
    """
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    row = {name: _normal(item) for name, item in value.items()}
    if "created_at" in row:
        row["created_at"] = _instant(row["created_at"])
    if row.get("id", 0) > dataset.POSTS:
        row["created_at"] = isinstance(row.get("created_at"), datetime)
    return row


def _instant(value: Any) -> Any:
    """A timestamp as an instant, one without an offset read as UTC; anything else as it is."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _short(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else json.dumps(value, default=str)
    return text if len(text) <= 600 else f"{text[:600]}..."
