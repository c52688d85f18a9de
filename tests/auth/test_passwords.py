"""Passwords: what is refused, what verifies, and that a refusal costs the same whatever its reason."""

from __future__ import annotations

import threading
import time
import unicodedata
from typing import Any

import anyio
import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetio import ConfigError, ValidationError
from jetio_auth import passwords as module
from jetio_auth.passwords import PasswordPolicy, Passwords, get_password_hash, verify_password

PASSWORD = "correct horse battery"
LOWEST = Passwords(rounds=4)
UNHURRIED = settings(deadline=None)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
PASSWORDS = (st.text(LETTERS, max_size=24) | st.text("ab\u00e9", max_size=72)).filter(
    lambda text: len(unicodedata.normalize("NFC", text).encode()) <= 72
)

CURRENT = {
    "2b": "$2b$04$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry",
    "2a": "$2a$04$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry",
    "2y": "$2y$04$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry",
}
OLDER = {
    "bcrypt_sha256": "$bcrypt-sha256$v=2,t=2b,r=4$m5q6NZmREyMKaZCuhe0wte$NavcvPnECTTirCs2MMS9XXS49mYTK..",
    "bcrypt_sha256 v1": "$bcrypt-sha256$2a,4$MqLYyY8t1mVIulamVVoGGe$9VYkP1wuIPYdjCN1HrHYQ16nH9x0Bm6",
    "pbkdf2": "$pbkdf2-sha256$1000$w3iv1fqfs7Y2RgghZCyllA$P8JQyyOwKQfS/D3w9JJP02BApp7VPSQRnTeSEB6KSY8",
}
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$HWNs7R2jlLIWAqDU2rvXug$vbmSrUt7naPNwgP4iBs78Q7yacjRzZ147HGfXDy6SSQ"
PBKDF2_OF_100_X = "$pbkdf2-sha256$1000$771XijHGGKM0prT2npOScg$WYfzNgd9I/nUeNTNCLrxJq/VLKhHK4oMFP1HE1JqqE4"
PBKDF2_WITH_NUL = "$pbkdf2-sha256$1000$ay1lrLXW.j.nlDLGGCPEOA$B5KP2E80VwEdxftXSTbbLvru6Ne7wL7MQlY5esOEM58"
BROKEN = {
    "nothing": "",
    "plain text": PASSWORD,
    "only a kind": "$2b$",
    "no salt": "$2b$07$",
    "half a hash": "$2b$07$lt2UpRfDPDsKffRXcOJHge",
    "no such cost": "$2b$99$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry",
    "the faulty 2x": "$2x$07$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry",
    "letters outside ascii": "$2b$07$" + "\u00e9" * 53,
    "a surrogate": "$2b$07$\ud800",
    "a NUL": "$2b$07$lt2UpRfDPDsKffRXcOJHge4IaSX2wP6sd7Cr1RlfeGra5biUaQ8Ry\0",
    "broken pbkdf2": "$pbkdf2-sha256$1000$a$b",
    "broken bcrypt_sha256": "$bcrypt-sha256$v=2,t=2b,r=7$",
    "another kind": "$5$rounds=1000$salt$hash",
}
IMPOSSIBLE = {
    "73 bytes": "x" * 73,
    "4096 characters": "x" * 4096,
    "a megabyte": "x" * 1_000_000,
    "a NUL": "nul\0nul\0",
    "half a surrogate pair": "lone \ud800 half",
}


def codes(password: str, policy: PasswordPolicy | None = None) -> list[str]:
    """The codes of what is wrong with a new password."""
    try:
        Passwords(4, policy or PasswordPolicy()).check(password)
    except ValidationError as problem:
        return [error.code for error in problem.errors]
    return []


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of every bcrypt computation that ran, in order."""
    LOWEST.verify_now("", None)
    done: list[int] = []
    real = bcrypt.hashpw

    def counted(password: bytes, salt: bytes) -> bytes:
        result = real(password, salt)
        done.append(1 << int(salt[4:6]))
        return result

    monkeypatch.setattr(bcrypt, "hashpw", counted)
    return done


# What may become a password


@pytest.mark.parametrize(
    "password",
    [
        "8 chars!",
        "a" * 64,
        "a" * 72,
        "\u00e9" * 36,
        "\U0001f600" * 18,
        "        ",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643",
    ],
    ids=ascii,
)
def test_good_passwords_pass(password: str) -> None:
    """Eight code points to 72 bytes of whatever people type; there are no rules about its composition."""
    assert codes(password) == []


@pytest.mark.parametrize("password", ["", "7 chars", "\U0001f600" * 7], ids=ascii)
def test_a_short_password_is_refused(password: str) -> None:
    """Less than eight code points are too few, however many bytes they are."""
    assert codes(password) == ["password_too_short"]


def test_length_is_counted_in_composed_form() -> None:
    """Letters with separate accents count once, as do letters with built-in ones."""
    assert codes("e\u0301" * 7) == ["password_too_short"]
    assert codes("e\u0301" * 8) == []


@pytest.mark.parametrize("password", ["a" * 73, "\u00e9" * 37, "\U0001f600" * 19, "x" * 1_000_000], ids=len)
def test_a_password_over_72_bytes_is_refused(password: str) -> None:
    """Nothing is cut off in silence; the message says what fits."""
    with pytest.raises(ValidationError) as caught:
        LOWEST.check(password)
    (error,) = caught.value.errors
    assert error.code == "password_too_long"
    assert "72 plain letters" in error.message


def test_a_nul_is_refused() -> None:
    """bcrypt ends at a NUL, so no password holds one."""
    assert codes("before\0after") == ["password_nul"]


def test_half_a_surrogate_pair_is_refused() -> None:
    """What UTF-8 cannot say is a 422, not a crash."""
    assert codes("12345678\ud83d") == ["password_not_unicode"]


def test_all_faults_are_told_together() -> None:
    """One answer lists everything that is wrong."""
    assert codes("\0") == ["password_too_short", "password_nul"]


@pytest.mark.parametrize("arguments", [{}, {"pointer": "/new_password"}], ids=str)
def test_the_answer_is_a_422_that_points_at_the_field(arguments: dict[str, str]) -> None:
    """The pointer is /password unless told otherwise, and the password is not repeated."""
    with pytest.raises(ValidationError) as caught:
        LOWEST.check("hunter2", **arguments)
    assert caught.value.status == 422
    assert [error.pointer for error in caught.value.errors] == [arguments.get("pointer", "/password")]
    assert "hunter2" not in str(caught.value.document())


def test_the_policy_sets_the_lengths() -> None:
    """A longer minimum and a lower maximum are settings."""
    policy = PasswordPolicy(min_length=15, max_bytes=64)
    assert codes("a" * 14, policy) == ["password_too_short"]
    assert codes("a" * 65, policy) == ["password_too_long"]
    assert codes("a" * 15, policy) == codes("a" * 64, policy) == []


@pytest.mark.parametrize(
    "limits", [{"max_bytes": 63}, {"max_bytes": 73}, {"min_length": 0}, {"min_length": 65}], ids=str
)
def test_a_policy_that_cannot_be_kept_is_refused(limits: dict[str, Any]) -> None:
    """bcrypt reads 72 bytes, and 64 letters must be allowed."""
    with pytest.raises(ConfigError, match="write a number from"):
        PasswordPolicy(**limits)


def test_a_password_too_long_to_be_one_is_not_normalised() -> None:
    """NFC is quadratic in combining marks, so it is not applied to what is refused anyway."""
    marks = "e\u0301" * 3000
    assert Passwords.normalise(marks) is marks
    assert Passwords.normalise(marks[:4096]) == "\u00e9" * 2048


# Hashing


def test_a_hash_is_bcrypt_of_cost_12_unless_told_otherwise() -> None:
    """What applications import by name makes `$2b$12$` hashes that any bcrypt reads."""
    hashed = get_password_hash(PASSWORD)
    assert hashed.startswith("$2b$12$")
    assert bcrypt.checkpw(PASSWORD.encode(), hashed.encode())
    assert verify_password(PASSWORD, hashed)
    assert not verify_password(PASSWORD.upper(), hashed)


def test_rounds_set_the_cost() -> None:
    """A lower cost is made only when it is asked for."""
    assert Passwords(rounds=5).hash_now(PASSWORD).startswith("$2b$05$")


@pytest.mark.parametrize("rounds", [-1, 0, 3, 32])
def test_a_cost_that_bcrypt_does_not_know_is_refused(rounds: int) -> None:
    """At once, not at the first login."""
    with pytest.raises(ConfigError, match="bcrypt's cost is 4 to 31"):
        Passwords(rounds=rounds)


def test_two_hashes_of_one_password_differ() -> None:
    """Every hash has its own salt."""
    assert LOWEST.hash_now(PASSWORD) != LOWEST.hash_now(PASSWORD)


@pytest.mark.parametrize("case", IMPOSSIBLE)
async def test_what_cannot_be_hashed_is_a_422(case: str) -> None:
    """Also when nobody asked `check` before, in a thread or on the spot."""
    with pytest.raises(ValidationError):
        LOWEST.hash_now(IMPOSSIBLE[case])
    with pytest.raises(ValidationError):
        await LOWEST.hash(IMPOSSIBLE[case])


async def test_a_short_password_can_be_hashed() -> None:
    """The minimum is for new passwords: an old one is hashed again at login, whatever its length."""
    assert (await LOWEST.verify_and_upgrade("old", await LOWEST.hash("old"))) == (True, None)


@UNHURRIED
@given(PASSWORDS, st.data())
def test_a_password_verifies_only_itself(password: str, data: st.DataObject) -> None:
    """Any password of up to 72 bytes is told from any other, up to its last byte."""
    near = st.sampled_from([password[:-1], password[1:], password + " ", password.swapcase(), password * 2])
    other = data.draw(near | PASSWORDS)
    hashed = LOWEST.hash_now(password)
    assert LOWEST.verify_now(password, hashed)
    assert LOWEST.verify_now(other, hashed) == (Passwords.normalise(other) == Passwords.normalise(password))


def test_composed_and_decomposed_letters_are_one_password() -> None:
    """One password typed on two systems is the same (NFC)."""
    hashed = LOWEST.hash_now("caf\u00e9 cr\u00e8me")
    assert LOWEST.verify_now("cafe\u0301 cre\u0300me", hashed)
    assert LOWEST.verify_now("caf\u00e9 cr\u00e8me", LOWEST.hash_now("cafe\u0301 cre\u0300me"))


def test_look_alikes_are_other_passwords() -> None:
    """Compatibility forms are not folded: a ligature is not its letters."""
    assert not LOWEST.verify_now("\ufb01nally!", LOWEST.hash_now("finally!"))


# Verifying


@pytest.mark.parametrize("kind", CURRENT)
async def test_a_bcrypt_hash_of_any_spelling_verifies_and_stays(kind: str) -> None:
    """$2a$, $2b$ and $2y$ are one hash; at the present cost none is replaced."""
    assert await LOWEST.verify_and_upgrade(PASSWORD, CURRENT[kind]) == (True, None)
    assert await LOWEST.verify_and_upgrade(PASSWORD.upper(), CURRENT[kind]) == (False, None)


@pytest.mark.parametrize("kind", OLDER)
async def test_a_hash_of_another_kind_verifies_and_is_replaced(kind: str) -> None:
    """bcrypt_sha256 and the PBKDF2 of older applications become plain bcrypt at the first login."""
    right, renewed = await LOWEST.verify_and_upgrade(PASSWORD, OLDER[kind])
    assert right
    assert renewed is not None
    assert renewed.startswith("$2b$04$")
    assert LOWEST.verify_now(PASSWORD, renewed)
    assert await LOWEST.verify_and_upgrade(PASSWORD.upper(), OLDER[kind]) == (False, None)


async def test_argon2_verifies_where_it_is_installed() -> None:
    """And becomes bcrypt like the others."""
    pytest.importorskip("argon2")
    right, renewed = await LOWEST.verify_and_upgrade(PASSWORD, ARGON2)
    assert right
    assert renewed is not None
    assert renewed.startswith("$2b$04$")
    assert not LOWEST.verify_now(PASSWORD.upper(), ARGON2)


def test_argon2_does_not_match_where_it_is_not(monkeypatch: pytest.MonkeyPatch, work: list[int]) -> None:
    """Such a hash is one that nothing matches, not an error, and costs what others do."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert not Passwords(rounds=7).verify_now(PASSWORD, ARGON2)
    assert sum(work) == 1 << 7


async def test_a_cheaper_hash_is_replaced() -> None:
    """When the cost is raised, accounts follow at their next login."""
    right, renewed = await Passwords(rounds=6).verify_and_upgrade(PASSWORD, CURRENT["2b"])
    assert right
    assert renewed is not None
    assert renewed.startswith("$2b$06$")


async def test_a_stronger_hash_is_kept() -> None:
    """A login never weakens what is stored."""
    stored = Passwords(rounds=6).hash_now(PASSWORD)
    assert await LOWEST.verify_and_upgrade(PASSWORD, stored) == (True, None)


async def test_a_long_password_from_before_is_not_locked_out() -> None:
    """PBKDF2 took more than 72 bytes; that account keeps its hash, which bcrypt could not replace."""
    assert await LOWEST.verify_and_upgrade("x" * 100, PBKDF2_OF_100_X) == (True, None)
    assert await LOWEST.verify_and_upgrade("x" * 99, PBKDF2_OF_100_X) == (False, None)


async def test_a_nul_verifies_nothing() -> None:
    """Not even a hash of a kind that took one."""
    assert await LOWEST.verify_and_upgrade("nul\0nul\0", PBKDF2_WITH_NUL) == (False, None)


@pytest.mark.filterwarnings("ignore:encountered a bcrypt:passlib.exc.PasslibHashWarning")
def test_stray_padding_bits_do_not_matter() -> None:
    """Hashes from libraries that filled the unused bits of the salt verify."""
    assert LOWEST.verify_now(PASSWORD, CURRENT["2a"].replace("Hge4", "Hgf4"))


@UNHURRIED
@given(PASSWORDS, st.text() | st.text("$2aby0417./", max_size=60))
def test_no_stored_text_raises(password: str, stored: str) -> None:
    """Whatever stands in the column, the answer is a plain no."""
    assert not LOWEST.verify_now(password, stored)


def test_an_account_without_password_matches_nothing() -> None:
    """What it stores is marked and random, so that no two accounts store the same."""
    stored = Passwords.unusable()
    assert stored.startswith("!")
    assert len(stored) >= 40
    assert stored != Passwords.unusable()
    for guess in ("", "!", stored, stored[1:]):
        assert not LOWEST.verify_now(guess, stored)


# Cost


@pytest.mark.parametrize("case", ["wrong", *IMPOSSIBLE])
@pytest.mark.parametrize("kind", [None, "unusable", *BROKEN, *CURRENT, "bcrypt_sha256", "costs 5", "costs 7"])
def test_every_refusal_does_the_same_work(kind: str | None, case: str, work: list[int]) -> None:
    """Unknown, without password, broken, cheap or up to date: a refusal is one hash of the present cost."""
    known: dict[str | None, str | None] = {None: None, "unusable": Passwords.unusable()}
    known.update(BROKEN | CURRENT | OLDER)
    stored = known[kind] if kind in known else Passwords(int((kind or "")[-1])).hash_now(PASSWORD)
    work.clear()
    assert not Passwords(rounds=7).verify_now(IMPOSSIBLE.get(case, "wrong"), stored)
    assert sum(work) == 1 << 7


def test_a_right_password_does_the_work_of_one_hash(work: list[int]) -> None:
    """A login costs what a refusal does."""
    passwords = Passwords(rounds=7)
    stored = passwords.hash_now(PASSWORD)
    work.clear()
    assert passwords.verify_now(PASSWORD, stored)
    assert work == [1 << 7]


def test_a_stronger_hash_costs_its_own_work(work: list[int]) -> None:
    """Nothing is added where more than enough was done."""
    stored = Passwords(rounds=6).hash_now(PASSWORD)
    work.clear()
    assert not LOWEST.verify_now("wrong", stored)
    assert work == [1 << 6]


@pytest.mark.parametrize(("seconds", "share"), [(0, 1), (3600, 0)])
def test_the_time_of_other_kinds_counts(
    monkeypatch: pytest.MonkeyPatch, work: list[int], seconds: int, share: int
) -> None:
    """PBKDF2 is topped up with bcrypt by the time it took: wholly after none, not at all after an hour."""
    LOWEST.verify_now("wrong", OLDER["pbkdf2"])
    work.clear()
    clock = iter([0.0, float(seconds)])
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    assert not Passwords(rounds=7).verify_now("wrong", OLDER["pbkdf2"])
    assert sum(work) == share << 7


async def test_the_first_unknown_user_costs_one_hash(work: list[int]) -> None:
    """After `warm_up` there is nothing left to prepare, for no kind of hash."""
    passwords = Passwords(rounds=7)
    await passwords.warm_up()
    work.clear()
    assert await passwords.verify_and_upgrade("wrong", None) == (False, None)
    assert work == [1 << 7]


# Threads


async def test_the_loop_never_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing, verifying and warming up run in other threads, so that requests go on."""
    LOWEST.verify_now("", None)
    threads: list[int] = []
    real = bcrypt.hashpw

    def noted(password: bytes, salt: bytes) -> bytes:
        threads.append(threading.get_ident())
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", noted)
    stored = await LOWEST.hash(PASSWORD)
    await LOWEST.verify_and_upgrade(PASSWORD, stored)
    await LOWEST.verify_and_upgrade("wrong", None)
    assert len(threads) == 3
    module._rounds_per_second.cache_clear()
    await LOWEST.warm_up()
    assert len(threads) > 3
    assert threading.get_ident() not in threads


def test_no_more_hashes_run_at_once_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores the third waits; the limit is made anew in every event loop."""
    LOWEST.verify_now("", None)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    real, lock = bcrypt.hashpw, threading.Lock()
    running: list[int] = []
    most = 0

    def slow(password: bytes, salt: bytes) -> Any:
        nonlocal most
        with lock:
            running.append(1)
            most = max(most, len(running))
        time.sleep(0.02)
        with lock:
            running.pop()
        return real(password, salt)

    async def six_logins() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(LOWEST.verify_and_upgrade, "wrong", None)

    monkeypatch.setattr(bcrypt, "hashpw", slow)
    for _ in range(2):
        most = 0
        anyio.run(six_logins)
        assert most == 2
