"""Real vectors on an integer grid: round once, add integer noise, decode at the end.

One unit of privacy added or removed moves the integers by more than grid · clip:

* rounding adds up to 1 per coordinate, so √dimension in L2, if a sum is rounded as a whole,
  and up to ½ per coordinate if each unit's part is rounded before integers are added;
* the float arithmetic that clips a unit's part errs a little, which `FLOAT_SLACK` covers.

Nothing here depends on data but the integers that come out: no vector is refused.
"""

from fractions import Fraction
from math import ceil, isqrt

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import LocalProtocolError

FLOAT_SLACK = Fraction(1, 1 << 12)
"""Relative excess over `clip` that float64 arithmetic may add to a unit's contribution.

Clipping a vector of d <= 2^20 float64 numbers, its squares added in halves, errs by at most
(d's 20 halvings + 8 other operations) · 2^-53 < 2^-47 of the clip.  Sums over units are sums of
integers and err by nothing.
"""

LARGEST = 2.0**61


def encode(vector: NDArray[np.float64], grid: int) -> NDArray[np.int64]:
    """Return grid · vector rounded to the nearest integers, int64 of the same shape; total.

    What lies beyond ±2^61 becomes ±2^61, and what is no number becomes 0: moving numbers into
    a range brings no two of them further apart, and an error would tell how large they were.
    """
    with np.errstate(over="ignore"):
        scaled = np.rint(np.asarray(vector, np.float64) * float(grid))
    held = np.clip(scaled, -LARGEST, LARGEST)
    held[np.isnan(held)] = 0.0
    return held.astype(np.int64)


def decode(integers: NDArray[np.int64], grid: int) -> NDArray[np.float64]:
    """Return integers / grid as [d] float64."""
    return np.divide(integers, float(grid))


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


def l1_sensitivity(l2: int, dimension: int) -> int:
    """Return the most by which one unit moves the integers in L1, rounded up.

    Of an integer vector v, ‖v‖₁ <= ‖v‖₂², and of any, ‖v‖₁ <= √dimension · ‖v‖₂: the less of both.

    Raises:
        LocalProtocolError: `l2` or the dimension is not positive.
    """
    if l2 < 1 or dimension < 1:
        raise LocalProtocolError("Sensitivity and dimension must be positive.")
    return min(l2**2, isqrt(dimension * l2**2 - 1) + 1)


def noise_scale(sensitivity: int, noise_multiplier: Fraction) -> int:
    """Return the integer σ = ⌈noise_multiplier · sensitivity⌉ that a price refers to.

    Raises:
        LocalProtocolError: the noise multiplier is not positive.
    """
    if noise_multiplier <= 0:
        raise LocalProtocolError("The noise multiplier must be positive: no noise has no price.")
    return ceil(noise_multiplier * sensitivity)
