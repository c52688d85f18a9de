"""The files around the code agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements/dev.lock").read_text()


def test_the_lock_holds_every_dependency_in_range() -> None:
    """Whoever changes a range runs `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    ranges = [Requirement(line) for lines in lists for line in lines if isinstance(line, str)]
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
    stale = [
        f"{wanted} (locked: {pins.get(canonicalize_name(wanted.name))})"
        for wanted in ranges
        if wanted.name != "jetio"
        and not wanted.specifier.contains(pins.get(canonicalize_name(wanted.name), "0"), prereleases=True)
    ]
    assert not stale, "run `make lock` for " + ", ".join(stale)


def test_the_lock_has_hashes_and_no_address() -> None:
    """Every line is a pin or a hash: the package index is the reader's own."""
    line = re.compile(r"([a-z0-9-]+==[^\s:/@]+( ; [^:/@]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)")
    odd = [text for text in LOCK.splitlines() if not line.fullmatch(text)]
    assert not odd


def test_pure_python_cryptography_is_never_imported() -> None:
    """SECURITY.md says so of ecdsa, rsa and pyasn1, which python-jose brings along."""
    program = (
        "import sys, jetio, jetio_auth, jose.jwt\n"
        "jose.jwt.decode(jose.jwt.encode({}, 'k' * 32, 'HS256'), 'k' * 32, ['HS256'])\n"
        "print({'ecdsa', 'rsa', 'pyasn1'} & {name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.stdout.strip(), run.stderr) == ("set()", "")
