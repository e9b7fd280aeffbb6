"""The price of discrete Laplace noise: exact at every order.

P(x) = (1−p)/(1+p) · p^|x| on ℤ with p = exp(−1/b) for scale b, and Q(x) = P(x − v) for a whole v.
Summing P^(1−α) Q^α over x ≤ 0, 0 < x < v and x ≥ v as geometric series gives

    E_P[(Q/P)^α] = (1−p)/(1+p) · ( A e^(−αv/b) + B e^((α−1)v/b) ),
    A = 1/(1−p) − 1/(1−s),   B = 1/(1−p) + s/(1−s),   s = p^(2α−1).

A, B > 0, so L(v) = log E is a log-sum-exp of affine functions of v: convex, with L(0) = 0, hence
superadditive. A vector of L1 norm Δ costs Σ L(|v_i|) ≤ L(Δ): all of it in one coordinate is worst,
and the price at v = Δ is met by that vector. P and Q are swapped by x ↦ v − x: both directions are
the same.
"""

import numpy as np

from policies.budget.moments import Vector


def moments(sensitivity: float, scale: float, most: int) -> Vector:
    """Return L(0) … L(most) for an L1 sensitivity of `sensitivity`, [most + 1]."""
    order = np.arange(2, most + 1, dtype=np.float64)
    gap = -np.expm1(-1 / scale)  # 1 − p
    powered = np.exp(-(2 * order - 1) / scale)  # s
    rest = -np.expm1(-(2 * order - 1) / scale)  # 1 − s
    down = np.log1p(-gap / rest)
    up = np.log1p(gap * powered / rest)
    norm = -np.log1p(np.exp(-1 / scale))  # log 1/(1+p), after (1−p) went into A and B
    reach = sensitivity / scale
    tail = np.logaddexp(down - order * reach, up + (order - 1) * reach) + norm
    return np.concatenate((np.zeros(2), np.maximum(tail, 0.0)))
