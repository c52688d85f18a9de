"""Passwords: what may become one, its hash, and whether a given one is right at a cost that tells nothing."""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from time import perf_counter, thread_time
from typing import Any, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from passlib.context import CryptContext
from passlib.hash import bcrypt

from jetio import ConfigError, FieldError, ValidationError

__all__ = ["PasswordPolicy", "Passwords", "get_password_hash", "verify_password"]

_LOWEST_COST = 4
_HIGHEST_COST = 31
_BCRYPT_BYTES = 72
# Beyond this passlib hashes nothing, and NFC is quadratic in combining marks: a megabyte would hold the loop.
_LONGEST = 4096

_Fault = tuple[str, str]
_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")
_hashing: RunVar[CapacityLimiter] = RunVar("jetio_auth.hashing")


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What a new password must be; passwords from before stay valid.

    `min_length` counts code points, `max_bytes` UTF-8. `forbid_common` (None: in production) is judged by
    whoever holds the list, not here.
    """

    min_length: int = 8
    max_bytes: int = _BCRYPT_BYTES
    forbid_common: bool | None = None

    def __post_init__(self) -> None:
        if not 64 <= self.max_bytes <= _BCRYPT_BYTES:
            raise ConfigError(
                f"PasswordPolicy(max_bytes={self.max_bytes}): write a number from 64, so that long passwords "
                f"are allowed, to {_BCRYPT_BYTES}, which is all that bcrypt reads"
            )
        if not 1 <= self.min_length <= 64:
            raise ConfigError(f"PasswordPolicy(min_length={self.min_length}): write a number from 1 to 64")

    @property
    def told(self) -> str:
        """The rule for people; characters and bytes are two measures."""
        return (
            f"At least {self.min_length} characters, whatever they are. At most {self.max_bytes} bytes: a plain "
            "letter or digit is one, an accented letter two, an emoji four or more."
        )


_DEFAULT_POLICY = PasswordPolicy()


class Passwords:
    """Hashes and verifies passwords; a wrong one costs the same, whatever is stored or nothing.

    `rounds` is bcrypt's cost, the binary logarithm of its work: less than 12 is for tests.
    """

    def __init__(self, rounds: int = 12, policy: PasswordPolicy = _DEFAULT_POLICY) -> None:
        if not _LOWEST_COST <= rounds <= _HIGHEST_COST:
            raise ConfigError(
                f"Passwords(rounds={rounds}): bcrypt's cost is {_LOWEST_COST} to {_HIGHEST_COST}; write 12"
            )
        self.rounds = rounds
        self.policy = policy
        self._context = _context(rounds)

    @staticmethod
    def normalise(password: str) -> str:
        """The password in NFC, so that it does not depend on the keyboard; too long to be one: as it is."""
        return password if len(password) > _LONGEST else unicodedata.normalize("NFC", password)

    @staticmethod
    def unusable() -> str:
        """What an account without password stores: no password matches it, and no two are alike."""
        return "!" + secrets.token_urlsafe(32)

    @staticmethod
    def is_usable(stored: str | None) -> bool:
        """Whether some password could match what an account stores."""
        return bool(stored) and not str(stored).startswith("!")

    def check(self, password: str, pointer: str = "/password") -> None:
        """Raises a 422 that says what is wrong with a new password; `pointer` names its field in the body."""
        _refuse([*self._too_short(password), *self._unhashable(password)], pointer)

    async def hash(self, password: str) -> str:
        """The hash to store; a 422 for what bcrypt cannot hash. The rest of the policy is `check`'s."""
        return await _in_thread(self.hash_now, password)

    async def verify_and_upgrade(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether this is the password, and a new hash if the stored one is of an older kind or a lower cost.

        `stored` is None for an account that does not exist.
        """
        return await _in_thread(self._verify_and_upgrade_now, password, stored)

    async def warm_up(self) -> None:
        """Does at start what the first verification would otherwise pay for."""
        await _in_thread(_rounds_per_second)

    def hash_now(self, password: str) -> str:
        """`hash`, in this thread: about 0.3 s during which it does nothing else."""
        _refuse(self._unhashable(password), "/password")
        return str(self._context.hash(self.normalise(password)))

    def verify_now(self, password: str, stored: str | None) -> bool:
        """Whether this is the password, in this thread: about 0.3 s, also for what can never match."""
        begun = perf_counter()
        try:
            scheme = self._context.identify(stored or "", resolve=True, required=True)
            if scheme.verify(_without_nul(self.normalise(password)), stored):
                return True
            spent = _work(scheme, stored, begun)
        except ValueError:  # nothing was hashed: an unusable hash, or a password that has none
            spent = 0
        _spend((1 << self.rounds) - spent)
        return False

    def _verify_and_upgrade_now(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        if not self.verify_now(password, stored):
            return False, None
        return True, self._renewed(password) if self._context.needs_update(stored) else None

    def _renewed(self, password: str) -> str | None:
        # PBKDF2 and bcrypt_sha256 take passwords that plain bcrypt does not: those keep their hash.
        return None if any(self._unhashable(password)) else self.hash_now(password)

    def _too_short(self, password: str) -> Iterator[_Fault]:
        if len(self.normalise(password)) < self.policy.min_length:
            yield "password_too_short", f"The password needs at least {self.policy.min_length} characters"

    def _unhashable(self, password: str) -> Iterator[_Fault]:
        if "\0" in password:
            yield "password_nul", "The password holds a NUL character"
        try:
            size = len(self.normalise(password).encode())
        except UnicodeEncodeError:
            yield "password_not_unicode", "The password holds half of a surrogate pair, which is no character"
            return
        if size > self.policy.max_bytes:
            yield "password_too_long", _too_long(self.policy.max_bytes)


def get_password_hash(password: str) -> str:
    """The hash to store for a password, at cost 12; blocks the thread, `Passwords.hash` does not."""
    return _default().hash_now(password)


def verify_password(plain: str, hashed: str) -> bool:
    """Whether `hashed` is of this password; blocks the thread, `Passwords.verify_and_upgrade` does not."""
    return _default().verify_now(plain, hashed)


@cache
def _default() -> Passwords:
    return Passwords()


def _context(rounds: int) -> CryptContext:
    # Without its backend passlib would list argon2, and fail at the first such hash.
    schemes = ["bcrypt", "bcrypt_sha256", "pbkdf2_sha256", *(["argon2"] if find_spec("argon2") else [])]
    # No upper limit: a login never replaces a hash by a weaker one.
    costs = {"bcrypt__min_rounds": rounds, "bcrypt__default_rounds": rounds}
    return CryptContext(schemes=schemes, deprecated="auto", bcrypt__truncate_error=True, **costs)


def _refuse(faults: Iterable[_Fault], pointer: str) -> None:
    errors = [FieldError(code, message, pointer=pointer) for code, message in faults]
    if errors:
        raise ValidationError(errors)


def _too_long(max_bytes: int) -> str:
    return (
        f"The password is longer than {max_bytes} bytes: {max_bytes} plain letters and digits fit, "
        "fewer accented or other letters and emoji"
    )


def _without_nul(password: str) -> str:
    if "\0" in password:  # PBKDF2 would take it
        raise ValueError("NUL")
    return password


def _work(scheme: Any, stored: str | None, begun: float) -> int:
    """The work that went into a verification, in rounds of bcrypt."""
    if scheme.rounds_cost == "log2":
        return 1 << int(scheme.from_string(stored).rounds)
    # Not the time of this thread: argon2 works in threads of its own.
    return int((perf_counter() - begun) * _rounds_per_second())


def _spend(work: int) -> None:
    """Does `work` rounds of bcrypt for nothing, to within the lowest cost; any cost less another is exact."""
    for cost in range(_LOWEST_COST, max(work, 0).bit_length()):
        if work & (1 << cost):
            bcrypt.using(rounds=cost).hash("")


@cache
def _rounds_per_second() -> float:
    """How fast this machine is; also loads bcrypt, whose first use takes 30 ms of self-tests."""
    cost = 6
    bcrypt.using(rounds=cost).hash("")
    begun = thread_time()
    bcrypt.using(rounds=cost).hash("")
    return (1 << cost) / (thread_time() - begun)


async def _in_thread(function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
    limiter = _hashing.get(None)
    if limiter is None:  # one for each event loop; more threads than cores gain nothing
        limiter = CapacityLimiter(os.cpu_count() or 1)
        _hashing.set(limiter)
    return await to_thread.run_sync(function, *arguments, limiter=limiter)
