"""A club whose members are written mails: its model, its outbox, its site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Jetio, Settings
from jetio_auth import AuthRouter, JetioFullAuthMixin, Letter, Lockout, Mail
from tests.auth.forum import PASSWORD, SETTINGS, Site, new_base, serving

NEW = "another long password"
DOMAIN = "https://club.example.com"
Club: Any = new_base()


class Member(Club, JetioFullAuthMixin):
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    phone: Mapped[str | None] = mapped_column(String(40), unique=True)
    is_active: Mapped[bool] = mapped_column(default=True)


class Outbox:
    """A mailer as an application writes one: it keeps what it gets."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.fails = False

    async def send(self, letter: Letter) -> None:
        if self.fails:
            raise ConnectionError("the server of mail is away")
        self.letters.append(letter)

    def token(self, subject: str, to: str | None = None) -> str:
        """The token in the latest letter with these words in its subject."""
        found = [item for item in self.letters if subject in item.subject and to in (None, item.to)]
        return token_of(found[-1].text)

    def subjects(self, to: str) -> list[str]:
        """The subjects of what an address got."""
        return [letter.subject for letter in self.letters if letter.to == to]


def token_of(text: str) -> str:
    """The token of the one link in a letter."""
    [token] = re.findall(r"https?://\S*?([\w-]{43})\b", text)
    return str(token)


class ClubSite(Site):
    """A site, and what it has sent."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        super().__init__(site.app, site.auth, site.client)
        self.outbox = outbox

    def forgot(self, name: str) -> Any:
        """The answer to a forgotten password."""
        return self.client.post("/forgot-password", json={"identity": name})

    def reset(self, token: str, password: str = NEW) -> Any:
        """The answer to a password that is reset."""
        return self.client.post("/reset-password", json={"token": token, "new_password": password})

    def member(self, name: str, *, confirmed: bool = True) -> None:
        """A new account."""
        answer = self.register(name)
        assert answer.status_code == 201, answer.text
        if confirmed:
            token = self.outbox.token("Confirm", f"{name}@example.com")
            assert self.client.post(f"/activate/{token}").status_code == 200

    def row(self, name: str) -> Any:
        """The account as it is stored."""

        async def read() -> Any:
            async with self.app.database.sessions() as session:
                return await session.scalar(select(Member).where(Member.username == name))

        return self.run(read)

    def headers(self, name: str, password: str = PASSWORD) -> dict[str, str]:
        """The credential of a new login."""
        return {"Authorization": f"Bearer {self.login(name, password).json()['access_token']}"}


def new_club(url: str, settings: Settings = SETTINGS, **options: Any) -> tuple[Jetio, AuthRouter, Outbox]:
    """The club's application; mails go to the outbox unless `mail` says otherwise."""
    outbox = Outbox()
    app = Jetio(title="The Club", database=url, settings=settings, metadata=Club.metadata)
    given = {
        "mail": Mail(mailer=outbox, domain=DOMAIN),
        "lockout": Lockout(address_failures=1000, mails=100, account_mails=100),
        **options,
    }
    auth = AuthRouter(Member, **given)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(Member, policy={"*": auth.self_or_admin()}).register_routes(app)
    return app, auth, outbox


@contextmanager
def club(url: str, **options: Any) -> Iterator[ClubSite]:
    """The running club."""
    app, auth, outbox = new_club(url, **options)
    with serving(app, auth) as site:
        yield ClubSite(site, outbox)
