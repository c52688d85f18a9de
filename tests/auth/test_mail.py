"""How mail is sent: by a real server, in whose headers nobody writes, and with settings that are checked."""

from __future__ import annotations

import email
import email.policy
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from jetio import ConfigError, Jetio, Settings
from jetio_auth import AuthRouter, Letter, Mail, MailSettings
from jetio_auth.mail.mailers import NoMailer, SmtpMailer, message_of
from jetio_auth.mail.settings import mail_environment
from tests.auth.forum import SETTINGS, User, serving
from tests.auth.post import DOMAIN, Member, Outbox, club, new_club, token_of
from tests.examples.test_contract import CONFIG as SCHEMATHESIS
from tests.examples.test_contract import passed

SECRET = secrets.token_urlsafe(48)
LETTER = Letter(to="ann@example.com", subject="Hello", text="text", html="<p>text</p>")


class Received:
    """What a server of mail got."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return "250 OK"

    def message(self) -> EmailMessage:
        """The latest message."""
        return email.message_from_bytes(self.envelopes[-1].content, policy=email.policy.default)


@contextmanager
def smtp(**options: Any) -> Iterator[tuple[Received, int]]:
    """A server of mail on a free port, in a thread of its own."""
    received = Received()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    controller = Controller(received, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield received, port
    finally:
        controller.stop()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings, and no .env."""
    monkeypatch.chdir(tmp_path)
    for name in (*(f"MAIL_{field.upper()}" for field in MailSettings.model_fields), "MAIL_FROM", "DOMAIN"):
        monkeypatch.delenv(name, raising=False)


def set_environment(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


# ---- sending -----------------------------------------------------------------------------------------------


def test_a_letter_goes_through_a_server(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    """Text beside HTML, from the configured sender, to the account's address, with links to the domain."""
    with smtp() as (received, port):
        set_environment(
            monkeypatch, MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_STARTTLS="false", DOMAIN="club.example.com",
            MAIL_FROM="Thé Club <accounts@club.example.com>",
        )  # fmt: skip
        with club(sqlite_url, mail=None) as site:
            site.register("ann")
            message = received.message()
            [text, html] = message.iter_parts()
            assert (message["To"], message["From"]) == (
                "ann@example.com",
                "Thé Club <accounts@club.example.com>",
            )
            assert message["Subject"] == "Confirm your address at The Club"
            assert message["Auto-Submitted"] == "auto-generated"
            assert received.envelopes[-1].rcpt_tos == ["ann@example.com"]
            assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
            body = text.get_content()
            assert "https://club.example.com/activate/" in body
            assert site.client.post(f"/activate/{token_of(body)}").status_code == 200


async def test_a_server_that_asks_for_a_login_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAIL_USERNAME` and `MAIL_PASSWORD`; the password stands in no text."""
    seen: list[Any] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        seen.append((data.login, data.password))
        return AuthResult(success=True)

    with smtp(authenticator=authenticate, auth_require_tls=False) as (received, port):
        set_environment(
            monkeypatch, MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_STARTTLS="false", MAIL_FROM="a@example.com",
            MAIL_USERNAME="club", MAIL_PASSWORD="planted password",
        )  # fmt: skip
        settings = mail_environment()
        assert "planted" not in repr(settings)
        await SmtpMailer(settings).send(LETTER)
        assert seen == [(b"club", b"planted password")]
        assert len(received.envelopes) == 1


async def test_nothing_is_sent_in_clear_where_tls_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that offers no STARTTLS, by itself or by somebody between, gets no mail."""
    with smtp() as (received, port):
        set_environment(monkeypatch, MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_FROM="a@example.com")
        with pytest.raises(Exception, match="STARTTLS"):
            await SmtpMailer(mail_environment()).send(LETTER)
        assert received.envelopes == []


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("ann@example.com\r\nBcc: thief@example.com", "Hello"),
        ("ann@example.com, thief@example.com", "Hello"),
        ("Ann <ann@example.com>", "Hello"),
        ("no address", "Hello"),
        ("", "Hello"),
        ("ann@example.com", "Hello\r\nBcc: thief@example.com"),
    ],
)
def test_nobody_writes_headers(to: str, subject: str) -> None:
    """A line break, a list or a name is no address, and no subject has two lines."""
    with pytest.raises(ValueError):  # noqa: PT011 - which of email's own it is does not matter
        message_of(Letter(to=to, subject=subject, text="x"), "a@example.com")


def test_a_domain_of_other_letters_is_spelt_as_servers_know_it() -> None:
    """And a letter may be of text alone."""
    message = message_of(Letter(to="ann@bücher.example", subject="Hello", text="text"), "a@example.com")
    assert message["To"] == "ann@xn--bcher-kva.example"
    assert message.get_content_type() == "text/plain"


def test_titles_are_text(sqlite_url: str) -> None:
    """A title with markup, or of two lines, is shown as it is, in one line."""
    app, auth, outbox = new_club(sqlite_url)
    app.title = "Tea & <b>Cakes</b>\r\nBcc: thief@example.com"
    with serving(app, auth) as site:
        site.register("ann")
        letter = outbox.letters[-1]
        assert letter.subject == "Confirm your address at Tea & <b>Cakes</b> Bcc: thief@example.com"
        assert "Tea &amp; &lt;b&gt;Cakes" in (letter.html or "")
        assert "Tea & <b>Cakes" in letter.text


def test_templates_of_ones_own(sqlite_url: str, tmp_path: Path) -> None:
    """A file of the same name stands in for ours; the others stay."""
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "verify_email.txt").write_text(
        "Subject: Welcome to {{ site }}\nGo to {{ link }}, within {{ life }}.\n"
    )
    with club(sqlite_url) as site:
        outbox = site.outbox
    with club(sqlite_url, mail=Mail(mailer=outbox, domain=DOMAIN, templates=folder)) as site:
        site.register("ann")
        letter = outbox.letters[-1]
        assert letter.subject == "Welcome to The Club"
        assert letter.text.startswith(f"Go to {DOMAIN}/activate/")
        assert "Confirm the address" in (letter.html or "")


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("verify_email.txt", "no subject", "has no subject"),
        ("verify_email.html", "{% if %}", "cannot be read"),
        ("page.html", "{{", "cannot be read"),
    ],
)
def test_a_template_that_is_wrong_stops_the_build(
    sqlite_url: str, tmp_path: Path, name: str, source: str, told: str
) -> None:
    """With its name."""
    (tmp_path / name).write_text(source)
    app, _, _ = new_club(sqlite_url, mail=Mail(mailer=NoMailer(), templates=tmp_path))
    with pytest.raises(ConfigError, match=rf"{name} {told}"):
        app.build()


CONTRACT = """
from sqlalchemy.orm import Mapped, mapped_column
from jetio import Jetio, JetioModel, add_swagger_ui
from jetio_auth import AuthRouter, JetioFullAuthMixin, JWTConfig, Lockout

class User(JetioModel, JetioFullAuthMixin):
    email: Mapped[str] = mapped_column(unique=True)

app = Jetio()
auth = AuthRouter(
    User, enable=["magic_link"], jwt=JWTConfig(token_location=["header", "cookie"]),
    lockout=Lockout(mails=10_000, registrations=10_000),
)
auth.register_routes(app)
add_swagger_ui(app)
"""


def test_answers_are_as_documented(live_server: Callable[..., Any], tmp_path: Path) -> None:
    """schemathesis finds nothing: statuses, schemas, media types, methods."""
    server = live_server("app:app", source=CONTRACT, env={"JETIO_ENV": "test"})
    paths = "--include-path-regex=^/(forgot|reset|activate|resend|magic|register)"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--no-color",
        "--config-file",
        str(SCHEMATHESIS),
        "run",
    ]
    command += [f"{server.base_url}/openapi.json", "--checks=all", "--phases=coverage", "--seed=1", paths]
    assert passed([*command, "--suppress-health-check=all"], tmp_path) > 100


# ---- modes -------------------------------------------------------------------------------------------------


def test_development_writes_mails_to_the_log(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without any setting a link can be opened: it leads to where the application listens."""
    settings = Settings(env="development", secret_key=SECRET)
    with club(sqlite_url, mail=None, settings=settings) as site:
        site.register("ann")
        assert "to ann@example.com: Confirm your address at The Club" in caplog.text
        assert "http://127.0.0.1:8000/activate/" in caplog.text


def test_tests_send_nothing(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither to a server nor to the log, unless they say where."""
    with club(sqlite_url, mail=None) as site:
        assert site.register("ann").status_code == 201
        assert "ann@example.com" not in caplog.text


def started(url: str, **mail: Any) -> None:
    settings = Settings(env="production", secret_key=SECRET, database_url=url)
    app, _, _ = new_club(url, settings=settings, mail=Mail(**mail) if mail else None)
    app.check()


def test_production_needs_a_way_to_send(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    """A server and a domain, each with a sentence; or a mailer and a domain."""
    with pytest.raises(ConfigError) as caught:
        started(sqlite_url)
    assert "no DOMAIN" in str(caught.value)
    assert "mails go nowhere" in str(caught.value)
    started(sqlite_url, mailer=NoMailer(), domain="club.example.com")
    set_environment(monkeypatch, MAIL_SERVER="mail.example.com", MAIL_FROM="a@example.com", DOMAIN=DOMAIN)
    started(sqlite_url)
    monkeypatch.setenv("MAIL_STARTTLS", "false")
    with pytest.raises(ConfigError, match="mails carry secrets"):
        started(sqlite_url)
    monkeypatch.setenv("MAIL_SSL_TLS", "true")
    started(sqlite_url)
    monkeypatch.setenv("DOMAIN", "http://club.example.com")
    with pytest.raises(ConfigError, match="write https"):
        started(sqlite_url)


def test_production_wants_pages_of_https(sqlite_url: str) -> None:
    """A page of the application's own gets a secret as well; one on this machine may be without."""
    for address in ("http://club.example.com", "http://127.0.0.1.example.com"):
        links = {"reset_password": address + "/reset#{token}"}
        with pytest.raises(ConfigError, match=r"'reset_password'.*write https"):
            started(sqlite_url, mailer=NoMailer(), domain="club.example.com", links=links)
    for address in ("https://club.example.com", "http://localhost:3000", "myapp://open"):
        links = {"reset_password": address + "/reset#{token}"}
        started(sqlite_url, mailer=NoMailer(), domain="club.example.com", links=links)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - nothing listens
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_links_of_development_can_be_opened(
    host: str, address: str, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the application listens at."""
    settings = Settings(env="development", secret_key=SECRET, host=host)
    with club(sqlite_url, mail=None, settings=settings) as site:
        site.register("ann")
        assert f"{address}/activate/" in caplog.text


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"MAIL_MODE": "pigeon"}, "MAIL_MODE"),
        ({"MAIL_MODE": "smtp"}, "MAIL_MODE=smtp needs MAIL_SERVER"),
        ({"MAIL_SERVER": "x"}, "MAIL_SERVER needs MAIL_FROM"),
        ({"MAIL_FROM": "nobody"}, "MAIL_FROM: write one address"),
        ({"MAIL_FROM": "ann@example..com"}, "MAIL_FROM: write one address"),
        ({"MAIL_PORT": "0"}, "MAIL_PORT"),
        ({"MAIL_SSL_TLS": "true", "MAIL_STARTTLS": "true"}, "exclude each other"),
        ({"DOMAIN": "ftp://x"}, "DOMAIN is no address"),
        ({"DOMAIN": "https://x/?a=b"}, "DOMAIN is no address"),
        ({"DOMAIN": "https://[x"}, "DOMAIN is no address"),
        ({"DOMAIN": "https://x:99999"}, "DOMAIN is no address"),
    ],
)
def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], told: str) -> None:
    """Are told by their name, when the application is built."""
    set_environment(monkeypatch, **values)
    app = Jetio(settings=SETTINGS, database="sqlite+aiosqlite://", metadata=Member.metadata)
    AuthRouter(Member).register_routes(app)
    with pytest.raises(ConfigError, match=told):
        app.build()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"links": {"reset": "https://x/{token}"}}, "write one of"),
        ({"links": {"reset_password": "https://x/"}}, "with {token}"),
        ({"links": {"reset_password": "/reset#{token}"}}, "an address"),
        ({"links": {"reset_password": "http://[x/{token}"}}, "an address"),
        ({"verify_seconds": 0}, "lives from a second to a week"),
        ({"templates": "/nowhere/at/all"}, "is no folder"),
        ({"domain": "ftp://x"}, r"Mail\(domain=...\) is no address"),
    ],
)
def test_a_mail_that_cannot_be(options: dict[str, Any], told: str) -> None:
    """Is refused where it is written."""
    with pytest.raises(ConfigError, match=told):
        Mail(**options)


def test_a_server_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake names the extra."""
    set_environment(monkeypatch, MAIL_SERVER="127.0.0.1", MAIL_FROM="a@example.com")
    monkeypatch.setattr("jetio_auth.mail.mailers.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'jetio\[mail\]'"):
        SmtpMailer(mail_environment())


def test_a_mailer_comes_later(sqlite_url: str) -> None:
    """Letters go through the one that was given last; where nothing is sent by mail, the mistake says so."""
    with club(sqlite_url) as site:
        later = Outbox()
        site.auth.use_mailer(later)
        site.register("ann")
        assert (len(site.outbox.letters), len(later.letters)) == (0, 1)
    with pytest.raises(ConfigError, match="nothing is sent by mail; write AuthRouter"):
        AuthRouter(User).use_mailer(NoMailer())
