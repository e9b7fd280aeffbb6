"""The price of Skellam noise, at integer orders, in both directions.

Skellam noise of variance μ is the difference of two Poisson numbers of mean μ/2: a whole number,
symmetric, and closed under addition, so that shares added behind a secure sum are Skellam again.
It is NOT a Gaussian and is never charged as one: what is proven of it is above the price of a
Gaussian of the same variance, and at some ε its exact δ(ε) is above the Gaussian's.

1. Without sampling. For a whole order α ≥ 2 and an integer vector v with ‖v‖₁ ≤ Δ₁, ‖v‖₂ ≤ Δ₂,
   the bound of [AKL] = [Agarwal, Kairouz, Liu 2021, arXiv 2110.04995] on the multi-dimensional
   Skellam mechanism says of noise P and its translate Q by v

       D_α(Q‖P) ≤ αΔ₂²/2μ + min( ((2α−1)Δ₂² + 6Δ₁)/4μ², 3Δ₁/2μ ).

   Coordinates are independent, so their divergences add; that is how Δ₁ comes in. Of an integer
   vector ‖v‖₁ ≤ ‖v‖₂² and ‖v‖₂ ≤ ‖v‖₁ hold as well, and the tighter pair is used.
2. Sampling, one direction. Put L(k) = (k−1) × the bound of 1 into the binomial sum (1) of
   `moments`: it bounds D_α(M‖P) for M = (1−q)P + qQ at whole α, and at no other.
3. Sampling, the other direction. x ↦ v − x is an involution of ℤ^d that keeps counting measure
   and, as the noise is symmetric, swaps P and Q. By Theorem 5 of [MTZ] = [Mironov, Talwar, Zhang
   2019, arXiv 1908.10530], for two distributions swapped by such an involution,
   D_α(P‖M) ≤ D_α(M‖P). So 2 bounds both directions.
4. Everything else in the release (other units, their draws, random rounding) makes P and Q
   mixtures over the same weights; exp((α−1)D_α) is jointly convex, so the worst fixed draw bounds
   them.

Tests compare 1, 2 and 3 with sums over the exact probabilities in one dimension. No privacy-loss
distribution is known that dominates Skellam noise in many dimensions, so there is no certificate.
"""

import numpy as np

from policies.budget.moments import Vector


def moments(variance: float, l1: float, l2: float, most: int) -> Vector:
    """Return bounds on L(0) … L(most) for noise of `variance` per coordinate, [most + 1]."""
    k = np.arange(most + 1, dtype=np.float64)
    bounds: Vector = np.maximum(k - 1, 0) * divergence(variance, l1, l2, k)
    return bounds


def divergence(variance: float, l1: float, l2: float, order: Vector) -> Vector:
    """Return the bound of step 1 at every whole `order`, [len(order)]."""
    square = min(l2, l1) ** 2
    ones = min(l1, square)
    far = ((2 * order - 1) * square + 6 * ones) / (4 * variance**2)
    bound: Vector = order * square / (2 * variance) + np.minimum(far, 3 * ones / (2 * variance))
    return bound
