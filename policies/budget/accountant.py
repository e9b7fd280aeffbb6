"""The price of composed events: ε at a given δ, always rounded up.

THE GATE. Prices are Rényi divergences [Mironov 2017, arXiv 1702.07476], added order by order, then
turned into ε by Proposition 12 of [CKS] = [Canonne, Kamath, Steinke 2020, arXiv 2004.00010]. Rényi
prices form a filter: they stay valid when each event is chosen after seeing the ones before
[Feldman, Zrnic 2021, arXiv 2008.11193], which is why this ε, and not that of a privacy-loss
distribution, decides whether an account can pay, and is the ε of every table and price. The other
one is the `certificate`, for plans fixed in advance. Neighbours differ by adding or removing one
unit of privacy.

`divergences` says what each event costs and why. The δ here is the δ of the conversion; the δ's
that events carry themselves are summed by `events.own_delta` and paid from another purse.
"""

import math
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any, Final

import numpy as np

from policies.budget.divergences import of_event, of_leaf
from policies.budget.events import (
    Composed,
    DiscreteLaplace,
    Event,
    Gaussian,
    Mixture,
    Repeated,
    SampledGaussian,
)
from policies.budget.moments import ORDERS, Vector
from policies.errors import MalformedEventError, UnattainableError

_SLACK: Final = Decimal("1.000000001")  # far above the rounding errors of the floats summed
_DIGITS: Final = Decimal("0.0001")
_GREATEST: Final = 1e15  # above it a float no longer holds 4 digits behind the point
_MAX_MULTIPLIER: Final = 10**7  # in thousandths

_ALPHA: Final = np.array(ORDERS, dtype=np.float64)
_SHRINK: Final[Vector] = np.log1p(-1 / _ALPHA) - np.log(_ALPHA) / (_ALPHA - 1)
_PER_NAT: Final[Vector] = 1 / (_ALPHA - 1)


def epsilon(events: Sequence[Event], delta: float) -> float:
    """Return ε of all `events` together at `delta`, rounded up to 4 digits.

    Raises:
        ValueError: δ is not in (0, 1).
    """
    return epsilon_of(divergence(events), delta)


def divergence(events: Sequence[Event]) -> Vector:
    """Return D_α of all `events` together at every order, [len(ORDERS)]; such vectors add."""
    total: Vector = np.zeros(len(ORDERS))
    for event, count in Counter(events).items():
        total += count * of_event(event)
    return total


def epsilon_of(total: Vector, delta: float) -> float:
    """Return ε of divergences `total`, [len(ORDERS)], rounded up to 4 digits."""
    return rounded_up(converted(total, delta))


def converted(total: Vector, delta: float) -> float:
    """Return the least ε at `delta` that divergences `total` prove, not rounded.

    ε = D_α + log(1 − 1/α) − log(δα)/(α − 1) for the best α; 0 where the Kullback–Leibler
    divergence, at most D_α, already brings the total variation below δ.
    """
    if not 0 < delta < 1:
        raise ValueError("delta must lie strictly between 0 and 1")
    if total.min() < -math.log1p(-(delta**2)):
        return 0.0
    least = float((total + _SHRINK - math.log(delta) * _PER_NAT).min())
    return math.inf if math.isnan(least) else max(0.0, least)


def calibrate(sampling_rate: float, releases: int, epsilon: float, delta: float) -> float:
    """Return the least noise multiplier, to 3 digits, at which all releases cost at most `epsilon`.

    Raises:
        UnattainableError: no multiplier up to 10,000 is enough.
    """

    def price(thousandths: int) -> float:
        leaf = SampledGaussian(sampling_rate, Decimal(thousandths) / 1000)
        return epsilon_of(releases * of_leaf(leaf), delta)

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
    """Return the `dp_accounting` event that says the same.

    Raises:
        MalformedEventError: the library has none: Skellam, discrete Gaussian, groups, own δ's.
    """
    dp = _accounting()
    match event:
        case Gaussian():
            return dp.GaussianDpEvent(float(event.noise_multiplier))
        case SampledGaussian():
            inner = dp.GaussianDpEvent(float(event.noise_multiplier))
            return dp.PoissonSampledDpEvent(float(event.sampling_rate), inner)
        case DiscreteLaplace():
            return dp.dp_event.DiscreteLaplaceDpEvent(float(1 / event.scale), event.sensitivity)
        case Mixture():
            shares = [float(share) for share in event.probabilities]
            return dp.dp_event.MixtureOfGaussiansDpEvent(
                float(event.noise_multiplier), [float(k) for k in range(len(shares))], shares
            )
        case Repeated():
            return dp.SelfComposedDpEvent(to_dp_event(event.event), event.count)
        case Composed():
            return dp.ComposedDpEvent([to_dp_event(part) for part in event.events])
        case other:
            raise MalformedEventError(f"dp_accounting has no event for {type(other).__name__}")


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
        case dp.dp_event.DiscreteLaplaceDpEvent():
            return DiscreteLaplace(event.sensitivity, _inverse(event.noise_parameter))
        case dp.dp_event.MixtureOfGaussiansDpEvent():
            return _mixture(event)
        case dp.SelfComposedDpEvent():
            return Repeated(from_dp_event(event.event), event.count)
        case dp.ComposedDpEvent():
            return Composed(tuple(from_dp_event(part) for part in event.events))
        case _:
            raise MalformedEventError(f"accounts hold no {type(event).__name__}")


def _inverse(parameter: float) -> Decimal:
    """Return 1/`parameter` to 15 digits, which every scale of so many digits survives."""
    return Decimal(f"{1 / parameter:.15g}")


def _mixture(event: Any) -> Mixture:
    if list(event.sensitivities) != list(range(len(event.sensitivities))):
        raise MalformedEventError("a mixture that accounts can hold counts whole units from 0")
    return Mixture(event.standard_deviation, [float(share) for share in event.sampling_probs])


@lru_cache(maxsize=1)
def _accounting() -> Any:
    """Import `dp_accounting` when the first price is asked: it brings all of scipy."""
    import dp_accounting  # type: ignore[import-untyped,unused-ignore]

    return dp_accounting


def rounded_up(value: float) -> float:
    """Return `value`, and a little more than the floats may have lost, rounded up to 4 digits.

    It is infinite where floats hold no such digits, and where there is no number.
    """
    if not value < _GREATEST:
        return math.inf
    return float((Decimal(value) * _SLACK).quantize(_DIGITS, rounding=ROUND_CEILING))
