"""Codes of an authenticator app (RFC 6238): the secret of each account, and every code good for one use."""

from __future__ import annotations

import hmac
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

import pyotp
import qrcode
from qrcode.image.svg import SvgPathImage
from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, insert, select, update

from jetio import Database, Problem, UnitOfWork

from ..context import AuthContext
from .sealing import Seal

__all__ = ["Enrolment", "Totp"]

STEP = 30
WINDOW = 1  # steps that a clock may be off, to either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What an authenticator app has to be told: as text, as an address, and as a picture of that."""

    secret: str = field(repr=False)
    otpauth_url: str = field(repr=False)
    qr_svg: str = field(repr=False)


class Totp:
    """At most one authenticator per account, which counts once a code of it was seen."""

    def __init__(self, context: AuthContext, table: Table, seal: Seal) -> None:
        self._context, self._seal = context, seal
        columns = table.c
        own = columns.user_id == bindparam("user", type_=columns.user_id.type)
        step: Any = bindparam("step", type_=BigInteger)
        sealed = {"secret": bindparam("sealed"), "last_step": step}
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "row": lambda: select(columns.secret, columns.confirmed, columns.last_step).where(own),
            "forget": lambda: delete(table).where(own, columns.confirmed.is_(None)),
            "begin": lambda: insert(table).values(
                user_id=bindparam("user", type_=columns.user_id.type), **sealed
            ),
            "confirm": lambda: (
                update(table)
                .where(own, columns.confirmed.is_(None), columns.secret == bindparam("sealed"))
                .values(confirmed=bindparam("now", type_=BigInteger), last_step=step)
            ),
            "use": lambda: (
                update(table)
                .where(own, columns.confirmed.is_not(None), columns.last_step < step)
                .values(sealed)
            ),
            "remove": lambda: delete(table).where(own, columns.confirmed.is_not(None)),
        }

    async def is_on(self, user: Any, work: UnitOfWork | None = None) -> bool:
        """Whether the account has an authenticator that counts; `work`: the transaction in which to look."""
        row = await self._row(user, work)
        return row is not None and row[1] is not None

    async def begin(self, user: Any, name: str, issuer: str) -> Enrolment:
        """A new secret that does not count yet, in the place of an earlier such one; commits.

        Raises 409 `totp_on` where one counts.
        """
        secret = pyotp.random_base32()
        values = {"user": user, "sealed": self._seal.close(secret, user), "step": 0}

        async def steps(work: UnitOfWork) -> None:
            await self._context.locked(work, user)  # of several at once each replaces the one before
            await work.run(self._query("forget"), {"user": user})
            query = self._query("row")
            if query.decode(await work.run(query, {"user": user})):
                raise Problem(409, "totp_on", "An authenticator is on already; take it away first")
            await work.run(self._query("begin"), values)

        await self._database.run_transaction(steps)
        url = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)
        return Enrolment(secret=secret, otpauth_url=url, qr_svg=_picture(url))

    async def begun(self, user: Any) -> str | None:
        """The sealed secret that waits for its first code."""
        row = await self._row(user)
        return row[0] if row is not None and row[1] is None else None

    def step_of(self, user: Any, sealed: str, code: str) -> int | None:
        """The time step that a code is of, if it is one of now."""
        secret = self._seal.open(sealed, user)
        return None if secret is None else _step_of(secret, code)

    async def confirm(self, work: UnitOfWork, user: Any, sealed: str, step: int) -> bool:
        """From now on it counts; False where another request was quicker."""
        values = {"user": user, "sealed": sealed, "step": step, "now": int(time())}
        return (await work.run(self._query("confirm"), values)).count > 0

    async def use(self, user: Any, code: str) -> bool:
        """Whether this is a code of now that was not used yet; it is used up. Commits.

        Of several at once one wins, and no code of an earlier step is good any more. The secret is sealed anew,
        so that it follows the keys.
        """
        row = await self._row(user)
        secret = self._seal.open(row[0], user) if row is not None and row[1] is not None else None
        step = None if secret is None else _step_of(secret, code)
        if secret is None or step is None:
            return False
        values = {"user": user, "step": step, "sealed": self._seal.close(secret, user)}
        query = self._query("use")
        used = await self._database.run_transaction(lambda work: work.run_alone(query, values, writes=True))
        return used.count > 0

    async def remove(self, work: UnitOfWork, user: Any) -> bool:
        """Take it away; whether there was one that counted."""
        return (await work.run(self._query("remove"), {"user": user})).count > 0

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take away whatever there is."""
        for name in ("forget", "remove"):
            await work.run(self._query(name), {"user": user})

    async def _row(self, user: Any, work: UnitOfWork | None = None) -> Any:
        query, values = self._query("row"), {"user": user}
        if work is not None:
            rows = query.decode(await work.run(query, values))
        else:
            async with self._database.transaction(writes=False) as reading:
                rows = query.decode(await reading.run_alone(query, values))
        return rows[0] if rows else None

    @property
    def _database(self) -> Database:
        return self._context.database

    def _query(self, name: str) -> Any:
        return self._database.shaped((self, name), self._statements[name])


def _step_of(secret: str, code: str) -> int | None:
    """Every step is compared, whichever fits: the time tells nothing."""
    now, codes = int(time()) // STEP, pyotp.HOTP(secret)
    given = code.replace(" ", "").encode("utf-8", "replace")
    steps = range(now - WINDOW, now + WINDOW + 1)
    fitting = [step for step in steps if hmac.compare_digest(codes.at(step).encode(), given)]
    return max(fitting, default=None)


def _picture(text: str) -> str:
    """The text as a QR code; SVG, which needs no library for images and no other host."""
    written = io.BytesIO()
    qrcode.make(text, image_factory=SvgPathImage).save(written)
    return written.getvalue().decode()
