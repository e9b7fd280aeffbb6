"""The price of composed events: ε at a given δ, always rounded up.

Prices are Rényi divergences [Mironov 2017, arXiv 1702.07476], added order by order, then turned
into ε by Proposition 12 of [CKS] = [Canonne, Kamath, Steinke 2020, arXiv 2004.00010]. Rényi prices
stay valid when each event is chosen after seeing the ones before, which is why they, and not a
privacy-loss distribution, decide whether an account can pay. Neighbours differ by adding or
removing one unit of privacy.

Why a Poisson-sampled DISCRETE Gaussian may be charged as a sampled Gaussian, at integer orders only
-----------------------------------------------------------------------------------------------
Let P be discrete Gaussian noise N_ℤ(0, σ²) on ℤ^d, Q the same moved by an integer vector v with
‖v‖ ≤ Δ (the unit's clipped and rounded contribution), and M = (1−q)P + qQ what a release looks
like when the unit enters with probability q.

1. Without sampling: D_k(Q‖P) ≤ k‖v‖²/2σ² for every order k, the Gaussian's own bound
   ([CKS], Proposition 5; coordinates are independent, so the bounds add).
2. One direction, integer α: expand the power of the mixture,
       E_P[(M/P)^α] = Σ_k C(α,k) (1−q)^(α−k) q^k E_P[(Q/P)^k],
   and E_P[(Q/P)^k] = exp((k−1) D_k(Q‖P)) ≤ exp(k(k−1)Δ²/2σ²) by 1. The right-hand side is, term by
   term, the closed form of the continuous sampled Gaussian at integer orders
   ([MTZ] = [Mironov, Talwar, Zhang 2019, arXiv 1908.10530], section 3.3). At a fractional order the
   expansion is an alternating series, the bound does not pass through it, and nothing is claimed.
3. The other direction: x ↦ v − x is an involution of ℤ^d that preserves counting measure and, as
   the noise is symmetric, swaps P and Q. By Theorem 5 of [MTZ] D_α(P‖M) ≤ D_α(M‖P).
4. The other units' draws make P and Q mixtures over the same weights; divergences are
   quasi-convex, so the worst fixed draw bounds them ([MTZ], Theorem 4).

Hence the price at integer orders is never below the truth; a test compares 2 and 3 with exact
one-dimensional sums. Events carry no δ of their own: the sampler of the noise is exact.
"""

import math
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

from policies.budget.events import Composed, Event, Gaussian, Repeated, SampledGaussian
from policies.errors import MalformedEventError, UnattainableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Leaf: TypeAlias = Gaussian | SampledGaussian
Tally: TypeAlias = Counter[Leaf]

ORDERS: Final = (*range(2, 65), *range(72, 129, 8), *range(160, 257, 32))
"""Integer orders only: see the argument above."""

_SLACK: Final = Decimal("1.000000001")  # far above the rounding errors of the floats summed
_ROUNDING: Final = 1e-14  # what a divergence near 0 may have lost to floats; it could be negative
_MAX_MULTIPLIER: Final = 10**7  # in thousandths


def epsilon(events: Sequence[Event], delta: float) -> float:
    """Return ε of all `events` together at `delta`, rounded up to 4 digits.

    Raises:
        ValueError: δ is not in (0, 1).
    """
    return epsilon_of(tally(events), delta)


def epsilon_of(counts: Tally, delta: float) -> float:
    """Return ε of what `counts` says happened, rounded up to 4 digits."""
    if not 0 < delta < 1:
        raise ValueError("delta must lie strictly between 0 and 1")
    if not counts:
        return 0.0
    total = sum(count * _divergences(leaf) for leaf, count in counts.items())
    return _round_up(
        _accounting().rdp.rdp_privacy_accountant.compute_epsilon(ORDERS, total, delta)[0]
    )


def tally(events: Sequence[Event]) -> Tally:
    """Count every simple event within `events`: order does not change the price."""
    counts: Tally = Counter()
    for event in events:
        _count(event, 1, counts)
    return counts


def calibrate(sampling_rate: float, releases: int, epsilon: float, delta: float) -> float:
    """Return the least noise multiplier, to 3 digits, at which all releases cost at most `epsilon`.

    Raises:
        UnattainableError: no multiplier up to 10,000 is enough.
    """

    def price(thousandths: int) -> float:
        leaf = SampledGaussian(sampling_rate, Decimal(thousandths) / 1000)
        return epsilon_of(Counter({leaf: releases}), delta)

    low, high = 0, 1000
    while price(high) > epsilon:
        low, high = high, high * 2
        if high > _MAX_MULTIPLIER:
            raise UnattainableError(
                f"no noise brings {releases} releases to epsilon {epsilon}; ask for fewer"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if price(middle) <= epsilon else (middle, high)
    return high / 1000


def to_dp_event(event: Event) -> Any:
    """Return the `dp_accounting` event that says the same."""
    dp = _accounting()
    match event:
        case Gaussian():
            return dp.GaussianDpEvent(float(event.noise_multiplier))
        case SampledGaussian():
            inner = dp.GaussianDpEvent(float(event.noise_multiplier))
            return dp.PoissonSampledDpEvent(float(event.sampling_rate), inner)
        case Repeated():
            return dp.SelfComposedDpEvent(to_dp_event(event.event), event.count)
        case Composed():
            return dp.ComposedDpEvent([to_dp_event(part) for part in event.events])
        case other:
            assert_never(other)


def from_dp_event(event: Any) -> Event:
    """Return our event for a `dp_accounting` event of a kind that accounts can hold.

    Raises:
        MalformedEventError: it is of another kind.
    """
    dp = _accounting()
    match event:
        case dp.GaussianDpEvent():
            return Gaussian(event.noise_multiplier)
        case dp.PoissonSampledDpEvent(event=dp.GaussianDpEvent()):
            return SampledGaussian(event.sampling_probability, event.event.noise_multiplier)
        case dp.SelfComposedDpEvent():
            return Repeated(from_dp_event(event.event), event.count)
        case dp.ComposedDpEvent():
            return Composed(tuple(from_dp_event(part) for part in event.events))
        case _:
            raise MalformedEventError(f"accounts hold no {type(event).__name__}")


def _count(event: Event, times: int, counts: Tally) -> None:
    match event:
        case Gaussian() | SampledGaussian():
            counts[event] += times
        case Repeated():
            _count(event.event, times * event.count, counts)
        case Composed():
            for part in event.events:
                _count(part, times, counts)
        case other:
            assert_never(other)


@lru_cache(maxsize=4096)
def _divergences(leaf: Leaf) -> "NDArray[np.float64]":
    """Return the Rényi divergence of `leaf` at every order, [len(ORDERS)]."""
    accountant = _accounting().rdp.RdpAccountant(list(ORDERS))
    accountant.compose(to_dp_event(leaf))
    # Its only other way out converts to ε, and then a ledger of n events costs n compositions.
    vector: NDArray[np.float64] = accountant._rdp  # noqa: SLF001
    return vector.clip(min=0.0) + _ROUNDING


@lru_cache(maxsize=1)
def _accounting() -> Any:
    """Import `dp_accounting` when the first price is asked: it brings all of scipy."""
    import dp_accounting  # type: ignore[import-untyped,unused-ignore]

    return dp_accounting


def _round_up(value: float) -> float:
    if math.isinf(value) or math.isnan(value):
        return math.inf
    return float((Decimal(value) * _SLACK).quantize(Decimal("0.0001"), rounding=ROUND_CEILING))
