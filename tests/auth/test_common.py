"""Passwords that attackers try first are known, whatever digits and marks stand around them."""

from __future__ import annotations

import pytest

from jetio_auth.common import is_common

NAMES = ("alice", "alice.b@example.com")


COMMON = """
password Password1 P@ssw0rd2024 pa55word! 123password $ecret123 securePassword123 @dm1n!!! l3tmein!! we1come99 changeme
secret123 adminadmin helloworld iloveyou2 trustno1 sunshine!
12345678 87654321 19841984 123123123 11111111 aaaaaaaa abababab abcd1234 qwertyuiop qwerty12 1q2w3e4r
q1w2e3r4 1qaz2wsx asdfghjkl zxcvbnm1 a1b2c3d4 abcdefgh zyxwvuts
alice123 Alice2024! !!alice!! @lice1999 alice.b@example.com alice.b99
"""


@pytest.mark.parametrize("password", COMMON.split())
def test_common_passwords(password: str) -> None:
    """Words among digits and marks, other spellings, runs of keys, short numbers, the own name."""
    assert is_common(password, NAMES)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "Tr0ub4dor&3",
        "vJ8#kq2L",
        "tarantula-9-moon",
        "secure.harbour.71",
        "tomorrow never dies",
        "9183746502837465",
        "pa55phrase-of-mine",
        "\u043a\u043e\u0440\u043e\u0432\u0430 \u043d\u0430 \u043b\u0443\u043d\u0435",
        "\u732b\u304c\u5c4b\u6839\u306e\u4e0a\u306b\u3044\u308b",
        "monkey-dragon",
    ],
)
def test_other_passwords(password: str) -> None:
    """What needs more than a list to be guessed is a password."""
    assert not is_common(password, NAMES)


def test_the_name_matters() -> None:
    """A name is common for its own account only."""
    assert is_common("zebedee77", ["zebedee"])
    assert not is_common("zebedee77", ["alice"])
    assert not is_common("zebedee77")
