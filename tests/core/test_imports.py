"""What `import jetio` leaves for whoever needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

RARE = {
    "alembic", "asyncmy", "asyncpg", "email_validator", "httpx2", "itsdangerous", "jetio.cli", "jetio.contrib",
    "jetio.testing", "jinja2", "pyotp", "qrcode", "redis", "starlette.testclient", "starlette_admin",
    "swagger_ui_bundle", "typer", "uvicorn", "webauthn", "yaml",
}  # fmt: skip
SECRETS = {"bcrypt", "cryptography", "jetio_auth", "jose", "passlib", "zxcvbn"}


@pytest.mark.parametrize(
    ("module", "unwanted"), [("jetio", RARE | SECRETS), ("jetio_auth", RARE - {"email_validator"})]
)
def test_what_few_applications_need_is_imported_by_those(module: str, unwanted: set[str]) -> None:
    """Commands, other drivers, extras and the rules of email addresses cost no start that does without them."""
    program = f"import sys, {module}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(run.stdout.split())
    assert module in loaded
    assert not unwanted & loaded
