"""The price when a person enters a release a random number of times.

P is the noise, Q_k the noise moved by k units, and M = Σ_k p_k Q_k what a release looks like with a
person whose number of units is k with probability p_k: k of m records that are sampled on their
own, or rows at k of m silos whose noise is shared behind one secure sum. Writing q = 1 − p_0 and
Q̃ = Σ_{k≥1} (p_k/q) Q_k gives M = (1−q)P + qQ̃, and all of this holds at whole orders α only.

Dominance. Contributions need not point the same way; the aligned case is the worst one for Gaussian
noise [Choquette-Choo, Ganesh, Steinke, Thakurta 2023, arXiv 2310.15526], and more mass
on large k never costs less (ibid.). So `binomial` may round probabilities towards large k.

One direction, D_α(M‖P): the binomial sum (1) of `moments` with the moments of Q̃.
  Gaussian noise, exactly. E_P[Π_j Q_{k_j}/P] = exp(((Σk_j)² − Σk_j²)/2z²), so E_P[(Q̃/P)^j] is the
  j-fold convolution of the weights on ℤ, tilted by exp(s·k/z²) when k joins a sum s.
  Any noise. By Minkowski's inequality E_P[(Q̃/P)^j] ≤ (Σ_k (p_k/q) exp(L_k(j)/j))^j, with L_k the
  moments of k units.

The other direction, D_α(P‖M): no involution swaps P and Q̃, so the symmetric-noise lemma is silent.
  Gaussian noise. E_M[(P/M)^α] = E_P[exp(−(α−1)s(x))] with s = log M/P, a log-sum-exp of affine
  functions of a number x and so convex: it lies above each of its tangents. With one tangent per
  cell of the line (the outer two are half-lines) every integral has a closed form, and the sum is
  an upper bound whatever the cells are.
  Any noise. With y = Q̃/P ≥ 0 the moment is E_P[h(y)] for h(y) = (1−q+qy)^−(α−1). The quotient
  (h(y) − h(1) − h'(1)(y−1)) / (y−1)² = ∫₀¹ (1−t) h''(1+t(y−1)) dt falls in y, because h'' falls;
  so it is at most its value C at y = 0, and as E_P[y] = 1,

      E_M[(P/M)^α] ≤ 1 + C·χ²(Q̃‖P),   C = (1−q)^−(α−1) − 1 − (α−1)q,   χ² = E_P[y²] − 1.

  By joint convexity it is at most Σ_k p_k E_{Q_k}[(P/Q_k)^α] as well, which for symmetric noise is
  Σ_k p_k exp(L_k(α)). The smaller of the two counts.

Tests compare every one of these with quadrature or exact sums.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise, product
from math import comb
from typing import Final

import numpy as np

from policies.budget.moments import Vector, log_sum, sampled

_PLACES: Final = 27
_LONGEST: Final = 2048  # support of a j-fold sum; beyond it the inequality of Minkowski counts

_REACH: Final = 12  # standard deviations that the cells cover
_CELLS: Final = 384

Orders = tuple[int, ...]
Moments = Callable[[int], Vector]
"""From k units to L_k(0) … L_k(most)."""


def binomial(rate: Decimal, units: int) -> tuple[Decimal, ...]:
    """Return p_0 … p_m of m = `units` units that enter on their own with probability `rate`.

    The probability of k or more is rounded up to 27 places, so the sum is exactly 1.
    """
    enter = Fraction(rate)
    return _rounded(
        [comb(units, k) * enter**k * (1 - enter) ** (units - k) for k in range(units + 1)]
    )


def folded(probabilities: Sequence[Decimal], lots: int) -> tuple[Decimal, ...]:
    """Return the probabilities of the sum of `lots` independent such numbers, rounded likewise."""
    one = [Fraction(share) for share in probabilities]
    total = [Fraction(1)]
    for _ in range(lots):
        longer = [Fraction(0)] * (len(total) + len(one) - 1)
        for (i, left), (k, right) in product(enumerate(total), enumerate(one)):
            longer[i + k] += left * right
        total = longer
    return _rounded(total)


def _rounded(exact: Sequence[Fraction]) -> tuple[Decimal, ...]:
    tails = [0, *(-(-share * 10**_PLACES // 1) for share in accumulate(reversed(exact)))]
    shares = [Decimal(int(after - before)).scaleb(-_PLACES) for before, after in pairwise(tails)]
    return tuple(share.normalize() for share in reversed(shares))


def of_gaussian(multiplier: float, probabilities: Sequence[float], orders: Orders) -> Vector:
    """Return D_α in the worse direction for Gaussian noise of `multiplier`, [len(orders)]."""
    k = np.arange(max(orders) + 1, dtype=np.float64)

    def units(count: int) -> Vector:
        moments: Vector = np.maximum(k * (k - 1), 0.0) * (count / multiplier) ** 2 / 2
        return moments

    inside = _minkowski(probabilities, units)
    exact = _convolved(multiplier, probabilities, max(orders))
    inside[: len(exact)] = exact
    added = sampled(_enter(probabilities), inside, orders)
    return _worse(added, _under_tangents(multiplier, probabilities, orders), orders)


def of_any(probabilities: Sequence[float], units: Moments, orders: Orders) -> Vector:
    """Return a bound on D_α in both directions for symmetric noise with those moments."""
    enter, inside = _enter(probabilities), _minkowski(probabilities, units)
    rows = [_log(p) + units(k)[list(orders)] for k, p in enumerate(probabilities) if p]
    joint = log_sum(np.stack(rows, axis=1))
    removed = np.minimum(joint, _removed(enter, float(inside[2]), orders))
    return _worse(sampled(enter, inside, orders), removed, orders)


def _worse(added: Vector, removed: Vector, orders: Orders) -> Vector:
    worse: Vector = np.maximum(added, removed) / (np.array(orders) - 1)
    return worse


def _enter(probabilities: Sequence[float]) -> float:
    return min(1.0, sum(probabilities[1:])) if probabilities[0] else 1.0


def _under_tangents(multiplier: float, probabilities: Sequence[float], orders: Orders) -> Vector:
    """Return a bound on log E_P[exp(−(α−1)s)], P = N(0, z²), by the tangents of s."""
    from scipy.special import log_ndtr

    ends = np.linspace(-_REACH, _REACH, _CELLS + 1) * multiplier
    centres = np.concatenate((ends[:1], (ends[1:] + ends[:-1]) / 2, ends[-1:]))
    units = np.arange(len(probabilities))
    logs = np.array([_log(p) for p in probabilities]) - (units / multiplier) ** 2 / 2
    exponents = logs + centres[:, None] * units / multiplier**2
    height = log_sum(exponents)
    slope = np.exp(exponents - height[:, None]) @ units / multiplier**2
    # In a cell the integrand is at most exp(level − steep·x) times the density of N(0, z²).
    steep = (np.array(orders)[:, None] - 1) * slope
    level = (np.array(orders)[:, None] - 1) * (slope * centres - height)
    low = np.concatenate(([-np.inf], ends)) / multiplier + steep * multiplier
    high = np.concatenate((ends, [np.inf])) / multiplier + steep * multiplier
    # The mass of a cell above 0 is that of its mirror image, which loses no digits.
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
    upper = log_ndtr(high)
    with np.errstate(divide="ignore"):
        mass = upper + np.log(-np.expm1(np.minimum(log_ndtr(low) - upper, 0.0)))
    return log_sum(level + (steep * multiplier) ** 2 / 2 + mass)


def _removed(enter: float, second: float, orders: Orders) -> Vector:
    """Return log(1 + C·χ²) for χ² = exp(`second`) − 1."""
    alpha = np.array(orders, dtype=np.float64)
    if enter == 1:
        return np.full(len(alpha), np.inf)
    with np.errstate(over="ignore", divide="ignore"):
        steep = np.expm1((1 - alpha) * np.log1p(-enter)) - (alpha - 1) * enter
        bound: Vector = np.logaddexp(0.0, np.log(steep) + second + _log(-np.expm1(-second)))
    return bound


def _minkowski(probabilities: Sequence[float], units: Moments) -> Vector:
    """Return j·log Σ_k (p_k/q) exp(L_k(j)/j) for every j; 0 at j = 0 and 1."""
    enter = sum(probabilities[1:])
    rows = [_log(p / enter) + _per_order(units(k)) for k, p in enumerate(probabilities) if k]
    together: Vector = log_sum(np.stack(rows, axis=1))
    return np.maximum(together * np.arange(len(together)), 0.0) * (np.arange(len(together)) > 1)


def _per_order(moments: Vector) -> Vector:
    scaled: Vector = moments / np.maximum(np.arange(len(moments)), 1)
    return scaled


def _convolved(multiplier: float, probabilities: Sequence[float], most: int) -> Vector:
    """Return the exact moments of Q̃ while the support of the sum is short enough."""
    enter, largest = sum(probabilities[1:]), len(probabilities) - 1
    logs = [_log(p / enter) for p in probabilities]
    level, moments = np.zeros(1), [0.0]
    for _ in range(min(most, _LONGEST // largest)):
        level = _one_more(level, logs, multiplier**-2)
        moments.append(max(0.0, float(log_sum(level))))
    moments[1] = 0.0
    return np.array(moments)


def _one_more(level: Vector, logs: Sequence[float], tilt: float) -> Vector:
    """Return the log-weights of s + k, tilted by exp(s·k·tilt), from those of s."""
    longer = np.full(len(level) + len(logs) - 1, -np.inf)
    steps = np.arange(len(level)) * tilt
    for k, log in enumerate(logs):
        if k and log > -np.inf:
            place = slice(k, k + len(level))
            longer[place] = np.logaddexp(longer[place], level + log + k * steps)
    return longer


def _log(number: float) -> float:
    return float(np.log(number)) if number > 0 else -np.inf
