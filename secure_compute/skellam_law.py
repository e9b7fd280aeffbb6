"""The law of Skellam noise in integers, the same on every machine.

Skellam noise of variance v is the difference of two Poisson numbers of mean v/2:

    p_v(x) = exp(-v) I_|x|(v),    with characteristic function  f(θ) = exp(v (cos θ - 1)).

Of it, `weights` gives the measure α(y) = k · p_v(k·y) for a stride k, wrapped around modulo N into
-N/2 <= y < N/2. For k = 1 that is the noise itself. The discrete Fourier transform of f gives the
wrapped measure exactly, with M = kN and the sum over all M frequencies:

    N · Σ_m α(y + mN) = Σ_i f(2πi / M) cos(2πiy / N).

Nothing here is a float: cosines are integer square roots, exponentials are decimals that every
machine rounds alike, and the sum is one of 64-bit integers. What is left out is below `SLACK`:

* frequencies with f < 2^-128, both signs: at most M <= 2^27 of them, 2^-101 in all;
* fixed point: each of the at most 400 frequencies that count errs by less than 2^-126.
"""

from collections.abc import Iterator
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Limbs: TypeAlias = NDArray[np.int64]

SLACK = Fraction(1, 1 << 96)
"""Bounds the sum over all y of what `weights` leaves out before it rounds to units."""

_BITS = 128
_WORK = 256
_ONE = 1 << _WORK
_LIMB = 26
_LIMBS = 5
_MASK = (1 << _LIMB) - 1
_DIGITS = Context(prec=60)


def weights(variance: Fraction, stride: int, cells: int) -> list[int]:
    """Return N times the wrapped measure in units of 2^-64, nearest, for -N/2 <= y < N/2."""
    factors = _limbs(list(_factors(variance, stride * cells)))
    right = _shifted(_transformed(factors, _cosines(cells), cells))
    return right[:0:-1] + right[:-1]


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


def _transformed(factors: Limbs, waves: Limbs, cells: int) -> Limbs:
    """Return Σ_i factor_i cos(2πiy/N) for y = 0 … N/2: [9, N/2 + 1], not carried yet.

    A limb sums at most 5 products below 2^52 for each of at most 400 frequencies: below 2^63.
    """
    turns = np.arange(factors.shape[1])[:, None] * np.arange(cells // 2 + 1) % cells
    turns = np.minimum(turns, cells - turns)
    total = np.zeros((2 * _LIMBS - 1, cells // 2 + 1), np.int64)
    for place, wave in enumerate(waves):
        total[place : place + _LIMBS] += factors @ wave[turns]
    return total


def _shifted(total: Limbs) -> list[int]:
    """Return numbers of 2 · 128 fractional bits as multiples of 2^-64, nearest, 0 if below."""
    for place in range(len(total) - 1):
        total[place + 1] += total[place] >> _LIMB
        total[place] &= _MASK
    shift = 2 * _BITS - 64 - 7 * _LIMB
    parts = zip(total[8].tolist(), total[7].tolist(), strict=True)
    return [max(0, ((high << _LIMB) + low + (1 << (shift - 1))) >> shift) for high, low in parts]


def _limbs(numbers: list[int]) -> Limbs:
    """Return `numbers` below 2^130 in size as limbs of 26 bits, lowest first, [5, n]."""
    low = [[n >> _LIMB * place & _MASK for n in numbers] for place in range(_LIMBS - 1)]
    return np.array([*low, [n >> _LIMB * (_LIMBS - 1) for n in numbers]], np.int64)


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
def _cosines(turns: int) -> Limbs:
    """Return cos(2πi / turns) for i = 0 … turns/2 in units of 2^-128, as limbs."""
    around = zip(range(turns // 2 + 1), _multiples(turns), strict=False)
    return _limbs([cos >> (_WORK - _BITS) for _, (cos, _) in around])


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
