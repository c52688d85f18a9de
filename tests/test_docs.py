"""The documentation is true: its code runs, its outputs are what comes out, its lists are complete.

CONTRIBUTING.md says how code blocks are written; here they are carried out, page by page.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import serve

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ADDRESS = "127.0.0.1:8000"
SECONDS = 60
RUN = ("python", "bash")

# The tokens live on from block to block; curl is quiet about its progress and loud about its failures.
SHELL = """
. {variables}
curl() {{ command curl -sS "$@"; }}
{script}
declare -p TOKEN ADMIN > {variables} 2>/dev/null || true
"""

LOADER = """
import importlib.util, sys
from pathlib import Path
from jetio import Jetio
path = Path(sys.argv[1])
sys.path.insert(0, "")
spec = importlib.util.spec_from_file_location(path.stem, path)
module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for value in vars(module).values():
    if isinstance(value, Jetio):
        value.build()
"""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its title, its text and its line in the page."""

    language: str
    title: str | None
    text: str
    line: int


def blocks_of(markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    fence = re.compile(r"^( *)```(\w+)([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for match in fence.finditer(markdown):
        title = re.search(r'title="([^"]+)"', match[3])
        line = markdown.count("\n", 0, match.start()) + 1
        yield Block(match[2], title[1] if title else None, textwrap.dedent(match[4]), line)


class Page:
    """The folder in which the code of one page stands and runs, its server and its shell."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.server: ExitStack | None = None
        self.variables = folder / ".variables"
        self.variables.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def run(self, block: Block) -> str:
        """Carry out one block; what it printed."""
        if block.language == "python":
            return self._python(block)
        return self._shell(block.text)

    def _python(self, block: Block) -> str:
        path = self.folder / (block.title or f"line_{block.line}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.title is not None:
            self._stop()  # the next command wants the new code
        if path.name.startswith("test_"):
            return self._process([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name])
        return self._process([sys.executable, "-W", "error", "-c", LOADER, str(path)])

    def _shell(self, script: str) -> str:
        self._serve()
        script = script.replace(ADDRESS, f"127.0.0.1:{self.port}")
        whole = SHELL.format(variables=self.variables, script=script)
        return self._process(["bash", "-e", "-o", "pipefail", "-c", whole])

    def _process(self, command: list[str]) -> str:
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
        assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
        return run.stdout

    def _serve(self) -> None:
        if self.server is None:
            assert (self.folder / "app.py").exists(), "a bash block needs an app.py on the same page"
            self.server = self.stack.enter_context(ExitStack())
            self.server.enter_context(serve(self.folder, port=self.port))

    def _stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None


def expected(block: Block | None) -> Any:
    """What a block that follows a command says it prints; None when it is no output."""
    if block is None or block.title is not None:
        return None
    if block.language == "json":
        return json.loads(block.text)
    return block.text if block.language == "text" else None


def alike(told: Any, found: Any) -> bool:
    """Whether the output is as told; `...` stands for anything."""
    if told == "...":
        return True
    if isinstance(told, dict) and isinstance(found, dict):
        return list(told) == list(found) and all(alike(told[name], found[name]) for name in told)
    if isinstance(told, list) and isinstance(found, list):
        return len(told) == len(found) and all(map(alike, told, found))
    return bool(told == found)


def compare(told: Any, output: str) -> None:
    """Fail where the page shows another output than there is."""
    if isinstance(told, str):
        pattern = re.escape(told.strip()).replace(re.escape("..."), ".*")
        clean = output.replace("\r", "").strip()
        assert re.fullmatch(pattern, clean, re.DOTALL), f"told:\n{told}\nfound:\n{clean}"
    else:
        found = json.loads(output)
        assert alike(told, found), (
            f"told:\n{json.dumps(told, indent=1)}\nfound:\n{json.dumps(found, indent=1)}"
        )


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def holds_code(page: Path) -> bool:
    return any(block.language in RUN for block in blocks_of(page.read_text()))


@pytest.mark.parametrize("page", [page for page in PAGES if holds_code(page)], ids=name_of)
def test_the_code_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Every Python block, and every command with the output that is shown below it."""
    blocks = list(blocks_of(page.read_text()))
    with ExitStack() as stack:
        place = Page(tmp_path, stack)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language == "yaml" and block.title is not None:
                (tmp_path / block.title).write_text(block.text)
            if block.language not in RUN:
                continue
            try:
                told = expected(following)
                output = place.run(block)
                if told is not None:
                    compare(told, output)
            except AssertionError as error:
                pytest.fail(f"{name_of(page)}:{block.line}: {error}", pytrace=False)


def test_blocks_are_found_with_titles_and_lines() -> None:
    """Also indented ones; other languages are told apart."""
    page = '```python title="a.py"\nx = 1\n```\n\n!!! note\n\n    ```bash\n    ls\n    ```\n'
    assert list(blocks_of(page)) == [
        Block("python", "a.py", "x = 1\n", 1),
        Block("bash", None, "ls\n", 7),
    ]


@pytest.mark.parametrize(
    ("told", "found", "same"),
    [
        ({"a": "..."}, {"a": [1]}, True),
        ([{"a": 1}], [{"a": 1}], True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ([1], [1, 2], False),
        ({"a": 1}, [1], False),
    ],
)
def test_outputs_are_compared_with_dots_for_anything(told: Any, found: Any, same: bool) -> None:
    """Order of members included: the page shows what clients see."""
    assert alike(told, found) is same


@pytest.mark.parametrize("mistake", ["x = ", "import nothing_of_this_name", "assert 1 == 2"])
def test_code_that_fails_is_a_failure(tmp_path: Path, mistake: str) -> None:
    """The harness itself refuses what does not run."""
    with ExitStack() as stack, pytest.raises(AssertionError, match="Error"):
        Page(tmp_path, stack).run(Block("python", None, mistake, 1))


def test_an_output_that_differs_is_a_failure() -> None:
    """Text by its lines, JSON by its values."""
    compare("HTTP/1.1 200 OK\n...", "HTTP/1.1 200 OK\r\ndate: today\r\n")
    compare({"id": 1}, '{"id": 1}')
    with pytest.raises(AssertionError):
        compare("HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found")
    with pytest.raises(AssertionError):
        compare({"id": 1}, '{"id": 2}')


# ---- lists that must be complete --------------------------------------------------------------------------


def navigation(entries: Any) -> Iterator[str]:
    """Every page that the navigation names."""
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for entry in entries.values():
            yield from navigation(entry)
    else:
        for entry in entries:
            yield from navigation(entry)


def test_the_navigation_lists_every_page_once() -> None:
    """And no page that is not there."""
    listed = list(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_documentation_is_built_strictly_by_make_check() -> None:
    """And offline: no font, no address of another host that a page would load from."""
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert "mkdocs build --strict" in recipe
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["theme"]["font"] is False


def test_the_changelog_has_a_place_for_what_comes() -> None:
    """Unreleased is its first section, and not an empty one."""
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert sections[0].startswith("[Unreleased]")
    assert re.search(r"^- ", sections[0], re.MULTILINE)


def test_the_floors_are_told_as_they_are_held() -> None:
    """The table in architecture.md is the table that tests/test_floors.py holds every import to."""
    text = (DOCS / "architecture.md").read_text()
    table = text.partition("<!-- floors -->")[2].partition("<!-- /floors -->")[0]
    told = [
        (int(floor), modules.replace("`", "").replace(",", "").split())
        for floor, modules in re.findall(r"^\| (\d+) \| ([^|]+) \|", table, re.MULTILINE)
    ]
    source = ast.parse((ROOT / "tests/test_floors.py").read_text())
    [held] = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "FLOORS"
        if node.value is not None
    ]
    assert told == [(floor, modules.split()) for floor, modules in held]


@pytest.mark.parametrize("package", ["jetio", "jetio/crud", "jetio_auth"])
def test_every_module_has_its_place_in_the_architecture(package: str) -> None:
    """By its own name, in one of the tables or sentences."""
    text = (DOCS / "architecture.md").read_text()
    modules = {
        path.stem
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    told = set(re.findall(r"`(?:crud\.)?(\w+)`", text))
    assert not modules - told - {"__init__"}


# ---- codes ------------------------------------------------------------------------------------------------


# Which argument of which call is a code.
PROBLEM_CODES = {"Problem": 1, "Deny": 0}
TABLES = {"_WHOLE": 0, "_CODES": 1}  # the key or the value of an entry
FIELD_TABLES = {"_FIELD_CODES": 1}
FIELD_CODES = {
    "FieldError": 0,
    "PydanticCustomError": 0,
    "Spelling": 0,
    "_address": 0,
    "custom_error_schema": 1,
}


@dataclass
class Codes:
    """The literal codes of problems, and of the entries in their `errors`, with where they stand."""

    problems: dict[str, str]
    fields: dict[str, str]


def text_of(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def codes_of(path: str, source: str) -> Codes:
    """Read from the source: what Problem, Deny and `code=` are given, and the tables of codes."""
    codes = Codes({}, {})

    def note(found: dict[str, str], node: ast.AST | None) -> None:
        if (code := text_of(node)) is not None:
            found.setdefault(code, f"{path}:{getattr(node, 'lineno', 0)}")

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = PROBLEM_CODES.get(name)
            if place is not None and len(node.args) > place:
                note(codes.problems, node.args[place])
            place = FIELD_CODES.get(name)
            if place is not None and len(node.args) > place:
                note(codes.fields, node.args[place])
            for keyword in node.keywords:
                if keyword.arg == "code":
                    note(codes.problems, keyword.value)
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and "passwords" in path:
            note(codes.fields, node.value.elts[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument, default in defaults_of(node.args):
                if argument.arg == "code":
                    note(codes.problems, default)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            table = getattr(target, "id", "")
            for item in zip(node.value.keys, node.value.values, strict=True):
                if table in TABLES:
                    note(codes.problems, item[TABLES[table]])
                if table in FIELD_TABLES:
                    note(codes.fields, item[FIELD_TABLES[table]])
    return codes


def defaults_of(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    if arguments.defaults:
        yield from zip(positional[-len(arguments.defaults) :], arguments.defaults, strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def all_codes() -> Codes:
    codes = Codes({}, {})
    for package in ("jetio", "jetio_auth"):
        for file in sorted((ROOT / package).rglob("*.py")):
            found = codes_of(name_of(file), file.read_text())
            codes.problems |= found.problems
            codes.fields |= found.fields
    return codes


def test_every_problem_code_has_its_section() -> None:
    """And no section is about a code that nothing raises."""
    told = re.findall(r"^### `(\w+)`", (DOCS / "errors.md").read_text(), re.MULTILINE)
    raised = all_codes().problems
    assert len(told) == len(set(told))
    missing = {code: place for code, place in raised.items() if code not in told}
    assert not missing, f"docs/errors.md has no section for {missing}"
    assert not set(told) - set(raised), "docs/errors.md tells of codes that nothing raises"


def test_every_code_of_a_field_is_listed() -> None:
    """Those of Jetio; pydantic's own are pydantic's to document."""
    table = (DOCS / "errors.md").read_text().partition("## Codes of single fields")[2]
    told = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    raised = all_codes().fields
    missing = {code: place for code, place in raised.items() if code not in told}
    assert not missing, f"docs/errors.md does not list {missing}"
    assert not set(told) - set(raised), "docs/errors.md lists codes that nothing gives"


def test_codes_are_found_wherever_they_are_written() -> None:
    """As an argument, as a default, in a table; computed ones are somebody else's literal."""
    source = textwrap.dedent("""
        _CODES: dict[int, str] = {400: "a"}
        _WHOLE = {"g": "text"}
        def refused(detail, *, code: str = "b"): ...
        raise Problem(409, "c", "text")
        Deny("d")
        ValidationError([FieldError("e", "text")], code="f")
        Problem(status, code)
    """)
    codes = codes_of("x.py", source)
    assert (set(codes.problems), set(codes.fields)) == ({"a", "b", "c", "d", "f", "g"}, {"e"})


# ---- reference --------------------------------------------------------------------------------------------

FOREIGN = {
    # Documented where they come from, or made on first access.
    "jetio": {
        "BackgroundTasks",
        "CORSMiddleware",
        "HTMLResponse",
        "Request",
        "Response",
        "SessionLocal",
        "UploadFile",
        "engine",
        "relationship",
        "settings",
    },
    "jetio_auth": {"RequireLogin", "SessionDep", "allow_anonymous", "create_engine_for_url"},
}


@pytest.mark.parametrize("package", ["jetio", "jetio_auth"])
def test_the_reference_holds_every_public_name(package: str) -> None:
    """Once, and nothing that is not public; each has a docstring."""
    module = importlib.import_module(package)
    text = (DOCS / "reference" / f"{package}.md").read_text()
    told = re.findall(rf"^::: {package}\.(\w+)$", text, re.MULTILINE)
    assert sorted(told) == sorted(set(module.__all__) - FOREIGN[package])
    assert not [name for name in told if not getattr(module, name).__doc__]
    assert not [name for name in FOREIGN[package] if f"`{name}`" not in text and f".{name}`" not in text]


def test_every_proof_of_the_security_page_exists() -> None:
    """Each row of its tables names a test that is there."""
    page = (DOCS / "security.md").read_text().partition("## Yours")[0]
    rows = re.findall(r"^\| (?!requirement|---)(.+) \|$", page, re.MULTILINE)
    proofs = [re.search(r"`([\w/]+\.py)::(test_\w+)`$", row) for row in rows]
    assert rows
    for row, proof in zip(rows, proofs, strict=True):
        assert proof is not None, f"no test is named for: {row}"
        source = (ROOT / "tests" / proof[1]).read_text()
        assert re.search(rf"^(async )?def {proof[2]}\(", source, re.MULTILINE), (
            f"{proof[1]} has no {proof[2]}"
        )
