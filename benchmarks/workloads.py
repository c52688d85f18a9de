"""The requests that are timed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.apps import other_models
from benchmarks.dataset import AUTHORS, POSTS, WRITERS

_STRIDE = 389  # shares no divisor with the number of posts: a run visits them all, and not in order
_BODY = "A post that a client writes takes about as much room as the ones that were there before it. " * 3


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; a body is JSON."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, host: str) -> bytes:
        """The request as HTTP/1.1 sends it."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind.

    `request(number, token)` makes the request with that number; `count` is how many one measurement sends,
    chosen so that the cells of the table take comparable time; `status` is what each must be answered with;
    `other_routes` stand before the application's own.
    """

    name: str
    title: str
    count: int
    status: int
    request: Callable[[int, str], Request]
    other_routes: int = 0


def _post_id(number: int) -> int:
    return number * _STRIDE % POSTS + 1


def _hello(number: int, token: str) -> Request:
    return Request("GET", "/hello")


def _retrieve(number: int, token: str) -> Request:
    return Request("GET", f"/posts/{_post_id(number)}")


def _list(number: int, token: str) -> Request:
    return Request("GET", "/posts?page_size=100")


def _nested(number: int, token: str) -> Request:
    return Request("GET", f"/writers?page_size={WRITERS}")


def _create(number: int, token: str) -> Request:
    post = {
        "title": f"Post {number}",
        "body": _BODY[:200],
        "views": number,
        "published": True,
        "author_id": number % AUTHORS + 1,
    }
    return Request("POST", "/posts", json.dumps(post).encode())


def _update(number: int, token: str) -> Request:
    return Request("PATCH", f"/posts/{_post_id(number)}", json.dumps({"views": number}).encode())


def _secured(number: int, token: str) -> Request:
    return Request("GET", f"/secure/posts/{_post_id(number)}", headers={"Authorization": f"Bearer {token}"})


_ALL = (
    Workload("hello", "hello, no database", 1_000, 200, _hello),
    Workload("retrieve", "one post", 500, 200, _retrieve),
    Workload("list", "list of 100 posts", 150, 200, _list),
    Workload("nested", "20 writers with 5 essays each", 100, 200, _nested),
    Workload("create", "create a post", 300, 201, _create),
    Workload("update", "change one field", 300, 200, _update),
    Workload("secured", "one post, bearer token, user's row", 400, 200, _secured),
    Workload("routes", "hello behind 1,000 routes", 500, 200, _hello, other_routes=1_000),
)
WORKLOADS = {workload.name: workload for workload in _ALL}


def _row_of_last(routes: int, number: int, token: str) -> Request:
    return Request("GET", f"/{other_models(routes)[-1]}/{number}")


ROW_OF_LAST = {
    routes: Workload(
        f"row_of_last_{routes}", "a row of the last model", 1_000, 200, partial(_row_of_last, routes), routes
    )
    for routes in (6, 100, 1_000)
}
"""For `benchmarks.routing`, by the number of routes that stand before the application's own."""


def find_workload(name: str) -> Workload:
    """The workload of that name, of whichever table."""
    return WORKLOADS.get(name) or next(found for found in ROW_OF_LAST.values() if found.name == name)
