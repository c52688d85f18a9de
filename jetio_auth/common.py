"""Passwords that attackers try first: known words, runs of keys, the account's own name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

__all__ = ["is_common"]

# What lists of leaked passwords are made of, once digits, marks and other spellings are taken away.
_WORD_LIST = """
abc access account adam admin administrator alexander alice amanda america andrea andrew angel anthony apple
arsenal asdf ashley austin autumn baby bailey banana baseball basketball batman bear beautiful bitch blink
bond boy buster butterfly carlos changeit changeme changethis charlie cheese chelsea chicken chocolate chris
christian cocacola computer cookie cowboy dallas daniel david default demo diamond dog dolphin dragon elephant
elizabeth eminem estrella facebook falcon family fender ferrari flower football forever freedom friend friends
fuck fuckyou gabriel gandalf george giants ginger girl golf google guest guitar hannah harley heather hello
hockey hottie hunter iloveu iloveyou internet jackson jasmine jennifer jessica jesus john jonathan jordan
joshua justin killer kitty knight letmein liverpool login london love lovely loveme lover maggie man marina
mario martin master matrix matthew maverick me mercedes merlin michael michelle mickey microsoft minecraft
monday money monkey monster mustang my naruto new nicole nothing oracle orange pass passport passw passwd
password patrick peanut pepper phoenix pokemon princess private purple pussy rainbow ranger rangers real
robert rockyou root samantha samsung scooter secret secure shadow silver slipknot soccer sophie spiderman
spring starwars steelers summer sunshine super superman superstar sweet sysadmin system tennis test testing
the thomas tigger tinkerbell toor trustno trustnoone user username vampire victoria welcome whatever william
winter world yankees you zaq
"""
_WORDS = frozenset(_WORD_LIST.split())
_RUNS = (
    "1234567890", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
    "abcdefghijklmnopqrstuvwxyz", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "a1b2c3d4e5f6g7h8i9j0", "q1w2e3r4t5y6u7i8o9p0",
)  # fmt: skip
_NEIGHBOURS = frozenset(
    pair for run in _RUNS for one, other in pairwise(run) for pair in (one + other, other + one, one + one)
)
# 1 is written for both i and l.
_SPELLINGS = tuple(str.maketrans("@$!034578" + "1", "asioeastb" + letter) for letter in "il")
_LONGEST_NUMBER = 12
_ENDS = re.compile(r"[\W\d_]+$")
_STARTS = re.compile(r"^[\W\d_]+")


def is_common(password: str, names: Iterable[str] = ()) -> bool:
    """Whether the password is a word or a name among digits and marks, a run of keys, or a short number."""
    text = unicodedata.normalize("NFKC", password).casefold()
    own = {_core(part) for name in names for part in (name, name.partition("@")[0])}
    spelt = {_core(text), _ENDS.sub("", text)}
    cores = {_core(part.translate(table)) for part in spelt for table in ({}, *_SPELLINGS)} - {""}
    return not own.isdisjoint(cores) or any(map(_is_made_of_words, cores)) or _is_run(text)


def _core(text: str) -> str:
    """The text without digits and marks at its ends."""
    return _STARTS.sub("", _ENDS.sub("", text))


def _is_made_of_words(core: str) -> bool:
    return core in _WORDS or any(
        core[:cut] in _WORDS and core[cut:].strip(" -_.") in _WORDS for cut in range(1, len(core))
    )


def _is_run(text: str) -> bool:
    """Neighbours on a keyboard or in the alphabet, few characters again and again, or a number."""
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        return True
    breaks = sum(one + other not in _NEIGHBOURS and one != other for one, other in pairwise(text))
    return len(set(text)) < 4 or breaks * 3 < len(text)
