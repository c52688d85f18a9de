"""Another address for an account: who has it gets in by mail, so whoever changes it shows that he is the owner."""

from __future__ import annotations

from jetio import Change, Deny

from .policies import Fresh

__all__ = ["SECONDS", "prove_owner"]

SECONDS = 900
_FRESH = Fresh(SECONDS)


async def prove_owner(key: str, change: Change) -> None:
    """Before an update of an account, whose key is this field: raises 401 `fresh_login_required`.

    A login of late proves all factors, where a password would prove one. Admins who change others are let through.
    """
    row, caller = change.row, change.principal
    if row is None or change.values.get("email", row["email"]) == row["email"]:
        return
    if caller is not None and str(caller.id) != str(row[key]):
        return  # the floor of the model lets admins through, and nobody else
    decision = await _FRESH(change.access)
    if isinstance(decision, Deny):
        decision.raise_for(caller)
