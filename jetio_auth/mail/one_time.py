"""One-time tokens: what a link in a mail carries, good for one purpose, one account and one use."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from sqlalchemy import BigInteger, Executable, Table, bindparam, delete, event, insert, null, select, update
from sqlalchemy.orm.attributes import get_history

from jetio import ConstraintViolated, Problem, UnitOfWork

from ..context import AuthContext
from ..digests import digest
from ..model import PASSWORD, Account

__all__ = ["OneTimeTokens", "end_with_address"]

_OUTLIVES_PASSWORD = frozenset({"verify_email"})
_LONGEST = 200


class OneTimeTokens:
    """Opaque tokens of 256 bits, stored hashed.

    An account has one of each purpose: asking anew ends the one before. A token ends when the address changes that
    it was sent to and, apart from the one that confirms an address, when the password does.
    """

    def __init__(self, context: AuthContext, table: Table) -> None:
        self._context, self._table = context, table
        columns = table.c
        now: Any = bindparam("now", type_=BigInteger)
        own = columns.user_id == bindparam("user", type_=columns.user_id.type)
        presented = (columns.hash == bindparam("hash_"), columns.purpose == bindparam("aim"))
        fresh: dict[str, Any] = {
            "hash": bindparam("hash_"),
            "binding": bindparam("bound"),
            "expires": bindparam("until"),
        }
        self._statements: Mapping[str, Callable[[], Executable]] = {
            "replace": lambda: (
                update(table).where(own, columns.purpose == bindparam("aim")).values(**fresh, used=null())
            ),
            "insert": lambda: insert(table).values(
                user_id=bindparam("user", type_=columns.user_id.type), purpose=bindparam("aim"), **fresh
            ),
            "use": lambda: (
                update(table)
                .where(*presented, columns.used.is_(None), columns.expires > now)
                .values(used=now)
            ),
            "held": self._held_statement,
        }

    def _held_statement(self) -> Executable:
        facts, columns = self._context.facts, self._table.c
        key = facts.columns[facts.key]
        whole = (
            columns.used,
            columns.expires,
            columns.binding,
            *(facts.columns[name] for name in facts.fetched),
        )
        labelled = [column.label(f"c{place}") for place, column in enumerate(whole)]
        joined = self._table.join(key.table, columns.user_id == key)
        presented = (columns.hash == bindparam("hash_"), columns.purpose == bindparam("aim"))
        return select(*labelled).select_from(joined).where(*presented)

    async def make(self, account: Account, purpose: str, seconds: int) -> str:
        """A new token; the one before ends. Commits."""
        token = secrets.token_urlsafe(32)
        values = {
            "user": account[self._context.facts.key],
            "aim": purpose,
            "hash_": digest(token[:_LONGEST]),
            "bound": self._bound(account, purpose),
            "until": int(time()) + seconds,
        }

        async def steps(work: UnitOfWork) -> None:
            if not (await work.run(self._query("replace"), values)).count:
                await work.run(self._query("insert"), values)

        try:
            await self._context.database.run_transaction(steps)
        except ConstraintViolated:  # another request was quicker to be the first; this one is the later
            await self._context.database.run_transaction(steps)
        return token

    async def find(self, token: str, purpose: str) -> Account:
        """Whose token it is, which stays unused; raises 404 `not_found` or 410 `expired`."""
        async with self._context.database.transaction(writes=False) as work:
            return await self._judged(work, token, purpose, used=False)

    async def use(self, work: UnitOfWork, token: str, purpose: str) -> Account:
        """Use a token up: whose it was. Raises as `find`; of several at once one gets through.

        Begin a transaction with it: MariaDB would go on reading what was there before.
        """
        values = {"hash_": digest(token[:_LONGEST]), "aim": purpose, "now": int(time())}
        used = (await work.run(self._query("use"), values)).count > 0
        return await self._judged(work, token, purpose, used=used)

    async def _judged(self, work: UnitOfWork, token: str, purpose: str, *, used: bool) -> Account:
        query = self._query("held")
        rows = query.decode(await work.run(query, {"hash_": digest(token[:_LONGEST]), "aim": purpose}))
        if not rows:
            raise _unknown()
        when, expires, binding, *row = rows[0]
        account = self._context.facts.account(row)
        if not used and when is not None:
            raise Problem(410, "expired", "This link was used already")
        if not self._context.facts.may_prove(account) or binding != self._bound(account, purpose):
            raise _unknown()
        if expires <= int(time()):
            raise Problem(410, "expired", "This link is too old; ask for another")
        return account

    def _bound(self, account: Account, purpose: str) -> str:
        """What the token stands and falls with, as it is now. A digest: nothing of it is stored again."""
        facts = [str(account[self._context.facts.key]), account.get("email")]
        if purpose not in _OUTLIVES_PASSWORD:
            facts.append(account[PASSWORD])
        return digest(json.dumps(facts))

    def _query(self, name: str) -> Any:
        return self._context.database.shaped((self, name), self._statements[name])


def end_with_address(model: type[Any], table: Table) -> None:
    """Links that open an account end when its address changes: they do not come back with the former address.

    Routes write accounts as objects, too, for their names are normalised when they are set.
    """
    if getattr(model, _ENDED, False):
        return
    setattr(model, _ENDED, True)
    mine = table.c.user_id == bindparam("user", type_=table.c.user_id.type)
    statement = delete(table).where(mine, table.c.purpose.not_in(_OUTLIVES_PASSWORD))

    def after_update(mapper: Any, connection: Any, target: Any) -> None:
        if get_history(target, "email").has_changes():
            connection.execute(statement, {"user": mapper.primary_key_from_instance(target)[0]})

    event.listen(model, "after_update", after_update, propagate=True)


_ENDED = "__jetio_auth_links_end__"


def _unknown() -> Problem:
    return Problem(404, "not_found", "This link is not valid; perhaps another was sent after it")
