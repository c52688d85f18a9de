"""What is stored of logins by other services: whose they are, and which flows have come back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, insert, select, update

from jetio import ConstraintViolated, UnitOfWork

from ..context import AuthContext
from ..digests import digest
from ..tables import OAuthTables
from .flow import SECONDS, Flow, no_such_flow

__all__ = ["Identities", "Identity"]

_CODE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One way of an account to log in elsewhere, as its owner sees it."""

    id: str
    provider: str
    email: str | None
    created: int


class Identities:
    """Rows; who may link what to whom is not decided here."""

    def __init__(self, context: AuthContext, tables: OAuthTables) -> None:
        self._context = context
        self._table: Table = tables.identities
        own, flows = tables.identities.c, tables.flows
        flow = flows.c.id == bindparam("flow")
        now: Any = bindparam("now", type_=BigInteger)
        shown = [own[name] for name in Identity.__slots__]
        mine = own.user_id == bindparam("user", type_=own.user_id.type)
        waiting = (flows.c.code == bindparam("v_code"), flows.c.used.is_(None), flows.c.until > now)
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "owner": lambda: select(own.user_id).where(
                own.provider == bindparam("provider"), own.subject == bindparam("subject")
            ),
            "add": lambda: insert(tables.identities).values(
                {name: bindparam(f"v_{name}", type_=own[name].type) for name in own.keys()}  # noqa: SIM118
            ),
            "list": lambda: select(*shown).where(mine).order_by(own.created, own.id),
            "remove": lambda: delete(tables.identities).where(mine, own.id == bindparam("id")),
            "claim": lambda: insert(flows).values(
                id=bindparam("flow"), expires=bindparam("v_expires", type_=BigInteger)
            ),
            "sweep": lambda: delete(flows).where(flows.c.expires <= now),
            "finish": lambda: (
                update(flows)
                .where(flow)
                .values(
                    code=bindparam("v_code"),
                    user_id=bindparam("v_user", type_=flows.c.user_id.type),
                    epoch=bindparam("v_epoch"),
                    until=bindparam("v_until", type_=BigInteger),
                )
            ),
            "redeem": lambda: update(flows).where(flow, *waiting).values(used=now),
            "redeemed": lambda: select(flows.c.user_id, flows.c.epoch).where(flow),
            "forget": lambda: delete(tables.identities).where(mine),
        }

    # ---- identities ----------------------------------------------------------------------------------------

    async def owner(self, work: UnitOfWork, provider: str, subject: str) -> Any:
        """The key of the account that this login belongs to, None for nobody."""
        query = self._query("owner")
        rows = query.decode(await work.run(query, {"provider": provider, "subject": subject}))
        return rows[0][0] if rows else None

    async def add(self, work: UnitOfWork, user: Any, provider: str, subject: str, email: str | None) -> None:
        """Give an account another login; raises ConstraintViolated where it is somebody's."""
        values = {
            "id": secrets.token_urlsafe(16),
            "user_id": user,
            "provider": provider,
            "subject": subject,
            "email": email,
            "created": int(time()),
        }
        await work.run(self._query("add"), {f"v_{name}": value for name, value in values.items()})

    async def list(self, work: UnitOfWork, user: Any) -> Sequence[Identity]:
        """The logins of an account, the first one first."""
        query = self._query("list")
        rows = query.decode(await work.run(query, {"user": user}))
        return [Identity(**dict(zip(Identity.__slots__, row, strict=True))) for row in rows]

    async def remove(self, work: UnitOfWork, user: Any, id: str) -> bool:
        """Take one away; whether there was such a one."""
        return bool((await work.run(self._query("remove"), {"user": user, "id": id})).count)

    async def forget(self, work: UnitOfWork, user: Any) -> None:
        """Take all of an account away."""
        await work.run(self._query("forget"), {"user": user})

    # ---- flows ---------------------------------------------------------------------------------------------

    async def claim(self, flow: Flow) -> None:
        """Take a flow that has come back, for good: of several at once one wins, the others get 400."""
        now = int(time())
        database = self._context.database
        async with database.transaction() as work:
            await work.run_alone(self._query("sweep"), {"now": now}, writes=True)
        try:
            async with database.transaction() as work:
                values = {"flow": flow.id, "v_expires": now + SECONDS}
                await work.run_alone(self._query("claim"), values, writes=True)
        except ConstraintViolated:
            raise no_such_flow() from None

    async def code_for(self, flow: Flow, user: Any, epoch: str) -> str:
        """A code that this browser may exchange once, within a minute, for the tokens of an account.

        `epoch` is of the account's password, with which the code ends.
        """
        code = secrets.token_urlsafe(32)
        values = {
            "flow": flow.id,
            "v_code": digest(code),
            "v_user": user,
            "v_epoch": epoch,
            "v_until": int(time()) + _CODE_SECONDS,
        }
        async with self._context.database.transaction() as work:
            await work.run_alone(self._query("finish"), values, writes=True)
        return code

    async def redeem(self, flow: Flow, code: str) -> tuple[Any, str]:
        """The key and the epoch of the account that a code is for; of several at once one wins, the others get 400."""
        values = {"flow": flow.id, "v_code": digest(code), "now": int(time())}

        async def steps(work: UnitOfWork) -> tuple[Any, str]:
            if not (await work.run(self._query("redeem"), values)).count:
                raise no_such_flow()
            found = self._query("redeemed")
            [(user, epoch)] = found.decode(await work.run(found, {"flow": flow.id}))
            return user, epoch

        return await self._context.database.run_transaction(steps)

    def _query(self, name: str) -> Any:
        return self._context.database.shaped((self, name), self._statements[name])
