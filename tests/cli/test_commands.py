"""The command line over a real application in a folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from jetio import Jetio, Settings

SOURCE = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, JetioModel, add_swagger_ui
from jetio_auth import AuthRouter, JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


class Note(JetioModel):
    text: Mapped[str]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))


class Board(JetioModel):
    text: Mapped[str]


app = Jetio(title="Notes")
add_swagger_ui(app)
auth = AuthRouter(User)
auth.register_routes(app)
CrudRouter(Note, policy={"*": auth.owner_or_admin(Note), "DELETE": auth.admin_only()}).register_routes(app)
CrudRouter(Board).register_routes(app)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(SOURCE)
    return tmp_path


def jetio(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "jetio.cli", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_finds_nothing_wrong(folder: Path) -> None:
    """`jetio check` says how much it looked at."""
    result = jetio(folder, "check")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Notes: ")
    assert "nothing wrong (development)" in result.stdout


def test_check_tells_what_production_would_refuse(folder: Path) -> None:
    """With production settings a missing key is an error with what to do, and exit status 1."""
    result = jetio(folder, "check", JETIO_ENV="production", DATABASE_URL="sqlite:///x.db")
    assert result.returncode == 1
    assert "no SECRET_KEY" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_tells_of_open_cors(folder: Path) -> None:
    """Credentials for every origin are among what production would refuse."""
    open_door = "app.add_middleware(CORSMiddleware, allow_origins=['*'], allow_credentials=True)"
    source = f"{SOURCE}\nfrom jetio import CORSMiddleware\n{open_door}\n"
    (folder / "app.py").write_text(source)
    result = jetio(folder, "check", JETIO_ENV="production", DATABASE_URL="sqlite:///x.db")
    assert result.returncode == 1
    assert "2 mistakes" in result.stderr
    assert "CORSMiddleware allows credentials to every origin" in result.stderr
    assert "no SECRET_KEY" in result.stderr
    assert jetio(folder, "check").returncode == 0


def test_routes_lists_every_operation(folder: Path) -> None:
    """`jetio routes` prints method, path and name of each operation, and how those over rows get at them."""
    lines = [line.split() for line in jetio(folder, "routes").stdout.splitlines()]
    assert lines[0] == ["method", "path", "name", "run", "by", "made", "of", "because"]
    assert ["POST", "/login", "login"] in lines
    assert ["GET", "/notes", "list_notes", "driver", "rows"] in lines
    assert ["DELETE", "/notes/{id}", "delete_notes", "driver", "rows"] in lines


RACKS = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jetio import CrudRouter, Database, Jetio, JetioModel


class Rack(JetioModel):
    books: Mapped[list["Book"]] = relationship()
    maps: Mapped[list["Map"]] = relationship()


class Book(JetioModel):
    rack_id: Mapped[int] = mapped_column(ForeignKey("racks.id"), index=True)


class Map(JetioModel):
    scale: Mapped[float]
    rack_id: Mapped[int] = mapped_column(ForeignKey("racks.id"))


app = Jetio(database=Database("postgresql://127.0.0.1/nobody-asks"))
CrudRouter(Rack, load_relationships=["books"]).register_routes(app)
CrudRouter(Rack, load_relationships=["maps"]).register_routes(app, prefix="/full")
"""


def test_routes_says_where_the_database_makes_the_json(tmp_path: Path) -> None:
    """On PostgreSQL lists and arrays are made of the database's JSON, or of rows for all the reasons that are told."""
    (tmp_path / "app.py").write_text(RACKS)
    told = jetio(tmp_path, "routes").stdout.splitlines()
    lines = {line.split()[2]: re.split(r"  +", line.strip())[3:] for line in told}
    assert lines["list_racks"] == lines["retrieve_racks"] == ["driver", "database"]
    assert lines["update_racks"] == ["driver", "rows"]
    kept = "no index for Rack.maps, no exact JSON of Double Map.scale in the database"
    assert lines["list_full_racks"] == lines["retrieve_full_racks"] == ["driver", "rows", kept]


WATCHED = """
from typing import Any

from sqlalchemy import Column, ForeignKey, Table, event
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship, validates

from jetio import Change, CrudRouter, Database, Jetio, JetioModel

links = Table(
    "links",
    JetioModel.metadata,
    Column("page_id", ForeignKey("pages.id"), primary_key=True),
    Column("label_id", ForeignKey("labels.id"), primary_key=True),
)


class Label(JetioModel):
    text: Mapped[str]

    @validates("text")
    def check(self, key: str, value: Any) -> Any:
        return value


class Page(JetioModel):
    title: Mapped[str]
    labels: Mapped[list[Label]] = relationship(secondary=links)
    lines: Mapped[list["Line"]] = relationship(cascade="all, delete-orphan")


class Line(JetioModel):
    text: Mapped[str]
    page_id: Mapped[int] = mapped_column(ForeignKey("pages.id"))


@event.listens_for(Line, "before_insert")
@event.listens_for(Line.text, "set")
def see(*given: Any) -> None:
    pass


async def tell(change: Change) -> None:
    pass


app = Jetio(database=Database({url!r}, fast_path={fast_path}))
CrudRouter(Label).register_routes(app)
CrudRouter(Page, hooks={{"after_create": tell, "on_commit": tell}}, actions=["create", "delete"]).register_routes(app)
CrudRouter(Line, actions=["list", "create"]).register_routes(app)
"""


@pytest.mark.parametrize(
    ("url", "fast_path", "why"),
    [
        ("sqlite:///x.db", True, ""),
        ("sqlite:///x.db", False, "fast_path=False"),
        ("mariadb+aiomysql://root@127.0.0.1/x", True, "no executor for mariadb+aiomysql"),
    ],
)
def test_routes_says_why_an_operation_needs_a_session(
    tmp_path: Path, url: str, fast_path: bool, why: str
) -> None:
    """Who runs its statements, whether rows or objects are written, and every reason for that."""
    (tmp_path / "app.py").write_text(WATCHED.format(url=url, fast_path=fast_path))
    told = jetio(tmp_path, "routes")
    assert told.stderr == ""
    lines = [re.split(r" {2,}", line) for line in told.stdout.splitlines()]
    ways = {(line[0], line[1]): tuple(line[3:]) for line in lines}

    def way(renderer: str, *reasons: str) -> tuple[str, ...]:
        every = [reason for reason in (*reasons, why) if reason]
        return ("session", renderer, ", ".join(every)) if every else ("driver", renderer)

    assert ways["GET", "/labels"] == ways["GET", "/labels/{id}"] == ways["GET", "/lines"] == way("rows")
    for method, path in (("POST", "/labels"), ("PATCH", "/labels/{id}"), ("DELETE", "/labels/{id}")):
        assert ways[method, path] == way("entities", "validates text")
    assert ways["POST", "/pages"] == way("rows", "hook on after_create", "hook on on_commit")
    deletes = ("hook on on_commit", "deletes links to labels", "deletes lines")
    assert ways["DELETE", "/pages/{id}"] == way("entities", *deletes)
    assert ways["POST", "/lines"] == way("entities", "listener on before_insert", "listener on set of text")


def test_access_prints_the_matrix(folder: Path) -> None:
    """`jetio access` shows for each caller what is allowed, and warns of what everybody may write."""
    result = jetio(folder, "access")
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in result.stdout.splitlines()}
    assert rows["method", "path"] == ["anonymous", "user", "admin"]
    assert rows["GET", "/notes"] == ["deny", "rows", "allow"]
    assert rows["POST", "/notes"] == ["deny", "allow", "allow"]
    assert rows["DELETE", "/notes/{id}"] == ["deny", "deny", "allow"]
    assert rows["GET", "/boards"] == ["allow", "allow", "allow"]
    assert rows["GET", "/me"] == ["deny", "allow", "allow"]
    assert "warning: everybody may POST /boards" in result.stderr
    assert "/notes" not in result.stderr


def test_an_installed_package_adds_commands(folder: Path, tmp_path: Path) -> None:
    """A function under the entry point group `jetio.commands` is given the command line."""
    about = tmp_path / "greeter-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[jetio.commands]\ngreet = greeter:add\n")
    source = 'def add(commands):\n    commands.command(name="greet")(lambda: print("hello"))\n'
    (tmp_path / "greeter.py").write_text(source)
    result = jetio(folder, "greet", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (0, "hello\n"), result.stderr


def test_openapi_prints_the_document(folder: Path) -> None:
    """`jetio openapi` prints the document that the server serves."""
    document = json.loads(jetio(folder, "openapi", "app").stdout)
    assert document["info"]["title"] == "Notes"
    assert "/notes/{id}" in document["paths"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "nothing:app"), "there is no module 'nothing' here"),
        (("check", "app:nope"), "app:nope is no Jetio application"),
        (("check", "app:User"), "app:User is no Jetio application"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """A wrong name is one line, not a stack."""
    result = jetio(folder, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_application_is_told(tmp_path: Path) -> None:
    """Where there is no app.py, main.py or asgi.py the command says how to name one."""
    assert "write jetio COMMAND module:app" in jetio(tmp_path, "routes").stderr


def test_an_import_error_of_the_application_is_its_own(tmp_path: Path) -> None:
    """A module that the application misses is not mistaken for a missing application."""
    (tmp_path / "app.py").write_text("import no_such_package_here\n")
    assert "ModuleNotFoundError: No module named 'no_such_package_here'" in jetio(tmp_path, "check").stderr


@pytest.mark.parametrize(
    ("flags", "env", "place"),
    [
        ("--port {port}", {}, "127.0.0.1:{port}"),
        ("", {"JETIO_HOST": "127.0.0.2", "JETIO_PORT": "{port}"}, "127.0.0.2:{port}"),
        (
            "--port {port} --host 127.0.0.3",
            {"JETIO_HOST": "127.0.0.2", "JETIO_PORT": "1"},
            "127.0.0.3:{port}",
        ),
    ],
)
def test_run_serves_until_it_is_told_to_stop(
    folder: Path, unused_port: int, flags: str, env: dict[str, str], place: str
) -> None:
    """`jetio run` listens where flags say, else the environment; tells where the docs are; ends with SIGTERM."""
    given = flags.format(port=unused_port).split()
    command = [sys.executable, "-W", "error", "-m", "jetio.cli", "run", *given]
    around = {name: value.format(port=unused_port) for name, value in env.items()}
    address = f"http://{place.format(port=unused_port)}"
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **around},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told == f"Notes (development) on {address}, docs at {address}/docs\n"
        answer = _first_answer(f"{address}/boards")
        assert answer.json() == []
        assert "server" not in answer.headers
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    # uvicorn hands the signal on once everything is closed.
    assert process.returncode in (0, -signal.SIGTERM)


def test_run_without_flags_listens_at_the_usual_place() -> None:
    """127.0.0.1:8000, as `app.run()` does."""
    options = Jetio(settings=Settings()).server_options()
    assert (options["host"], options["port"]) == ("127.0.0.1", 8000)


def _first_answer(address: str) -> httpx2.Response:
    for _ in range(200):
        try:
            return httpx2.get(address)
        except httpx2.ConnectError:
            time.sleep(0.05)
    raise AssertionError("the server never answered")
