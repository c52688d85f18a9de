"""The application keeps what its document promises: schemathesis with every check."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveServer, serve

CONFIG = Path(__file__).with_name("schemathesis.toml")
ADMIN = {"Authorization": "Bearer admin"}
ROWS = {
    "/v1/members": {"name": "Ann"},
    "/notes": {"text": "Hello", "shown": True},
    "/seats": {"row": "A", "number": 1},
}
# The columns of every type by POST and PATCH: PUT has the same body as POST.
COLUMNS = ["--include-path-regex=^/(numbers|moments|texts|papers)", "--exclude-method=PUT"]
# Paths of one shape that differ in a part's type are one path to OpenAPI: it cannot say which is which.
REST = ["--include-path-regex=^/(?!numbers|moments|texts|papers|pages)"]
ADMIN_HEADER = ["--header=Authorization: Bearer admin"]
ANONYMOUS = ["--phases=fuzzing"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The application with one of everything, and a row where a rule looks at rows."""
    folder = tmp_path_factory.mktemp("contract")
    quiet = ["--factory", "--no-access-log"]
    with serve(folder, "tests.openapi.workshop:make_app", options=quiet) as server:
        for path, row in ROWS.items():
            assert server.client.post(path, json=row, headers=ADMIN).status_code == 201
        yield server


@pytest.mark.parametrize(
    ("options", "cases"),
    [(COLUMNS, 1000), ([*REST, *ADMIN_HEADER], 1000), ([*REST, *ANONYMOUS], 50)],
    ids=["columns", "admin", "anonymous"],
)
def test_every_answer_is_as_documented(
    workshop: LiveServer, tmp_path: Path, options: list[str], cases: int
) -> None:
    """No check fails: statuses, schemas, headers, what is refused and what is accepted, who must log in."""
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", f"--config-file={CONFIG}", "run"]
    command += [f"{workshop.base_url}/openapi.json", "--checks=all", "--max-examples=2", "--seed=1"]
    command += ["--suppress-health-check=all", *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    told = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert told is not None, run.stdout
    assert told[1] == told[2]
    assert int(told[1]) > cases
