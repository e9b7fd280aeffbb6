"""The law of Skellam noise as a table of integers, the same on every machine.

Skellam noise of variance v is the difference of two Poisson numbers of mean v/2:

    p_v(x) = exp(-v) I_|x|(v),    with characteristic function  f(θ) = exp(v (cos θ - 1)).

A table of N cells and stride k holds the measure α(y) = k · p_v(k·y), wrapped around modulo N into
-N/2 <= y < N/2. For k = 1 that is the noise itself. The discrete Fourier transform of f gives the
wrapped measure exactly, with M = kN and the sum over all M frequencies:

    N · Σ_m α(y + mN) = Σ_i f(2πi / M) cos(2πiy / N).

Nothing here is a float: cosines are integer square roots, exponentials are decimals that every
machine rounds alike, and the sum is one of integers. N times the measure, in units of 2^-64, fills
the cells of Walker's alias method [Walker 1977, Vose 1991] exactly, so that a draw of 64 + log N
bits has precisely the law that the integers say.

`error` bounds half the sum of |law - α| over all integers, from what was left out:

* outcomes beyond the window, moved into it by wrapping: Chernoff's bound, p falls away from 0;
* frequencies with f < 2^-128: fewer than M <= 2^27 of them;
* fixed point: every product errs by less than 2^-126, and there are at most N <= 2^16;
* rounding to units: half a unit in every cell, and what makes the cells add up, put to y = 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from operator import mul

import numpy as np
from numpy.typing import NDArray

MOST_CELLS = 1 << 16  # an index is two bytes
UNIT = 1 << 64
"""Units in one cell: thresholds are 64-bit words."""

_BITS = 128
_WORK = 256
_ONE = 1 << _WORK
_TAIL = Fraction(1, 1 << 68)
_SLACK = Fraction(1, 1 << 96)  # frequencies left out and fixed point: below 2^-100 and 2^-108
_DIGITS = Context(prec=60)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An alias table: cell j holds j - N/2 below its threshold, and `other` above.

    thresholds:  [N] uint64.
    others:      [N] uint16, cells.
    error:       total variation between a draw and the measure it stands for.
    """

    thresholds: NDArray[np.uint64]
    others: NDArray[np.uint16]
    error: Fraction

    @property
    def cells(self) -> int:
        """N, a power of two."""
        return len(self.thresholds)


@lru_cache(maxsize=64)
def build(variance: Fraction, stride: int, cells: int) -> Table:
    """Return the table of k · p_v(k·y) for the stride k, a power of two, in N = `cells` cells."""
    weights = _weights(variance, stride, cells)
    missing = cells * UNIT - sum(weights)
    weights[cells // 2] += missing
    rounded = Fraction(cells // 2 + abs(missing), cells * UNIT)
    error = (rounded + _SLACK) / 2 + 2 * chernoff(variance, stride * (cells // 2 - 1))
    return Table(*_alias(weights), error)


def cells_for(variance: Fraction, stride: int) -> int:
    """Return the least power of two of cells that leaves out less than 2^-66 of the noise."""
    cells = 16
    while 4 * chernoff(variance, stride * (cells // 2 - 1)) > _TAIL:
        cells *= 2
    return cells


def chernoff(variance: Fraction, reach: int) -> Fraction:
    """Return a bound on P(noise > reach): exp(v (cosh s - 1) - reach · s), whatever s is.

    The best s is arsinh(reach / v); an s that is a little off gives a bound all the same.
    """
    at = _DIGITS
    v = at.divide(Decimal(variance.numerator), Decimal(variance.denominator))
    slope = at.divide(Decimal(reach), v)
    s = at.ln(at.add(slope, at.sqrt(at.add(at.multiply(slope, slope), 1))))
    cosh = at.divide(at.add(at.exp(s), at.exp(-s)), Decimal(2))
    exponent = at.subtract(at.multiply(v, at.subtract(cosh, 1)), at.multiply(Decimal(reach), s))
    return Fraction(at.exp(exponent)) * (1 + Fraction(1, 1 << 64))


def cosine(order: int) -> Fraction:
    """Return cos(2π / 2^order), off by less than 2^-200."""
    return Fraction(_turn(order)[0], _ONE)


def _weights(variance: Fraction, stride: int, cells: int) -> list[int]:
    """Return N times the wrapped measure in units of 2^-64, nearest, for -N/2 <= y < N/2."""
    half = cells // 2
    waves = _cosines(cells)
    factors = list(_factors(variance, stride * cells))
    rows = [(waves * (i // 2 + 2))[: i * half + 1 : i or 1] for i in range(len(factors))]
    rows[0] = [waves[0]] * (half + 1)
    shift = 2 * _BITS - 64
    nearest = 1 << (shift - 1)
    right = [
        max(0, (sum(map(mul, factors, column)) + nearest) >> shift)
        for column in zip(*rows, strict=True)
    ]
    return right[:0:-1] + right[:-1]


def _factors(variance: Fraction, turns: int) -> Iterator[int]:
    """Yield what each frequency 2πi/M weighs, both signs together, until it is below 2^-128."""
    for i, (cos, _) in zip(range(turns // 2 + 1), _multiples(turns), strict=False):
        exponent = -variance * (_ONE - cos)
        scaled = _DIGITS.divide(Decimal(exponent.numerator), Decimal(exponent.denominator << _WORK))
        weight = int(_DIGITS.multiply(_DIGITS.exp(scaled), Decimal(1 << _BITS)))
        if not weight:
            return
        yield weight if i in {0, turns // 2} else 2 * weight


@lru_cache(maxsize=8)
def _cosines(turns: int) -> list[int]:
    """Return cos(2πi / turns) for i = 0 … turns - 1, in units of 2^-128."""
    around = zip(range(turns // 2 + 1), _multiples(turns), strict=False)
    half = [cos >> (_WORK - _BITS) for _, (cos, _) in around]
    return half + half[-2:0:-1]


def _multiples(turns: int) -> Iterator[tuple[int, int]]:
    """Yield cos and sin of 2πi / turns for i = 0, 1, …, in units of 2^-256.

    A step turns by an angle that is right to 2^-250 and rounds by 2^-255, so that 2^16 steps err
    by less than 2^-230.
    """
    step_cos, step_sin = _turn(turns.bit_length() - 1)
    cos, sin = _ONE, 0
    while True:
        yield cos, sin
        cos, sin = (
            (cos * step_cos - sin * step_sin) >> _WORK,
            (sin * step_cos + cos * step_sin) >> _WORK,
        )


def _turn(order: int) -> tuple[int, int]:
    """Return cos and sin of 2π / 2^order, order >= 2, in units of 2^-256, by halving angles."""
    cos, sin = 0, _ONE
    for _ in range(order - 2):
        cos = isqrt((_ONE + cos) << (_WORK - 1))
        sin = (sin << (_WORK - 1)) // cos
    return cos, sin


def _alias(weights: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return thresholds and other ends of cells of one UNIT each; `weights` fill them exactly."""
    left, others = list(weights), list(range(len(weights)))
    small = [cell for cell, weight in enumerate(left) if weight < UNIT]
    large = [cell for cell, weight in enumerate(left) if weight >= UNIT]
    while small:
        cell, giver = small.pop(), large[-1]
        others[cell] = giver
        left[giver] -= UNIT - left[cell]
        if left[giver] < UNIT:
            small.append(large.pop())
    thresholds = [min(weight, UNIT - 1) for weight in left]  # a full cell is its own other end
    return np.array(thresholds, np.uint64), np.array(others, np.uint16)
