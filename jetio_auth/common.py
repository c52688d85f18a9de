"""Passwords that attackers try first: leaked ones, words, dates, runs of keys, the account's own name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["is_common"]

_FEW_GUESSES = 10**6
_SAMPLES = ("securepassword123", "secret123", "changeme")  # of documents that many read
_JUDGED = 72  # characters; what follows makes no password worse
_ENDS = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_SPELLING = str.maketrans("@$!01345", "asioleas")


def is_common(password: str, names: Iterable[str] = ()) -> bool:
    """Whether it takes few guesses, as zxcvbn counts them, or is one of these names among digits and marks.

    Takes milliseconds: call it in a thread.
    """
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # here: its lists of words take a while to load

    text = unicodedata.normalize("NFKC", password).casefold()
    own = [part.casefold() for name in names for part in (name, name.partition("@")[0])]
    if not {_core(name) for name in own}.isdisjoint({_core(text), _core(text.translate(_SPELLING))}):
        return True
    return bool(zxcvbn(text[:_JUDGED], user_inputs=[*own, *_SAMPLES])["guesses"] < _FEW_GUESSES)


def _core(text: str) -> str:
    """The text without digits and marks at its ends."""
    return _ENDS.sub("", text)
