"""Integer moments of likelihood ratios, and what Poisson sampling makes of them.

Let P be what a release looks like without one unit, Q with it, and

    L(k) = log E_P[(Q/P)^k] = (k−1) D_k(Q‖P),    k = 0, 1, 2, …    so L(0) = L(1) = 0.

If the unit enters with probability q, the release looks like M = (1−q)P + qQ. For a whole α the
power of M/P has finitely many terms, all positive:

    E_P[(M/P)^α] = Σ_k C(α,k) (1−q)^(α−k) q^k exp(L(k)).                                       (1)

An upper bound on every L(k) therefore gives an upper bound on D_α(M‖P): [MTZ] = [Mironov, Talwar,
Zhang 2019, arXiv 1908.10530], section 3.3, for whichever noise. At a fractional α the expansion is
an alternating series, a bound does not pass through it, and nothing is claimed.

Moments are kept as logarithms, in arrays indexed by k (length most + 1) or by order.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

ORDERS: Final = (*range(2, 65), *range(72, 129, 8), *range(160, 257, 32))
"""Integer orders only: see (1)."""

MOST: Final = ORDERS[-1]


def log_sum(logs: Vector) -> Vector:
    """Return log Σ exp along the last axis; −inf terms count nothing."""
    top = np.max(logs, axis=-1, keepdims=True)
    finite = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        total: Vector = np.log(np.sum(np.exp(logs - finite), axis=-1)) + finite[..., 0]
    return total


def sampled(rate: float, moments: Vector, orders: tuple[int, ...]) -> Vector:
    """Return log E_P[(M/P)^α] for every α of `orders` by (1), [len(orders)].

    moments: L(0) … L(most), each at least 0 and most ≥ every order.

    Since the weights of (1) sum to 1 and L(0) = L(1) = 0, what exceeds 1 is summed on its own:
    every term is positive, so small prices keep their digits.
    """
    if rate == 1:
        return moments[list(orders)]
    most = max(orders)
    number = np.arange(most + 1)
    with np.errstate(divide="ignore"):
        # log(e^L − 1), written so that neither a small nor a large L loses digits
        above = moments[: most + 1] + np.log(-np.expm1(-moments[: most + 1]))
    left = np.array(orders)[:, None] - number
    weights = _log_choose(orders) + number * np.log(rate) + np.abs(left) * np.log1p(-rate)
    total: Vector = np.logaddexp(0.0, log_sum(weights + above))
    return total


@lru_cache(maxsize=32)
def _log_choose(orders: tuple[int, ...]) -> Vector:
    """Return log C(α, k), [len(orders), max(orders) + 1]; −inf where k > α."""
    most = max(orders)
    factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1)))))
    alpha, k = np.array(orders)[:, None], np.arange(most + 1)
    inside = k <= alpha
    return np.where(inside, factorial[alpha] - factorial[k] - factorial[np.abs(alpha - k)], -np.inf)
