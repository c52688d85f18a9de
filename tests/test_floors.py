"""Imports point down only: the floors of docs/architecture.md, held by reading every import.

Imports inside functions and under TYPE_CHECKING count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS: tuple[tuple[int, str], ...] = (
    # (floor, modules). On one floor the later line may import the earlier ones, never the other way;
    # modules on one line do not know each other. A package stands for all that is in it.
    (0, "errors"),
    (0, "config callables large"),
    (0, "configuration"),
    (1, "body columns params numerals"),
    (1, "wire"),
    (1, "dialects"),
    (1, "tables"),
    (1, "replicas"),
    (1, "database"),
    (1, "defaults"),
    (1, "principal"),
    (1, "security"),
    (2, "decisions"),
    (2, "policy"),
    (2, "marks"),
    (2, "models"),
    (2, "declared kinds limits relations"),
    (2, "resource"),
    (2, "schemas tenants"),
    (3, "routing"),
    (3, "call answers watched"),
    (3, "parameters"),
    (3, "bodies"),
    (3, "signature"),
    (3, "special"),
    (3, "dependencies"),
    (3, "operation"),
    (3, "services"),
    (3, "sockets controllers protection"),
    (4, "crud.query crud.hooks crud.rules crud.views crud.violations crud.ways"),
    (4, "crud.plan"),
    (4, "crud.clauses"),
    (4, "crud.statements"),
    (4, "crud.render crud.bodies crud.documents"),
    (4, "crud.reader"),
    (4, "crud.writer"),
    (4, "crud.entities"),
    (4, "crud.actions"),
    (4, "crud.reading crud.writing"),
    (4, "crud.router"),
    (4, "crud"),
    (5, "access openapi middleware plugins problems"),
    (5, "app"),
    (6, "cli contrib testing"),
    (7, "jetio"),  # the package itself: its public names
)

POWERS = {
    # One place per power: who alone may import what (a folder ends with a slash).
    "jose": "jetio_auth/jwt.py",
    "starlette_admin": "jetio/contrib/admin/",
    "passlib": "jetio_auth/passwords.py",
    "pyotp": "jetio_auth/factors/totp.py",
    "qrcode": "jetio_auth/factors/totp.py",
    "webauthn": "jetio_auth/factors/ceremonies.py",
    "sqlite3": "jetio/dialects/",
    "aiosqlite": "jetio/dialects/",
    "asyncpg": "jetio/dialects/",
    "asyncmy": "jetio/dialects/",
    "yaml": "jetio/configuration.py",
}

PLACES = {
    module if module == "jetio" else f"jetio.{module}": (floor, step)
    for step, (floor, modules) in enumerate(FLOORS)
    for module in modules.split()
}


def imports_of(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str, str]]:
    """Every import as (line, module, name); the name is empty for `import module`."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, base, alias.name) for alias in node.names)


def room_of(module: str, name: str = "") -> str:
    """The row of the table that an import reaches: the longest one that fits."""
    # `from . import defaults` in a module names the module, not the package.
    parts = f"{module}.{name}".rstrip(".").split(".")
    rooms = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((room for room in rooms if room in PLACES), module)


def faults_of(path: str, source: str, public: frozenset[str] = frozenset()) -> Iterator[str]:
    """What the imports of one file break; `public` are the names that jetio exports."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for line, target, name in imports_of(source, module, is_package=path.endswith("__init__.py")):
        where, top = f"{path}:{line}", target.partition(".")[0]
        owner = POWERS.get(top)
        if owner and not (path.startswith(owner) if owner.endswith("/") else path == owner):
            yield f"{where} imports {top}, which is for {owner} alone"
        if path.startswith("jetio_auth/") and top == "jetio" and not (target == "jetio" and name in public):
            yield f"{where} imports {target} {name}".rstrip() + ": jetio_auth uses public names of jetio only"
        if path.startswith("jetio/") and top == "jetio_auth":
            yield f"{where} imports {target}: jetio never imports jetio_auth"
        if path.startswith("jetio/") and top == "jetio":
            yield from climbs(where, room_of(module), room_of(target, name))


def climbs(where: str, here: str, there: str) -> Iterator[str]:
    """The fault of an import between two rooms of jetio, if it is one."""
    if here == there:
        return
    strangers = [room for room in (here, there) if room not in PLACES]
    if strangers:
        yield f"{where}: {', '.join(strangers)} has no floor in tests/test_floors.py"
    elif PLACES[there][1] >= PLACES[here][1]:
        climb = " -> ".join(f"{room} (floor {PLACES[room][0]})" for room in (here, there))
        yield f"{where} imports upward: {climb}"


def public_names() -> frozenset[str]:
    """The strings in `__all__` of jetio, read without importing it."""
    for node in ast.walk(ast.parse((ROOT / "jetio/__init__.py").read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return frozenset(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return frozenset()


def test_every_import_points_down() -> None:
    """No file of the two packages breaks a floor, a border or a power."""
    names = public_names()
    faults = [
        fault
        for package in ("jetio", "jetio_auth")
        for file in sorted((ROOT / package).rglob("*.py"))
        for fault in faults_of(file.relative_to(ROOT).as_posix(), file.read_text(), names)
    ]
    assert not faults, "\n".join(["", *dict.fromkeys(faults)])


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("jetio/errors.py", "from jetio.app import Jetio", "jetio.errors (floor 0) -> jetio.app (floor 5)"),
        ("jetio/models.py", "def f():\n    import jetio.schemas", "jetio.models (floor 2) -> jetio.schemas"),
        (
            "jetio/crud/query.py",
            "from .plan import plan_read",
            "jetio.crud.query (floor 4) -> jetio.crud.plan",
        ),
        ("jetio/crud/plan.py", "from . import router", "jetio.crud.plan (floor 4) -> jetio.crud.router"),
        (
            "jetio/crud/render.py",
            "from .reader import Reader",
            "render (floor 4) -> jetio.crud.reader (floor 4)",
        ),
        (
            "jetio/database.py",
            "from .models import Base",
            "jetio.database (floor 1) -> jetio.models (floor 2)",
        ),
        ("jetio/app.py", "from jetio import Request", "jetio.app (floor 5) -> jetio (floor 7)"),
        ("jetio/app.py", "import jetio_auth", "jetio never imports jetio_auth"),
        ("jetio/attic.py", "from jetio.errors import Problem", "jetio.attic has no floor"),
        ("jetio_auth/router.py", "from jetio.app import Jetio", "public names of jetio only"),
        ("jetio_auth/router.py", "from jetio import hidden", "public names of jetio only"),
        ("jetio_auth/router.py", "import jetio", "public names of jetio only"),
        ("jetio_auth/router.py", "from jose import jwt", "jose, which is for jetio_auth/jwt.py alone"),
        ("jetio/app.py", "import passlib.context", "passlib, which is for jetio_auth/passwords.py alone"),
        ("jetio/database.py", "import asyncpg", "asyncpg, which is for jetio/dialects/ alone"),
    ],
)
def test_an_import_that_climbs_is_named(path: str, source: str, fault: str) -> None:
    """The message holds the place and both floors, or the border that was crossed."""
    [found] = faults_of(path, source, frozenset({"Jetio"}))
    assert fault in found
    assert found.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("jetio/app.py", "from jetio.openapi.document import make_document\nfrom .errors import Problem"),
        ("jetio/crud/router.py", "from . import plan, render\nfrom ..routing import Router"),
        ("jetio/dialects/sqlite.py", "import sqlite3\nfrom .base import Dialect"),
        ("jetio/cli/main.py", "from jetio.cli import routes"),
        ("jetio/__init__.py", "from .app import Jetio"),
        (
            "jetio_auth/jwt.py",
            "from jose import jwt\nfrom jetio import Jetio\nfrom .settings import JWTConfig",
        ),
    ],
)
def test_an_import_that_points_down_passes(path: str, source: str) -> None:
    """Lower floors, the own package and the public names are open."""
    assert list(faults_of(path, source, frozenset({"Jetio"}))) == []
