"""One aggregate from its noised sums, with a 95 % interval for what the noise did.

    COUNT, SUM, bins      noised sum ± z·σ·√n
    AVG                   Fieller's interval [Fieller 1954], by `noisy.ratio_interval`
    VAR, STDDEV, COVAR    delta method: σ² of a smooth function of the sums is Σ (∂f/∂sum)²·n·σ²
    CORR                  delta method for atanh r, turned back, so that it stays within [−1, 1]
    coefficients          delta method for the solution of the normal equations
    QUANTILE              all values whose cumulated count noise could have put at q; then out to
                          the edges of the public bins: it covers at least as often as it says

Derivatives are central differences; nothing is drawn. Nothing is divided by a count that noise may
have made: an estimate whose count, spread or matrix is not well above its noise is None.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.noisy import NORMAL_95, ratio_interval
from federation.queries.tree import Aggregate, Value

Sums: TypeAlias = Sequence[float]
Vector: TypeAlias = NDArray[np.float64]

CLEAR = 5.0
"""Standard deviations by which a count must exceed zero before a smooth function of it is taken."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the ends of its 95 % interval, in the unit of the answer."""

    value: float
    low: float
    high: float


def estimate(
    item: Aggregate, sums: Sequence[Sequence[int]], sigmas: Sequence[float]
) -> Estimate | None:
    """Return one aggregate, or None where noise drowns it.

    sums:   of each measure of `sensitivity.parts`, one number, or one for each bin.
    sigmas: standard deviation of each measure's whole noise, in steps.
    """
    match item.function:
        case "count" | "units":
            return _linear(sums[0][0], sigmas[0], 1.0)
        case "sum":
            return _linear(sums[0][0], sigmas[0], _step(item.values[0]))
        case "bin":
            return _linear(sums[0][int(item.parameter)], sigmas[0], 1.0)
        case "avg":
            return _average(item.values[0], sums, sigmas)
        case "quantile":
            return _quantile(item, sums[0], sigmas[0])
    return _moments(item, [float(x[0]) for x in sums], sigmas)


def _step(value: Value) -> float:
    return float(Decimal(value.step))


def _linear(total: int, sigma: float, step: float) -> Estimate:
    half = NORMAL_95 * sigma
    return Estimate(total * step, (total - half) * step, (total + half) * step)


def _average(
    value: Value, sums: Sequence[Sequence[int]], sigmas: Sequence[float]
) -> Estimate | None:
    count, total, step = sums[0][0], sums[1][0], _step(value)
    ends = fieller(total, count, sigmas[1], sigmas[0])
    if ends is None:
        return None
    return Estimate(total / count * step, ends[0] * step, ends[1] * step)


def fieller(
    total: float, count: float, sigma_total: float, sigma_count: float
) -> tuple[float, float] | None:
    """Return Fieller's 95 % interval of total/count for independent noise."""
    scale = 10**6  # `ratio_interval` takes whole standard deviations
    return ratio_interval(
        total * scale,
        count * scale,
        (math.ceil(sigma_total * scale), math.ceil(sigma_count * scale)),
        1,
    )


def _moments(item: Aggregate, sums: Sums, sigmas: Sequence[float]) -> Estimate | None:
    """Return a smooth function of 1, x and x·x'."""
    size = len(item.values)
    if sums[0] <= CLEAR * sigmas[0] or sums[0] <= size + 1:
        return None
    if item.function in {"corr", "coefficient"} and not _is_regular(item, sums, sigmas):
        return None
    function = _smooth(item)
    found = _propagated(function, sums, sigmas)
    if found is None:
        return None
    value, half = found
    return _turned_back(item, value, value - half, value + half)


def _smooth(item: Aggregate) -> Callable[[Sums], float]:
    """Return the function whose noise is close to normal."""
    steps = [_step(value) for value in item.values]
    match item.function:
        case "var_pop" | "stddev_pop":
            return lambda s: _covariance(s, 0, 0, 1) * steps[0] ** 2
        case "var_samp" | "stddev_samp":
            return lambda s: _covariance(s, 0, 0, 1) * steps[0] ** 2 * s[0] / (s[0] - 1)
        case "covar_pop":
            return lambda s: _covariance(s, 0, 1, 2) * steps[0] * steps[1]
        case "covar_samp":
            return lambda s: _covariance(s, 0, 1, 2) * steps[0] * steps[1] * s[0] / (s[0] - 1)
        case "corr":
            return _fisher
    return lambda s: _coefficient(item, s)


def _turned_back(item: Aggregate, value: float, low: float, high: float) -> Estimate:
    if item.function in {"var_pop", "var_samp"}:
        return Estimate(max(value, 0.0), max(low, 0.0), max(high, 0.0))
    if item.function in {"stddev_pop", "stddev_samp"}:
        return Estimate(*(math.sqrt(max(x, 0.0)) for x in (value, low, high)))
    if item.function == "corr":
        return Estimate(*map(math.tanh, (value, low, high)))
    return Estimate(value, low, high)


def _propagated(
    function: Callable[[Sums], float], sums: Sums, sigmas: Sequence[float]
) -> tuple[float, float] | None:
    """Return a function of noised sums and half its 95 % interval, by the delta method."""
    try:
        value, square = function(sums), 0.0
        for place, sigma in enumerate(sigmas):
            step = sigma / 100
            moved = [[*sums[:place], sums[place] + d, *sums[place + 1 :]] for d in (step, -step)]
            square += ((function(moved[0]) - function(moved[1])) / 2 * 100) ** 2
    except (ZeroDivisionError, ValueError, np.linalg.LinAlgError):
        return None
    half = NORMAL_95 * math.sqrt(square)
    return (value, half) if math.isfinite(value) and math.isfinite(half) else None


def _covariance(sums: Sums, x: int, y: int, size: int) -> float:
    count, first, second = sums[0], sums[1 : 1 + size], sums[1 + size :]
    return second[_pair(x, y, size)] / count - first[x] * first[y] / count**2


def _pair(x: int, y: int, size: int) -> int:
    """Return the place of x·y among the products, x ≤ y."""
    return x * size - x * (x - 1) // 2 + (y - x)


def _fisher(sums: Sums) -> float:
    both = _covariance(sums, 0, 0, 2) * _covariance(sums, 1, 1, 2)
    return math.atanh(_covariance(sums, 0, 1, 2) / math.sqrt(both))


def _matrix(sums: Sums, size: int) -> Vector:
    """Return the covariances of the values, [size, size], in steps."""
    found: Vector = np.empty((size, size))
    for x in range(size):
        for y in range(x, size):
            found[x, y] = found[y, x] = _covariance(sums, x, y, size)
    return found


def _coefficient(item: Aggregate, sums: Sums) -> float:
    size, steps = len(item.values), np.array([_step(value) for value in item.values])
    matrix = _matrix(sums, size)
    slopes = np.linalg.solve(matrix[1:, 1:], matrix[1:, 0]) * steps[0] / steps[1:]
    if item.parameter != "0":
        return float(slopes[int(item.parameter) - 1])
    centres = np.array([value.centre for value in item.values])
    means = (np.array(sums[1 : 1 + size]) / sums[0] + centres) * steps
    return float(means[0] - slopes @ means[1:])


def _is_regular(item: Aggregate, sums: Sums, sigmas: Sequence[float]) -> bool:
    """Tell whether the spread of what explains is well above noise, in every direction."""
    size = len(item.values)
    first = 0 if item.function == "corr" else 1
    halves = np.array([float(value.half) for value in item.values])
    scaled = (_matrix(sums, size) / np.outer(halves, halves))[first:, first:]
    noise = max(
        sigmas[1 + size + _pair(x, y, size)] / (halves[x] * halves[y])
        for x in range(first, size)
        for y in range(x, size)
    )
    least = float(np.linalg.eigvalsh(scaled)[0])
    return bool(least > CLEAR * noise * math.sqrt(size - first) / sums[0])


def _quantile(item: Aggregate, bins: Sequence[int], sigma: float) -> Estimate | None:
    """Return a quantile from counts in public bins.

    The share below an edge minus q of all is a sum of bins with weights 1 − q and −q, whose noise
    has variance σ²·((1−q)²·b + q²·(B−b)). An edge below which this is surely under zero lies below
    the quantile, and one where it is surely above lies above it.
    """
    share, value = float(item.parameter), item.values[0]
    total = float(sum(bins))
    if total <= CLEAR * sigma * math.sqrt(len(bins)):
        return None
    edges = edges_of(value, item.bins)
    gaps, halves = [], []
    running = 0.0
    for place in range(len(bins) + 1):
        gaps.append(running - share * total)
        spread = (1 - share) ** 2 * place + share**2 * (len(bins) - place)
        halves.append(NORMAL_95 * sigma * math.sqrt(spread))
        running += bins[place] if place < len(bins) else 0
    inner = range(1, len(bins))
    below = [at for at in inner if gaps[at] + halves[at] < 0]
    above = [at for at in inner if gaps[at] - halves[at] > 0]
    low = edges[max(below, default=0)]
    high = edges[min((at for at in above if edges[at] > low), default=len(bins))]
    step = _step(value)
    return Estimate(min(max(_crossing(gaps, edges), low), high) * step, low * step, high * step)


def edges_of(value: Value, bins: int) -> list[float]:
    """Return the edges of the public bins, in steps, bins + 1 of them; the ends are the bounds."""
    span = value.high - value.low + 1
    inner = [value.low + -(-place * span // bins) - 0.5 for place in range(1, bins)]
    return [float(value.low), *inner, float(value.high)]


def _crossing(gaps: Sequence[float], edges: Sequence[float]) -> float:
    """Return where the gaps, made to rise, pass zero."""
    rising = np.maximum.accumulate(np.array(gaps))
    return float(np.interp(0.0, rising, edges))
