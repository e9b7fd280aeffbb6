"""Codes for the day on which the phone is gone: each good once, kept as Argon2id hashes (RFC 9106).

A code begins with its number, so that one hash is computed for one try, whichever code it is.
"""

import base64
from collections.abc import Sequence
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

COUNT: Final = 6
RANDOM_SIZE: Final = 10
"""Bytes of one code: 80 bits, which nobody guesses."""
SALT_SIZE: Final = 16

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def codes_of(randoms: Sequence[bytes]) -> tuple[str, ...]:
    """Return the codes, as they are shown once, of as many times 10 random bytes."""
    return tuple(f"{number}-{_spelled(random)}" for number, random in enumerate(randoms, 1))


def hashed(code: str, salt: bytes) -> str:
    """Return what is kept of a code. salt: 16 random bytes, of this code alone."""
    return _HASHER.hash(_plain(code), salt=salt)


def is_code(code: str, kept: str) -> bool:
    """Return whether `kept` is of this code; case, spaces and dashes do not matter."""
    try:
        return _HASHER.verify(kept, _plain(code))
    except (VerificationError, InvalidHashError):
        return False


def number_of(code: str) -> int | None:
    """Return which code somebody means; None where it is none."""
    number, dash, rest = code.strip().partition("-")
    is_one = number.isascii() and number.isdigit() and len(number) == 1 and bool(dash and rest)
    return int(number) if is_one else None


def _spelled(random: bytes) -> str:
    if len(random) != RANDOM_SIZE:
        raise ValueError(f"a code is made of {RANDOM_SIZE} random bytes")
    text = base64.b32encode(random).decode()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").upper()
