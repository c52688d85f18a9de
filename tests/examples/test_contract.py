"""The blog keeps what its OpenAPI document promises: schemathesis with every check, as three callers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveServer, serve

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 3
ADMIN = {"USERNAME": "root", "EMAIL": "root@example.com", "PASSWORD": "the contract holds"}


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[LiveServer]:
    """A blog with an account, posts and comments."""
    named = {f"JETIO_AUTH_DEFAULT_ADMIN_{name}": value for name, value in ADMIN.items()}
    environment = {"JETIO_PORT": "0", "JETIO_ENV": "test", **named}
    with serve(tmp_path, command=[sys.executable, "-m", "examples.blog"], env=environment) as server:
        account = {"username": "alice", "email": "alice@example.com", "password": "alice writes"}
        assert server.client.post("/register", json=account).status_code == 201
        alice = headers_of(server, "alice", "alice writes")
        for number in range(1, 4):
            post = {"title": f"Post {number}", "body": "How to."}
            assert server.client.post("/posts", json=post, headers=alice).status_code == 201
            comment = {"body": "Nice.", "post_id": number}
            assert server.client.post("/comments", json=comment, headers=alice).status_code == 201
        yield server


def headers_of(server: LiveServer, name: str, password: str) -> dict[str, str]:
    """The headers of a logged-in person."""
    answer = server.client.post("/login", json={"username": name, "password": password})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


ENDING = "--{}clude-path-regex=^/(logout|sessions)$"
"""Whoever calls these as they are meant is logged out: they come last, with what is left of the login."""


@pytest.mark.parametrize("who", ["anonymous", "user", "admin"])
def test_every_answer_is_as_documented(blog: LiveServer, tmp_path: Path, who: str) -> None:
    """No check fails: statuses, schemas, headers, refusals of wrong data, login where it is declared."""
    names = {"user": ("alice", "alice writes"), "admin": ("root", ADMIN["PASSWORD"])}
    headers = headers_of(blog, *names[who]) if who in names else {}
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(CONFIG), "run"]
    command += [f"{blog.base_url}/openapi.json", "--checks=all", f"--max-examples={EXAMPLES}", "--seed=1"]
    command += ["--suppress-health-check=all", *(f"-H{name}: {value}" for name, value in headers.items())]
    assert passed([*command, ENDING.format("ex")], tmp_path) > 300
    assert passed([*command, ENDING.format("in")], tmp_path) > 10


def passed(command: list[str], folder: Path) -> int:
    """How many cases were sent; all of them passed."""
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert run.returncode == 0, run.stdout
    found = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert found is not None, run.stdout
    assert found[1] == found[2]
    print(f"{found[1]} cases")
    return int(found[1])
