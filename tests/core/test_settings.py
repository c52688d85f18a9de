"""Settings, the objects that are made on first access, and what importing costs nothing of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

import jetio
from jetio import ConfigError, Jetio, Settings

NAMES = (
    "ENV",
    "HOST",
    "PORT",
    "MAX_BODY",
    "LOG_LEVEL",
    "DATABASE_URL",
    "DATABASE_REPLICAS",
    "SECRET_KEY",
    "AUTH_SECRET_KEY",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(f"JETIO_{name}", raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    return tmp_path


def test_nothing_needs_to_be_set() -> None:
    """A development machine has SQLite in the working directory."""
    found = Settings()
    assert found.model_dump() == {
        "env": "development",
        "database_url": "sqlite+aiosqlite:///./jetio.db",
        "database_replicas": (),
        "secret_key": None,
        "host": "127.0.0.1",
        "port": 8000,
        "workers": 1,
        "max_body": 1024 * 1024,
        "log_level": "info",
    }
    assert (found.production, found.create_tables, found.state_directory) == (False, True, Path(".jetio"))


@pytest.mark.parametrize(
    ("env", "production"), [("development", False), ("test", False), ("production", True)]
)
def test_modes(env: Any, production: bool) -> None:
    """Production makes no tables and takes no weak settings."""
    assert (Settings(env=env).production, Settings(env=env).create_tables) == (production, not production)


def test_arguments_win_over_the_environment_and_that_over_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting comes from the first that has it; an empty variable is none."""
    (folder / ".env").write_text(
        "JETIO_ENV=test\nDATABASE_URL=sqlite:///dotenv.db\nJETIO_PORT=1\nJETIO_HOST=a\nOTHER=1\n"
    )
    monkeypatch.setenv("JETIO_PORT", "2")
    monkeypatch.setenv("JETIO_HOST", "b")
    monkeypatch.setenv("JETIO_MAX_BODY", "")
    found = Settings(host="c")
    assert (found.env, found.port, found.host, found.max_body) == ("test", 2, "c", 1024 * 1024)
    assert found.database_url == "sqlite:///dotenv.db"


@pytest.mark.parametrize(
    ("environment", "name", "value"),
    [
        ({"DATABASE_URL": "plain", "JETIO_DATABASE_URL": "own"}, "database_url", "own"),
        ({"DATABASE_URL": "plain"}, "database_url", "plain"),
        ({"DATABASE_REPLICAS": "a, b,"}, "database_replicas", ("a", "b")),
        ({"DATABASE_REPLICAS": "a", "JETIO_DATABASE_REPLICAS": "b"}, "database_replicas", ("b",)),
        ({"WEB_CONCURRENCY": "3"}, "workers", 3),
        ({"WEB_CONCURRENCY": "3", "JETIO_WORKERS": "2"}, "workers", 2),
        ({"JETIO_WORKERS": "auto"}, "workers", len(os.sched_getaffinity(0))),
        ({"DATABASE_REPLICAS": ""}, "database_replicas", ()),
        ({"SECRET_KEY": "plain", "JETIO_SECRET_KEY": "own"}, "secret_key", "own"),
        ({"JETIO_SECRET_KEY": "own", "JETIO_AUTH_SECRET_KEY": "auth"}, "secret_key", "auth"),
        ({"HOST": "shell"}, "host", "127.0.0.1"),
        ({"ENV": "/etc/profile"}, "env", "development"),
        ({"PORT": "1", "LOG_LEVEL": "x", "MAX_BODY": "y"}, "port", 8000),
        ({"jetio_env": "production"}, "env", "production"),
    ],
)
def test_few_names_need_no_prefix(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str, value: Any
) -> None:
    """DATABASE_URL, DATABASE_REPLICAS, SECRET_KEY and WEB_CONCURRENCY; HOST and ENV belong to the shell."""
    for variable, text in environment.items():
        monkeypatch.setenv(variable, text)
    found = getattr(Settings(), name)
    assert (found.get_secret_value() if name == "secret_key" else found) == value


def test_dotenv_is_that_of_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder above nor one below is looked into."""
    below = folder / "below"
    below.mkdir()
    (folder / ".env").write_text("JETIO_PORT=1\n")
    monkeypatch.chdir(below)
    assert Settings().port == 8000


def test_everything_wrong_is_told_together_and_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """One ConfigError names each setting and what it may be."""
    monkeypatch.setenv("JETIO_ENV", "staging-secret")
    monkeypatch.setenv("JETIO_PORT", "70000")
    monkeypatch.setenv("JETIO_LOG_LEVEL", "loud")
    monkeypatch.setenv("JETIO_MAX_BODY", "0")
    with pytest.raises(ConfigError) as caught:
        Settings()
    assert caught.value.mistakes == (
        "the setting env (JETIO_ENV): Input should be 'development', 'production' or 'test'",
        "the setting port (JETIO_PORT): Input should be less than or equal to 65535",
        "the setting max_body (JETIO_MAX_BODY): Input should be greater than 0",
        "the setting log_level (JETIO_LOG_LEVEL): Input should be "
        "'critical', 'error', 'warning', 'info', 'debug' or 'trace'",
    )
    assert "staging-secret" not in str(caught.value)


def test_a_misspelt_setting_is_told() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match=r"no setting 'prot'; write one of: env, database_url, "):
        Settings(prot=1)  # type: ignore[call-arg]


def test_settings_are_not_changed() -> None:
    """They are read once; a copy with changes is another object."""
    found = Settings()
    with pytest.raises(ValueError, match="frozen"):
        found.port = 1  # type: ignore[misc]
    assert found.model_copy(update={"port": 1}).port == 1


def test_replicas_of_the_settings_are_those_of_the_database() -> None:
    """An application that is given settings asks the servers that they name."""
    settings = Settings(database_url="postgresql://a/b", database_replicas=("postgresql://c/b",))
    shown = repr(Jetio(settings=settings).database)
    assert shown == "Database('postgresql+asyncpg://a/b', replicas=['postgresql+asyncpg://c/b'])"


def test_a_secret_is_not_shown() -> None:
    """Not by `repr`, not by `str`."""
    assert "hunter2" not in f"{Settings(database_replicas=('postgresql://a:hunter2@b/c',))!r}"
    assert "hunter2" not in f"{Settings(secret_key='hunter2')!r}"  # type: ignore[arg-type]  # text becomes one


def test_the_usual_objects_are_real_and_made_once() -> None:
    """`engine`, `SessionLocal` and `settings` are what they say, not stand-ins."""
    assert isinstance(jetio.engine, AsyncEngine)
    assert isinstance(jetio.SessionLocal, async_sessionmaker)
    assert isinstance(jetio.settings, Settings)
    assert (jetio.engine, jetio.SessionLocal, jetio.settings) == (
        jetio.engine,
        jetio.SessionLocal,
        jetio.settings,
    )
    assert jetio.default_database().engine is jetio.engine
    with pytest.raises(AttributeError, match="module 'jetio' has no attribute 'nothing'"):
        jetio.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_name_is_there() -> None:
    """`__all__` is sorted and tells the truth."""
    assert sorted(jetio.__all__) == jetio.__all__
    assert [name for name in jetio.__all__ if not hasattr(jetio, name)] == []


PROBE = """
import os, sys
touched = []
CODE = (".py", ".pyc", ".so")
ELSEWHERE = (sys.prefix, sys.base_prefix, "/proc", "/etc", "/dev", "/usr")
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith(CODE):
        touched.append(arguments[0])
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir", "sqlite3.connect"):
        touched.append(event)
sys.addaudithook(watch)
import jetio, jetio_auth
own = [path for path in touched if "site-packages" not in path and not path.startswith(ELSEWHERE)]
late = {"uvicorn", "alembic", "typer", "httpx2", "multiprocessing", "starlette.testclient"}
print(own, sorted(late & set(sys.modules)), os.listdir("."))
"""


def test_importing_reads_nothing_and_opens_nothing(folder: Path) -> None:
    """No setting, no database, no socket, no file; and no module that only some later step needs."""
    (folder / ".env").write_text("JETIO_ENV=nonsense\n")
    root = Path(jetio.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", PROBE],
        cwd=folder,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.stdout.strip(), run.stderr) == ("[] [] ['.env']", "")


def test_an_application_that_is_only_made_opens_nothing(folder: Path) -> None:
    """Nor does building it: no database file, no engine."""
    program = (
        "import jetio, os\n"
        "app = jetio.Jetio()\n"
        "app.get('/')(lambda: 1)\n"
        "app.build()\n"
        "print(os.listdir('.'), 'engine' in app.database.__dict__)"
    )
    root = Path(jetio.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.stdout.strip(), run.stderr) == ("[] False", "")
