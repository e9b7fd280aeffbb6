"""Robust centres and scales of features, read off noised counts in public bins.

Bins are equal steps of asinh, one of them around 0: fine near 0 and in proportion far away, so that
the same bins serve shares and cents. Nobody's rows say where they lie.

Noised counts are brought to the nearest that noise could have come from: none below 0, and of as
many units for every feature [Duchi, Shalev-Shwartz, Singer, Chandra 2008, ICML]. Their running sums
rise, and median and quartiles are where these cross a half and the quarters: unlike mean and
variance they hardly heed what lies far away [Huber 1981, Robust Statistics, §5].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError
from federation.recipe_fields import decimal, integer, require_range
from federation.recipes import Number
from federation.sum_states import Array
from policies.budget.events import spell

MOST_BINS: Final = 1025
_AT_MOST: Final[Mapping[str, int]] = {"count": MOST_BINS, "reach": 10**6}
_LEAST_REACH: Final = Decimal("0.001")
"""So that no bin is so narrow that a scale leaves the range of weights."""

_NORMAL: Final = 1.349
"""Standard deviations between the quartiles of a normal distribution."""

_UNSURE: Final = 0.1
"""The part of all units that noise may add to a running sum; beyond it nothing is read off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Public bins of any feature's values.

    count: equal steps of asinh from -reach to reach; odd, so that 0 lies in the middle of one. The
           outer bins hold what lies beyond, too.
    """

    count: int
    reach: Number

    def __post_init__(self) -> None:
        """Refuse bins that tell nothing apart, or that have no middle."""
        for name in _AT_MOST:
            require_range(name, getattr(self, name), _AT_MOST, ())
        if self.count < 3 or self.count % 2 == 0:
            raise MalformedOrderError(
                f"Scales need an odd number of bins from 3 to {MOST_BINS}, one of them around 0."
            )
        if self.reach < _LEAST_REACH:
            raise MalformedOrderError(f"The recipe's reach must be at least {_LEAST_REACH}.")

    @property
    def ends(self) -> Array:
        """Where bins begin and end, as asinh of values, [count + 1]."""
        furthest = float(np.arcsinh(float(self.reach)))
        return np.linspace(-furthest, furthest, self.count + 1)

    def places(self, values: Array) -> NDArray[np.intp]:
        """Return the bin of each value, of the same shape; what is no number lies in the last."""
        return np.searchsorted(np.sinh(self.ends[1:-1]), values, side="right")

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form."""
        return {"count": self.count, "reach": spell(self.reach)}

    @classmethod
    def from_json(cls, value: object) -> "Bins":
        """Return the bins that `value` describes.

        Raises:
            MalformedOrderError: it describes none.
        """
        if not isinstance(value, Mapping) or set(value) != set(_AT_MOST):
            raise MalformedOrderError("Bins of scales have a count and a reach.")
        return cls(count=integer("count", value["count"]), reach=decimal("reach", value["reach"]))


def robust_scales(votes: Array, noise: float, bins: Bins) -> tuple[Array, Array]:
    """Return each feature's centre and what its distance from there is multiplied by, [n] each.

    votes: noised units by feature and bin [n, count]; every unit is counted once for each feature.
    noise: standard deviation of what noise is in each of them.

    The centre is the median. Times its scale, a normal feature has standard deviation 1. Where
    noise is louder than the units, and where the quartiles lie nearer than bins tell apart, as
    those of a rare 0-1 feature do, they are 0 and 1. So no scale is above 1.349 over a bin's width.
    """
    centres, scales = np.zeros(len(votes)), np.ones(len(votes))
    units = float(votes.sum(1).mean())
    if not units > noise * np.sqrt(bins.count) / _UNSURE:
        return centres, scales
    crossed = _quantiles(_nearest(votes, units) / units, bins)
    low, middle, high = np.sinh(crossed)
    told_apart = crossed[2] - crossed[0] >= bins.ends[1] - bins.ends[0]
    spread = np.where(told_apart, high - low, _NORMAL)
    return np.where(told_apart, middle, centres), _NORMAL / spread


def _nearest(votes: Array, units: float) -> Array:
    """Return the nearest counts, none below 0, that come to `units` in every row, [n, count]."""
    falling = -np.sort(-votes, axis=1)
    excess = (np.cumsum(falling, axis=1) - units) / np.arange(1, votes.shape[1] + 1)
    kept = (falling > excess).sum(1) - 1
    return np.maximum(votes - np.take_along_axis(excess, kept[:, None], 1), 0.0)


def _quantiles(shares: Array, bins: Bins) -> Array:
    """Return where running sums cross a quarter, a half and three quarters, as asinh, [3, n]."""
    rising = np.concatenate([np.zeros((len(shares), 1)), np.cumsum(shares, axis=1)], axis=1)
    at = [np.interp([0.25, 0.5, 0.75], row, bins.ends) for row in rising]
    return np.stack(at, axis=1)
