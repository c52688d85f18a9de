"""The commands `jetio login` and `jetio token`: a token for the programs of one person on one machine."""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

import typer

__all__ = ["add_commands"]

Place = Annotated[
    str, typer.Argument(help="Where the account routes are: https://example.com, or https://example.com/auth")
]
_SECONDS = 10
_LARGEST = 64 * 1024
_INTERRUPTED = 130
_TOLD = {"code", "secret", "approve_url", "expires_in", "interval"}


def add_commands(commands: typer.Typer) -> None:
    """What the entry point `jetio.commands` calls."""
    commands.command()(login)
    commands.command()(token)


def login(
    url: Place, browser: Annotated[bool, typer.Option(help="Open the page in a browser")] = True
) -> None:
    """Log this machine in: approve the code in a browser. The token is kept, and not shown."""
    try:
        _login(_Server(url), browser=browser)
    except KeyboardInterrupt:
        print("\nNothing was changed.", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None


def token(url: Place) -> None:
    """Print the token that `jetio login` has kept for this address."""
    kept = _kept().get(_Server(url).address)
    if kept is None or kept["expires"] <= time.time():
        _fail(f"there is no token for this address that is good; run jetio login {url}")
    print(kept["token"])


class _Server:
    """The account routes of one application; asks no other host, whatever it answers."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            _fail(f"{url} is no address; write https://example.com")
        if parts.scheme == "http" and not _is_local(parts.hostname):
            _fail("a token would be sent in clear; write https://")
        self._parts: SplitResult = parts
        self.address = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and the document of an answer. Raises OSError where there is none."""
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_SECONDS)
        try:
            whole = {"User-Agent": "jetio login", "Accept": "application/json", **headers}
            connection.request(method, self._parts.path.rstrip("/") + path, headers=whole)
            answer = connection.getresponse()
            document = json.loads(answer.read(_LARGEST))
            return answer.status, document if isinstance(document, dict) else {}
        except (HTTPException, ValueError) as error:
            raise OSError(f"the answer cannot be read: {type(error).__name__}") from None
        finally:
            connection.close()

    def is_own(self, url: str) -> bool:
        """Whether an address that the server told is its own: only such a page is opened."""
        told = urlsplit(url)
        return (told.scheme, told.netloc.lower()) == (self._parts.scheme, self._parts.netloc.lower())


def _login(server: _Server, *, browser: bool) -> None:
    try:
        status, asked = server.ask("POST", "/cli-login", {})
    except OSError as error:
        _fail(f"{server.address} cannot be reached: {error}")
    if status != 201 or not asked.keys() >= _TOLD:
        _fail(_told(status, asked, "it has no logins for programs there"))
    print(f"Code:  {_shown(asked['code'])}\nOpen:  {_shown(asked['approve_url'])}", flush=True)
    if browser and server.is_own(asked["approve_url"]):
        webbrowser.open(asked["approve_url"])
    got = _wait(server, asked)
    _keep(server.address, got)
    print("Logged in.")


def _wait(server: _Server, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ask until somebody has decided; a server that is away for a moment is asked again."""
    path, secret = f"/cli-login/{quote(str(asked['code']), safe='')}", {"X-CLI-Secret": str(asked["secret"])}
    ends = time.monotonic() + int(asked["expires_in"])
    while time.monotonic() < ends:
        time.sleep(int(asked["interval"]))
        try:
            status, answer = server.ask("GET", path, secret)
        except OSError:
            continue
        if status == 200 and answer.get("status") == "approved":
            return answer
        if status == 200 and answer.get("status") == "rejected":
            _fail("the login was rejected")
        if status not in (200, 429, 503):
            _fail(_told(status, answer, "the login is over"))
    _fail("the code has expired; begin again")


# ---- what is kept ------------------------------------------------------------------------------------------


def _file() -> Path:
    return Path(typer.get_app_dir("jetio")) / "tokens.json"


def _kept() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        _fail(f"{_file()} cannot be read; delete it")
    return found


def _keep(address: str, got: Mapping[str, Any]) -> None:
    """For its owner alone, and whole or not at all."""
    path, fresh = _file(), _file().with_suffix(f".{token_hex(8)}")
    expires = int(time.time()) + int(got["expires_in"])
    content = json.dumps({**_kept(), address: {"token": got["token"], "expires": expires}})
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


# ---- words -------------------------------------------------------------------------------------------------


def _told(status: int, answer: Mapping[str, Any], otherwise: str) -> str:
    detail = answer.get("detail")
    return _shown(detail) if isinstance(detail, str) and status != 404 else f"{otherwise} ({status})"


def _shown(text: Any) -> str:
    """What a server says, without what a terminal would obey."""
    return "".join(letter for letter in str(text) if letter.isprintable())


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    raise typer.Exit(1)
