"""The Rényi divergence of every event at every order: what prices are summed from.

A leaf is one release that no other event describes in simpler words. Neighbours differ by adding or
removing one unit of privacy, and every number here bounds both directions.

Why a Poisson-sampled DISCRETE Gaussian may be charged as a sampled Gaussian, at integer orders only
-----------------------------------------------------------------------------------------------
Let P be discrete Gaussian noise N_ℤ(0, σ²) on ℤ^d, Q the same moved by an integer vector v with
‖v‖ ≤ Δ (the unit's clipped and rounded contribution), and M = (1−q)P + qQ what a release looks
like when the unit enters with probability q.

1. Without sampling: D_k(Q‖P) ≤ k‖v‖²/2σ² for every order k, the Gaussian's own bound ([CKS] =
   [Canonne, Kamath, Steinke 2020, arXiv 2004.00010], Proposition 5; coordinates are independent,
   so the bounds add). This is the whole price of a DiscreteGaussian.
2. One direction, integer α: the binomial sum of `moments` with that bound is, term by term, the
   closed form of the continuous sampled Gaussian at integer orders ([MTZ] = [Mironov, Talwar,
   Zhang 2019, arXiv 1908.10530], section 3.3).
3. The other direction: x ↦ v − x is an involution of ℤ^d that preserves counting measure and, as
   the noise is symmetric, swaps P and Q. By Theorem 5 of [MTZ] D_α(P‖M) ≤ D_α(M‖P).
4. The other units' draws make P and Q mixtures over the same weights; divergences are
   quasi-convex, so the worst fixed draw bounds them ([MTZ], Theorem 4).

Hence the price at integer orders is never below the truth; a test compares 2 and 3 with exact
one-dimensional sums. `skellam` says the same for Skellam noise, with its own bound in step 1.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias, assert_never

import numpy as np

from policies.budget import groups, laplace, mixtures, skellam
from policies.budget.events import (
    Approximate,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    Event,
    Gaussian,
    Grouped,
    Mixture,
    Noise,
    Repeated,
    SampledGaussian,
    Skellam,
)
from policies.budget.moments import ORDERS, Vector, sampled

Leaf: TypeAlias = Noise | Mixture | Grouped
Tally: TypeAlias = Counter[Leaf]

_ROUNDING: Final = 1e-14  # what a divergence near 0 may have lost to floats; it could be negative
_CHAIN: Final = tuple(range(2, groups.REACH + 1))


def tally(events: Sequence[Event]) -> Tally:
    """Count every leaf within `events`: neither order nor nesting changes a price.

    Own δ's are apart, and a group of releases is a release of groups: if the worlds differ by
    `size` units in all releases together, they do in each.
    """
    counts: Tally = Counter()
    for event in events:
        _count(event, 1, 1, counts)
    return counts


def _count(event: Event, times: int, size: int, counts: Tally) -> None:
    match event:
        case Repeated():
            _count(event.event, times * event.count, size, counts)
        case Grouped():
            _count(event.event, times, size * event.size, counts)
        case Approximate():
            _count(event.event, times, size, counts)
        case Composed():
            for part in event.events:
                _count(part, times, size, counts)
        case _:
            counts[event if size == 1 else Grouped(event, size)] += times


@lru_cache(maxsize=16384)
def of_event(event: Event) -> Vector:
    """Return D_α of everything within `event` at every order, [len(ORDERS)]; do not write to it."""
    total = sum(
        (count * of_leaf(leaf) for leaf, count in tally([event]).items()), np.zeros(len(ORDERS))
    )
    return _kept(total)


@lru_cache(maxsize=4096)
def of_leaf(leaf: Leaf) -> Vector:
    """Return D_α of one release at every order, [len(ORDERS)]; do not write to it."""
    match leaf:
        case Grouped():
            price = _of_group(leaf.event, leaf.size)
        case _:
            price = _of_one(leaf, ORDERS)
    return _kept(price.clip(min=0.0) + _ROUNDING)


def _kept(vector: Vector) -> Vector:
    vector.flags.writeable = False
    return vector


def sampling_rate(noise: Noise) -> float:
    """Return the probability that a unit enters; 1 without sampling."""
    match noise:
        case SampledGaussian() | Skellam():
            return float(noise.sampling_rate)
        case _:
            return 1.0


def moments(noise: Noise, size: int, most: int) -> Vector:
    """Return L(0) … L(most) of `size` units that all enter, [most + 1]."""
    match noise:
        case Gaussian() | SampledGaussian():
            return _normal(size / float(noise.noise_multiplier), most)
        case DiscreteGaussian():
            return _normal(size * float(noise.sensitivity) / float(noise.sigma), most)
        case Skellam():
            l1, l2 = size * float(noise.l1), size * float(noise.l2)
            return skellam.moments(float(noise.variance), l1, l2, most)
        case DiscreteLaplace():
            return laplace.moments(size * noise.sensitivity, float(noise.scale), most)
        case other:
            assert_never(other)


def _normal(shift: float, most: int) -> Vector:
    """Return k(k−1)/2 · `shift`², the moments of a Gaussian moved by `shift` deviations."""
    k = np.arange(most + 1, dtype=np.float64)
    bound: Vector = np.maximum(k * (k - 1), 0.0) * shift**2 / 2
    return bound


def _of_one(leaf: Noise | Mixture, orders: tuple[int, ...]) -> Vector:
    if isinstance(leaf, Mixture):
        shares = [float(share) for share in leaf.probabilities]
        return mixtures.of_gaussian(float(leaf.noise_multiplier), shares, orders)
    return _per_order(sampled(sampling_rate(leaf), moments(leaf, 1, max(orders)), orders), orders)


def _of_group(event: Event, size: int) -> Vector:
    """Return the price of `size` units: exact where all of them enter, else that of the chain."""
    match event:
        case Mixture():
            return _of_chain(event, size)
        case Gaussian() | SampledGaussian() | DiscreteGaussian() | Skellam() | DiscreteLaplace():
            if sampling_rate(event) < 1:
                return _of_chain(event, size)
            return _per_order(moments(event, size, max(ORDERS))[list(ORDERS)], ORDERS)
        case other:
            raise TypeError(f"{type(other).__name__} is no leaf")


def _of_chain(leaf: Noise | Mixture, size: int) -> Vector:
    link = np.concatenate((np.full(2, np.inf), _of_one(leaf, _CHAIN)))
    return groups.chained(link, size)[list(ORDERS)]


@lru_cache(maxsize=1024)
def of_skellam_lots(noise: Skellam, lots: int) -> Vector:
    """Return D_α of one unit in each of `lots` lots under ONE sampled Skellam noise, [len(ORDERS)].

    Every lot samples on its own, and all units come or go together: a binomial mixture. The chain
    of single units bounds it too, and for few lots and low orders it is the tighter one.
    """
    shares = [float(share) for share in mixtures.binomial(noise.sampling_rate, lots)]
    mixed = mixtures.of_any(shares, lambda size: moments(noise, size, max(ORDERS)), ORDERS)
    return _kept(np.minimum(mixed + _ROUNDING, of_event(Grouped(noise, lots))))


def _per_order(moments: Vector, orders: tuple[int, ...]) -> Vector:
    prices: Vector = moments / (np.array(orders) - 1)
    return prices
