"""Tables that Skellam noise is drawn from: Walker's alias method, filled exactly with integers.

N times the law of `skellam_law`, in units of 2^-64, fills N cells of 2^64 units each [Walker 1977,
Vose 1991], so that a draw of 64 + log N bits has precisely the law that the integers say.

`table_error` bounds half the sum of |that law - α| over all integers:

* outcomes beyond the window, moved into it by wrapping: Chernoff's bound, p falls away from 0;
* rounding to units: half a unit in every cell, and as much again, put to y = 0, to add up to N;
* what the law itself leaves out.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from secure_compute.skellam_law import SLACK, chernoff, weights

MOST_CELLS = 1 << 16  # an index is two bytes
UNIT = 1 << 64
"""Units in one cell: thresholds are 64-bit words."""

_TAIL = Fraction(1, 1 << 66)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An alias table: cell j holds j - N/2 below its threshold, and `other` above.

    thresholds:  [N] uint64.
    others:      [N] uint16, cells.
    """

    thresholds: NDArray[np.uint64]
    others: NDArray[np.uint16]

    @property
    def cells(self) -> int:
        """N, a power of two."""
        return len(self.thresholds)


@lru_cache(maxsize=64)
def build(variance: Fraction, stride: int, cells: int) -> Table:
    """Return the table of k · p_v(k·y) for the stride k, a power of two, in N = `cells` cells."""
    filled = weights(variance, stride, cells)
    filled[cells // 2] += cells * UNIT - sum(filled)
    return Table(*_alias(filled))


def table_error(variance: Fraction, stride: int, cells: int) -> Fraction:
    """Return a bound on the total variation between a draw from the table and its measure."""
    outside = 2 * chernoff(variance, stride * (cells // 2 - 1))
    return outside + (Fraction(1, UNIT) + SLACK) / 2


def cells_for(variance: Fraction, stride: int) -> int:
    """Return the least power of two of cells that leaves out less than 2^-66 of the noise."""
    cells = 16
    while 4 * chernoff(variance, stride * (cells // 2 - 1)) > _TAIL:
        cells *= 2
    return cells


def _alias(units: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return thresholds and other ends of cells of one UNIT each; `units` fill them exactly."""
    left, others = list(units), list(range(len(units)))
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
