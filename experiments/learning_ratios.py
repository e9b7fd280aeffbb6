"""Scores of paired runs, and how sure their ratios are.

A score is of one set and one noise seed. Sets are averaged by their frauds, as parties are within
a set (`fraud_data.mean_precision`); seeds count the same. Two ways ran with the same seeds on the
same rows, so the error of a ratio R = mean a / mean b is that of the differences a - R·b, which is
far smaller than the error of either [Cochran 1977, Sampling Techniques, §2.11 and §6.4].
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its standard errors.

    seeds: of the noise alone, on these very sets; sets: if the sets were drawn anew as well,
           from how the number differs between them. None where there is one only.
    """

    value: float
    seeds: float | None
    sets: float | None


def mean(scores: Array, frauds: Array) -> Estimate:
    """Return the mean of `scores` [sets, seeds] over sets, by their `frauds` [sets], and seeds."""
    each = _by_frauds(scores, frauds)
    return Estimate(float(each.mean()), standard_error(each), standard_error(scores.mean(1)))


def ratio(one: Array, other: Array, frauds: Array) -> Estimate:
    """Return mean `one` over mean `other`, both [sets, seeds] of paired runs."""
    above, below = _by_frauds(one, frauds), _by_frauds(other, frauds)
    value = float(above.mean() / below.mean())
    spread = standard_error(above - value * below)
    return Estimate(
        value,
        None if spread is None else spread / float(below.mean()),
        standard_error(one.mean(1) / other.mean(1)),
    )


def standard_error(values: Array) -> float | None:
    """Return the standard error of the mean of `values` [n], or None of fewer than two."""
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _by_frauds(scores: Array, frauds: Array) -> Array:
    means: Array = np.average(scores, axis=0, weights=frauds)
    return means
