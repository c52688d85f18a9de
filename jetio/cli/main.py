"""The commands; each is a few lines over the application's own methods."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import ConfigError
from .find import find_app, find_name
from .serve import serve

__all__ = ["commands", "main"]

commands = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Serve and inspect a Jetio application."
)

AppName = Annotated[
    str | None,
    typer.Argument(help="module:name of the application; app.py, main.py or asgi.py here by default"),
]


@commands.command()
def run(
    app: AppName = None,
    host: Annotated[str | None, typer.Option(help="Where to listen; else JETIO_HOST, else 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="The port; else JETIO_PORT, else 8000", min=0)] = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes, auto: one for each core; else JETIO_WORKERS, else 1")
    ] = None,
    reload: Annotated[bool, typer.Option(help="Start again when a file changes; one process")] = False,
) -> None:
    """Serve the application until SIGINT or SIGTERM."""
    given = _workers(workers)
    if reload:
        given = "1"
    if given is not None:
        os.environ["JETIO_WORKERS"] = given  # the application reads it, here and in every worker
    name, found = find_name(app), find_app(app)
    count = found.settings.workers if given is None else Settings().workers
    serve(name, 1 if reload else count, reload=reload, options=found.server_options(host, port))


def _workers(given: str | None) -> str | None:
    if given not in (None, "auto") and not (given.isdecimal() and int(given) > 0):
        raise ConfigError(f"--workers={given} is no number of processes; write 1 or more, or auto")
    return given


@commands.command()
def check(app: AppName = None) -> None:
    """Find every mistake of the application and of its settings without serving."""
    found = find_app(app)
    found.check()
    print(f"{found.title}: {len(found.endpoints)} operations, nothing wrong ({found.settings.env})")


@commands.command()
def routes(app: AppName = None) -> None:
    """Print every operation; of those over rows also how they get at them, and why not faster."""
    found = find_app(app)
    found.build()
    _table(
        [(endpoint.method, path, endpoint.name, *_way(endpoint)) for path, endpoint in found.endpoints],
        ("method", "path", "name", "run by", "made of", "because"),
    )


@commands.command()
def access(app: AppName = None) -> None:
    """Print who may do what: each operation for an anonymous caller, a user, an owner and an admin."""
    matrix = find_app(app).access_matrix()
    kinds = list(matrix[0].callers) if matrix else []
    _table([(row.method, row.path, *row.callers.values()) for row in matrix], ("method", "path", *kinds))
    for row in matrix:
        if row.public_write:
            print(f"warning: everybody may {row.method} {row.path}", file=sys.stderr)


@commands.command()
def openapi(app: AppName = None) -> None:
    """Print the OpenAPI document."""
    found = find_app(app)
    found.build()
    print(json.dumps(found.openapi(), indent=2, ensure_ascii=False))


def _way(endpoint: Any) -> tuple[str, str, str]:
    way = getattr(endpoint, "way", None)
    return ("", "", "") if way is None else (way.executor, way.renderer, ", ".join(way.reasons))


def _table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _load_plugins() -> None:
    """Commands that installed packages bring (entry point group `jetio.commands`)."""
    for point in entry_points(group="jetio.commands"):
        add: Callable[[typer.Typer], Any] = point.load()
        add(commands)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a ConfigError is printed as it is, with exit status 1."""
    _load_plugins()
    try:
        commands(args=list(arguments) if arguments is not None else None)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
