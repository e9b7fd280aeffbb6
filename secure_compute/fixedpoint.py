"""Real vectors on an integer grid: round once, add integer noise, decode at the end.

A sum of clipped vectors is known only as floats, and is rounded once.  One unit of
privacy added or removed therefore moves the integer vector by more than grid · clip:

* each coordinate may round the other way, which adds at most 1 per coordinate and
  √dimension in L2;
* the float sums with and without the unit differ by rounding errors besides, which
  `FLOAT_SLACK` covers for whoever keeps its conditions.
"""

from fractions import Fraction
from math import ceil, isqrt

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import LocalProtocolError

FLOAT_SLACK = Fraction(1, 1 << 12)
"""Relative excess over `clip` that float64 arithmetic may add to a unit's contribution.

It covers every summation order when a sum has at most 2^16 units and 2^19 rows, each
unit's rows have L2 norms that add up to at most 16 · clip after scaling, and all is
float64: the two sums err by at most 2 · 2^19 · 2^-53 · (2^16 · 16 · clip) = 2^-13 · clip;
the other half is left to the scaling factors themselves.
"""

_LARGEST = 2.0**62


def encode(vector: NDArray[np.float64], grid: int) -> NDArray[np.int64]:
    """Return grid · vector rounded to the nearest integers, [d] int64.

    Raises:
        LocalProtocolError: a coordinate is not finite or does not fit.
    """
    scaled = np.rint(np.asarray(vector, np.float64) * float(grid))
    if not np.all(np.abs(scaled) < _LARGEST):
        raise LocalProtocolError("The vector does not fit the integer grid: choose a coarser grid.")
    return scaled.astype(np.int64)


def decode(integers: NDArray[np.int64], grid: int) -> NDArray[np.float64]:
    """Return integers / grid as [d] float64."""
    return np.asarray(integers, np.float64) / float(grid)


def l2_sensitivity(grid: int, clip: Fraction, dimension: int) -> int:
    """Return the most by which one unit moves `encode` of a clipped sum, in L2, rounded up.

    That is ⌈grid · clip · (1 + FLOAT_SLACK) + √dimension⌉, in exact arithmetic.

    Raises:
        LocalProtocolError: grid, clip or dimension is not positive.
    """
    if grid < 1 or clip <= 0 or dimension < 1:
        raise LocalProtocolError("Grid, clip and dimension must be positive.")
    root = isqrt(dimension - 1) + 1
    return ceil(grid * clip * (1 + FLOAT_SLACK)) + root


def noise_scale(sensitivity: int, noise_multiplier: Fraction) -> int:
    """Return the integer σ = ⌈noise_multiplier · sensitivity⌉ that a price refers to.

    Raises:
        LocalProtocolError: the noise multiplier is not positive.
    """
    if noise_multiplier <= 0:
        raise LocalProtocolError("The noise multiplier must be positive: no noise has no price.")
    return ceil(noise_multiplier * sensitivity)
