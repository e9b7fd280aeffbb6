"""Worlds that differ by several units: a chain of worlds that differ by one each.

The weak triangle inequality [Mironov 2017, arXiv 1702.07476] is Hölder's inequality, with p > 1 and
q = p/(p−1), for the product of P^α Q^(1/p−α) and Q^(α−1/p) R^(1−α), whose p-th and q-th powers are
the integrands of the two divergences on the right:

    D_α(P‖R) ≤ (α − 1/p)/(α − 1) · D_{pα}(P‖Q) + D_{(pα−1)/(p−1)}(Q‖R).

With A = pα a whole number above α, the factor is α(A−1)/(A(α−1)) and the second order
α(A−1)/(A−α); it is rounded up to a whole number, because D rises with its order. A chain of n
units is cut in two halves, and for every α the best A is taken. For Gaussian noise nothing would
be lost but what rounding the order loses. Each link may add or remove its unit, so the prices that
go in hold in both directions.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from policies.budget.moments import Vector

REACH: Final = 512
"""Orders 2 … REACH of one link are needed, [REACH + 1], the first two unused."""


def chained(link: Vector, size: int) -> Vector:
    """Return a bound on D_α for chains of `size` links, [REACH + 1]; +inf where none is known."""
    if size == 1:
        return link
    longer, shorter = chained(link, size - size // 2), chained(link, size // 2)
    return np.minimum(_joined(longer, shorter), _joined(shorter, longer))


def _joined(first: Vector, second: Vector) -> Vector:
    factor, order = _cuts()
    # An order beyond the reach has index REACH + 1: the bound there is not known.
    known = np.append(second, np.inf)
    best: Vector = np.min(factor * first + known[order], axis=1)
    return np.concatenate((np.full(2, np.inf), best))


@lru_cache(maxsize=1)
def _cuts() -> tuple[Vector, "np.ndarray[tuple[int, int], np.dtype[np.int64]]"]:
    """Return the factor and the second order for α = 2 … REACH and A = 0 … REACH."""
    alpha, a = np.arange(2, REACH + 1)[:, None], np.arange(REACH + 1)[None, :]
    room = a > alpha
    wider = np.where(room, a - alpha, 1)
    order = np.where(room, -(-alpha * (a - 1) // wider), REACH + 1)
    factor = alpha * (a - 1) / (np.maximum(a, 1) * (alpha - 1))
    return np.where(room, factor, 1.0), np.minimum(order, REACH + 1)
