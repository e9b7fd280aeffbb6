"""Polynomials modulo X^8192 + 1 over several primes, in numpy: no C++ reads a key or a ciphertext.

A polynomial is int64 [len(primes), 8192], every residue in [0, prime). `forward` gives its values
at the odd powers of the least 16384-th root of unity in bit-reversed order, which is the order of
SEAL (Longa and Naehrig 2016, algorithms 1 and 2), so that keys made here serve its encryptor.

Products of 56-bit residues do not fit 64 bits. The quotient is taken in floating point and may be
off by 24·B for operands within ±B·p; the remainder a·b − q·p is exact modulo 2^64 and small, since
24·B·p < 2^63 for B <= 5. A second step leaves it within ±p, and `_exact` in [0, p).
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.threshold.params import KEY_PRIMES, PRIMES, SLOTS

Residues: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]

_ROWS = 64  # after seven stages, blocks of 128 are turned so that numpy's inner loops stay long
_BLOCK = SLOTS // _ROWS


@dataclass(frozen=True, slots=True)
class Constant:
    """What to multiply by, and its quotient by the prime."""

    value: Residues
    ratio: Reals


@dataclass(frozen=True)
class Ring:
    """Arithmetic over some primes, each 1 modulo 16384 and below 2^56."""

    primes: tuple[int, ...]

    @cached_property
    def modulus(self) -> Residues:
        """The primes as a column."""
        return np.array(self.primes, dtype=np.int64)[:, None]

    def constant(self, value: Residues) -> Constant:
        """Return `value` prepared for products."""
        return Constant(value, value / self.modulus)

    def multiply(self, left: Residues, right: Constant) -> Residues:
        """Return the product, residue by residue: of two polynomials in `forward` form."""
        product = _product(left, right.value, right.ratio, self.modulus)
        return _exact(product, self.modulus)

    def reduce(self, value: Residues) -> Residues:
        """Return the residues of [len(primes), …] integers of absolute value below 2^62."""
        return _exact(value, self.modulus)

    def add(self, left: Residues, right: Residues) -> Residues:
        """Return the sum."""
        return _exact(left + right, self.modulus)

    def negate(self, value: Residues) -> Residues:
        """Return minus `value`."""
        return _exact(-value, self.modulus)

    def lift(self, small: NDArray[np.int64]) -> Residues:
        """Return the residues of integers [8192] of absolute value below every prime."""
        return _exact(np.broadcast_to(small, (len(self.primes), small.size)), self.modulus)

    def forward(self, value: Residues) -> Residues:
        """Return the number-theoretic transform of `value`."""
        modulus = self.modulus[:, :, None, None]
        work = value.copy()
        for stage in range(13):
            if stage == 7:
                work = _turned(work)
            roots = _roots(self.primes, stage, inverse=False)
            halves = _halves(work, stage)
            up = halves[:, :, 0]
            down = _product(halves[:, :, 1], roots.value, roots.ratio, modulus)
            after = np.empty_like(halves)
            np.add(up, down, out=after[:, :, 0])
            np.subtract(up, down, out=after[:, :, 1])
            work = after.reshape(len(self.primes), -1)
            if stage % 4 == 3:
                work = _reduced(work, self.modulus)
        return _exact(_turned_back(work), self.modulus)

    def inverse(self, value: Residues) -> Residues:
        """Return the polynomial whose transform is `value`."""
        modulus = self.modulus[:, :, None, None]
        work = _turned(value)
        for stage in reversed(range(13)):
            if stage == 6:
                work = _turned_back(work)
            roots = _roots(self.primes, stage, inverse=True)
            halves = _halves(work, stage)
            up, down = halves[:, :, 0], halves[:, :, 1]
            after = np.empty_like(halves)
            np.add(up, down, out=after[:, :, 0])
            after[:, :, 1] = _product(up - down, roots.value, roots.ratio, modulus)
            work = after.reshape(len(self.primes), -1)
            if stage % 2 == 0:
                work = _reduced(work, self.modulus)
        return self.multiply(_exact(work, self.modulus), _one_nth(self.primes))


def _product(left: Residues, right: Residues, ratio: Reals, modulus: Residues) -> Residues:
    quotient = (left * ratio).astype(np.int64)
    quotient *= modulus
    return _reduced(left * right - quotient, modulus)


def _reduced(value: Residues, modulus: Residues) -> Residues:
    """Return `value` modulo the primes within (−p, p), up to a rounding error at its ends."""
    quotient = (value * (1.0 / modulus)).astype(np.int64)
    quotient *= modulus
    return value - quotient


def _exact(value: Residues, modulus: Residues) -> Residues:
    value = value - np.floor(value * (1.0 / modulus)).astype(np.int64) * modulus
    value += modulus * (value < 0)
    value -= modulus * (value >= modulus)
    return value


def _halves(work: Residues, stage: int) -> Residues:
    """Return a view [primes, groups, 2, …] of what a stage combines."""
    groups = 1 << stage
    if stage < 7:
        return work.reshape(len(work), groups, 2, SLOTS // groups // 2, 1)
    groups //= 128
    return work.reshape(len(work), groups, 2, _ROWS // groups // 2, _BLOCK)


def _turned(work: Residues) -> Residues:
    """Return [128 blocks of 64] as 64 rows of 128."""
    return work.reshape(len(work), _BLOCK, _ROWS).swapaxes(1, 2).reshape(len(work), -1)


def _turned_back(work: Residues) -> Residues:
    return work.reshape(len(work), _ROWS, _BLOCK).swapaxes(1, 2).reshape(len(work), -1)


@cache
def _roots(primes: tuple[int, ...], stage: int, *, inverse: bool) -> Constant:
    """Return the powers of the root that a stage multiplies by, laid out like its halves."""
    groups = 1 << stage
    rows = [_powers(prime, inverse=inverse)[groups : 2 * groups] for prime in primes]
    table = np.array(rows, dtype=np.int64)
    shape = (len(primes), groups, 1, 1)
    if stage >= 7:
        table = table.reshape(len(primes), _BLOCK, groups // _BLOCK).swapaxes(1, 2)
        shape = (len(primes), groups // _BLOCK, 1, _BLOCK)
    table = np.ascontiguousarray(table).reshape(shape)
    return Constant(table, table / np.array(primes)[:, None, None, None])


@cache
def _powers(prime: int, *, inverse: bool) -> tuple[int, ...]:
    """Return root^(bit-reversed i) for i in [0, 8192), or the inverses of these."""
    root = _least_root(prime)
    step = pow(root, -1, prime) if inverse else root
    powers = [1]
    for _ in range(SLOTS - 1):
        powers.append(powers[-1] * step % prime)
    return tuple(powers[int(f"{place:013b}"[::-1], 2)] for place in range(SLOTS))


@cache
def _least_root(prime: int) -> int:
    """Return the least primitive 16384-th root of unity."""
    order = 2 * SLOTS
    some = next(
        root
        for root in (pow(base, (prime - 1) // order, prime) for base in range(2, 1000))
        if pow(root, SLOTS, prime) == prime - 1
    )
    return min(pow(some, odd, prime) for odd in range(1, order, 2))


@cache
def _one_nth(primes: tuple[int, ...]) -> Constant:
    column = np.array([[pow(SLOTS, -1, prime)] for prime in primes], dtype=np.int64)
    return Ring(primes).constant(column)


DATA: Final = Ring(PRIMES)
"""Where ciphertexts and partials live."""

KEY: Final = Ring(KEY_PRIMES)
"""Where keys live: the library's encryptor divides by the last prime."""
