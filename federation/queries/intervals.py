"""Interval arithmetic in doubles: where a total expression can lie, for any row whatsoever.

Rounding to nearest is monotone: if x lies in [a, b] and y in [c, d], and all are doubles, then the
rounded x + y lies between the rounded a + c and b + d. So the bounds computed here in doubles, with
the operations that DuckDB uses, hold exactly and need no slack [Moore 1966]. An infinite end says
that there is no bound; an operation whose result might not be finite is NULL there.
"""

import itertools
import math
from collections.abc import Callable
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]

EVERYTHING: Interval = (-math.inf, math.inf)


def hull(*parts: Interval) -> Interval:
    """Return the least interval that holds all parts."""
    return min(low for low, _ in parts), max(high for _, high in parts)


def add(x: Interval, y: Interval) -> Interval:
    """Return where x + y lies."""
    return x[0] + y[0], x[1] + y[1]


def negate(x: Interval) -> Interval:
    """Return where −x lies."""
    return -x[1], -x[0]


def subtract(x: Interval, y: Interval) -> Interval:
    """Return where x − y lies."""
    return add(x, negate(y))


def multiply(x: Interval, y: Interval) -> Interval:
    """Return where x × y lies; an open end times zero is zero, since every value is finite."""
    return _corners(x, y, lambda a, b: a * b if a and b else 0.0)


def divide(x: Interval, y: Interval, *, whole: bool) -> Interval:
    """Return where x / y lies once y = 0 is NULL; a whole divisor is then at least 1 from zero."""
    least = 1.0 if whole else 0.0
    sides = [
        (low, high)
        for low, high in ((y[0], min(y[1], -least)), (max(y[0], least), y[1]))
        if low <= high
    ]
    if not sides:  # the divisor is always zero, and the quotient always NULL
        return 0.0, 0.0
    if any(0.0 in side for side in sides):
        return EVERYTHING
    return hull(*(_corners(x, side, _ratio) for side in sides))


def absolute(x: Interval) -> Interval:
    """Return where |x| lies."""
    if x[0] <= 0 <= x[1]:
        return 0.0, max(-x[0], x[1])
    return min(abs(x[0]), abs(x[1])), max(abs(x[0]), abs(x[1]))


def least(*parts: Interval) -> Interval:
    """Return where the least of several values lies."""
    return min(low for low, _ in parts), min(high for _, high in parts)


def greatest(*parts: Interval) -> Interval:
    """Return where the greatest of several values lies."""
    return max(low for low, _ in parts), max(high for _, high in parts)


def monotone(x: Interval, function: Callable[[float], float]) -> Interval:
    """Return where a function that never falls takes x."""
    low, high = (function(end) if math.isfinite(end) else end for end in x)
    return low, high


def half_away(x: float) -> float:
    """Return x to the nearest whole number, halves away from zero."""
    below = math.floor(abs(x))
    return math.copysign(float(below + (abs(x) - below >= 0.5)), x)


def _ratio(a: float, b: float) -> float:
    if math.isinf(a) and math.isinf(b):
        return math.copysign(math.inf, a * b)
    return a / b


def _corners(x: Interval, y: Interval, operation: Callable[[float, float], float]) -> Interval:
    ends = [operation(a, b) for a, b in itertools.product(x, y)]
    return min(ends), max(ends)
