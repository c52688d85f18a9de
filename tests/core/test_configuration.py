"""The configuration file: settings below the environment, strict blocks, and plugins that are found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jetio import ConfigError, Jetio, Settings

FILE = """
jetio:
  title: Shop
  version: "2.1"
  env: test
  port: 9000
  database_url: sqlite+aiosqlite:///file.db
app:
  currency: EUR
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without settings, whose modules and plugins are found."""
    for name in ("JETIO_PORT", "JETIO_ENV", "DATABASE_URL", "JETIO_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(folder: Path, text: str = FILE) -> Path:
    path = folder / "application.yaml"
    path.write_text(text)
    return path


def add_plugin(folder: Path, name: str, source: str, distribution: str = "shipping") -> None:
    """Install a package as pip does: a module, and its entry point beside it."""
    (folder / f"{distribution}_plugin.py").write_text(source)
    about = folder / f"{distribution}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[jetio.plugins]\n{name} = {distribution}_plugin:install\n")


def test_a_file_describes_the_application(folder: Path) -> None:
    """Title, version and settings come from the block `jetio`; `app` is for the application itself."""
    write(folder)
    app = Jetio.from_config()
    assert (app.title, app.version, app.settings.port, app.settings.env) == ("Shop", "2.1", 9000, "test")
    assert app.database.engine.url.database == "file.db"
    assert app.configuration["app"] == {"currency": "EUR"}


def test_arguments_and_the_environment_win(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments, then the environment, then `.env`, then the file."""
    write(folder)
    (folder / ".env").write_text("JETIO_PORT=9001\nDATABASE_URL=sqlite+aiosqlite:///dotenv.db\n")
    monkeypatch.setenv("JETIO_PORT", "9002")
    app = Jetio.from_config(title="Other")
    assert (app.title, app.settings.port) == ("Other", 9002)
    assert app.database.engine.url.database == "dotenv.db"
    assert Jetio.from_config(settings=Settings(port=9003)).settings.port == 9003


CONTROLLERS = """
from jetio import Controller, get
class Prices(Controller, prefix="/prices"):
    @get("")
    def prices(self) -> list[int]: return [1]
class Abstract(Controller):
    pass
"""


def test_controllers_of_modules_are_registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a module defines and that have routes; what it imports is another module's."""
    write(folder)
    (folder / "shop_prices.py").write_text(CONTROLLERS)
    (folder / "shop_more.py").write_text("from shop_prices import Prices\n")
    app = Jetio.from_config(modules=["shop_prices", "shop_more"])
    assert [path for path, _ in app.endpoints] == ["/prices"]
    with pytest.raises(ConfigError, match="names 'shop_prizes', and there is no such module"):
        Jetio.from_config(modules=["shop_prizes"])
    (folder / "shop_broken.py").write_text("import shop_missing\n")
    with pytest.raises(ModuleNotFoundError, match="shop_missing"):
        Jetio.from_config(modules=["shop_broken"])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("shop_more", r'is no list; write modules=\["shop_more"\]'),
        ([""], "has '', and no name of a module"),
        ([".shop_more"], "and no name of a module"),
        ([None], "has None, and no name of a module"),
        (["shop_more"], "none of them defines a controller with routes"),
    ],
)
def test_modules_that_bring_nothing_stop_the_start(folder: Path, modules: Any, message: str) -> None:
    """A text in place of a list, what is no name, and modules that define no controller."""
    write(folder)
    (folder / "shop_more.py").write_text("from jetio import Controller\nclass Abstract(Controller): pass\n")
    with pytest.raises(ConfigError, match=message):
        Jetio.from_config(modules=modules)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no blocks; write `jetio:`"),
        ("- a\n", "holds no blocks"),
        ("1: x\n", "holds no blocks"),
        ("jetio: [", "is no YAML"),
        ("jetio: !!python/object/apply:os.getcwd []", "is no YAML"),
        ("jetio:\n  port: 1\n  port: 2\n", "'port' stands twice"),
        ("jetio: text", "holds no names"),
        ("jetio: []", "holds no names"),
        ("jetio: false", "holds no names"),
        ("jetio: 0", "holds no names"),
        ("jetio: ''", "holds no names"),
        ("? [a, b]\n: 1\n", "is no YAML"),
        ("app:\n  ? {a: b}\n  : 1\n", "is no YAML"),
        ("app: !!timestamp abc", "is no YAML: line 1 has a value that is no !!timestamp"),
        ("app:\n  a: [!!bool x]", "is no YAML: line 2 has a value that is no !!bool"),
        ("app: !!map x", "is no YAML"),
        ("app: !!set [a]", "is no YAML"),
        ("jetio:\n  prot: 1\n", "'prot', which nobody reads; did you mean 'port'?"),
        ("jetio:\n  zzz: 1\n", "which nobody reads; write some of: .*database_url"),
        ("jetio:\n  version: 1.0\n", 'version is 1.0, and no text; write `version: "1.0"`'),
        ("jetio:\n  port: many\n", "the setting port"),
        ("auth_clinet:\n  issuer: x\n", "'auth_clinet', which nobody reads; did you mean 'auth_client'?"),
        ("auth_client: text\n", "auth_client: the block: "),
        (
            "auth_client:\n  issuer: https://a.example\n  audience: b\n  adience: c\n",
            "auth_client: nobody reads 'adience'",
        ),
        ("auth_client:\n  issuer: http://a.example\n  audience: b\n", "is no https address"),
        ("auth_client:\n  issuer: https://a.example\n  audience: 5\n", "audience is missing or no text"),
        ("auth_client:\n", "issuer is missing"),
        ("#" * (1024 * 1024 + 1), "is longer than"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start(folder: Path, text: str, message: str) -> None:
    """Unknown names are never dropped in silence, and nothing of a document is executed."""
    write(folder, text)
    with pytest.raises(ConfigError, match=message):
        Jetio.from_config()


def test_a_file_that_is_not_there_stops_the_start(folder: Path) -> None:
    """It names the file."""
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        Jetio.from_config("absent.yaml")


def test_without_a_yaml_reader_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is not part of the core."""
    write(folder)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"pip install 'jetio\[yaml\]'"):
        Jetio.from_config()


PLUGIN = """
def install(app, block):
    app.title += " that ships with " + block["carrier"]
"""


def test_a_plugin_acts_if_its_block_is_there(folder: Path) -> None:
    """An installed package is found by its entry point; without a block it is not even imported."""
    add_plugin(folder, "shipping", PLUGIN)
    write(folder)
    assert Jetio.from_config().title == "Shop"
    assert "shipping_plugin" not in sys.modules
    write(folder, FILE + "shipping:\n  carrier: Dove\n")
    off = Jetio.from_config(plugins=False)
    assert (off.title, off.configuration["shipping"]) == ("Shop", {"carrier": "Dove"})
    assert "shipping_plugin" not in sys.modules
    assert Jetio.from_config().title == "Shop that ships with Dove"


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"one": "", "two": ""}, "several plugins read this block: one_plugin:install, two_plugin:install"),
        ({"three": "import nothing_like_it"}, "cannot be imported: No module named 'nothing_like_it'"),
        ({"four": ""}, "cannot be imported"),
        (
            {
                "five": "from jetio import ConfigError\ndef install(app, block): raise ConfigError('no carrier')"
            },
            "^shipping: no carrier",
        ),
    ],
)
def test_plugins_that_fail_stop_the_start(folder: Path, plugins: dict[str, Any], message: str) -> None:
    """Two of one name, one that cannot be imported, and one that refuses its block."""
    for name, source in plugins.items():
        add_plugin(folder, "shipping", source, name)
    write(folder, FILE + "shipping:\n  carrier: Dove\n")
    with pytest.raises(ConfigError, match=message):
        Jetio.from_config()
