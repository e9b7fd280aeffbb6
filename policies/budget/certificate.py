"""The certificate: ε from privacy-loss distributions, for plans fixed in advance.

THIS IS NOT THE GATE. A privacy-loss distribution (PLD) composes exactly what was planned, and its ε
is lower than the gate's; but it holds only if the plan's events and their number were fixed before
anything was seen [Rogers, Roth, Ullman, Vadhan 2016, arXiv 1605.08294, for what goes wrong
otherwise]. Composing PLDs and stopping once the sum is too large is no valid filter. So whether an
account can pay is decided by the Rényi filter in `accountant`, whose ε stands in every table and
price; the certificate stands beside it. A run that may stop early, or whose next event depends on
earlier ones, shows the Rényi ε spent and no certificate.

A certificate covers Gaussian noise, discrete or not, sampled or not, mixtures of it, and discrete
Laplace noise. There is none for Skellam noise, nor for groups of sampled units: no distribution is
known that dominates them, and None is the answer.

Why discrete Gaussian noise has a certificate
---------------------------------------------
Every sampler here is discrete, and one draw of N_ℤ(0, σ²) shows a little more than one of
N(0, σ²): for Δ = σ = 1 it costs 4.4302 at δ = 1e-5, and the continuous one 4.3772. But discrete
noise is made from continuous noise of less variance, whatever the dimension: to y ~ N(v, σ² − s²)
in a coordinate, v an integer, answer x with probability ∝ exp(−(x − y)²/2s²) over the integers
[Peikert 2010, Theorem 3.1, is this with distances in place of ratios]. By Poisson's summation
formula these weights sum to s√2π within a factor 1 ± e,

    e = 2 Σ_k exp(−2π²s²k²),

so that P(x) differs from N_ℤ(v, σ²) by a factor within (1 ± e)^±2, in each coordinate. Making x
from y is post-processing, the same for every v, hence for mixtures of v as sampling makes them, and
step by step for releases chosen one after the other. So the losses of z' = √(σ² − s²)/Δ dominate,
but for a factor of (1 ± e)^±2 per coordinate and release. Here s² = 3 and e < 4e-26: for 10^13
coordinates in all, more than orders ask for, all factors together are within 1 ± 2e-12, below what
the floats lose. Where σ² ≤ s² there is no certificate.

A DiscreteGaussian says its σ, or less. A Gaussian, sampled or not, says only the quotient of σ and
Δ; whoever writes one down sees that σ is at least `STEPS` grid steps, and it is read with that σ.

Losses are rounded up to multiples of `INTERVAL` and cut off at probability 1e-15 to +∞: the ε is
above the truth by less than its third digit in common plans.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any, Final

import numpy as np

from policies.budget import accountant
from policies.budget.divergences import Leaf, Tally, tally
from policies.budget.events import (
    DiscreteGaussian,
    DiscreteLaplace,
    Event,
    Gaussian,
    Grouped,
    Mixture,
    SampledGaussian,
)
from policies.budget.losses import Losses, Side
from policies.budget.moments import Vector

INTERVAL: Final = 1e-3
LEAST_DELTA: Final = 1e-10
"""Below it the rounding errors of the Fourier transform are no longer small beside δ."""

STEPS: Final = 1000
"""Least σ, in steps of its grid, of noise that is written down as Gaussian."""

_SMOOTH: Final = 3.0  # s², the variance that goes into making continuous noise discrete
_LARGEST: Final = 200.0  # ε above which a distribution of losses would only fill the memory
_MOST: Final = 10**7  # repeats of one kind; more would do the same


def certify(events: Sequence[Event], delta: float, interval: float = INTERVAL) -> float | None:
    """Return the certificate's ε at `delta`, rounded up to 4 digits, or None where there is none.

    It is never above the gate's ε, which bounds a fixed plan as well.
    """
    certificate = Certificate.of(events, interval)
    return None if certificate is None else certificate.epsilon(delta)


class Certificate:
    """The composed losses of a fixed plan, to which one more event can be added at little cost."""

    __slots__ = ("_divergence", "_interval", "_losses")

    def __init__(self, losses: Losses, divergence: Vector, interval: float) -> None:
        """Use `Certificate.of`."""
        self._losses = losses
        self._divergence = divergence
        self._interval = interval

    @classmethod
    def of(cls, events: Sequence[Event], interval: float = INTERVAL) -> "Certificate | None":
        """Return the certificate of `events` together, or None where there is none."""
        divergence = accountant.divergence(events)
        losses = _composed(tally(events), divergence, interval)
        return None if losses is None else cls(losses, divergence, interval)

    def with_one_more(self, event: Event) -> "Certificate | None":
        """Return the certificate of the same plan and `event`, or None where there is none."""
        divergence = self._divergence + accountant.divergence([event])
        losses = _composed(tally([event]), divergence, self._interval)
        if losses is None:
            return None
        return Certificate(self._losses.composed(losses), divergence, self._interval)

    def epsilon(self, delta: float) -> float | None:
        """Return ε at `delta`, rounded up to 4 digits; None below `LEAST_DELTA`."""
        if delta < LEAST_DELTA:
            return None
        gate = accountant.epsilon_of(self._divergence, delta)
        found = self._losses.epsilon(delta)
        return gate if math.isinf(found) else min(accountant.rounded_up(found), gate)

    def deltas(self, epsilons: Vector) -> Vector:
        """Return δ at every ε of the rising `epsilons`, [len(epsilons)]."""
        return self._losses.deltas(epsilons)


def _composed(counts: Tally, divergence: Vector, interval: float) -> Losses | None:
    """Return the losses of all leaves, or None where one has none or ε is out of reach."""
    if accountant.converted(divergence, 1e-6) > _LARGEST or max(counts.values(), default=0) > _MOST:
        return None
    # Gaussian releases are one Gaussian release: their shifts add as squares, exactly.
    square = sum(count * _shift(leaf) ** 2 for leaf, count in counts.items())
    if math.isinf(square):
        return None
    parts = [_losses(leaf, count, interval) for leaf, count in counts.items() if not _shift(leaf)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if square or not parts:
        known.append(_normal(square, interval))
    return reduce(Losses.composed, known)


def _shift(leaf: Leaf) -> float:
    """Return by how many standard deviations a Gaussian release moves; 0 if it is none.

    Of discrete noise: the continuous noise that it can be made from; +∞ if there is none.
    """
    match leaf:
        case Gaussian():
            return 1 / _multiplier(leaf)
        case SampledGaussian() if leaf.sampling_rate == 1:
            return 1 / _multiplier(leaf)
        case DiscreteGaussian():
            rest = float(leaf.sigma) ** 2 - _SMOOTH
            return float(leaf.sensitivity) / math.sqrt(rest) if rest > 0 else math.inf
        case Grouped(event=Gaussian() | SampledGaussian() | DiscreteGaussian() as inner):
            return leaf.size * _shift(inner)
        case _:
            return 0.0


def _multiplier(leaf: Gaussian | SampledGaussian | Mixture) -> float:
    """Return σ/Δ of the continuous noise that noise of `STEPS` grid steps can be made from."""
    return float(leaf.noise_multiplier) * math.sqrt(1 - _SMOOTH / STEPS**2)


@lru_cache(maxsize=256)
def _normal(square: float, interval: float) -> Losses:
    pld = _library()
    if not square:
        return _read(pld.identity(interval), interval)
    found = pld.from_gaussian_mechanism(
        1 / math.sqrt(square), value_discretization_interval=interval
    )
    return _read(found, interval)


@lru_cache(maxsize=256)
def _losses(leaf: Leaf, count: int, interval: float) -> Losses | None:
    """Return the losses of `count` releases of one kind, or None."""
    once = _once(leaf, interval)
    return None if once is None else _read(once.self_compose(count), interval)


def _read(found: Any, interval: float) -> Losses:
    """Return the two directions of the library's distribution."""
    removed = _side(found._pmf_remove)  # noqa: SLF001
    return Losses(interval, removed, removed if found._symmetric else _side(found._pmf_add))  # noqa: SLF001


def _side(pmf: Any) -> Side:
    # The library answers one δ at a time; a ledger asks for many.
    dense = pmf.to_dense_pmf()
    masses = np.maximum(dense._probs, 0.0)  # noqa: SLF001
    return Side(dense._lower_loss, masses, float(dense._infinity_mass))  # noqa: SLF001


@lru_cache(maxsize=256)
def _once(leaf: Leaf, interval: float) -> Any:
    """Return the library's distribution for one release, or None."""
    pld = _library()
    match leaf:
        case SampledGaussian():
            return pld.from_gaussian_mechanism(
                _multiplier(leaf),
                value_discretization_interval=interval,
                sampling_prob=float(leaf.sampling_rate),
            )
        case Mixture():
            shares = [float(share) for share in leaf.probabilities]
            return pld.from_mixture_gaussian_mechanism(
                _multiplier(leaf),
                list(range(len(shares))),
                shares,
                value_discretization_interval=interval,
            )
        case DiscreteLaplace():
            return _laplace(leaf, 1, interval)
        case Grouped(event=DiscreteLaplace() as inner):
            return _laplace(inner, leaf.size, interval)
        case _:
            return None


def _laplace(leaf: DiscreteLaplace, size: int, interval: float) -> Any:
    """Return the losses where all of the L1 sensitivity falls on one coordinate, the worst case."""
    return _library().from_discrete_laplace_mechanism(
        1 / float(leaf.scale),
        sensitivity=leaf.sensitivity * size,
        value_discretization_interval=interval,
        use_connect_dots=True,
    )


@lru_cache(maxsize=1)
def _library() -> Any:
    """Import the library when the first certificate is asked: it brings all of scipy."""
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution
