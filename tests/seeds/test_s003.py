"""Seed document 003, "Protect Your API in 5 Minutes": `examples/controllers` is its code under our names.

It runs in a process of its own, from a folder of its own, against an OpenID provider in another one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.auth.remote import Provider
from tests.live import LiveServer, serve

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples/controllers"
AUDIENCE = "my-api"
SECURITY_CONTEXT = """
from jetio import Controller, Principal, SecurityContext, get
from jetio_auth import allow_anonymous

class Context(Controller, prefix="/context"):
    @get("/open")
    @allow_anonymous
    def nobody(self) -> dict[str, object]:
        return {"caller": SecurityContext.get() is not None, "roles": SecurityContext.get_roles()}

    @get("/role")
    def role(self) -> dict[str, bool]:
        return {name: SecurityContext.has_role(name) for name in ("admin", "editor")}

    @get("/required")
    def required(self) -> str:
        return SecurityContext.require_role("editor", "admin").sub
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with serve(tmp_path_factory.mktemp("provider"), "tests.auth.provider:app") as server:
        yield Provider(server, audience=AUDIENCE)


def copy_of_the_example(folder: Path, **changed: str) -> Path:
    """The example in a package `protected`, with other values in its configuration file."""
    shutil.copytree(EXAMPLE, folder / "protected", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "protected/application.yaml"
    text = path.read_text()
    for old, new in changed.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{old}:"))
        text = text.replace(line, new)
    path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def api(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = copy_of_the_example(tmp_path_factory.mktemp("api"), issuer=f"  issuer: {provider.issuer}")
    (folder / "protected/context.py").write_text(SECURITY_CONTEXT)
    main = folder / "protected/main.py"
    main.write_text(main.read_text().replace('.controllers"]', '.controllers", f"{__package__}.context"]'))
    with serve(folder, "protected.main:app") as server:
        yield server


def ask(api: LiveServer, path: str, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return api.client.get(path, headers=headers)


def test_s003_issuer(api: LiveServer, provider: Provider) -> None:
    """Four lines of configuration accept the issuer's tokens, and those of nobody else."""
    claims: dict[str, Any] = {"email": "user@example.com", "org_id": "org-1", "roles": ["admin"]}
    answer = ask(api, "/api/me", provider.token(**claims))
    assert answer.json() == {"sub": "user-123", **claims}
    for odd in ({"iss": "https://other.example"}, {"aud": "another-api"}, {"exp": 1}):
        assert ask(api, "/api/me", provider.token(**odd)).status_code == 401


def test_s003_default_deny(api: LiveServer) -> None:
    """Without a token everything is closed but what `allow_anonymous` opens."""
    assert ask(api, "/api/health").json() == {"status": "ok"}
    for path in ("/api/me", "/api/admin/stats", "/api/editor/drafts", "/context/role"):
        assert ask(api, path).status_code == 401


def test_s003_context(api: LiveServer, provider: Provider) -> None:
    """The context knows the caller anywhere below the request, and nobody in the next one."""
    editor = provider.token(roles=["editor"])
    assert ask(api, "/context/role", editor).json() == {"admin": False, "editor": True}
    assert ask(api, "/context/required", editor).json() == "user-123"
    refused = ask(api, "/context/required", provider.token(roles=[]))
    assert (refused.status_code, refused.json()["code"]) == (403, "role_required")
    assert ask(api, "/context/open").json() == {"caller": False, "roles": []}


def test_s003_roles(api: LiveServer, provider: Provider) -> None:
    """Any of the roles is enough; the refusals say what the document says."""
    reader, editor, admin = (provider.token(roles=[role]) for role in ("reader", "editor", "admin"))
    assert ask(api, "/api/admin/stats", admin).json() == {"users": 42, "active": 30}
    assert [ask(api, "/api/editor/drafts", token).status_code for token in (editor, admin, reader)] == [
        200,
        200,
        403,
    ]
    refused = ask(api, "/api/admin/stats", editor)
    assert (refused.status_code, refused.json()["detail"]) == (403, "Requires one of roles: ['admin']")
    anonymous = ask(api, "/api/me")
    assert anonymous.json()["detail"] == "Missing or invalid Authorization header"
    assert anonymous.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", ["issuer", "audience"])
def test_s003_failfast(tmp_path: Path, name: str) -> None:
    """Without an issuer, or an audience, the application does not start, and says what to write."""
    copy_of_the_example(tmp_path, **{name: ""})
    run = subprocess.run(
        [sys.executable, "-m", "uvicorn", "protected.main:app", "--port=0"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode != 0
    assert f"auth_client: {name} is missing or no text; write `{name}: " in run.stderr


def test_s003_controllers(api: LiveServer) -> None:
    """Controllers are documented with their prefix and tags; title and version come from the file."""
    code = "from examples.controllers.main import app; import json; print(json.dumps(app.openapi()))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    document = json.loads(run.stdout)
    assert document["info"]["title"] == "Protected API"
    assert document["info"]["version"] == "1.0.0"
    assert list(document["paths"]) == ["/api/me", "/api/health", "/api/admin/stats", "/api/editor/drafts"]
    assert document["paths"]["/api/me"]["get"]["tags"] == ["API"]
    assert document["paths"]["/api/me"]["get"]["summary"] == "Get the authenticated user's profile"
    assert ask(api, "/api/health").status_code == 200


def test_s003_discovery() -> None:
    """The plugin is found by its entry point: nothing in the example names jetio_auth but its decorators."""
    assert "jetio_auth" not in (EXAMPLE / "main.py").read_text()
    code = (
        "import sys; from jetio import Jetio;"
        "path = 'examples/controllers/application.yaml';"
        "off = Jetio.from_config(path, plugins=False);"
        "print(off.authenticator, 'jetio_auth' in sys.modules);"
        "print(type(Jetio.from_config(path).authenticator).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["None", "False", "RemoteAuthenticator"]
