"""The same release with more noise: what a refusal may suggest instead."""

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import Final, assert_never

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

_DIGITS: Final = Decimal("0.001")
_STEPS: Final = 24
_MOST: Final = 20 * _STEPS


def least_factor(fits: Callable[[Decimal], bool]) -> Decimal | None:
    """Return the least factor of noise that fits, to about 3 %; None if a million times does not.

    fits: whether so much more noise is enough; more than enough is enough as well.
    """
    low, high = 0, _MOST
    if not fits(_factor(high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(_factor(middle)) else (middle, high)
    return _factor(high)


def _factor(step: int) -> Decimal:
    """Return 2^(step / 24): a ladder of noise."""
    return Decimal(f"{2 ** (step / _STEPS):.6g}")


def quieter(event: Event, factor: Decimal) -> Event:
    """Return `event` with the noise of every release `factor` times as large, rounded up.

    Its own δ, where it has one, stays: more noise does not make a failure less likely.
    """
    match event:
        case Repeated() | Grouped():
            return replace(event, event=quieter(event.event, factor))
        case Approximate():
            return Approximate(quieter(event.event, factor), event.delta)
        case Composed():
            return Composed(tuple(quieter(part, factor) for part in event.events))
        case _:
            return _quieter(event, factor)


def _quieter(event: Noise | Mixture, factor: Decimal) -> Noise | Mixture:
    match event:
        case Gaussian():
            return Gaussian(_scaled(event.noise_multiplier, factor))
        case SampledGaussian():
            return SampledGaussian(event.sampling_rate, _scaled(event.noise_multiplier, factor))
        case DiscreteGaussian():
            return DiscreteGaussian(event.sensitivity, _scaled(event.sigma, factor))
        case Skellam():
            variance = _scaled(event.variance, factor**2)
            return Skellam(event.sampling_rate, variance, event.l1, event.l2)
        case DiscreteLaplace():
            return DiscreteLaplace(event.sensitivity, _scaled(event.scale, factor))
        case Mixture():
            return Mixture(_scaled(event.noise_multiplier, factor), event.probabilities)
        case other:
            assert_never(other)


def _scaled(noise: Decimal, factor: Decimal) -> Decimal:
    return (noise * factor).quantize(_DIGITS, rounding=ROUND_CEILING)
