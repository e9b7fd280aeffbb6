"""What (ε, δ) means for an attacker: of 100 who are in the data, how many he can point out.

He sees everything that left, knows all the rest, and accuses outsiders wrongly at the rate α.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

ALPHA: Final = 0.01
HUNDRED: Final = 100
WIDEST: Final = 200.0
"""Where the search for μ ends: an ε of 10,000 and more."""

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Reading:
    """How many of 100 are caught: at most, by the Gaussian's curve, and by luck."""

    bound: int
    curve: int
    luck: int


def read(epsilon: float, delta: float) -> Reading:
    """Return the plain numbers of one (ε, δ), each rounded up, at one per cent false alarms."""
    if epsilon <= 0:
        return Reading(1, 1, 1)
    curve = gaussian_power(gaussian_mu(epsilon, delta), ALPHA)
    return Reading(_of_hundred(worst_power(epsilon, delta, ALPHA)), _of_hundred(curve), 1)


def worst_power(epsilon: float, delta: float, alpha: float) -> float:
    """Return the most that any (ε, δ) mechanism lets an attacker catch (Kairouz et al. 2015)."""
    return min(
        1.0,
        math.exp(epsilon) * alpha + delta,
        1 - math.exp(-epsilon) * (1 - alpha - delta),
    )


def gaussian_power(mu: float, alpha: float) -> float:
    """Return what an attacker catches under μ-GDP (Dong, Roth, Su 2022)."""
    return _NORMAL.cdf(_NORMAL.inv_cdf(alpha) + mu)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return δ(ε) of a Gaussian mechanism with sensitivity over σ equal to μ (Balle, Wang 2018)."""
    tail = _NORMAL.cdf(-epsilon / mu - mu / 2)
    # For a large ε the factor overflows only where the tail has long vanished.
    lost = math.exp(epsilon + math.log(tail)) if tail > 0 else 0.0
    return _NORMAL.cdf(-epsilon / mu + mu / 2) - lost


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the μ of the Gaussian mechanism that is exactly (ε, δ)-private."""
    low, high = 1e-6, WIDEST
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_delta(middle, epsilon) > delta else (middle, high)
    return high


def _of_hundred(power: float) -> int:
    return min(HUNDRED, max(1, math.ceil(HUNDRED * power - 1e-9)))
