"""Distributions of privacy losses on a grid, and what they say about ε and δ.

The loss of an outcome o is log(P(o)/Q(o)), and its distribution that under P, for the two worlds
P and Q with one unit removed or added. Independent releases add their losses: distributions are
convolved. Every loss was rounded up to a multiple of the interval, and what is cut off goes up too
(to the least loss kept, or to +∞), so a δ found here is never below the truth but for the rounding
of the Fourier transform, about 1e-16 of probability for each loss on the grid.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from policies.budget.moments import Vector

_CUT: Final = 1e-15  # of probability, from both ends together, at every composition


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One direction: probability `masses`[i] of loss (lowest + i)·interval, `infinite` of +∞."""

    lowest: int
    masses: Vector
    infinite: float

    def composed(self, other: "Side") -> "Side":
        """Return the distribution of the sum of both losses."""
        from scipy.signal import oaconvolve

        masses = np.maximum(oaconvolve(self.masses, other.masses), 0.0)
        rest = self.infinite + other.infinite  # at least that either is without end
        below = int(np.searchsorted(np.cumsum(masses), _CUT / 2, side="right"))
        above = int(np.searchsorted(np.cumsum(masses[::-1]), _CUT / 2, side="right"))
        end = max(len(masses) - above, below + 1)
        kept = masses[below:end].copy()
        kept[0] += masses[:below].sum()
        return Side(self.lowest + other.lowest + below, kept, rest + float(masses[end:].sum()))

    def deltas(self, epsilons: Vector, interval: float) -> Vector:
        """Return δ at every ε ≥ 0 of `epsilons`, [len(epsilons)]."""
        losses, upper, lower = self._tails(interval)
        place = np.searchsorted(losses, epsilons, side="right")
        found: Vector = self.infinite + upper[place] - np.exp(epsilons) * lower[place]
        return found.clip(0.0, 1.0)

    def epsilon(self, delta: float, interval: float) -> float:
        """Return the least ε ≥ 0 with δ(ε) ≤ `delta`; +∞ if there is none."""
        if self.infinite > delta:
            return np.inf
        losses, upper, lower = self._tails(interval)
        if self.infinite + upper[0] - lower[0] <= delta:
            return 0.0
        at_losses = self.infinite + upper[1:] - np.exp(losses) * lower[1:]
        # δ falls along the losses; between two of them it is linear in exp(ε).
        first = int(np.argmax(at_losses <= delta))
        return float(np.log((self.infinite + upper[first] - delta) / lower[first]))

    def _tails(self, interval: float) -> tuple[Vector, Vector, Vector]:
        """Return the losses above 0, [n], and P and Q of that loss or more, each [n + 1]."""
        start = max(0, 1 - self.lowest)
        masses = self.masses[start:]
        places = np.arange(len(masses), dtype=np.float64) + (self.lowest + start)
        losses: Vector = places * interval
        return losses, _from_the_end(masses), _from_the_end(masses * np.exp(-losses))


def _from_the_end(masses: Vector) -> Vector:
    return np.append(np.cumsum(masses[::-1])[::-1], 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Both directions of one mechanism; `added` is `removed` itself where they are alike."""

    interval: float
    removed: Side
    added: Side

    def composed(self, other: "Losses") -> "Losses":
        """Return the losses of both mechanisms together."""
        removed = self.removed.composed(other.removed)
        alike = self.removed is self.added and other.removed is other.added
        added = removed if alike else self.added.composed(other.added)
        return Losses(self.interval, removed, added)

    def deltas(self, epsilons: Vector) -> Vector:
        """Return δ in the worse direction at every ε of `epsilons`, [len(epsilons)]."""
        worse: Vector = np.maximum(
            self.removed.deltas(epsilons, self.interval), self.added.deltas(epsilons, self.interval)
        )
        return worse

    def epsilon(self, delta: float) -> float:
        """Return the least ε at `delta` in the worse direction; +∞ if there is none."""
        return max(
            self.removed.epsilon(delta, self.interval), self.added.epsilon(delta, self.interval)
        )
