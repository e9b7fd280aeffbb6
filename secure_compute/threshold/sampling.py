"""Polynomials that bytes decide: the public one of a key, secrets, errors and smudges.

Everybody who is told the same seed makes the same polynomial, on any machine.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secure_compute import canonical
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.threshold.params import ERROR_COINS, KEY_PRIMES, PRIMES, SLOTS, SMUDGE_BITS
from secure_compute.threshold.residues import width
from secure_compute.threshold.ring import DATA, Residues

ZERO: Final = np.zeros(SLOTS, dtype=np.int64)

_SPARE: Final = 64  # draws above a prime: about one in 2^25 of them
_LOW: Final = 56  # bits of a smudge below 2^56; the others are multiplied by it
_HIGH_UNIT: Final = DATA.constant(
    np.array([[(1 << _LOW) % prime] for prime in PRIMES], dtype=np.int64)
)
_LOWEST: Final = np.array([[-(1 << SMUDGE_BITS) % prime] for prime in PRIMES], dtype=np.int64)


def public_polynomial(key: str) -> Residues:
    """Return `a` of the key with this id, in `forward` form over `KEY_PRIMES`: uniform.

    It is read from SHAKE256; a number that is not below its prime is left out.
    """
    return np.stack([_uniform(key, place, prime) for place, prime in enumerate(KEY_PRIMES)])


def ternary(stream: SeedStream) -> NDArray[np.int64]:
    """Return [8192] integers, each −1, 0 or 1 with equal chance."""
    drawn = np.frombuffer(stream.bytes(SLOTS + 512), np.uint8)
    kept = drawn[drawn < 255]
    while kept.size < SLOTS:
        more = np.frombuffer(stream.bytes(512), np.uint8)
        kept = np.concatenate((kept, more[more < 255]))
    return kept[:SLOTS].astype(np.int64) % 3 - 1


def error(stream: SeedStream) -> NDArray[np.int64]:
    """Return [8192] integers in [−21, 21]: coins that fell one way less those of another hand."""
    coins = np.frombuffer(stream.bytes(8 * SLOTS), "<u4").reshape(SLOTS, 2) >> (32 - ERROR_COINS)
    counts = np.bitwise_count(coins).astype(np.int64)
    difference: NDArray[np.int64] = counts[:, 0] - counts[:, 1]
    return difference


def smudge(stream: SeedStream) -> Residues:
    """Return [8192] integers, uniform in [−2^98, 2^98), as residues over `PRIMES`."""
    words = np.frombuffer(stream.bytes(16 * SLOTS), "<u8").reshape(SLOTS, 2)
    low = (words[:, 0] >> np.uint64(64 - _LOW)).astype(np.int64)
    high = (words[:, 1] >> np.uint64(64 - (SMUDGE_BITS + 1 - _LOW))).astype(np.int64)
    scaled = DATA.multiply(np.broadcast_to(high, (len(PRIMES), SLOTS)), _HIGH_UNIT)
    return DATA.add(scaled + low, _LOWEST)


def _uniform(key: str, place: int, prime: int) -> Residues:
    size = width(prime)
    head = canonical.encode(["entrepot.threshold", "public", key, place])
    octets = hashlib.shake_256(head).digest((SLOTS + _SPARE) * size)
    drawn = np.zeros((SLOTS + _SPARE, 8), np.uint8)
    drawn[:, :size] = np.frombuffer(octets, np.uint8).reshape(-1, size)
    numbers = drawn.view("<i8")[:, 0]
    kept: Residues = numbers[numbers < prime][:SLOTS].astype(np.int64)
    return kept
