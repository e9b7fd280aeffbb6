"""Plain numbers: what an attacker could do who sees every release and guesses about one unit.

The attacker knows everything but whether one unit's data are in, and says "in" or "out". α is how
often "in" is said of a unit that is out, the power how often it is said of one that is in. A bound
on the pair for every α is a curve; which attacker meets it is another matter.

A. Only (ε, δ) is known; valid for every mechanism, and loose:
       power(α) ≤ min(1, e^ε α + δ, 1 − e^−ε (1 − α − δ)),
       max(power − α) ≤ (e^ε − 1 + 2δ)/(e^ε + 1).
B. The curve δ(ε) is known; exact where the curve is [Dong, Roth, Su 2022, arXiv 1905.02383]:
       power(α) = 1 − max_ε max(0, 1 − δ(ε) − e^ε α, e^−ε (1 − δ(ε) − α)),
       max(power − α) = δ(0).
   Any set of ε's gives a bound; more of them give a lower one.
C. Gaussian releases that move by μ standard deviations in all:
       power(α) = Φ(Φ⁻¹(α) + μ),   max(power − α) = 2Φ(μ/2) − 1,
       δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).
A coin toss is right half the time; an attacker about (1 + max(power − α))/2 of the time.

Where the certificate exists its δ(ε) is used: it holds for a plan fixed in advance. Elsewhere, and
for a run that may stop early, δ(ε) follows from the gate's Rényi divergences by Proposition 12 of
[Canonne, Kamath, Steinke 2020, arXiv 2004.00010]: valid for any run, less tight. `source` says
which. Own δ's are added to every δ(ε). The numbers do not cover faults of the code, stolen rows, or
people who are in several units; those are the person view's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from policies.budget import accountant
from policies.budget.certificate import Certificate
from policies.budget.events import Event, own_delta
from policies.budget.moments import ORDERS, Vector

FALSE_ALARMS: Final = 0.01
LUCK: Final = 1
"""How many of 100 members are caught by saying "in" at random, 1 time in 100."""

_POINTS: Final = 1025
_TOP: Final = 40.0  # beyond this ε every α above e^−40 is decided by smaller ones
_HAIR: Final = 1e-9  # what the floats may have lost of a probability


@dataclass(frozen=True, slots=True, eq=False)
class AttackCurve:
    """δ(ε) at rising ε's from 0 on, as a bound on every attacker.

    source: `losses` from the certificate, `renyi` from the gate.
    """

    epsilons: Vector
    deltas: Vector
    source: Literal["losses", "renyi"]

    def power(self, false_alarms: float = FALSE_ALARMS) -> float:
        """Return the greatest share of members that is caught at that rate of false alarms (B).

        Raises:
            ValueError: the rate is not in [0, 1].
        """
        if not 0 <= false_alarms <= 1:
            raise ValueError("a rate of false alarms lies between 0 and 1")
        steep = 1 - self.deltas - np.exp(self.epsilons) * false_alarms
        flat = np.exp(-self.epsilons) * (1 - self.deltas - false_alarms)
        missed = max(0.0, float(steep.max()), float(flat.max()))
        return min(1.0, 1 - missed)

    def caught_of_100(self, alpha: float = FALSE_ALARMS) -> int:
        """Return how many of 100 members an attacker catches at most, rounded up; luck: 100·α."""
        return _of_100(self.power(alpha))

    def advantage(self) -> float:
        """Return the greatest power − α over all α: δ(0)."""
        return float(self.deltas[0])

    def right_guess_rate(self) -> float:
        """Return how often a guess about one unit is right at most, where a coin toss is 0.5."""
        return min(1.0, 0.5 + self.advantage() / 2)


@dataclass(frozen=True, slots=True)
class Textbook:
    """What (ε, δ) alone would allow (A): the small print beside the curve."""

    epsilon: float
    delta: float

    def power(self, false_alarms: float = FALSE_ALARMS) -> float:
        """Return the greatest share of members caught at that rate of false alarms."""
        steep = math.exp(min(self.epsilon, 700.0)) * false_alarms + self.delta
        flat = 1 - math.exp(-self.epsilon) * (1 - false_alarms - self.delta)
        return min(1.0, steep, flat)

    def caught_of_100(self, alpha: float = FALSE_ALARMS) -> int:
        """Return how many of 100 members are caught at most, rounded up."""
        return _of_100(self.power(alpha))

    def advantage(self) -> float:
        """Return the greatest power − α over all α."""
        away = math.exp(-self.epsilon)
        return min(1.0, (1 - away + 2 * self.delta * away) / (1 + away))

    def right_guess_rate(self) -> float:
        """Return how often a guess about one unit is right at most."""
        return 0.5 + self.advantage() / 2


@dataclass(frozen=True, slots=True)
class GaussianShift:
    """Gaussian releases that move by `mu` standard deviations in all (C)."""

    mu: float

    def power(self, false_alarms: float = FALSE_ALARMS) -> float:
        """Return the share of members that the best attacker catches."""
        if not 0 < false_alarms < 1:
            return false_alarms
        return _below(NormalDist().inv_cdf(false_alarms) + self.mu)

    def advantage(self) -> float:
        """Return the greatest power − α over all α."""
        return math.erf(self.mu / math.sqrt(8))

    def delta(self, epsilon: float) -> float:
        """Return δ at `epsilon`."""
        if self.mu == 0:
            return 0.0
        near, far = -epsilon / self.mu + self.mu / 2, -epsilon / self.mu - self.mu / 2
        return _below(near) - math.exp(epsilon) * _below(far)


def curve(events: Sequence[Event], *, fixed: bool = True) -> AttackCurve:
    """Return the curve of `events` together.

    fixed: whether the plan was fixed in advance; a run that may stop early says False, and then
    the certificate's curve is not used.
    """
    divergence = accountant.divergence(events)
    top = min(_TOP, max(1.0, accountant.converted(divergence, 1e-9)))
    epsilons: Vector = np.linspace(0.0, top, _POINTS)
    own = float(own_delta(events))
    deltas = from_renyi(divergence, epsilons)
    certificate = Certificate.of(events) if fixed else None
    if certificate is None:
        return AttackCurve(epsilons, np.minimum(deltas + own, 1.0), "renyi")
    deltas = np.minimum(deltas, certificate.deltas(epsilons) + _HAIR)
    return AttackCurve(epsilons, np.minimum(deltas + own, 1.0), "losses")


def from_renyi(divergence: Vector, epsilons: Vector) -> Vector:
    """Return δ at every ε that Rényi divergences prove, [len(epsilons)]; 1 where they prove none.

    log δ = (α−1)(D_α − ε) + (α−1) log(1 − 1/α) − log α for the best α. δ falls with ε, and δ(0) is
    the total variation: at most √(1 − e^−D) and √(D/2) for the Kullback–Leibler divergence D, which
    is at most D_2 [Bretagnolle, Huber 1979; Pinsker 1964], and at most √(e^D_2 − 1)/2, because half
    the mean of |Q/P − 1| is at most half its root mean square.
    """
    alpha = np.array(ORDERS, dtype=np.float64)
    exponent = (alpha - 1) * (divergence + np.log1p(-1 / alpha) - epsilons[:, None]) - np.log(alpha)
    by_order = np.exp(np.minimum(exponent.min(axis=1), 0.0))
    second = float(divergence.min())
    variation = min(
        1.0,
        math.sqrt(-math.expm1(-second)),
        math.sqrt(second / 2),
        math.sqrt(math.expm1(min(float(divergence[0]), 2.0))) / 2,
    )
    deltas: Vector = np.minimum(by_order, variation)
    return deltas


def _below(number: float) -> float:
    """Return Φ, with all its digits far to the left."""
    return math.erfc(-number / math.sqrt(2)) / 2


def _of_100(share: float) -> int:
    return min(100, math.ceil(100 * share - 1e-6))
